//! Targets: upstream APIs.

use std::time::Duration;

use rr_wire::fleet;

use super::effect::Effect;
use super::invalid::{Invalid, Violations};
use super::name::Name;
use super::origin::BaseUrl;
use super::resilience::{Balance, CircuitBreaker, HealthCheck, NOT_SENDABLE, OutlierEjection, is_sendable};
use super::time;
use super::tls::Wire;
use super::validation::Validation;

/// How long a node tries to connect when the target does not say.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a node waits for the response's head when the target does not say.
pub const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a response, or a tunnel, can be silent when the target does not say.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(5 * 60);
/// How many base URLs a target can have.
pub const BASE_URLS_MAX: usize = 32;
const DAY: Duration = Duration::from_secs(24 * 3600);
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
    /// Where else it lives, with the scheme and path of `base_url`; none twice.
    pub more_base_urls: Box<[BaseUrl]>,
    /// How requests are spread over them.
    pub balance: Balance,
    /// Between two parts of a response.
    pub idle_timeout: Duration,
    /// For the whole; `None`: no limit.
    pub total_timeout: Option<Duration>,
    /// `None`: no base URL is ejected.
    pub outlier_ejection: Option<OutlierEjection>,
    /// `None`: requests are sent however many fail.
    pub circuit_breaker: Option<CircuitBreaker>,
    /// `None`: base URLs are not asked.
    pub health_check: Option<HealthCheck>,
    /// How it is spoken to.
    pub wire: Wire,
    /// Below the base URL, with its query; requested when the target is tested. Empty: the base URL itself.
    pub test_path: Box<str>,
    /// The upstream is told which trace a request belongs to.
    pub trace_context: bool,
    /// What requests to it have to be like; `None`: nobody looks.
    pub validation: Option<Box<Validation>>,
}

impl Target {
    /// Everywhere that it lives.
    pub fn base_urls(&self) -> impl Iterator<Item = &BaseUrl> {
        std::iter::once(&self.base_url).chain(&self.more_base_urls)
    }
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
        let more_base_urls = more_base_urls(&mut faults, base_url.as_ref(), &wire.more_base_urls);
        let balance = Balance::read(&mut faults, wire.balance);
        let idle = timeout(&mut faults, "idle_timeout", wire.idle_timeout.as_ref(), IDLE_TIMEOUT, DAY);
        let total = match wire.total_timeout.as_ref() {
            None => None,
            Some(said) => timeout(&mut faults, "total_timeout", Some(said), DAY, DAY),
        };
        let speaks = Wire::read(&mut faults, &wire);
        let is_plain = wire.base_url.starts_with("http://");
        if is_plain && (speaks.ca.is_some() || !wire.min_tls.is_empty()) {
            let field = if speaks.ca.is_some() { "ca" } else { "min_tls" };
            faults.add(field, "is for TLS: the base URL is plain HTTP");
        }
        let test_path = wire.test_path;
        if !test_path.is_empty() && !is_sendable(&test_path) {
            faults.add("test_path", NOT_SENDABLE);
        }
        let outlier_ejection = wire.outlier_ejection.map(|wire| OutlierEjection::read(&mut faults, wire));
        let circuit_breaker = wire.circuit_breaker.map(|wire| CircuitBreaker::read(&mut faults, wire));
        let health_check = wire.health_check.map(|wire| HealthCheck::read(&mut faults, wire));
        let validation = wire.validation.and_then(|wire| Validation::read(&mut faults, wire)).map(Box::new);
        faults.finish(|| {
            Some(Self {
                name: name?,
                base_url: base_url?,
                connect_timeout: connect?,
                response_timeout: response?,
                default_effect: default_effect?,
                more_base_urls,
                balance,
                idle_timeout: idle?,
                total_timeout: total,
                outlier_ejection,
                circuit_breaker,
                health_check,
                wire: speaks,
                test_path: test_path.into(),
                trace_context: wire.trace_context,
                validation,
            })
        })
    }
}

fn more_base_urls(faults: &mut Violations, first: Option<&BaseUrl>, texts: &[String]) -> Box<[BaseUrl]> {
    if texts.len() >= BASE_URLS_MAX {
        faults.add("more_base_urls", format!("has at most {}", BASE_URLS_MAX - 1));
        return Box::default();
    }
    let mut more: Vec<BaseUrl> = Vec::with_capacity(texts.len());
    for (i, text) in texts.iter().enumerate() {
        let field = format!("more_base_urls[{i}]");
        let Some(url) = faults.take(&*field, text.parse::<BaseUrl>()) else { continue };
        let Some(first) = first else { continue };
        if (url.scheme(), url.path()) != (first.scheme(), first.path()) {
            faults.add(field, "has another scheme or path than base_url: only host and port can differ");
        } else if url == *first || more.contains(&url) {
            faults.add(field, "is there twice");
        } else {
            more.push(url);
        }
    }
    more.into()
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

#[cfg(test)]
mod tests;
