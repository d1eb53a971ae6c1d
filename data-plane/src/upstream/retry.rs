//! Whether a request that failed is sent again, and when: what a proxy's policy says of an answer.
//!
//! Sends nothing and counts nothing. The invariant: what may have changed something at the upstream is not repeated
//! unless its method says that repeating changes no more.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::header::RETRY_AFTER;
use http::{HeaderMap, Method, StatusCode};
use rr_contract::model::resilience::Retry;
use rr_contract::outbound::LookupError;

use super::{Reply, SendError};

/// Whether sending a request twice asks for no more than sending it once (RFC 9110, 9.2.2). TRACE is not forwarded.
pub(crate) fn is_idempotent(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE)
}

/// How long to wait before the retry after `done` of them; `None`: the policy has none for what came. `draw` is random.
pub(crate) fn wait(
    policy: &Retry,
    came: Result<&Reply, &SendError>,
    done: u32,
    draw: u32,
    now: SystemTime,
) -> Option<Duration> {
    let asked = match came {
        Ok(reply) if policy.statuses.contains(&reply.response.status().as_u16()) => {
            retry_after(reply.response.headers(), now)
        }
        Err(error) if is_retried(error) => Some(Duration::ZERO),
        Ok(_) | Err(_) => None,
    }?;
    let mean = policy.backoff.saturating_mul(1 << done.min(16)).min(policy.max_backoff);
    // From half to one and a half of it.
    let backoff = mean.mul_f64(0.5 + f64::from(draw) / f64::from(u32::MAX)).min(policy.max_backoff);
    (asked <= policy.max_backoff).then_some(backoff.max(asked))
}

/// Whether there may be an answer the next time. One that was too late had its time already.
fn is_retried(error: &SendError) -> bool {
    match error {
        SendError::Connect(_)
        | SendError::Tls(_)
        | SendError::ConnectTimeout
        | SendError::Broken(_)
        | SendError::Resolve(LookupError::Failed(_) | LookupError::Silent) => true,
        SendError::Guarded
        | SendError::Trust(_)
        | SendError::Busy
        | SendError::Version(_)
        | SendError::ClientCertificate(_)
        | SendError::Resolve(LookupError::Crowded | LookupError::CutOff)
        | SendError::ResponseTimeout
        | SendError::TotalTimeout { .. }
        | SendError::Caller(_)
        | SendError::Switched
        | SendError::Coded => false,
    }
}

/// Whether an answer is a failure of the upstream, as breakers and ejection count.
pub(crate) fn is_failure(status: StatusCode) -> bool {
    matches!(status, StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT)
}

/// What the upstream asks for: nothing, seconds, or a time. What cannot be read asks for nothing.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let Some(text) = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()) else {
        return Some(Duration::ZERO);
    };
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // One that no number holds is not waited for.
        return text.parse().ok().map(Duration::from_secs);
    }
    Some(date(text).and_then(|at| at.duration_since(now).ok()).unwrap_or_default())
}

/// A time in the form that is written today: `Sun, 06 Nov 1994 08:49:37 GMT`.
fn date(text: &str) -> Option<SystemTime> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut parts = text.split_once(", ")?.1.split(' ');
    let day: u64 = parts.next()?.parse().ok()?;
    let name = parts.next()?;
    let month = MONTHS.iter().position(|month| *month == name)? as u64 + 1;
    let year: u64 = parts.next()?.parse().ok()?;
    let mut clock = parts.next()?.split(':').map(|part| part.parse::<u64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    let is_time = hour < 24 && minute < 60 && second <= 60 && (1..=31).contains(&day);
    if parts.next() != Some("GMT") || parts.next().is_some() || clock.next().is_some() || !is_time {
        return None;
    }
    if !(1970..=9999).contains(&year) {
        return None;
    }
    // Years that begin in March end with the day that not every year has.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    // Those before 1970-01-01.
    let days = days.checked_sub(719_468)?;
    Some(UNIX_EPOCH + Duration::from_secs(((days * 24 + hour) * 60 + minute) * 60 + second))
}

#[cfg(test)]
mod tests;
