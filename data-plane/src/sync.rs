//! The loop with the control plane: connect, receive, apply, answer, and reconnect after any failure.
//!
//! Runs on the control thread; no request knows of it. The invariant: whatever happens to the stream, what
//! is in force stays in force.

pub(crate) mod apply;
mod authorities;
mod compare;
pub(crate) mod inventory;
pub(crate) mod journal;
mod position;
mod prove;
mod region_key;
mod session;
mod skew;
pub(crate) mod transaction;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rr_contract::model::caller::jwt::JwksUrl;
use rr_contract::model::id::OrgId;
use rr_contract::model::time;
use rr_contract::runtime::{Gate, Stop, chain};
use rr_contract::seam::{Seams, draw};
use rr_contract::wire::fleet;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};
use tracing::{debug, info, warn};

use crate::backoff::{self, Backoff};
use crate::control_plane::ControlPlane;
use crate::echo::{Echoed, Echoes};
use crate::identity::{Credentials, KeyRing, RenewalFault, Revoked};
use crate::jwt::{Away, Issuers};
use crate::report::SpoolHandle;
use crate::snapshot::Snapshot;

use self::apply::Applier;
use self::session::{Ended, Session};
use self::skew::Skew;

pub use self::position::{AuditHead, Position};

pub(crate) use self::prove::PROVE_FOR;
pub(crate) use self::skew::certificate_error;

/// How often a failed write is retried, and the second file checked.
const MEND_EVERY: Duration = Duration::from_secs(10);
/// How long to wait for the next stream while no control plane can take the certificate.
const RARELY: Duration = Duration::from_secs(600);
/// How often workers and old versions are checked between streams.
const TEND_EVERY: Duration = Duration::from_millis(100);

/// The state of this node's configuration, as shared with the admin port; never with a worker.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    pub(crate) connected: bool,
    pub(crate) running: Option<Position>,
    pub(crate) serving: Option<Position>,
    pub(crate) on_disk: Option<Position>,
    pub(crate) proven: Option<Position>,
    pub(crate) crash: Option<fleet::CrashReport>,
    pub(crate) refusals: usize,
    pub(crate) is_history_rewritten: bool,
    pub(crate) is_set_back: bool,
    /// A write to the disk is overdue.
    pub(crate) is_disk_stalled: bool,
    pub(crate) skew_ms: i64,
    /// An operator took the node out of service.
    pub(crate) draining: bool,
    /// What the last transaction took.
    pub(crate) timing: Option<fleet::Timing>,
    /// How it stands with the file of a node without a control plane.
    pub(crate) file: Option<FileFacts>,
    /// When the certificate of this node ends; `None`: it has none.
    pub(crate) certificate_not_after: Option<SystemTime>,
    /// Why it is not renewed until a person does something.
    pub(crate) renewal_fault: Option<RenewalFault>,
}

/// How it stands with a file that is the configuration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct FileFacts {
    /// When its content came into force, or was found to be in force; `None`: another content is.
    pub(crate) loaded_at: Option<SystemTime>,
    /// Since when it cannot be served, and the content before it stays in force.
    pub(crate) refused_since: Option<SystemTime>,
    /// Where the first fault is.
    pub(crate) refused_line: Option<u64>,
}

/// Facts, shared.
#[derive(Debug, Clone, Default)]
pub(crate) struct Board(Arc<Mutex<Facts>>);

