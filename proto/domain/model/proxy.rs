//! Proxies: what binds caller credentials, a target and an upstream credential, in a list of regions.

use std::num::{NonZeroU32, NonZeroU64};

use rr_wire::fleet;

use super::cors::Cors;
use super::effect::Effect;
use super::id::{CredentialId, RegionId, TargetId};
use super::invalid::{Invalid, Violations};
use super::keeping::Keeping;
use super::name::Name;
use super::recording::Recording;
use super::resilience::Retry;
use super::rewrite::Rewrite;
use super::validation::Validation;

/// How many caller credentials a proxy may have.
pub const CALLERS_MAX: usize = 100;
/// How many regions a proxy may be in.
pub const REGIONS_MAX: usize = 100;

/// An address at the edge, and what stands behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// The part after the dot in its address.
    pub name: Name,
    /// Off: its callers get 403.
    pub active: bool,
    /// Who may call; at least one, none twice.
    pub caller_credentials: Vec<CredentialId>,
    /// Where requests go.
    pub target: TargetId,
    /// What is injected.
    pub upstream_credential: CredentialId,
    /// Where it is served; at least one, none twice.
    pub regions: Vec<RegionId>,
    /// What is said of a request that none of its rules matches.
    pub default_effect: Effect,
    /// How a request is answered that rules refuse.
    pub deny_status: DenyStatus,
    /// Encoded slashes, backslashes and NULs in a path are passed on as they are.
    pub opaque_paths: bool,
    /// How many requests it takes, at each node.
    pub limits: Limits,
    /// How many it takes of each caller credential.
    pub limits_per_caller: Limits,
    /// How many it takes from each address.
    pub limits_per_address: Limits,
    /// The rules and the default of its own scope decide nothing; the record says what they would have decided.
    pub observe: bool,
    /// The longest body of a request, in bytes.
    pub max_request_bytes: Option<NonZeroU64>,
    /// The longest body of a response, in bytes.
    pub max_response_bytes: Option<NonZeroU64>,
    /// `None`: a request that may have been processed is not sent again.
    pub retry: Option<Retry>,
    /// Requests under way, at each node.
    pub max_concurrent: Option<NonZeroU32>,
    /// Requests can become WebSockets.
    pub websocket: bool,
    /// Nobody judges or filters what passes through them.
    pub tunnels_unread: bool,
    /// A request without a client certificate is refused.
    pub client_certificates: bool,
    /// What is changed in requests and responses; `None`: nothing.
    pub rewrite: Option<Box<Rewrite>>,
    /// Calls from web pages; `None`: none.
    pub cors: Option<Box<Cors>>,
    /// What the upstream is told about the caller.
    pub forwarded: Forwarded,
    /// For the control plane alone: the target is tested when a change is in effect.
    pub test_after_change: bool,
    /// What becomes of answers in which the upstream sends its secret back.
    pub echo_guard: EchoGuard,
    /// Which records are kept of its requests, and how surely.
    pub keeping: Keeping,
    /// What records hold of paths, headers and queries; `None`: paths as they came, without secrets.
    pub recording: Option<Box<Recording>>,
    /// What its requests have to be like; `None`: nobody looks.
    pub validation: Option<Box<Validation>>,
}

/// What becomes of an answer in which the upstream sends its secret back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum EchoGuard {
    /// The secret is masked.
    #[default]
    Mask,
    /// The answer is refused.
    Refuse,
    /// It is not looked for.
    Off,
}

/// What the upstream is told about the caller.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Forwarded {
    /// Nothing.
    #[default]
    Nothing,
    /// `X-Forwarded-For`, `-Proto` and `-Host`.
    XForwarded,
    /// `Forwarded` (RFC 7239).
    Standard,
}

/// Status of a request that rules refuse.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DenyStatus {
    /// 400.
    #[default]
    BadRequest,
    /// 403.
    Forbidden,
}

impl DenyStatus {
    /// As a number.
    pub const fn code(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::Forbidden => 403,
        }
    }
}

/// How many requests there may be, at each node. `None` means no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// A minute.
    pub minute: Option<NonZeroU64>,
    /// A day.
    pub day: Option<NonZeroU64>,
}

impl Proxy {
    /// Whether there is any limit on its requests.
    pub const fn is_limited(&self) -> bool {
        !(self.limits.is_none() && self.limits_per_caller.is_none() && self.limits_per_address.is_none())
    }
}

impl Limits {
    /// Whether there is none.
    pub const fn is_none(&self) -> bool {
        self.minute.is_none() && self.day.is_none()
    }

