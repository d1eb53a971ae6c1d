//! What is done about upstreams that fail: flags of one value each, as `failures=5,open=10s`.
//!
//! Reads text; the API knows the bounds. A value takes the place of the whole setting: what it does not name has its
//! default.

use clap::ValueEnum;
use pbjson_types::Duration as WireDuration;
use rr_contract::model::time::wire_duration;
use rr_contract::wire::fleet;

use super::span;
use crate::print::plain;

/// How requests are spread over base URLs.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Balance {
    /// One after the other.
    RoundRobin,
    /// The one with the fewest requests under way, of two that are drawn.
    LeastRequests,
}

impl Balance {
    pub(crate) const fn to_wire(self) -> i32 {
        match self {
            Self::RoundRobin => fleet::Balance::RoundRobin as i32,
            Self::LeastRequests => fleet::Balance::LeastRequests as i32,
        }
    }
}

/// A setting, or that there is none.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Setting<T>(pub(crate) Option<T>);

/// `failures=5,open=10s`.
pub(crate) fn circuit_breaker(text: &str) -> Result<Setting<fleet::CircuitBreaker>, String> {
    setting(text, "failures and open", |breaker: &mut fleet::CircuitBreaker, key, value| {
        match key {
            "failures" => breaker.consecutive_failures = number(value)?,
            "open" => breaker.open_for = Some(span(value)?),
            _ => return None,
        }
        Some(())
    })
}

/// `failures=5,time=30s,percent=50`.
pub(crate) fn outlier_ejection(text: &str) -> Result<Setting<fleet::OutlierEjection>, String> {
    setting(text, "failures, time and percent", |ejection: &mut fleet::OutlierEjection, key, value| {
        match key {
            "failures" => ejection.consecutive_failures = number(value)?,
            "time" => ejection.ejection_time = Some(span(value)?),
            "percent" => ejection.max_ejected_percent = number(value)?,
            _ => return None,
        }
        Some(())
    })
}

/// `path=/up,interval=10s,timeout=2s,unhealthy=3,healthy=2,max-status=499`.
pub(crate) fn health_check(text: &str) -> Result<Setting<fleet::HealthCheck>, String> {
    let keys = "path, interval, timeout, unhealthy, healthy and max-status";
    setting(text, keys, |check: &mut fleet::HealthCheck, key, value| {
        match key {
            "path" => check.path = value.to_owned(),
            "interval" => check.interval = Some(span(value)?),
            "timeout" => check.timeout = Some(span(value)?),
            "unhealthy" => check.unhealthy_after = number(value)?,
            "healthy" => check.healthy_after = number(value)?,
            "max-status" => check.max_status = number(value)?,
            _ => return None,
        }
        Some(())
    })
}

/// `attempts=2,on=502+503,budget=20,backoff=25ms,max-backoff=2s`.
pub(crate) fn retry(text: &str) -> Result<Setting<fleet::RetryPolicy>, String> {
    let keys = "attempts, on, budget, backoff and max-backoff";
    let read = setting(text, keys, |retry: &mut fleet::RetryPolicy, key, value| {
        match key {
            "attempts" => retry.attempts = number(value)?,
            "on" => retry.statuses = value.split('+').map(number).collect::<Option<_>>()?,
            "budget" => retry.budget_percent = number(value)?,
            "backoff" => retry.backoff = Some(span(value)?),
            "max-backoff" => retry.max_backoff = Some(span(value)?),
            _ => return None,
        }
        Some(())
    });
    // There is no number of attempts that goes without saying, but once is what somebody means who says nothing.
    read.map(|Setting(retry)| {
        Setting(retry.map(|retry| fleet::RetryPolicy { attempts: retry.attempts.max(1), ..retry }))
    })
}

/// `default`: all defaults. `none`: no such setting. Otherwise pairs of key and value.
fn setting<T: Default>(
    text: &str,
    keys: &str,
    mut put: impl FnMut(&mut T, &str, &str) -> Option<()>,
) -> Result<Setting<T>, String> {
    let mut setting = T::default();
    match text {
        "none" => return Ok(Setting(None)),
        "default" => return Ok(Setting(Some(setting))),
        _ => {}
    }
    let mut seen: Vec<&str> = Vec::new();
    for pair in text.split(',') {
        let wrong = || {
            format!(
                "{pair:?} is not a setting; write KEY=VALUE of {keys}, with commas between, durations as 500ms, 10s or 2m"
            )
        };
        let (key, value) = pair.split_once('=').ok_or_else(wrong)?;
        if seen.contains(&key) {
            return Err(format!("{key} is there twice"));
        }
        seen.push(key);
        put(&mut setting, key, value).ok_or_else(wrong)?;
    }
    Ok(Setting(Some(setting)))
}

fn number(text: &str) -> Option<u32> {
    text.parse().ok()
}

fn span(text: &str) -> Option<WireDuration> {
    span::of(text).map(wire_duration)
}

/// A circuit breaker as the flag is typed.
pub(crate) fn circuit_breaker_of(breaker: &fleet::CircuitBreaker) -> String {
    typed([numbered("failures", breaker.consecutive_failures), lasting("open", breaker.open_for.as_ref())])
}

/// An ejection as the flag is typed.
pub(crate) fn outlier_ejection_of(ejection: &fleet::OutlierEjection) -> String {
    typed([
        numbered("failures", ejection.consecutive_failures),
        lasting("time", ejection.ejection_time.as_ref()),
        numbered("percent", ejection.max_ejected_percent),
    ])
}

