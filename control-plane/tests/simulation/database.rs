//! A history and a ledger in memory.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use prost::Message as _;
use rr_contract::model::id::{CredentialId, InstallationId, NodeId, OrgId, ProxyId, RegionId, TargetId};
use rr_contract::model::resource::{Key, ResourceId};
use rr_contract::wire::fleet;
use tokio::sync::watch;

use super::REGION;
use crate::publish::{GrantedKeys, Ledger, Log};
use crate::store::history::{News, PublishedChange, PublishedResource};
use crate::store::ledger::{
    Adopted, Answer, Crash, Divergence, HeldRevision, KnownNodes, Leased, Question, RegionState, Reports,
};
use crate::store::{Head, StoreError};

#[derive(Clone)]
pub(super) struct Database(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    committed: watch::Sender<u64>,
    began: tokio::time::Instant,
}

#[derive(Default)]
struct State {
    head: u64,
    floor: u64,
    changes: Vec<PublishedChange>,
    current: BTreeMap<Key, (u64, Bytes)>,
    known: KnownNodes,
    /// Whose streams are open where, and until when that holds.
    leases: HashMap<NodeId, (Leased, i64)>,
    questions: HashMap<String, (Question, Answer)>,
    /// It answers nothing.
    away: bool,
}

impl Default for Database {
    fn default() -> Self {
        let committed = watch::Sender::new(0);
        Self(Arc::new(Shared { state: Mutex::default(), committed, began: tokio::time::Instant::now() }))
    }
}

const ORG: OrgId = OrgId::from_random([1; 16]);

fn id(n: usize) -> [u8; 16] {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&(n as u64).to_be_bytes());
    id
}

fn target(n: usize, content: u64) -> (Key, Bytes) {
    let key = Key::new(ORG, ResourceId::Target(TargetId::from_random(id(n))));
    let wire = fleet::TargetResource {
        name: format!("target-{n}"),
        base_url: format!("https://v{content}.example.com"),
        ..Default::default()
    };
    (key, wire.encode_to_vec().into())
}

fn proxy(n: usize) -> (Key, Bytes) {
    let credential = CredentialId::from_random([1; 16]).to_string();
    let key = Key::new(ORG, ResourceId::Proxy(ProxyId::from_random(id(n))));
    let wire = fleet::ProxyResource {
        name: format!("proxy-{n}"),
        active: true,
        caller_credentials: vec![credential.clone()],
        target: TargetId::from_random(id(n)).to_string(),
        upstream_credential: credential,
        regions: vec![REGION.to_string()],
        ..Default::default()
    };
    (key, wire.encode_to_vec().into())
}

