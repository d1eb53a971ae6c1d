//! What faults do to telemetry: rows I16 and I17 of the list of faults. Real processes, real kills, both databases.
//!
//! I16: no record is lost once it was made sure of, and none counts twice. I17: no request waits for the control plane or for
//! records, and what is dropped is counted.

mod books;
mod plant;

use std::process::Command;
use std::time::{Duration, Instant};

use rr_integration::process::Process;
use rr_integration::wait::eventually;

use self::books::Stored;
use self::plant::{Engine, Plant};

/// Answers between two faults.
const BETWEEN: u64 = 1_500;
/// Each sync of the disk takes so long.
const STALL: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn i16_nothing_made_sure_of_is_lost_and_nothing_counts_twice_on_sqlite() {
    no_loss_and_no_second_effect(Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i16_nothing_made_sure_of_is_lost_and_nothing_counts_twice_on_postgres() {
    let Some(engine) = Engine::postgres() else { return };
    no_loss_and_no_second_effect(engine).await;
}

async fn no_loss_and_no_second_effect(engine: Engine) {
    let mut plant = Plant::start(engine, &[]).await;
    plant.add_replica().await;
    let first = plant.settled().await;
    let callers = plant.call(u64::MAX);
    for _ in 0..2 {
        plant.passes(BETWEEN).await;
        plant.kill_node();
        // Whenever that is, batches are under way: some before their commit, and some behind it.
        for _ in 0..2 {
            plant.passes(BETWEEN).await;
            plant.kill_control_plane().await;
        }
    }
    // What is under way to a process that stands still is sent once more to another, or on another stream; and then the first
    // goes on, and reads what it was sent.
    plant.passes(BETWEEN).await;
    plant.freeze();
    plant.passes(BETWEEN).await;
    if !plant.switch_over() {
        plant.kill_node();
    }
    plant.passes(BETWEEN).await;
    plant.thaw();
    plant.passes(BETWEEN).await;
    plant.tally.enough();
    callers.end().await.expect("no caller panics");

    let end = plant.settled().await;
    let sequence = plant.last_sequence();
    let faults = |end: &Stored| plant.loss_faults(&first, end, sequence);
    assert_eq!(faults(&end), [""; 0], "{:?} {:?}", end.accounts, end.sums);
    // Each of these would have been seen.
    for (harm, undo) in [
        (
            format!("UPDATE telemetry_cursor SET last = {}", sequence - 1),
            format!("UPDATE telemetry_cursor SET last = {sequence}"),
        ),
        (
            "UPDATE rollup SET requests = requests + 1 WHERE level = 1".to_owned(),
            "UPDATE rollup SET requests = requests - 1 WHERE level = 1".to_owned(),
        ),
        (
            format!("UPDATE request_record SET id = 'gone' WHERE id = '{}'", plant.last_id()),
            format!("UPDATE request_record SET id = '{}' WHERE id = 'gone'", plant.last_id()),
        ),
        (
            "UPDATE node_account SET count = count + 1 WHERE what = 'stored'".to_owned(),
            "UPDATE node_account SET count = count - 1 WHERE what = 'stored'".to_owned(),
        ),
    ] {
        plant.books.execute(&harm).await;
        assert!(!faults(&plant.books.stored().await).is_empty(), "{harm}");
        plant.books.execute(&undo).await;
    }
    assert_eq!(faults(&plant.books.stored().await), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn i17_no_request_waits_for_the_control_plane_or_the_spool_on_sqlite() {
    no_request_waits(Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i17_no_request_waits_for_the_control_plane_or_the_spool_on_postgres() {
    let Some(engine) = Engine::postgres() else { return };
    no_request_waits(engine).await;
}

async fn no_request_waits(engine: Engine) {
    let settings = [("RR_EDGE_SPOOL_QUOTA_MIB", "1".to_owned()), ("RR_EDGE_WORKERS", "1".to_owned())];
    let plant = Plant::start(engine, &settings).await;
    let durable = plant.durable_proxy().await;
    let first = plant.settled().await;
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        without.push(plant.p99_of(1_500).await);
        plant.freeze();
        // More than the quota of the spool holds.
        with.push(plant.p99_of(4_000).await);
        plant.thaw();
        eventually("the spool is empty again", || async {
            (plant.metric("spool_bytes").await? == 0).then_some(())
        })
        .await;
    }
    assert_near(&mut with, &mut without);
    let mut refused = 0;
    let mut has_stalled = false;
    if Command::new("strace").arg("-V").output().is_ok() {
        // With the same tool, which slows every call for the system down, whether or not it holds up the disk.
        let strace = plant.traced(None).await;
        let mut without = vec![plant.p99_of(800).await];
        end(strace).await;
        plant.freeze();
        let strace = plant.traced(Some(STALL)).await;
        // More than a worker's queue holds.
        let mut with = vec![plant.p99_of(5_000).await];
        let begun = Instant::now();
        let answer = durable.get("/").await;
        let took = begun.elapsed();
        assert_eq!(
            (answer.status.as_u16(), answer.header("requestrocket-proxy-code")),
            (503, "record-unsure")
        );
        // Whoever waits for the disk would be noticed.
        assert!(took > bound(without[0]) && took >= Duration::from_secs(1), "{took:?}");
        refused += 1;
        assert_near(&mut with, &mut without);
        end(strace).await;
        plant.thaw();
        has_stalled = true;
    } else {
        assert!(std::env::var_os("CI").is_none(), "strace is not installed: apt-get install strace");
    }

    let end = plant.settled().await;
    let faults = plant.count_faults(&first, &end, refused).await;
    assert_eq!(faults, [""; 0], "{first:?} {end:?}");
    assert!(end.lost("spool-near-full") > 0, "{end:?}");
    assert!(end.lost("ring-full") > 0 || !has_stalled, "{end:?}");
    for (harm, undo) in [
        (
            "UPDATE rollup SET requests = requests + 1 WHERE level = 2",
            "UPDATE rollup SET requests = requests - 1 WHERE level = 2",
        ),
        (
            "UPDATE node_account SET count = count + 1 WHERE what = 'lost spool-near-full'",
            "UPDATE node_account SET count = count - 1 WHERE what = 'lost spool-near-full'",
        ),
    ] {
        plant.books.execute(harm).await;
        assert!(!plant.count_faults(&first, &plant.books.stored().await, refused).await.is_empty(), "{harm}");
        plant.books.execute(undo).await;
    }
}

/// The design asks for 10 % of a machine of its own. On one that does other things, a request that waited for anything would take
/// longer than this all the same: a sync of the spool comes each 100 ms, and what stands still answers never.
fn bound(without: Duration) -> Duration {
    without * 2 + Duration::from_millis(20)
}

/// Holds medians of rounds against each other.
fn assert_near(with: &mut [Duration], without: &mut [Duration]) {
    with.sort();
    without.sort();
    let (middle, other) = (with[with.len() / 2], without[without.len() / 2]);
    assert!(middle <= bound(other), "p99 {middle:?} with the fault, {other:?} without: {with:?} {without:?}");
}

async fn end(mut strace: Process) {
    strace.terminate().await;
}
