//! A fleet of light nodes: real sockets, real TLS, a certificate each, in one process with whoever measures.
//!
//! A light node does all that the wire asks of an edge — resume, digests, verdicts, statuses, sums by bucket, back-off —
//! and serves nobody. It holds keys and hashes, no payloads, and shares them with every node that holds the same.
//! Its [`Script`] makes it do wrong.

mod join;
mod node;
mod place;
mod renew;
mod script;
mod session;
mod state;
mod upload;
mod view;

use std::sync::{Arc, Mutex, PoisonError};

use rr_contract::runtime::{Shutdown, Tasks};
use rr_contract::seal::node_token::NodeToken;
use tokio::sync::mpsc;

pub(crate) use self::join::join;
pub use self::join::join_with;
pub use self::node::LightNode;
pub(crate) use self::place::{Connection, Identity, origin};
pub use self::place::{Place, SERVER_NAME};
pub use self::renew::Late;
pub use self::script::{Counts, Script};
pub use self::state::Moved;
pub use self::upload::Uploader;
pub use self::view::{View, Views};

use crate::wait::eventually;

/// What is kept of moves that nobody has taken yet, before nodes wait.
const MOVES: usize = 65_536;

/// Light nodes. They end with it.
pub struct Fleet {
    nodes: Vec<LightNode>,
    tasks: Tasks,
    shutdown: Shutdown,
    moves: Arc<Mutex<Option<mpsc::Sender<Moved>>>>,
}

impl Fleet {
    /// Joins so many with one token. None connects before it is told to.
    pub async fn join(place: &Place, token: &NodeToken, count: usize) -> anyhow::Result<Self> {
        let identities = join(place, token, count).await?;
        let (tasks, shutdown) = (Tasks::new(), Shutdown::new());
        let (views, moves) = (Arc::<Views>::default(), Arc::default());
        let nodes: Vec<LightNode> = identities
            .into_iter()
            .enumerate()
            .map(|(number, identity)| {
                let (views, moves) = (Arc::clone(&views), Arc::clone(&moves));
                LightNode::new(number, Arc::new(identity), place.clone(), views, moves)
            })
            .collect();
        nodes.iter().for_each(|node| node.start(&tasks, shutdown.stop()));
        Ok(Self { nodes, tasks, shutdown, moves })
    }

    /// All of them.
    pub fn nodes(&self) -> &[LightNode] {
        &self.nodes
    }

    /// One of them.
    pub fn node(&self, number: usize) -> &LightNode {
        &self.nodes[number]
    }

    /// A second process with the identity of a node, which the fleet runs but does not count.
    pub fn twin(&self, of: &LightNode) -> LightNode {
        let twin = of.twin();
        twin.start(&self.tasks, self.shutdown.stop());
        twin
    }

    /// Connects all of them.
    pub fn up(&self) {
        self.nodes.iter().for_each(LightNode::up);
    }

    /// Cuts all connections.
    pub fn down(&self) {
        self.nodes.iter().for_each(LightNode::down);
    }

    /// Every move from now on. Of two who ask, the later hears.
    pub fn moves(&self) -> mpsc::Receiver<Moved> {
        let (to, from) = mpsc::channel(MOVES);
        *self.moves.lock().unwrap_or_else(PoisonError::into_inner) = Some(to);
        from
    }

    /// Waits until every node stands at a revision or beyond.
    pub async fn in_step(&self, revision: u64) {
        let what = format!("all {} nodes stand at {revision}", self.nodes.len());
        eventually(&what, || async {
            self.nodes.iter().all(|node| node.revision() >= revision).then_some(())
        })
        .await;
    }

    /// Bytes that all of them read and wrote.
    pub fn bytes(&self) -> (u64, u64) {
        self.nodes
            .iter()
            .map(|node| node.counts().bytes())
            .fold((0, 0), |(read, written), (more, again)| (read + more, written + again))
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.shutdown.begin();
    }
}
