//! The bytes of a body while it is put together.
//!
//! A short one is a vector. A long one is a mapping of its own, as long as the body may become, which takes the memory that was
//! written to and no more: it grows where it is, with no second copy beside it, and the system has it back with its end. It
//! does not know how many bytes may be held: [`Held`](super::Held) asks for room.

use std::io;

use bytes::Bytes;
use memmap2::MmapMut;

/// From here on a buffer is a mapping.
const LONG: usize = 128 * 1024;
/// How much room a mapping reserves at the most, unless it is asked for more at once. Nothing is taken by that.
const RESERVED_MAX: usize = 64 * 1024 * 1024;
const PAGE: usize = 4096;

/// Grows up to its room; more has to be made before more is written.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    store: Store,
    len: usize,
    room: usize,
}

#[derive(Debug)]
enum Store {
    Short(Vec<u8>),
    Long(MmapMut),
}

/// A long buffer that is shared as [`Bytes`].
struct Shared {
    mapping: MmapMut,
    len: usize,
}

impl Default for Store {
    fn default() -> Self {
        Self::Short(Vec::new())
    }
}

impl Buffer {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many bytes it may have, with those that it has.
    pub(crate) fn room(&self) -> usize {
        self.room
    }

    /// Whether it is a mapping already: more room costs nothing but what is written there.
    pub(super) fn is_long(&self) -> bool {
        matches!(self.store, Store::Long(_))
    }

    /// How many bytes there are while room for `to` is made: more than afterwards, where what is there has to move.
    pub(super) fn costs(&self, to: usize) -> usize {
        match &self.store {
            Store::Long(mapping) if to <= mapping.len() => to,
            Store::Short(_) | Store::Long(_) => self.room.saturating_add(to),
        }
    }

    /// Makes room for `to` bytes, of `most` that there can ever be. Fails where the system has none.
    pub(super) fn make_room(&mut self, to: usize, most: usize) -> io::Result<()> {
        match &mut self.store {
            Store::Short(bytes) if to <= LONG => bytes.reserve_exact(to - self.len),
            Store::Long(mapping) if to <= mapping.len() => {}
            Store::Short(_) | Store::Long(_) => {
                let mut mapping = MmapMut::map_anon(most.min(RESERVED_MAX).max(to))?;
                mapping[..self.len].copy_from_slice(self.bytes());
                self.store = Store::Long(mapping);
            }
        }
        self.room = to;
        Ok(())
    }

    /// Appends bytes, for which there is room.
    pub(crate) fn extend_from_slice(&mut self, more: &[u8]) {
        assert!(more.len() <= self.room - self.len, "room was made for what comes");
        match &mut self.store {
            Store::Short(bytes) => bytes.extend_from_slice(more),
            Store::Long(mapping) => mapping[self.len..][..more.len()].copy_from_slice(more),
        }
        self.len += more.len();
    }

    /// Has up to `most` bytes of its room written by somebody who says how many.
    pub(super) fn fill<T>(&mut self, most: usize, write: impl FnOnce(&mut [u8]) -> (usize, T)) -> T {
        let most = most.min(self.room - self.len);
        let (wrote, result) = match &mut self.store {
            Store::Short(bytes) => {
                bytes.resize(self.len + most, 0);
                let (wrote, result) = write(&mut bytes[self.len..]);
                bytes.truncate(self.len + wrote);
                (wrote, result)
            }
            Store::Long(mapping) => write(&mut mapping[self.len..][..most]),
        };
        self.len += wrote;
        result
    }

    /// Gives up its room but for a little beside its bytes; returns how much is left of it. Where that takes another copy, it
    /// is made if `may_copy`.
    pub(super) fn fit(&mut self, spare: usize, may_copy: impl FnOnce(usize) -> bool) -> usize {
        match &mut self.store {
            Store::Short(bytes) => {
                if self.room - self.len > spare && may_copy(self.room + self.len) {
                    bytes.shrink_to_fit();
                    self.room = self.len;
                }
            }
            // The pages behind were never touched.
            Store::Long(_) => self.room = self.room.min(self.len.next_multiple_of(PAGE)),
        }
        self.room
    }

