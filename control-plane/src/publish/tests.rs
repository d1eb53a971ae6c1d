//! Following the log, and when it cannot be followed.

use rr_contract::runtime::observe::Observability;
use rr_contract::seam::SystemEntropy;
use rr_contract::wire::management::{Proxy, Target};

use super::*;
use crate::noun::Noun;
use crate::store::{Admission, Put, micros, retention};
use crate::tests::stores::{DAY, on_both, put, write};
use crate::{compile, document};

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

#[tokio::test(flavor = "multi_thread")]
async fn what_is_compiled_for_a_write_is_what_the_index_takes_in_and_is_not_parsed_again() {
    on_both("parsed once", async |store, _| {
        let events = Events::new(&Observability::quiet("rr-control"));
        let publisher = Publisher::new(store.clone(), events, Arc::new(SystemEntropy));
        assert!(publisher.catch_up().await.expect("loads"));
        let admission: Arc<dyn Admission> = Arc::<Publisher>::clone(&publisher);
        store.admit_by(Arc::downgrade(&admission));
        let (org, id) = (Noun::Org.id([1; 16]), Noun::Proxy.id([1; 16]));
        let proxy = Proxy {
            id: id.clone(),
            org: org.clone(),
            name: "p".to_owned(),
            caller_credentials: vec![Noun::Credential.id([1; 16])],
            target: Noun::Target.id([1; 16]),
            upstream_credential: Noun::Credential.id([2; 16]),
            regions: vec![Noun::Region.id([1; 16])],
            ..Proxy::default()
        };
        let payload = compile::payload(&document::Resource::wrap(proxy.clone()), None).expect("is valid");
        let compiled = payload.as_ref().and_then(|payload| payload.proxy().cloned()).expect("is a proxy");
        let revision = write(&store, vec![Put { payload, ..put(&org, &id, "p", proxy, None) }]).await;
        let key = Noun::Proxy.key(&org, &id).expect("a key");
        publisher.catch_up().await.expect("reads on");
        let published = publisher.proxy(&key).expect("is published");
        assert!(Arc::ptr_eq(&compiled, &published));
        assert_eq!(publisher.shown(&key).expect("is published").revision, revision);
        assert!(publisher.parsed_before(0).is_empty(), "nothing is kept twice");
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
