//! The config stream, as a node sees it.

mod bounds;

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt as _;
use prost::Message as _;
use rr_contract::digest::ViewDigest;
use rr_contract::model::resource::{Key, Model};
use rr_contract::wire::fleet::config_service_client::ConfigServiceClient;
use rr_contract::wire::fleet::fleet_service_client::FleetServiceClient;
use rr_contract::wire::fleet::sync_request::Message as Up;
use rr_contract::wire::fleet::sync_response::Message as Down;
use rr_contract::wire::{fleet, management};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Streaming};

use super::machine::Node;
use super::world::{World, by};

pub(super) const SOON: Duration = Duration::from_secs(20);

/// The node's side of a stream, and what it holds.
pub(super) struct Edge {
    up: mpsc::Sender<fleet::SyncRequest>,
    down: Streaming<fleet::SyncResponse>,
    pub(super) held: BTreeMap<Key, [u8; 32]>,
    stands: fleet::Position,
}

/// A transaction as it came.
pub(super) struct Taken {
    mode: fleet::Mode,
    txn: Vec<u8>,
    pub(super) position: fleet::Position,
    upserts: usize,
    pub(super) removals: usize,
    /// How many removals it says were agreed to.
    pub(super) intended: u64,
}

impl Edge {
    pub(super) async fn open(node: &Node, resume: Option<fleet::Position>) -> Self {
        Self::open_with(node, resume, &[]).await
    }

    /// As a node with these features.
    pub(super) async fn open_with(node: &Node, resume: Option<fleet::Position>, features: &[&str]) -> Self {
        let (up, messages) = mpsc::channel(8);
        let stands = resume.clone().unwrap_or_default();
        let hello = fleet::Hello {
            protocol: 1,
            build: "test".into(),
            boot_id: vec![1; 16],
            resume,
            features: features.iter().map(|it| (*it).to_owned()).collect(),
            ..Default::default()
        };
        up.send(fleet::SyncRequest { message: Some(Up::Hello(hello)) }).await.expect("has room");
        let mut client = ConfigServiceClient::new(node.channel.clone());
        let down = client.sync(ReceiverStream::new(messages)).await.expect("opens").into_inner();
        let mut edge = Self { up, down, held: BTreeMap::new(), stands };
        assert!(matches!(edge.hear().await, Down::Welcome(_)));
        edge
    }

    async fn hear(&mut self) -> Down {
        self.next().await.expect("a message").message.expect("is known")
    }

    async fn next(&mut self) -> Result<fleet::SyncResponse, tonic::Status> {
        timeout(SOON, self.down.next())
            .await
            .expect("in time")
            .unwrap_or_else(|| Err(tonic::Status::ok("ended")))
    }

    /// Takes the next transaction, and checks it as a node does.
    pub(super) async fn take(&mut self) -> Taken {
        let begin = loop {
            match self.hear().await {
                Down::Begin(begin) => break begin,
                Down::Mark(_) => {}
                Down::BucketQuery(query) => self.tell(query).await,
                other => panic!("{other:?}"),
            }
        };
        let mode = begin.mode();
        assert_eq!(begin.txn.len(), 8);
        if mode == fleet::Mode::Snapshot {
            self.held.clear();
        }
        let (mut upserts, mut removals) = (0, 0);
        for index in 0..begin.chunks {
            let Down::Chunk(chunk) = self.hear().await else { panic!("no chunk") };
            assert_eq!((chunk.index, &chunk.txn), (index, &begin.txn));
            assert_eq!(crc32fast::hash(&chunk.body), chunk.crc32);
            let body = fleet::ChunkBody::decode(chunk.body).expect("decodes");
            for resource in body.upserts {
                let key = Key::try_from(&resource.key.expect("has one")).expect("good");
                let hash = rr_contract::digest::resource_hash(&resource.payload);
                assert!(resource.hash.is_empty() || hash.as_slice() == resource.hash);
                // Said beside the payload too: a node may not be able to read it.
                let needs = Model::parse(&key, &resource.payload).map(|model| model.needs());
                assert!(needs.is_ok_and(|needs| resource.needs == needs), "{:?}", resource.needs);
                self.held.insert(key, hash);
                upserts += 1;
            }
            for key in body.removals {
                self.held.remove(&Key::try_from(&key).expect("good")).expect("was held");
                removals += 1;
            }
        }
        let Down::Commit(commit) = self.hear().await else { panic!("no commit") };
        let position = commit.position.expect("has one");
        let mut digest = ViewDigest::default();
        for (key, hash) in &self.held {
            digest.add(key, hash);
        }
        assert_eq!(position.digest, digest.digest());
        assert_eq!(position.count, self.held.len() as u64);
        self.stands = position.clone();
        let intended = begin.intended_removals;
        Taken { mode, txn: commit.txn, position, upserts, removals, intended }
    }

