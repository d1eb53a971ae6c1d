//! Bodies that a stage has to look at: gathered whole, and decoded, each within a bound.
//!
//! Knows neither JSON nor whose body it is; of codings it writes gzip alone. The invariant: what a peer sends decides neither
//! how much memory a body takes nor how long a worker is kept: memory is in proportion to the bytes that came, up to
//! a bound, and a long body is decoded in steps between which other requests have their turn.

mod decode;
mod gzip;

use std::future::poll_fn;
use std::pin::pin;

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use http_body::Body;

pub(crate) use decode::{DecodeError, decode};
pub(crate) use gzip::gzip;
#[cfg(test)]
pub(crate) use gzip::gzipped;

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

/// Gathers a body of at most `max` bytes, and stops where it is longer. A body of one frame is not copied. Trailers
/// are dropped: after them there is no body to change.
pub(crate) async fn gather<B>(body: B, max: usize) -> Result<Bytes, GatherError<B::Error>>
where
    B: Body<Data = Bytes>,
{
    let mut body = pin!(body);
    let too_large = |size: u64| usize::try_from(size).map_or(true, |size| size > max);
    if too_large(body.size_hint().lower()) {
        return Err(GatherError::TooLarge(max));
    }
    let mut first = Bytes::new();
    // Empty until there is a second frame.
    let mut whole = Vec::new();
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
            first = data;
            continue;
        }
        let more = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX).min(AHEAD_MAX);
        if whole.capacity() - whole.len() < first.len() + data.len() {
            // Grows by as much again as has come, at least.
            whole.reserve(first.len() + data.len() + more);
        }
        whole.extend_from_slice(&std::mem::take(&mut first));
        whole.extend_from_slice(&data);
    }
    Ok(if whole.is_empty() { first } else { whole.into() })
}

#[cfg(test)]
mod tests;
