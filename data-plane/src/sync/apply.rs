//! What the node does with a transaction: check, judge, write down, swap, answer.
//!
//! Bad configuration never takes a region down. A transaction that came broken, starts from elsewhere or ends
//! in another digest changes nothing; a resource that cannot be taken is refused by name and the rest runs.
//! Written down before it is activated, so that a crash between the two restarts into what the fleet believes;
//! if the disk refuses, it is activated all the same and the answer says so. Runs on the control thread.

use std::collections::VecDeque;

use rr_contract::model::id::RegionId;
use rr_contract::wire::fleet;
use rr_contract::wire::fleet::{Mode, Outcome, Why};
use tracing::{debug, info, warn};

use crate::current::Publisher;
use crate::snapshot::Snapshot;

use super::inventory::Inventory;
use super::journal::Journal;
use super::position::Position;
use super::transaction::{Fault, Transaction};

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
    /// The disk refused a second file, and that was said.
    without_spare: bool,
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
        Self {
            region,
            inventory,
            publisher,
            journal,
            transaction: None,
            running: position,
            on_disk: position,
            serving: position,
            swapped: VecDeque::new(),
            without_spare: false,
        }
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

    pub(crate) fn standing(&self) -> Vec<fleet::Refusal> {
        self.inventory.standing()
    }

    pub(crate) fn refusals(&self) -> usize {
        self.inventory.refusals()
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
        let txn = transaction.txn.clone();
        Some(match self.check(&transaction, commit) {
            Ok(position) => self.take(transaction, position),
            Err(fault) => self.refuse(txn, fault),
        })
    }

    /// Moves on without a change. `false`: the control plane believes something else to be here.
    pub(crate) fn mark(&mut self, mark: &fleet::Mark) -> bool {
        let position = mark.position.as_ref().and_then(|position| Position::try_from(position).ok());
        let (Some(position), Some(running)) = (position, self.running.as_mut()) else { return false };
        if !position.is_same_content(running) {
            return false;
        }
        running.revision = running.revision.max(position.revision);
        // The file has the content, and only that is asked of it after a restart.
        if let Some(on_disk) = self.on_disk.as_mut().filter(|on_disk| on_disk.is_same_content(running)) {
            *on_disk = *running;
        }
        if self.swapped.is_empty() {
            self.serving = self.running;
        }
        true
    }

    /// Sees what the workers have run on, frees what they let go of, and tries again what the disk refused.
    /// Returns whether something is to be told.
    pub(crate) fn tend(&mut self) -> bool {
        self.publisher.bury();
        let generation = self.publisher.serving();
        let mut news = false;
        while let Some((_, position)) = self.swapped.pop_front_if(|(swapped, _)| *swapped <= generation) {
            self.serving = Some(position);
            news = true;
        }
        news
    }

    /// Tries again what the disk refused, and sees to it that there are two files. Returns whether there is
    /// more on disk than before.
    pub(crate) fn mend(&mut self) -> bool {
        let Some(running) = self.running else { return false };
        if self.on_disk.is_some_and(|on_disk| on_disk.is_same_content(&running)) {
            if self.journal.wants_spare()
                && let Err(error) = self.journal.spare(&self.inventory, &running)
            {
                if !std::mem::replace(&mut self.without_spare, true) {
                    warn!(%error, "last-known-good not written a second time, trying again");
                }
            } else {
                self.without_spare = false;
            }
            return false;
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

    fn check(&self, transaction: &Transaction, commit: &fleet::Commit) -> Result<Position, Fault> {
        transaction.close()?;
        let position = commit.position.as_ref().map(Position::try_from);
        let position = position
            .and_then(Result::ok)
            .ok_or_else(|| Fault::new(Why::Transport, "commit has no position"))?;
        if position.region != self.region {
            let detail = format!("is for region {}, node is in {}", position.region, self.region);
            return Err(Fault::new(Why::BaseMismatch, detail));
        }
        if let Some(running) = self.running.filter(|running| running.lineage == position.lineage)
            && position.revision < running.revision
        {
            let detail = format!("goes back from revision {} to {}", running.revision, position.revision);
            return Err(Fault::new(Why::BaseMismatch, detail));
        }
        let (digest, count) = self.inventory.after(transaction.mode, &transaction.changes);
        if digest != position.digest || count != position.count {
            let detail = format!("digest or count differs: {count} resources here, {} there", position.count);
            return Err(Fault::new(Why::Digest, detail));
        }
        Ok(position)
    }

    fn take(&mut self, transaction: Transaction, position: Position) -> Answer {
        let Transaction { txn, mode, changes, bodies, .. } = transaction;
        let changed = changes.len();
        let mut snapshot = self.publisher.current().clone();
        self.inventory.apply(mode, changes, &mut snapshot);
        snapshot.revision = position.revision;
        snapshot.ready = true;

        // A snapshot replaces everything, so it starts a file of its own.
        let written = if mode == Mode::Snapshot || self.journal.wants_fold() {
            self.journal.fold(&self.inventory, &position)
        } else {
            self.journal.append(&bodies, &position)
        };
        let durable = written.is_ok();
        match written {
            Ok(()) => self.on_disk = Some(position),
            Err(error) => warn!(%error, ?position, "last-known-good not written, running all the same"),
        }
        let generation = self.publisher.publish(snapshot);
        self.running = Some(position);
        self.swapped.push_back((generation, position));
        let refusals = self.inventory.standing();
        info!(
            revision = position.revision,
            changed,
            refused = refusals.len(),
            durable,
            "configuration applied"
        );
        for refusal in &refusals {
            let key = refusal.key.as_ref().map(|key| key.id.as_str()).unwrap_or_default();
            debug!(key, why = refusal.why().as_str_name(), detail = refusal.detail, "resource refused");
        }
        let outcome = if refusals.is_empty() { Outcome::Active } else { Outcome::ActivePartial };
        Answer(fleet::Verdict {
            txn,
            outcome: outcome.into(),
            running: Some(position.to_wire()),
            durable,
            refusals,
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
        })
    }
}
