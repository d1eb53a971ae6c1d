//! The side of a node that faces a control plane: joins if necessary, then follows the stream and uploads records.

use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::FutureExt as _;
use rr_contract::model::id::NodeId;
use rr_contract::runtime::{Gate, Stop, Tasks, chain};
use rr_contract::seal::node_token::NodeToken;
use rr_contract::seam::Seams;
use rr_contract::secret::Secret;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tracing::{debug, error, info, warn};

use crate::BUILD;
use crate::backoff::Backoff;
use crate::control_plane::ControlPlane;
use crate::current::Activator;
use crate::identity::{self, Credentials, Identity, IdentityFile, JoinError, KeyRing, Revoked};
use crate::quota::Quotas;
use crate::renewal::Renewal;
use crate::report::{SpoolHandle, Upload};
use crate::snapshot::{Snapshot, Standings, Vault};
use crate::standalone::Own;
use crate::sync::apply::Applier;
use crate::sync::inventory::Inventory;
use crate::sync::journal::{Journal, Recovered, Scribe};
use crate::sync::{Board, Position, Sync};
use crate::target_test::TargetTests;
use crate::trials::Trials;

use super::StartError;
use super::ending::{give_up, revoke};
use super::watchdog::Health;

/// What the connection to the control plane needs.
pub(super) struct Core {
    pub(super) control_plane: ControlPlane,
    pub(super) quotas: Quotas,
    pub(super) standings: Standings,
    pub(super) seams: Seams,
    pub(super) state_dir: PathBuf,
    pub(super) node_key: Secret,
    pub(super) identity_file: IdentityFile,
    pub(super) token: Option<NodeToken>,
    pub(super) stored: Option<Stored>,
    pub(super) activator: Activator<Snapshot>,
    pub(super) configured: Gate,
    pub(super) board: Board,
    pub(super) spool: SpoolHandle,
    pub(super) node: Arc<OnceLock<NodeId>>,
    /// Its id, for traces.
    pub(super) region: Arc<OnceLock<String>>,
    pub(super) statement: Arc<OnceLock<String>>,
    pub(super) health: Health,
    pub(super) prove_for: Duration,
    pub(super) tests: TargetTests,
    pub(super) trials: Trials,
}

/// A node that has joined before, and what it has on disk.
pub(super) struct Stored {
    identity: Identity,
    ring: KeyRing,
    journal: Journal,
    inventory: Inventory,
    position: Option<Position>,
}

/// Checks what has to be there, before anything is written: a start without a token leaves nothing behind.
pub(super) fn look(token: Option<&NodeToken>, state_dir: &Path, seams: &Seams) -> Result<(), StartError> {
    if Own::is_there(state_dir, seams) {
        return Err(StartError::IsStandalone { folder: state_dir.to_owned() });
    }
    if Revoked::read(state_dir, seams).is_some() {
        // `finish_revocation` says what becomes of it, once the folder is ours.
        return Ok(());
    }
    let is_joined = IdentityFile::is_there(&IdentityFile::path(state_dir), seams);
    if token.is_none() && !is_joined { Err(StartError::NoToken) } else { Ok(()) }
}

/// Goes on with the wipe of a node that was revoked, where it was cut off. With a new token the machine can join as
/// another node.
pub(super) fn finish_revocation(
    token: Option<&NodeToken>,
    state_dir: &Path,
    seams: &Seams,
) -> Result<(), StartError> {
    let Some(revoked) = Revoked::read(state_dir, seams) else { return Ok(()) };
    let is_empty = identity::wipe(state_dir, seams);
    if is_empty && token.is_some_and(|token| revoked.lets_join(token.id())) {
        let lifted = Revoked::lift(state_dir, seams);
        return lifted
            .map_err(|source| StartError::System { what: "take the mark of a revoked node away", source });
    }
    Err(StartError::Revoked { reason: revoked.reason })
}

/// What a node that has joined before has on disk.
pub(super) fn recall(
    identity_file: &IdentityFile,
    state_dir: &Path,
    node_key: &Secret,
    seams: &Seams,
    quotas: &Quotas,
    standings: &Standings,
) -> Result<(Option<Stored>, Snapshot), StartError> {
    let recalled = identity_file.read()?;
    let recalled =
        recalled.map(|identity| recall_as(identity, state_dir, node_key, seams, quotas, standings));
    let (stored, snapshot) = recalled.transpose()?.unzip();
    Ok((stored, snapshot.unwrap_or_default()))
}

