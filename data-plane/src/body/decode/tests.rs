//! What each coding makes of good bodies, of damaged ones and of bombs.

use std::io::Write as _;

use flate2::write::{GzEncoder, ZlibEncoder};
use flate2::{Compression, GzBuilder};
use futures_util::FutureExt as _;
use proptest::prelude::*;
use zstd_safe::{CCtx, CParameter};

use super::*;

const ALL: [Coding; 4] = [Coding::Gzip, Coding::Deflate, Coding::Br, Coding::Zstd];
const MIB: usize = 1024 * 1024;

pub(crate) fn encode(coding: Coding, text: &[u8]) -> Vec<u8> {
    match coding {
        Coding::Identity => text.to_vec(),
        Coding::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(text).expect("a vector takes all");
            encoder.finish().expect("a vector takes all")
        }
        Coding::Deflate => {
            let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(text).expect("a vector takes all");
            encoder.finish().expect("a vector takes all")
        }
        Coding::Br => {
            let mut encoder = brotli::CompressorWriter::new(Vec::new(), 4096, 1, 22);
            encoder.write_all(text).expect("a vector takes all");
            encoder.into_inner()
        }
        Coding::Zstd => {
            let mut encoder = CCtx::create();
            encoder.set_parameter(CParameter::ChecksumFlag(true)).expect("a parameter");
            let mut out = Vec::with_capacity(zstd_safe::compress_bound(text.len()));
            encoder.compress2(&mut out, text).expect("it fits");
            out
        }
    }
}

/// Step by step, and no step longer than it may be.
fn decoded(coding: Coding, encoded: &[u8]) -> Result<Bytes, DecodeError> {
    let (mut decoder, mut held) = (Decoder::new(coding, Bytes::copy_from_slice(encoded)), Held::ample());
    loop {
        let (read, wrote) = (decoder.at, decoder.decoded.len());
        if let Some(all) = decoder.step(&mut held)? {
            return Ok(all);
        }
        assert!(decoder.at - read <= STEP && decoder.decoded.len() - wrote <= STEP);
    }
}

/// Does not get much smaller by any coding.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..len).map(|_| next()).collect()
}

#[test]
fn a_body_that_is_not_encoded_comes_back_as_it_is() {
    let body = Bytes::from_static(b"{}");
    let same = decode(Coding::Identity, body.clone(), &mut Held::ample())
        .now_or_never()
        .expect("one step")
        .expect("it fits");
    assert_eq!(same.as_ptr(), body.as_ptr());
    let long = Bytes::from(vec![b' '; DECODED_MAX + 1]);
    assert_eq!(decoded(Coding::Identity, &long), Err(DecodeError::TooLarge));
    assert!(decoded(Coding::Identity, &long[1..]).is_ok());
}

#[test]
fn what_a_body_decodes_to_is_held_and_no_more_than_that_at_the_end() {
    for coding in ALL {
        let encoded = Bytes::from(encode(coding, &noise(MIB)));
        let decode = |most| {
            let mut held = Held::of(most);
            let mut decoder = Decoder::new(coding, encoded.clone());
            let decoded = loop {
                match decoder.step(&mut held) {
                    Ok(None) => {}
                    Ok(Some(decoded)) => break Ok(decoded),
                    Err(error) => break Err(error),
                }
            };
            decoded.map(|decoded| (decoded.len(), held.bytes()))
        };
        let (length, held) = decode(usize::MAX).expect("there is room");
        assert_eq!(length, MIB);
        assert!((MIB..MIB + 2 * STEP).contains(&held), "{coding:?}: {held}");
        assert_eq!(decode(MIB), Err(DecodeError::NoRoom(NoRoom)), "{coding:?}");
    }
}

#[test]
fn a_long_body_gives_way_to_other_tasks_and_a_short_one_need_not() {
    for coding in ALL {
        let short = encode(coding, &noise(1000));
        assert!(decode(coding, short.into(), &mut Held::ample()).now_or_never().is_some(), "{coding:?}");
        let long = encode(coding, &noise(STEP * 3));
        assert!(decode(coding, long.into(), &mut Held::ample()).now_or_never().is_none(), "{coding:?}");
    }
}

#[test]
fn a_body_without_content_is_a_body() {
    for coding in ALL {
        assert_eq!(decoded(coding, &encode(coding, b"")).as_deref(), Ok(&b""[..]), "{coding:?}");
    }
}

