//! Tests targets after changes, for the proxies that want it, and tells of those that fail.
//!
//! Looks at nothing while no revision came since everything was tested.

use std::sync::{Mutex, PoisonError};

use super::Told;
use crate::notice;
use crate::service::{ServiceError, Services};

/// Up to which revision everything was tested.
#[derive(Default)]
pub(super) struct Tested(Mutex<Option<u64>>);

impl Tested {
    fn until(&self) -> Option<u64> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, until: Option<u64>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }
}

pub(super) async fn run(services: &Services, told: &Told, tested: &Tested) -> Result<u64, ServiceError> {
    let head = *services.publisher.heads().borrow();
    if tested.until() == Some(head) {
        return Ok(0);
    }
    let turn = services.tests_after_changes().await?;
    let now = services.store.now();
    let rows = turn.failed.iter().map(|failed| notice::target_test_failed(now, failed)).collect();
    let count = told.tell(&services.store, rows).await?;
    tested.note((!turn.is_left).then_some(head));
    Ok(count)
}
