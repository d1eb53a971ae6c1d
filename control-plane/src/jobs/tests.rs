//! What is told and done when, on both engines.

mod limits;
mod nodes;
mod records;
mod upkeep;

use prost::Message as _;
use rr_contract::model::time;
use rr_contract::runtime::Shutdown;
use rr_contract::runtime::observe::Observability;
use rr_contract::seam::Seams;
use rr_contract::wire::fleet::{self, SealLabel};
use rr_contract::wire::management::credential::Usage;
use rr_contract::wire::management::{Credential, NotificationKind, Org, Proxy, Region, Upstream};

use super::*;
use crate::events::Events;
use crate::fleet_port::ingest;
use crate::noun::Noun;
use crate::publish::Publisher;
use crate::store::request::Ingest;
use crate::store::{self, RecordStores, Txn, node_row, request_row, time_of};
use crate::tests::stores::{DAY, on_both, put, write};

const MINUTE: Duration = Duration::from_secs(60);

pub(super) fn org(n: u8) -> String {
    Noun::Org.id([n; 16])
}

pub(super) fn region(n: u8) -> String {
    Noun::Region.id([n; 16])
}

pub(super) fn jobs(store: &Store) -> Jobs {
    let events = Events::new(&Observability::quiet("rr-control"));
    let services = Services {
        store: store.clone(),
        records: RecordStores::new(store.clone(), Default::default(), Vec::new()),
        seams: Seams::real(),
        authority: crate::authority::fixture(),
        publisher: Publisher::new(store.clone(), events.clone(), Seams::real().entropy),
        ceilings: Default::default(),
        tests: crate::service::TestBounds::default(),
        trials: crate::service::TrialBounds::default(),
        stop: Shutdown::new().stop(),
    };
    Jobs::new(services, events, DAY * 90)
}

pub(super) async fn told(store: &Store, org: &str) -> Vec<NotificationRow> {
    let mut rows = notification::list(store, org, false, None, 100).await.expect("reads");
    rows.sort_by(|a, b| a.title.cmp(&b.title));
    rows
}

pub(super) async fn note<F>(store: &Store, work: F)
where
    F: for<'a> FnOnce(&'a mut Txn) -> futures_util::future::BoxFuture<'a, Result<(), StoreError>>
        + Send
        + 'static,
{
    store.note(work).await.expect("writes");
}

