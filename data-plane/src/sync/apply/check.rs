//! The checks of a transaction before any of it is taken.
//!
//! Changes nothing but what is known of contradictions. The invariant: what passes leads exactly to the digest that
//! it claims, forward in one history unless an operator decided otherwise, and removes no more than was consented
//! to.

use std::time::Duration;

use rr_contract::model::removal::is_mass;
use rr_contract::wire::fleet;
use rr_contract::wire::fleet::Why;
use tokio::time::Instant;
use tracing::error;

use super::super::inventory::Foretold;
use super::super::position::{InvalidPosition, Position};
use super::super::transaction::{Fault, Transaction};
use super::Applier;

/// A recount takes long, and wrong digests must not cause it all the time.
const RECOUNT_EVERY: Duration = Duration::from_secs(60);

impl Applier {
    /// Refuses a position with a different audit head for the node's own revision. The node's head is kept, as the
    /// proof.
    pub(super) fn refuse_rewritten(&mut self, offered: &Position) -> Result<(), Fault> {
        let Some(running) = self.running.filter(|running| offered.contradicts(running)) else {
            return Ok(());
        };
        let (Some(ours), Some(theirs)) = (running.audit, offered.audit) else { return Ok(()) };
        if self.contradiction.replace(theirs) != Some(theirs) {
            error!(
                revision = running.revision,
                %ours,
                %theirs,
                "history rewritten: the control plane has a different audit head for the revision of this node"
            );
        }
        let detail = format!(
            "audit head of revision {} is {ours} on the node, {theirs} in the control plane",
            running.revision
        );
        Err(Fault::new(Why::Audit, detail))
    }

    /// The position that the transaction leads to, if it may be taken.
    pub(super) fn check(
        &mut self,
        transaction: &Transaction,
        commit: &fleet::Commit,
    ) -> Result<(Position, Foretold), Fault> {
        transaction.close()?;
        let position =
            commit.position.as_ref().ok_or(InvalidPosition::Incomplete).and_then(Position::try_from);
        let position = position.map_err(|invalid| match invalid {
            InvalidPosition::Incomplete => Fault::new(Why::Transport, "commit has no valid position"),
            InvalidPosition::Audit(_) => Fault::new(Why::Audit, invalid.to_string()),
        })?;
        self.refuse_rewritten(&position)?;
        if position.region != self.region {
            let detail = format!(
                "transaction is for region {}, but the node is in region {}",
                position.region, self.region
            );
            return Err(Fault::new(Why::BaseMismatch, detail));
        }
        if transaction.adopted.is_none() {
            self.check_forward(&position)?;
        }
        let mut foretold = self.inventory.foretell(transaction.mode, &transaction.changes);
        if !foretold.leads_to(&position) && self.is_recounted() {
            foretold = self.inventory.foretell(transaction.mode, &transaction.changes);
        }
        if !foretold.leads_to(&position) {
            let (here, there) = (foretold.count, position.count);
            let detail = format!(
                "digest or count differs from the commit: {here} resources on the node, {there} in the commit"
            );
            return Err(Fault::new(Why::Digest, detail));
        }
        self.check_removals(transaction, &foretold)?;
        Ok((self.running.map_or(position, |running| position.knowing(&running)), foretold))
    }

    fn check_forward(&self, position: &Position) -> Result<(), Fault> {
        let Some(running) = &self.running else { return Ok(()) };
        let detail = if running.lineage != position.lineage {
            "transaction belongs to another history, and no operator has adopted that history for this node"
                .to_owned()
        } else if position.revision < running.revision {
            format!("transaction goes back from revision {} to {}", running.revision, position.revision)
        } else {
            return Ok(());
        };
        Err(Fault::new(Why::BaseMismatch, detail))
    }

    fn check_removals(&self, transaction: &Transaction, foretold: &Foretold) -> Result<(), Fault> {
        let held = self.inventory.count();
        let unmeant = foretold.removals.saturating_sub(transaction.intended_removals);
        if !is_mass(unmeant, held) {
            return Ok(());
        }
        let detail = format!(
            "transaction removes {} of {held} resources, {unmeant} more than was consented to",
            foretold.removals
        );
        Err(Fault::new(Why::Limit, detail))
    }

    /// Whether the node's own digest was wrong.
    fn is_recounted(&mut self) -> bool {
        if self.recounted.is_some_and(|at| at.elapsed() < RECOUNT_EVERY) {
            return false;
        }
        self.recounted = Some(Instant::now());
        let Some(digest) = self.inventory.recount() else { return false };
        error!("digest of the configuration in memory was wrong and has been recomputed");
        self.stand_at(digest);
        true
    }
}
