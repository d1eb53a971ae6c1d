//! The nodes whose streams are open here: what each runs, by its own word.
//!
//! Decides nothing but which of two sessions of one node lives: the newer. What it knows is written to the
//! store every few seconds, so that it outlives the stream and other replicas can show it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prost::Message as _;
use rr_contract::model::id::{NodeId, RegionId};
use rr_contract::model::resource::Key;
use rr_contract::runtime::{Stop, chain};
use rr_contract::wire::fleet;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::store::{self, Store, StoreError};

/// How often what changed is written to the store.
const FLUSH: Duration = Duration::from_secs(5);

/// A node with an open stream.
#[derive(Debug, Clone)]
pub(crate) struct LiveNode {
    pub(crate) region: RegionId,
    pub(crate) address: String,
    pub(crate) build: String,
    /// What it reported last.
    pub(crate) status: fleet::Status,
    /// Microseconds since 1970.
    pub(crate) last_seen_at: i64,
    /// It stands where our history cannot have brought it, and is sent nothing.
    pub(crate) diverged: bool,
}

/// Connected nodes. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Fleet(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    next: u64,
    nodes: HashMap<NodeId, Slot>,
    /// What the store does not have yet.
    dirty: HashMap<NodeId, Report>,
}

struct Slot {
    session: u64,
    fence: CancellationToken,
    node: LiveNode,
}

struct Report {
    build: String,
    seen_at: i64,
    status: Vec<u8>,
}

/// One session's place in the fleet; leaving is dropping it.
pub(crate) struct Seat {
    fleet: Fleet,
    node: NodeId,
    session: u64,
    fence: CancellationToken,
}

impl Fleet {
    /// Takes a node's place, and fences whoever had it.
    pub(crate) fn enter(&self, id: NodeId, node: LiveNode) -> Seat {
        let fence = CancellationToken::new();
        let mut state = self.state();
        state.next += 1;
        let session = state.next;
        state.note(id, &node);
        if let Some(older) = state.nodes.insert(id, Slot { session, fence: fence.clone(), node }) {
            older.fence.cancel();
        }
        drop(state);
        Seat { fleet: self.clone(), node: id, session, fence }
    }

    /// A node, if its stream is open here.
    pub(crate) fn node(&self, id: &str) -> Option<LiveNode> {
        let id: NodeId = id.parse().ok()?;
        self.state().nodes.get(&id).map(|slot| slot.node.clone())
    }

    /// How many nodes of each region have a stream open here.
    pub(crate) fn connected_by_region(&self) -> HashMap<RegionId, usize> {
        let mut counts = HashMap::new();
        for slot in self.state().nodes.values() {
            *counts.entry(slot.node.region).or_default() += 1;
        }
        counts
    }

    /// Writes what changed, until the stop, and once more then.
    pub(crate) async fn run(self, store: Store, stop: Stop) {
        loop {
            let stopping = tokio::select! {
                () = stop.requested() => true,
                () = tokio::time::sleep(FLUSH) => false,
            };
            if let Err(error) = self.flush(&store).await {
                warn!(error = %chain(&error), "reports of nodes not written");
            }
            if stopping {
                return;
            }
        }
    }

    async fn flush(&self, store: &Store) -> Result<(), StoreError> {
        let dirty = std::mem::take(&mut self.state().dirty);
        if dirty.is_empty() {
            return Ok(());
        }
        store
            .note(move |txn| {
                Box::pin(async move {
                    for (id, report) in dirty {
                        store::node::report(
                            txn,
                            &id.to_string(),
                            &report.build,
                            report.seen_at,
                            &report.status,
                        )
                        .await?;
                    }
                    Ok::<_, StoreError>(())
                })
            })
            .await?;
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Held for a few map operations and never over an await.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn note(&mut self, id: NodeId, node: &LiveNode) {
        let report = Report {
            build: node.build.clone(),
            seen_at: node.last_seen_at,
            status: node.status.encode_to_vec(),
        };
        self.dirty.insert(id, report);
    }
}

impl Seat {
    /// Ends when a newer session of the same node came.
    pub(super) fn fence(&self) -> &CancellationToken {
        &self.fence
    }

    /// Notes what the node said.
    pub(super) fn update(&self, change: impl FnOnce(&mut LiveNode)) {
        let mut state = self.fleet.state();
        let Some(slot) = state.nodes.get_mut(&self.node).filter(|slot| slot.session == self.session) else {
            return;
        };
        change(&mut slot.node);
        let node = slot.node.clone();
        state.note(self.node, &node);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = self.fleet.state();
        if state.nodes.get(&self.node).is_some_and(|slot| slot.session == self.session) {
            state.nodes.remove(&self.node);
        }
    }
}

impl LiveNode {
    /// Takes the refusals of a verdict in. `touched` is what the transaction was about; none for all.
    pub(super) fn refused(&mut self, refusals: &[fleet::Refusal], touched: Option<&[Key]>) {
        let standing = &mut self.status.standing;
        match touched {
            None => standing.clear(),
            Some(touched) => standing.retain(|refusal| {
                let key = refusal.key.as_ref().and_then(|key| Key::try_from(key).ok());
                key.is_none_or(|key| !touched.contains(&key))
            }),
        }
        standing.extend(refusals.iter().filter(|refusal| refusal.key.is_some()).cloned());
    }
}
