//! The store's suite: the same on both engines.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rr_contract::model::id::OrgId;
use rr_contract::model::resource::Key;
use rr_contract::runtime::{Shutdown, Tasks};
use rr_contract::seam::{SystemClock, SystemEntropy};
use rr_contract::wire::management::AuditEntry;
use sea_orm::ConnectionTrait as _;
use sea_orm_migration::MigratorTrait as _;

use super::audit::from;
use super::*;
use crate::document::Part;
use crate::noun::Noun;
use crate::payload::{Hashed, Payload};
use crate::tests::postgres;

mod authority_root;
mod caller_use;
mod commit;
mod exposition;
mod notification;
mod record;
mod record_stores;
mod sinks;
mod sums;

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

/// Runs a test on SQLite always, and on PostgreSQL where there is one. What was written ends before the store does.
async fn on_both<F: AsyncFn(Store)>(test: &str, body: F) {
    let mut homes = vec![Home::Sqlite(tempfile::tempdir().expect("a folder"))];
    homes.extend(postgres::database(test).map(Home::Postgres));
    for home in homes {
        let (tasks, shutdown) = (Tasks::new(), Shutdown::new());
        let address = home.address();
        let opened = Store::open(&address, Arc::new(SystemClock), tasks.clone(), shutdown.stop());
        let store = opened.await.expect("opens");
        store.installation(&SystemEntropy).await.expect("has a head");
        body(store.clone()).await;
        shutdown.begin();
        assert!(tasks.wait(Duration::from_secs(30)).await.is_empty());
        store.close().await;
    }
}

/// Counts the statements that are run on a pool.
pub(super) fn counted(mut pool: DatabaseConnection) -> (DatabaseConnection, Arc<AtomicU64>) {
    let count = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&count);
    pool.set_metric_callback(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
    });
    (pool, count)
}

impl Store {
    /// How many statements were read with so far.
    pub(crate) fn reads(&self) -> u64 {
        self.0.reads.load(Ordering::Relaxed)
    }
}

fn author() -> Author {
    Author { token: "tk".into(), name: "tester".into(), call: "test", ..Author::default() }
}

const ORG: [u8; 16] = [0; 16];

fn id(noun: Noun, n: u128) -> String {
    noun.id(n.to_be_bytes())
}

fn key(n: u128) -> Key {
    Noun::Proxy.key(&OrgId::from_random(ORG).to_string(), &id(Noun::Proxy, n)).expect("a key")
}

/// A proxy that nodes are sent as `payload`.
fn put(n: u128, payload: Vec<u8>) -> Put {
    let id = id(Noun::Proxy, n);
    Put {
        noun: Noun::Proxy,
        org: OrgId::from_random(ORG).to_string(),
        name: format!("p{n}"),
        owner: String::new(),
        document: Hashed::of([&[0xff], payload.as_slice()].concat()),
        payload: Some(Payload::opaque(payload)),
        links: vec![(Part::Target, Noun::Target, self::id(Noun::Target, 1))],
        labels: Vec::new(),
        before: None,
        created_by: "tk".into(),
        id,
    }
}

/// Writes one proxy, over what is there.
async fn publish(store: &Store, n: u128, payload: Vec<u8>) -> u64 {
    let written = store.write(author(), move |txn| {
        Box::pin(async move {
            let before = resource::by_id(txn, Noun::Proxy, &id(Noun::Proxy, n)).await?;
            txn.put(Put { before, ..put(n, payload) });
            Ok::<_, StoreError>(())
        })
    });
    written.await.expect("writes").revision.expect("it changed something")
}

