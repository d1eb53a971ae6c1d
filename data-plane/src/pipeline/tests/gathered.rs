//! Bodies that are held whole: how many there are at a time, who is told that there is no room, and that the room comes
//! back however a request ends.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use rr_contract::model::id::OrgId;
use rr_contract::model::resource::{Key, ResourceId};
use rr_contract::runtime::Tasks;
use rr_contract::wire::fleet::{self, FilterAction};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::fixture::{self, ORG, Region, caller_key, filter, proxy_id, proxy_key};
use crate::seats::Bounds;

use super::bounds::{ask, http2_to};
use super::edge::{Answer, Edge};
use super::limits::by_body;
use super::origin::Upstream;
use super::{get, resources, resources_of_another, with_key};

/// No test waits for longer than this, whatever the guard does.
const SOON: Duration = Duration::from_secs(20);
const MIB: usize = 1024 * 1024;
/// An organization holds half of it, and an eighth is for those that hold no more than 128 KiB.
const ROOM: usize = 8 * MIB;

/// A rule that looks at the body of each request.
pub(super) fn about_body(parent: Key) -> fleet::Resource {
    let value = Some(fleet::Pattern { regex: "^no$".to_owned(), ..fleet::Pattern::default() });
    let check = fleet::BodyCheck { path: "m".to_owned(), value, absent: false };
    let when = fleet::RequestMatch { body: vec![check], ..fleet::RequestMatch::default() };
    let effect = fleet::Effect::Deny.into();
    let message = fleet::RuleResource { effect, when: Some(when), ..fixture::rule_message(7, parent) };
    let ResourceId::Rule(id) = fixture::rule_key(7).id else { unreachable!("it is one") };
    fixture::resource(Key::new(parent.org, ResourceId::Rule(id)), message.encode_to_vec())
}

fn secret_filter() -> fleet::Resource {
    filter(1, proxy_key(1), FilterAction::Destroy, &["secret"])
}

/// An edge with these resources beside the usual ones, and with the same rule at the proxy of another organization.
fn edge_with(
    url: &str,
    room: usize,
    bounds: Bounds,
    more: impl IntoIterator<Item = fleet::Resource>,
) -> Edge {
    let region = Region::new();
    let mut all = resources(&region, url);
    all.extend(resources_of_another(url));
    all.push(about_body(Key::new(OrgId::from_random([33; 16]), ResourceId::Proxy(proxy_id(11)))));
    all.extend(more);
    Edge::start_holding(region.snapshot(&all), &["127.0.0.0/8"], room, bounds)
}

fn reading(url: &str, room: usize) -> Edge {
    edge_with(url, room, Bounds::of(1_000), [about_body(proxy_key(1))])
}

fn filtering(url: &str, room: usize, bounds: Bounds) -> Edge {
    edge_with(url, room, bounds, [secret_filter()])
}

fn head(path: &str, key: u8, framing: &str) -> String {
    get(path, &format!("{}{framing}\r\n", with_key(key))).replace("GET", "POST")
}

/// A text of so many bytes, as JSON.
fn json(length: usize) -> Vec<u8> {
    [&b"\""[..], &vec![b'x'; length - 2], b"\""].concat()
}

/// An upload that has come but for its last byte.
async fn upload(edge: &Edge, body: &[u8]) -> TcpStream {
    let mut caller = edge.connect().await;
    let head = head("/api/acme.proxy-1/", 1, &format!("content-length: {}", body.len()));
    caller.write_all(head.as_bytes()).await.expect("the edge reads");
    caller.write_all(&body[..body.len() - 1]).await.expect("the edge reads");
    caller
}

/// Waits until so many bytes are held.
async fn holds(edge: &Edge, bytes: usize) {
    let held = async {
        while edge.held().await < bytes {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, held).await.expect("they come");
}

async fn is_free(edge: &Edge) {
    timeout(SOON, edge.holds_at_most(0)).await.expect("all of it comes back");
}

fn is_refused(answer: &Answer) {
    assert_eq!((answer.status, answer.json()["code"].clone()), (503, "too-many-bodies".into()));
    assert_eq!(answer.header("retry-after"), Some("1"));
}

/// Speaks HTTP/2, with bodies.
async fn http2_with_bodies(edge: &Edge, tasks: &Tasks) -> SendRequest<Full<Bytes>> {
    let io = TokioIo::new(edge.connect().await);
    let (sender, connection) = handshake(TokioExecutor::new(), io).await.expect("it speaks HTTP/2");
    tasks.spawn("client", connection);
    sender
}

async fn all_of(mut body: Incoming) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(frame) = body.frame().await {
        all.extend_from_slice(&frame.expect("it does not break off").into_data().unwrap_or_default());
    }
    all
}

