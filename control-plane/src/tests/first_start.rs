//! A first start that was killed between any two of its writes is continued by the next.
//!
//! What it writes, in order: folder, database, schema, head row, key, certificate, pin, token file, token row.

use std::path::Path;

use sea_orm::{ConnectionTrait as _, Database};

use super::world::{World, config, run};

/// Undoes, by hand, what the killed start did not come to.
async fn undo(state: &Path, statements: &[&str], files: &[&str]) {
    let database = Database::connect(format!("sqlite://{}", state.join("control.db").display()));
    let database = database.await.expect("opens");
    for statement in statements {
        database.execute_unprepared(statement).await.expect("runs");
    }
    database.close().await.expect("closes");
    for file in files {
        std::fs::remove_file(state.join(file)).expect("is there");
    }
}

const NO_HEAD: &str = "DELETE FROM head";
const NO_PIN: &str = "UPDATE head SET authority = NULL";
const NO_ROOT: &str = "DELETE FROM authority_root";
const NO_TOKEN: &str = "DELETE FROM token";
const KEY: &str = "authority.key";
const CERTIFICATE: &str = "authority.crt";
const TOKEN: &str = "bootstrap-token";

#[tokio::test]
async fn a_killed_first_start_is_continued_wherever_it_was_killed() {
    for (killed_before, statements, files) in [
        ("the head row", &[NO_TOKEN, NO_ROOT, NO_HEAD] as &[&str], &[KEY, CERTIFICATE, TOKEN] as &[&str]),
        ("the key", &[NO_TOKEN, NO_ROOT, NO_PIN], &[KEY, CERTIFICATE, TOKEN]),
        ("the certificate", &[NO_TOKEN, NO_ROOT, NO_PIN], &[CERTIFICATE, TOKEN]),
        ("the pin", &[NO_TOKEN, NO_ROOT, NO_PIN], &[TOKEN]),
        ("the root's row", &[NO_TOKEN, NO_ROOT], &[TOKEN]),
        ("the token's file", &[NO_TOKEN], &[TOKEN]),
        ("the token's row", &[NO_TOKEN], &[]),
        ("nothing, but the token's file is lost", &[], &[TOKEN]),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let config = config(folder.path());
        let state = config.state_dir.clone();
        run(config.clone()).await.stop().await;
        let key = std::fs::read(state.join(KEY)).expect("is there");
        let text = std::fs::read(state.join(TOKEN)).expect("is there");
        undo(&state, statements, files).await;
        // With what is left of a file that was being replaced.
        std::fs::write(state.join("authority.key.new"), "half").expect("writes");
        std::fs::write(state.join("bootstrap-token.new"), "half").expect("writes");
        // Starts, and makes an operator's token with the bootstrap one.
        let world = World::over(folder, config).await;
        assert_ne!(std::fs::read(state.join(TOKEN)).expect("is there"), text, "{killed_before}");
        if !files.contains(&KEY) {
            assert_eq!(std::fs::read(state.join(KEY)).expect("is there"), key, "{killed_before}");
        }
        let world = world.restart().await;
        assert_eq!(world.running.bootstrap_token_path(), None, "{killed_before}");
        world.running.stop().await;
    }
}

#[tokio::test]
async fn a_first_start_that_was_killed_before_its_schema_is_continued() {
    for database in [false, true] {
        let folder = tempfile::tempdir().expect("a folder");
        let config = config(folder.path());
        std::fs::create_dir(&config.state_dir).expect("a folder");
        if database {
            std::fs::write(config.state_dir.join("control.db"), "").expect("writes");
        }
        World::over(folder, config).await.running.stop().await;
    }
}

#[tokio::test]
async fn a_bootstrap_token_that_was_used_is_never_followed_by_another() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = config(folder.path());
    run(config.clone()).await.stop().await;
    undo(&config.state_dir, &["UPDATE token SET used_at = 1"], &[TOKEN]).await;
    let again = run(config.clone()).await;
    assert_eq!(again.bootstrap_token_path(), None);
    assert!(!config.state_dir.join(TOKEN).exists());
    again.stop().await;
}
