//! Interim answers (1xx) of HTTP/1.1, found in the bytes that the HTTP library is about to read.
//!
//! The library passes over them without a bound. Reads no more of an answer than its status, and keeps nothing. The
//! invariant: an interim answer is found once, in whatever pieces it comes.

/// Interim answers before an answer. Servers that report progress send one every few seconds.
pub(super) const INTERIM_MAX: u32 = 64;
/// The length of `HTTP/1.1 100`.
const STATUS: usize = 12;

/// Where in an answer's head the next byte stands.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place {
    /// In what leads to the status, so many bytes of which have come.
    Status([u8; STATUS], usize),
    /// In the fields of an interim answer, behind so many bytes of the end of its last line.
    Fields(u8),
    /// Behind the status of the answer itself, or no answer is waited for.
    Answer,
}

impl Place {
    /// Before the first byte of an answer.
    pub(super) const START: Self = Self::Status([0; STATUS], 0);

    /// Goes over these bytes, and says how many interim answers begin in them.
    pub(super) fn pass(&mut self, bytes: &[u8]) -> u32 {
        // As nearly every answer comes: its status in one piece, and none before it.
        if matches!(self, Self::Status(_, 0))
            && let Some(status) = bytes.first_chunk()
            && status.starts_with(b"HTTP/")
            && !is_interim(*status)
        {
            *self = Self::Answer;
            return 0;
        }
        let mut found = 0;
        for byte in bytes {
            *self = match *self {
                Self::Answer => break,
                // Empty lines before an answer are passed over.
                Self::Status(_, 0) if matches!(byte, b'\r' | b'\n') => continue,
                Self::Status(mut status, count) => {
                    status[count] = *byte;
                    match count + 1 {
                        STATUS if is_interim(status) => {
                            found += 1;
                            Self::Fields(0)
                        }
                        STATUS => Self::Answer,
                        more => Self::Status(status, more),
                    }
                }
                // A line ends with LF, with or without a CR before it; a head ends with an empty line.
                Self::Fields(behind) => match (byte, behind) {
                    (b'\n', 0) => Self::Fields(1),
                    (b'\n', _) => Self::START,
                    (b'\r', 1) => Self::Fields(2),
                    _ => Self::Fields(0),
                },
            };
        }
        found
    }
}

/// Whether an answer follows. After a change of protocol none does.
fn is_interim(status: [u8; STATUS]) -> bool {
    status.starts_with(b"HTTP/1.") && status[9] == b'1' && status[10..] != *b"01"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(pieces: &[&[u8]]) -> u32 {
        let mut place = Place::START;
        pieces.iter().map(|piece| place.pass(piece)).sum()
    }

    #[test]
    fn interim_answers_are_counted_in_whatever_pieces_they_come() {
        let answer = b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n";
        for (before, wanted) in [
            ("", 0),
            ("HTTP/1.1 100 Continue\r\n\r\n", 1),
            ("\r\nHTTP/1.1 102 Processing\n\nHTTP/1.0 199 x\r\nx: HTTP/1.1 100\r\n\r\n", 2),
            ("HTTP/1.1 103\r\nlink: a\r\n\nHTTP/1.1 103\r\nlink: b\n\r\nHTTP/1.1 103\r\n\r\n", 3),
            ("HTTP/1.1 101 Switching Protocols\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n", 0),
            ("HTTP/1.1 1000\r\n\r\n", 1),
        ] {
            let all = [before.as_bytes(), answer].concat();
            assert_eq!(count(&[&all]), wanted, "{before}");
            let bytes: Vec<&[u8]> = all.chunks(1).collect();
            assert_eq!(count(&bytes), wanted, "{before}");
        }
    }
}
