//! Targets with several base URLs: which one gets a request, and with what.

use std::pin::pin;

use rr_contract::wire::fleet;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

use crate::fixture::{self, Region, millis};

use super::edge::{Answer, Edge};
use super::full;
use super::script::{Script, says};
use super::websockets::{self, Raw, upgrade};
use super::{HEADER, SECRET, get, resources, with_key};

/// No node of a test opens this address.
const INWARD: &str = "http://10.1.2.3:9";

/// A target that lives at all of these, and whose secret is sealed for `sealed`.
fn resources_at(
    region: &Region,
    urls: &[String],
    sealed: &[String],
    change: impl FnOnce(&mut fleet::TargetResource),
) -> Vec<fleet::Resource> {
    let mut all = resources(region, &urls[0]);
    let mut target = fixture::target_message(1, &urls[0]);
    target.more_base_urls = urls[1..].to_vec();
    change(&mut target);
    all.push(fixture::target_of(1, &target));
    let origins: Vec<&str> = sealed.iter().map(|origin| &**origin).collect();
    all.push(region.upstream(2, 1, SECRET, HEADER, &origins));
    all
}

/// An edge to such a target.
fn edge_to(
    region: &Region,
    upstreams: &[&Script],
    sealed: &[&Script],
    change: impl FnOnce(&mut fleet::TargetResource),
) -> Edge {
    let [urls, sealed] = [upstreams, sealed].map(|all| all.iter().map(|one| one.url()).collect::<Vec<_>>());
    Edge::start(region.snapshot(&resources_at(region, &urls, &sealed, change)), &["127.0.0.0/8"])
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
async fn a_base_url_that_the_secret_was_not_sealed_for_gets_no_requests_while_there_is_another() {
    let (meant, other) = (Script::always(200).await, Script::always(200).await);
    let edge = edge_to(&Region::new(), &[&other, &meant], &[&meant], |_| {});
    for _ in 0..4 {
        assert_eq!(edge.send(&ask()).await.status, 200);
        assert_eq!(edge.record().await.endpoint, meant.authority());
    }
    assert_eq!((meant.count(), other.count()), (4, 0));
}

#[tokio::test]
async fn a_secret_goes_to_none_of_the_base_urls_where_it_was_sealed_for_none() {
    let (one, two, elsewhere) =
        (Script::always(200).await, Script::always(200).await, Script::always(200).await);
    let edge = edge_to(&Region::new(), &[&one, &two], &[&elsewhere], |_| {});
    for _ in 0..4 {
        let answer = edge.send(&ask()).await;
        assert_eq!((answer.status, answer.json()["code"].clone()), (502, "credential-unusable".into()));
    }
    assert_eq!((one.count(), two.count(), elsewhere.count()), (0, 0, 0));
}

#[tokio::test]
async fn a_request_goes_past_a_base_url_that_the_guard_refuses_until_that_is_ejected() {
    let good = Script::always(200).await;
    let region = Region::new();
    let urls = [INWARD.to_owned(), good.url()];
    let edge = Edge::start(region.snapshot(&resources_at(&region, &urls, &urls, ejects)), &["127.0.0.0/8"]);
    // It was not sent, so it may change something, and its body is whole.
    let upload = ask().replace("GET", "POST").replacen("\r\n\r\n", "\r\ncontent-length: 4\r\n\r\nbody", 1);
    let mut attempts = Vec::new();
    for _ in 0..6 {
        assert_eq!(edge.send(&upload).await.status, 200);
        let record = edge.record().await;
        assert_eq!(record.endpoint, good.authority());
        attempts.push(record.attempts);
    }
    assert_eq!(attempts, [2, 0, 2, 0, 0, 0], "after two failures in a row it has no turn");
    assert_eq!(region.standings.numbers().ejected, 1);
    assert!(good.seen().iter().all(|seen| seen.ends_with("body")), "{:?}", good.seen());
}

#[tokio::test]
async fn where_the_guard_refuses_all_base_urls_the_caller_is_told_so() {
    let region = Region::new();
    let urls = [INWARD.to_owned(), "http://10.1.2.4:9".to_owned()];
    let all = resources_at(&region, &urls, &urls, |target| {
        ejects(target);
        let breaker = fleet::CircuitBreaker { consecutive_failures: 1, open_for: millis(60_000) };
        target.circuit_breaker = Some(breaker);
    });
    let edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
    for _ in 0..6 {
        let answer = edge.send(&ask()).await;
        assert_eq!((answer.status, answer.json()["code"].clone()), (502, "upstream-refused".into()));
    }
    assert_eq!(edge.record().await.attempts, 2);
}

#[tokio::test]
async fn a_request_is_not_taken_from_one_base_url_to_the_next_for_ever() {
    let closing = async || Script::start(|_| says(200, "connection: close\r\n")).await;
    let (one, two, three) = (closing().await, closing().await, closing().await);
    let region = Region::new();
    let urls = [one.url(), two.url(), three.url()];
    let all = resources_at(&region, &urls, &urls, |target| target.connect_timeout = millis(300));
    let edge = full::edge(&region, all);
    for _ in 0..3 {
        assert_eq!(edge.send(&ask()).await.status, 200);
        edge.record().await;
    }
    let _taken = full::take(&edge).await;
    let answer = edge.send(&ask()).await;
    assert_eq!((answer.status, answer.json()["code"].clone()), (503, "upstream-busy".into()));
    assert_eq!(edge.record().await.attempts, 2, "it has waited twice");
}

#[tokio::test]
async fn dials_of_callers_that_have_left_give_their_room_back() {
    let upstream = Script::always(200).await;
    let region = Region::new();
    let urls = [upstream.url()];
    let all = resources_at(&region, &urls, &urls, |target| target.connect_timeout = millis(2_000));
    let edge = full::edge(&region, all);
    drop(full::take(&edge).await);
    assert_eq!(edge.send(&ask()).await.status, 200);
}

#[tokio::test]
async fn a_request_that_finds_no_room_to_dial_goes_to_another_base_url_and_ejects_none() {
    // One closes each connection, the other leaves it for the next request.
    let closing = Script::start(|_| says(200, "connection: close\r\n")).await;
    let open = Script::always(200).await;
    let region = Region::new();
    let urls = [closing.url(), open.url()];
    let all = resources_at(&region, &urls, &urls, |target| {
        ejects(target);
        target.connect_timeout = millis(300);
    });
    let edge = full::edge(&region, all);
    for upstream in [&closing, &open] {
        assert_eq!(edge.send(&ask()).await.status, 200);
        assert_eq!(edge.record().await.endpoint, upstream.authority());
    }
    let _taken = full::take(&edge).await;
    for attempts in [2, 0, 2, 0, 2, 0] {
        assert_eq!(edge.send(&ask()).await.status, 200);
        let record = edge.record().await;
        assert_eq!((record.endpoint, record.attempts), (open.authority(), attempts));
    }
    assert_eq!(region.standings.numbers().ejected, 0);
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
