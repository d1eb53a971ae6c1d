//! An organization, two regions, and nodes that say what they are told to.

use futures_util::FutureExt as _;
use rr_contract::model::id::NodeId;
use rr_contract::wire::fleet::{self, Effect, Why};
use rr_contract::wire::management::{NotificationKind, Org, Target};

use super::super::super::tests::{jobs, node_token, org, place, region, told};
use super::super::super::{Job, Jobs};
use crate::noun::Noun;
use crate::publish::{LiveNode, Seat};
use crate::store::{self, Store, history};
use crate::tests::stores::{SetClock, put, write};
use crate::{compile, document};

/// An organization with one target, two regions, and nodes that say what they are told to.
pub(super) struct World {
    pub(super) store: Store,
    pub(super) clock: SetClock,
    pub(super) jobs: Jobs,
    pub(super) seats: Vec<Seat>,
}

impl World {
    pub(super) async fn new(store: Store, clock: SetClock) -> Self {
        node_token(&store).await;
        let owner = Org { id: org(1), name: "acme".to_owned(), ..Org::default() };
        let regions =
            vec![place(1, "eu", ""), place(2, "theirs", &org(2)), put("", &org(1), "acme", owner, None)];
        write(&store, regions).await;
        let jobs = jobs(&store);
        Self { store, clock, jobs, seats: Vec::new() }
    }

    /// Writes a version of a target; its hash.
    pub(super) async fn target(&self, n: u8, version: &str) -> Vec<u8> {
        self.write(target(n, version)).await
    }

    pub(super) async fn write(&self, put: store::Put) -> Vec<u8> {
        let hash = put.payload.as_ref().expect("has one").hash().to_vec();
        write(&self.store, vec![put]).await;
        hash
    }

    /// So many connected nodes, of which the first refuse a version and run another.
    pub(super) fn nodes(&mut self, n: u8, count: u8, refusing: u8, refusal: Option<&fleet::Refusal>) {
        enter(&self.jobs, &mut self.seats, region(n), count, |node| {
            refusal.filter(|_| node < refusing).cloned().into_iter().collect()
        });
    }

    pub(super) async fn head(&self) -> u64 {
        store::installation::head(&self.store).await.expect("reads").expect("is there").revision
    }

    pub(super) async fn run(&self) -> u64 {
        self.jobs.services.publisher.catch_up().await.expect("reads");
        self.jobs.run(Job::Withdrawal).await.expect("runs")
    }

    pub(super) async fn now(&self, n: u8) -> (Vec<u8>, String) {
        shown(&self.store, n).await
    }

    pub(super) async fn told(&self, kind: NotificationKind) -> Vec<String> {
        let rows = told(&self.store, &org(1)).await;
        rows.into_iter().filter(|row| row.kind == i32::from(kind)).map(|row| row.message).collect()
    }
}

pub(super) fn enter(
    jobs: &Jobs,
    seats: &mut Vec<Seat>,
    region: String,
    count: u8,
    standing: impl Fn(u8) -> Vec<fleet::Refusal>,
) {
    for node in 0..count {
        let live = LiveNode {
            region: region.parse().expect("an id"),
            address: String::new(),
            build: String::new(),
            boot_id: Vec::new(),
            features: Vec::new(),
            status: fleet::Status { standing: standing(node), ..Default::default() },
            last_seen_at: jobs.store().now(),
            diverged: false,
        };
        let id = NodeId::from_random([node + 1; 16]);
        let entered = jobs.fleet().enter(id, live).now_or_never();
        seats.push(entered.expect("nobody is asked").expect("is free"));
    }
}

pub(super) fn target(n: u8, version: &str) -> store::Put {
    target_that(n, version, Effect::Allow)
}

pub(super) fn target_that(n: u8, version: &str, effect: Effect) -> store::Put {
    let id = Noun::Target.id([n; 16]);
    let target = Target {
        id: id.clone(),
        org: org(1),
        name: format!("t{n}"),
        base_url: format!("https://{version}.example/"),
        default_effect: effect.into(),
        ..Target::default()
    };
    let target = document::kept(target);
    let payload = compile::payload(&document::Resource::wrap(target.clone()), None).expect("is valid");
    store::Put { payload, ..put(&org(1), &id, &target.name.clone(), target, None) }
}

pub(super) fn refusal(n: u8, wanted: &[u8], running: &[u8]) -> fleet::Refusal {
    let key = Noun::Target.key(&org(1), &Noun::Target.id([n; 16])).expect("a key");
    fleet::Refusal {
        key: Some(key.to_wire()),
        wanted: wanted.to_vec(),
        running: running.to_vec(),
        why: Why::Invalid.into(),
        detail: "told so".to_owned(),
        ..Default::default()
    }
}

/// What is published of a target, and by which call.
pub(super) async fn shown(store: &Store, n: u8) -> (Vec<u8>, String) {
    let id = Noun::Target.id([n; 16]);
    let row = store::resource::by_id(store, Noun::Target, &id).await.expect("reads").expect("is there");
    let revision = history::revision(store, row.rev.unsigned_abs()).await.expect("reads").expect("is there");
    (row.payload.unwrap_or_default(), revision.call)
}