    /// Says what it holds.
    async fn tell(&self, query: fleet::BucketQuery) {
        let mut report =
            fleet::BucketReport { query: query.query, at: Some(self.at()), ..Default::default() };
        let bucket = |key: &Key| rr_contract::digest::bucket(key, query.log2_buckets);
        if query.list.is_empty() {
            report.sums = vec![0; 1 << query.log2_buckets];
            for (key, hash) in &self.held {
                let sum = &mut report.sums[bucket(key) as usize];
                *sum = sum.wrapping_add(rr_contract::digest::locator(key, hash));
            }
        } else {
            let listed = self.held.iter().filter(|(key, _)| query.list.contains(&bucket(key)));
            report.held = listed
                .map(|(key, hash)| fleet::Held { key: Some(key.to_wire()), hash: hash.to_vec() })
                .collect();
        }
        self.up.send(fleet::SyncRequest { message: Some(Up::Buckets(report)) }).await.expect("has room");
    }

    fn at(&self) -> fleet::Position {
        let mut digest = ViewDigest::default();
        self.held.iter().for_each(|(key, hash)| digest.add(key, hash));
        let (digest, count) = (digest.digest().to_vec(), self.held.len() as u64);
        fleet::Position { digest, count, ..self.stands.clone() }
    }

    pub(super) async fn answer(&self, taken: &Taken, outcome: fleet::Outcome, refusals: Vec<fleet::Refusal>) {
        let verdict = fleet::Verdict {
            txn: taken.txn.clone(),
            outcome: outcome.into(),
            running: Some(if outcome == fleet::Outcome::Refused {
                self.at()
            } else {
                taken.position.clone()
            }),
            durable: true,
            refusals,
            timing: None,
        };
        self.up.send(fleet::SyncRequest { message: Some(Up::Verdict(verdict)) }).await.expect("has room");
    }

    pub(super) async fn say(&self, status: fleet::Status) {
        self.up.send(fleet::SyncRequest { message: Some(Up::Status(status)) }).await.expect("has room");
    }