async fn withdraw(store: &Store, n: u128) {
    let written = store.write(author(), move |txn| {
        Box::pin(async move {
            let row = resource::by_id(txn, Noun::Proxy, &id(Noun::Proxy, n)).await?.expect("is there");
            txn.remove(Noun::Proxy, row);
            Ok::<_, StoreError>(())
        })
    });
    written.await.expect("writes");
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
                            txn.put(put(number, number.to_be_bytes().to_vec()));
                            // A third gives up after it staged, as a refused call does; some fall over.
                            assert!(number % 12 != 0, "a write that panics");
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
        // Behind those that nobody waited for.
        let last = publish(&store, 10_000, vec![1]).await;
        let head = installation::head(&store).await.expect("reads").expect("is there").revision;
        assert_eq!(head, last);
        let wanted =
            (0..16_u64).flat_map(|w| (0..12).map(move |n| w * 100 + n)).filter(|n| n % 3 != 0).count();
        assert_eq!(head, wanted as u64 + 1, "each write that did not fail is one revision");
        let news = history::since(&store, 0, 10_000).await.expect("reads");
        let numbers: Vec<u64> = news.changes.iter().map(|change| change.revision).collect();
        assert_eq!(numbers, (1..=head).collect::<Vec<_>>());
        assert_eq!(news.to.expect("has come so far").0, head);
        let count = seen.len();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), count, "no two writes were told the same number");
        assert!(seen.iter().all(|revision| (1..=head).contains(revision)));
        assert_eq!(*store.committed().borrow(), head);
    })
    .await;
}

/// The chain is recomputed from the rows alone, and the head row is where it ends.
#[tokio::test]
async fn the_audit_chain_of_the_rows_ends_at_the_head_and_a_changed_row_does_not() {
    use rr_contract::audit::{Chain, Entry};

    on_both("audit", async |store| {
        for n in 0..7 {
            publish(&store, n % 3, vec![n as u8]).await;
        }
        withdraw(&store, 2).await;
        let recomputed = async || {
            let mut chain = Chain::start();
            for row in from(&store, 1, i64::MAX, 100).await.expect("reads") {
                let entry = AuditEntry {
                    at: Some(rr_contract::model::time::timestamp(time_of(row.at))),
                    actor: Some(rr_contract::wire::management::Actor {
                        token: row.token,
                        user: row.user,
                        name: row.actor,
                        address: row.address,
                        user_agent: row.user_agent,
                    }),
                    call: row.call,
                    change_count: row.changes.unsigned_abs(),
                    ..Default::default()
                };
                let mut digest = Entry::new(&entry);
                let revision = row.rev.unsigned_abs();
                for change in history::changes(&store, revision, None, None, 100).await.expect("reads") {
                    digest = digest.change(&audit_change(&change).expect("good"));
                }
                chain = chain.next(revision, &digest.finish());
            }
            *chain.head()
        };
        let head = installation::head(&store).await.expect("reads").expect("is there");
        assert_eq!((recomputed().await, head.revision), (head.audit, 8));
        let (_, at) = history::since(&store, 7, 10).await.expect("reads").to.expect("one more");
        assert_eq!(at, head.audit);
        for statement in [
            r#"UPDATE "revision" SET "actor" = 'somebody' WHERE "rev" = 3"#,
            r#"UPDATE "revision" SET "actor" = 'tester', "at" = "at" + 1 WHERE "rev" = 3"#,
            r#"UPDATE "revision" SET "at" = "at" - 1 WHERE "rev" = 3"#,
            r#"UPDATE "change" SET "name" = 'other' WHERE "rev" = 2"#,
            r#"UPDATE "change" SET "name" = 'p1' WHERE "rev" = 2"#,
            r#"DELETE FROM "change" WHERE "rev" = 8"#,
        ] {
            store.0.write.execute_unprepared(statement).await.expect("runs");
            let undone = statement.contains("- 1") || statement.contains("'p1'");
            assert_eq!(recomputed().await == head.audit, undone, "{statement}");
        }
    })
    .await;
}

