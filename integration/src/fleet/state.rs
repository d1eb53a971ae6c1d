//! The state of a light node: its identity, its position, and its content.
//!
//! Connects nowhere. The node and its session share it; no lock is held over an await.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rr_contract::model::resource::Key;
use rr_contract::seam::{SystemEntropy, draw};
use rr_contract::wire::fleet;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::place::{Identity, Place};
use super::script::{Counts, Script};
use super::view::{View, Views};

/// A node came to a place, or heard that nothing concerned it up to there.
#[derive(Debug, Clone, Copy)]
pub struct Moved {
    /// Its number in the fleet.
    pub node: usize,
    /// Where it stands.
    pub revision: u64,
    /// When it said so.
    pub at: Instant,
    /// By a transaction, and not by a mark.
    pub taken: bool,
}

pub(super) struct Inner {
    pub(super) number: usize,
    pub(super) identity: Arc<Identity>,
    pub(super) boot_id: [u8; 16],
    pub(super) place: Place,
    pub(super) views: Arc<Views>,
    pub(super) script: watch::Sender<Script>,
    pub(super) counts: Arc<Counts>,
    state: Mutex<State>,
    pub(super) moves: Arc<Mutex<Option<mpsc::Sender<Moved>>>>,
}

/// The state that outlives its connections.
#[derive(Clone)]
pub(super) struct State {
    pub(super) position: Option<fleet::Position>,
    pub(super) view: Arc<View>,
    pub(super) standing: BTreeMap<Key, fleet::Refusal>,
    pub(super) proven: Option<fleet::Position>,
    pub(super) draining: bool,
}

impl Inner {
    pub(super) fn new(
        number: usize,
        identity: Arc<Identity>,
        place: Place,
        views: Arc<Views>,
        moves: Arc<Mutex<Option<mpsc::Sender<Moved>>>>,
    ) -> Self {
        let state = State {
            position: None,
            view: views.share(View::default()),
            standing: BTreeMap::new(),
            proven: None,
            draining: false,
        };
        Self {
            number,
            identity,
            boot_id: draw(&SystemEntropy),
            place,
            views,
            script: watch::Sender::new(Script::default()),
            counts: Arc::default(),
            state: Mutex::new(state),
            moves,
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn moved(&self, revision: u64, taken: bool) {
        let moved = Moved { node: self.number, revision, at: Instant::now(), taken };
        let to = self.moves.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(to) = to {
            // Whoever asked may have heard enough.
            to.send(moved).await.ok();
        }
    }
}
