//! Caller credentials: what callers present to us, and by what it is recognised. Never a secret in the clear.

pub mod certificate;
pub mod jwt;

use std::fmt;
use std::time::{Duration, SystemTime};

use http::HeaderName;

use crate::api_key::KeyHash;
use crate::password::PasswordHash;
use rr_wire::fleet;

use super::header::{self, OURS};
use super::invalid::Violations;
use super::time;

/// How many values of a caller credential may be live at once.
pub const LIVE_MAX: usize = 2;
/// How long a value may be taken beside a newer one, at most.
pub const OVERLAP_MAX: Duration = Duration::from_hours(90 * 24);
/// The longest user name and the longest prefix, in bytes.
pub const USER_MAX: usize = 128;
/// The longest value that is compared by its hash, in bytes.
pub const VALUE_MAX: usize = 8 * 1024;
/// The word before a bearer's value when the credential does not say.
pub const BEARER: &str = "Bearer";
/// The word before user and password.
const BASIC: &str = "Basic";

/// What callers present.
#[derive(Debug, Clone, PartialEq)]
pub struct Caller {
    /// Which it is.
    pub kind: CallerKind,
    /// The header that it is presented in. `None`: `Authorization`, or the query parameter of that name.
    pub header: Option<HeaderName>,
    /// After this, the second of two live values is refused. `None`: it is taken as long as the credential.
    pub previous_not_after: Option<SystemTime>,
}

/// Kinds of caller credential.
#[derive(Debug, Clone, PartialEq)]
pub enum CallerKind {
    /// A key of our making, known by its hash.
    ApiKey(Vec<KeyHash>),
    /// A value that was not made by us, behind a prefix.
    Bearer(Bearer),
    /// User and password.
    Basic(Basic),
    /// One fixed token, compared as text; known by its hash.
    Jwt(Vec<KeyHash>),
    /// Any token that passes checks.
    JwtVerify(Box<jwt::JwtVerify>),
    /// The client certificate of the connection.
    Certificate(certificate::Certificate),
}

/// A value behind a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bearer {
    /// Of each live value, without its prefix.
    pub hashes: Vec<KeyHash>,
    /// The word before the value, without a space; compared without regard to case.
    pub prefix: String,
}

/// User and password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Basic {
    /// Finds the credential.
    pub user: String,
    /// Of each live password.
    pub password_hashes: Vec<PasswordHash>,
}

/// Refuses a header that requests have for another purpose. Whoever writes configuration asks; nodes do not, so that what is
/// stored goes on being served.
pub fn check_header(field: &str, name: &str, faults: &mut Violations) {
    // What is no name is told of where it is parsed.
    let Ok(name) = header::parse(&name.to_ascii_lowercase()) else { return };
    if let Some(purpose) = header::purpose(&name) {
        let what = format!(
            "{purpose}: give the credential a header of its own, as `x-api-key`, or leave it out for `Authorization`"
        );
        faults.add(field, what);
    }
}

pub(super) fn parse(faults: &mut Violations, wire: fleet::CallerCredential) -> Option<Caller> {
    use fleet::caller_credential::Kind;

    let header = match wire.header.as_str() {
        "" => Some(None),
        name => faults.take("caller.header", header::parse(name)).and_then(|name| {
            if header::is_framing(&name) {
                faults.add("caller.header", "frames the message, and cannot hold a credential");
                return None;
            }
            // Browsers send cookies by themselves, so any web page could call with them.
            if name == http::header::COOKIE || header::hyphened(&name).starts_with(OURS) {
                faults.add("caller.header", "has a meaning of its own, and cannot hold a credential");
                return None;
            }
            // Said in one way: unset.
            Some((name != http::header::AUTHORIZATION).then_some(name))
        }),
    };
    let kind = match wire.kind {
        Some(Kind::ApiKey(key)) => {
            hashes(faults, "caller.api_key.hashes", &key.hashes).map(CallerKind::ApiKey)
        }
        Some(Kind::Bearer(bearer)) => parse_bearer(faults, bearer).map(CallerKind::Bearer),
        Some(Kind::Basic(basic)) => parse_basic(faults, basic).map(CallerKind::Basic),
        Some(Kind::Jwt(jwt)) => hashes(faults, "caller.jwt.hashes", &jwt.hashes).map(CallerKind::Jwt),
        Some(Kind::JwtVerify(verify)) => {
            jwt::parse(faults, verify).map(|verify| CallerKind::JwtVerify(Box::new(verify)))
        }
        Some(Kind::Certificate(certificate)) => {
            if matches!(header, Some(Some(_))) {
                faults.add("caller.header", "must be unset: a client certificate stands in no header");
            }
            certificate::parse(faults, certificate).map(CallerKind::Certificate)
        }
        None => {
            faults.add("caller.kind", "is none that is known");
            None
        }
    };
    let previous_not_after = match &wire.previous_not_after {
        None => Some(None),
        Some(end) => faults.take("caller.previous_not_after", time::system_time(end)).map(Some),
    };
    Some(Caller { kind: kind?, header: header?, previous_not_after: previous_not_after? })
}

fn hashes(faults: &mut Violations, field: &str, wire: &[Vec<u8>]) -> Option<Vec<KeyHash>> {
    live(faults, field, wire, |hash| hash.as_slice().try_into())
}

fn live<W, T, E: fmt::Display>(
    faults: &mut Violations,
    field: &str,
    wire: &[W],
    parse: impl Fn(&W) -> Result<T, E>,
) -> Option<Vec<T>> {
    if wire.is_empty() || wire.len() > LIVE_MAX {
        faults.add(field, format!("has 1 to {LIVE_MAX}"));
        return None;
    }
    let parsed: Vec<Option<T>> =
        wire.iter().enumerate().map(|(i, wire)| faults.take(format!("{field}[{i}]"), parse(wire))).collect();
    parsed.into_iter().collect()
}

fn parse_bearer(faults: &mut Violations, wire: fleet::CallerBearer) -> Option<Bearer> {
    let hashes = hashes(faults, "caller.bearer.hashes", &wire.hashes);
    let prefix = if wire.prefix.is_empty() { BEARER.to_owned() } else { wire.prefix };
    if prefix.len() > USER_MAX || !prefix.bytes().all(|b| b.is_ascii_graphic()) {
        faults.add("caller.bearer.prefix", format!("is no word of at most {USER_MAX} ASCII characters"));
        return None;
    }
    if prefix.eq_ignore_ascii_case(BASIC) {
        faults.add("caller.bearer.prefix", "stands before user and password: give another word");
        return None;
    }
    Some(Bearer { hashes: hashes?, prefix })
}

fn parse_basic(faults: &mut Violations, wire: fleet::CallerBasic) -> Option<Basic> {
    let good = !wire.user.is_empty()
        && wire.user.len() <= USER_MAX
        && !wire.user.chars().any(|c| c == ':' || c.is_control());
    if !good {
        faults.add("caller.basic.user", format!("is 1 to {USER_MAX} bytes without a colon"));
    }
    let hashes = live(faults, "caller.basic.password_hashes", &wire.password_hashes, |hash| {
        PasswordHash::try_from(hash.as_str())
    });
    Some(Basic { user: good.then_some(wire.user)?, password_hashes: hashes? })
}

#[cfg(test)]
mod tests;