fn post_http2(body: Vec<u8>) -> Request<Full<Bytes>> {
    Request::post("http://edge/api/acme.proxy-1/")
        .header("authorization", caller_key(1))
        .body(Full::new(body.into()))
        .expect("a request")
}

#[tokio::test]
async fn uploads_that_are_read_whole_are_bounded_and_small_ones_of_another_organization_pass() {
    let (upstream, tasks) = (Upstream::mirror().await, Tasks::new());
    let edge = reading(&upstream.url(""), ROOM);
    let body = json(MIB);
    let mut held = Vec::new();
    for n in 1..=4 {
        held.push(upload(&edge, &body).await);
        holds(&edge, n * MIB - 1).await;
    }
    // By their lengths, which nobody waits for.
    for _ in 4..40 {
        let mut caller = edge.connect().await;
        let head = head("/api/acme.proxy-1/", 1, &format!("content-length: {MIB}"));
        caller.write_all(head.as_bytes()).await.expect("the edge reads");
        is_refused(&timeout(SOON, Answer::read_one(&mut caller)).await.expect("it is told at once"));
        let record = edge.record().await;
        assert_eq!((record.status, &*record.code, record.upstream_status), (503, "too-many-bodies", 0));
    }
    // And by what comes of them.
    let mut chunked = edge.connect().await;
    let head_of_chunks = head("/api/acme.proxy-1/", 1, "transfer-encoding: chunked");
    let begun = format!("{head_of_chunks}400\r\n\"{}\r\n", "x".repeat(1023));
    chunked.write_all(begun.as_bytes()).await.expect("the edge reads");
    is_refused(&timeout(SOON, Answer::read_one(&mut chunked)).await.expect("it is told at once"));
    let mut over_http2 = http2_with_bodies(&edge, &tasks).await;
    let answer = timeout(SOON, over_http2.send_request(post_http2(json(MIB)))).await.expect("in time");
    let answer = answer.expect("an answer");
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.headers()["retry-after"], "1");
    assert!(edge.held().await <= ROOM / 2, "{}", edge.held().await);
    let totals = edge.totals();
    assert_eq!(totals.not_gathered[0], ("request", 38));
    assert_eq!(totals.gathered_bytes as usize, edge.held().await);
    let small = format!("{}{{\"m\":\"yes\"}}", head("/api/other.proxy-11/", 11, "content-length: 11"));
    assert_eq!(edge.send(&small).await.status, 200, "another's small body waits for nobody");
    assert_eq!(upstream.count(), 1);
    for mut caller in held {
        caller.write_all(b"\"").await.expect("the edge reads");
        assert_eq!(timeout(SOON, Answer::read(caller)).await.expect("in time").status, 200);
    }
    is_free(&edge).await;
    let answer = timeout(SOON, over_http2.send_request(post_http2(json(MIB)))).await.expect("in time");
    assert_eq!(answer.expect("an answer").status(), StatusCode::OK, "there is room again");
    is_free(&edge).await;
    tasks.abort();
}

#[tokio::test]
async fn a_caller_that_leaves_in_the_middle_of_its_upload_leaves_nothing_behind() {
    let upstream = Upstream::echo().await;
    let edge = reading(&upstream.url(""), ROOM);
    let caller = upload(&edge, &json(MIB)).await;
    holds(&edge, MIB - 1).await;
    drop(caller);
    is_free(&edge).await;
    assert_eq!(edge.record().await.code, "caller-gone");
}

#[tokio::test]
async fn an_upload_is_held_until_the_upstream_has_taken_it_and_no_longer() {
    const LONG: usize = 6 * MIB;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let edge = reading(&url, 8 * ROOM);
    for takes_it in [true, false] {
        let mut caller = upload(&edge, &json(LONG)).await;
        caller.write_all(b"\"").await.expect("the edge reads");
        let (mut upstream, _) =
            timeout(SOON, listener.accept()).await.expect("in time").expect("the edge connects");
        assert_ne!(upstream.read(&mut [0; 100]).await.expect("the edge sends"), 0);
        assert!(edge.held().await >= LONG, "what it has not taken is held: {}", edge.held().await);
        if takes_it {
            let (mut taken, mut piece) = (100, vec![0; MIB]);
            while taken < LONG {
                taken += upstream.read(&mut piece).await.expect("the edge sends");
            }
            is_free(&edge).await;
            upstream.write_all(b"HTTP/1.1 204 X\r\n\r\n").await.expect("the edge reads");
        }
        drop(upstream);
        let answer = timeout(SOON, Answer::read_one(&mut caller)).await.expect("in time");
        assert_eq!(answer.status, if takes_it { 204 } else { 502 });
        is_free(&edge).await;
    }
}

