//! Targets: upstream APIs.

use std::time::Duration;

use rr_wire::fleet;

use super::effect::Effect;
use super::invalid::{Invalid, Violations};
use super::name::Name;
use super::origin::BaseUrl;
use super::time;

/// How long a node tries to connect when the target does not say.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a node waits for the response's head when the target does not say.
pub const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT_MAX: Duration = Duration::from_secs(60);
const RESPONSE_TIMEOUT_MAX: Duration = Duration::from_secs(15 * 60);

/// An upstream API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its name in its organization.
    pub name: Name,
    /// Where it lives.
    pub base_url: BaseUrl,
    /// Until the connection stands, TLS included.
    pub connect_timeout: Duration,
    /// From then until the response's head.
    pub response_timeout: Duration,
    /// What is said of a request that none of its rules matches.
    pub default_effect: Effect,
}

impl TryFrom<fleet::TargetResource> for Target {
    type Error = Invalid;

    fn try_from(wire: fleet::TargetResource) -> Result<Self, Invalid> {
        let mut faults = Violations::default();
        let name = faults.take("name", wire.name.parse());
        let base_url = faults.take("base_url", wire.base_url.parse());
        let connect = timeout(
            &mut faults,
            "connect_timeout",
            wire.connect_timeout.as_ref(),
            CONNECT_TIMEOUT,
            CONNECT_TIMEOUT_MAX,
        );
        let response = timeout(
            &mut faults,
            "response_timeout",
            wire.response_timeout.as_ref(),
            RESPONSE_TIMEOUT,
            RESPONSE_TIMEOUT_MAX,
        );
        let default_effect = Effect::parse_default(&mut faults, wire.default_effect);
        faults.finish(|| {
            Some(Self {
                name: name?,
                base_url: base_url?,
                connect_timeout: connect?,
                response_timeout: response?,
                default_effect: default_effect?,
            })
        })
    }
}

fn timeout(
    faults: &mut Violations,
    field: &str,
    wire: Option<&pbjson_types::Duration>,
    default: Duration,
    most: Duration,
) -> Option<Duration> {
    let Some(wire) = wire else { return Some(default) };
    let value = faults.take(field, time::duration(wire))?;
    if value.is_zero() || value > most {
        faults.add(field, format!("must be more than 0 s and at most {} s", most.as_secs()));
        return None;
    }
    Some(value)
}
