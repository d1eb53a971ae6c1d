//! What is sent again, where to, and what never is.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use rr_contract::wire::fleet;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::{Instant, timeout};

use crate::fixture::{self, Region, millis};

use super::edge::{Answer, Edge};
use super::records::Wall;
use super::script::{Script, says};
use super::{HEADER, SECRET, get, resources, with_key};

const SOON: Duration = Duration::from_secs(20);

fn policy(attempts: u32) -> fleet::RetryPolicy {
    fleet::RetryPolicy {
        attempts,
        backoff: millis(1),
        max_backoff: millis(2_000),
        ..fleet::RetryPolicy::default()
    }
}

/// An edge to a target at these base URLs, whose proxy retries.
fn edge_to(
    urls: &[String],
    retry: Option<fleet::RetryPolicy>,
    change: impl FnOnce(&Region, &mut fleet::TargetResource, &mut Vec<fleet::Resource>),
) -> Edge {
    let region = Region::new();
    let mut all = resources(&region, &urls[0]);
    let origins: Vec<&str> = urls.iter().map(|url| &**url).collect();
    all.push(region.upstream(2, 1, SECRET, HEADER, &origins));
    let proxy = fleet::ProxyResource { retry, ..fixture::proxy_message(1, &[1], 1, 2) };
    all.push(fixture::resource(fixture::proxy_key(1), prost::Message::encode_to_vec(&proxy)));
    let mut target = fixture::target_message(1, &urls[0]);
    target.more_base_urls = urls[1..].to_vec();
    change(&region, &mut target, &mut all);
    all.push(fixture::target_of(1, &target));
    Edge::start(region.snapshot(&all), &["127.0.0.0/8"])
}

fn ask() -> String {
    get("/api/acme.proxy-1/", &with_key(1))
}

#[tokio::test]
async fn what_fails_is_sent_again_until_it_does_not_or_tries_are_over() {
    for (answers, status, attempts) in [
        (vec![503, 200], 200, 2),
        (vec![503, 502, 200], 200, 3),
        (vec![503, 502, 504, 200], 504, 3),
        (vec![500, 200], 500, 1),
        // 0: the connection ends without an answer.
        (vec![0, 200], 200, 2),
        (vec![502, 0, 0, 200], 502, 3),
    ] {
        let told = answers.clone();
        let upstream = Script::start(move |n| match told[n] {
            0 => String::new(),
            status => says(status, ""),
        })
        .await;
        let edge = edge_to(&[upstream.url()], Some(policy(2)), |_, _, _| {});
        let answer = edge.send(&ask()).await;
        assert_eq!(answer.status, status, "{answers:?}");
        let record = edge.record().await;
        let told = if attempts == 1 { 0 } else { attempts };
        assert_eq!((record.attempts, upstream.count()), (told, attempts as usize), "{answers:?}");
    }
}

#[tokio::test]
async fn a_secret_whose_time_ends_between_two_attempts_is_not_sent_again() {
    for (end, status, count) in [(10, 503, 1), (11, 200, 2)] {
        let wall = Wall::default();
        let time = wall.clone();
        let upstream = Script::start(move |n| {
            time.0.store(11, Ordering::Relaxed);
            says(if n == 0 { 503 } else { 200 }, "")
        })
        .await;
        let (region, url) = (Region::new(), upstream.url());
        let mut all = resources(&region, &url);
        let not_after = SystemTime::UNIX_EPOCH + Duration::from_secs(end);
        let sealed = region.seal(2, 1, SECRET, HEADER, &[&url], Some(not_after));
        all.push(fixture::sealed_upstream(2, 1, &sealed));
        let retry = Some(policy(1));
        let proxy = fleet::ProxyResource { retry, ..fixture::proxy_message(1, &[1], 1, 2) };
        all.push(fixture::resource(fixture::proxy_key(1), prost::Message::encode_to_vec(&proxy)));
        let edge = Edge::start_at(region.snapshot(&all), &["127.0.0.0/8"], Arc::new(wall));
        assert_eq!((edge.send(&ask()).await.status, upstream.count()), (status, count));
    }
}

#[tokio::test]
async fn the_connection_of_an_answer_that_is_passed_over_is_used_again() {
    let upstream = Script::start(|n| says(if n == 0 { 503 } else { 200 }, "")).await;
    let edge = edge_to(&[upstream.url()], Some(policy(1)), |_, _, _| {});
    assert_eq!(edge.send(&ask()).await.status, 200);
    assert_eq!(edge.send(&ask()).await.status, 200);
    let (opened, reused) = edge.checkouts();
    assert!(opened <= 2 && reused >= 1, "{opened} {reused}");
}

