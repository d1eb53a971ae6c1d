//! What the node does with a transaction: check, judge, write down, swap, answer.
//!
//! Bad configuration never takes a region down. A transaction that came broken, starts from elsewhere or ends
//! in another digest changes nothing; a resource that cannot be taken is refused by name and the rest runs.
//! Written down before it is activated, so that a crash between the two restarts into what the fleet believes;
//! if the disk refuses, it is activated all the same and the answer says so. Another audit head for the
//! revision at which the node stands is not taken: it is the proof that history was rewritten. Runs on the
//! control thread.

mod check;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

use rr_contract::digest::Digest;
use rr_contract::model::id::RegionId;
use rr_contract::model::resource::Key;
use rr_contract::model::time;
use rr_contract::wire::fleet;
use rr_contract::wire::fleet::Outcome;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::current::Publisher;
use crate::snapshot::Snapshot;

use super::inventory::{Foretold, Inventory, Terms};
use super::journal::Journal;
use super::position::{AuditHead, InvalidPosition, Position};
use super::prove::{Prover, Vitals};
use super::transaction::{Fault, Offered, Transaction};

/// Owns the configuration of this node.
pub(crate) struct Applier {
    region: RegionId,
    inventory: Inventory,
    publisher: Publisher<Snapshot>,
    journal: Journal,
    transaction: Option<Transaction>,
    running: Option<Position>,
    on_disk: Option<Position>,
    serving: Option<Position>,
    /// Generations that not every worker has run on yet, and where they stand.
    swapped: VecDeque<(u64, Position)>,
    prover: Prover,
    /// The disk refused a second file, and that was said.
    without_spare: bool,
    /// The last audit head that contradicted ours.
    contradiction: Option<AuditHead>,
    /// When the digest was last added up anew.
    recounted: Option<Instant>,
    /// The digest was found to be another one than was said.
    is_corrected: bool,
    /// What the last transaction took.
    timing: Option<fleet::Timing>,
}

/// Why a mark is not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RefusedMark {
    #[error("mark has no position")]
    Invalid(#[source] InvalidPosition),
    #[error("mark is of another state than is here")]
    Elsewhere,
    #[error("mark is of another history than the one that led here")]
    Rewritten,
}

/// What became of a transaction, for the control plane.
pub(crate) struct Answer(pub(crate) fleet::Verdict);

impl Applier {
    pub(crate) fn new(
        region: RegionId,
        inventory: Inventory,
        publisher: Publisher<Snapshot>,
        journal: Journal,
        position: Option<Position>,
    ) -> Self {
        let prover = Prover::new(position, &journal);
        Self {
            region,
            inventory,
            publisher,
            journal,
            prover,
            transaction: None,
            running: position,
            on_disk: position,
            serving: position,
            swapped: VecDeque::new(),
            without_spare: false,
            contradiction: None,
            recounted: None,
            is_corrected: false,
            timing: None,
        }
    }

    /// Has proof of life depend on `vitals`, and take `prove_for` where a commit does not say.
    pub(crate) fn proving(mut self, vitals: Vitals, prove_for: Duration) -> Self {
        self.prover.listen_to(vitals, prove_for);
        self
    }

    /// The newest place to which a crash leads back.
    pub(crate) fn proven(&self) -> Option<Position> {
        let proven = self.journal.proven()?;
        Some(self.running.filter(|running| running.is_same_content(&proven)).unwrap_or(proven))
    }

    /// What was gone back on, if nothing newer has been proven since.
    pub(crate) fn crash(&self) -> Option<fleet::CrashReport> {
        self.journal.crash()
    }

    /// Whether the node came up at an older place than it once stood at, because of its disk.
    pub(crate) fn is_set_back(&self) -> bool {
        self.journal.is_set_back()
    }

    /// The process ends in order.
    pub(crate) fn settle(&mut self) {
        self.journal.settle();
    }

    pub(crate) fn running(&self) -> Option<Position> {
        self.running
    }

    pub(crate) fn on_disk(&self) -> Option<Position> {
        self.on_disk
    }

    pub(crate) fn serving(&self) -> Option<Position> {
        self.serving
    }

    /// What the last transaction took.
    pub(crate) fn timing(&self) -> Option<fleet::Timing> {
        self.timing
    }

    /// What is held, refused or not.
    pub(crate) fn wanted(&self) -> impl Iterator<Item = (&Key, &Offered)> {
        self.inventory.wanted()
    }