/// Reads last-known-good. What belongs to another region is left alone: its secrets would not open.
fn recall_as(
    identity: Identity,
    state_dir: &Path,
    node_key: &Secret,
    seams: &Seams,
    quotas: &Quotas,
    standings: &Standings,
) -> Result<(Stored, Snapshot), StartError> {
    let ring = KeyRing::of(&identity, state_dir, node_key, seams.clone())?;
    let vault = Vault::new(identity.installation, ring.keys());
    let attested = identity.attested();
    let empty = || {
        Inventory::new(Arc::clone(&vault), quotas.clone(), standings.clone()).attested(Arc::clone(&attested))
    };
    let (journal, recovered) =
        Journal::start(state_dir, node_key, seams.clone(), identity.region_id(), empty);
    let (inventory, snapshot, position) = match recovered {
        Some(Recovered { inventory, snapshot, position, .. }) => (inventory, snapshot, Some(position)),
        None => (empty(), Snapshot::default(), None),
    };
    Ok((Stored { identity, ring, journal, inventory, position }, snapshot))
}

impl Core {
    /// Joins if necessary, and starts the loops. Returns after the first try: a control plane that cannot be
    /// reached is tried again in the background, a refusal ends the start.
    pub(super) async fn make_contact(
        mut self,
        tasks: &Tasks,
        late: &Stop,
        fail: mpsc::Sender<StartError>,
    ) -> Result<(), StartError> {
        if let Some(stored) = self.stored.take() {
            if !identity::is_too_old(&stored.identity, self.seams.clock.now()) {
                return self.go_on(stored, tasks, late, fail);
            }
            let Some(token) = self.token.take() else { return self.go_on(stored, tasks, late, fail) };
            return Box::pin(self.join_anew(stored, token, tasks, late, fail)).await;
        }
        let token = self.token.take().ok_or(StartError::NoToken)?;
        match late.cut(identity::join(&self.control_plane, &token, BUILD, &self.seams.clock)).await {
            Some(Ok(identity)) => {
                let stored = self.settle_in(identity).await?;
                self.go_on(stored, tasks, late, fail)
            }
            Some(Err(error)) if error.is_worth_another_try() => {
                warn!(
                    address = %self.control_plane.address(),
                    error = %chain(&error),
                    "cannot join yet, retrying; check --control-plane and that the fleet port is reachable"
                );
                let (tasks, late) = (tasks.clone(), late.clone());
                tasks.clone().spawn_local("join", async move {
                    let joining = self.keep_joining(token, tasks, late.clone(), fail.clone());
                    if let Some(Err(error)) = late.cut(Box::pin(joining)).await {
                        // The process may be stopping already.
                        fail.try_send(error).ok();
                    }
                });
                Ok(())
            }
            Some(Err(error)) => Err(error.into()),
            None => Ok(()),
        }
    }

    /// Joins as a new node where the certificate is too old to be renewed. Whatever comes of it, what is on disk is
    /// served on.
    async fn join_anew(
        self,
        stored: Stored,
        token: NodeToken,
        tasks: &Tasks,
        late: &Stop,
        fail: mpsc::Sender<StartError>,
    ) -> Result<(), StartError> {
        match late.cut(identity::join(&self.control_plane, &token, BUILD, &self.seams.clock)).await {
            Some(Ok(identity)) => {
                info!(node = %stored.identity.node, "the certificate of this node was too old, it joins anew");
                drop(stored);
                let stored = self.settle_in(identity).await?;
                self.go_on(stored, tasks, late, fail)
            }
            Some(Err(error)) => {
                error!(
                    error = %chain(&error),
                    "the certificate of this node is too old and it cannot join anew; it goes on with the configuration that it has: restart it with a token that is good"
                );
                self.go_on(stored, tasks, late, fail)
            }
            None => Ok(()),
        }
    }