#[tokio::test]
async fn without_a_policy_nothing_is_sent_again_that_may_have_been_done() {
    let upstream = Script::always(503).await;
    let edge = edge_to(&[upstream.url()], None, |_, _, _| {});
    assert_eq!(edge.send(&ask()).await.status, 503);
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn only_idempotent_methods_are_sent_again() {
    for (method, count) in [("PUT", 2), ("DELETE", 2), ("OPTIONS", 2), ("HEAD", 2), ("POST", 1), ("PATCH", 1)]
    {
        let upstream = Script::always(503).await;
        let edge = edge_to(&[upstream.url()], Some(policy(1)), |_, _, _| {});
        edge.send(&ask().replace("GET", method)).await;
        assert_eq!(upstream.count(), count, "{method}");
    }
}

#[tokio::test]
async fn a_body_that_the_upstream_has_begun_to_take_is_not_sent_again_and_one_at_hand_is() {
    let upload = ask().replace("GET", "PUT").replacen("\r\n\r\n", "\r\ncontent-length: 4\r\n\r\nbody", 1);
    let upstream = Script::always(503).await;
    let edge = edge_to(&[upstream.url()], Some(policy(1)), |_, _, _| {});
    assert_eq!(edge.send(&upload).await.status, 503);
    assert_eq!(upstream.count(), 1);
    // A rule reads it, so it is at hand.
    let edge = edge_to(&[upstream.url()], Some(policy(1)), |_, _, all| {
        let check = fleet::BodyCheck { path: "a".to_owned(), ..fleet::BodyCheck::default() };
        let when = fleet::RequestMatch { body: vec![check], ..fleet::RequestMatch::default() };
        let rule = fleet::RuleResource {
            effect: fleet::Effect::Deny.into(),
            when: Some(when),
            ..fixture::rule_message(1, fixture::proxy_key(1))
        };
        all.push(fixture::resource(fixture::rule_key(1), prost::Message::encode_to_vec(&rule)));
    });
    let upload = upload.replace("body", "[12]");
    assert_eq!(edge.send(&upload).await.status, 503);
    let seen = upstream.seen();
    assert_eq!(seen.len(), 3, "{seen:?}");
    assert!(seen[1].ends_with("[12]") && seen[2].ends_with("[12]"), "{seen:?}");
}

/// A port at which nobody listens.
async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    format!("http://{}", listener.local_addr().expect("it is bound"))
}

#[tokio::test]
async fn a_connection_that_does_not_come_about_takes_no_body_so_another_base_url_gets_it() {
    let upstream = Script::always(200).await;
    let edge = edge_to(&[nobody().await, upstream.url()], Some(policy(1)), |_, _, _| {});
    let upload = ask().replace("GET", "PUT").replacen("\r\n\r\n", "\r\ncontent-length: 4\r\n\r\nbody", 1);
    let answer = edge.send(&upload).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(upstream.seen()[0].ends_with("body"), "{:?}", upstream.seen());
    let record = edge.record().await;
    assert_eq!((record.attempts, record.endpoint), (2, upstream.authority()));
}

#[tokio::test]
async fn a_retry_goes_to_another_base_url_only_if_the_secret_may() {
    let (bad, good) = (Script::always(503).await, Script::always(200).await);
    let urls = [bad.url(), good.url()];
    let edge = edge_to(&urls, Some(policy(1)), |_, _, _| {});
    assert_eq!(edge.send(&ask()).await.status, 200);
    assert_eq!((bad.count(), good.count()), (1, 1));
    assert!(good.seen()[0].contains(&format!("host: {}\r\n", good.authority())));
    let (bad, other) = (Script::always(503).await, Script::always(200).await);
    let edge = edge_to(&[bad.url(), other.url()], Some(policy(1)), |region, _, all| {
        all.push(region.upstream(2, 1, SECRET, HEADER, &[&bad.url()]));
    });
    assert_eq!(edge.send(&ask()).await.status, 503);
    assert_eq!((bad.count(), other.count()), (2, 0));
}

#[tokio::test]
async fn an_upstream_that_asks_for_a_longer_wait_than_the_longest_is_not_asked_again() {
    let upstream = Script::start(|n| match n {
        0 => says(503, "retry-after: 3\r\n"),
        1 => says(503, "retry-after: 1\r\n"),
        _ => says(200, ""),
    })
    .await;
    let edge = edge_to(&[upstream.url()], Some(policy(1)), |_, _, _| {});
    assert_eq!(edge.send(&ask()).await.status, 503);
    assert_eq!(upstream.count(), 1);
    let began = Instant::now();
    assert_eq!(edge.send(&ask()).await.status, 200);
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
}

#[tokio::test]
async fn all_attempts_together_take_no_longer_than_the_target_allows() {
    let upstream = Script::start(|_| says(503, "retry-after: 1\r\n")).await;
    let edge = edge_to(&[upstream.url()], Some(policy(5)), |_, target, _| {
        target.total_timeout = millis(500);
    });
    let answer = edge.send(&ask()).await;
    assert_eq!((answer.status, upstream.count()), (503, 1), "it is not even waited for");
}

#[tokio::test]
async fn retries_stay_within_their_budget() {
    let upstream = Script::always(503).await;
    let edge = edge_to(&[upstream.url()], Some(policy(1)), |_, _, _| {});
    for _ in 0..10 {
        edge.send(&ask()).await;
    }
    assert_eq!(upstream.count(), 13, "three are always affordable");
}