#[test]
fn eight_mebibytes_are_decoded_and_not_a_byte_more() {
    let text = noise(DECODED_MAX + 1);
    for coding in [Coding::Gzip, Coding::Zstd] {
        let fits = decoded(coding, &encode(coding, &text[1..])).expect("it fits");
        assert!(fits == text[1..], "{coding:?}");
        assert_eq!(decoded(coding, &encode(coding, &text)), Err(DecodeError::TooLarge), "{coding:?}");
    }
}

#[test]
fn a_bomb_is_stopped_where_it_passes_its_bound() {
    let zeros = vec![b'0'; 16 * MIB];
    for coding in ALL {
        let bomb = encode(coding, &zeros);
        let most = (bomb.len() * RATIO_MAX).clamp(RATIO_FREE, DECODED_MAX);
        let (mut decoder, mut held) = (Decoder::new(coding, bomb.into()), Held::ample());
        let error = loop {
            if let Err(error) = decoder.step(&mut held) {
                break error;
            }
        };
        assert_eq!(error, DecodeError::TooLarge, "{coding:?}");
        assert_eq!(decoder.decoded.len(), most + 1, "{coding:?}");
        assert!(decoder.decoded.room() <= 2 * (most + STEP), "{coding:?}");
    }
}

#[test]
fn up_to_a_mebibyte_any_ratio_is_taken() {
    let zeros = vec![b'0'; MIB + 1];
    for coding in ALL {
        assert_eq!(decoded(coding, &encode(coding, &zeros[1..])).map(|all| all.len()), Ok(MIB), "{coding:?}");
        assert_eq!(decoded(coding, &encode(coding, &zeros)), Err(DecodeError::TooLarge), "{coding:?}");
    }
}

#[test]
fn past_a_mebibyte_a_hundred_to_one_is_taken_and_no_more() {
    let zeros = vec![b'0'; 1_600_000];
    // A comment and a frame to be skipped have any length that is wanted.
    let gzip = |padding: usize| {
        let builder = GzBuilder::new().comment(vec![b'c'; padding]);
        let mut encoder = builder.write(Vec::new(), Compression::fast());
        encoder.write_all(&zeros).expect("a vector takes all");
        encoder.finish().expect("a vector takes all")
    };
    let zstd = |padding: usize| {
        let mut out = encode(Coding::Zstd, &zeros);
        out.extend_from_slice(b"\x50\x2a\x4d\x18");
        out.extend_from_slice(&u32::try_from(padding).expect("small").to_le_bytes());
        out.extend(std::iter::repeat_n(0, padding));
        out
    };
    for coding in [Coding::Gzip, Coding::Zstd] {
        let encode = |padding| if coding == Coding::Gzip { gzip(padding) } else { zstd(padding) };
        let padding = 16_000 - encode(1).len() + 1;
        let (under, over) = (encode(padding), encode(padding - 1));
        assert_eq!((under.len(), over.len()), (16_000, 15_999), "{coding:?}");
        assert_eq!(decoded(coding, &under).map(|all| all.len()), Ok(zeros.len()), "{coding:?}");
        assert_eq!(decoded(coding, &over), Err(DecodeError::TooLarge), "{coding:?}");
    }
}

#[test]
fn a_body_that_streams_is_not_decoded_where_there_is_no_room_for_its_window() {
    for coding in ALL {
        for (room, fits) in [(10_000, false), (16 * MIB, true)] {
            let mut decoding = Decoding::new(coding, Held::of(room));
            decoding.push(encode(coding, b"a text").into());
            match decoding.next() {
                Ok(text) => assert!(fits && text.as_deref() == Some(b"a text"), "{coding:?}"),
                Err(error) => {
                    assert!(!fits && matches!(error, DecodeError::NoRoom(_)), "{coding:?}: {error}")
                }
            }
        }
    }
}

#[test]
fn a_window_of_zstandard_is_bounded() {
    // A frame of one block, stored, with a window of 2^(10 + x / 8) and x mod 8 eighths.
    let frame = |window: u8| [0x28, 0xb5, 0x2f, 0xfd, 0, window, 0x11, 0, 0, b'{', b'}'];
    assert_eq!(decoded(Coding::Zstd, &frame(13 << 3)).as_deref(), Ok(&b"{}"[..]));
    for window in [(13 << 3) + 1, 14 << 3, 21 << 3] {
        assert_eq!(decoded(Coding::Zstd, &frame(window)), Err(DecodeError::TooLarge), "{window}");
    }
}

