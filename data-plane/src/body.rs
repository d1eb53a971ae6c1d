//! Bodies that a stage has to look at: gathered whole, and decoded, each within a bound and all within one.
//!
//! Knows no JSON; of codings it writes gzip alone. The invariant: what a peer sends decides neither how much memory a
//! body takes nor how long a worker is kept: memory is in proportion to the bytes that came, up to a bound, and what
//! is held of all bodies is within the [budget](BodyBudget); a long body is decoded in steps between which other
//! requests have their turn.

mod budget;
mod buffer;
mod decode;
mod gzip;
mod whole;

use std::future::poll_fn;
use std::pin::pin;

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use http_body::Body;

pub(crate) use budget::{BodyBudget, Held, NoRoom};
pub(crate) use buffer::Buffer;
#[cfg(test)]
pub(crate) use decode::encoded;
pub(crate) use decode::{DecodeError, Decoding, decode};
pub(crate) use gzip::gzip;
#[cfg(test)]
pub(crate) use gzip::gzipped;
pub(crate) use whole::Whole;

/// How much is reserved for bytes that did not come yet, whatever length was announced.
const AHEAD_MAX: usize = 64 * 1024;

/// How a body is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    Identity,
    Gzip,
    /// With the frame of zlib, as the standard wants it.
    Deflate,
    Br,
    Zstd,
}

/// A body is encoded in a way that is not undone here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("content coding is none of gzip, deflate, br and zstd, or there are several")]
pub(crate) struct UnknownCoding;

/// A body that was not gathered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GatherError<E> {
    #[error("body is larger than {0} bytes")]
    TooLarge(usize),
    #[error("body broke off")]
    Body(#[source] E),
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
}

impl Coding {
    /// Reads all values of Content-Encoding. `identity` is no coding.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, UnknownCoding> {
        let values = headers.get_all(CONTENT_ENCODING).iter();
        let names = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
        let mut found = Self::Identity;
        for name in names.map(<[u8]>::trim_ascii) {
            let coding = match name {
                b"" => continue,
                name if name.eq_ignore_ascii_case(b"identity") => continue,
                name if name.eq_ignore_ascii_case(b"gzip") => Self::Gzip,
                name if name.eq_ignore_ascii_case(b"x-gzip") => Self::Gzip,
                name if name.eq_ignore_ascii_case(b"deflate") => Self::Deflate,
                name if name.eq_ignore_ascii_case(b"br") => Self::Br,
                name if name.eq_ignore_ascii_case(b"zstd") => Self::Zstd,
                _ => return Err(UnknownCoding),
            };
            if found != Self::Identity {
                return Err(UnknownCoding);
            }
            found = coding;
        }
        Ok(found)
    }
}

/// Gathers a body of at most `max` bytes, and stops where it is longer, or where there is no room to hold more of it. A
/// body of one frame is not copied. Trailers are dropped: after them there is no body to change.
pub(crate) async fn gather<B>(body: B, max: usize, held: &mut Held) -> Result<Bytes, GatherError<B::Error>>
where
    B: Body<Data = Bytes>,
{
    let mut body = pin!(body);
    let size = |size: u64| usize::try_from(size).unwrap_or(usize::MAX);
    let announced = size(body.size_hint().lower());
    if announced > max {
        return Err(GatherError::TooLarge(max));
    }
    held.check(announced)?;
    let mut first = Bytes::new();
    // Empty until there is a second frame.
    let mut whole = Buffer::default();
    while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        let Ok(data) = frame.map_err(GatherError::Body)?.into_data() else { continue };
        let came = first.len() + whole.len();
        if data.len() > max - came {
            return Err(GatherError::TooLarge(max));
        }
        if data.is_empty() {
            continue;
        }
        if came == 0 {
            held.hold(data.len())?;
            first = data;
            continue;
        }
        let hint = body.size_hint();
        let (ahead, rest) = (size(hint.lower()).min(AHEAD_MAX), hint.upper().map_or(usize::MAX, size));
        let most = (came + data.len()).saturating_add(rest).min(max);
        held.grow(&mut whole, first.len() + data.len(), ahead, most)?;
        whole.extend_from_slice(&std::mem::take(&mut first));
        whole.extend_from_slice(&data);
    }
    if whole.is_empty() {
        return Ok(first);
    }
    held.fit(&mut whole);
    Ok(whole.into_bytes())
}

#[cfg(test)]
mod tests;
