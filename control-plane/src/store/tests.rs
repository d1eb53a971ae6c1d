//! The store's suite: the same on both engines.

use std::sync::Arc;
use std::time::Duration;

use rr_contract::model::id::{OrgId, ProxyId};
use rr_contract::model::resource::{Key, ResourceId};
use rr_contract::runtime::Tasks;
use rr_contract::seam::{SystemClock, SystemEntropy};
use sea_orm::ConnectionTrait as _;
use sea_orm_migration::MigratorTrait as _;

use super::request::{Ingest, Ingested, ingest};
use super::*;
use crate::tests::postgres;

enum Home {
    Sqlite(tempfile::TempDir),
    Postgres(postgres::Database),
}

impl Home {
    fn address(&self) -> DatabaseAddress {
        match self {
            Self::Sqlite(folder) => DatabaseAddress::Sqlite(folder.path().join("s%20?.db")),
            Self::Postgres(database) => database.address(),
        }
    }
}

/// Runs a test on SQLite always, and on PostgreSQL where there is one.
async fn on_both<F: AsyncFn(Store)>(test: &str, body: F) {
    let mut homes = vec![Home::Sqlite(tempfile::tempdir().expect("a folder"))];
    homes.extend(postgres::database(test).map(Home::Postgres));
    for home in homes {
        let store = Store::open(&home.address(), Arc::new(SystemClock), Tasks::new()).await.expect("opens");
        store.installation(&SystemEntropy).await.expect("has a head");
        body(store.clone()).await;
        store.close().await;
    }
}

fn author() -> Author {
    Author { token: "tk".into(), call: "test" }
}

fn key(n: u128) -> Key {
    Key::new(OrgId::from_random([0; 16]), ResourceId::Proxy(ProxyId::from_random(n.to_be_bytes())))
}

/// protocol.md D, I1.
#[tokio::test(flavor = "multi_thread")]
async fn revisions_have_no_gap_however_writers_contend_and_fail() {
    on_both("revisions", async |store| {
        let mut writers = Vec::new();
        let tasks = Tasks::new();
        for writer in 0..16_u128 {
            let store = store.clone();
            writers.push(tasks.spawn("writer", async move {
                let mut mine = Vec::new();
                for n in 0..12_u128 {
                    let number = writer * 100 + n;
                    let write = store.write(author(), move |txn| {
                        Box::pin(async move {
                            txn.publish(key(number), number.to_be_bytes().to_vec());
                            // A third gives up after it staged, as a refused call does.
                            if number % 3 == 0 {
                                return Err(StoreError::Damaged("test"));
                            }
                            Ok(())
                        })
                    });
                    if number % 5 == 1 {
                        // A caller that goes away: its write is done all the same.
                        tokio::time::timeout(Duration::ZERO, write).await.ok();
                    } else if let Ok(written) = write.await {
                        mine.push(written.revision.expect("it published"));
                    }
                }
                assert!(mine.is_sorted(), "one writer sees its own revisions in order");
                mine
            }));
        }
        let mut seen = Vec::new();
        for writer in writers {
            seen.extend(writer.await.expect("no writer panics"));
        }
        // Those that nobody waited for.
        assert!(store.0.tasks.wait(Duration::from_secs(30)).await.is_empty());
        let head = installation::head(&store).await.expect("reads").expect("is there").revision;
        let wanted =
            (0..16_u64).flat_map(|w| (0..12).map(move |n| w * 100 + n)).filter(|n| n % 3 != 0).count();
        assert_eq!(head, wanted as u64, "each write that did not fail is one revision");
        let changes = change::since(&store, 0, 10_000).await.expect("reads");
        let numbers: Vec<u64> = changes.iter().map(|change| change.revision).collect();
        assert_eq!(numbers, (1..=head).collect::<Vec<_>>());
        seen.sort_unstable();
        seen.dedup();
        assert!(seen.iter().all(|revision| (1..=head).contains(revision)));
        assert_eq!(*store.committed().borrow(), head);
    })
    .await;
}

#[tokio::test]
async fn the_log_is_read_in_whole_revisions_and_the_newest_state_is_what_it_leads_to() {
    on_both("log", async |store| {
        for n in 0..5_u8 {
            store
                .write(author(), move |txn| {
                    Box::pin(async move {
                        txn.publish(key(1), vec![n, 1]);
                        txn.publish(key(2), vec![n, 2]);
                        if n == 4 {
                            txn.withdraw(key(2));
                        }
                        Ok::<_, StoreError>(())
                    })
                })
                .await
                .expect("writes");
        }
        let (mut at, mut count) = (0, 0);
        loop {
            let changes = change::since(&store, at, 3).await.expect("reads");
            let Some(last) = changes.last() else { break };
            at = last.revision;
            count += changes.len();
        }
        assert_eq!((at, count), (5, 10));
        let (head, published) = store.published().await.expect("reads");
        assert_eq!(head.revision, 5);
        let published: Vec<_> =
            published.iter().map(|it| (it.key, it.revision, it.payload.to_vec())).collect();
        assert_eq!(published, [(key(1), 5, vec![4, 1])]);
    })
    .await;
}

