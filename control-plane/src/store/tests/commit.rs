//! Commits and statements that fail, in every way that a database has: what was acknowledged is stored, whatever
//! failed before it. Everything is read on connections of the test's own.

mod disk;

use sea_orm::{FromQueryResult, Statement};
use tokio::sync::oneshot;

use super::record::batch;
use super::*;
use crate::kind::Kind;
use crate::store::request::{Ingested, ingest};

/// How the database fails what is called bad: at the statement, or at the commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// A statement fails, and the transaction goes on.
    Statement,
    /// A statement fails, and the database undoes the transaction.
    Undone,
    /// The commit fails, and leaves the transaction open where the engine does so.
    Commit,
    /// PostgreSQL: the server ends our connection at the statement.
    Killed,
    /// PostgreSQL: the server ends our connection at the commit.
    KilledAtCommit,
}

const SQLITE: [Fault; 3] = [Fault::Statement, Fault::Undone, Fault::Commit];
const POSTGRES: [Fault; 4] = [Fault::Statement, Fault::Commit, Fault::Killed, Fault::KilledAtCommit];

/// A connection that the store knows nothing of.
async fn elsewhere(store: &Store) -> DatabaseConnection {
    Database::connect(options(&store.0.address, false)).await.expect("connects")
}

/// Plants a fault for rows that are called bad, of resources and of records.
async fn plant(database: &DatabaseConnection, fault: Fault) {
    let mut statements = Vec::new();
    for (table, column) in [("resource", "name"), ("request_record", "id")] {
        if database.get_database_backend() == DatabaseBackend::Sqlite {
            let does = match fault {
                Fault::Statement => "SELECT RAISE(ABORT, 'planted')".to_owned(),
                Fault::Undone => "SELECT RAISE(ROLLBACK, 'planted')".to_owned(),
                Fault::Commit => {
                    statements.push(
                        "CREATE TABLE IF NOT EXISTS parent (id INTEGER PRIMARY KEY);
                         CREATE TABLE IF NOT EXISTS child (id INTEGER REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED)"
                            .to_owned(),
                    );
                    "INSERT INTO child VALUES (1)".to_owned()
                }
                Fault::Killed | Fault::KilledAtCommit => unreachable!("it has no server"),
            };
            statements.push(format!(
                r#"CREATE TRIGGER "fault_{table}" AFTER INSERT ON "{table}" WHEN NEW."{column}" LIKE 'bad%' BEGIN {does}; END"#
            ));
            continue;
        }
        let does = match fault {
            Fault::Statement | Fault::Commit => "RAISE EXCEPTION 'planted'",
            Fault::Killed | Fault::KilledAtCommit => "PERFORM pg_terminate_backend(pg_backend_pid())",
            Fault::Undone => unreachable!("it does not do so"),
        };
        let (kind, when) = match fault {
            Fault::Commit | Fault::KilledAtCommit => ("CONSTRAINT TRIGGER", "DEFERRABLE INITIALLY DEFERRED"),
            _ => ("TRIGGER", ""),
        };
        statements.push(format!(
            r#"CREATE FUNCTION "fault_{table}"() RETURNS trigger AS $$ BEGIN {does}; RETURN NEW; END $$ LANGUAGE plpgsql;
               CREATE {kind} "fault_{table}" AFTER INSERT ON "{table}" {when} FOR EACH ROW
               WHEN (NEW."{column}" LIKE 'bad%') EXECUTE FUNCTION "fault_{table}"()"#
        ));
    }
    for statement in statements {
        database.execute_unprepared(&statement).await.expect("plants");
    }
}

async fn write(store: &Store, number: u128, name: String) -> Result<Option<u64>, StoreError> {
    let written = store.write(author(), move |txn| {
        Box::pin(async move {
            txn.put(Put { name, ..put(number, number.to_be_bytes().to_vec()) });
            Ok::<_, StoreError>(())
        })
    });
    written.await.map(|written| written.revision)
}

/// A write that makes rows of its own and then thinks better of it: its transaction is rolled back.
async fn give_up(store: &Store) {
    let given_up: Result<(), StoreError> = store
        .note(|txn| {
            Box::pin(async move {
                ingest(txn, batch(1, &["given-up"])).await?;
                Err(StoreError::Damaged("on purpose"))
            })
        })
        .await;
    given_up.expect_err("it gave up");
}

#[derive(FromQueryResult)]
struct Found {
    name: String,
}

/// What is there, asked of a connection of our own.
async fn names(store: &Store, statement: &str) -> Vec<String> {
    let fresh = elsewhere(store).await;
    let statement = Statement::from_string(fresh.get_database_backend(), statement);
    let found = Found::find_by_statement(statement).all(&fresh).await.expect("reads");
    fresh.close().await.expect("closes");
    found.into_iter().map(|row| row.name).collect()
}

/// What was acknowledged, beside what is there.
#[derive(Default)]
struct Told {
    proxies: Vec<String>,
    records: Vec<String>,
    sequence: u64,
}

