//! A response that is a stream of documents, undone of its coding and taken apart as it comes.
//!
//! Judges no part, and holds no more than one that has not come whole. Work is done in slices, so that a few bytes that
//! decode to many keep no worker.

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use rr_contract::policy::stream::{Framing, Look, Unframed, Units};

use crate::body::{Coding, DecodeError, Decoding, Held, NoRoom};

/// How many pieces of at most 16 KiB are decoded in one go.
const PIECES: usize = 32;

/// A stream under way.
pub(super) struct Parts {
    units: Units,
    /// `None`: it has no coding.
    decoding: Option<Box<Decoding>>,
    came: Option<Bytes>,
    /// For the part that has not come whole.
    held: Held,
}

/// Why a stream is not gone on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PartsError {
    #[error("stream cannot be decoded")]
    Undecodable(#[source] DecodeError),
    #[error(transparent)]
    Unframed(#[from] Unframed),
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
}

impl From<DecodeError> for PartsError {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::NoRoom(error) => Self::NoRoom(error),
            DecodeError::TooLarge | DecodeError::Malformed => Self::Undecodable(error),
        }
    }
}

/// The framing that a response has by its type.
pub(super) fn framing(headers: &HeaderMap) -> Option<Framing> {
    let value = headers.get(CONTENT_TYPE)?.as_bytes();
    Framing::of(value.split(|byte| *byte == b';').next()?.trim_ascii())
}

impl Parts {
    pub(super) fn new(framing: Framing, coding: Coding, held: Held) -> Self {
        let decoding = (coding != Coding::Identity).then(|| Box::new(Decoding::new(coding, held.another())));
        Self { units: Units::new(framing), decoding, came: None, held }
    }

    /// The same, where its first bytes have been decoded already.
    pub(super) fn of_decoding(framing: Framing, decoding: Option<Box<Decoding>>, held: Held) -> Self {
        Self { units: Units::new(framing), decoding, came: None, held }
    }

    /// Takes more of it. What came before has been gone over.
    pub(super) fn push(&mut self, data: Bytes) {
        match &mut self.decoding {
            Some(decoding) => decoding.push(data),
            None => self.came = Some(data),
        }
    }

    /// Goes over what is decoded already.
    pub(super) fn take(&mut self, piece: &[u8], look: &mut impl Look) -> Result<(), PartsError> {
        self.units.push(piece, look)?;
        Ok(self.held.hold(self.units.held())?)
    }

    /// Goes on for a while. Whether all that has come was gone over.
    pub(super) fn advance(&mut self, look: &mut impl Look) -> Result<bool, PartsError> {
        if let Some(came) = self.came.take() {
            self.take(&came, look)?;
        }
        for _ in 0..PIECES {
            let Some(decoding) = &mut self.decoding else { return Ok(true) };
            let Some(piece) = decoding.next()? else { return Ok(true) };
            self.take(&piece, look)?;
        }
        Ok(false)
    }

    /// The stream has ended, all of which was gone over.
    pub(super) fn finish(&mut self, look: &mut impl Look) -> Result<(), PartsError> {
        if let Some(decoding) = &self.decoding {
            decoding.finish()?;
        }
        Ok(self.units.finish(look)?)
    }
}
