//! What of the configuration is on disk, and how it gets there.
//!
//! Nothing here waits for a disk without end: where it stalls, the configuration is in force without, the status says
//! so, and what the disk missed is written whole once it answers again. The invariant: `on_disk` is where a restart
//! would stand, and nothing is appended behind anything else than what it follows.

use tracing::{info, warn};

use super::super::journal::{Done, Stalled, Write};
use super::super::position::Position;
use super::Applier;

/// What the log says where the disk refuses.
const NOT_WRITTEN: &str = "last-known-good could not be written; the new configuration is in force, but a restart would return to an older one; check the disk under the state folder";

impl Applier {
    /// Writes what is going to be in force at a place. `bodies`: what leads there from the place that runs. Returns
    /// whether it would survive a restart.
    pub(super) async fn write(&mut self, bodies: Option<Vec<bytes::Bytes>>, position: Position) -> bool {
        if self.scribe.is_stalled() {
            return false;
        }
        // What the disk missed in between has to come with it.
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

    /// Puts a mark behind what is on disk already: of the audit chain, a restart is to know the newest head.
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

    /// Hears what came of a write that was overdue. Returns whether something is to be told; then what the disk missed
    /// meanwhile is written at once.
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

    /// Tries again what the disk refused, and sees to it that there are two files. Returns whether there is
    /// more on disk than before.
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
        // What the disk refused first may have been written since.
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
