//! The side of a node without a control plane: its configuration is a file, and its records are lines.

use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::FutureExt as _;
use rr_contract::runtime::{Gate, Stop, Tasks, chain};
use rr_contract::seam::Seams;
use rr_contract::secret::Secret;
use tokio::sync::mpsc;

use crate::current::Activator;
use crate::identity::IdentityFile;
use crate::quota::Quotas;
use crate::report::LinesHandle;
use crate::snapshot::{Snapshot, Standings};
use crate::standalone::{Follower, Held, Loader, Overview, Own, Standalone, StandaloneError};
use crate::sync::apply::Applier;
use crate::sync::inventory::Inventory;
use crate::sync::journal::{Journal, Recovered, Scribe};
use crate::sync::{Board, Position};

use super::StartError;
use super::ending::give_up;
use super::watchdog::Health;

/// What is known before anything is written.
pub(super) struct Look {
    settings: Standalone,
    /// For the first start on a folder: the file can be served.
    fresh: Option<Loader>,
}

/// What a standalone node has on disk.
pub(super) struct Stored {
    loader: Arc<Loader>,
    journal: Journal,
    inventory: Inventory,
    position: Option<Position>,
}

/// What following the file needs.
pub(super) struct Core {
    pub(super) stored: Stored,
    pub(super) seams: Seams,
    pub(super) state_dir: PathBuf,
    pub(super) activator: Activator<Snapshot>,
    pub(super) configured: Gate,
    pub(super) board: Board,
    pub(super) lines: LinesHandle,
    pub(super) overview: Arc<OnceLock<Overview>>,
    pub(super) health: Health,
    pub(super) prove_for: Duration,
}

/// Checks the folder and, for a first start, the file: a start that fails leaves nothing behind.
pub(super) fn look(settings: Standalone, state_dir: &Path, seams: &Seams) -> Result<Look, StartError> {
    if IdentityFile::is_there(&IdentityFile::path(state_dir), seams) {
        return Err(StartError::HasJoined { folder: state_dir.to_owned() });
    }
    if Own::is_there(state_dir, seams) {
        return Ok(Look { settings, fresh: None });
    }
    let own = Own::generate(settings.subject(), seams);
    let loader = Loader::new(settings.clone(), own, seams.clone()).map_err(StandaloneError::from)?;
    loader.load(&Held::new()).map_err(StandaloneError::from)?;
    Ok(Look { settings, fresh: Some(loader) })
}

/// Reads last-known-good.
pub(super) fn recall(
    look: Look,
    state_dir: &Path,
    node_key: &Secret,
    seams: &Seams,
    quotas: &Quotas,
    standings: &Standings,
) -> Result<(Stored, Snapshot), StartError> {
    let loader = loader(look, state_dir, node_key, seams)?;
    let region = loader.own().region();
    let empty = || Inventory::new(loader.vault(), quotas.clone(), standings.clone());
    let (journal, recovered) = Journal::start(state_dir, node_key, seams.clone(), region, empty);
    let (inventory, snapshot, position) = match recovered {
        Some(Recovered { inventory, snapshot, position, .. }) => (inventory, snapshot, Some(position)),
        None => (empty(), Snapshot::default(), None),
    };
    Ok((Stored { loader: Arc::new(loader), journal, inventory, position }, snapshot))
}

fn loader(look: Look, state_dir: &Path, node_key: &Secret, seams: &Seams) -> Result<Loader, StandaloneError> {
    let Look { settings, fresh } = look;
    if let Some(loader) = fresh {
        loader.own().write(state_dir, node_key, seams)?;
        return Ok(loader);
    }
    let subject = settings.subject();
    let own = Own::read(state_dir, node_key, seams)?;
    if own.is_of(&subject) {
        return Ok(Loader::new(settings, own, seams.clone())?);
    }
    // Last-known-good is of another file: nothing that this file does not say is served for it.
    let loader = Loader::new(settings, own.with(subject), seams.clone())?;
    loader.load(&Held::new())?;
    loader.own().write(state_dir, node_key, seams)?;
    Ok(loader)
}

impl Core {
    /// Puts the file in force, and follows it from then on.
    pub(super) async fn begin(
        self,
        tasks: &Tasks,
        late: &Stop,
        fail: mpsc::Sender<StartError>,
    ) -> Result<(), StartError> {
        let Stored { loader, journal, inventory, position } = self.stored;
        let health = self.health;
        let scribe = Scribe::start(journal)
            .map_err(|source| StartError::System { what: "start the thread of last-known-good", source })?;
        let applier = Applier::new(loader.own().region(), inventory, self.activator, scribe, position)
            .proving(Arc::new(move || health.is_good()), self.prove_for);
        let file = loader.settings().file.clone();
        let mut follower = Follower::new(loader, applier, self.seams.clone(), self.board, self.configured);
        let (fault, addresses) = match follower.begin().await.map_err(StandaloneError::from)? {
            Ok(addresses) => (None, addresses),
            Err(fault) => (Some(chain(&fault).to_string()), Vec::new()),
        };
        // Set once: a node starts once in the life of a process.
        self.overview.set(Overview { file, fault, addresses }).ok();
        let lines = self.lines;
        let run = follower.run(late.clone(), move || lines.reopen());
        let run = Box::pin(AssertUnwindSafe(run).catch_unwind());
        let (state_dir, seams) = (self.state_dir, self.seams);
        tasks.spawn_local("standalone", async move {
            if run.await.is_err() {
                give_up(state_dir, seams, &fail).await;
            }
        });
        Ok(())
    }
}