impl Database {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().expect("nobody panics with it")
    }

    fn publish(&self, resources: Vec<(Key, Bytes)>) {
        let mut state = self.state();
        state.head += 1;
        let revision = state.head;
        for (key, payload) in resources {
            state.current.insert(key, (revision, payload.clone()));
            state.changes.push(PublishedChange { key, revision, payload: Some(payload) });
        }
        drop(state);
        self.0.committed.send_replace(revision);
    }

    /// So many proxies with a target each.
    pub(super) fn furnish(&self, proxies: usize) {
        let none = fleet::upstream_credential::Kind::None(fleet::UpstreamNone {});
        let credential = fleet::CredentialResource {
            name: "credential".to_owned(),
            version: 1,
            usage: Some(fleet::credential_resource::Usage::Upstream(fleet::UpstreamCredential {
                kind: Some(none),
                ..fleet::UpstreamCredential::default()
            })),
            ..Default::default()
        };
        let org = fleet::OrgResource { name: "org".to_owned(), suspended: false };
        let key = Key::new(ORG, ResourceId::Credential(CredentialId::from_random([1; 16])));
        let mut all: Vec<(Key, Bytes)> =
            vec![(Key::org(ORG), org.encode_to_vec().into()), (key, credential.encode_to_vec().into())];
        all.extend((0..proxies).flat_map(|n| [target(n, 0), proxy(n)]));
        self.publish(all);
    }

    /// Removes a proxy, and switches off the one behind it.
    pub(super) fn take_away(&self, n: usize) -> (Key, Key) {
        let (gone, _) = proxy(n);
        let (off, payload) = proxy(n + 1);
        let mut message = fleet::ProxyResource::decode(payload).expect("decodes");
        message.active = false;
        {
            let mut state = self.state();
            state.head += 1;
            let revision = state.head;
            state.current.remove(&gone);
            state.changes.push(PublishedChange { key: gone, revision, payload: None });
        }
        self.publish(vec![(off, message.encode_to_vec().into())]);
        (gone, off)
    }

    /// Publishes another version of a target; how large its payload is.
    pub(super) fn change(&self, n: usize) -> usize {
        let content = self.state().head + 1;
        let (key, payload) = target(n, content);
        let length = payload.len();
        self.publish(vec![(key, payload)]);
        length
    }

    /// Publishes another version of so many targets in one revision.
    pub(super) fn change_all(&self, count: usize) {
        let content = self.state().head + 1;
        self.publish((0..count).map(|n| target(n, content)).collect());
    }

    /// What was published is not kept change by change any more: whoever follows loads everything anew.
    pub(super) fn forget_history(&self) {
        let mut state = self.state();
        state.head += 1;
        state.floor = state.head;
        state.changes.clear();
        let revision = state.head;
        drop(state);
        self.0.committed.send_replace(revision);
    }

    pub(super) fn head(&self) -> u64 {
        self.state().head
    }

    /// Whether it answers.
    pub(super) fn is_away(&self, away: bool) {
        self.state().away = away;
    }

    /// Everything in it is gone, the history's name as well: as if another, empty one were in its place.
    pub(super) fn wipe(&self) {
        let mut state = self.state();
        state.head = 0;
        state.floor = 0;
        state.changes.clear();
        state.current.clear();
    }

    pub(super) fn release(&self, region: RegionId) {
        let mut state = self.state();
        state.known.crashes.retain(|crash| crash.region != region);
        state.known.regions.iter_mut().filter(|(it, _)| *it == region).for_each(|(_, it)| it.held = None);
    }

    pub(super) fn adopt(&self, region: RegionId, adopted: Adopted) {
        self.state().region(region).adopted = Some(adopted);
    }
}

impl State {
    fn region(&mut self, region: RegionId) -> &mut RegionState {
        if !self.known.regions.iter().any(|(it, _)| *it == region) {
            self.known.regions.push((region, RegionState::default()));
        }
        let found = self.known.regions.iter_mut().find(|(it, _)| *it == region);
        &mut found.expect("was made").1
    }

    fn audit(revision: u64) -> [u8; 32] {
        let mut audit = [0; 32];
        audit[..8].copy_from_slice(&revision.to_be_bytes());
        audit
    }

    fn place(&self) -> Head {
        Head {
            installation: InstallationId::from_random([1; 16]),
            lineage: [2; 16],
            revision: self.head,
            audit: Self::audit(self.head),
            floor: self.floor,
            authority: None,
        }
    }
}

#[tonic::async_trait]
impl Log for Database {
    fn committed(&self) -> watch::Receiver<u64> {
        self.0.committed.subscribe()
    }

    async fn head(&self) -> Result<Head, StoreError> {
        let state = self.state();
        if state.away { Err(StoreError::Lost) } else { Ok(state.place()) }
    }

    async fn load(&self) -> Result<(Head, Vec<PublishedResource>), StoreError> {
        let state = self.state();
        let resources = state.current.iter().map(|(key, (revision, payload))| PublishedResource {
            key: *key,
            revision: *revision,
            payload: payload.clone(),
        });
        Ok((state.place(), resources.collect()))
    }

    async fn since(&self, revision: u64, _limit: u64) -> Result<News, StoreError> {
        let state = self.state();
        if state.head <= revision {
            return Ok(News::default());
        }
        let changes = state.changes.iter().filter(|change| change.revision > revision).cloned().collect();
        let to = Some((state.head, State::audit(state.head)));
        Ok(News { changes, removals: Vec::new(), regions: Vec::new(), to })
    }