#[test]
fn the_large_windows_of_brotli_are_refused_and_the_largest_other_is_not() {
    let encode = |large: bool, log: i32| {
        let params = brotli::enc::BrotliEncoderParams {
            quality: 1,
            lgwin: log,
            large_window: large,
            ..Default::default()
        };
        let mut encoder = brotli::CompressorWriter::with_params(Vec::new(), 4096, &params);
        encoder.write_all(b"{}").expect("a vector takes all");
        encoder.into_inner()
    };
    assert_eq!(decoded(Coding::Br, &encode(false, 24)).as_deref(), Ok(&b"{}"[..]));
    assert_eq!(decoded(Coding::Br, &encode(true, 26)), Err(DecodeError::Malformed));
}

#[test]
fn a_body_that_breaks_off_anywhere_is_refused() {
    for coding in ALL {
        let whole = encode(coding, b"{\"a\":[1,2,3],\"b\":\"text\",\"c\":\"texttexttext\"}");
        for end in 0..whole.len() {
            assert_eq!(decoded(coding, &whole[..end]), Err(DecodeError::Malformed), "{coding:?} {end}");
        }
    }
}

#[test]
fn anything_behind_the_end_is_refused() {
    for coding in ALL {
        let whole = encode(coding, b"{\"a\":1}");
        for more in [&b"\0"[..], b"x", b"\0\0\0\0\0\0\0\0", b"{\"a\":1}", &whole[..whole.len() - 1]] {
            let longer = [&whole, more].concat();
            assert_eq!(decoded(coding, &longer), Err(DecodeError::Malformed), "{coding:?} {more:?}");
        }
    }
    // These formats have one part.
    for coding in [Coding::Deflate, Coding::Br] {
        let twice = encode(coding, b"{}").repeat(2);
        assert_eq!(decoded(coding, &twice), Err(DecodeError::Malformed), "{coding:?}");
    }
}

#[test]
fn a_wrong_checksum_or_length_is_refused() {
    for (coding, trailer) in [(Coding::Gzip, 8), (Coding::Deflate, 4), (Coding::Zstd, 4)] {
        let whole = encode(coding, b"{\"a\":1}");
        for at in whole.len() - trailer..whole.len() {
            let mut wrong = whole.clone();
            wrong[at] ^= 1;
            assert_eq!(decoded(coding, &wrong), Err(DecodeError::Malformed), "{coding:?} {at}");
        }
    }
}

#[test]
fn a_body_in_several_parts_is_one_body() {
    for coding in [Coding::Gzip, Coding::Zstd] {
        let parts = [encode(coding, b"{\"a\""), encode(coding, b""), encode(coding, b":1}")].concat();
        assert_eq!(decoded(coding, &parts).as_deref(), Ok(&b"{\"a\":1}"[..]), "{coding:?}");
        // The bound is that of all parts together.
        let parts = encode(coding, &vec![b'0'; MIB / 4]).repeat(5);
        assert_eq!(decoded(coding, &parts), Err(DecodeError::TooLarge), "{coding:?}");
    }
}

#[test]
fn deflate_without_the_frame_of_zlib_is_refused() {
    let mut raw = flate2::write::DeflateEncoder::new(Vec::new(), Compression::fast());
    raw.write_all(b"{\"a\":1}").expect("a vector takes all");
    assert_eq!(decoded(Coding::Deflate, &raw.finish().expect("a vector")), Err(DecodeError::Malformed));
}

fn any_coding() -> impl Strategy<Value = Coding> {
    prop::sample::select(ALL.to_vec())
}

fn any_text() -> impl Strategy<Value = Vec<u8>> {
    let pieces = (any::<Vec<u8>>(), 1_usize..200);
    prop::collection::vec(pieces, 0..8)
        .prop_map(|pieces| pieces.into_iter().flat_map(|(piece, times)| piece.repeat(times)).collect())
}

proptest! {
    #[test]
    fn what_was_encoded_is_decoded_to_the_same(coding in any_coding(), text in any_text()) {
        let same = decoded(coding, &encode(coding, &text));
        prop_assert_eq!(same.as_deref(), Ok(&text[..]));
    }

    #[test]
    fn no_bytes_panic(coding in any_coding(), bytes: Vec<u8>) {
        prop_assert!(decoded(coding, &bytes).map_or(0, |all| all.len()) <= RATIO_FREE);
    }

    #[test]
    fn no_damage_panics(
        coding in any_coding(),
        text in any_text(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = encode(coding, &text);
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        prop_assert!(decoded(coding, &bytes).map_or(0, |all| all.len()) <= DECODED_MAX);
    }
}
