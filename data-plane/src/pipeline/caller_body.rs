//! The body of a request: passed on as it comes, unless a rule or a meter has to look at it.
//!
//! Judges nothing. The invariant: a body that was looked at is sent on byte for byte as it came, and one that is
//! longer than may be looked at, or cannot be decoded, is never taken for an empty one.

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http_body::Body as _;
use hyper::body::Incoming;
use rr_contract::policy::request::RequestBody as BodyView;
use tokio::time::Instant;

use crate::body::{Coding, decode};
use crate::reply::Denial;
use crate::upstream::{CallerFault, RequestBody};

use super::settle::Draft;

/// How long a body may be that rules and meters look at, in bytes as it comes.
const READ_MAX: u64 = 8 * 1024 * 1024;

/// A request's body.
pub(crate) enum CallerBody {
    /// Still to come.
    Unread {
        body: Incoming,
        most: u64,
    },
    Read(ReadBody),
}

/// A body that was read.
pub(crate) struct ReadBody {
    /// As it came.
    bytes: Bytes,
    /// `None`: it cannot be decoded, or is no document to its upstream.
    decoded: Option<Bytes>,
}

impl CallerBody {
    /// A body of at most `most` bytes, if it does not say of itself that it is longer.
    pub(super) fn new(body: Incoming, most: u64) -> Result<Self, Denial> {
        if body.size_hint().lower() > most {
            return Err(Denial::RequestTooLarge);
        }
        Ok(Self::Unread { body, most })
    }

    /// What rules and meters may look at; `None` where it was read and cannot be decoded.
    pub(super) fn view(&self) -> Option<BodyView<'_>> {
        match self {
            Self::Unread { body, .. } if body.is_end_stream() => Some(BodyView::Read(&[])),
            Self::Unread { .. } => Some(BodyView::Unread),
            Self::Read(read) => read.decoded.as_deref().map(BodyView::Read),
        }
    }

    /// Reads all of it.
    pub(super) async fn read(self, headers: &HeaderMap, draft: &Draft) -> Result<Self, Denial> {
        let Self::Unread { body, most } = self else { return Ok(self) };
        let body = RequestBody::new(body, most, draft.request_bytes(), draft.busy(), Instant::now());
        let most = usize::try_from(READ_MAX.min(most)).unwrap_or(usize::MAX);
        let bytes = body.read(most).await.map_err(|fault| match fault {
            CallerFault::TooLong => Denial::RequestTooLarge,
            other => Denial::Caller(other),
        })?;
        let decoded = match Coding::of(headers) {
            Ok(coding) if bytes.is_empty() || !is_form(headers) => decode(coding, bytes.clone()).await.ok(),
            Ok(_) | Err(_) => None,
        };
        Ok(Self::Read(ReadBody { bytes, decoded }))
    }

    /// For the upstream.
    pub(super) fn into_sent(self, draft: &Draft, now: Instant) -> RequestBody {
        match self {
            Self::Unread { body, most } => {
                RequestBody::new(body, most, draft.request_bytes(), draft.busy(), now)
            }
            Self::Read(read) => RequestBody::gathered(read.bytes, draft.busy(), now),
        }
    }
}

/// Whether a body is said to be a form. One text can be JSON and a form with other fields: `{"a":"&b=1&"}`.
fn is_form(headers: &HeaderMap) -> bool {
    headers.get_all(CONTENT_TYPE).iter().any(|value| {
        let kind = value.as_bytes().split(|byte| matches!(byte, b';' | b',')).next().unwrap_or_default();
        kind.trim_ascii().eq_ignore_ascii_case(b"application/x-www-form-urlencoded")
    })
}
