//! The real publisher and real sessions against simulated nodes, without a database, a network or real time.
//!
//! Seeds are fixed, and `RR_TEST_SEED` adds one; a run that goes wrong says its seed, and goes the same way again with
//! it. Time is tokio's paused clock, and entropy is drawn from the seed.

mod clash;
mod database;
mod hostile;
mod node;
mod seams;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rr_contract::model::id::{NodeId, RegionId};
use rr_contract::model::resource::{Key, ResourceId};
use rr_contract::runtime::observe::Observability;
use rr_contract::runtime::{Readiness, Shutdown, Tasks};
use rr_contract::wire::fleet;
use tokio::time::{Instant, sleep};

use super::{Ledger as _, Publisher};
use crate::events::Events;
use crate::store::ledger::Adopted;
use database::Database;
use node::{Faults, Node};

const REGION: RegionId = RegionId::from_random([7; 16]);
const SEEDS: [u64; 6] = [1, 2, 3, 4, 5, 6];

struct World {
    database: Database,
    publisher: Arc<Publisher>,
    tasks: Tasks,
    shutdown: Shutdown,
    seed: u64,
}

impl World {
    async fn start() -> Self {
        Self::seeded(0).await
    }

    async fn seeded(seed: u64) -> Self {
        let world = Self::opened(seed, Database::default());
        world.eventually("loaded", || world.publisher.position(REGION).is_some()).await;
        world
    }

    /// Not yet loaded.
    fn opened(seed: u64, database: Database) -> Self {
        let world = Self::silent(seed, database);
        let fleet = world.publisher.fleet();
        world.tasks.spawn("nodes", fleet.clone().run(world.shutdown.stop()));
        world.tasks.spawn("questions", fleet.clone().answer(world.shutdown.stop()));
        world
    }

    /// One that tells other replicas nothing.
    fn silent(seed: u64, database: Database) -> Self {
        let events = Events::new(&Observability::quiet("rr-control"));
        let publisher = Publisher::new(database.clone(), events, seams::simulated(seed, 0xff).entropy);
        let (tasks, shutdown) = (Tasks::new(), Shutdown::new());
        let loaded = Readiness::new().register("configuration");
        tasks.spawn("publish", Arc::clone(&publisher).run(shutdown.stop(), loaded));
        Self { database, publisher, tasks, shutdown, seed }
    }

    fn node(&self, n: u8) -> Node {
        Node::new(NodeId::from_random([n; 16]), seams::simulated(self.seed, n))
    }

    /// Opens a stream and follows it until it ends, which is what happens to it.
    fn connect(&self, node: &Node) {
        node.connect(&self.publisher, &self.tasks, &self.shutdown);
    }

    /// Until this is so, within a minute.
    async fn eventually(&self, what: &str, so: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !so() {
            assert!(Instant::now() < deadline, "never: {what}");
            sleep(Duration::from_millis(50)).await;
        }
    }

    fn in_step(&self, node: &Node) -> bool {
        let current = self.publisher.position(REGION).expect("is loaded");
        self.is_current() && node.at().is_some_and(|at| at.digest == current.digest)
    }

