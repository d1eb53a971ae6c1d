//! What policies about failures can say, and what they mean where they say nothing.

use super::*;
use crate::model::invalid::Invalid;

fn wire(millis: u64) -> Option<pbjson_types::Duration> {
    Some(time::wire_duration(Duration::from_millis(millis)))
}

fn read<T>(read: impl FnOnce(&mut Violations) -> T) -> Result<T, Invalid> {
    let mut faults = Violations::default();
    let value = read(&mut faults);
    faults.finish(|| Some(value))
}

fn fields<T: std::fmt::Debug>(result: Result<T, Invalid>) -> Vec<String> {
    result.expect_err("it is refused").violations().iter().map(|violation| violation.field.clone()).collect()
}

#[test]
fn a_policy_that_says_little_gets_the_values_of_the_schema() {
    let retry = fleet::RetryPolicy { attempts: 1, ..fleet::RetryPolicy::default() };
    let retry = read(|faults| Retry::read(faults, retry)).expect("it is valid");
    assert_eq!((retry.attempts, &*retry.statuses, retry.budget_percent), (1, &[502, 503, 504][..], 20));
    assert_eq!((retry.backoff, retry.max_backoff), (Duration::from_millis(25), Duration::from_secs(2)));
    let ejection = read(|faults| OutlierEjection::read(faults, fleet::OutlierEjection::default()));
    let wanted = OutlierEjection {
        consecutive_failures: 5,
        ejection_time: Duration::from_secs(30),
        max_ejected_percent: 50,
    };
    assert_eq!(ejection, Ok(wanted));
    let breaker = read(|faults| CircuitBreaker::read(faults, fleet::CircuitBreaker::default()));
    assert_eq!(breaker, Ok(CircuitBreaker { consecutive_failures: 5, open_for: Duration::from_secs(10) }));
    let health = read(|faults| HealthCheck::read(faults, fleet::HealthCheck::default())).expect("valid");
    assert_eq!((health.unhealthy_after, health.healthy_after, health.max_status), (3, 2, 499));
    assert_eq!((health.interval, health.timeout), (Duration::from_secs(10), Duration::from_secs(2)));
}

#[test]
fn a_short_longest_wait_bounds_the_first_one_and_a_short_interval_the_timeout() {
    let retry = fleet::RetryPolicy { attempts: 1, max_backoff: wire(5), ..fleet::RetryPolicy::default() };
    assert_eq!(read(|faults| Retry::read(faults, retry)).expect("valid").backoff, Duration::from_millis(5));
    let health = fleet::HealthCheck { interval: wire(1000), ..fleet::HealthCheck::default() };
    assert_eq!(
        read(|faults| HealthCheck::read(faults, health)).expect("valid").timeout,
        Duration::from_secs(1)
    );
}

#[test]
fn a_wait_that_another_field_bounds_names_that_field() {
    fn said<T: std::fmt::Debug>(result: Result<T, Invalid>) -> String {
        result.expect_err("it is refused").violations()[0].reason.clone()
    }
    let retry = fleet::RetryPolicy { attempts: 1, backoff: wire(3000), ..fleet::RetryPolicy::default() };
    let why = said(read(|faults| Retry::read(faults, retry)));
    assert_eq!(why, "is longer than `max_backoff`, which is 2 s");
    let health =
        fleet::HealthCheck { interval: wire(1000), timeout: wire(1001), ..fleet::HealthCheck::default() };
    let why = said(read(|faults| HealthCheck::read(faults, health)));
    assert_eq!(why, "is longer than `interval`, which is 1 s");
}

#[test]
fn every_value_out_of_bounds_is_named() {
    let retry = fleet::RetryPolicy {
        attempts: 6,
        statuses: vec![503, 404, 503],
        budget_percent: 101,
        backoff: wire(3000),
        max_backoff: wire(61_000),
    };
    assert_eq!(
        fields(read(|faults| Retry::read(faults, retry))),
        [
            "retry.attempts",
            "retry.statuses[1]",
            "retry.statuses[2]",
            "retry.max_backoff",
            "retry.backoff",
            "retry.budget_percent"
        ]
    );
    // However many there are, as many are looked at as there can be.
    let endless =
        fleet::RetryPolicy { attempts: 1, statuses: vec![1; 100_000], ..fleet::RetryPolicy::default() };
    let seen = fields(read(|faults| Retry::read(faults, endless)));
    assert_eq!((seen.len(), &*seen[0]), (1 + RETRIED.len(), "retry.statuses"));
    let none = fleet::RetryPolicy::default();
    assert_eq!(fields(read(|faults| Retry::read(faults, none))), ["retry.attempts"]);
    let ejection = fleet::OutlierEjection {
        consecutive_failures: 1001,
        ejection_time: wire(0),
        max_ejected_percent: 101,
    };
    assert_eq!(fields(read(|faults| OutlierEjection::read(faults, ejection))).len(), 3);
    let breaker = fleet::CircuitBreaker { consecutive_failures: 1001, open_for: wire(3_600_001) };
    assert_eq!(fields(read(|faults| CircuitBreaker::read(faults, breaker))).len(), 2);
    for path in ["ping", "*", "?a", "/a b", "/a#b", "/\u{e4}", "/<a>", "/a?<", "/`a`"] {
        let health = fleet::HealthCheck { path: path.to_owned(), ..fleet::HealthCheck::default() };
        assert_eq!(fields(read(|faults| HealthCheck::read(faults, health))), ["health_check.path"], "{path}");
    }
    let patient =
        fleet::HealthCheck { interval: wire(60_000), timeout: wire(10_001), ..fleet::HealthCheck::default() };
    assert_eq!(fields(read(|faults| HealthCheck::read(faults, patient))), ["health_check.timeout"]);
    let health = fleet::HealthCheck {
        interval: wire(999),
        timeout: wire(20_000),
        unhealthy_after: 101,
        healthy_after: 101,
        max_status: 600,
        ..fleet::HealthCheck::default()
    };
    assert_eq!(fields(read(|faults| HealthCheck::read(faults, health))).len(), 5);
    assert_eq!(fields(read(|faults| Balance::read(faults, 9))), ["balance"]);
}