    pub(crate) fn standing(&self) -> Vec<fleet::Refusal> {
        self.inventory.standing()
    }

    pub(crate) fn refusals(&self) -> usize {
        self.inventory.refusals()
    }

    /// Whether another audit head was offered for a revision than the one that was there.
    pub(crate) fn is_history_rewritten(&self) -> bool {
        self.contradiction.is_some()
    }

    /// Opens a transaction. One that was open is forgotten: its sender is gone.
    pub(crate) fn begin(&mut self, begin: fleet::Begin) -> Option<Answer> {
        self.transaction = None;
        let txn = begin.txn.clone();
        match Transaction::begin(begin, self.running.as_ref()) {
            Ok(transaction) => {
                self.transaction = Some(transaction);
                None
            }
            Err(fault) => Some(self.refuse(txn, fault)),
        }
    }

    /// Takes a chunk of the open transaction; others are ignored.
    pub(crate) fn chunk(&mut self, chunk: &fleet::Chunk) -> Option<Answer> {
        let transaction = self.transaction.as_mut().filter(|open| open.txn == chunk.txn)?;
        let fault = transaction.take(chunk).err()?;
        self.transaction = None;
        Some(self.refuse(chunk.txn.clone(), fault))
    }

    /// Closes the open transaction and takes it in.
    pub(crate) fn commit(&mut self, commit: &fleet::Commit) -> Option<Answer> {
        let transaction = self.transaction.take_if(|open| open.txn == commit.txn)?;
        let since = Instant::now();
        let txn = transaction.txn.clone();
        self.prover.ask(commit.prove_for.as_ref().and_then(|time| time::duration(time).ok()));
        Some(match self.check(&transaction, commit) {
            Ok((position, foretold)) => {
                let check = since.elapsed();
                self.take(transaction, position, foretold, check)
            }
            Err(fault) => self.refuse(txn, fault),
        })
    }

    /// Moves on without a change.
    pub(crate) fn mark(&mut self, mark: &fleet::Mark) -> Result<(), RefusedMark> {
        let position = mark.position.as_ref().ok_or(InvalidPosition::Incomplete).and_then(Position::try_from);
        let position = position.map_err(RefusedMark::Invalid)?;
        self.guard(&position).map_err(|_| RefusedMark::Rewritten)?;
        let running = self.running.as_mut().filter(|running| position.is_same_content(running));
        let running = running.ok_or(RefusedMark::Elsewhere)?;
        if position.revision >= running.revision {
            *running = position.knowing(running);
        }
        let marked = *running;
        if self.swapped.is_empty() {
            self.serving = Some(marked);
        }
        self.write_mark(marked);
        Ok(())
    }

    /// Puts a mark behind what is on disk already: of the audit chain, a restart is to know the newest head.
    fn write_mark(&mut self, position: Position) {
        let is_behind = |on_disk: Position| on_disk != position && on_disk.is_same_content(&position);
        // Where nothing can be appended, `mend` writes the whole.
        if !self.on_disk.is_some_and(is_behind) || self.journal.wants_fold() {
            return;
        }
        match self.journal.append(&[], &position) {
            Ok(()) => self.on_disk = Some(position),
            Err(error) => warn!(%error, ?position, "mark not written to last-known-good, trying again"),
        }
    }

    /// Sees what the workers have run on, frees what they let go of, and looks whether a part of what is held
    /// still is what was sent.
    /// Returns whether something is to be told.
    pub(crate) fn tend(&mut self) -> bool {
        self.publisher.bury();
        let generation = self.publisher.serving();
        if let Some(digest) = self.inventory.check_slice() {
            self.stand_at(digest);
        }
        let mut news = std::mem::take(&mut self.is_corrected);
        while let Some((_, position)) = self.swapped.pop_front_if(|(swapped, _)| *swapped <= generation) {
            self.serving = Some(position);
            news = true;
        }
        if news && self.swapped.is_empty() {
            // Marks may have come since.
            self.serving = self.running;
        }
        news | self.prover.tend(generation, self.on_disk, &mut self.journal, Instant::now())
    }

    /// Says the truth about what is held, which is not what was thought. On disk is what was sent.
    fn stand_at(&mut self, digest: Digest) {
        let Some(running) = &mut self.running else { return };
        if running.digest != digest {
            running.digest = digest;
            self.is_corrected = true;
        }
    }

