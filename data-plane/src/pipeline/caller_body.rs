//! The body of a request: passed on as it comes, unless a rule, a schema, a meter or a filter has to look at it, or it is
//! signed.
//!
//! Judges nothing. The invariant: a body that was looked at is sent on byte for byte as it came, unless a filter took
//! something out of it; and one that is longer than may be looked at, cannot be decoded, or finds no room, is never taken for
//! an empty one.

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http_body::Body as _;
use hyper::body::Incoming;
use rr_contract::policy::filter::FilterChain;
use rr_contract::policy::request::RequestBody as BodyView;
use tokio::time::Instant;

use crate::body::{Coding, DecodeError, Held, Whole, decode};
use crate::counters::Gathered;
use crate::reply::{Denial, Unreadable};
use crate::upstream::{CallerFault, ReadFault, RequestBody};

use super::left::{NotFiltered, coding, go_over};
use super::settle::Draft;

/// How long a body may be that rules, meters and filters look at, in bytes as it comes.
const READ_MAX: u64 = 8 * 1024 * 1024;

/// How long a body may be that is signed: its hash is made where other requests wait.
const SIGNED_MAX: u64 = 1024 * 1024;

/// A request's body.
pub(crate) enum CallerBody {
    /// Still to come.
    Unread { body: Incoming, most: u64 },
    /// Boxed: few are read, and all requests would carry it.
    Read(Box<ReadBody>),
}

/// A body that was read.
pub(crate) struct ReadBody {
    /// As it came.
    encoded: Whole,
    /// `None`: it cannot be decoded, or is no document to its upstream.
    decoded: Option<Whole>,
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
            Self::Read(read) => read.decoded.as_ref().map(|decoded| BodyView::Read(decoded.bytes())),
        }
    }

    /// Reads all of it.
    pub(super) async fn read(self, headers: &HeaderMap, draft: &Draft) -> Result<Self, Denial> {
        let Self::Unread { body, most } = self else { return Ok(self) };
        let mut held = draft.holds(Gathered::Request);
        let mut of_decoded = held.another();
        let bytes = gathered(body, most, READ_MAX, &mut held, draft).await?;
        let decoded = match Coding::of(headers) {
            Ok(coding) if bytes.is_empty() || !is_form(headers) => {
                match decode(coding, bytes.clone(), &mut of_decoded).await {
                    Ok(decoded) => Some(Whole::new(decoded, of_decoded)),
                    Err(DecodeError::NoRoom(_)) => return Err(Denial::NoRoom),
                    Err(DecodeError::TooLarge | DecodeError::Malformed) => None,
                }
            }
            Ok(_) | Err(_) => None,
        };
        Ok(Self::Read(Box::new(ReadBody { encoded: Whole::new(bytes, held), decoded })))
    }

    /// Reads all of it, and has filters go over it. Says whether it is another than came, in no coding.
    pub(super) async fn filter(
        self,
        headers: &HeaderMap,
        chain: &FilterChain<'_>,
        draft: &mut Draft,
    ) -> Result<(Self, bool), Denial> {
        let coding = coding(headers);
        let read = match self {
            Self::Read(read) => read.encoded,
            Self::Unread { body, most } => {
                let mut held = draft.holds(Gathered::Request);
                Whole::new(gathered(body, most, READ_MAX, &mut held, draft).await?, held)
            }
        };
        if read.is_empty() {
            return Ok((Self::Read(Box::new(ReadBody { encoded: read, decoded: None })), false));
        }
        let coding = coding.map_err(Denial::Unfilterable)?;
        let began = Instant::now();
        let mut of_decoded = read.another();
        let decoded = decode(coding, read.bytes().clone(), &mut of_decoded).await;
        let decoded = decoded.map_err(|error| match error {
            DecodeError::NoRoom(_) => Denial::NoRoom,
            DecodeError::TooLarge => Denial::RequestTooLarge,
            DecodeError::Malformed => Denial::Unfilterable(Unreadable::Decoding(error)),
        })?;
        let decoded = Whole::new(decoded, of_decoded);
        let (left, is_other) = go_over(decoded, chain, draft, began).await.map_err(|error| match error {
            NotFiltered::Json(error) => Denial::Unfilterable(Unreadable::Json(error)),
            NotFiltered::NoRoom(_) => Denial::NoRoom,
        })?;
        let encoded = if is_other { left } else { read };
        Ok((Self::Read(Box::new(ReadBody { encoded, decoded: None })), is_other))
    }

    /// Whether there is none, as far as that is known.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Unread { .. } => self.is_none(),
            Self::Read(read) => read.encoded.is_empty(),
        }
    }

    /// What it was decoded to, for somebody else; `None` where it was not.
    pub(super) fn decoded(&self) -> Option<Bytes> {
        match self {
            Self::Unread { .. } => None,
            Self::Read(read) => read.decoded.as_ref().map(|decoded| decoded.bytes().clone()),
        }
    }

    /// Whether there is none.
    pub(super) fn is_none(&self) -> bool {
        matches!(self, Self::Unread { body, .. } if body.is_end_stream())
    }

    /// Reads all of it, to be signed as it came.
    pub(super) async fn read_to_sign(self, draft: &Draft) -> Result<Self, Denial> {
        match self {
            Self::Read(read) if read.encoded.len() as u64 > SIGNED_MAX => Err(Denial::TooLongToSign),
            Self::Read(read) => Ok(Self::Read(read)),
            Self::Unread { body, .. } if body.size_hint().lower() > SIGNED_MAX => Err(Denial::TooLongToSign),
            Self::Unread { body, most } => {
                let mut held = draft.holds(Gathered::Request);
                let bytes = gathered(body, most, SIGNED_MAX, &mut held, draft).await;
                let bytes = bytes.map_err(|denial| match denial {
                    Denial::RequestTooLarge if most > SIGNED_MAX => Denial::TooLongToSign,
                    other => other,
                })?;
                Ok(Self::Read(Box::new(ReadBody { encoded: Whole::new(bytes, held), decoded: None })))
            }
        }
    }

    /// For the upstream.
    pub(super) fn into_sent(self, draft: &Draft, now: Instant) -> RequestBody {
        match self {
            Self::Unread { body, most } => {
                RequestBody::new(body, most, draft.request_bytes(), draft.busy(), now)
            }
            Self::Read(read) => RequestBody::gathered(read.encoded, draft.busy(), now),
        }
    }
}

/// All of a body of at most `most` bytes, if it has at most `bound`.
async fn gathered(
    body: Incoming,
    most: u64,
    bound: u64,
    held: &mut Held,
    draft: &Draft,
) -> Result<Bytes, Denial> {
    let body = RequestBody::new(body, most, draft.request_bytes(), draft.busy(), Instant::now());
    let most = usize::try_from(bound.min(most)).unwrap_or(usize::MAX);
    body.read(most, held).await.map_err(|fault| match fault {
        ReadFault::Caller(CallerFault::TooLong) => Denial::RequestTooLarge,
        ReadFault::Caller(other) => Denial::Caller(other),
        ReadFault::NoRoom => Denial::NoRoom,
    })
}

/// Whether a body is said to be a form. One text can be JSON and a form with other fields: `{"a":"&b=1&"}`.
fn is_form(headers: &HeaderMap) -> bool {
    headers.get_all(CONTENT_TYPE).iter().any(|value| {
        let kind = value.as_bytes().split(|byte| matches!(byte, b';' | b',')).next().unwrap_or_default();
        kind.trim_ascii().eq_ignore_ascii_case(b"application/x-www-form-urlencoded")
    })
}
