//! When to take no more writes: once the database has shown that it does not keep what was acknowledged.
//!
//! Decides nothing about what becomes of the database: that takes a person. The invariant: a revision that a caller
//! was told of is in the history, or this process writes no more and says so.

use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;
use tracing::error;

use super::error::{Broken, StoreError};

/// The newest place that somebody was told of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Acknowledged {
    head: i64,
    audit: [u8; 32],
}

/// Whether writes are taken.
pub(super) struct Fence {
    database: String,
    acknowledged: Mutex<Option<Acknowledged>>,
    broken: watch::Sender<Option<Broken>>,
}

impl Fence {
    pub(super) fn new(database: String) -> Self {
        Self { database, acknowledged: Mutex::default(), broken: watch::Sender::new(None) }
    }

    /// An error where no writes are taken any more.
    pub(super) fn open(&self) -> Result<(), StoreError> {
        match &*self.broken.borrow() {
            Some(broken) => Err(StoreError::Broken(Box::new(broken.clone()))),
            None => Ok(()),
        }
    }

    /// Waits until no writes are taken any more.
    pub(super) async fn broken(&self) -> Broken {
        let mut broken = self.broken.subscribe();
        let found = broken.wait_for(Option::is_some).await.expect("the sender lives in self");
        found.clone().expect("it was waited for")
    }

    /// Somebody is about to be told of a place.
    pub(super) fn acknowledge(&self, head: i64, audit: [u8; 32]) {
        let mut newest = self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
        if newest.is_none_or(|newest| newest.head < head) {
            *newest = Some(Acknowledged { head, audit });
        }
    }

    /// What somebody was told of. To be asked before the database is read that is compared with it.
    pub(super) fn acknowledged(&self) -> Option<Acknowledged> {
        *self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Compares what was acknowledged before the database was read with where the database stands.
    pub(super) fn compare(
        &self,
        acknowledged: Option<Acknowledged>,
        head: i64,
        audit: &[u8],
    ) -> Result<(), StoreError> {
        let Some(told) = acknowledged else { return Ok(()) };
        let number = |place: i64| u64::try_from(place).unwrap_or_default();
        let database = self.database.clone();
        if head < told.head {
            let (acknowledged, found) = (number(told.head), number(head));
            return Err(self.shut(Broken::Behind { database, acknowledged, found }));
        }
        if head == told.head && audit != told.audit {
            return Err(self.shut(Broken::Other { database, acknowledged: number(told.head) }));
        }
        Ok(())
    }

    /// A commit was answered that was none.
    pub(super) fn not_committed(&self) -> StoreError {
        self.shut(Broken::NotCommitted { database: self.database.clone() })
    }

    fn shut(&self, broken: Broken) -> StoreError {
        self.broken.send_if_modified(|known| {
            let first = known.is_none();
            if first {
                error!(error = %broken, "the database does not keep what it confirmed, no writes are taken any more");
                *known = Some(broken.clone());
            }
            first
        });
        StoreError::Broken(Box::new(broken))
    }
}
