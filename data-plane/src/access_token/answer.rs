//! What an issuer answers: the token and how long it lasts, or why there is none.
//!
//! Nothing of an answer but the codes of RFC 6749 goes into a log: an issuer may send back what it was sent.

use std::time::Duration;

use http::StatusCode;
use rr_contract::model::json_path::{JsonPath, Step};
use rr_contract::outbound::fetch::Fetched;
use rr_contract::secret::Secret;
use serde_json::Value;
use zeroize::Zeroize as _;

use super::source::Asked;

/// The longest answer, and the longest token.
pub(super) const ANSWER_MAX: usize = 64 * 1024;
const TOKEN_MAX: usize = 16 * 1024;
/// How long a token lasts of which nobody says it.
const LIFETIME: Duration = Duration::from_secs(300);
const LIFETIME_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// Errors of token endpoints (RFC 6749 5.2, RFC 8707).
const KNOWN: [&str; 9] = [
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
    "invalid_target",
    "slow_down",
    "temporarily_unavailable",
];

/// A token, and how long it lasts from now on.
pub(super) struct Granted {
    pub(super) token: Secret,
    pub(super) lasts: Duration,
}

/// An answer without a token that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("issuer answers with status {status}: {error}")]
    Status { status: u16, error: &'static str },
    #[error("answer is no JSON document")]
    Json,
    #[error("answer has no token where it should be")]
    NoToken,
    #[error("answer has a token that no header can carry, or of more than 16 KiB")]
    Token,
    #[error("answer has a token of another type than `Bearer`")]
    Type,
    #[error("answer has a token whose life is over, or is no number of seconds")]
    Lifetime,
}

/// Judges an answer.
pub(super) fn granted(asked: &Asked, fetched: &Fetched) -> Result<Granted, Refusal> {
    let mut document = serde_json::from_slice::<Value>(&fetched.body).ok();
    let judged = judge(asked, fetched.status, document.as_ref());
    document.iter_mut().for_each(wipe);
    judged
}

fn judge(asked: &Asked, status: StatusCode, document: Option<&Value>) -> Result<Granted, Refusal> {
    if !status.is_success() {
        let said = document.and_then(|document| document.get("error")).and_then(Value::as_str);
        let known = KNOWN.into_iter().find(|known| Some(*known) == said);
        let error = known.unwrap_or("no known error code is in the answer");
        return Err(Refusal::Status { status: status.as_u16(), error });
    }
    let document = document.ok_or(Refusal::Json)?;
    let (token, lasts) = match asked {
        Asked::Grant(_) => {
            let kind = document.get("token_type").and_then(Value::as_str);
            if kind.is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer")) {
                return Err(Refusal::Type);
            }
            (document.get("access_token"), lifetime(document.get("expires_in"), LIFETIME)?)
        }
        Asked::Request(request) => {
            let said = request.lifetime_path.as_ref().and_then(|path| at(path, document));
            let lasts = lifetime(said, Duration::from_secs(request.lifetime.into()))?;
            (at(&request.token_path, document), lasts)
        }
    };
    let token = token.and_then(Value::as_str).filter(|token| !token.is_empty()).ok_or(Refusal::NoToken)?;
    if token.len() > TOKEN_MAX || !token.bytes().all(|b| b.is_ascii_graphic() || b == b' ') {
        return Err(Refusal::Token);
    }
    Ok(Granted { token: Secret::new(token.as_bytes().to_vec()), lasts })
}

/// Seconds, as a number or as a text that is one.
fn lifetime(said: Option<&Value>, otherwise: Duration) -> Result<Duration, Refusal> {
    let seconds = match said {
        None | Some(Value::Null) => return Ok(otherwise),
        Some(Value::Number(seconds)) => seconds.as_f64(),
        Some(Value::String(seconds)) => seconds.parse().ok(),
        Some(_) => None,
    };
    let is_some_time = |seconds: &f64| seconds.is_finite() && *seconds >= 1.0;
    let seconds = seconds.filter(is_some_time).ok_or(Refusal::Lifetime)?;
    Ok(Duration::from_secs_f64(seconds.min(LIFETIME_MAX.as_secs_f64())))
}

/// The first value at a path.
fn at<'v>(path: &JsonPath, document: &'v Value) -> Option<&'v Value> {
    path.steps().iter().try_fold(document, |value, step| match (step, value) {
        (Step::Key(key), Value::Object(members)) => members.get(&**key),
        (Step::Any, Value::Object(members)) => members.values().next(),
        (Step::Any, Value::Array(elements)) => elements.first(),
        _ => None,
    })
}

/// Leaves no text of a document behind.
fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(elements) => elements.iter_mut().for_each(wipe),
        Value::Object(members) => members.values_mut().for_each(wipe),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
