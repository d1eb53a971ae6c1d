//! A copy of a response's body for the meters that read a number in it.
//!
//! Bounded, and dropped where it would not be JSON anyway, or where there is no room for it: then the number is missing.

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;

use crate::body::{Buffer, Coding, DecodeError, Held, NoRoom, Whole, decode};

/// How much is copied of a body, in bytes as it comes. A longer one has no number.
const COPY_MAX: usize = 8 * 1024 * 1024;

pub(crate) struct Tee {
    coding: Coding,
    /// `None`: it was too long, or there was no room.
    copy: Option<Copy>,
    held: Held,
    is_refused: bool,
}

enum Copy {
    /// The usual case: one frame, shared and not copied.
    One(Bytes),
    Many(Buffer),
}

impl Tee {
    /// For a response with these headers; `None` where no number can be in it.
    pub(super) fn of(headers: &HeaderMap, hold: impl FnOnce() -> Held) -> Option<Self> {
        let coding = Coding::of(headers).ok()?;
        let copy = Some(Copy::One(Bytes::new()));
        may_be_json(headers).then(|| Self { coding, copy, held: hold(), is_refused: false })
    }

    pub(super) fn copy(&mut self, data: &Bytes) {
        let Some(copy) = self.copy.take() else { return };
        if copy.length() + data.len() <= COPY_MAX {
            match copy.longer(data, &mut self.held) {
                Ok(copy) => {
                    self.copy = Some(copy);
                    return;
                }
                Err(NoRoom) => self.is_refused = true,
            }
        }
        self.held.keep(0);
    }

    /// How long it is, as it came.
    pub(super) fn length(&self) -> usize {
        self.copy.as_ref().map_or(0, Copy::length)
    }

    /// Whether there was no room for it.
    pub(super) fn is_refused(&self) -> bool {
        self.is_refused
    }

    /// Whether nothing has to be decoded.
    pub(super) fn is_plain(&self) -> bool {
        self.copy.is_none() || self.coding == Coding::Identity
    }

    /// The whole document, decoded, once it has ended. Others go on meanwhile.
    pub(super) async fn document(self) -> Result<Whole, DecodeError> {
        let Self { coding, copy, held, .. } = self;
        let bytes = copy.ok_or(DecodeError::TooLarge)?.into_bytes();
        let mut of_decoded = held.another();
        let document = decode(coding, bytes, &mut of_decoded).await?;
        // One that was decoded is another copy, and what came is gone.
        Ok(Whole::new(document, if coding == Coding::Identity { held } else { of_decoded }))
    }

    /// The whole of one that is [plain](Self::is_plain).
    pub(super) fn plain(self) -> Option<Whole> {
        let Self { copy, held, .. } = self;
        copy.map(|copy| Whole::new(copy.into_bytes(), held))
    }
}

impl Copy {
    fn length(&self) -> usize {
        match self {
            Self::One(bytes) => bytes.len(),
            Self::Many(bytes) => bytes.len(),
        }
    }

    /// With more of the body.
    fn longer(self, data: &Bytes, held: &mut Held) -> Result<Self, NoRoom> {
        let (before, mut whole) = match self {
            Self::One(before) if before.is_empty() => {
                held.hold(data.len())?;
                return Ok(Self::One(data.clone()));
            }
            Self::One(before) => (before, Buffer::default()),
            Self::Many(whole) => (Bytes::new(), whole),
        };
        held.grow(&mut whole, before.len() + data.len(), 0, COPY_MAX)?;
        whole.extend_from_slice(&before);
        whole.extend_from_slice(data);
        Ok(Self::Many(whole))
    }

    fn into_bytes(self) -> Bytes {
        match self {
            Self::One(bytes) => bytes,
            Self::Many(bytes) => bytes.into_bytes(),
        }
    }
}

/// Whether a body is JSON as far as its type says.
pub(super) fn may_be_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE) else { return true };
    let kind = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let ends =
        |end: &[u8]| kind.len() >= end.len() && kind[kind.len() - end.len()..].eq_ignore_ascii_case(end);
    kind.is_empty() || ends(b"/json") || ends(b"+json")
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_type_that_is_not_json_is_told_from_its_name() {
        let check = |kind: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            if let Some(kind) = kind {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
            }
            may_be_json(&headers)
        };
        for kind in ["application/json", "Application/JSON; charset=utf-8", "application/problem+json", ""] {
            assert!(check(Some(kind)), "{kind}");
        }
        assert!(check(None));
        for kind in ["text/html", "text/event-stream", "application/json-seq", "application/x-ndjson"] {
            assert!(!check(Some(kind)), "{kind}");
        }
    }

    #[test]
    fn a_body_of_many_frames_is_put_together_and_one_that_is_too_long_is_dropped() {
        let tee = || Tee::of(&HeaderMap::new(), Held::ample).expect("it may be JSON");
        let mut two = tee();
        two.copy(&Bytes::from_static(b"[1,"));
        two.copy(&Bytes::from_static(b"2]"));
        assert_eq!((two.length(), two.is_plain()), (5, true));
        assert_eq!(two.plain().expect("it is whole").bytes(), "[1,2]");
        let mut long = tee();
        long.copy(&Bytes::from(vec![b' '; COPY_MAX]));
        long.copy(&Bytes::from_static(b"1"));
        assert!(long.copy.is_none() && long.held.bytes() == 0, "nothing of it is kept");
        long.copy(&Bytes::from_static(b"1"));
        assert!(long.length() == 0 && !long.is_refused() && long.plain().is_none());
    }

    #[test]
    fn a_copy_without_room_is_dropped_and_says_so() {
        let mut tee = Tee::of(&HeaderMap::new(), || Held::of(200)).expect("it may be JSON");
        for (piece, held) in [(40, 40), (20, 60), (60, 0), (1, 0)] {
            tee.copy(&Bytes::from(vec![b' '; piece]));
            assert_eq!((tee.held.bytes(), tee.is_refused()), (held, held == 0), "{piece}");
        }
        assert!(tee.length() == 0 && tee.is_plain() && tee.plain().is_none());
    }
}
