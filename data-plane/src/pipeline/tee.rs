//! A copy of a response's body for the meters that read a number in it.
//!
//! Bounded, and dropped where it would not be JSON anyway: then the number is missing.

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;

use crate::body::{Coding, decode};

/// How much is copied of a body, in bytes as it comes. A longer one has no number.
const COPY_MAX: usize = 8 * 1024 * 1024;

pub(crate) struct Tee {
    coding: Coding,
    /// `None`: it was too long.
    copy: Option<Copy>,
}

enum Copy {
    /// The usual case: one frame, shared and not copied.
    One(Bytes),
    Many(Vec<u8>),
}

impl Tee {
    /// For a response with these headers; `None` where no number can be in it.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let coding = Coding::of(headers).ok()?;
        may_be_json(headers).then_some(Self { coding, copy: Some(Copy::One(Bytes::new())) })
    }

    pub(super) fn copy(&mut self, data: &Bytes) {
        let Some(copy) = self.copy.take() else { return };
        self.copy = match copy {
            Copy::One(before) if before.is_empty() => Some(Copy::One(data.clone())),
            Copy::One(before) => fits(before.len(), data).then(|| Copy::Many([&*before, data].concat())),
            Copy::Many(mut before) => fits(before.len(), data).then(|| {
                before.extend_from_slice(data);
                Copy::Many(before)
            }),
        };
    }

    /// How long it is, as it came.
    pub(super) fn length(&self) -> usize {
        match &self.copy {
            None => 0,
            Some(Copy::One(bytes)) => bytes.len(),
            Some(Copy::Many(bytes)) => bytes.len(),
        }
    }

    /// Whether nothing has to be decoded.
    pub(super) fn is_plain(&self) -> bool {
        self.copy.is_none() || self.coding == Coding::Identity
    }

    /// The whole document, decoded, once it has ended. Others go on meanwhile.
    pub(super) async fn document(self) -> Option<Bytes> {
        let coding = self.coding;
        decode(coding, self.bytes()?).await.ok()
    }

    /// The whole of one that is [plain](Self::is_plain).
    pub(super) fn plain(self) -> Option<Bytes> {
        self.bytes()
    }

    fn bytes(self) -> Option<Bytes> {
        match self.copy? {
            Copy::One(bytes) => Some(bytes),
            Copy::Many(bytes) => Some(bytes.into()),
        }
    }
}

fn fits(before: usize, data: &Bytes) -> bool {
    before + data.len() <= COPY_MAX
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
        let tee = || Tee::of(&HeaderMap::new()).expect("it may be JSON");
        let mut two = tee();
        two.copy(&Bytes::from_static(b"[1,"));
        two.copy(&Bytes::from_static(b"2]"));
        assert_eq!((two.length(), two.is_plain()), (5, true));
        assert_eq!(two.plain().as_deref(), Some(&b"[1,2]"[..]));
        let mut long = tee();
        long.copy(&Bytes::from(vec![b' '; COPY_MAX]));
        long.copy(&Bytes::from_static(b"1"));
        assert!(long.copy.is_none(), "nothing of it is kept");
        long.copy(&Bytes::from_static(b"1"));
        assert!(long.length() == 0 && long.plain().is_none());
    }
}
