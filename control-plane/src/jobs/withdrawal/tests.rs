//! Who withdraws what when, on both engines.

mod world;

use std::time::Duration;

use rr_contract::digest::resource_hash;
use rr_contract::wire::fleet::Effect;
use rr_contract::wire::management::{NotificationKind, Rule};

use self::world::{World, enter, refusal, target, target_that};
use super::super::Job;
use super::super::tests::{credential, jobs, node, org, place, region};
use super::*;
use crate::payload::Payload;
use crate::service::withdraw::CALL;
use crate::store::{self, history};
use crate::tests::stores::{on_both, put, write};
use crate::{compile, document};

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn two_nodes_and_a_tenth_of_a_region_are_enough_and_less_is_not() {
    for (refusing, nodes) in [(2, 2), (2, 10), (2, 20), (3, 30), (200, 2000)] {
        assert!(is_many(refusing, nodes), "{refusing} of {nodes}");
    }
    for (refusing, nodes) in [(0, 0), (1, 1), (1, 2), (1, 10), (2, 21), (199, 2000)] {
        assert!(!is_many(refusing, nodes), "{refusing} of {nodes}");
    }
}

#[test]
fn only_what_may_be_the_fault_of_a_target_or_proxy_counts() {
    let key = |noun: Noun| noun.key(&org(1), &noun.id([1; 16])).expect("a key");
    let said = |why: Why| fleet::Refusal { why: why.into(), ..Default::default() };
    for why in [Why::Decode, Why::Invalid, Why::Limit, Why::Crashed] {
        for noun in Noun::CONFIGURATION {
            let may = matches!(noun, Noun::Target | Noun::Proxy);
            assert_eq!(counts(&key(noun), &said(why)), may, "{noun:?}");
        }
        assert!(!counts(&Noun::Org.key(&org(1), &org(1)).expect("a key"), &said(why)));
    }
    for why in
        [Why::DanglingRef, Why::Unseal, Why::Stale, Why::UnknownFeature, Why::Revoked, Why::Unspecified]
    {
        assert!(!counts(&key(Noun::Target), &said(why)), "{why:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_two_of_ten_nodes_refuse_is_followed_by_the_one_before_and_told() {
    on_both("withdrawal", async |store, clock| {
        let mut world = World::new(store, clock).await;
        let good = world.target(1, "good").await;
        let bad = world.target(1, "bad").await;
        let refusal = refusal(1, &bad, &good);
        world.nodes(1, 10, 1, Some(&refusal));
        assert_eq!(world.run().await, 0, "one may be at fault itself");
        world.seats.clear();
        world.nodes(1, 21, 2, Some(&refusal));
        assert_eq!(world.run().await, 0, "less than a tenth");
        assert_eq!(world.now(1).await.0, bad);
        world.seats.clear();
        world.nodes(1, 10, 2, Some(&refusal));
        assert_eq!(world.run().await, 1);
        assert_eq!(world.now(1).await, (good, CALL.to_owned()));
        // Still refused by word of the nodes, until they have what is published now.
        assert_eq!(world.run().await, 0);

        let messages = world.told(NotificationKind::ResourceWithdrawn).await;
        assert_eq!(messages.len(), 1, "{messages:?}");
        assert!(messages[0].contains("refused by 2 of 10 nodes in region eu: told so (invalid)"));
        let head = world.head().await;
        let row = history::revision(&world.store, head).await.expect("reads").expect("is there");
        assert_eq!((row.actor.as_str(), row.token.as_str(), row.changes), ("system", "", 2));
        let changes = history::changes(&world.store, head, None, None, 10).await.expect("reads");
        let words = &changes.iter().find(|change| change.kind == Noun::Region.row()).expect("says why").name;
        assert!(
            words.contains(&format!("revision {} of target t1 withdrawn to revision {}", head - 1, head - 2)),
            "{words}"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_decides_who_may_do_what_is_never_withdrawn_and_told_all_the_same() {
    on_both("withdrawal kinds", async |store, clock| {
        let mut world = World::new(store, clock).await;
        let rule = |notes: &str| {
            let rule = Rule { id: Noun::Rule.id([1; 16]), notes: notes.to_owned(), ..Rule::default() };
            put(&org(1), &Noun::Rule.id([1; 16]), "r", rule, Some(notes))
        };
        let stripe = |payload: &str| store::Put {
            payload: Some(Payload::opaque(payload.as_bytes().to_vec())),
            ..credential(1, "stripe", None)
        };
        write(&world.store, vec![stripe("1"), rule("1")]).await;
        let revision = write(&world.store, vec![stripe("2"), rule("2")]).await;
        let of = |noun: Noun| fleet::Refusal {
            key: Some(noun.key(&org(1), &noun.id([1; 16])).expect("a key").to_wire()),
            wanted: resource_hash(b"2").to_vec(),
            running: resource_hash(b"1").to_vec(),
            ..refusal(1, &[], &[])
        };
        let standing = vec![of(Noun::Credential), of(Noun::Rule)];
        let status = fleet::Status { standing: standing.clone(), ..Default::default() };
        enter(&world.jobs, &mut world.seats, region(1), 10, |_| standing.clone());
        assert_eq!(world.run().await, 0);
        assert_eq!(world.head().await, revision);
        node(&world.store, 1, &region(1), &status).await;
        world.jobs.run(Job::Refusals).await.expect("runs");
        assert_eq!(world.told(NotificationKind::ResourceRefused).await.len(), 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_about_an_older_version_withdraws_nothing() {
    on_both("withdrawal stale", async |store, clock| {
        let mut world = World::new(store, clock).await;
        let good = world.target(1, "good").await;
        let bad = world.target(1, "bad").await;
        world.nodes(1, 10, 10, Some(&refusal(1, &bad, &good)));
        let repaired = world.target(1, "repaired").await;
        assert_eq!(world.run().await, 0);
        assert_eq!(world.now(1).await.0, repaired);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_that_see_the_same_write_one_revision() {
    on_both("withdrawal replicas", async |store, clock| {
        let world = World::new(store, clock).await;
        let good = world.target(1, "good").await;
        let bad = world.target(1, "bad").await;
        let standing = || vec![refusal(1, &bad, &good)];
        for n in 1..=2 {
            node(&world.store, n, &region(1), &fleet::Status::default()).await;
        }
        let (one, two, mut seats) = (&world.jobs, jobs(&world.store), Vec::new());
        enter(one, &mut seats, region(1), 2, |_| standing());
        // The other knows by what the first wrote.
        one.fleet().exchange().await.expect("writes");
        two.fleet().refresh().await.expect("reads");
        for jobs in [one, &two] {
            jobs.services.publisher.catch_up().await.expect("reads");
        }
        let before = world.head().await;
        let (first, second) = tokio::join!(one.run(Job::Withdrawal), two.run(Job::Withdrawal));
        assert_eq!(first.expect("runs") + second.expect("runs"), 1);
        assert_eq!((world.head().await, world.now(1).await.0), (before + 1, good));
        assert_eq!(world.told(NotificationKind::ResourceWithdrawn).await.len(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_withdrawal_brought_back_is_left_to_a_person_and_what_a_person_writes_again_is_not() {
    on_both("withdrawal loop", async |store, clock| {
        let mut world = World::new(store, clock).await;
        let first = world.target(1, "first").await;
        let second = world.target(1, "second").await;
        let third = world.target(1, "third").await;
        // Nobody runs any version of it.
        world.nodes(1, 4, 2, Some(&refusal(1, &third, &[])));
        assert_eq!(world.run().await, 1);
        assert_eq!(world.now(1).await.0, second);
        world.seats.clear();
        world.nodes(1, 4, 2, Some(&refusal(1, &second, &first)));
        let before = world.head().await;
        assert_eq!(world.run().await, 1, "told");
        assert_eq!(world.run().await, 0);
        assert_eq!((world.head().await, world.now(1).await.0), (before, second.clone()));
        let messages = world.told(NotificationKind::ResourceRefused).await;
        assert!(
            messages.len() == 1 && messages[0].contains("a withdrawal restored this version"),
            "{messages:?}"
        );

        // What only people see of it changes nothing about that.
        let described = store::Put { owner: "somebody".to_owned(), ..target(1, "second") };
        write(&world.store, vec![described]).await;
        assert_eq!(world.run().await, 0);

        world.target(1, "third").await;
        world.seats.clear();
        world.nodes(1, 4, 2, Some(&refusal(1, &third, &first)));
        assert_eq!(world.run().await, 1);
        assert_eq!(world.now(1).await, (first, CALL.to_owned()), "what runs there, not what was refused");
        assert_eq!(world.told(NotificationKind::ResourceWithdrawn).await.len(), 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_version_and_one_that_was_taken_for_hours_stay_and_somebody_is_told() {
    on_both("withdrawal left", async |store, clock| {
        let mut world = World::new(store, clock).await;
        let only = world.target(1, "only").await;
        world.nodes(1, 4, 2, Some(&refusal(1, &only, &[])));
        assert_eq!(world.run().await, 1);
        let good = world.target(2, "good").await;
        let old = world.target(2, "old").await;
        world.clock.pass(MINUTE * 61);
        world.seats.clear();
        world.nodes(1, 4, 4, Some(&refusal(2, &old, &good)));
        let before = world.head().await;
        assert_eq!(world.run().await, 1);
        assert_eq!(world.head().await, before);
        let messages = world.told(NotificationKind::ResourceRefused).await;
        assert_eq!(messages.len(), 2, "{messages:?}");
        assert!(messages.iter().any(|message| message.contains("no older version")), "{messages:?}");
        assert!(messages.iter().any(|message| message.contains("more than an hour")), "{messages:?}");
        assert!(world.told(NotificationKind::ResourceWithdrawn).await.is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_closes_something_stays_although_nodes_refuse_it() {
    on_both("withdrawal closes", async |store, clock| {
        let mut world = World::new(store, clock).await;
        let open = world.target(1, "one").await;
        let closed = world.write(target_that(1, "one", Effect::Deny)).await;
        world.nodes(1, 4, 4, Some(&refusal(1, &closed, &open)));
        assert_eq!(world.run().await, 1);
        assert_eq!(world.now(1).await.0, closed);
        let messages = world.told(NotificationKind::ResourceRefused).await;
        assert!(messages.len() == 1 && messages[0].contains("a person decides that"), "{messages:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_with_a_node_of_another_history_waits_for_a_person_and_then_goes_on() {
    use crate::publish::Ledger as _;
    use crate::store::ledger::Divergence;

    on_both("withdrawal diverged", async |store, clock| {
        let mut world = World::new(store, clock).await;
        // What is there before anybody is asked about writes: a proxy that brings the target to the region.
        let proxy = rr_contract::wire::management::Proxy {
            id: Noun::Proxy.id([1; 16]),
            org: org(1),
            name: "p".to_owned(),
            caller_credentials: vec![Noun::Credential.id([1; 16])],
            target: Noun::Target.id([1; 16]),
            upstream_credential: Noun::Credential.id([2; 16]),
            regions: vec![region(1)],
            ..Default::default()
        };
        let payload = compile::payload(&document::Resource::wrap(proxy.clone()), None).expect("is valid");
        let proxy = put(&org(1), &proxy.id.clone(), "p", proxy, None);
        write(&world.store, vec![store::Put { payload, ..proxy }]).await;
        // No node understands it, and none is asked once it was published.
        let good = world.write(target_that(1, "good", Effect::Deny)).await;
        let bad = world.target(1, "bad").await;
        world.nodes(1, 4, 4, Some(&refusal(1, &bad, &good)));
        let publisher = Arc::clone(&world.jobs.services.publisher);
        let admission: Arc<dyn store::Admission> = Arc::<crate::publish::Publisher>::clone(&publisher);
        world.store.admit_by(Arc::downgrade(&admission));
        let stray = NodeId::from_random([99; 16]);
        let at = fleet::Position { revision: 90, ..fleet::Position::default() };
        let place = region(1).parse().expect("an id");
        let note = Divergence { node: stray, region: place, at, why: "of another lineage".to_owned() };
        world.store.diverged(note).await.expect("writes");
        publisher.fleet().refresh().await.expect("reads");
        assert_eq!((world.run().await, world.now(1).await.0), (1, bad), "told");
        world.store.in_step(stray).await.expect("writes");
        publisher.fleet().refresh().await.expect("reads");
        assert_eq!((world.run().await, world.now(1).await.0), (1, good));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_have_not_come_back_yet_count_until_they_are_lost() {
    on_both("withdrawal herd", async |store, clock| {
        let mut world = World::new(store, clock).await;
        for n in 1..=30 {
            node(&world.store, n, &region(1), &fleet::Status::default()).await;
        }
        // The control plane was away, and nobody noted which nodes were there.
        world.clock.pass(MINUTE * 30);
        world.jobs = jobs(&world.store);
        let good = world.target(1, "good").await;
        let bad = world.target(1, "bad").await;
        world.nodes(1, 2, 2, Some(&refusal(1, &bad, &good)));
        assert_eq!(world.run().await, 0, "2 of 30");
        world.clock.pass(MINUTE * 6);
        assert_eq!(world.run().await, 1, "the others are lost");
        assert_eq!(world.now(1).await.0, good);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_an_organization_runs_have_no_word_about_others_resources() {
    on_both("withdrawal dedicated", async |store, clock| {
        let mut world = World::new(store, clock).await;
        let good = world.target(1, "good").await;
        let bad = world.target(1, "bad").await;
        let refusal = refusal(1, &bad, &good);
        world.nodes(2, 4, 4, Some(&refusal));
        assert_eq!(world.run().await, 0);
        assert_eq!(world.now(1).await.0, bad);
        write(&world.store, vec![place(2, "ours", &org(1))]).await;
        assert_eq!(world.run().await, 1);
        assert_eq!(world.now(1).await.0, good);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_refuse_very_much_at_once_withdraw_nothing() {
    on_both("withdrawal many", async |store, clock| {
        let mut world = World::new(store, clock).await;
        let mut standing = Vec::new();
        for n in 1..=21 {
            let good = world.target(n, "good").await;
            let bad = world.target(n, "bad").await;
            standing.push(refusal(n, &bad, &good));
        }
        let before = world.head().await;
        enter(&world.jobs, &mut world.seats, region(1), 4, |_| standing.clone());
        assert_eq!((world.run().await, world.head().await), (0, before));
        world.seats.clear();
        standing.truncate(20);
        enter(&world.jobs, &mut world.seats, region(1), 4, |_| standing.clone());
        assert_eq!(world.run().await, 0, "they were seen, and are left");
    })
    .await;
}
