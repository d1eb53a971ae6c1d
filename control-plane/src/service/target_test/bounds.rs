//! How often and how many at once: tests of an organization, and permissions for its trials, whoever of it asks.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::service::ServiceError;

/// How many tests begin within a minute, of one organization, and how many trials are permitted.
const A_MINUTE: u32 = 10;
const TRIALS_A_MINUTE: u32 = 60;
const MINUTE: Duration = Duration::from_secs(60);

/// Which organizations test, and have tested within the minute.
#[derive(Debug, Clone, Default)]
pub(crate) struct TestBounds(Arc<Mutex<HashMap<String, Count>>>);

/// Which organizations were permitted trials within the minute.
#[derive(Debug, Clone, Default)]
pub(crate) struct TrialBounds(Arc<Mutex<HashMap<String, Minute>>>);

#[derive(Debug)]
struct Count {
    minute: Minute,
    is_running: bool,
}

/// How often since when.
#[derive(Debug)]
struct Minute {
    since: Instant,
    begun: u32,
}

impl Minute {
    const fn new(since: Instant) -> Self {
        Self { since, begun: 0 }
    }

    fn is_over(&self, now: Instant) -> bool {
        now.duration_since(self.since) >= MINUTE
    }

    /// Counts one more, or says in how many seconds there is room again.
    fn begin(&mut self, now: Instant, most: u32) -> Result<(), u64> {
        if self.is_over(now) {
            *self = Self::new(now);
        }
        if self.begun >= most {
            return Err(MINUTE.saturating_sub(now.duration_since(self.since)).as_secs() + 1);
        }
        self.begun += 1;
        Ok(())
    }
}

/// The right to test, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    bounds: TestBounds,
    org: String,
}

impl TestBounds {
    /// A place, or how an organization has too many.
    pub(super) fn take(&self, org: &str, now: Instant) -> Result<Place, ServiceError> {
        let mut counts = self.counts();
        counts.retain(|_, count| count.is_running || !count.minute.is_over(now));
        let count = counts
            .entry(org.to_owned())
            .or_insert_with(|| Count { minute: Minute::new(now), is_running: false });
        if count.is_running {
            return Err(ServiceError::TooManyTests(
                "a test of the organization is under way: try again when it has ended".to_owned(),
            ));
        }
        count.minute.begin(now, A_MINUTE).map_err(|wait| too_often("tested", A_MINUTE, wait))?;
        count.is_running = true;
        Ok(Place { bounds: self.clone(), org: org.to_owned() })
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<String, Count>> {
        // Held for a few map operations and never over an await.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TrialBounds {
    /// Counts a permission, or says how an organization has too many.
    pub(in crate::service) fn take(&self, org: &str, now: Instant) -> Result<(), ServiceError> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.retain(|_, minute| !minute.is_over(now));
        let minute = counts.entry(org.to_owned()).or_insert_with(|| Minute::new(now));
        minute.begin(now, TRIALS_A_MINUTE).map_err(|wait| too_often("tried requests", TRIALS_A_MINUTE, wait))
    }
}

fn too_often(done: &str, most: u32, wait: u64) -> ServiceError {
    let text = format!("the organization has {done} {most} times within a minute: try again in {wait} s");
    ServiceError::TooManyTests(text)
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(count) = self.bounds.counts().get_mut(&self.org) {
            count.is_running = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_organization_tests_once_at_a_time_and_ten_times_a_minute_and_keeps_nobody_else_from_it() {
        let (bounds, now) = (TestBounds::default(), Instant::now());
        let first = bounds.take("a", now).expect("it has room");
        let beside = bounds.take("a", now).expect_err("one is under way").to_string();
        assert!(beside.contains("under way"), "{beside}");
        bounds.take("b", now).expect("another organization");
        drop(first);
        for _ in 1..A_MINUTE {
            bounds.take("a", now).expect("one after the other");
        }
        let many = bounds.take("a", now).expect_err("too many within the minute").to_string();
        assert!(many.contains("60 s") || many.contains("61 s"), "{many}");
        bounds.take("b", now).expect("another organization");
        bounds.take("a", now + MINUTE).expect("a minute later");
    }

    #[test]
    fn an_organization_is_permitted_sixty_trials_a_minute_and_keeps_nobody_else_from_them() {
        let (bounds, now) = (TrialBounds::default(), Instant::now());
        for _ in 0..TRIALS_A_MINUTE {
            bounds.take("a", now).expect("it has room");
        }
        let many = bounds.take("a", now).expect_err("too many within the minute").to_string();
        assert!(many.contains("60 times within a minute: try again in 61 s"), "{many}");
        bounds.take("b", now).expect("another organization");
        bounds.take("a", now + MINUTE).expect("a minute later");
    }
}
