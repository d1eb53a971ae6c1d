//! The dials that are under way to one origin, and whether one more is to go beside them.
//!
//! Dials nothing, and knows nobody who waits. The invariant: where dials fail or hang, those who wait do not learn it one
//! after the other: twice as many go with each failure, and with time.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

use super::super::streams::{CONNECTIONS_MAX, Streams};
use super::Spoken;

/// Connections that one worker dials to one origin at a time.
pub(super) const DIALS_MAX: usize = 64;
/// How long the dials to an origin of which nothing is up have, until one more goes beside them; from then on, each time
/// that it has doubled, twice as many.
pub(super) const PATIENCE: Duration = Duration::from_millis(250);

/// The dials.
pub(super) struct Dialing {
    count: Cell<usize>,
    /// Since when there is at least one.
    since: Cell<Instant>,
    /// Of these, those that have their turn.
    connecting: Cell<usize>,
    /// Dials that have failed since one came through.
    failures: Cell<u32>,
}

impl Dialing {
    pub(super) fn new() -> Self {
        let (count, connecting, failures) = Default::default();
        Self { count, since: Cell::new(Instant::now()), connecting, failures }
    }

    pub(super) fn count(&self) -> usize {
        self.count.get()
    }

    pub(super) fn begins(&self) {
        if self.count.replace(self.count.get() + 1) == 0 {
            self.since.set(Instant::now());
        }
    }

    /// One of them has its turn.
    pub(super) fn connects(&self) {
        self.connecting.update(|connecting| connecting + 1);
    }

    /// Whether one has its turn.
    pub(super) fn is_connecting(&self) -> bool {
        self.connecting.get() > 0
    }

    /// One is over, whatever came of it.
    pub(super) fn ends(&self, has_connected: bool) {
        self.count.update(|count| count - 1);
        if has_connected {
            self.connecting.update(|connecting| connecting - 1);
        }
    }

    pub(super) fn came_through(&self) {
        self.failures.set(0);
    }

    pub(super) fn failed(&self) {
        self.failures.update(|failures| failures.saturating_add(1));
    }

    /// Whether one more is to go, for so many who wait.
    pub(super) fn may_grow(&self, spoken: Spoken, waiting: usize, streams: &Streams) -> bool {
        let count = self.count.get();
        // The first goes alone while it is not known whether its connection can be shared.
        let at_once = 1 << self.failures.get().max(self.doublings()).min(DIALS_MAX.ilog2());
        match spoken {
            Spoken::Unknown => count < at_once,
            Spoken::Http1 => count < DIALS_MAX,
            Spoken::Http2 => {
                let failing = at_once > 1 && !streams.is_up();
                streams.want_more(waiting.saturating_sub(count), count)
                    || (failing && count < at_once.min(CONNECTIONS_MAX))
            }
        }
    }

    /// How often the patience with the dials under way has doubled.
    fn doublings(&self) -> u32 {
        if self.count.get() == 0 {
            return 0;
        }
        let over = self.since.get().elapsed().as_millis() / PATIENCE.as_millis();
        over.checked_ilog2().map_or(0, |doublings| doublings + 1)
    }

    /// When more may go although none has ended, where nothing is up.
    pub(super) fn look_again(&self) -> Option<Instant> {
        let doublings = self.doublings();
        let may_grow = self.count.get() > 0 && doublings < DIALS_MAX.ilog2();
        may_grow.then(|| self.since.get() + PATIENCE * (1 << doublings))
    }
}