    pub(crate) fn into_bytes(self) -> Bytes {
        match self.store {
            Store::Short(bytes) => bytes.into(),
            Store::Long(mapping) => Bytes::from_owner(Shared { mapping, len: self.len }),
        }
    }

    fn bytes(&self) -> &[u8] {
        match &self.store {
            Store::Short(bytes) => bytes,
            Store::Long(mapping) => &mapping[..self.len],
        }
    }
}

/// Takes what there is room for.
impl io::Write for Buffer {
    fn write(&mut self, more: &[u8]) -> io::Result<usize> {
        let more = &more[..more.len().min(self.room - self.len)];
        self.extend_from_slice(more);
        Ok(more.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.mapping[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn of(length: usize, most: usize) -> Buffer {
        let mut buffer = Buffer::default();
        let bytes: Vec<u8> = (0..length).map(|at| (at / 7) as u8).collect();
        for piece in bytes.chunks(10_000) {
            buffer.make_room(buffer.len() + piece.len(), most).expect("there is memory");
            buffer.extend_from_slice(piece);
        }
        assert!(buffer.clone_bytes() == bytes);
        buffer
    }

    impl Buffer {
        fn clone_bytes(&self) -> Vec<u8> {
            self.bytes().to_vec()
        }
    }

    #[test]
    fn short_and_long_ones_have_what_was_written_and_nothing_else() {
        for length in [0, 1, LONG - 1, LONG, LONG + 1, 5 * LONG] {
            let buffer = of(length, 6 * LONG);
            assert_eq!(
                (buffer.len(), buffer.is_long(), buffer.is_empty()),
                (length, length > LONG, length == 0)
            );
            let bytes = buffer.clone_bytes();
            assert!(buffer.into_bytes() == bytes);
        }
    }

    #[test]
    fn a_long_one_grows_where_it_is() {
        let mut buffer = of(LONG + 1, 10 * LONG);
        let place = buffer.bytes().as_ptr();
        assert_eq!(buffer.costs(10 * LONG), 10 * LONG, "there is no second copy");
        buffer.make_room(10 * LONG, 10 * LONG).expect("there is memory");
        assert_eq!(
            buffer.fill(LONG, |spare| {
                spare.fill(1);
                (spare.len() - 1, spare.len())
            }),
            LONG
        );
        assert_eq!((buffer.len(), buffer.bytes().as_ptr()), (2 * LONG, place));
        assert_eq!(buffer.fit(0, |_| panic!("nothing is copied")), 2 * LONG);
        let bytes = buffer.into_bytes();
        assert_eq!((bytes.as_ptr(), bytes.len()), (place, 2 * LONG));
    }

    #[test]
    fn where_it_has_to_move_both_copies_cost() {
        let short = of(1_000, 2_000);
        assert_eq!(short.costs(2_000), 3_000);
        let long = of(2 * LONG, 2 * LONG);
        assert_eq!(long.costs(2 * LONG + 1), 4 * LONG + 1, "it said that there would be no more");
    }

    #[test]
    fn what_there_is_no_memory_for_is_refused_and_what_came_stays() {
        let mut buffer = of(10, 100);
        buffer.make_room(usize::MAX / 4, usize::MAX).expect_err("nobody has so much");
        assert_eq!((buffer.room(), buffer.clone_bytes().len()), (10, 10));
    }

    #[test]
    fn a_writer_is_told_where_the_room_ends() {
        let mut buffer = of(10, 100);
        buffer.make_room(15, 100).expect("there is memory");
        assert_eq!(buffer.write(&[1; 10]).expect("takes some"), 5);
        assert!(buffer.write_all(&[1]).is_err());
    }
}