#[tokio::test]
async fn a_write_that_publishes_nothing_takes_no_revision() {
    on_both("no revision", async |store| {
        let written =
            store.write(author(), |_| Box::pin(async { Ok::<_, StoreError>(7) })).await.expect("writes");
        assert_eq!((written.value, written.revision), (7, None));
    })
    .await;
}

#[tokio::test]
async fn the_installation_stays_who_it_is_when_it_is_opened_again() {
    on_both("installation", async |store| {
        let first = installation::head(&store).await.expect("reads");
        let again = Store::open(&store.0.address, Arc::new(SystemClock), Tasks::new()).await.expect("opens");
        assert_eq!(Some(again.installation(&SystemEntropy).await.expect("reads")), first);
        again.close().await;
    })
    .await;
}

#[tokio::test]
async fn the_schema_goes_down_and_comes_up_again() {
    on_both("migration", async |store| {
        migration::Migrator::down(&store.0.write, None).await.expect("goes down");
        assert!(installation::head(&store).await.is_err(), "there are no tables");
        migration::Migrator::up(&store.0.write, None).await.expect("comes up");
        store.installation(&SystemEntropy).await.expect("works");
    })
    .await;
}

#[tokio::test]
async fn what_a_taken_name_or_a_missing_reference_is_can_be_told_on_either_engine() {
    on_both("errors", async |store| {
        let org = |id: &str| org_row::Model {
            id: id.to_owned(),
            name: "acme".to_owned(),
            display_name: String::new(),
            suspended: false,
            created_at: 0,
            updated_at: 0,
        };
        let make = async |row: org_row::Model| {
            store.write(author(), |txn| Box::pin(async move { org::create(txn, row).await })).await
        };
        make(org("og_a")).await.expect("is free");
        let taken = make(org("og_b")).await.expect_err("is taken");
        assert!(matches!(taken, StoreError::Duplicate(_)), "{taken:?}");
        assert!(taken.certainly_not_applied());
        let orphan = target_row::Model {
            id: "tg_a".to_owned(),
            org: "og_none".to_owned(),
            name: "t".to_owned(),
            base_url: String::new(),
            danger_plaintext: false,
            connect_timeout: None,
            response_timeout: None,
            created_at: 0,
            updated_at: 0,
        };
        let missing = store
            .write(author(), |txn| Box::pin(async move { target::create(txn, orphan).await }))
            .await
            .expect_err("has no organization");
        assert!(matches!(missing, StoreError::Reference(_)), "{missing:?}");
    })
    .await;
}

fn batch(sequence: u64, ids: &[&str]) -> Ingest {
    let row = |id: &&str| request_row::Model {
        id: (*id).to_owned(),
        org: "og_a".to_owned(),
        proxy: if id.starts_with("foreign") { "px_b" } else { "px_a" }.to_owned(),
        received_at: 1,
        stored_at: 1,
        node: "nd".to_owned(),
        region: "rg".to_owned(),
        status: 200,
        code: "proxy-access-granted".to_owned(),
        record: vec![1],
    };
    Ingest {
        node: "nd".to_owned(),
        region: "rg".to_owned(),
        spool: vec![7; 16],
        sequence,
        records: ids.iter().map(row).collect(),
        losses: vec![request::RecordLoss { records: 3, from: 0, to: 1, reason: "ring-full".to_owned() }],
    }
}

/// protocol.md A.12.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_stored_once_however_often_and_in_whatever_order_it_is_sent() {
    on_both("telemetry", async |store| {
        home(&store).await;
        let send = async |batch: Ingest| {
            store
                .write(author(), move |txn| Box::pin(async move { ingest(txn, batch).await }))
                .await
                .expect("is taken")
                .value
        };
        let stored = Ingested::Stored { stored: 2, foreign: 1 };
        assert_eq!(send(batch(2, &["b"])).await, Ingested::Expected(1));
        assert_eq!(send(batch(1, &["a", "foreign", "b"])).await, stored);
        assert_eq!(send(batch(1, &["a", "foreign", "b"])).await, Ingested::Duplicate(1));
        assert_eq!(send(batch(3, &["c"])).await, Ingested::Expected(2));
        // Eight zombies of one stream send the same batch at once.
        let tasks = Tasks::new();
        let mut sends = Vec::new();
        for _ in 0..8 {
            let store = store.clone();
            sends.push(tasks.spawn("send", async move {
                let batch = batch(2, &["c"]);
                store.write(author(), move |txn| Box::pin(async move { ingest(txn, batch).await })).await
            }));
        }
        let mut outcomes = Vec::new();
        for send in sends {
            outcomes.push(send.await.expect("no panic").expect("is taken").value);
        }
        let fresh = outcomes.iter().filter(|it| matches!(it, Ingested::Stored { .. })).count();
        assert_eq!(fresh, 1, "{outcomes:?}");
        let filter = request::RequestFilter { org: "og_a".to_owned(), ..Default::default() };
        let mut ids: Vec<String> =
            request::list(&store, filter, 10).await.expect("reads").into_iter().map(|row| row.id).collect();
        ids.sort();
        assert_eq!(ids, ["a", "b", "c"]);
    })
    .await;
}

/// Says that px_a was served in rg.
async fn home(store: &Store) {
    let statement = r#"INSERT INTO "proxy_home" ("proxy", "region", "org") VALUES ('px_a', 'rg', 'og_a')"#;
    store.0.write.execute_unprepared(statement).await.expect("inserts");
}