    fn read(wire: Option<fleet::Limits>) -> Self {
        let wire = wire.unwrap_or_default();
        Self {
            minute: NonZeroU64::new(wire.per_minute_per_node),
            day: NonZeroU64::new(wire.per_day_per_node),
        }
    }
}

impl TryFrom<fleet::ProxyResource> for Proxy {
    type Error = Invalid;

    fn try_from(wire: fleet::ProxyResource) -> Result<Self, Invalid> {
        let mut faults = Violations::default();
        let name = faults.take("name", wire.name.parse());
        let callers = ids(&mut faults, "caller_credentials", &wire.caller_credentials, CALLERS_MAX);
        let target = faults.take("target", wire.target.parse());
        let upstream = faults.take("upstream_credential", wire.upstream_credential.parse());
        let regions = ids(&mut faults, "regions", &wire.regions, REGIONS_MAX);
        let default_effect = Effect::parse_default(&mut faults, wire.default_effect);
        let deny_status = match wire.deny_status {
            0 | 400 => DenyStatus::BadRequest,
            403 => DenyStatus::Forbidden,
            _ => {
                faults.add("deny_status", "is neither 400 nor 403");
                DenyStatus::default()
            }
        };
        let forwarded = match fleet::ForwardedHeaders::try_from(wire.forwarded) {
            Ok(fleet::ForwardedHeaders::Unspecified) => Forwarded::Nothing,
            Ok(fleet::ForwardedHeaders::XForwarded) => Forwarded::XForwarded,
            Ok(fleet::ForwardedHeaders::Forwarded) => Forwarded::Standard,
            Err(_) => {
                faults.add("forwarded", "is not known to this build");
                Forwarded::default()
            }
        };
        let echo_guard = match fleet::EchoGuard::try_from(wire.echo_guard) {
            Ok(fleet::EchoGuard::Unspecified | fleet::EchoGuard::Mask) => EchoGuard::Mask,
            Ok(fleet::EchoGuard::Refuse) => EchoGuard::Refuse,
            Ok(fleet::EchoGuard::Off) => EchoGuard::Off,
            Err(_) => {
                faults.add("echo_guard", "is not known to this build");
                EchoGuard::default()
            }
        };
        let keeping = Keeping::read(&mut faults, wire.recording.as_ref());
        let retry = wire.retry.map(|wire| Retry::read(&mut faults, wire));
        let rewrite = wire.rewrite.map(|wire| Box::new(Rewrite::read(&mut faults, wire)));
        let recording = wire.recording.map(|wire| Box::new(Recording::read(&mut faults, &wire)));
        let validation = wire.validation.and_then(|wire| Validation::read(&mut faults, wire)).map(Box::new);
        let cors = wire.cors.and_then(|wire| Cors::read(&mut faults, wire)).map(Box::new);
        if wire.tunnels_unread && !wire.websocket {
            faults.add("tunnels_unread", "is about WebSockets: set websocket too");
        }
        faults.finish(|| {
            Some(Self {
                name: name?,
                active: wire.active,
                caller_credentials: callers,
                target: target?,
                upstream_credential: upstream?,
                regions,
                default_effect: default_effect?,
                deny_status,
                opaque_paths: wire.opaque_paths,
                limits: Limits::read(wire.limits),
                limits_per_caller: Limits::read(wire.limits_per_caller),
                limits_per_address: Limits::read(wire.limits_per_address),
                observe: wire.observe,
                max_request_bytes: NonZeroU64::new(wire.max_request_bytes),
                max_response_bytes: NonZeroU64::new(wire.max_response_bytes),
                retry,
                max_concurrent: NonZeroU32::new(wire.max_concurrent_requests_per_node),
                websocket: wire.websocket,
                tunnels_unread: wire.tunnels_unread,
                client_certificates: wire.client_certificates,
                rewrite,
                cors,
                forwarded,
                test_after_change: wire.test_after_change,
                echo_guard,
                keeping,
                recording: recording.filter(|recording| !recording.is_empty()),
                validation,
            })
        })
    }
}

fn ids<I>(faults: &mut Violations, field: &str, texts: &[String], most: usize) -> Vec<I>
where
    I: std::str::FromStr<Err = super::id::InvalidId> + PartialEq,
{
    if texts.is_empty() || texts.len() > most {
        faults.add(field, format!("has 1 to {most}"));
        return Vec::new();
    }
    let mut ids = Vec::with_capacity(texts.len());
    for (i, text) in texts.iter().enumerate() {
        if let Some(id) = faults.take(format!("{field}[{i}]"), text.parse()) {
            if ids.contains(&id) {
                faults.add(format!("{field}[{i}]"), "is there twice");
            } else {
                ids.push(id);
            }
        }
    }
    ids
}

#[cfg(test)]
mod tests;