#[tokio::test]
async fn answers_that_filters_went_over_are_bounded_and_held_until_their_callers_have_them() {
    let (upstream, tasks) = (Upstream::long().await, Tasks::new());
    let edge = filtering(&upstream.url(""), ROOM, Bounds::of(1_000));
    let mut sender = http2_to(&edge, &tasks).await;
    let asks = |length: usize| {
        let mut request = ask("proxy-1");
        request.headers_mut().insert("x-length", length.into());
        request
    };
    let (mut unread, mut refused) = (Vec::new(), 0);
    for _ in 0..40 {
        let answer = timeout(SOON, sender.send_request(asks(MIB))).await.expect("in time");
        let answer = answer.expect("an answer");
        if answer.status() == StatusCode::OK {
            unread.push(answer.into_body());
            continue;
        }
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.headers()["requestrocket-proxy-code"], "too-many-bodies");
        assert_eq!(answer.headers()["retry-after"], "1");
        let body = all_of(answer.into_body()).await;
        assert!(!body.windows(4).any(|window| window == b"kept"), "nothing of it passes");
        let record = edge.record().await;
        assert_eq!((record.status, record.upstream_status, record.aborted), (503, 200, false));
        refused += 1;
    }
    // The fourth would have been beside its own copy.
    assert_eq!((unread.len(), refused), (3, 37));
    let held = edge.held().await;
    assert!((3 * MIB - 100..=ROOM / 2).contains(&held), "{held}");
    assert_eq!(edge.totals().not_gathered[1], ("response", 37));
    let small = format!("{}{{}}", head("/api/other.proxy-11/", 11, "content-length: 2"));
    assert_eq!(edge.send(&small).await.status, 200, "another's small body waits for nobody");
    let first = timeout(SOON, all_of(unread.remove(0))).await.expect("in time");
    assert!(first.starts_with(b"{\"kept\":\"xxx") && first.ends_with(b"xxx\"}"), "{}", first.len());
    assert_eq!(first.len(), MIB - r#""secret":1,"#.len());
    timeout(SOON, edge.holds_at_most(held - first.len())).await.expect("it is free once it has gone");
    drop((unread, sender));
    tasks.abort();
    is_free(&edge).await;
}

#[tokio::test]
async fn an_answer_that_its_caller_does_not_read_is_free_when_that_is_cut_off() {
    let (upstream, tasks) = (Upstream::long().await, Tasks::new());
    // Of one that filters leave as it is there is no copy.
    for taken in ["secret", "absent"] {
        let bounds = Bounds { patience: Duration::from_millis(200), ..Bounds::of(100) };
        let filter = filter(1, proxy_key(1), FilterAction::Destroy, &[taken]);
        let edge = edge_with(&upstream.url(""), ROOM, bounds, [filter]);
        let mut sender = http2_to(&edge, &tasks).await;
        let mut request = ask("proxy-1");
        request.headers_mut().insert("x-length", MIB.into());
        let unread = sender.send_request(request).await.expect("an answer");
        let held = edge.held().await;
        assert!((MIB - 100..=MIB + 100).contains(&held), "{taken}: {held}");
        is_free(&edge).await;
        drop(unread);
        let record = edge.record().await;
        assert!(record.aborted && record.response_bytes < MIB as u64, "{record:?}");
    }
    tasks.abort();
}

#[tokio::test]
async fn an_upstream_that_breaks_off_leaves_nothing_behind() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let edge = filtering(&url, ROOM, Bounds::of(1_000));
    let mut caller = edge.connect().await;
    caller.write_all(get("/api/acme.proxy-1/", &with_key(1)).as_bytes()).await.expect("the edge reads");
    let (mut upstream, _) = timeout(SOON, listener.accept()).await.expect("in time").expect("it connects");
    assert_ne!(upstream.read(&mut [0; 4096]).await.expect("the edge sends"), 0);
    let begun = format!("HTTP/1.1 200 OK\r\ncontent-length: {MIB}\r\n\r\n{{\"kept\":\"");
    upstream.write_all(begun.as_bytes()).await.expect("the edge reads");
    upstream.write_all(&[b'x'; 200_000]).await.expect("the edge reads");
    holds(&edge, 200_000).await;
    drop(upstream);
    assert_eq!(timeout(SOON, Answer::read(caller)).await.expect("in time").status, 502);
    is_free(&edge).await;
}