    async fn audit(&self, revision: u64) -> Result<Option<Vec<u8>>, StoreError> {
        Ok((revision <= self.state().head).then(|| State::audit(revision).to_vec()))
    }

    async fn removals(&self, _after: u64, _to: u64) -> Result<u64, StoreError> {
        Ok(0)
    }

    async fn granted_keys(&self, _region: RegionId) -> Result<GrantedKeys, StoreError> {
        Ok(GrantedKeys::default())
    }
}

#[tonic::async_trait]
impl Ledger for Database {
    fn now(&self) -> i64 {
        i64::try_from(self.0.began.elapsed().as_micros()).expect("fits")
    }

    fn is_shared(&self) -> bool {
        true
    }

    async fn known(&self, replica: &str) -> Result<KnownNodes, StoreError> {
        let now = self.now();
        let state = self.state();
        let theirs = state.leases.values().filter(|(node, until)| node.replica != replica && *until > now);
        Ok(KnownNodes { elsewhere: theirs.map(|(node, _)| node.clone()).collect(), ..state.known.clone() })
    }

    async fn report(&self, reports: Reports) -> Result<Vec<NodeId>, StoreError> {
        let mut state = self.state();
        let Reports { replica, until, came, said, left, keep, .. } = reports;
        for node in came {
            state.leases.insert(node.node, (node, until));
        }
        let mut lost = Vec::new();
        for node in said {
            match state.leases.get_mut(&node.node).filter(|(held, _)| held.replica == replica) {
                Some(held) => *held = (node, until),
                None => lost.push(node.node),
            }
        }
        let ours = |node: &Leased| node.replica == replica;
        state.leases.retain(|id, (node, _)| !(ours(node) && left.contains(id)));
        state.leases.values_mut().filter(|(node, _)| keep && ours(node)).for_each(|(_, it)| *it = until);
        Ok(lost)
    }

    async fn ask(&self, question: Question) -> Result<(), StoreError> {
        self.state().questions.insert(question.id.clone(), (question, Answer::None));
        Ok(())
    }

    async fn questions(&self, holder: &str) -> Result<Vec<Question>, StoreError> {
        let state = self.state();
        let open =
            state.questions.values().filter(|(it, answer)| it.holder == holder && *answer == Answer::None);
        Ok(open.map(|(question, _)| question.clone()).collect())
    }

    async fn answer(&self, question: &str, answer: Answer) -> Result<(), StoreError> {
        if let Some((_, said)) = self.state().questions.get_mut(question) {
            *said = answer;
        }
        Ok(())
    }

    async fn answered(&self, question: &str) -> Result<Answer, StoreError> {
        Ok(self.state().questions.get(question).map_or(Answer::None, |(_, answer)| *answer))
    }

    async fn withdraw(&self, question: &str) -> Result<(), StoreError> {
        self.state().questions.remove(question);
        Ok(())
    }

    async fn crashed(&self, crash: Crash) -> Result<(), StoreError> {
        let mut state = self.state();
        if !state.known.crashes.contains(&crash) {
            state.known.crashes.push(crash.clone());
        }
        let together = state.known.crashes.iter().filter(|it| it.digest == crash.digest).count();
        if together >= 2 {
            let held = HeldRevision { revision: crash.revision, digest: crash.digest };
            state.region(crash.region).held = Some(held);
        }
        Ok(())
    }

    async fn diverged(&self, divergence: Divergence) -> Result<(), StoreError> {
        let now = self.now();
        let mut state = self.state();
        state.known.diverged.retain(|(it, _)| it.node != divergence.node);
        state.known.diverged.push((divergence, now));
        Ok(())
    }

    async fn in_step(&self, node: NodeId) -> Result<(), StoreError> {
        self.state().known.diverged.retain(|(it, _)| it.node != node);
        Ok(())
    }
}
