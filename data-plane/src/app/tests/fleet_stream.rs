//! What a whole edge answers on its stream beside transactions.

use super::control_plane::Reply;
use super::*;

#[tokio::test]
async fn a_node_that_is_taken_out_of_service_says_so_and_goes_on_answering() {
    let upstream = echo().await;
    let mut control = ControlPlane::start().await;
    control.ask_for_no_status();
    control.publish(Mode::Snapshot, &resources(&control.region, &upstream));
    let folder = tempfile::tempdir().expect("a folder");
    let edge = started(config(folder.path(), &control, true)).await;
    ready(&edge).await;
    let drained = |said: &Said, wanted| matches!(said, Said::Status(status) if status.draining == wanted);
    for drain in [true, false, true] {
        control.say(Reply::Drain(fleet::Drain { drain }));
        control.hears(|said| drained(said, drain)).await;
        let readiness = get(edge.admin(), "/readyz").await;
        if drain {
            assert!(readiness.starts_with("HTTP/1.1 503"), "{readiness}");
            assert!(readiness.ends_with("draining (asked by the control plane)\n"), "{readiness}");
        } else {
            assert!(readiness.ends_with("ready\n"), "{readiness}");
        }
        assert!(call(&edge).await.starts_with("HTTP/1.1 200"), "requests are still answered");
    }
    // Whoever welcomes it says how it stands.
    control.say(Reply::Welcome(fleet::Welcome::default()));
    control.hears(|said| drained(said, false)).await;
    edge.stop().await;
}

#[tokio::test]
async fn a_mark_of_another_state_is_answered_with_where_the_node_stands_and_the_stream_goes_on() {
    let mut control = ControlPlane::start().await;
    control.ask_for_no_status();
    control.publish(Mode::Snapshot, &[org(false)]);
    let folder = tempfile::tempdir().expect("a folder");
    let edge = started(config(folder.path(), &control, true)).await;
    ready(&edge).await;
    let running = edge.position().expect("it is configured");
    let stands = |said: &Said| matches!(said, Said::Status(status) if status.running == Some(running.to_wire()) && status.serving == status.running);
    control.hears(stands).await;
    let elsewhere = Position { digest: [7; 32], revision: 9, ..running };
    control.say(Reply::Mark(fleet::Mark { position: Some(elsewhere.to_wire()) }));
    control.hears(stands).await;
    // On the same stream it is asked what it holds, and what differs is sent.
    let query = fleet::BucketQuery { query: vec![3; 8], log2_buckets: 4, list: Vec::new() };
    control.say(Reply::BucketQuery(query.clone()));
    let report = |said: &Said| matches!(said, Said::Buckets(_));
    let Said::Buckets(sums) = control.hears(report).await else { unreachable!("it was looked for") };
    assert_eq!((sums.query.clone(), sums.at), (query.query.clone(), Some(running.to_wire())));
    let bucket = sums.sums.iter().position(|sum| *sum != 0).expect("it holds something") as u32;
    control.say(Reply::BucketQuery(fleet::BucketQuery { list: vec![bucket], ..query }));
    let Said::Buckets(list) = control.hears(report).await else { unreachable!("it was looked for") };
    let held: Vec<_> = list.held.iter().map(|held| (held.key.clone(), held.hash.clone())).collect();
    assert_eq!((held, list.more), (vec![(org(false).key, org(false).hash)], false));
    control.publish(Mode::Reconcile, &[org(true)]);
    let verdict = control.hears(|said| matches!(said, Said::Hello(_) | Said::Verdict(_))).await;
    let Said::Verdict(verdict) = verdict else { panic!("it connected anew") };
    assert_eq!((verdict.outcome(), verdict.timing.is_some()), (Outcome::Active, true));
    edge.stop().await;
}
