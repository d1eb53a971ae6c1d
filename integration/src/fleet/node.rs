//! A light node: its identity, what it stands at, and its life between streams.
//!
//! Backs off as the edge does. What it holds outlives its connections; it has no disk.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rr_contract::digest::ResourceHash;
use rr_contract::model::resource::Key;
use rr_contract::runtime::{Stop, Tasks};
use rr_contract::seam::{SystemEntropy, draw};
use rr_contract::wire::fleet;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::place::{Identity, Place};
use super::script::{Counts, Script};
use super::session::{self, Ended};
use super::state::{Inner, Moved};
use super::view::{View, Views};

const FIRST: Duration = Duration::from_millis(250);
const CAP: Duration = Duration::from_secs(10);
/// A stream that lived so long was no failure.
const PROVEN: Duration = Duration::from_secs(60);

/// One light node. Clones are the same node.
#[derive(Clone)]
pub struct LightNode(pub(super) Arc<Inner>);

impl LightNode {
    pub(super) fn new(
        number: usize,
        identity: Arc<Identity>,
        place: Place,
        views: Arc<Views>,
        moves: Arc<Mutex<Option<mpsc::Sender<Moved>>>>,
    ) -> Self {
        Self(Arc::new(Inner::new(number, identity, place, views, moves)))
    }

    /// A second process with the same identity and a boot of its own; it stands where this one does.
    #[must_use]
    pub(super) fn twin(&self) -> Self {
        let inner = &self.0;
        let twin = Self::new(
            inner.number,
            Arc::clone(&inner.identity),
            inner.place.clone(),
            Arc::clone(&inner.views),
            Arc::default(),
        );
        *twin.0.state() = inner.state().clone();
        twin
    }

    pub(super) fn start(&self, tasks: &Tasks, stop: Stop) {
        let inner = Arc::clone(&self.0);
        tasks.spawn("light node", async move { stop.cut(Box::pin(live(inner))).await });
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.0.identity.id
    }

    /// Its number in the fleet.
    pub fn number(&self) -> usize {
        self.0.number
    }

    /// Changes how it behaves.
    pub fn script(&self, change: impl FnOnce(&mut Script)) {
        self.0.script.send_modify(change);
    }

    /// Connects, and connects again, until it is taken down.
    pub fn up(&self) {
        self.script(|script| script.up = true);
    }

    /// Cuts its connection, and stays away. What it holds, it keeps.
    pub fn down(&self) {
        self.script(|script| script.up = false);
    }

    /// What it did.
    pub fn counts(&self) -> &Arc<Counts> {
        &self.0.counts
    }

    /// Where it stands.
    pub fn position(&self) -> Option<fleet::Position> {
        self.0.state().position.clone()
    }

    /// The newest revision in what it holds; 0 before the first.
    pub fn revision(&self) -> u64 {
        self.0.state().position.as_ref().map_or(0, |position| position.revision)
    }

    /// What it holds.
    pub fn view(&self) -> Arc<View> {
        Arc::clone(&self.0.state().view)
    }

    /// Whether an operator took it out of service.
    pub fn is_draining(&self) -> bool {
        self.0.state().draining
    }

    /// What it refuses.
    pub fn standing(&self) -> Vec<fleet::Refusal> {
        self.0.state().standing.values().cloned().collect()
    }

    /// Puts something else under a key than what was published, as a fault of disk or memory would; it then says
    /// the digest that this comes to. For a node that is down.
    pub fn corrupt(&self, key: &Key, hash: Option<ResourceHash>) {
        let mut state = self.0.state();
        let view = self.0.views.share(state.view.with(&[(*key, hash)]));
        if let Some(position) = &mut state.position {
            (position.digest, position.count) = (view.digest().to_vec(), view.count());
        }
        state.view = view;
    }

    /// Changes where it says it stands. For a node that is down.
    pub fn stand(&self, change: impl FnOnce(&mut fleet::Position)) {
        if let Some(position) = &mut self.0.state().position {
            change(position);
        }
    }

    /// Loses all that it has. For a node that is down.
    pub fn forget(&self) {
        let mut state = self.0.state();
        state.view = self.0.views.share(View::default());
        (state.position, state.proven) = (None, None);
        state.standing.clear();
    }
}

async fn live(node: Arc<Inner>) {
    let mut orders = node.script.subscribe();
    let (mut tries, mut turn) = (0_u32, 0);
    loop {
        if orders.wait_for(|script| script.up).await.is_err() {
            return;
        }
        let started = Instant::now();
        let ended = tokio::select! {
            ended = once(&node, turn) => ended,
            _ = orders.wait_for(|script| !script.up) => {
                tries = 0;
                continue;
            }
        };
        let wait = match ended {
            Ended::Goaway(spread) => {
                tries = 0;
                part(spread)
            }
            Ended::Away(least) => {
                if started.elapsed() >= PROVEN {
                    tries = 0;
                }
                let bound = FIRST.saturating_mul(1 << tries.min(16)).min(CAP);
                tries += 1;
                turn += 1;
                least + part(bound)
            }
        };
        tokio::select! {
            () = sleep(wait) => {}
            _ = orders.wait_for(|script| !script.up) => tries = 0,
        }
    }
}

async fn once(node: &Arc<Inner>, turn: usize) -> Ended {
    let slow = node.script.borrow().pace.is_some();
    // Boxed, so that a node that is connected does not carry the handshake's state with it.
    let connecting = Box::pin(node.place.connect(&node.identity.tls, turn, &node.counts, slow));
    match connecting.await {
        Ok(connection) => Box::pin(session::run(node, connection)).await,
        Err(_refused) => Ended::Away(Duration::ZERO),
    }
}

/// A random part of `bound`.
fn part(bound: Duration) -> Duration {
    let roll: [u8; 4] = draw(&SystemEntropy);
    bound.mul_f64(f64::from(u32::from_le_bytes(roll)) / f64::from(u32::MAX))
}