/// A health check as the flag is typed.
pub(crate) fn health_check_of(check: &fleet::HealthCheck) -> String {
    typed([
        Some(format!("path={}", check.path)).filter(|_| !check.path.is_empty()),
        lasting("interval", check.interval.as_ref()),
        lasting("timeout", check.timeout.as_ref()),
        numbered("unhealthy", check.unhealthy_after),
        numbered("healthy", check.healthy_after),
        numbered("max-status", check.max_status),
    ])
}

/// A policy of retries as the flag is typed.
pub(crate) fn retry_of(retry: &fleet::RetryPolicy) -> String {
    let statuses = retry.statuses.iter().map(u32::to_string).collect::<Vec<_>>().join("+");
    typed([
        numbered("attempts", retry.attempts),
        Some(format!("on={statuses}")).filter(|_| !statuses.is_empty()),
        numbered("budget", retry.budget_percent),
        lasting("backoff", retry.backoff.as_ref()),
        lasting("max-backoff", retry.max_backoff.as_ref()),
    ])
}

/// How requests are spread, as the flag is typed.
pub(crate) fn balance_of(balance: fleet::Balance) -> String {
    plain(balance.as_str_name(), "BALANCE_")
}

fn typed<const N: usize>(pairs: [Option<String>; N]) -> String {
    let said = pairs.into_iter().flatten().collect::<Vec<_>>();
    if said.is_empty() { "default".to_owned() } else { said.join(",") }
}

fn numbered(key: &str, number: u32) -> Option<String> {
    (number > 0).then(|| format!("{key}={number}"))
}

fn lasting(key: &str, span: Option<&WireDuration>) -> Option<String> {
    span.map(|span| format!("{key}={}", span::text(span)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn millis(millis: u64) -> Option<WireDuration> {
        Some(wire_duration(Duration::from_millis(millis)))
    }

    #[test]
    fn a_setting_is_pairs_all_defaults_or_none() {
        let breaker = fleet::CircuitBreaker { consecutive_failures: 7, open_for: millis(120_000) };
        assert_eq!(circuit_breaker("failures=7,open=2m"), Ok(Setting(Some(breaker))));
        assert_eq!(circuit_breaker("default"), Ok(Setting(Some(fleet::CircuitBreaker::default()))));
        assert_eq!(circuit_breaker("none"), Ok(Setting(None)));
        let ejection = fleet::OutlierEjection {
            consecutive_failures: 3,
            ejection_time: millis(500),
            max_ejected_percent: 30,
        };
        assert_eq!(outlier_ejection("time=500ms,percent=30,failures=3"), Ok(Setting(Some(ejection))));
        let check = fleet::HealthCheck {
            path: "/up?a=b".to_owned(),
            interval: millis(10_000),
            timeout: millis(1_000),
            unhealthy_after: 2,
            healthy_after: 1,
            max_status: 299,
        };
        let text = "path=/up?a=b,interval=10s,timeout=1s,unhealthy=2,healthy=1,max-status=299";
        assert_eq!(health_check(text), Ok(Setting(Some(check))));
        let policy = fleet::RetryPolicy {
            attempts: 2,
            statuses: vec![502, 503],
            budget_percent: 10,
            backoff: millis(50),
            max_backoff: millis(3_600_000),
        };
        let text = "attempts=2,on=502+503,budget=10,backoff=50ms,max-backoff=1h";
        assert_eq!(retry(text), Ok(Setting(Some(policy))));
        let once = fleet::RetryPolicy { attempts: 1, ..fleet::RetryPolicy::default() };
        assert_eq!(retry("default"), Ok(Setting(Some(once))));
    }

    #[test]
    fn a_setting_is_shown_as_it_is_typed() {
        fn shown<T>(read: Result<Setting<T>, String>, write: impl Fn(&T) -> String) -> String {
            write(&read.expect("a setting").0.expect("one that is there"))
        }
        for text in ["failures=7,open=2m", "default"] {
            assert_eq!(shown(circuit_breaker(text), circuit_breaker_of), text);
        }
        for text in ["failures=3,time=500ms,percent=30", "default"] {
            assert_eq!(shown(outlier_ejection(text), outlier_ejection_of), text);
        }
        for text in ["path=/up?a=b,interval=10s,timeout=1s,unhealthy=2,healthy=1,max-status=299", "default"] {
            assert_eq!(shown(health_check(text), health_check_of), text);
        }
        let text = "attempts=2,on=502+503,budget=10,backoff=50ms,max-backoff=1h";
        assert_eq!(shown(retry(text), retry_of), text);
        assert_eq!(balance_of(fleet::Balance::LeastRequests), "least-requests");
        assert_eq!(balance_of(fleet::Balance::Unspecified), "");
    }

    #[test]
    fn what_is_wrong_is_named_with_what_there_is() {
        for text in [
            "",
            "failures",
            "failures=x",
            "fails=5",
            "open=10",
            "open=s",
            "open=10d",
            "open=99999999999999999999s",
            "failures=5,",
        ] {
            let error = circuit_breaker(text).expect_err(text);
            assert!(error.contains("failures and open"), "{text}: {error}");
        }
        assert!(circuit_breaker("failures=5,failures=6").expect_err("twice").contains("twice"));
        assert!(retry("on=502,503").is_err(), "a comma is between settings");
    }
}
