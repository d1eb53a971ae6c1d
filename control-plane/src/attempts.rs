//! Refused attempts of known actors, counted by actor, call and minute, and written every few seconds.
//!
//! Bounded: beyond some thousand different ones between two writes, further ones are dropped. Attempts of unknown
//! callers are counted only by the metrics.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rr_contract::runtime::{Stop, chain};
use tracing::warn;

use crate::authz::Principal;
use crate::store::audit::RefusedRow;
use crate::store::{self, Store};

/// How often they are written.
const FLUSH: Duration = Duration::from_secs(2);
/// How many different ones are gathered at once.
const MOST: usize = 10_000;
const MINUTE: i64 = 60_000_000;

/// By minute, token id and call.
type Gathered = HashMap<(i64, String, &'static str), RefusedRow>;

/// Refused attempts that are not written yet. Clones share them.
#[derive(Clone)]
pub(crate) struct Attempts {
    store: Store,
    gathered: Arc<Mutex<Gathered>>,
}

impl Attempts {
    pub(crate) fn new(store: Store) -> Self {
        Self { store, gathered: Arc::default() }
    }

    /// Notes one attempt.
    pub(crate) fn note(&self, principal: &Principal, call: &'static str, reason: &str) {
        let minute = self.store.now() / MINUTE * MINUTE;
        let mut gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (minute, principal.token.clone(), call);
        if gathered.len() >= MOST && !gathered.contains_key(&key) {
            return;
        }
        let row = gathered.entry(key).or_insert_with(|| RefusedRow {
            minute,
            token: principal.token.clone(),
            call: call.to_owned(),
            user: principal.user.clone(),
            reason: String::new(),
            count: 0,
            address: String::new(),
        });
        row.count += 1;
        reason.clone_into(&mut row.reason);
        row.address.clone_from(&principal.address);
    }

    /// Writes them until the stop, and once more then.
    pub(crate) async fn run(self, stop: Stop) {
        loop {
            let stopping = tokio::select! {
                () = stop.requested() => true,
                () = tokio::time::sleep(FLUSH) => false,
            };
            self.flush().await;
            if stopping {
                return;
            }
        }
    }

    /// Writes the counted attempts.
    pub(crate) async fn flush(&self) {
        let gathered = std::mem::take(&mut *self.gathered.lock().unwrap_or_else(PoisonError::into_inner));
        if gathered.is_empty() {
            return;
        }
        if let Err(error) = store::audit::add_refused(&self.store, gathered.into_values().collect()).await {
            warn!(error = %chain(&error), "could not write refused attempts");
        }
    }
}
