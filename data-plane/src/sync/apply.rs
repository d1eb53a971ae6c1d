//! Applies a transaction: check, judge, write down, swap, answer.
//!
//! Bad configuration never takes a region down. A transaction that came broken, starts from elsewhere or ends in
//! another digest changes nothing; a resource that cannot be taken is refused by name and the rest runs. Written
//! down before it is activated, so that a crash between the two restarts into what the fleet believes; if the disk
//! refuses, it is activated all the same and the verdict says so. A different audit head for the node's own
//! revision is refused: it proves that history was rewritten. Runs on the control thread.

mod check;
mod disk;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

use rr_contract::digest::Digest;
use rr_contract::model::id::RegionId;
use rr_contract::model::resource::Key;
use rr_contract::model::time;
use rr_contract::seal::region_key::RegionOpeningKey;
use rr_contract::wire::fleet;
use rr_contract::wire::fleet::{Outcome, Why};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::current::Activator;
use crate::snapshot::Snapshot;

use super::inventory::{Foretold, Inventory, Terms};
use super::journal::Scribe;
use super::position::{AuditHead, InvalidPosition, Position};
use super::prove::{Prover, Vitals};
use super::transaction::{Fault, Offered, Transaction, restraints};

/// Owns the configuration of this node.
pub(crate) struct Applier {
    region: RegionId,
    inventory: Inventory,
    activator: Activator<Snapshot>,
    scribe: Scribe,
    transaction: Option<Transaction>,
    running: Option<Position>,
    on_disk: Option<Position>,
    serving: Option<Position>,
    /// Generations that not every worker has run on yet, and where they stand.
    swapped: VecDeque<(u64, Position)>,
    prover: Prover,
    /// The disk refused a second file, and that was said.
    without_spare: bool,
    /// The disk stalls, and that was told.
    was_stalled: bool,
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
    #[error("mark has no valid position")]
    Invalid(#[source] InvalidPosition),
    #[error("mark is for a state that this node does not hold")]
    Elsewhere,
    #[error("mark contradicts the audit head of this node")]
    Rewritten,
}

/// What became of a transaction, for the control plane.
pub(crate) struct Answer(pub(crate) fleet::Verdict);

impl Applier {
    pub(crate) fn new(
        region: RegionId,
        inventory: Inventory,
        activator: Activator<Snapshot>,
        scribe: Scribe,
        position: Option<Position>,
    ) -> Self {
        let prover = Prover::new(position, scribe.view());
        Self {
            region,
            inventory,
            activator,
            scribe,
            prover,
            transaction: None,
            running: position,
            on_disk: position,
            serving: position,
            swapped: VecDeque::new(),
            without_spare: false,
            was_stalled: false,
            contradiction: None,
            recounted: None,
            is_corrected: false,
            timing: None,
        }
    }

    /// What decides requests.
    pub(crate) fn snapshot(&self) -> &Snapshot {
        self.activator.current()
    }

    /// Sets `vitals` for the proof of life, and `prove_for` where a commit names no time.
    pub(crate) fn proving(mut self, vitals: Vitals, prove_for: Duration) -> Self {
        self.prover.listen_to(vitals, prove_for);
        self
    }

    /// The newest position to which a crash leads back.
    pub(crate) fn proven(&self) -> Option<Position> {
        let proven = self.scribe.view().proven?;
        Some(self.running.filter(|running| running.is_same_content(&proven)).unwrap_or(proven))
    }

    /// The configuration that was given up after crashes, if nothing newer has been proven since.
    pub(crate) fn crash(&self) -> Option<fleet::CrashReport> {
        self.scribe.view().crash.clone()
    }

    /// Whether the node started at an older position than it had before, because of its disk.
    pub(crate) fn is_set_back(&self) -> bool {
        self.scribe.view().is_set_back
    }

    /// Whether a write to the disk is overdue.
    pub(crate) fn is_disk_stalled(&self) -> bool {
        self.scribe.is_stalled()
    }

