//! The header of the PROXY protocol, version 2: a proxy in front of this node says whose connection it passes on.
//!
//! Read from addresses that the node's settings name, and from nobody else. Reads not a byte more than the header, so
//! what follows may be TLS. Type-length-values behind the addresses are skipped: none of them decides anything here.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tokio::io::{AsyncRead, AsyncReadExt as _};

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Addresses and type-length-values. Proxies send some hundred bytes; a certificate does not fit, and is not read.
const LENGTH_MAX: u16 = 4096;

/// Why a connection does not begin as it should.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProxyHeaderError {
    /// As for a health check that only connects.
    #[error("connection ended without a byte")]
    Nothing,
    #[error("connection ended in the PROXY header")]
    Read(#[source] io::Error),
    #[error("connection does not begin with a PROXY header of version 2")]
    Missing,
    #[error("PROXY header of {0} bytes is too long")]
    TooLong(u16),
    #[error("PROXY header is malformed")]
    Malformed,
}

/// Reads the header. `None`: the proxy speaks for itself, as for a health check.
pub(super) async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Option<IpAddr>, ProxyHeaderError> {
    let mut head = [0; 16];
    // What is no header is not waited for to its end: a caller might wait for an answer first.
    let (signature, rest) = head.split_at_mut(SIGNATURE.len());
    let mut read = 0;
    while read < signature.len() {
        match stream.read(&mut signature[read..]).await.map_err(ProxyHeaderError::Read)? {
            0 if read == 0 => return Err(ProxyHeaderError::Nothing),
            0 => return Err(ProxyHeaderError::Read(io::ErrorKind::UnexpectedEof.into())),
            more => read += more,
        }
        if signature[..read] != SIGNATURE[..read] {
            return Err(ProxyHeaderError::Missing);
        }
    }
    stream.read_exact(rest).await.map_err(ProxyHeaderError::Read)?;
    let [version, family, high, low] = *rest else { return Err(ProxyHeaderError::Malformed) };
    let length = u16::from_be_bytes([high, low]);
    if length > LENGTH_MAX {
        return Err(ProxyHeaderError::TooLong(length));
    }
    let mut body = vec![0; usize::from(length)];
    stream.read_exact(&mut body).await.map_err(ProxyHeaderError::Read)?;
    let is_local = match version {
        0x20 => true,
        0x21 => false,
        _ => return Err(ProxyHeaderError::Malformed),
    };
    if is_local {
        return Ok(None);
    }
    // Of each family, source and destination address, then both ports.
    match family {
        0x11 => part::<4>(&body, 12).map(|source| Ipv4Addr::from(source).into()),
        0x21 => part::<16>(&body, 36).map(|source| Ipv6Addr::from(source).into()),
        _ => None,
    }
    .map(Some)
    .ok_or(ProxyHeaderError::Malformed)
}

/// The first bytes, where all that belongs to them is there.
fn part<const N: usize>(body: &[u8], whole: usize) -> Option<[u8; N]> {
    body.get(..whole)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use tokio::io::ReadBuf;

    use super::*;

    /// Gives one byte at a time.
    struct Torn<'b>(&'b [u8]);

    impl AsyncRead for Torn<'_> {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            if let Some((first, rest)) = self.0.split_first() {
                buffer.put_slice(&[*first]);
                self.0 = rest;
            }
            Poll::Ready(Ok(()))
        }
    }

    fn header(version: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).expect("short").to_be_bytes();
        [&SIGNATURE[..], &[version, family], &length, body].concat()
    }

    /// What is read, and what is left of `bytes`.
    async fn of(bytes: &[u8]) -> (Result<Option<IpAddr>, String>, Vec<u8>) {
        let mut torn = Torn(bytes);
        let read = read(&mut torn).await.map_err(|error| error.to_string());
        let mut whole = bytes;
        let at_once = super::read(&mut whole).await.map_err(|error| error.to_string());
        assert_eq!(read, at_once, "however it is torn");
        if read.is_ok() {
            assert_eq!(torn.0, whole);
        }
        (read, torn.0.to_vec())
    }

    const IPV4: [u8; 12] = [198, 51, 100, 7, 10, 0, 0, 1, 0x12, 0x34, 1, 187];

    #[tokio::test]
    async fn the_source_is_the_caller_and_not_a_byte_behind_the_header_is_taken() {
        let mut ipv6 = [0; 36];
        ipv6[..4].copy_from_slice(&[0x20, 1, 0x0d, 0xb8]);
        ipv6[15] = 7;
        let tlvs = [&IPV4[..], &[0x20, 0, 5, 1, 0, 0, 0, 0]].concat();
        for (header, caller) in [
            (header(0x21, 0x11, &IPV4), Some("198.51.100.7")),
            (header(0x21, 0x11, &tlvs), Some("198.51.100.7")),
            (header(0x21, 0x21, &ipv6), Some("2001:db8::7")),
            (header(0x20, 0x00, &[]), None),
            (header(0x20, 0x11, &IPV4), None),
        ] {
            let (read, left) = of(&[&header[..], b"\x16\x03rest"].concat()).await;
            assert_eq!(read, Ok(caller.map(|text| text.parse().expect("an address"))));
            assert_eq!(left, b"\x16\x03rest");
        }
    }

    #[tokio::test]
    async fn what_is_no_whole_header_of_version_2_is_refused() {
        let missing = Err("connection does not begin with a PROXY header of version 2".to_owned());
        for begin in
            [&b"GET / HTTP/1.1\r\n\r\n"[..], b"PROXY TCP4 1.2.3.4 ", b"\x16\x03\x01", b"\r\n\r\n\0\r\nQUIT\r"]
        {
            assert_eq!(of(begin).await.0, missing);
        }
        let malformed = Err("PROXY header is malformed".to_owned());
        for header in [
            header(0x11, 0x11, &IPV4),
            header(0x22, 0x11, &IPV4),
            header(0x21, 0x11, &IPV4[..11]),
            header(0x21, 0x21, &IPV4),
            // Datagrams and paths of sockets come from nobody whom this port serves.
            header(0x21, 0x12, &IPV4),
            header(0x21, 0x31, &[0; 216]),
            header(0x21, 0x00, &[]),
        ] {
            assert_eq!(of(&header).await.0, malformed);
        }
        let long = header(0x21, 0x11, &[0; LENGTH_MAX as usize + 1]);
        assert_eq!(of(&long).await.0, Err("PROXY header of 4097 bytes is too long".to_owned()));
        let whole = header(0x21, 0x11, &IPV4);
        assert_eq!(of(b"").await.0, Err("connection ended without a byte".to_owned()));
        for cut in [1, 5, 12, 15, 16, whole.len() - 1] {
            let ended = Err("connection ended in the PROXY header".to_owned());
            assert_eq!(of(&whole[..cut]).await.0, ended, "{cut}");
        }
    }
}
