//! Undoes a content coding of a body that streams.
//!
//! Holds no more of the body than came last, a piece of what it decodes to, and the window of its coding, which is held
//! within the budget. A bomb is stopped as it is where a body is decoded whole, but for how much one may come to.

use bytes::{Buf as _, Bytes};

use super::super::{Coding, Held};
use super::{DecodeError, Engine, LITTLE, RATIO_FREE, RATIO_MAX};

/// The longest piece that comes out at once.
const PIECE: usize = 16 * 1024;
/// What an engine takes for itself: what deflate has, and the largest windows that are taken of the others.
const DEFLATE_ROOM: usize = 48 * 1024;
const ZSTD_ROOM: usize = 8 * 1024 * 1024;

/// A body that is being decoded as it comes.
pub(crate) struct Decoding {
    engine: Engine,
    coding: Coding,
    came: Bytes,
    read: u64,
    wrote: u64,
    /// At the end of the body, or of one of the parts that it may consist of.
    at_end: bool,
    held: Held,
    has_begun: bool,
}

impl Decoding {
    pub(crate) fn new(coding: Coding, held: Held) -> Self {
        let engine = Engine::new(coding);
        Self { engine, coding, came: Bytes::new(), read: 0, wrote: 0, at_end: true, held, has_begun: false }
    }

    /// Takes more of the body. What came before has been decoded.
    pub(crate) fn push(&mut self, more: Bytes) {
        self.came = more;
    }

    /// The next piece of what it decodes to; `None`: more of it has to come.
    pub(crate) fn next(&mut self) -> Result<Option<Bytes>, DecodeError> {
        loop {
            if self.at_end {
                let Some(first) = self.came.first().copied() else { return Ok(None) };
                self.begin(first)?;
            }
            let room = (self.came.len() * 4).clamp(LITTLE, PIECE);
            let mut piece = vec![0; room];
            let ran = self.engine.run(&self.came, &mut piece)?;
            self.came.advance(ran.read);
            self.read += ran.read as u64;
            self.wrote += ran.wrote as u64;
            if self.wrote > (RATIO_FREE as u64).max(self.read.saturating_mul(RATIO_MAX as u64)) {
                return Err(DecodeError::TooLarge);
            }
            self.at_end = ran.ended;
            if ran.wrote > 0 {
                piece.truncate(ran.wrote);
                return Ok(Some(piece.into()));
            }
            if ran.read == 0 && !ran.ended {
                return if self.came.is_empty() { Ok(None) } else { Err(DecodeError::Malformed) };
            }
        }
    }

    /// Whether the body is whole, now that no more of it comes.
    pub(crate) fn finish(&self) -> Result<(), DecodeError> {
        if self.at_end { Ok(()) } else { Err(DecodeError::Malformed) }
    }

    fn begin(&mut self, first: u8) -> Result<(), DecodeError> {
        self.at_end = false;
        if self.has_begun {
            return self.engine.next_part();
        }
        self.has_begun = true;
        let room = match self.coding {
            Coding::Identity => 0,
            Coding::Gzip | Coding::Deflate => DEFLATE_ROOM,
            Coding::Br => brotli_window(first),
            Coding::Zstd => ZSTD_ROOM,
        };
        Ok(self.held.hold(room)?)
    }
}

/// The window of a brotli stream, by its first byte (RFC 7932, 9.1).
fn brotli_window(first: u8) -> usize {
    let bits = match (first & 1, first >> 1 & 7, first >> 4 & 7) {
        (0, ..) => 16,
        (_, 0, 0) => 17,
        (_, 0, more) => 8 + more,
        (_, more, _) => 17 + more,
    };
    1 << bits
}