#[tokio::test]
async fn a_response_that_does_not_come_in_time_is_not_asked_for_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let edge = edge_to(&[url], Some(policy(1)), |_, target, _| target.response_timeout = millis(100));
    let answer = edge.send(&ask()).await;
    assert_eq!((answer.status, answer.json()["code"].clone()), (504, "upstream-timeout".into()));
    assert_eq!(edge.record().await.attempts, 0);
}

#[tokio::test]
async fn a_retry_that_opens_the_circuit_leaves_the_last_answer() {
    let upstream = Script::start(|n| says(503 + u16::from(n > 0), "")).await;
    let edge = edge_to(&[upstream.url()], Some(policy(5)), |_, target, _| {
        let breaker = fleet::CircuitBreaker { consecutive_failures: 2, open_for: millis(60_000) };
        target.circuit_breaker = Some(breaker);
    });
    assert_eq!(edge.send(&ask()).await.status, 504);
    assert_eq!(upstream.count(), 2);
    assert_eq!(edge.send(&ask()).await.status, 503, "and from then on it is open");
    assert_eq!(upstream.count(), 2);
}

#[tokio::test]
async fn a_caller_that_goes_away_between_two_attempts_ends_them() {
    let upstream = Script::start(|_| says(503, "retry-after: 2\r\n")).await;
    let edge = edge_to(&[upstream.url()], Some(policy(5)), |_, _, _| {});
    let mut caller = edge.connect().await;
    caller.write_all(ask().as_bytes()).await.expect("the edge reads");
    while upstream.count() == 0 {
        tokio::task::yield_now().await;
    }
    drop(caller);
    let record = timeout(SOON, edge.record()).await.expect("it ends");
    assert_eq!((record.status, &*record.code), (0, "caller-gone"));
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn limits_count_a_request_once_however_often_it_is_sent() {
    let upstream = Script::start(|n| says(if n < 2 { 503 } else { 200 }, "")).await;
    let edge = edge_to(&[upstream.url()], None, |_, _, all| {
        let limits = Some(fleet::Limits { per_day_per_node: 10, ..fleet::Limits::default() });
        let retry = Some(policy(2));
        let proxy = fleet::ProxyResource { limits, retry, ..fixture::proxy_message(1, &[1], 1, 2) };
        all.push(fixture::resource(fixture::proxy_key(1), prost::Message::encode_to_vec(&proxy)));
    });
    assert_eq!(edge.send(&ask()).await.status, 200);
    let record = edge.record().await;
    assert_eq!((record.attempts, record.limits[0].used), (3, 1));
}

#[tokio::test]
async fn a_streamed_upload_of_which_nothing_was_taken_goes_on_with_the_retry() {
    // The first connection ends before the caller has sent anything of its body.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let edge = edge_to(&[url], Some(policy(1)), |_, _, _| {});
    let upload = ask().replace("GET", "PUT").replacen("\r\n\r\n", "\r\ncontent-length: 4\r\n\r\n", 1);
    let mut caller = edge.connect().await;
    caller.write_all(upload.as_bytes()).await.expect("the edge reads");
    let mut head = [0; 4096];
    let (mut first, _) = timeout(SOON, listener.accept()).await.expect("in time").expect("it listens");
    assert_ne!(first.read(&mut head).await.expect("the edge sends"), 0);
    drop(first);
    let (mut second, _) = timeout(SOON, listener.accept()).await.expect("in time").expect("it listens");
    caller.write_all(b"body").await.expect("the edge reads");
    let mut seen = Vec::new();
    while !seen.ends_with(b"body") {
        seen.push(timeout(SOON, second.read_u8()).await.expect("in time").expect("the edge sends"));
    }
    second.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.expect("the edge reads");
    assert_eq!(timeout(SOON, Answer::read_one(&mut caller)).await.expect("in time").status, 200);
}

#[tokio::test]
async fn an_upload_is_not_sent_again_after_an_answer_whose_connection_may_still_read_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let edge = edge_to(&[url], Some(policy(1)), |_, _, _| {});
    let upload = ask().replace("GET", "PUT").replacen("\r\n\r\n", "\r\ncontent-length: 4\r\n\r\n", 1);
    let mut caller = edge.connect().await;
    caller.write_all(upload.as_bytes()).await.expect("the edge reads");
    let mut head = [0; 4096];
    let (mut first, _) = timeout(SOON, listener.accept()).await.expect("in time").expect("it listens");
    assert_ne!(first.read(&mut head).await.expect("the edge sends"), 0);
    // Nothing of the body has come, and it answers already.
    first.write_all(says(503, "").as_bytes()).await.expect("the edge reads");
    let answer = timeout(SOON, Answer::read_one(&mut caller)).await.expect("in time");
    assert_eq!(answer.status, 503);
    assert_eq!(edge.checkouts().0, 1, "it went out once");
}
