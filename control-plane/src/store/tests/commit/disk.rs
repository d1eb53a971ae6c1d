//! A database that is full, locked by another, or on a disk that takes no more.

use std::process::Command;

use sea_orm::{SqliteTransactionMode, TransactionOptions, TransactionTrait as _};

use super::*;

/// SQLite has no room: of the file first, then there is some again.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_database_refuses_in_plain_words_and_what_is_acknowledged_later_is_stored() {
    on_both("full", async |store| {
        if store.0.write.get_database_backend() != DatabaseBackend::Sqlite {
            return;
        }
        record::home(&store).await;
        let mut told = Told::default();
        told.write(&store, 1, "p1").await.expect("is written");
        // As many pages as there are, on the connection that writes; one that is made anew has room again.
        store.0.write.execute_unprepared("PRAGMA max_page_count = 1").await.expect("runs");
        let mut refused = None;
        for number in 2..200_u32 {
            let big = vec![number as u8; 20_000];
            let written = store.write(author(), move |txn| {
                Box::pin(async move {
                    txn.put(put(u128::from(number), big));
                    Ok::<_, StoreError>(())
                })
            });
            match written.await {
                Ok(written) => told.proxies.extend(written.revision.map(|_| format!("p{number}"))),
                Err(error) => {
                    refused = Some(error);
                    break;
                }
            }
        }
        let refused = refused.expect("it was full");
        assert!(matches!(refused, StoreError::NoRoom { .. }), "{refused:?}");
        assert!(refused.to_string().contains("disk is full; make room"), "{refused}");
        give_up(&store).await;
        told.write(&store, 1000, "p1000").await.expect("there is room again");
        told.upload(&store, "a1").await.expect("there is room again");
        give_up(&store).await;
        told.holds(&store, "full").await;
    })
    .await;
}

/// Another process holds the database for longer than we wait.
#[tokio::test(flavor = "multi_thread")]
async fn while_another_holds_the_database_writes_are_refused_and_later_ones_are_stored() {
    on_both("busy", async |store| {
        if store.0.write.get_database_backend() != DatabaseBackend::Sqlite {
            return;
        }
        record::home(&store).await;
        let mut told = Told::default();
        told.write(&store, 1, "p1").await.expect("is written");
        store.0.write.execute_unprepared("PRAGMA busy_timeout = 1").await.expect("runs");
        let other = elsewhere(&store).await;
        let held = other
            .begin_with_options(TransactionOptions {
                sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
                ..Default::default()
            })
            .await
            .expect("begins");
        let refused = told.write(&store, 2, "p2").await.expect_err("is locked");
        assert!(refused.certainly_not_applied() && refused.kind() == Kind::Unavailable, "{refused:?}");
        held.rollback().await.expect("lets go");
        other.close().await.expect("closes");
        give_up(&store).await;
        told.write(&store, 3, "p3").await.expect("is written");
        told.upload(&store, "a1").await.expect("is taken");
        told.holds(&store, "busy").await;
    })
    .await;
}

/// The files of a child process may not grow beyond a size, so that its commits fail as on a disk with errors.
#[test]
fn a_log_that_cannot_be_written_fails_commits_and_what_is_acknowledged_later_is_stored() {
    let program = std::env::current_exe().expect("is a program");
    let script = r#"trap '' XFSZ; ulimit -f 2400; exec "$0" --exact store::tests::commit::disk::under_a_limit --ignored"#;
    let ran = Command::new("sh").arg("-c").arg(script).arg(program).output().expect("runs");
    let said = format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success() && said.contains("1 passed"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "wants a process whose files may not grow; another test makes one"]
async fn under_a_limit() {
    let folder = tempfile::tempdir().expect("a folder");
    let (tasks, shutdown) = (Tasks::new(), Shutdown::new());
    let address = DatabaseAddress::Sqlite(folder.path().join("s.db"));
    let opened = Store::open(&address, Arc::new(SystemClock), tasks.clone(), shutdown.stop());
    let store = opened.await.expect("opens");
    store.installation(&SystemEntropy).await.expect("has a head");
    record::home(&store).await;
    let mut told = Told::default();
    let mut number = 0;
    for round in 0..3 {
        let mut failed = 0;
        // The log is small enough for this to end.
        while failed < 3 {
            number += 1;
            assert!(number < 5_000, "the log grew without limit");
            let uploaded = told.upload(&store, &format!("a{number:05}")).await;
            let written = told.write(&store, number, &format!("p{number}")).await;
            failed += u32::from(uploaded.is_err() || written.is_err());
        }
        told.holds(&store, "while the log is full").await;
        // What is in the log goes where it belongs, and the log is empty again.
        let fresh = elsewhere(&store).await;
        fresh.execute_unprepared("PRAGMA wal_checkpoint(TRUNCATE)").await.expect("empties the log");
        fresh.close().await.expect("closes");
        number += 1;
        told.write(&store, number, &format!("p{number}")).await.expect("the disk takes writes again");
        told.upload(&store, &format!("a{number:05}")).await.expect("the disk takes records again");
        told.holds(&store, &format!("round {round}")).await;
    }
    shutdown.begin();
    assert!(tasks.wait(Duration::from_secs(30)).await.is_empty());
    store.close().await;
}