    /// What it is asked to test next.
    pub(super) async fn asked_to_test(&mut self) -> fleet::TestTarget {
        loop {
            match self.hear().await {
                Down::Test(asked) => return asked,
                Down::Mark(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    pub(super) async fn has_tested(&self, tested: fleet::TargetTested) {
        self.up.send(fleet::SyncRequest { message: Some(Up::Tested(tested)) }).await.expect("has room");
    }

    pub(super) async fn take_well(&mut self) -> Taken {
        let taken = self.take().await;
        self.answer(&taken, fleet::Outcome::Active, Vec::new()).await;
        taken
    }
}

pub(super) async fn joined(world: &World) -> Node {
    let region = world.region("eu").await;
    world.furnish(&region).await;
    let token = world.node_token(&region, 5).await;
    world.join(&token).await.expect("joins")
}

async fn nodes(world: &World) -> Vec<fleet::Node> {
    let mut client = FleetServiceClient::new(world.channel.clone());
    let request = by(&world.operator, fleet::ListNodesRequest::default());
    client.list_nodes(request).await.expect("lists").into_inner().nodes
}

async fn listed(world: &World) -> fleet::Node {
    nodes(world).await.remove(0)
}

/// Until what is listed of the node is so.
async fn eventually(world: &World, what: &str, so: impl Fn(&fleet::Node) -> bool) -> fleet::Node {
    let deadline = tokio::time::Instant::now() + SOON;
    loop {
        let node = listed(world).await;
        if so(&node) {
            return node;
        }
        assert!(tokio::time::Instant::now() < deadline, "never {what}: {node:?}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_new_node_gets_everything_and_then_each_change_as_it_comes() {
    let world = World::start().await;
    let node = joined(&world).await;
    let mut edge = Edge::open(&node, None).await;
    let first = edge.take_well().await;
    assert_eq!((first.mode, first.upserts), (fleet::Mode::Snapshot, 5));
    let revision = world.suspend("acme", true).await;
    let second = edge.take_well().await;
    assert_eq!((second.mode, second.upserts, second.removals), (fleet::Mode::Delta, 1, 0));
    assert_eq!(second.position.revision, revision);
    let shown = eventually(&world, "running", |it| it.running.as_ref() == Some(&second.position)).await;
    assert!(shown.connected && shown.desired == shown.running && shown.build == "test");

    let request =
        management::DeleteProxyRequest { org: "acme".into(), proxy: "echo".into(), ..Default::default() };
    let mut proxies = management::proxy_service_client::ProxyServiceClient::new(world.channel.clone());
    proxies.delete_proxy(by(&world.operator, request)).await.expect("is deleted");
    let third = edge.take_well().await;
    assert_eq!((third.removals, third.position.count), (5, 0), "what nothing reaches any more goes along");
    world.running.stop().await;
}

#[tokio::test]
async fn a_node_that_comes_back_gets_what_it_missed_and_nothing_if_that_is_nothing() {
    let world = World::start().await;
    let node = joined(&world).await;
    let mut edge = Edge::open(&node, None).await;
    let first = edge.take_well().await;
    let held = edge.held.clone();
    drop(edge);
    // Nothing missed: a mark, and no transaction before it.
    let mut edge = Edge::open(&node, Some(first.position.clone())).await;
    let Down::Mark(mark) = edge.hear().await else { panic!("no mark") };
    assert_eq!(mark.position, Some(first.position.clone()));
    drop(edge);
    world.suspend("acme", true).await;
    world.suspend("acme", false).await;
    world.suspend("acme", true).await;
    let mut edge = Edge::open(&node, Some(first.position)).await;
    edge.held = held;
    let missed = edge.take_well().await;
    assert_eq!((missed.mode, missed.upserts), (fleet::Mode::Delta, 1), "three edits of one resource are one");
    world.running.stop().await;
}

#[tokio::test]
async fn a_restart_of_the_control_plane_costs_a_node_that_missed_nothing_no_transaction() {
    let world = World::start().await;
    let region = world.region("eu").await;
    world.furnish(&region).await;
    let token = world.node_token(&region, 2).await;
    let node = world.join(&token).await.expect("joins");
    let mut edge = Edge::open(&node, None).await;
    let first = edge.take_well().await;
    drop((edge, node));
    let world = world.restart().await;
    // Something that concerns another region alone happened meanwhile.
    world.org("elsewhere").await;
    let again = world.join(&token).await.expect("joins");
    let mut edge = Edge::open(&again, Some(first.position.clone())).await;
    let Down::Mark(mark) = edge.hear().await else { panic!("no mark") };
    let mark = mark.position.expect("has one");
    assert_eq!((&mark.digest, mark.count), (&first.position.digest, first.position.count));
    // From there, the next change is a change and not everything.
    world.suspend("acme", true).await;
    let next = loop {
        match edge.hear().await {
            Down::Mark(_) => {}
            Down::Begin(begin) => break begin,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(next.mode(), fleet::Mode::Delta);
    world.running.stop().await;
}

#[tokio::test]
async fn a_transaction_refused_whole_is_followed_by_what_differs_and_not_by_everything() {
    let world = World::start().await;
    let node = joined(&world).await;
    let mut edge = Edge::open(&node, None).await;
    edge.take_well().await;
    world.suspend("acme", true).await;
    let (held, stands) = (edge.held.clone(), edge.stands.clone());
    let delta = edge.take().await;
    assert_eq!(delta.mode, fleet::Mode::Delta);
    // It is refused, and something was lost on the node besides.
    (edge.held, edge.stands) = (held, stands);
    edge.held.pop_last();
    let why = fleet::Refusal { why: fleet::Why::Digest.into(), ..Default::default() };
    edge.answer(&delta, fleet::Outcome::Refused, vec![why]).await;
    let repaired = edge.take_well().await;
    assert_eq!((repaired.mode, repaired.upserts), (fleet::Mode::Reconcile, 2));
    world.running.stop().await;
}

#[tokio::test]
async fn a_resource_that_a_node_refuses_is_shown_until_it_takes_another_version() {
    let world = World::start().await;
    let node = joined(&world).await;
    let mut edge = Edge::open(&node, None).await;
    let first = edge.take().await;
    let key = *edge.held.keys().next().expect("holds some");
    let refusal = fleet::Refusal {
        key: Some(key.to_wire()),
        wanted: edge.held[&key].to_vec(),
        why: fleet::Why::Invalid.into(),
        ..Default::default()
    };
    assert_eq!(key, Key::org(key.org), "the org sorts first, and is what changes below");
    edge.answer(&first, fleet::Outcome::ActivePartial, vec![refusal.clone()]).await;
    let shown = eventually(&world, "refused", |it| !it.standing.is_empty()).await;
    assert_eq!(shown.standing, [refusal]);
    world.suspend("acme", true).await;
    edge.take_well().await;
    eventually(&world, "taken", |it| it.standing.is_empty()).await;
    world.running.stop().await;
}

/// A history is told by its lineage.
#[tokio::test]
async fn a_node_ahead_of_us_or_of_another_history_is_sent_nothing_and_is_shown() {
    let world = World::start().await;
    let region = world.region("eu").await;
    world.furnish(&region).await;
    let token = world.node_token(&region, 3).await;
    let good = world.join(&token).await.expect("joins");
    let mut witness = Edge::open(&good, None).await;
    let first = witness.take_well().await;
    let ahead = fleet::Position { revision: first.position.revision + 100, ..first.position.clone() };
    let elsewhere = fleet::Position { lineage: vec![9; 16], ..first.position };
    let mut diverged = Vec::new();
    for resume in [ahead, elsewhere] {
        let node = world.join(&token).await.expect("joins");
        diverged.push(Edge::open(&node, Some(resume)).await);
    }
    loop {
        let nodes = nodes(&world).await;
        let shown = nodes.iter().filter(|it| it.diverged && it.connected).count();
        if shown == 2 {
            break;
        }
    }
    // What would reach them is not taken, so that nobody relies on it.
    let operator = world.operator();
    let refused = operator.patch("/v1/orgs/acme?updateMask=suspended", json!({"suspended": true})).await;
    assert_eq!(refused.json()["code"], "region-diverged", "{}", refused.text);
    drop(witness);
    let silence = async {
        for edge in &mut diverged {
            let heard = edge.hear().await;
            assert!(matches!(heard, Down::Goaway(_)), "nothing was sent before the end: {heard:?}");
        }
    };
    tokio::join!(silence, world.running.stop());
}

#[tokio::test]
async fn a_second_session_of_a_node_fences_the_first() {
    let world = World::start().await;
    let node = joined(&world).await;
    let mut first = Edge::open(&node, None).await;
    first.take_well().await;
    let mut second = Edge::open(&node, None).await;
    second.take_well().await;
    let ended = async {
        loop {
            if let Err(status) = first.next().await {
                break status;
            }
        }
    };
    let ended = timeout(SOON, ended).await.expect("it ends");
    assert_eq!(ended.code(), Code::Aborted);
    assert!(listed(&world).await.connected);
    world.running.stop().await;
}

#[tokio::test]
async fn nodes_are_told_to_go_when_the_control_plane_stops() {
    let world = World::start().await;
    let node = joined(&world).await;
    let mut edge = Edge::open(&node, None).await;
    edge.take_well().await;
    let stopped = async {
        loop {
            if let Down::Goaway(goaway) = edge.hear().await {
                break goaway;
            }
        }
    };
    let (goaway, ()) = tokio::join!(stopped, world.running.stop());
    assert!(goaway.spread_over.is_some());
}