#[tokio::test]
async fn the_log_is_read_in_whole_revisions_and_the_newest_state_is_what_it_leads_to() {
    on_both("log", async |store| {
        for n in 0..5_u8 {
            let written = store.write(author(), move |txn| {
                Box::pin(async move {
                    for number in [1, 2] {
                        let before = resource::by_id(txn, Noun::Proxy, &id(Noun::Proxy, number)).await?;
                        match before {
                            Some(row) if n == 4 && number == 2 => txn.remove(Noun::Proxy, row),
                            before => txn.put(Put { before, ..put(number, vec![n, number as u8]) }),
                        }
                    }
                    Ok::<_, StoreError>(())
                })
            });
            written.await.expect("writes");
        }
        let (mut at, mut count) = (0, 0);
        loop {
            let news = history::since(&store, at, 3).await.expect("reads");
            let Some((to, _)) = news.to else { break };
            assert_eq!(news.changes.last().expect("there are some").revision, to);
            at = to;
            count += news.changes.len();
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
async fn a_write_that_changes_nothing_takes_no_revision() {
    on_both("no revision", async |store| {
        let written =
            store.write(author(), |_| Box::pin(async { Ok::<_, StoreError>(7) })).await.expect("writes");
        assert_eq!((written.value, written.revision), (7, None));
    })
    .await;
}

#[tokio::test]
async fn who_uses_what_follows_what_is_written() {
    on_both("users", async |store| {
        let users = async |n| {
            let found = resource::users(&store, Noun::Target, &id(Noun::Target, n)).await.expect("reads");
            found.into_iter().map(|(_, _, id)| id).collect::<Vec<_>>()
        };
        publish(&store, 5, vec![1]).await;
        assert_eq!(users(1).await, [id(Noun::Proxy, 5)]);
        let moved = store.write(author(), |txn| {
            Box::pin(async move {
                let before = resource::by_id(txn, Noun::Proxy, &id(Noun::Proxy, 5)).await?;
                let links = vec![(Part::Target, Noun::Target, id(Noun::Target, 2))];
                txn.put(Put { before, links, ..put(5, vec![2]) });
                Ok::<_, StoreError>(())
            })
        });
        moved.await.expect("writes");
        assert_eq!((users(1).await, users(2).await), (vec![], vec![id(Noun::Proxy, 5)]));
        withdraw(&store, 5).await;
        assert!(users(2).await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_store_that_stops_writes_what_waits_and_takes_no_more() {
    on_both("stop", async |store| {
        let (tasks, shutdown) = (Tasks::new(), Shutdown::new());
        let second = Store::open(&store.0.address, Arc::new(SystemClock), tasks.clone(), shutdown.stop());
        let second = second.await.expect("opens");
        publish(&second, 1, vec![1]).await;
        shutdown.begin();
        assert!(tasks.wait(Duration::from_secs(30)).await.is_empty());
        let refused = second
            .write(author(), |_| Box::pin(async { Ok::<_, StoreError>(()) }))
            .await
            .expect_err("is stopped");
        assert!(matches!(refused, StoreError::Closed) && refused.certainly_not_applied(), "{refused:?}");
        second.close().await;
    })
    .await;
}

#[tokio::test]
async fn the_installation_stays_who_it_is_when_it_is_opened_again() {
    on_both("installation", async |store| {
        let first = installation::head(&store).await.expect("reads");
        let (tasks, shutdown) = (Tasks::new(), Shutdown::new());
        let again = Store::open(&store.0.address, Arc::new(SystemClock), tasks.clone(), shutdown.stop());
        let again = again.await.expect("opens");
        assert_eq!(Some(again.installation(&SystemEntropy).await.expect("reads")), first);
        shutdown.begin();
        assert!(tasks.wait(Duration::from_secs(30)).await.is_empty());
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
async fn what_a_taken_name_is_can_be_told_on_either_engine_and_nothing_of_its_group_is_kept() {
    on_both("errors", async |store| {
        publish(&store, 1, vec![1]).await;
        let taken = store.write(author(), |txn| {
            Box::pin(async move {
                txn.put(put(2, vec![2]));
                txn.put(Put { name: "p1".into(), ..put(3, vec![3]) });
                Ok::<_, StoreError>(())
            })
        });
        let taken = taken.await.expect_err("is taken");
        assert!(matches!(taken, StoreError::Duplicate(_)), "{taken:?}");
        assert!(taken.certainly_not_applied());
        let second = resource::by_id(&store, Noun::Proxy, &id(Noun::Proxy, 2)).await.expect("reads");
        assert_eq!(second, None);
        assert_eq!(publish(&store, 2, vec![2]).await, 2, "its number was not used up");
    })
    .await;
}
