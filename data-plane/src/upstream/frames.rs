//! Heads of HTTP/2, found in the frames that the HTTP library is about to read.
//!
//! The library keeps each interim answer until it is passed over, without a bound. Looks at lengths and types of frames
//! alone, and keeps nothing. The invariant: a head is found once, in whatever pieces it comes.

/// The length of what goes before a frame's payload.
const PREFIX: usize = 9;
/// The type of HEADERS.
const HEADERS: u8 = 1;

/// Where among the frames the next byte stands.
#[derive(Default)]
pub(super) struct Frames {
    prefix: [u8; PREFIX],
    /// How much of it has come.
    came: usize,
    /// How much of the payload is still to come.
    left: usize,
}

impl Frames {
    /// Goes over these bytes, and says how many heads begin in them: answers, interim answers, trailers.
    pub(super) fn pass(&mut self, mut bytes: &[u8]) -> u32 {
        let mut found = 0;
        while !bytes.is_empty() {
            if self.left > 0 {
                let passed = self.left.min(bytes.len());
                self.left -= passed;
                bytes = &bytes[passed..];
                continue;
            }
            let count = (PREFIX - self.came).min(bytes.len());
            self.prefix[self.came..][..count].copy_from_slice(&bytes[..count]);
            self.came += count;
            bytes = &bytes[count..];
            if self.came == PREFIX {
                let [a, b, c, kind, ..] = self.prefix;
                self.left = u32::from_be_bytes([0, a, b, c]) as usize;
                self.came = 0;
                found += u32::from(kind == HEADERS);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let [.., a, b, c] = payload.len().to_be_bytes();
        [&[a, b, c, kind, 4, 0, 0, 0, 1], payload].concat()
    }

    #[test]
    fn heads_are_counted_in_whatever_pieces_they_come() {
        let inner = frame(HEADERS, b"not one");
        let long = [1; 70_000];
        let all =
            [frame(4, &[]), frame(HEADERS, &inner), frame(0, &long), frame(HEADERS, &[]), frame(9, &inner)];
        let all = all.concat();
        for size in [1, 2, 8, 9, 10, 1_000, all.len()] {
            let mut frames = Frames::default();
            let found: u32 = all.chunks(size).map(|piece| frames.pass(piece)).sum();
            assert_eq!(found, 2, "{size}");
        }
    }
}
