//! What of the configuration is on disk, and how it gets there.
//!
//! Nothing here waits for a disk without bound: where it stalls, the configuration comes into force without it, the
//! status says so, and the whole state is written once the disk answers again. The invariant: `on_disk` is the
//! position of a restart, and a transaction is appended only to the state that it follows.

use tracing::{info, warn};

use super::super::journal::{Done, Stalled, Write};
use super::super::position::Position;
use super::Applier;

/// Log text for a failed write.
const NOT_WRITTEN: &str = "last-known-good could not be written; the new configuration is in force, but a restart would return to an older one; check the disk under the state folder";

impl Applier {
    /// Writes the configuration that is about to come into force at `position`. `bodies`: the changes from the
    /// running position. Returns whether it would survive a restart.
    pub(super) async fn write(&mut self, bodies: Option<Vec<bytes::Bytes>>, position: Position) -> bool {
        if self.scribe.is_stalled() {
            return false;
        }
        // Transactions that the disk missed have to be written with it.
        let follows =
            self.on_disk.zip(self.running).is_some_and(|(disk, running)| disk.is_same_content(&running));
        let write = match bodies {
            Some(bodies) if follows && !self.scribe.view().wants_fold => Write::Append(bodies),
            Some(_) | None => Write::Fold(Box::new(self.inventory.image())),
        };
        match self.scribe.write(write, position, self.prover.awaited()).await {
            Ok(Done { outcome: Ok(()), .. }) => {
                self.on_disk = Some(position);
                true
            }
            Ok(Done { outcome: Err(error), .. }) => {
                warn!(%error, ?position, "{NOT_WRITTEN}");
                false
            }
            Err(Stalled) => false,
        }
    }

    /// Appends a mark: after a restart, the node must know the newest head of the audit chain.
    pub(super) async fn write_mark(&mut self, position: Position) {
        let is_behind = |on_disk: Position| on_disk != position && on_disk.is_same_content(&position);
        // Where nothing can be appended, `mend` writes the whole.
        let is_due = self.on_disk.is_some_and(is_behind) && !self.scribe.view().wants_fold;
        if !is_due || self.scribe.is_stalled() {
            return;
        }
        match self.scribe.write(Write::Append(Vec::new()), position, self.prover.awaited()).await {
            Ok(Done { outcome: Ok(()), .. }) => self.on_disk = Some(position),
            Ok(Done { outcome: Err(error), .. }) => {
                warn!(%error, ?position, "mark could not be written to last-known-good; retrying");
            }
            Err(Stalled) => {}
        }
    }

    /// Takes the result of an overdue write. Returns whether there is news; then the state that the disk missed is
    /// written at once.
    pub(super) async fn catch_up(&mut self) -> bool {
        let stalled = self.scribe.is_stalled();
        let Some(done) = self.scribe.late() else {
            return std::mem::replace(&mut self.was_stalled, stalled) != stalled;
        };
        self.was_stalled = false;
        if let Err(error) = &done.outcome {
            warn!(%error, "{NOT_WRITTEN}");
        }
        if done.written.is_some() {
            self.on_disk = done.written;
        }
        self.mend().await;
        true
    }

    /// Retries a failed write, and makes sure that there are two files. Returns whether the position on disk has
    /// moved.
    pub(crate) async fn mend(&mut self) -> bool {
        let Some(running) = self.running else { return false };
        if self.scribe.is_stalled() {
            return false;
        }
        let awaited = self.prover.awaited();
        let image = |applier: &Self| Box::new(applier.inventory.image());
        let Some(on_disk) = self.on_disk.filter(|on_disk| on_disk.is_same_content(&running)) else {
            let write = Write::Fold(image(self));
            let mended =
                matches!(self.scribe.write(write, running, awaited).await, Ok(Done { outcome: Ok(()), .. }));
            if mended {
                info!(position = ?running, "last-known-good written again");
                self.on_disk = Some(running);
            }
            return mended;
        };
        let is_behind = on_disk != running;
        let view = self.scribe.view();
        let is_due = view.wants_spare || (is_behind && view.wants_fold);
        if !is_due {
            self.without_spare = false;
            return false;
        }
        let write = Write::Spare(image(self));
        match self.scribe.write(write, running, awaited).await {
            Ok(Done { outcome: Ok(()), .. }) => {
                self.without_spare = false;
                self.on_disk = Some(running);
                is_behind
            }
            Ok(Done { outcome: Err(error), .. }) => {
                if !std::mem::replace(&mut self.without_spare, true) {
                    warn!(%error, "second copy of last-known-good could not be written; retrying");
                }
                false
            }
            Err(Stalled) => false,
        }
    }

    /// Writes down what was proven.
    pub(super) async fn prove(&mut self, position: Position, file: Option<u64>) {
        // A write that first failed may have succeeded since.
        let is_there = self.on_disk.is_some_and(|on_disk| on_disk.is_same_content(&position));
        let file = file.or_else(|| is_there.then(|| self.scribe.view().newest));
        info!(?position, "configuration proven");
        if let Ok(Done { outcome: Err(error), .. }) =
            self.scribe.prove(position, file, self.prover.awaited()).await
        {
            warn!(%error, "proof could not be written; the next file will contain it");
        }
    }
}