    async fn keep_joining(
        self,
        token: NodeToken,
        tasks: Tasks,
        late: Stop,
        fail: mpsc::Sender<StartError>,
    ) -> Result<(), StartError> {
        let mut backoff = Backoff::default();
        loop {
            sleep(backoff.next(Instant::now(), &*self.seams.entropy)).await;
            match identity::join(&self.control_plane, &token, BUILD, &self.seams.clock).await {
                Ok(identity) => {
                    let stored = self.settle_in(identity).await?;
                    return self.go_on(stored, &tasks, &late, fail);
                }
                Err(error) if error.is_worth_another_try() => {
                    debug!(error = %chain(&error), "still cannot join");
                    self.control_plane.pass_on();
                }
                Err(error) => return Err(JoinError::into(error)),
            }
        }
    }

    /// Stores a new identity before it is used: a token may be valid for one node only. A slow disk does not block
    /// this thread.
    async fn settle_in(&self, identity: Identity) -> Result<Stored, StartError> {
        let (file, state_dir) = (self.identity_file.clone(), self.state_dir.clone());
        let (quotas, standings) = (self.quotas.clone(), self.standings.clone());
        let (node_key, seams) = (Secret::new(self.node_key.expose().to_vec()), self.seams.clone());
        let kept = tokio::task::spawn_blocking(move || {
            file.write(&identity)?;
            info!(node = %identity.node, region = %identity.region_id(), "joined");
            let (mut stored, _) = recall_as(identity, &state_dir, &node_key, &seams, &quotas, &standings)?;
            stored.ring.keep()?;
            // The files there belong to another node; the first configuration overwrites them.
            let vault = Vault::new(stored.identity.installation, stored.ring.keys());
            let inventory = Inventory::new(vault, quotas, standings).attested(stored.identity.attested());
            (stored.inventory, stored.position) = (inventory, None);
            Ok(stored)
        });
        kept.await.map_err(|_| StartError::Ended)?
    }

    /// Starts the stream of configuration and the upload of records.
    fn go_on(
        self,
        stored: Stored,
        tasks: &Tasks,
        late: &Stop,
        fail: mpsc::Sender<StartError>,
    ) -> Result<(), StartError> {
        let Stored { identity, ring, journal, inventory, position } = stored;
        let region = identity.region_id();
        // Each is set once: a node joins once in the life of a process.
        self.region.set(region.to_string()).ok();
        self.node.set(identity.node).ok();
        let statement = json!({
            "region": region.to_string(),
            "epoch": ring.newest(),
            "fingerprint": identity.fingerprint.to_string(),
        });
        self.statement.set(statement.to_string()).ok();
        let credentials = Credentials::new(identity, self.identity_file, &self.seams);
        let credentials = credentials.map_err(StartError::Certificate)?;
        let current = credentials.clone();
        self.trials.joined(move || current.identity());
        let (control_plane, seams) = (self.control_plane.clone(), self.seams.clone());
        let renewal = Renewal::new(control_plane, credentials.clone(), seams, self.board.clone());
        let health = self.health;
        let vitals = Arc::new(move || health.is_good());
        let scribe = Scribe::start(journal)
            .map_err(|source| StartError::System { what: "start the thread of last-known-good", source })?;
        let applier =
            Applier::new(region, inventory, self.activator, scribe, position).proving(vitals, self.prove_for);
        let upload = Upload {
            control_plane: self.control_plane.clone(),
            credentials: credentials.clone(),
            spool: self.spool.clone(),
        };
        let (state_dir, seams) = (self.state_dir, self.seams.clone());
        let sync = Sync::new(
            self.control_plane,
            credentials,
            applier,
            self.seams,
            self.board,
            self.spool,
            self.configured,
        )
        .holding(ring)
        .telling(self.standings.issuers().clone(), self.standings.echoes().clone())
        .testing(self.tests);
        let run = Box::pin(AssertUnwindSafe(sync.run(late.clone())).catch_unwind());
        tasks.spawn_local("sync", async move {
            match run.await {
                Ok(None) => {}
                Ok(Some(revoked)) => revoke(revoked, state_dir, seams, &fail).await,
                Err(_) => give_up(state_dir, seams, &fail).await,
            }
        });
        tasks.spawn_local("upload", upload.run(late.clone()));
        tasks.spawn_local("renewal", renewal.run(late.clone()));
        Ok(())
    }
}