    /// The process ends in order.
    pub(crate) async fn settle(&mut self) {
        // A disk that stalls does not hold up the end. Nothing is counted for it either.
        self.scribe.settle().await.ok();
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
    pub(crate) async fn commit(&mut self, commit: &fleet::Commit) -> Option<Answer> {
        let transaction = self.transaction.take_if(|open| open.txn == commit.txn)?;
        let since = Instant::now();
        let txn = transaction.txn.clone();
        self.prover.ask(commit.prove_for.as_ref().and_then(|time| time::duration(time).ok()));
        Some(match self.check(&transaction, commit) {
            Ok((position, foretold)) => {
                let check = since.elapsed();
                self.take(transaction, position, foretold, check).await
            }
            Err(fault) => self.refuse(txn, fault),
        })
    }

    /// Moves on without a change.
    pub(crate) async fn mark(&mut self, mark: &fleet::Mark) -> Result<(), RefusedMark> {
        let position = mark.position.as_ref().ok_or(InvalidPosition::Incomplete).and_then(Position::try_from);
        let position = position.map_err(RefusedMark::Invalid)?;
        self.refuse_rewritten(&position).map_err(|_| RefusedMark::Rewritten)?;
        let running = self.running.as_mut().filter(|running| position.is_same_content(running));
        let running = running.ok_or(RefusedMark::Elsewhere)?;
        if position.revision >= running.revision {
            *running = position.knowing(running);
        }
        let marked = *running;
        self.reach(marked);
        if self.swapped.is_empty() {
            self.serving = Some(marked);
        }
        self.write_mark(marked).await;
        Ok(())
    }

    /// What a later position took away is no longer kept in mind there.
    fn reach(&mut self, position: Position) {
        if self.inventory.restrained() == 0 {
            return;
        }
        let mut snapshot = self.activator.current().clone();
        if self.inventory.reached(&position, &mut snapshot) {
            snapshot.revision = position.revision;
            self.swap(snapshot, position);
        }
    }

    fn swap(&mut self, snapshot: Snapshot, position: Position) -> u64 {
        let generation = self.activator.activate(snapshot);
        self.swapped.push_back((generation, position));
        generation
    }

    /// Takes from what runs what was taken away at a position that this node is not brought to. Returns whether
    /// something else runs now.
    pub(crate) async fn restrain(&mut self, message: &fleet::Restrain) -> Result<bool, Fault> {
        let until = message.until.as_ref().and_then(|until| Position::try_from(until).ok());
        let until = until.ok_or_else(|| {
            Fault::new(Why::Transport, "message about resources to withhold has no valid position")
        })?;
        let Some(running) = self.running else { return Ok(false) };
        if (until.lineage, until.region) != (running.lineage, running.region)
            || until.revision < running.revision
        {
            // About a position where this node does not stand, or no longer.
            return Ok(false);
        }
        let later = restraints(message)?;
        let mut snapshot = self.activator.current().clone();
        if !self.inventory.restrain(&until, &later, &mut snapshot) {
            return Ok(false);
        }
        info!(
            until = until.revision,
            restrained = self.inventory.restrained(),
            "withheld resources that a later revision takes away"
        );
        // In force first: it only takes away, and a disk may be slow.
        self.swap(snapshot, running);
        // Until it is written, a restart would not stand here.
        self.on_disk = None;
        self.write(None, running).await;
        Ok(true)
    }

    /// Opens secrets with one more key from now on, those too that did not open before.
    pub(crate) fn take_key(&mut self, key: RegionOpeningKey) {
        self.inventory.vault().add(key);
        let Some(running) = self.running else { return };
        let mut snapshot = self.activator.current().clone();
        if self.inventory.open_again(&mut snapshot) {
            self.swap(snapshot, running);
        }
    }

    /// Sees what the workers have run on, and frees what they let go of.
    /// Returns whether something is to be told.
    pub(crate) async fn tend(&mut self) -> bool {
        self.activator.bury();
        let generation = self.activator.serving();
        let mut news = std::mem::take(&mut self.is_corrected);
        while let Some((_, position)) = self.swapped.pop_front_if(|(swapped, _)| *swapped <= generation) {
            self.serving = Some(position);
            news = true;
        }
        if news && self.swapped.is_empty() {
            // Marks may have come since.
            self.serving = self.running;
        }
        news |= self.catch_up().await;
        // What cannot be written down now is proven when it can.
        if !self.scribe.is_stalled()
            && let Some((position, file)) = self.prover.tend(generation, Instant::now())
        {
            self.prove(position, file).await;
            news = true;
        }
        news
    }

    /// Says the truth about what is held, which is not what was thought. On disk is what was sent.
    fn stand_at(&mut self, digest: Digest) {
        let Some(running) = &mut self.running else { return };
        if running.digest != digest {
            running.digest = digest;
            self.is_corrected = true;
        }
    }

    /// Forgets a transaction whose stream has ended.
    pub(crate) fn stream_ended(&mut self) {
        self.transaction = None;
    }

    async fn take(
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
        let mut snapshot = self.activator.current().clone();
        let terms = Terms { mode, adopted: adopted.as_ref(), again: false };
        let refused = self.inventory.take(terms, foretold, changes, &mut snapshot);
        self.inventory.reached(&position, &mut snapshot);
        snapshot.revision = position.revision;
        snapshot.ready = true;
        let compile = lap(&mut watch);

        let durable = self.write(is_appended.then_some(bodies), position).await;
        let disk = lap(&mut watch);
        let generation = self.swap(snapshot, position);
        self.running = Some(position);
        let file = durable.then(|| self.scribe.view().newest);
        self.prover.began(generation, position, file, self.scribe.view(), Instant::now());
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