impl Told {
    async fn write(&mut self, store: &Store, number: u128, name: &str) -> Result<(), StoreError> {
        write(store, number, name.to_owned()).await?.expect("it is a revision");
        self.proxies.push(name.to_owned());
        Ok(())
    }

    async fn upload(&mut self, store: &Store, id: &str) -> Result<(), StoreError> {
        let batch = batch(self.sequence + 1, &[id]);
        let taken = store.note(move |txn| Box::pin(async move { ingest(txn, batch).await })).await?;
        assert_eq!(taken.outcome, Ingested::Stored { stored: 1, foreign: 0 }, "{id}");
        self.sequence += 1;
        self.records.push(id.to_owned());
        Ok(())
    }

    /// Everybody who was told that a thing is stored finds it, and nobody finds anything else.
    async fn holds(&self, store: &Store, context: &str) {
        let proxies = names(store, r#"SELECT "name" FROM "resource" ORDER BY "rev""#).await;
        assert_eq!(proxies, self.proxies, "{context}: what was written");
        let records =
            names(store, r#"SELECT "id" AS "name" FROM "request_record" ORDER BY "stored_at", "id""#).await;
        assert_eq!(records, self.records, "{context}: what was uploaded");
        let head = names(store, r#"SELECT CAST("head" AS TEXT) AS "name" FROM "head""#).await;
        assert_eq!(head, [self.proxies.len().to_string()], "{context}: the head");
    }
}

async fn attack(store: &Store, fault: Fault, by_record: bool) {
    let context = format!("{:?} {fault:?}, by record: {by_record}", store.0.write.get_database_backend());
    record::home(store).await;
    let saboteur = elsewhere(store).await;
    plant(&saboteur, fault).await;
    saboteur.close().await.expect("closes");
    let mut told = Told::default();
    told.write(store, 1, "p1").await.expect("is written");
    told.upload(store, "a1").await.expect("is taken");
    for round in 0..3 {
        if by_record {
            told.upload(store, &format!("bad-{round}")).await.expect_err("is not taken");
        } else {
            told.write(store, 100 + round, &format!("bad-{round}")).await.expect_err("is not written");
        }
        give_up(store).await;
        let number = 10 + round;
        told.write(store, number, &format!("p{number}")).await.expect("the database takes writes again");
        told.upload(store, &format!("a{number}")).await.expect("the database takes records again");
        give_up(store).await;
        told.holds(store, &context).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_acknowledged_after_a_failed_write_is_stored_however_the_write_failed() {
    // One server for all of them.
    let _server = postgres::database("commit");
    for fault in [Fault::Statement, Fault::Undone, Fault::Commit, Fault::Killed, Fault::KilledAtCommit] {
        for by_record in [false, true] {
            on_both("commit", async |store| {
                let known: &[Fault] = match store.0.write.get_database_backend() {
                    DatabaseBackend::Sqlite => &SQLITE,
                    _ => &POSTGRES,
                };
                if known.contains(&fault) {
                    attack(&store, fault, by_record).await;
                }
            })
            .await;
        }
    }
}

/// What was in a group with a write that made the database undo the transaction is told so: nothing of it comes into
/// force by itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_the_database_undid_takes_nothing_further_and_tells_everybody_in_it() {
    let _server = postgres::database("group");
    for fault in [Fault::Statement, Fault::Undone, Fault::Killed] {
        on_both("group", async |store| {
            let sqlite = store.0.write.get_database_backend() == DatabaseBackend::Sqlite;
            if (fault == Fault::Undone) != sqlite && fault != Fault::Statement {
                return;
            }
            let saboteur = elsewhere(&store).await;
            plant(&saboteur, fault).await;
            saboteur.close().await.expect("closes");
            let told = together(&store).await;
            let mut wanted = Vec::new();
            for (name, ended) in &told {
                match ended {
                    Ok(revision) => wanted.push((revision.expect("it is a revision"), name.clone())),
                    Err(error) => assert!(error.certainly_not_applied(), "{fault:?} {name}: {error:?}"),
                }
            }
            assert!(told.iter().all(|(name, ended)| !name.starts_with("bad") || ended.is_err()), "{told:?}");
            wanted.sort();
            let wanted: Vec<String> = wanted.into_iter().map(|(_, name)| name).collect();
            let there = names(&store, r#"SELECT "name" FROM "resource" ORDER BY "rev""#).await;
            assert_eq!(there, wanted, "{fault:?}: {told:?}");
        })
        .await;
    }
}

/// Five writes as one group, the third of which is bad while it is read, not while it is flushed.
async fn together(store: &Store) -> Vec<(String, Result<Option<u64>, StoreError>)> {
    let tasks = Tasks::new();
    let (go, gone) = oneshot::channel::<()>();
    let mut writes = Vec::new();
    let mut gone = Some(gone);
    for (place, name) in ["first", "second", "bad", "fourth", "fifth"].into_iter().enumerate() {
        let gate = gone.take();
        let to_write = store.clone();
        let number = 50 + place as u128;
        let name = name.to_owned();
        let write = tasks.spawn("write", async move {
            let put = Put { name: name.clone(), ..put(number, vec![1]) };
            let written = to_write.write(author(), move |txn| {
                Box::pin(async move {
                    if let Some(gate) = gate {
                        gate.await.ok();
                    }
                    if put.name == "bad" {
                        let statement = r#"INSERT INTO "resource" ("kind", "id", "org", "name", "owner", "rev", "doc", "created_at", "updated_at", "created_by") SELECT "kind", 'x', "org", 'bad', "owner", "rev", "doc", "created_at", "updated_at", "created_by" FROM "resource" LIMIT 1"#;
                        txn.tx().execute_unprepared(statement).await.map_err(StoreError::statement("be bad"))?;
                    }
                    txn.put(put);
                    Ok::<_, StoreError>(())
                })
            });
            (name, written.await.map(|written| written.revision))
        });
        writes.push(write);
        // Each in its place: the first is taken, the others wait.
        while store.0.queue.waiting() != place {
            tokio::task::yield_now().await;
        }
    }
    go.send(()).expect("the first waits");
    let mut told = Vec::new();
    for write in writes {
        told.push(write.await.expect("does not panic"));
    }
    told
}

/// Whoever passes over a statement that failed is told that all is stored only where it is.
#[tokio::test(flavor = "multi_thread")]
async fn what_goes_on_after_a_failed_statement_is_stored_or_refused() {
    let _server = postgres::database("passed over");
    for fault in [Fault::Statement, Fault::Undone] {
        on_both("passed over", async |store| {
            if fault == Fault::Undone && store.0.write.get_database_backend() != DatabaseBackend::Sqlite {
                return;
            }
            record::home(&store).await;
            let saboteur = elsewhere(&store).await;
            plant(&saboteur, fault).await;
            saboteur.close().await.expect("closes");
            let taken: Result<(), StoreError> = store
                .note(|txn| {
                    Box::pin(async move {
                        ingest(txn, batch(1, &["good"])).await?;
                        ingest(txn, batch(2, &["bad"])).await.expect_err("is bad");
                        Ok(())
                    })
                })
                .await;
            let there = names(&store, r#"SELECT "id" AS "name" FROM "request_record""#).await;
            assert_eq!(there.len(), usize::from(taken.is_ok()), "{fault:?}: {taken:?}, {there:?}");
            if let Err(error) = taken {
                assert!(error.certainly_not_applied() && there.is_empty(), "{fault:?}: {error:?}");
            }
        })
        .await;
    }
}

#[tokio::test]
async fn a_connection_that_was_left_in_a_transaction_is_replaced() {
    on_both("left open", async |store| {
        if store.0.write.get_database_backend() != DatabaseBackend::Sqlite {
            return;
        }
        let mut told = Told::default();
        store.0.write.execute_unprepared("BEGIN").await.expect("begins");
        told.write(&store, 1, "p1").await.expect_err("is not ours");
        told.write(&store, 2, "p2").await.expect("is another connection");
        told.holds(&store, "left open").await;
    })
    .await;
}

#[test]
fn a_commit_that_is_answered_but_was_not_seen_is_none() {
    let witness = Witness::default();
    let watched = witness.begun(DatabaseBackend::Sqlite);
    watched.commits();
    assert!(!watched.committed());
}

#[tokio::test]
async fn a_database_that_lost_what_was_acknowledged_takes_no_more_writes_and_says_why() {
    let _server = postgres::database("lost");
    for (tampering, says) in [
        (r#"UPDATE "head" SET "head" = 1"#, "it stands at 1 and stood at 2"),
        (r#"UPDATE "head" SET "audit" = '00000000000000000000000000000000'"#, "holds another revision 2"),
    ] {
        on_both("lost", async |store| {
            publish(&store, 1, vec![1]).await;
            publish(&store, 2, vec![2]).await;
            let taken = store.newest().await.expect("stands where it stood");
            assert_eq!(taken.revision, 2);
            let other = elsewhere(&store).await;
            other.execute_unprepared(tampering).await.expect("runs");
            other.close().await.expect("closes");
            let refused = write(&store, 3, "p3".to_owned()).await.expect_err("is behind");
            assert!(matches!(refused, StoreError::Broken(_)) && refused.kind() == Kind::Unavailable);
            assert!(refused.to_string().contains(says), "{refused}");
            assert!(refused.to_string().contains("docs/operations.md"), "{refused}");
            let noted: Result<(), StoreError> = store.note(|_| Box::pin(async { Ok(()) })).await;
            noted.expect_err("takes no records either");
            assert!(matches!(store.broken().await, Broken::Behind { .. } | Broken::Other { .. }));
        })
        .await;
    }
}

#[tokio::test]
async fn that_a_database_lost_what_was_acknowledged_is_seen_without_a_write() {
    on_both("lost", async |store| {
        publish(&store, 1, vec![1]).await;
        let other = elsewhere(&store).await;
        other.execute_unprepared(r#"UPDATE "head" SET "head" = 0"#).await.expect("runs");
        other.close().await.expect("closes");
        store.newest().await.expect_err("is behind");
        write(&store, 2, "p2".to_owned()).await.expect_err("no writes are taken any more");
    })
    .await;
}