    /// The publisher has read what was written last.
    fn is_current(&self) -> bool {
        self.publisher.position(REGION).is_some_and(|at| at.revision == self.database.head())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.shutdown.begin();
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_lost_one_resource_is_told_that_one_and_nothing_else() {
    let world = World::start().await;
    world.database.furnish(500);
    let node = world.node(1);
    world.connect(&node);
    world.eventually("in step", || node.at().is_some() && world.in_step(&node)).await;
    node.disconnect();
    node.lose(1);
    let sent = node.sent();
    world.connect(&node);
    world.eventually("in step", || world.in_step(&node)).await;
    let more = node.sent();
    assert_eq!(more.resources - sent.resources, 1);
    assert_eq!(more.modes.last(), Some(&fleet::Mode::Reconcile));
    let (down, up) = (more.down - sent.down, more.up - sent.up);
    assert!(down + up <= 64 * 1024, "{down} + {up} bytes");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_missed_many_changes_while_history_was_forgotten_is_sent_those_alone() {
    let world = World::start().await;
    world.database.furnish(1_000);
    let node = world.node(1);
    world.connect(&node);
    world.eventually("in step", || node.at().is_some() && world.in_step(&node)).await;
    node.disconnect();
    let before = node.sent();
    for n in 0..100 {
        world.database.change(n);
    }
    world.database.forget_history();
    world.eventually("loaded", || world.publisher.position(REGION).is_some_and(|at| at.revision > 100)).await;
    world.connect(&node);
    world.eventually("in step", || world.in_step(&node)).await;
    assert_eq!(node.sent().resources - before.resources, 100);
    let others: Vec<Node> = (2..5).map(|n| world.node(n)).collect();
    for other in &others {
        world.connect(other);
    }
    world.eventually("all", || others.iter().all(|node| world.in_step(node))).await;
}

#[tokio::test(start_paused = true)]
async fn a_one_resource_change_costs_its_payload_and_400_bytes_at_the_most() {
    let world = World::start().await;
    world.database.furnish(100);
    let node = world.node(1);
    world.connect(&node);
    world.eventually("in step", || node.at().is_some() && world.in_step(&node)).await;
    let before = node.sent();
    let payload = world.database.change(5);
    world.eventually("changed", || node.sent().resources > before.resources).await;
    let cost = node.sent().transactions - before.transactions;
    // Three messages: five bytes before each, a frame and a record of TLS around them.
    let wire = cost + 3 * 5 + 9 + 22;
    assert!(wire <= payload + 400, "{wire} bytes for a payload of {payload}");
}

#[tokio::test(start_paused = true)]
async fn a_revision_on_which_two_nodes_ended_goes_to_no_third_until_it_is_released() {
    let world = World::start().await;
    world.database.furnish(20);
    let nodes: Vec<Node> = (1..4).map(|n| world.node(n)).collect();
    for node in &nodes {
        world.connect(node);
    }
    world.eventually("in step", || nodes.iter().all(|node| world.in_step(node))).await;
    for node in &nodes {
        node.disconnect();
    }
    sleep(Duration::from_secs(1)).await;
    world.database.change(3);
    world.eventually("known", || world.is_current()).await;
    let tried = world.publisher.position(REGION).expect("is loaded");
    // The first alone: it is not sent it again, and others are.
    nodes[0].crash_on(tried.clone());
    world.connect(&nodes[0]);
    world.connect(&nodes[2]);
    world.eventually("third", || world.in_step(&nodes[2])).await;
    sleep(Duration::from_secs(20)).await;
    assert!(!world.in_step(&nodes[0]), "it ended there");
    nodes[1].crash_on(tried);
    world.connect(&nodes[1]);
    let fourth = world.node(9);
    sleep(Duration::from_secs(5)).await;
    world.connect(&fourth);
    sleep(Duration::from_secs(20)).await;
    assert!(fourth.at().is_none() && !world.in_step(&nodes[1]), "the region is held");
    world.database.release(REGION);
    world.eventually("released", || nodes.iter().chain([&fourth]).all(|node| world.in_step(node))).await;
}

#[tokio::test(start_paused = true)]
async fn a_region_that_is_held_hears_of_what_was_taken_away_and_of_nothing_new() {
    let world = World::start().await;
    world.database.furnish(20);
    let nodes: Vec<Node> = (1..4).map(|n| world.node(n)).collect();
    for node in &nodes {
        world.connect(node);
    }
    world.eventually("in step", || nodes.iter().all(|node| world.in_step(node))).await;
    for node in &nodes {
        node.disconnect();
    }
    sleep(Duration::from_secs(1)).await;
    // Before it is held, and unknown to the node.
    let first = world.database.take_away(1);
    world.eventually("known", || world.is_current()).await;
    let tried = world.publisher.position(REGION).expect("is loaded");
    for node in &nodes[..2] {
        node.crash_on(tried.clone());
        world.connect(node);
        sleep(Duration::from_secs(5)).await;
    }
    world.connect(&nodes[2]);
    world.database.change(3);
    let heard = |(gone, off): &(Key, Key)| {
        nodes.iter().all(|node| {
            let sent = node.sent();
            sent.gone.contains(gone) && sent.narrowed.contains(off)
        })
    };
    world.eventually("the first is heard of", || heard(&first)).await;
    let second = world.database.take_away(7);
    world.eventually("the second is heard of", || heard(&second)).await;
    // After a restart of ours, what a node holds is not in the log any more: it is asked.
    world.database.forget_history();
    world.publisher.load().await.expect("it answers");
    world.eventually("left", || nodes.iter().all(|node| !node.is_connected())).await;
    let third = world.database.take_away(12);
    for node in &nodes {
        world.connect(node);
    }
    world.eventually("the third is heard of", || heard(&third)).await;
    sleep(Duration::from_secs(20)).await;
    for node in &nodes {
        let sent = node.sent();
        assert!(sent.resources <= 42 && !world.in_step(node), "nothing new was sent");
        let is_proxy = |key: &Key| matches!(key.id, ResourceId::Proxy(_));
        assert!(sent.narrowed.iter().all(is_proxy), "{:?}", sent.narrowed);
    }
    world.database.release(REGION);
    world.eventually("released", || nodes.iter().all(|node| world.in_step(node))).await;
}

#[tokio::test(start_paused = true)]
async fn a_diverged_node_is_sent_nothing_until_a_person_adopts_and_then_what_differs() {
    let world = World::start().await;
    world.database.furnish(100);
    let node = world.node(1);
    world.connect(&node);
    world.eventually("in step", || node.at().is_some() && world.in_step(&node)).await;
    node.disconnect();
    node.stand(|at| at.revision += 50);
    node.lose(1);
    let before = node.sent();
    world.connect(&node);
    sleep(Duration::from_secs(30)).await;
    assert_eq!(node.sent().resources, before.resources);
    assert_eq!(world.publisher.fleet().diverged().len(), 1);
    let head = world.publisher.position(REGION).expect("is loaded");
    let (lineage, revision) = (head.lineage, head.revision);
    let revived = vec!["crd_1".to_owned()];
    let at = world.database.now();
    world.database.adopt(REGION, Adopted { lineage, revision, revived, at });
    world.eventually("in step", || world.in_step(&node)).await;
    assert_eq!(node.sent().resources - before.resources, 1);
    assert_eq!(node.sent().revived, ["crd_1"]);
    world.eventually("noted", || world.publisher.fleet().diverged().is_empty()).await;
}

/// I7: what a replica does not have takes nothing from nodes.
#[tokio::test(start_paused = true)]
async fn i7_a_replica_that_has_loaded_nothing_or_finds_an_empty_database_deletes_nothing() {
    let world = World::start().await;
    world.database.furnish(100);
    let node = world.node(1);
    world.connect(&node);
    world.eventually("in step", || node.at().is_some() && world.in_step(&node)).await;
    let held = node.holds();
    assert!(held > 100);

    // Another replica, whose database does not answer.
    let database = Database::default();
    database.is_away(true);
    let empty = World::opened(0, database);
    let newcomer = node.moved_to(&empty);
    empty.connect(&newcomer);
    empty.eventually("refused", || newcomer.ended() == Some(tonic::Code::Unavailable)).await;
    assert_eq!(newcomer.holds(), held);

    // The database is another, which is empty.
    world.database.wipe();
    world.eventually("loaded", || world.publisher.position(REGION).is_some_and(|at| at.count == 0)).await;
    world.eventually("left", || !node.is_connected()).await;
    world.connect(&node);
    world.eventually("diverged", || !world.publisher.fleet().diverged().is_empty()).await;
    sleep(Duration::from_secs(30)).await;
    assert_eq!(node.holds(), held);
}

/// I8 and I9.
#[tokio::test(start_paused = true)]
async fn i9_one_resource_that_is_refused_holds_up_none_of_the_ninety_nine_beside_it_and_does_not_come_again()
{
    let world = World::start().await;
    world.database.furnish(100);
    let node = world.node(1);
    world.connect(&node);
    world.eventually("in step", || node.at().is_some() && world.in_step(&node)).await;
    let before = node.sent().resources;
    node.faults(Faults { checks: true, poison: true, ..Faults::default() });
    world.database.change_all(100);
    world.eventually("in step", || world.in_step(&node)).await;
    assert_eq!((node.sent().resources - before, node.refuses()), (100, 1));
    node.faults(Faults { checks: true, ..Faults::default() });
    for n in 1..20 {
        world.database.change(n);
        world.eventually("in step", || world.in_step(&node)).await;
        node.disconnect();
        sleep(Duration::from_secs(1)).await;
        world.connect(&node);
    }
    world.eventually("in step", || world.in_step(&node)).await;
    assert_eq!((node.refuses(), node.wrong()), (1, Vec::new()));
    assert_eq!(node.sent().resources - before, 119);
}

#[tokio::test(start_paused = true)]
async fn after_a_second_an_hour_and_eight_days_away_a_node_is_sent_what_changed_and_never_everything() {
    let world = World::start().await;
    world.database.furnish(100);
    let node = world.node(1);
    world.connect(&node);
    world.eventually("in step", || node.at().is_some() && world.in_step(&node)).await;
    let day = Duration::from_secs(24 * 3600);
    let times = [(Duration::from_secs(1), false), (Duration::from_secs(3600), false), (8 * day, true)];
    for (away, forgotten) in times {
        node.disconnect();
        let before = node.sent();
        world.database.change(1);
        // In one step: what the control plane does meanwhile it does every second, and none of it is looked at here.
        tokio::time::advance(away).await;
        world.eventually("read", || world.is_current()).await;
        if forgotten {
            world.database.forget_history();
            world.publisher.load().await.expect("it answers");
        }
        world.connect(&node);
        world.eventually("in step", || world.in_step(&node)).await;
        let mode = if forgotten { fleet::Mode::Reconcile } else { fleet::Mode::Delta };
        assert_eq!(node.sent().modes[before.modes.len()..], [mode]);
        assert_eq!(node.sent().resources - before.resources, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_says_nothing_to_a_transaction_is_given_up_and_one_that_is_slow_is_waited_for() {
    let world = World::start().await;
    world.database.furnish(10);
    let (slow, silent) = (world.node(1), world.node(2));
    for node in [&slow, &silent] {
        world.connect(node);
    }
    world.eventually("in step", || [&slow, &silent].iter().all(|node| world.in_step(node))).await;
    slow.faults(Faults { checks: true, slow: Duration::from_secs(20), ..Faults::default() });
    silent.faults(Faults { checks: true, silent_next: true, ..Faults::default() });
    let began = Instant::now();
    world.database.change(1);
    world.eventually("taken", || world.in_step(&slow)).await;
    assert!(began.elapsed() < Duration::from_secs(25), "{:?}", began.elapsed());
    world.eventually("given up", || silent.ended() == Some(tonic::Code::DeadlineExceeded)).await;
    assert!(slow.is_connected());
    // It took it, and nobody knows: it says so, and is sent nothing again.
    let before = silent.sent().resources;
    world.connect(&silent);
    world.database.change(2);
    world.eventually("in step", || world.in_step(&silent)).await;
    assert_eq!(silent.sent().resources - before, 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_encoded_for_one_region_is_in_no_others_way() {
    let world = World::start().await;
    world.database.furnish(20);
    let other = world.publisher.encoding(RegionId::from_random([8; 16]));
    // As long as a large snapshot takes.
    let _encoding = other.lock().await;
    let node = world.node(1);
    world.connect(&node);
    world.eventually("in step", || node.at().is_some() && world.in_step(&node)).await;
}

/// I4, I5, I6 and I8 of the protocol's study.
#[tokio::test(start_paused = true)]
async fn nodes_come_into_step_whatever_happened_and_never_show_what_was_not_published() {
    let seeds = SEEDS.into_iter().chain(std::env::var("RR_TEST_SEED").ok().and_then(|it| it.parse().ok()));
    for seed in seeds {
        let outcome = run(seed, true).await.wrong;
        assert!(outcome.is_empty(), "seed {seed}: {outcome:?}");
    }
}

/// Negative control: nodes that do not compare the digest show what was never published, and it is noticed.
#[tokio::test(start_paused = true)]
async fn without_the_digest_at_the_commit_what_was_never_published_would_be_shown() {
    let mut outcomes = BTreeSet::new();
    for seed in SEEDS {
        outcomes.extend(run(seed, false).await.wrong);
    }
    assert!(!outcomes.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_run_goes_the_same_way_again_with_its_seed_and_another_way_with_another() {
    let (one, again, other) = (run(3, true).await, run(3, true).await, run(4, true).await);
    assert!(one.heard.iter().map(Vec::len).sum::<usize>() > 200);
    assert_eq!(one.heard, again.heard);
    assert_ne!(one.heard, other.heard);
}

/// What came of a run.
struct Outcome {
    wrong: BTreeSet<String>,
    /// What each node heard, and when.
    heard: Vec<Vec<(u128, String)>>,
}

async fn run(seed: u64, checks: bool) -> Outcome {
    let mut drawn = 0_u64;
    let mut draw = |below: u32| {
        drawn += 1;
        let hash = blake3::keyed_hash(&[7; 32], &[seed.to_le_bytes(), drawn.to_le_bytes()].concat());
        let bytes = hash.as_bytes();
        u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) % below
    };
    let world = World::seeded(seed).await;
    world.database.furnish(60);
    let nodes: Vec<Node> = (1..6).map(|n| world.node(n)).collect();
    for node in &nodes {
        node.faults(Faults { checks, ..Faults::default() });
        world.connect(node);
    }
    for _ in 0..150 {
        let node = &nodes[draw(5) as usize];
        match draw(11) {
            0..=3 => {
                world.database.change(draw(60) as usize);
            }
            4 => {
                node.disconnect();
                if draw(2) == 0 {
                    node.lose(draw(3) as usize);
                }
            }
            5 => node.faults(Faults { checks, refuse_next: true, ..Faults::default() }),
            6 => {
                node.faults(Faults { checks, poison: draw(4) == 0, twice: draw(2) == 0, ..Faults::default() })
            }
            7 => node.faults(Faults { checks, lose_next_chunk: true, ..Faults::default() }),
            8 => node.faults(Faults { checks, silent_next: true, ..Faults::default() }),
            9 => {
                let slow = Duration::from_millis(u64::from(draw(5_000)));
                node.faults(Faults { checks, slow, ..Faults::default() });
            }
            _ => world.database.forget_history(),
        }
        sleep(Duration::from_millis(u64::from(draw(400)))).await;
        for node in nodes.iter().filter(|node| !node.is_connected()) {
            if draw(3) == 0 {
                world.connect(node);
            }
        }
    }
    for node in &nodes {
        node.faults(Faults { checks, ..Faults::default() });
    }
    let deadline = Instant::now() + Duration::from_secs(60);
    while !nodes.iter().all(|node| world.in_step(node)) && Instant::now() < deadline {
        for node in nodes.iter().filter(|node| !node.is_connected()) {
            world.connect(node);
        }
        sleep(Duration::from_millis(200)).await;
    }
    let mut wrong = BTreeSet::new();
    for node in &nodes {
        wrong.extend(node.wrong());
        if !world.in_step(node) {
            wrong.insert("not in step after a minute".to_owned());
        }
    }
    Outcome { wrong, heard: nodes.iter().map(|node| node.sent().heard).collect() }
}
