//! Targets with several base URLs: which one gets a request, and with what.

use std::pin::pin;

use rr_contract::wire::fleet;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

use crate::fixture::{self, Region, millis};

use super::edge::{Answer, Edge};
use super::script::Script;
use super::websockets::{self, Raw, upgrade};
use super::{HEADER, SECRET, get, resources, with_key};

/// An edge to a target that lives at all of these, and whose secret is sealed for `sealed`.
fn edge_to(
    region: &Region,
    upstreams: &[&Script],
    sealed: &[&Script],
    change: impl FnOnce(&mut fleet::TargetResource),
) -> Edge {
    let mut all = resources(region, &upstreams[0].url());
    let mut target = fixture::target_message(1, &upstreams[0].url());
    target.more_base_urls = upstreams[1..].iter().map(|upstream| upstream.url()).collect();
    change(&mut target);
    all.push(fixture::target_of(1, &target));
    let origins: Vec<String> = sealed.iter().map(|upstream| upstream.url()).collect();
    let origins: Vec<&str> = origins.iter().map(|origin| &**origin).collect();
    all.push(region.upstream(2, 1, SECRET, HEADER, &origins));
    Edge::start(region.snapshot(&all), &["127.0.0.0/8"])
}

fn ask() -> String {
    get("/api/acme.proxy-1/x", &with_key(1))
}

#[tokio::test]
async fn requests_go_round_with_the_host_and_the_secret_of_each() {
    let (one, two) = (Script::always(200).await, Script::always(200).await);
    let edge = edge_to(&Region::new(), &[&one, &two], &[&one, &two], |_| {});
    for _ in 0..6 {
        assert_eq!(edge.send(&ask()).await.status, 200);
    }
    for upstream in [&one, &two] {
        assert_eq!(upstream.count(), 3);
        for seen in upstream.seen() {
            assert!(seen.contains(&format!("host: {}\r\n", upstream.authority())), "{seen}");
            assert!(seen.contains(&format!("{HEADER}: {SECRET}\r\n")), "{seen}");
        }
    }
    let record = edge.record().await;
    assert_eq!((record.endpoint, record.attempts), (one.authority(), 0));
    assert_eq!(edge.record().await.endpoint, two.authority());
}

#[tokio::test]
async fn a_target_with_one_base_url_names_none_in_its_records() {
    let one = Script::always(200).await;
    let edge = edge_to(&Region::new(), &[&one], &[&one], |_| {});
    edge.send(&ask()).await;
    assert_eq!(edge.record().await.endpoint, "");
}

#[tokio::test]
async fn a_secret_goes_to_none_of_the_base_urls_that_it_was_not_sealed_for() {
    let (meant, other) = (Script::always(200).await, Script::always(200).await);
    let edge = edge_to(&Region::new(), &[&meant, &other], &[&meant], |_| {});
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(edge.send(&ask()).await.status);
    }
    assert_eq!(statuses, [200, 502, 200, 502]);
    assert_eq!((meant.count(), other.count()), (2, 0));
}

#[tokio::test]
async fn a_websocket_is_under_way_at_a_base_url_that_its_record_names_and_leaves_one_that_is_gone() {
    let (here, gone) = (Raw::new().await, TcpListener::bind("127.0.0.1:0").await.expect("a free port"));
    let address = gone.local_addr().expect("it is bound");
    drop(gone);
    let region = Region::new();
    let mut all = websockets::open(&region, &here.url());
    let mut target = fixture::target_message(1, &here.url());
    target.more_base_urls = vec![format!("http://{address}")];
    ejects(&mut target);
    all.push(fixture::target_of(1, &target));
    all.push(fixture::open_upstream(2));
    let edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
    let mut refused = 0;
    // Twice at the most it is tried where nobody is.
    for _ in 0..6 {
        let mut caller = edge.connect().await;
        let request = upgrade("/api/acme.proxy-1/chat", &with_key(1));
        caller.write_all(request.as_bytes()).await.expect("the edge reads");
        let status = {
            let open = async {
                here.next().await.switch("", "").await;
            };
            let mut answered = pin!(async { Answer::read_one(&mut caller).await.status });
            tokio::select! {
                biased;
                status = &mut answered => status,
                () = open => answered.await,
            }
        };
        drop(caller);
        let record = edge.record().await;
        refused += usize::from(status == 502);
        let at = if status == 101 { here.url().replace("http://", "") } else { address.to_string() };
        assert_eq!((i64::from(record.status), record.endpoint), (i64::from(status), at));
    }
    assert_eq!((refused, region.standings.numbers().ejected), (2, 1));
}

fn ejects(target: &mut fleet::TargetResource) {
    target.outlier_ejection =
        Some(fleet::OutlierEjection { consecutive_failures: 2, ..fleet::OutlierEjection::default() });
}

#[tokio::test]
async fn a_base_url_that_fails_in_a_row_gets_no_more_and_a_new_version_does_not_forget_it() {
    let (good, bad) = (Script::always(200).await, Script::always(503).await);
    let region = Region::new();
    let edge = edge_to(&region, &[&good, &bad], &[&good, &bad], ejects);
    for _ in 0..10 {
        edge.send(&ask()).await;
    }
    assert_eq!(bad.count(), 2);
    let further = edge_to(&region, &[&bad, &good], &[&good, &bad], |target| {
        ejects(target);
        target.response_timeout = millis(7_000);
    });
    for _ in 0..4 {
        assert_eq!(further.send(&ask()).await.status, 200);
    }
    assert_eq!(bad.count(), 2);
    let numbers = region.standings.numbers();
    assert_eq!((numbers.ejected, numbers.available, numbers.ejections), (1, 1, 1));
}

#[tokio::test]
async fn a_base_url_without_answers_is_ejected_and_one_with_errors_of_its_own_is_not() {
    let (good, gone) = (Script::always(200).await, Script::start(|_| String::new()).await);
    let region = Region::new();
    let edge = edge_to(&region, &[&good, &gone], &[&good, &gone], ejects);
    for _ in 0..10 {
        edge.send(&ask()).await;
    }
    assert_eq!(gone.count(), 2);
    let (good, wrong) = (Script::always(200).await, Script::always(500).await);
    let edge = edge_to(&region, &[&good, &wrong], &[&good, &wrong], ejects);
    for _ in 0..10 {
        edge.send(&ask()).await;
    }
    assert_eq!(wrong.count(), 5);
}
