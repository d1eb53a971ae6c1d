//! Asks the stream of a diverged node what the node holds, for the person who decides about it.
//!
//! The stream asks when it owes the node nothing else; one that ends or has something else to do drops the question, and
//! the caller learns that there is no answer.

use std::collections::HashMap;
use std::sync::Arc;

use rr_contract::digest::ResourceHash;
use rr_contract::model::id::NodeId;
use rr_contract::model::resource::Key;
use tokio::sync::oneshot;

use super::{Fleet, Seat};

/// What a node holds, by hash.
pub(crate) type Holdings = Arc<HashMap<Key, ResourceHash>>;

/// Receives what a node holds.
pub(in crate::publish) type Asker = oneshot::Sender<Holdings>;

impl Fleet {
    /// Asks a node's stream; none where there is no stream here.
    pub(in crate::publish) fn question(&self, node: NodeId) -> Option<oneshot::Receiver<Holdings>> {
        let (asker, answer) = oneshot::channel();
        self.state().nodes.get_mut(&node)?.askers.push(asker);
        self.changed();
        Some(answer)
    }
}

impl Seat {
    /// Those who asked what the node holds since the last time.
    pub(in crate::publish) fn askers(&self) -> Vec<Asker> {
        let mut state = self.fleet.state();
        let slot = state.nodes.get_mut(&self.node).filter(|slot| slot.session == self.session);
        slot.map(|slot| std::mem::take(&mut slot.askers)).unwrap_or_default()
    }
}