pub(super) fn credential(n: u8, name: &str, not_after: Option<i64>) -> store::Put {
    let id = Noun::Credential.id([n; 16]);
    let credential = Credential {
        id: id.clone(),
        name: name.to_owned(),
        not_after: not_after.map(|at| time::timestamp(time_of(at))),
        usage: Some(Usage::Upstream(Upstream::default())),
        ..Credential::default()
    };
    put(&org(1), &id, name, credential, Some(name))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_is_told_of_once_for_each_end_within_two_weeks() {
    on_both("expiry", async |store, clock| {
        let at = |days: u32| store.now() + store::micros(std::time::UNIX_EPOCH + DAY * days);
        let hidden = store::Put { payload: None, ..credential(4, "hidden", Some(at(1))) };
        let puts = vec![
            credential(1, "soon", Some(at(14))),
            credential(2, "later", Some(at(16))),
            credential(3, "never", None),
            hidden,
        ];
        write(&store, puts).await;
        // Two replicas, each of them twice.
        for jobs in [jobs(&store), jobs(&store)] {
            jobs.run(Job::Expiry).await.expect("runs");
            assert_eq!(jobs.run(Job::Expiry).await.expect("runs"), 0);
        }
        let rows = told(&store, &org(1)).await;
        assert_eq!(rows.len(), 1, "{rows:?}");
        assert!(rows[0].title.starts_with("credential soon ends at 2026-01-15"), "{}", rows[0].title);
        assert_eq!(rows[0].kind, i32::from(NotificationKind::CredentialNearExpiry));
        assert_eq!(rows[0].subject, Noun::Credential.id([1; 16]));

        // Another end is other news.
        write(&store, vec![credential(1, "soon", Some(at(10)))]).await;
        clock.pass(DAY * 3);
        assert_eq!(jobs(&store).run(Job::Expiry).await.expect("runs"), 2);
        assert_eq!(told(&store, &org(1)).await.len(), 3);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_is_told_of_again_in_its_last_day_and_no_more_once_it_ends_at_another_time() {
    on_both("expiry again", async |store, clock| {
        let at = |days: u32| store.now() + store::micros(std::time::UNIX_EPOCH + DAY * days);
        let label = |not_after| {
            let label =
                SealLabel { not_after: Some(time::timestamp(time_of(not_after))), ..SealLabel::default() };
            let upstream = Upstream { label: Some(label), ..Upstream::default() };
            let credential = Credential {
                id: Noun::Credential.id([2; 16]),
                name: "sealed".to_owned(),
                usage: Some(Usage::Upstream(upstream)),
                ..Credential::default()
            };
            put(&org(1), &Noun::Credential.id([2; 16]), "sealed", credential, Some("sealed"))
        };
        let end = at(10);
        write(&store, vec![credential(1, "said", Some(end)), label(end)]).await;
        let jobs = jobs(&store);
        assert_eq!(jobs.run(Job::Expiry).await.expect("runs"), 2, "the end of a seal counts too");
        clock.pass(DAY * 9);
        assert_eq!(jobs.run(Job::Expiry).await.expect("runs"), 2);
        assert_eq!(jobs.run(Job::Expiry).await.expect("runs"), 0);
        assert_eq!(jobs.run(Job::OtherEnds).await.expect("runs"), 0, "it stands as long as the end does");
        // Somebody read one of them.
        let read = told(&store, &org(1)).await.remove(0);
        notification::mark(&store, org(1), vec![read.id.clone()]).await.expect("marks");

        write(&store, vec![credential(1, "said", Some(at(90)))]).await;
        write(&store, vec![label(at(90))]).await;
        assert_eq!(jobs.run(Job::OtherEnds).await.expect("runs"), 3);
        assert_eq!(jobs.run(Job::Expiry).await.expect("runs"), 0);
        let left: Vec<String> = told(&store, &org(1)).await.into_iter().map(|row| row.id).collect();
        assert_eq!(left, [read.id]);
        // The same end again is news again.
        write(&store, vec![label(end)]).await;
        assert_eq!(jobs.run(Job::Expiry).await.expect("runs"), 1);
    })
    .await;
}

pub(super) fn place(n: u8, name: &str, dedicated_to: &str) -> store::Put {
    let region = Region {
        id: region(n),
        name: name.to_owned(),
        dedicated_to: dedicated_to.to_owned(),
        ..Region::default()
    };
    put("", &self::region(n), name, region, None)
}

/// A node that was seen just now.
pub(super) async fn node(store: &Store, n: u8, region: &str, status: &fleet::Status) -> String {
    let id = rr_contract::model::id::NodeId::from_random([n; 16]).to_string();
    let row = node_row::Model {
        id: id.clone(),
        region: region.to_owned(),
        token: Noun::NodeToken.id([9; 16]),
        build: String::new(),
        node_key: Vec::new(),
        joined_at: store.now(),
        last_seen_at: store.now(),
        certificate_not_after: i64::MAX,
        status: status.encode_to_vec(),
        replica: String::new(),
        boot_id: String::new(),
        features: String::new(),
        leased_until: 0,
        address: String::new(),
        draining: false,
        csr_hash: None,
        vouch: None,
        serial: None,
        serial_before: None,
        issued_at: 0,
        issued_to: String::new(),
        copy_serial: None,
        copy_from: String::new(),
        copy_at: 0,
        revoked_at: None,
    };
    note(store, |txn| Box::pin(async move { store::node::create(txn, row).await })).await;
    id
}

/// What a node refers to.
pub(super) async fn node_token(store: &Store) {
    let entry = store::node::NodeTokenEntry {
        id: Noun::NodeToken.id([9; 16]),
        region: region(1),
        statement: fleet::NodeTokenStatement::default(),
    };
    let written: Result<store::Written<()>, StoreError> = store
        .write(store::Author::system("test"), move |txn| {
            Box::pin(async move {
                store::node::token_create(txn, &entry, i64::MAX);
                Ok(())
            })
        })
        .await;
    written.expect("writes");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_organization_that_was_hidden_for_thirty_days_is_removed_with_what_it_had_and_others_are_not() {
    on_both("purge", async |store, clock| {
        let hidden = |n: u8, deleted: bool| {
            let deleted_at = deleted.then(|| time::timestamp(time_of(store.now())));
            let org = Org { id: org(n), name: format!("o{n}"), deleted_at, ..Org::default() };
            put("", &self::org(n), &self::org(n), org, None)
        };
        write(&store, vec![hidden(1, true), hidden(2, false), credential(1, "theirs", None)]).await;
        let jobs = jobs(&store);
        for _ in 0..29 {
            clock.pass(DAY);
            assert_eq!(jobs.run(Job::Purge).await.expect("runs"), 0);
        }
        clock.pass(DAY);
        // As another replica would, at the same time.
        let other = self::jobs(&store);
        let (one, two) = tokio::join!(jobs.run(Job::Purge), other.run(Job::Purge));
        assert_eq!(one.expect("runs") + two.expect("runs"), 1);
        assert!(store::resource::by_id(&store, Noun::Org, &org(1)).await.expect("reads").is_none());
        assert!(store::resource::by_id(&store, Noun::Org, &org(2)).await.expect("reads").is_some());
        let left = store::resource::all(&store, Noun::Credential, &org(1)).await.expect("reads");
        assert!(left.is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_that_has_ended_is_removed_with_all_of_it_and_nothing_else() {
    on_both("previews", async |store, clock| {
        let ends = store.now() / 1_000_000 + 3600;
        let owned = |n: u8, name: &str, owner: &str| store::Put {
            owner: owner.to_owned(),
            ..credential(n, name, None)
        };
        let label = format!("preview/pr-1:{ends}");
        let later = format!("preview/pr-2:{}", ends + 7200);
        let all = vec![
            owned(1, "ours", &label),
            owned(2, "ours-too", &label),
            owned(3, "later", &later),
            owned(4, "git", "git"),
            owned(5, "no-label", "preview/pr-1"),
        ];
        write(&store, all).await;
        let names = async || {
            let rows = store::resource::all(&store, Noun::Credential, &org(1)).await.expect("reads");
            let mut names: Vec<String> = rows.into_iter().map(|row| row.name).collect();
            names.sort();
            names
        };
        let jobs = jobs(&store);
        clock.pass(Duration::from_secs(3590));
        assert_eq!(jobs.run(Job::Previews).await.expect("runs"), 0);
        assert_eq!(names().await.len(), 5);
        clock.pass(Duration::from_secs(10));
        // As another replica would, at the same time.
        let other = self::jobs(&store);
        let (one, two) = tokio::join!(jobs.run(Job::Previews), other.run(Job::Previews));
        assert_eq!(one.expect("runs") + two.expect("runs"), 1);
        assert_eq!(names().await, ["git", "later", "no-label"]);
        assert_eq!(jobs.run(Job::Previews).await.expect("runs"), 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_ends_with_its_latest_end_as_one_and_one_that_is_needed_holds_up_no_other() {
    on_both("previews", async |store, clock| {
        let ends = store.now() / 1_000_000 + 3600;
        let owned = |n: u8, name: &str, owner: String| store::Put { owner, ..credential(n, name, None) };
        let needed = owned(3, "needed", format!("preview/a:{ends}"));
        let user = store::Put {
            links: vec![(crate::document::Part::Upstream, Noun::Credential, needed.id.clone())],
            ..owned(4, "real", String::new())
        };
        let all = vec![
            owned(1, "first", format!("preview/w:{ends}")),
            owned(2, "second", format!("preview/w:{}", ends + 3600)),
            needed,
            user,
        ];
        write(&store, all).await;
        let names = async || {
            let rows = store::resource::all(&store, Noun::Credential, &org(1)).await.expect("reads");
            rows.into_iter().map(|row| row.name).collect::<Vec<_>>()
        };
        let jobs = jobs(&store);
        clock.pass(Duration::from_secs(3601));
        assert_eq!(jobs.run(Job::Previews).await.expect("runs"), 0, "w has a later end, a is needed");
        assert_eq!(names().await, ["first", "second", "needed", "real"]);
        clock.pass(Duration::from_secs(3600));
        let before = store.newest_committed();
        assert_eq!(jobs.run(Job::Previews).await.expect("runs"), 1);
        assert_eq!(names().await, ["needed", "real"]);
        assert_eq!(store.newest_committed(), before + 1, "as one");
    })
    .await;
}

/// A control plane that came up once with a wrong clock removed deleted organizations and history for good.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumped_removes_nothing_until_a_person_says_that_it_is_right() {
    // On a database that was looked after, and on one that no such job ever ran on: its rows say what time it was.
    for looked_after in [true, false] {
        on_both("clock", async |store, clock| {
            let gone = Org {
                id: org(1),
                name: "o1".to_owned(),
                deleted_at: Some(time::timestamp(time_of(store.now()))),
                ..Org::default()
            };
            write(&store, vec![put("", &org(1), &org(1), gone, None), credential(1, "first", None)]).await;
            write(&store, vec![credential(1, "second", None)]).await;
            let began = jobs(&store);
            if looked_after {
                assert_eq!(began.run(Job::Purge).await.expect("runs"), 0);
                assert_eq!(began.run(Job::Retention).await.expect("runs"), 0);
            }
            let held = async |jobs: &Jobs| {
                for job in [Job::Purge, Job::Retention] {
                    let error = jobs.run(job).await.expect_err("waits for a person").to_string();
                    for said in ["2027-02-05", "2026-01-01", "--accept-clock"] {
                        assert!(error.contains(said), "{error}");
                    }
                }
                let there = store::resource::by_id(&store, Noun::Org, &org(1)).await.expect("reads");
                assert!(there.is_some(), "it is hidden and not gone");
                let head = store::installation::head(&store).await.expect("reads").expect("is there");
                assert_eq!(head.floor, 0, "history is whole");
            };
            node_token(&store).await;
            clock.pass(DAY * 400);
            // Started again with that clock, any number of times, and in use meanwhile: rows with its time say nothing.
            for n in 0..3 {
                held(&jobs(&store)).await;
                held(&began).await;
                write(&store, vec![credential(2, &format!("later-{n}"), None)]).await;
                node(&store, 10 + n, &region(1), &fleet::Status::default()).await;
            }
            clock::accept(&store).await.expect("is kept");
            assert_eq!(jobs(&store).run(Job::Purge).await.expect("runs"), 1);
            jobs(&store).run(Job::Retention).await.expect("runs");
            let head = store::installation::head(&store).await.expect("reads").expect("is there");
            assert!(head.floor > 0);
        })
        .await;
    }
}

/// So that a jump cannot make young what is old either, and a clock that was behind for a while is no matter.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_goes_on_in_days_is_believed_and_one_that_was_behind_is_no_jump_when_it_comes_back() {
    on_both("clock", async |store, clock| {
        write(&store, vec![credential(1, "first", None)]).await;
        for _ in 0..5 {
            clock.pass(clock::STEP);
            assert_eq!(clock::believed(&store).await.expect("is believed"), store.now());
        }
        clock.back(DAY * 300);
        assert_eq!(clock::believed(&store).await.expect("is believed"), store.now());
        clock.pass(DAY * 301);
        clock::believed(&store).await.expect("is believed");
        clock.pass(clock::STEP + DAY);
        clock::believed(&store).await.expect_err("is too far");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_run_at_the_start_and_end_with_the_stop() {
    on_both("jobs", async |store, _clock| {
        let at = store.now() + store::micros(std::time::UNIX_EPOCH + DAY);
        write(&store, vec![credential(1, "soon", Some(at))]).await;
        let (tasks, shutdown) = (Tasks::new(), Shutdown::new());
        jobs(&store).spawn(&tasks, &shutdown.stop());
        assert_eq!(tasks.running().len(), Job::ALL.len());
        while told(&store, &org(1)).await.is_empty() {
            tokio::task::yield_now().await;
        }
        shutdown.begin();
        assert!(tasks.wait(MINUTE).await.is_empty());
    })
    .await;
}

#[test]
fn nodes_have_time_to_come_back_after_a_start_and_after_an_outage_of_the_database() {
    assert_eq!(Job::LostNodes.after(), MINUTE * 5);
    assert_eq!(Job::LostNodes.wait(true), MINUTE * 5);
    assert_eq!(Job::LostNodes.wait(false), MINUTE);
    assert_eq!(Job::Refusals.wait(true), MINUTE);
}
