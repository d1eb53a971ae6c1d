//! HTTP/2 frame by frame, for peers that break its rules: written as a test says, and read back.
//!
//! Compresses nothing, and of a header block reads only the status. Keeps no rule of the protocol.

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// DATA.
pub const DATA: u8 = 0;
/// HEADERS.
pub const HEADERS: u8 = 1;
/// PRIORITY.
pub const PRIORITY: u8 = 2;
/// `RST_STREAM`.
pub const RST_STREAM: u8 = 3;
/// SETTINGS.
pub const SETTINGS: u8 = 4;
/// `PUSH_PROMISE`.
pub const PUSH_PROMISE: u8 = 5;
/// PING.
pub const PING: u8 = 6;
/// GOAWAY.
pub const GOAWAY: u8 = 7;
/// `WINDOW_UPDATE`.
pub const WINDOW_UPDATE: u8 = 8;
/// CONTINUATION.
pub const CONTINUATION: u8 = 9;

/// The flag of DATA and HEADERS.
pub const END_STREAM: u8 = 1;
/// The flag of SETTINGS and PING.
pub const ACK: u8 = 1;
/// The flag of HEADERS and CONTINUATION.
pub const END_HEADERS: u8 = 4;
/// The flag of DATA and HEADERS.
pub const PADDED: u8 = 8;
/// The flag of HEADERS.
pub const WITH_PRIORITY: u8 = 0x20;

/// With what a client opens.
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Its type.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream; 0 is the connection.
    pub stream: u32,
    /// What it carries.
    pub payload: Vec<u8>,
}

impl Frame {
    /// The error code of `RST_STREAM` and GOAWAY.
    pub fn error(&self) -> Option<u32> {
        let code = match self.kind {
            RST_STREAM => self.payload.get(..4)?,
            GOAWAY => self.payload.get(4..8)?,
            _ => return None,
        };
        Some(u32::from_be_bytes(code.try_into().ok()?))
    }

    /// The status of an answer's first HEADERS on a connection.
    pub fn status(&self) -> Option<u16> {
        if self.kind != HEADERS {
            return None;
        }
        // The table of the peer may change its size first.
        let block = &self.payload[self.payload.iter().position(|byte| byte >> 5 != 1)?..];
        const KNOWN: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
        match block {
            [index @ 0x88..=0x8e, ..] => Some(KNOWN[usize::from(index - 0x88)]),
            // A name from the table, and a value of its own, as it is or in the code of RFC 7541.
            [0x48 | 0x08 | 0x18, 3, digits @ ..] => std::str::from_utf8(digits.get(..3)?).ok()?.parse().ok(),
            [0x48 | 0x08 | 0x18, length, coded @ ..] if length & 0x80 != 0 => {
                decoded(coded.get(..usize::from(length & 0x7f))?)
            }
            _ => None,
        }
    }
}

/// Three digits in the code of RFC 7541: 0 to 2 have five bits, the others six.
fn decoded(coded: &[u8]) -> Option<u16> {
    let mut bits = coded.iter().flat_map(|byte| (0..8).rev().map(move |at| u16::from(byte >> at & 1)));
    let mut number = 0;
    for _ in 0..3 {
        let mut code = 0;
        for _ in 0..5 {
            code = code << 1 | bits.next()?;
        }
        let digit = if code < 3 { code } else { (code << 1 | bits.next()?) - 0x19 + 3 };
        number = number * 10 + digit;
    }
    Some(number)
}

/// The bytes of a frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a test's frame is short");
    let mut bytes = length.to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A header block in which nothing is compressed and nothing remembered.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            number(&mut block, 7, 0, text.len());
            block.extend(text.as_bytes());
        }
    }
    block
}

/// A number behind a prefix of so many bits.
pub fn number(out: &mut Vec<u8>, bits: u32, first: u8, number: usize) {
    let most = (1 << bits) - 1;
    if number < most {
        return out.push(first | u8::try_from(number).expect("it fits the prefix"));
    }
    out.push(first | u8::try_from(most).expect("a prefix has at most eight bits"));
    let mut rest = number - most;
    while rest >= 0x80 {
        out.push(0x80 | u8::try_from(rest & 0x7f).expect("seven bits"));
        rest >>= 7;
    }
    out.push(u8::try_from(rest).expect("seven bits"));
}

/// HEADERS in one frame.
pub fn headers(stream: u32, end: bool, fields: &[(&str, &str)]) -> Vec<u8> {
    let flags = END_HEADERS | if end { END_STREAM } else { 0 };
    frame(HEADERS, flags, stream, &block(fields))
}

/// SETTINGS of these numbers and values.
pub fn settings(values: &[(u16, u32)]) -> Vec<u8> {
    let payload: Vec<u8> = values
        .iter()
        .flat_map(|(number, value)| [&number.to_be_bytes()[..], &value.to_be_bytes()].concat())
        .collect();
    frame(SETTINGS, 0, 0, &payload)
}

/// `WINDOW_UPDATE`.
pub fn window_update(stream: u32, more: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &more.to_be_bytes())
}

/// The next frame; `None` at the end.
pub async fn read_frame(stream: &mut (impl AsyncRead + Unpin)) -> Option<Frame> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.ok()?;
    let [a, b, c, kind, flags, id @ ..] = head;
    let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
    stream.read_exact(&mut payload).await.ok()?;
    Some(Frame { kind, flags, stream: u32::from_be_bytes(id) & 0x7fff_ffff, payload })
}

/// Answers what every server has to answer, and returns the next frame that asks for something else; `None` at the end.
pub async fn next_frame(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> Option<Frame> {
    loop {
        let came = read_frame(stream).await?;
        let answer = match (came.kind, came.flags & ACK) {
            (SETTINGS, 0) => frame(SETTINGS, ACK, 0, &[]),
            (PING, 0) => frame(PING, ACK, 0, &came.payload),
            (SETTINGS | PING, _) => continue,
            _ => return Some(came),
        };
        // It may be gone by now, which the next read tells.
        if stream.write_all(&answer).await.is_err() {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_in_all_its_forms() {
        let status =
            |payload: &[u8]| Frame { kind: HEADERS, flags: 0, stream: 1, payload: payload.to_vec() }.status();
        assert_eq!(status(&[0x88]), Some(200));
        assert_eq!(status(&[0x3f, 0xe1, 0x1f, 0x8c]), None);
        assert_eq!(status(&[0x20, 0x8c]), Some(400));
        assert_eq!(status(b"\x48\x03502"), Some(502));
        // The examples of RFC 7541: 302 and 307.
        assert_eq!(status(&[0x48, 0x82, 0x64, 0x02]), Some(302));
        assert_eq!(status(&[0x48, 0x83, 0x64, 0x0e, 0xff]), Some(307));
    }
}