#[tokio::test]
async fn copies_that_few_bytes_decode_to_are_held_like_others() {
    // An organization holds 512 KiB, and up to a mebibyte any ratio is taken.
    let (upstream, mirror) = (Upstream::echo().await, Upstream::mirror().await);
    let coded = |length| crate::body::gzipped(&json(length));
    for (length, status) in [(300_000, 200), (600_000, 503)] {
        let coded = coded(length);
        let framing = format!(
            "content-type: application/json\r\ncontent-encoding: gzip\r\ncontent-length: {}",
            coded.len()
        );
        let request = [head("/api/acme.proxy-1/", 1, &framing).as_bytes(), &coded].concat();
        for edge in [
            reading(&upstream.url(""), MIB),
            filtering(&mirror.url(""), MIB, Bounds::of(100)),
            edge_with(&mirror.url(""), MIB, Bounds::of(100), [by_body(9, 7, 1_000)]),
        ] {
            let mut caller = edge.connect().await;
            caller.write_all(&request).await.expect("the edge reads");
            let answer = timeout(SOON, Answer::read(caller)).await.expect("in time");
            let record = timeout(SOON, edge.record()).await.expect("in time");
            let refused: u64 = edge.totals().not_gathered.iter().map(|(_, count)| count).sum();
            assert_eq!(refused, u64::from(status == 503), "{length}");
            if let [meter] = &*record.meters {
                // There is no number in it; where that is not known, no less than was set aside is charged.
                let charged = if status == 503 { 9_000_000 } else { 7_000_000 };
                assert_eq!((answer.status, meter.charged_millionths, meter.missing), (200, charged, true));
            } else {
                assert_eq!(answer.status, status, "{length}: {answer:?}");
            }
            is_free(&edge).await;
        }
    }
}

#[tokio::test]
async fn what_masks_make_longer_is_held_as_it_grows() {
    let upstream = Upstream::mirror().await;
    // An organization holds 512 KiB: 60 KB come, and 80 KB or 800 KB are made of them.
    for (mask, status) in [("***".to_owned(), 200), ("*".repeat(100), 503)] {
        let mut masked = filter(1, proxy_key(1), FilterAction::Mask, &["a"]);
        let mut message = fleet::FilterResource::decode(&*masked.payload).expect("it is one");
        message.mask = mask;
        masked = fixture::resource(
            Key::try_from(&masked.key.expect("it has one")).expect("a key"),
            message.encode_to_vec(),
        );
        let edge = edge_with(&upstream.url(""), MIB, Bounds::of(100), [masked]);
        let body = format!("[{}]", vec![r#"{"a":1}"#; 7_500].join(","));
        let framing = format!("content-length: {}", body.len());
        let answer = edge.send(&format!("{}{body}", head("/api/acme.proxy-1/", 1, &framing))).await;
        assert_eq!(answer.status, status);
        is_free(&edge).await;
    }
}

#[tokio::test]
async fn a_copy_for_meters_without_room_is_dropped_and_counted_and_the_answer_goes_on() {
    let upstream = Upstream::mirror().await;
    let edge = edge_with(&upstream.url(""), ROOM, Bounds::of(100), [by_body(9, 7, 1_000)]);
    edge.leaves_room(ORG, 50).await;
    let taken = edge.held().await;
    for (length, missing) in [(10, 0), (100, 1)] {
        let body = format!("{:length$}{{\"usage\":{{\"total\":1}}}}", "");
        let framing = format!("content-length: {}", body.len());
        let answer = edge.send(&format!("{}{body}", head("/api/acme.proxy-1/", 1, &framing))).await;
        assert_eq!((answer.status, answer.text.ends_with(&body)), (200, true));
        let record = edge.record().await;
        let wanted = if missing == 1 { (9_000_000, true) } else { (1_000_000, false) };
        assert_eq!((record.meters[0].charged_millionths, record.meters[0].missing), wanted);
        assert_eq!(edge.totals().not_gathered[2], ("copy", missing));
        timeout(SOON, edge.holds_at_most(taken)).await.expect("it comes back");
    }
}

#[tokio::test]
async fn an_answer_that_finds_no_room_for_filters_costs_no_less_than_was_set_aside() {
    let upstream = Upstream::long().await;
    let edge = edge_with(&upstream.url(""), ROOM, Bounds::of(100), [secret_filter(), by_body(9, 7, 1_000)]);
    edge.leaves_room(ORG, 50).await;
    is_refused(&edge.send(&get("/api/acme.proxy-1/", &with_key(1))).await);
    let record = edge.record().await;
    assert_eq!((record.status, record.upstream_status), (503, 200));
    assert_eq!((record.meters[0].charged_millionths, record.meters[0].missing), (9_000_000, true));
}
