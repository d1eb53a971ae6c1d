//! Following the log, and when it cannot be followed.

use rr_contract::runtime::observe::Observability;
use rr_contract::seam::SystemEntropy;
use rr_contract::wire::management::Target;

use super::*;
use crate::noun::Noun;
use crate::store::{micros, retention};
use crate::tests::stores::{DAY, on_both, put, write};

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_stood_still_for_longer_than_history_is_kept_loads_everything_anew() {
    on_both("behind the floor", async |store, clock| {
        let version = async |n: u8| {
            let id = Noun::Target.id([1; 16]);
            let target = Target { id: id.clone(), name: format!("t{n}"), ..Target::default() };
            write(&store, vec![put(&Noun::Org.id([1; 16]), &id, "t", target, None)]).await
        };
        version(0).await;
        let publisher = Publisher::new(
            store.clone(),
            Events::new(&Observability::quiet("rr-control")),
            Arc::new(SystemEntropy),
        );
        assert!(publisher.catch_up().await.expect("loads"));
        let place = || publisher.read().as_ref().map(|index| (index.head(), index.generation()));
        assert_eq!(place(), Some((1, 0)));
        version(1).await;
        publisher.catch_up().await.expect("reads on");
        assert_eq!(place(), Some((2, 0)));
        version(2).await;
        version(3).await;
        clock.pass(DAY * 2);
        let at = store.now() - micros(std::time::UNIX_EPOCH + DAY);
        assert_eq!(retention::step(&store, at).await.expect("steps").floor, 4);
        publisher.catch_up().await.expect("loads anew");
        assert_eq!(place(), Some((4, 1)));
    })
    .await;
}

/// On one worker: were it parsed there, whoever lets the parser go on would wait for it for ever.
#[tokio::test]
async fn what_takes_long_to_parse_is_parsed_beside_the_workers() {
    let (go, gone) = std::sync::mpsc::sync_channel::<()>(1);
    let long = apart(true, move || gone.recv_timeout(Duration::from_secs(20)).is_ok());
    let others = async move { go.send(()).expect("it waits") };
    let (parsed, ()) = tokio::join!(long, others);
    assert_eq!(parsed, Some(true), "others go on meanwhile");
    assert_eq!(apart(false, || 7).await, Some(7));
}
