//! A body that is held whole, on its way out.
//!
//! Hands over copies of its pieces: whoever writes them to a slow peer has no more of the body than a piece or two, so
//! all of it is free when the last piece is gone. The invariant: as long as the bytes are there, they are held.

use bytes::Bytes;

use super::Held;

/// How much goes out at once. A body of one piece is not copied.
const PIECE: usize = 64 * 1024;

/// The bytes, and the right to hold them.
pub(crate) struct Whole {
    bytes: Bytes,
    held: Held,
}

impl Whole {
    /// `held` is for these bytes, or they are another's who holds them for longer.
    pub(crate) fn new(bytes: Bytes, held: Held) -> Self {
        Self { bytes, held }
    }

    /// For a copy of them.
    pub(crate) fn another(&self) -> Held {
        self.held.another()
    }

    pub(crate) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The piece that begins there.
    pub(crate) fn piece(&self, at: usize) -> Bytes {
        if self.bytes.len() <= PIECE {
            return self.bytes.slice(at..);
        }
        let rest = &self.bytes[at..];
        Bytes::copy_from_slice(&rest[..rest.len().min(PIECE)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_all_of_a_body_and_share_nothing_with_a_long_one() {
        for length in [0, 1, PIECE, PIECE + 1, 3 * PIECE] {
            let bytes: Bytes = (0..length).map(|at| (at / 7) as u8).collect::<Vec<_>>().into();
            let whole = Whole::new(bytes.clone(), Held::ample());
            let mut out = Vec::new();
            while out.len() < whole.len() {
                let piece = whole.piece(out.len());
                assert!(!piece.is_empty() && piece.len() <= PIECE);
                let is_shared = bytes.as_ptr_range().contains(&piece.as_ptr());
                assert_eq!(is_shared, length <= PIECE, "{length}");
                out.extend_from_slice(&piece);
            }
            assert!(out == bytes);
        }
    }
}
