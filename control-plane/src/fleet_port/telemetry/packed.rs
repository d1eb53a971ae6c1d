//! Batches out of their codec.
//!
//! Trusts nothing: what is unpacked has a bound before a byte of it is.

use std::borrow::Cow;

use rr_contract::wire::fleet;

/// The most bytes of a batch. Nodes make none that is longer.
const MOST: u32 = 8 * 1024 * 1024;

/// The encoded batch; the reason why not is for the node's log.
pub(super) fn unpacked(upload: &fleet::UploadRequest) -> Result<Cow<'_, [u8]>, String> {
    match fleet::BatchCodec::try_from(upload.codec) {
        Ok(fleet::BatchCodec::Unspecified) => Ok(Cow::Borrowed(&upload.body)),
        Ok(fleet::BatchCodec::Zstd) => zstd(&upload.body, upload.length).map(Cow::Owned),
        Err(_) => Err("is in a codec that was not offered".to_owned()),
    }
}

fn zstd(body: &[u8], length: u32) -> Result<Vec<u8>, String> {
    if length > MOST {
        return Err(format!("is longer than {MOST} bytes"));
    }
    let length = length as usize;
    let mut plain = Vec::with_capacity(length);
    // Writes no more than there is capacity for, and holds no window besides.
    match zstd_safe::decompress(&mut plain, body) {
        Ok(written) if written == length => Ok(plain),
        Ok(_) => Err("has another length than it says".to_owned()),
        Err(code) => Err(format!("cannot be unpacked: {}", zstd_safe::get_error_name(code))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(plain: &[u8], length: u32) -> fleet::UploadRequest {
        let mut body = Vec::with_capacity(zstd_safe::compress_bound(plain.len()));
        zstd_safe::compress(&mut body, plain, 1).expect("it fits");
        fleet::UploadRequest { body, length, codec: fleet::BatchCodec::Zstd.into(), ..Default::default() }
    }

    #[test]
    fn what_is_unpacked_is_as_long_as_it_says_and_never_longer_than_a_batch() {
        let plain = vec![7; 100_000];
        assert_eq!(unpacked(&packed(&plain, 100_000)).expect("is good"), plain);
        for length in [0, 99_999, 100_001, 200_000, MOST] {
            assert!(unpacked(&packed(&plain, length)).is_err(), "{length}");
        }
        // Some hundreds of bytes that would become 64 MiB.
        let bomb = packed(&vec![0; 64 << 20], 64 << 20);
        assert!(bomb.body.len() < 10_000);
        assert!(unpacked(&bomb).is_err_and(|said| said.contains("longer than")));
        assert!(unpacked(&fleet::UploadRequest { length: MOST, ..bomb }).is_err());
        let damaged = fleet::UploadRequest { body: vec![1, 2, 3], ..packed(&plain, 100_000) };
        assert!(unpacked(&damaged).is_err());
        let later = fleet::UploadRequest { codec: 9, ..packed(&plain, 100_000) };
        assert!(unpacked(&later).is_err_and(|said| said.contains("not offered")));
        let old = fleet::UploadRequest { body: vec![1, 2], ..Default::default() };
        assert_eq!(&*unpacked(&old).expect("is as it is"), [1, 2]);
    }
}
