//! Amazon's event stream: a length, headers, a payload, and checksums, which are left to whoever reads the message.

use data_encoding::BASE64;

use crate::json::{Reader, Value};

use super::Unframed;

/// Two lengths and their checksum before the headers, and a checksum behind the payload.
const PRELUDE: usize = 12;
const CHECKSUM: usize = 4;
/// The longest message that the format knows, generously.
const MESSAGE_MAX: u32 = 32 * 1024 * 1024;
/// Kinds of headers.
const TEXT: u8 = 7;

/// Where a message ends.
#[derive(Debug, Default)]
pub(super) struct Messages {
    /// What has come of the length.
    length: [u8; 4],
    came: usize,
    /// Bytes of the message behind its length that are still to come.
    left: u32,
}

impl Messages {
    /// Where the message under way ends in a piece.
    pub(super) fn end(&mut self, piece: &[u8]) -> Result<Option<usize>, Unframed> {
        let of_length = piece.len().min(self.length.len() - self.came);
        self.length[self.came..self.came + of_length].copy_from_slice(&piece[..of_length]);
        self.came += of_length;
        if self.came < self.length.len() {
            return Ok(None);
        }
        if of_length > 0 {
            let length = u32::from_be_bytes(self.length);
            if length < (PRELUDE + CHECKSUM) as u32 || length > MESSAGE_MAX {
                return Err(Unframed);
            }
            self.left = length - 4;
        }
        let rest = piece.len() - of_length;
        match usize::try_from(self.left) {
            Ok(left) if left <= rest => {
                *self = Self::default();
                Ok(Some(of_length + left))
            }
            Ok(_) | Err(_) => {
                self.left -= rest as u32;
                Ok(None)
            }
        }
    }

    /// Whether no message is under way.
    pub(super) fn is_between(&self) -> bool {
        self.came == 0
    }
}

/// The payload of a message; of a `chunk` of a model, the document that is encoded in it.
pub(super) fn payload<'u>(unit: &'u [u8], decoded: &'u mut Vec<u8>) -> Option<&'u [u8]> {
    let headers = u32::from_be_bytes(*unit.get(4..)?.first_chunk()?);
    let payload = PRELUDE.checked_add(usize::try_from(headers).ok()?)?;
    let (headers, payload) =
        (unit.get(PRELUDE..payload)?, unit.get(payload..unit.len().checked_sub(CHECKSUM)?)?);
    if header(headers, b":event-type") != Some(b"chunk") {
        return Some(payload);
    }
    let inner = bytes_of(payload)?;
    *decoded = BASE64.decode(inner.as_bytes()).ok()?;
    Some(decoded)
}

/// The text of a header.
fn header<'u>(mut headers: &'u [u8], wanted: &[u8]) -> Option<&'u [u8]> {
    loop {
        let (length, rest) = headers.split_first()?;
        let (name, rest) = rest.split_at_checked(usize::from(*length))?;
        let (kind, rest) = rest.split_first()?;
        let length = match *kind {
            0 | 1 => 0,
            2 => 1,
            3 => 2,
            4 => 4,
            5 | 8 => 8,
            9 => 16,
            6 | TEXT => 2 + usize::from(u16::from_be_bytes(*rest.first_chunk()?)),
            _ => return None,
        };
        let (value, rest) = rest.split_at_checked(length)?;
        if name == wanted {
            return if *kind == TEXT { value.get(2..) } else { None };
        }
        headers = rest;
    }
}

/// The member `bytes` of an object.
fn bytes_of(document: &[u8]) -> Option<String> {
    let mut reader = Reader::new(document).ok()?;
    let Value::Object = reader.value().ok()? else { return None };
    let mut first = true;
    while let Some(key) = reader.member(first).ok()? {
        first = false;
        if key.unescaped() != "bytes" {
            reader.pass().ok()?;
            continue;
        }
        return match reader.value().ok()? {
            Value::Text(text) => Some(text.unescaped().into_owned()),
            _ => None,
        };
    }
    None
}
