//! How often and how many at once: tests of an organization, whoever of it asks.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::service::ServiceError;

/// How many begin within a minute, of one organization.
const A_MINUTE: u32 = 10;
const MINUTE: Duration = Duration::from_secs(60);

/// Which organizations test, and have tested within the minute.
#[derive(Debug, Clone, Default)]
pub(crate) struct TestBounds(Arc<Mutex<HashMap<String, Count>>>);

#[derive(Debug)]
struct Count {
    since: Instant,
    begun: u32,
    is_running: bool,
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
        counts.retain(|_, count| count.is_running || now.duration_since(count.since) < MINUTE);
        let count = counts.entry(org.to_owned()).or_insert(Count { since: now, begun: 0, is_running: false });
        if now.duration_since(count.since) >= MINUTE {
            (count.since, count.begun) = (now, 0);
        }
        if count.is_running {
            return Err(ServiceError::TooManyTests(
                "a test of the organization is under way: try again when it has ended".to_owned(),
            ));
        }
        if count.begun >= A_MINUTE {
            let wait = MINUTE.saturating_sub(now.duration_since(count.since)).as_secs() + 1;
            return Err(ServiceError::TooManyTests(format!(
                "the organization has tested {A_MINUTE} times within a minute: try again in {wait} s"
            )));
        }
        count.begun += 1;
        count.is_running = true;
        Ok(Place { bounds: self.clone(), org: org.to_owned() })
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<String, Count>> {
        // Held for a few map operations and never over an await.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
}