    /// Tries again what the disk refused, and sees to it that there are two files. Returns whether there is
    /// more on disk than before.
    pub(crate) fn mend(&mut self) -> bool {
        let Some(running) = self.running else { return false };
        // What was not sent is never written over what was.
        if self.inventory.is_damaged() {
            return false;
        }
        if let Some(on_disk) = self.on_disk.filter(|on_disk| on_disk.is_same_content(&running)) {
            let is_behind = on_disk != running;
            let is_due = self.journal.wants_spare() || (is_behind && self.journal.wants_fold());
            if !is_due {
                self.without_spare = false;
                return false;
            }
            return match self.journal.spare(&self.inventory, &running) {
                Ok(()) => {
                    self.without_spare = false;
                    self.on_disk = Some(running);
                    is_behind
                }
                Err(error) => {
                    if !std::mem::replace(&mut self.without_spare, true) {
                        warn!(%error, "last-known-good not written a second time, trying again");
                    }
                    false
                }
            };
        }
        let mended = self.journal.fold(&self.inventory, &running).is_ok();
        if mended {
            info!(position = ?running, "last-known-good written again");
            self.on_disk = Some(running);
        }
        mended
    }

    /// Forgets a transaction whose stream has ended.
    pub(crate) fn stream_ended(&mut self) {
        self.transaction = None;
    }

    fn take(
        &mut self,
        transaction: Transaction,
        position: Position,
        foretold: Foretold,
        check: Duration,
    ) -> Answer {
        let is_appended = transaction.is_appended();
        let Transaction { txn, mode, changes, bodies, adopted, .. } = transaction;
        let changed = changes.len();
        let mut watch = Instant::now();
        let mut snapshot = self.publisher.current().clone();
        let terms = Terms { mode, adopted: adopted.as_ref() };
        let refused = self.inventory.take(terms, foretold, changes, &mut snapshot);
        snapshot.revision = position.revision;
        snapshot.ready = true;
        let compile = lap(&mut watch);

        let written = if !is_appended || self.journal.wants_fold() {
            self.journal.fold(&self.inventory, &position)
        } else {
            self.journal.append(&bodies, &position)
        };
        let disk = lap(&mut watch);
        let durable = written.is_ok();
        match written {
            Ok(()) => self.on_disk = Some(position),
            Err(error) => warn!(%error, ?position, "last-known-good not written, running all the same"),
        }
        let generation = self.publisher.publish(snapshot);
        self.running = Some(position);
        self.swapped.push_back((generation, position));
        let file = durable.then(|| self.journal.newest());
        self.prover.began(generation, position, file, &self.journal, Instant::now());
        let timing = timing(check, compile, disk, lap(&mut watch));
        self.timing = Some(timing);
        let (refusals, standing) = (self.inventory.told(refused.iter()), self.inventory.refusals());
        info!(
            revision = position.revision,
            changed,
            refused = standing,
            durable,
            check_us = timing.check_us,
            compile_us = timing.compile_us,
            disk_us = timing.disk_us,
            "configuration applied"
        );
        for refusal in &refusals {
            let key = refusal.key.as_ref().map(|key| key.id.as_str()).unwrap_or_default();
            debug!(key, why = refusal.why().as_str_name(), detail = refusal.detail, "resource refused");
        }
        let outcome = if standing == 0 { Outcome::Active } else { Outcome::ActivePartial };
        Answer(fleet::Verdict {
            txn,
            outcome: outcome.into(),
            running: Some(position.to_wire()),
            durable,
            refusals,
            timing: Some(timing),
        })
    }

    fn refuse(&self, txn: Vec<u8>, fault: Fault) -> Answer {
        warn!(why = fault.why.as_str_name(), detail = fault.detail, "transaction refused");
        Answer(fleet::Verdict {
            txn,
            outcome: Outcome::Refused.into(),
            running: self.running.map(Position::to_wire),
            durable: true,
            refusals: vec![fleet::Refusal {
                why: fault.why.into(),
                detail: fault.detail,
                ..fleet::Refusal::default()
            }],
            timing: None,
        })
    }
}

/// The time since the last lap.
fn lap(watch: &mut Instant) -> Duration {
    let since = std::mem::replace(watch, Instant::now());
    *watch - since
}

fn timing(check: Duration, compile: Duration, disk: Duration, swap: Duration) -> fleet::Timing {
    let micros = |duration: Duration| u32::try_from(duration.as_micros()).unwrap_or(u32::MAX);
    fleet::Timing {
        check_us: micros(check),
        compile_us: micros(compile),
        disk_us: micros(disk),
        swap_us: micros(swap),
    }
}
