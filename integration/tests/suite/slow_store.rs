//! A store that takes no records for a while holds up uploads, and nothing else.

use std::time::{Duration, Instant};

use rr_contract::runtime::Tasks;
use rr_contract::wire::fleet;
use rr_integration::fleet::Uploader;
use rr_integration::postgres::Postgres;
use rr_integration::sample::{REGION, Sample};
use rr_integration::wait::eventually;
use sqlx::{Connection as _, Executor as _, PgConnection};

/// More than the store has connections.
const NODES: u32 = 12;
/// A batch that waits so long was stored slowly.
const SLOW: Duration = Duration::from_millis(500);

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_slow_for_records_holds_up_no_configuration_and_has_nodes_wait() {
    let Some(server) = Postgres::start() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let variables = [("RR_CONTROL_DATABASE", server.address())];
    let sample = Sample::start(folder.path(), "http://127.0.0.1:9", &variables).await.expect("starts");
    let fleet = sample.fleet_in_step(1).await.expect("joins");
    let token = sample.api.node_token(REGION, &sample.keys, NODES).await.expect("token");
    let mut uploaders = Vec::new();
    for _ in 0..NODES {
        uploaders.push(Uploader::open(&sample.place, &token, 8).await.expect("opens"));
    }
    // Somebody holds what every batch needs.
    let mut other = PgConnection::connect(&server.address()).await.expect("connects");
    other.execute("BEGIN; LOCK TABLE telemetry_cursor IN EXCLUSIVE MODE").await.expect("locks");
    let (tasks, mut uploads) = (Tasks::new(), Vec::new());
    for mut uploader in uploaders {
        uploads.push(tasks.spawn("upload", async move {
            let uploaded = uploader.upload(&[fleet::Batch::default()]).await;
            (uploaded, uploader.told_to_wait())
        }));
    }
    let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted";
    eventually("batches wait for it", || async { (server.execute(waiting).trim() != "0").then_some(()) })
        .await;
    let begun = Instant::now();
    for n in 0..6 {
        let written = Instant::now();
        let revision = sample.set_active("echo", n % 2 == 1).await.expect("writes");
        fleet.in_step(revision).await;
        assert!(written.elapsed() < Duration::from_secs(2), "{:?}", written.elapsed());
    }
    assert!(!sample.api.nodes().await.expect("reads").is_empty());
    // However fast all of that was.
    tokio::time::sleep(SLOW.saturating_sub(begun.elapsed())).await;
    other.execute("COMMIT").await.expect("lets go");
    for upload in uploads {
        let (uploaded, told) = upload.await.expect("no panic");
        uploaded.expect("is stored");
        assert!(told.is_some_and(|wait| wait >= SLOW), "{told:?}");
    }
}
