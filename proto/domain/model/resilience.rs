//! What is done about upstreams that fail: retries, ejection, circuit breakers, health checks.
//!
//! Times and bounds only; the edge node counts.

use std::time::Duration;

use http::uri::PathAndQuery;
use rr_wire::fleet;

use super::invalid::Violations;
use super::time;

/// How many further attempts there can be.
pub const ATTEMPTS_MAX: u32 = 5;
/// Failures in a row that a breaker or an ejection can wait for.
const FAILURES_MAX: u32 = 1000;
/// Results in a row that a health check can wait for.
const RESULTS_MAX: u32 = 100;
/// The longest that a base URL can take to say that it works.
const CHECK_TIMEOUT_MAX: Duration = Duration::from_secs(10);
const HOUR: Duration = Duration::from_secs(3600);
/// Statuses that can be retried: the upstream may answer otherwise the next time.
const RETRIED: [u16; 7] = [408, 425, 429, 500, 502, 503, 504];
/// Those that are retried where the policy names none.
const RETRIED_UNLESS_SAID: [u16; 3] = [502, 503, 504];

/// When a request that failed is sent again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// Further attempts, 1 to 5.
    pub attempts: u32,
    /// At least one.
    pub statuses: Box<[u16]>,
    /// Of the proxy's requests, 1 to 100.
    pub budget_percent: u32,
    /// Mean of the first wait.
    pub backoff: Duration,
    /// The longest wait.
    pub max_backoff: Duration,
}

/// When a base URL gets no requests for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutlierEjection {
    /// In a row.
    pub consecutive_failures: u32,
    /// The first time.
    pub ejection_time: Duration,
    /// 1 to 100.
    pub max_ejected_percent: u32,
}

/// When a target gets no requests for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CircuitBreaker {
    /// In a row.
    pub consecutive_failures: u32,
    /// Until one request is let through.
    pub open_for: Duration,
}

/// How base URLs are asked whether they work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// Below the base URL; empty, or begins with a slash.
    pub path: Box<str>,
    /// Between two requests.
    pub interval: Duration,
    /// For the answer.
    pub timeout: Duration,
    /// Failures in a row.
    pub unhealthy_after: u32,
    /// Successes in a row.
    pub healthy_after: u32,
    /// The highest status of a success.
    pub max_status: u16,
}

/// How requests are spread over base URLs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Balance {
    /// One after the other.
    #[default]
    RoundRobin,
    /// The one with the fewest requests under way, of two that are drawn.
    LeastRequests,
}

impl Balance {
    pub(crate) fn read(faults: &mut Violations, wire: i32) -> Self {
        match fleet::Balance::try_from(wire) {
            Ok(fleet::Balance::Unspecified | fleet::Balance::RoundRobin) => Self::RoundRobin,
            Ok(fleet::Balance::LeastRequests) => Self::LeastRequests,
            Err(_) => {
                faults.add("balance", "is not known to this build");
                Self::default()
            }
        }
    }
}

impl Retry {
    pub(crate) fn read(faults: &mut Violations, wire: fleet::RetryPolicy) -> Self {
        if !(1..=ATTEMPTS_MAX).contains(&wire.attempts) {
            faults.add("retry.attempts", format!("is 1 to {ATTEMPTS_MAX}"));
        }
        if wire.statuses.len() > RETRIED.len() {
            faults.add("retry.statuses", format!("has at most {}", RETRIED.len()));
        }
        let mut statuses = Vec::with_capacity(wire.statuses.len().min(RETRIED.len()));
        for (i, status) in wire.statuses.iter().enumerate().take(RETRIED.len()) {
            match RETRIED.into_iter().find(|known| u32::from(*known) == *status) {
                Some(status) if statuses.contains(&status) => {
                    faults.add(format!("retry.statuses[{i}]"), "is there twice");
                }
                Some(status) => statuses.push(status),
                None => faults.add(format!("retry.statuses[{i}]"), format!("is not one of {RETRIED:?}")),
            }
        }
        if statuses.is_empty() {
            statuses.extend(RETRIED_UNLESS_SAID);
        }
        let most = Duration::from_secs(60);
        let longest = wire.max_backoff.as_ref();
        let max_backoff = span(
            faults,
            "retry.max_backoff",
            longest,
            Duration::from_secs(2),
            Duration::from_millis(1),
            most,
        );
        let (first, unless_said) = (wire.backoff.as_ref(), Duration::from_millis(25).min(max_backoff));
        let least = Duration::from_millis(1);
        let mut backoff = span(faults, "retry.backoff", first, unless_said, least, Duration::from_secs(10));
        if backoff > max_backoff {
            let longest = max_backoff.as_secs_f64();
            faults.add("retry.backoff", format!("is longer than `max_backoff`, which is {longest} s"));
            backoff = max_backoff;
        }
        Self {
            attempts: wire.attempts,
            statuses: statuses.into(),
            budget_percent: number(faults, "retry.budget_percent", wire.budget_percent, 20, 100),
            backoff,
            max_backoff,
        }
    }
}

