//! Proof of life: on which configuration the process has stayed alive for long enough to return to it after a
//! crash.
//!
//! A position counts from the moment at which every worker has run on it. It is proven once the time that its
//! commit asked for has gone by since, the process is still there, and the watchdog has nothing to say. What came
//! in between does not set it back: a region that changes 200 times a second never stands on one position for ten
//! seconds, and would never have anything to come back to. So what is proven there is the position that was in
//! force ten seconds ago; nearly all of it is in force still, and what it set off would have ended the process by
//! now. A later commit has a clock of its own. To go back to what is proven already ends every clock: what was gone
//! back from is not to be proven behind its back.
//!
//! Of positions that follow each other faster than an eighth of their time, only some are kept, so that the list is
//! short and a proof is written about once in an eighth. The invariant: no position is proven earlier than its time
//! after every worker ran on it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::journal::View;
use super::position::Position;

/// Where a commit does not say.
pub(crate) const PROVE_FOR: Duration = Duration::from_secs(10);
/// Number of parts of the time, of each of which one position is kept.
const PARTS: u32 = 8;

/// Whether the watchdog has no complaint.
pub(crate) type Vitals = Arc<dyn Fn() -> bool + Send + Sync>;

/// The positions that are not proven yet.
pub(crate) struct Prover {
    waiting: VecDeque<Waiting>,
    vitals: Vitals,
    unless_said: Duration,
    /// For the next position.
    asked: Duration,
}

struct Waiting {
    generation: u64,
    position: Position,
    /// The file that it was written to, if it was.
    file: Option<u64>,
    takes: Duration,
    began: Instant,
    /// Since when every worker has run on it.
    since: Option<Instant>,
}

impl Prover {
    /// For a process that starts on `position`, if on anything.
    pub(crate) fn new(position: Option<Position>, journal: &View) -> Self {
        let mut prover = Self {
            waiting: VecDeque::new(),
            vitals: Arc::new(|| true),
            unless_said: PROVE_FOR,
            asked: PROVE_FOR,
        };
        if let Some(position) = position {
            prover.began(0, position, Some(journal.newest), journal, Instant::now());
        }
        prover
    }

    /// Asks `vitals` before anything is proven, and gives a position that does not say `unless_said` of time.
    pub(crate) fn listen_to(&mut self, vitals: Vitals, unless_said: Duration) {
        (self.vitals, self.unless_said) = (vitals, unless_said);
        for waiting in &mut self.waiting {
            waiting.takes = unless_said;
        }
    }

    /// What the next position asks for.
    pub(crate) fn ask(&mut self, takes: Option<Duration>) {
        self.asked = takes.unwrap_or(self.unless_said);
    }

    /// A position has come in force, though no worker may have run on it yet.
    pub(crate) fn began(
        &mut self,
        generation: u64,
        position: Position,
        file: Option<u64>,
        journal: &View,
        began: Instant,
    ) {
        if journal.proven.is_some_and(|proven| proven.is_same_content(&position)) {
            self.waiting.clear();
            return;
        }
        if let [.., before, last] = self.waiting.make_contiguous()
            && last.began - before.began < last.takes / PARTS
        {
            self.waiting.pop_back();
        }
        let takes = self.asked;
        self.waiting.push_back(Waiting { generation, position, file, takes, began, since: None });
    }

    /// The file of the position that is next to be proven.
    pub(crate) fn awaited(&self) -> Option<u64> {
        self.waiting.front().and_then(|waiting| waiting.file)
    }

    /// Looks which position has had its time, and where that is on disk. `serving` is the newest generation that
    /// every worker has run on.
    pub(crate) fn tend(&mut self, serving: u64, now: Instant) -> Option<(Position, Option<u64>)> {
        let is_well = (self.vitals)();
        for waiting in &mut self.waiting {
            let has_run = serving > 0 && waiting.generation <= serving;
            if has_run && (waiting.since.is_none() || !is_well) {
                waiting.since = Some(now);
            }
        }
        let is_due = |waiting: &Waiting| waiting.since.is_some_and(|since| now - since >= waiting.takes);
        let due = if is_well { self.waiting.iter().rposition(is_due) } else { None };
        let proven = due.and_then(|due| self.waiting.drain(..=due).next_back())?;
        Some((proven.position, proven.file))
    }
}

#[cfg(test)]
mod tests;