impl Board {
    pub(crate) fn read(&self) -> Facts {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn write(&self, change: impl FnOnce(&mut Facts)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Takes over where the configuration stands.
    pub(crate) fn note(&self, applier: &Applier) {
        self.write(|facts| {
            (facts.running, facts.serving) = (applier.running(), applier.serving());
            facts.on_disk = applier.on_disk();
            (facts.proven, facts.crash) = (applier.proven(), applier.crash());
            facts.refusals = applier.refusals();
            facts.is_history_rewritten = applier.is_history_rewritten();
            facts.is_set_back = applier.is_set_back();
            facts.is_disk_stalled = applier.is_disk_stalled();
            facts.timing = applier.timing();
        });
    }
}

/// Tests targets as the control plane asks for it.
pub(crate) trait TestTargets {
    /// Begins what was asked for by this configuration. The answer comes in any case, unless nobody waits for it any more.
    fn start(
        &self,
        snapshot: &Snapshot,
        asked: fleet::TestTarget,
        answers: mpsc::Sender<fleet::TargetTested>,
    );
}

/// The loop and all that it owns.
pub(crate) struct Sync {
    control_plane: ControlPlane,
    credentials: Credentials,
    applier: Applier,
    seams: Seams,
    board: Board,
    spool: SpoolHandle,
    issuers: Issuers,
    /// `None`: this node tests nothing.
    tests: Option<Box<dyn TestTargets>>,
    echoes: Echoes,
    /// `None`: this node takes no later keys of its region.
    ring: Option<KeyRing>,
    /// When the certificate is to be renewed, because another authority issues now.
    renew_at: Option<Instant>,
    /// That it was.
    replaced: watch::Receiver<u64>,
    /// Held until there is a configuration.
    configured: Option<Gate>,
    boot_id: [u8; 16],
    skew: Skew,
    started: Instant,
    last_mend: Option<Instant>,
}

impl Sync {
    pub(crate) fn new(
        control_plane: ControlPlane,
        credentials: Credentials,
        applier: Applier,
        seams: Seams,
        board: Board,
        spool: SpoolHandle,
        configured: Gate,
    ) -> Self {
        let boot_id = draw(&*seams.entropy);
        let now = Instant::now();
        let replaced = credentials.replaced();
        let mut sync = Self {
            control_plane,
            credentials,
            applier,
            seams,
            board,
            spool,
            issuers: Issuers::default(),
            tests: None,
            echoes: Echoes::default(),
            ring: None,
            renew_at: None,
            replaced,
            configured: Some(configured),
            boot_id,
            skew: Skew::default(),
            started: now,
            last_mend: None,
        };
        sync.note_position();
        sync
    }

    /// Tells of these issuers, and of these secrets that came back.
    pub(crate) fn telling(self, issuers: Issuers, echoes: Echoes) -> Self {
        Self { issuers, echoes, ..self }
    }

    /// Takes later keys of the region in.
    pub(crate) fn holding(self, ring: KeyRing) -> Self {
        Self { ring: Some(ring), ..self }
    }

    /// Tests targets that it is asked to test.
    pub(crate) fn testing(self, tests: impl TestTargets + 'static) -> Self {
        Self { tests: Some(Box::new(tests)), ..self }
    }

    /// Synchronizes until `stop`, or until this node was revoked.
    pub(crate) async fn run(mut self, stop: Stop) -> Option<Revoked> {
        let revoked = stop.cut(Box::pin(self.stay())).await;
        self.applier.settle().await;
        revoked
    }

    async fn stay(&mut self) -> Revoked {
        let mut backoff = Backoff::default();
        loop {
            self.credentials.settled().await;
            let replaced = self.credentials.replaced();
            let mut wait = match self.once(&mut backoff).await {
                Ok(wait) => wait,
                Err(revoked) => {
                    self.board.write(|facts| facts.connected = false);
                    return revoked;
                }
            };
            let is_too_old = self.credentials.is_too_old();
            if is_too_old {
                wait = RARELY;
            }
            self.board.write(|facts| facts.connected = false);
            self.applier.stream_ended();
            let until = Instant::now() + wait;
            // With another certificate, or another clock, the next try may succeed at once.
            let credentials = self.credentials.clone();
            let is_new =
                || replaced.has_changed().unwrap_or_default() || is_too_old && !credentials.is_too_old();
            while Instant::now() < until && !is_new() {
                self.tend().await;
                sleep(TEND_EVERY.min(until - Instant::now())).await;
            }
        }
    }

    /// One stream. Returns how long to wait for the next; where this node was revoked there is none.
    async fn once(&mut self, backoff: &mut Backoff) -> Result<Duration, Revoked> {
        let address = self.control_plane.address().clone();
        let channel = match self.control_plane.connect(self.credentials.tls()).await {
            Ok(channel) => channel,
            Err(error) => {
                self.control_plane.pass_on();
                let wait = backoff.next(Instant::now(), &*self.seams.entropy);
                if let Some(skew_ms) = self.skew.no_connection(&error) {
                    self.note_skew();
                    warn!(
                        %address,
                        error = %chain(&error),
                        skew_ms,
                        ?wait,
                        "the clocks of this machine and of the control plane differ by at least the skew, more than the certificate of the control plane allows; set the clock that is wrong"
                    );
                    return Ok(wait);
                }
                warn!(%address, error = %chain(&error), ?wait, "control plane cannot be reached; continuing with the current configuration");
                return Ok(wait);
            }
        };
        let opened = Instant::now();
        let mut heard = false;
        let outcome = Session::run(self, channel, &mut heard).await;
        backoff.stream_ended(opened.elapsed(), heard);
        Ok(match outcome {
            Ok(Ended::Revoked(revoked)) => return Err(revoked),
            Ok(Ended::Goaway(spread)) => {
                // The control plane is stopping.
                self.control_plane.pass_on();
                backoff::part(spread, &*self.seams.entropy)
            }
            Ok(Ended::Closed) => {
                let wait = backoff.next(Instant::now(), &*self.seams.entropy);
                info!(%address, ?wait, "control plane closed the stream");
                wait
            }
            Err(error) => {
                if error.is_about_certificate() {
                    self.credentials.want();
                }
                self.control_plane.pass_on();
                let wait = backoff.next(Instant::now(), &*self.seams.entropy);
                warn!(%address, error = %chain(&error), ?wait, "stream to the control plane lost; continuing with the current configuration");
                wait
            }
        })
    }

    /// Checks workers and disk. Returns whether there is news for the control plane.
    async fn tend(&mut self) -> bool {
        let mut news = self.tend_certificate();
        news |= self.applier.tend().await;
        if self.last_mend.is_none_or(|at| at.elapsed() >= MEND_EVERY) {
            self.last_mend = Some(Instant::now());
            news |= self.applier.mend().await;
        }
        if news {
            self.note_position();
        }
        news
    }

    fn status(&self) -> fleet::Status {
        let wire = |position: Option<Position>| position.map(Position::to_wire);
        let (trusted_authorities, certified_by) = self.authorities();
        fleet::Status {
            trusted_authorities,
            certified_by,
            running: wire(self.applier.running()),
            serving: wire(self.applier.serving()),
            on_disk: wire(self.applier.on_disk()),
            standing: self.applier.standing(),
            spool_bytes: self.spool.bytes(),
            spool_quota_bytes: self.spool.quota(),
            region_epoch: self.region_epoch(),
            records_dropped: self.spool.dropped(),
            clock_skew_ms: self.skew.at((self.seams.clock.now(), Instant::now())),
            uptime: Some(time::wire_duration(self.started.elapsed())),
            history_rewritten: self.applier.is_history_rewritten(),
            proven: wire(self.applier.proven()),
            draining: self.board.read().draining,
            disk_set_back: self.applier.is_set_back(),
            disk_stalled: self.applier.is_disk_stalled(),
            away_issuers: self.away_issuers(),
            echoed_secrets: self.echoed_secrets(),
        }
    }

    fn echoed_secrets(&self) -> Vec<fleet::EchoedSecret> {
        let told = |echoed: Echoed| fleet::EchoedSecret {
            org: echoed.org.to_string(),
            credential: echoed.credential.to_string(),
            proxy: echoed.proxy.to_string(),
            at: Some(time::timestamp(echoed.at)),
            refused: echoed.refused,
        };
        self.echoes.told(self.seams.clock.now()).into_iter().map(told).collect()
    }

    fn away_issuers(&self) -> Vec<fleet::AwayIssuer> {
        let told = |(org, url, away): (OrgId, JwksUrl, Away)| fleet::AwayIssuer {
            org: org.to_string(),
            jwks_url: url.as_str().to_owned(),
            since: Some(time::timestamp(away.since)),
            never_there: away.never_there,
            back_at: away.back_at.map(time::timestamp),
        };
        self.issuers.away(self.seams.clock.now()).into_iter().map(told).collect()
    }

    fn note_connected(&mut self) {
        info!(address = %self.control_plane.address(), "connected to the control plane");
        self.board.write(|facts| facts.connected = true);
        self.note_skew();
    }

    fn note_skew(&self) {
        let skew_ms = self.skew.at((self.seams.clock.now(), Instant::now()));
        self.board.write(|facts| facts.skew_ms = skew_ms);
    }

    /// Out of service, or back: requests are still answered, and readiness tells the load balancer.
    fn set_draining(&mut self, draining: bool) {
        let mut was = draining;
        self.board.write(|facts| was = std::mem::replace(&mut facts.draining, draining));
        match (was, draining) {
            (false, true) => {
                info!("control plane took this node out of service; requests are still answered")
            }
            (true, false) => info!("control plane put this node back into service"),
            (false, false) | (true, true) => {}
        }
    }

    fn note_position(&mut self) {
        self.board.note(&self.applier);
        if self.applier.running().is_some()
            && let Some(gate) = self.configured.take()
        {
            debug!("first configuration in force");
            gate.done();
        }
    }
}

/// The changes in an encoded ChunkBody.
#[cfg(test)]
pub(crate) fn changes(body: &[u8]) -> transaction::Changes {
    let mut changes = transaction::Changes::new();
    transaction::read_body(body, &mut changes).expect("a good body");
    changes
}