impl OutlierEjection {
    pub(crate) fn read(faults: &mut Violations, wire: fleet::OutlierEjection) -> Self {
        let field = |name: &str| format!("outlier_ejection.{name}");
        Self {
            consecutive_failures: number(
                faults,
                &field("consecutive_failures"),
                wire.consecutive_failures,
                5,
                FAILURES_MAX,
            ),
            ejection_time: span(
                faults,
                &field("ejection_time"),
                wire.ejection_time.as_ref(),
                Duration::from_secs(30),
                Duration::from_millis(1),
                HOUR,
            ),
            max_ejected_percent: number(
                faults,
                &field("max_ejected_percent"),
                wire.max_ejected_percent,
                50,
                100,
            ),
        }
    }
}

impl CircuitBreaker {
    pub(crate) fn read(faults: &mut Violations, wire: fleet::CircuitBreaker) -> Self {
        let field = |name: &str| format!("circuit_breaker.{name}");
        Self {
            consecutive_failures: number(
                faults,
                &field("consecutive_failures"),
                wire.consecutive_failures,
                5,
                FAILURES_MAX,
            ),
            open_for: span(
                faults,
                &field("open_for"),
                wire.open_for.as_ref(),
                Duration::from_secs(10),
                Duration::from_millis(1),
                HOUR,
            ),
        }
    }
}

/// What a path that cannot be sent is told.
pub(super) const NOT_SENDABLE: &str = "must start with `/`, be at most 1024 bytes and hold only printable ASCII without \
     spaces, `#`, `<` and `>`, and no backtick before `?`";

/// Whether a path and its query can be sent as they are: others would be asked as something else.
pub(super) fn is_sendable(path: &str) -> bool {
    let is_printable = path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    is_printable && path.len() <= 1024 && path.starts_with('/') && path.parse::<PathAndQuery>().is_ok()
}

impl HealthCheck {
    pub(crate) fn read(faults: &mut Violations, wire: fleet::HealthCheck) -> Self {
        let field = |name: &str| format!("health_check.{name}");
        let path = wire.path;
        if !path.is_empty() && !is_sendable(&path) {
            faults.add(field("path"), NOT_SENDABLE);
        }
        let interval = span(
            faults,
            &field("interval"),
            wire.interval.as_ref(),
            Duration::from_secs(10),
            Duration::from_secs(1),
            HOUR,
        );
        let mut timeout = span(
            faults,
            &field("timeout"),
            wire.timeout.as_ref(),
            Duration::from_secs(2).min(interval),
            Duration::from_millis(1),
            // A node has so many at a time, for all organizations.
            CHECK_TIMEOUT_MAX,
        );
        if timeout > interval {
            let between = interval.as_secs_f64();
            faults.add(field("timeout"), format!("is longer than `interval`, which is {between} s"));
            timeout = interval;
        }
        let max_status = match u16::try_from(wire.max_status) {
            Ok(0) => 499,
            Ok(status) if (200..=599).contains(&status) => status,
            _ => {
                faults.add(field("max_status"), "is 200 to 599");
                499
            }
        };
        Self {
            path: path.into(),
            interval,
            timeout,
            unhealthy_after: number(faults, &field("unhealthy_after"), wire.unhealthy_after, 3, RESULTS_MAX),
            healthy_after: number(faults, &field("healthy_after"), wire.healthy_after, 2, RESULTS_MAX),
            max_status,
        }
    }
}

fn number(faults: &mut Violations, field: &str, value: u32, unless_said: u32, most: u32) -> u32 {
    if value > most {
        faults.add(field, format!("is at most {most}"));
    }
    if value == 0 { unless_said } else { value }
}

/// A duration within bounds, both included.
pub(super) fn span(
    faults: &mut Violations,
    field: &str,
    wire: Option<&pbjson_types::Duration>,
    unless_said: Duration,
    least: Duration,
    most: Duration,
) -> Duration {
    let Some(wire) = wire else { return unless_said };
    match time::duration(wire) {
        Ok(value) if (least..=most).contains(&value) => value,
        _ => {
            faults.add(field, format!("is {} s to {} s", least.as_secs_f64(), most.as_secs_f64()));
            unless_said
        }
    }
}

#[cfg(test)]
mod tests;
