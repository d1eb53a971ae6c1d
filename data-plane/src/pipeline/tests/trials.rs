//! Requests that explain themselves: what is told, and to whom nothing is.

use std::sync::Arc;
use std::time::SystemTime;

use prost::Message as _;
use rr_contract::trial::{Claims, HEADER};
use rr_contract::wire::fleet::trial_part::Part;
use rr_contract::wire::fleet::{self, RequestStage as Stage, TrialEnd, TrialHead};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::fixture::{Region, deny_path, proxy_id, proxy_key};
use crate::trials::tests::{Authority, claims};

use super::edge::{Answer, Edge};
use super::limits::PATH;
use super::origin::Upstream;
use super::script::Script;
use super::{get, resources, with_key};

/// A node that trusts an authority.
struct World {
    authority: Authority,
    edge: Edge,
}

/// What a request was told of itself.
struct Told {
    head: TrialHead,
    body: Vec<u8>,
    end: TrialEnd,
}

impl World {
    async fn new(url: &str, more: impl IntoIterator<Item = fleet::Resource>) -> Self {
        let authority = Authority::new();
        let region = Region::new();
        let mut all = resources(&region, url);
        all.extend(more);
        let edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
        let node = authority.node();
        edge.asks(move |worker| worker.trials.joined(move || Arc::clone(&node))).await;
        Self { authority, edge }
    }

    fn header(&self, nonce: u8) -> String {
        self.header_of(&claims(SystemTime::now(), nonce))
    }

    fn header_of(&self, claims: &Claims) -> String {
        format!("{HEADER}: {}\r\n", self.authority.permits(claims))
    }

    async fn sent(&self, request: &str) -> Vec<u8> {
        let mut stream = self.edge.connect().await;
        stream.write_all(request.as_bytes()).await.expect("the edge reads");
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.expect("the edge answers");
        bytes
    }

    async fn tried(&self, request: &str) -> Told {
        let answer = self.sent(request).await;
        let at = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
        let head = String::from_utf8(answer[..at].to_vec()).expect("a text");
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(head.contains("content-type: application/vnd.requestrocket.trial"), "{head}");
        assert!(head.contains("cache-control: no-store"), "{head}");
        let whole = unchunked(&answer[at + 4..]);
        let mut bytes = whole.as_slice();
        let (mut head, mut body) = (None, Vec::new());
        loop {
            let part = fleet::TrialPart::decode_length_delimited(&mut bytes).expect("a part");
            match part.part.expect("one of them") {
                Part::Head(told) => head = Some(told),
                Part::Body(more) => body.extend_from_slice(&more),
                Part::Trailers(_) => {}
                Part::End(end) => {
                    assert!(bytes.is_empty(), "the end is last");
                    return Told { head: head.expect("a head comes first"), body, end };
                }
            }
        }
    }
}

fn unchunked(mut body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    loop {
        let at = body.windows(2).position(|two| two == b"\r\n").expect("a chunk");
        let length = std::str::from_utf8(&body[..at]).expect("a length");
        let length = usize::from_str_radix(length, 16).expect("a length");
        if length == 0 {
            return whole;
        }
        whole.extend_from_slice(&body[at + 2..at + 2 + length]);
        body = &body[at + 4 + length..];
    }
}

fn stages(told: &[fleet::TrialStage]) -> Vec<(Stage, bool)> {
    told.iter().map(|stage| (stage.stage(), stage.refused)).collect()
}

#[tokio::test]
async fn a_request_with_a_permission_tells_its_stages_around_its_response() {
    let upstream = Upstream::echo().await;
    let world = World::new(&upstream.url(""), []).await;
    let told = world.tried(&get(PATH, &(with_key(1) + &world.header(1)))).await;
    let passed = [
        Stage::Resolve,
        Stage::Authenticate,
        Stage::Activate,
        Stage::Clean,
        Stage::Rewrite,
        Stage::Authorize,
        Stage::Admit,
        Stage::Inject,
        Stage::Forward,
    ];
    let passed = passed.map(|stage| (stage, false));
    assert_eq!(told.head.status, 200);
    assert_eq!(stages(&told.head.stages), passed);
    assert_eq!(stages(&told.end.stages), [&passed[..], &[(Stage::Settle, false)]].concat());
    let times: Vec<u64> = told.end.stages.iter().map(|stage| stage.began_us).collect();
    assert!(times.is_sorted(), "{times:?}");
    assert!(told.end.stages[8].took_us > 0, "the upstream takes a while");
    let record = told.end.record.expect("there is one");
    assert_eq!(
        (record.code.as_str(), record.status, record.proxy),
        ("proxy-access-granted", 200, proxy_id(1).to_string())
    );
    assert!(!told.end.broken_off && !record.aborted);
    assert_eq!(record.id, world.edge.record().await.id, "the record is kept as well");
    assert!(
        told.head
            .fields
            .iter()
            .any(|field| field.name == "requestrocket-request-id" && field.value == record.id.as_bytes())
    );
    assert_eq!(told.body, b"hello");
    let seen = upstream.last();
    assert!(seen.header("x-api-key").is_some() && seen.header(HEADER).is_none(), "{}", seen.text());
}

#[tokio::test]
async fn without_a_permission_the_same_request_tells_nothing() {
    let upstream = Upstream::echo().await;
    let world = World::new(&upstream.url(""), [deny_path(7, proxy_key(1), "^/denied$")]).await;
    let plain = Answer::parse(&world.sent(&get(PATH, &with_key(1))).await);
    assert_eq!((plain.status, plain.header("content-type")), (200, None));
    assert!(!plain.text.contains("trial"), "{}", plain.text);
}

#[tokio::test]
async fn a_refused_request_tells_in_which_stage_and_by_which_rule() {
    let upstream = Upstream::echo().await;
    let world = World::new(&upstream.url(""), [deny_path(7, proxy_key(1), "^/denied$")]).await;
    let told = world.tried(&get(&format!("{PATH}denied"), &(with_key(1) + &world.header(1)))).await;
    assert_eq!(told.head.status, 400);
    let by = told.end.stages.iter().find(|stage| stage.refused).expect("one refuses");
    assert_eq!((by.stage(), by.reason.as_str()), (Stage::Authorize, "rules deny the request"));
    let record = told.end.record.expect("there is one");
    assert_eq!(record.code, "rule-denied");
    assert_eq!(record.rules.expect("they were asked").rule, record.matched_rules[0]);
    assert!(String::from_utf8_lossy(&told.body).contains("rule-denied"), "the body that a caller gets");
    assert_eq!(upstream.count(), 0);

    let told = world.tried(&get(PATH, &world.header(2))).await;
    assert_eq!(told.head.status, 401);
    let by = told.end.stages.last().expect("there are some");
    assert_eq!(
        (by.stage(), told.end.record.expect("there is one").reason.as_str()),
        (Stage::Settle, "missing")
    );
    assert!(told.head.stages.last().is_some_and(|last| last.refused && last.stage() == Stage::Authenticate));
}

#[tokio::test]
async fn a_permission_that_does_not_count_stops_the_request_and_tells_nothing_but_why() {
    let upstream = Upstream::echo().await;
    let world = World::new(&upstream.url(""), []).await;
    let used = world.header(1);
    world.tried(&get(PATH, &(with_key(1) + &used))).await;
    let other = claims(SystemTime::now(), 2);
    let other = world.header_of(&Claims { proxy: proxy_id(2), ..other });
    let nobody = PATH.replacen("/api/", "/api/x", 1);
    for (path, header, reason) in [
        (PATH, used, "used"),
        (PATH, other, "other-proxy"),
        (nobody.as_str(), world.header(3), "other-proxy"),
        (PATH, format!("{HEADER}: x\r\n"), "malformed"),
    ] {
        let answer = Answer::parse(&world.sent(&get(path, &(with_key(1) + &header))).await);
        assert_eq!(answer.status, 403, "{}", answer.text);
        let problem = answer.json();
        assert_eq!((&problem["code"], &problem["reason"]), (&"trial-refused".into(), &reason.into()));
        assert!(!answer.text.contains("vnd.requestrocket.trial"), "{}", answer.text);
    }
    let head = get(PATH, &(with_key(1) + &world.header(4))).replacen("GET", "HEAD", 1);
    assert!(String::from_utf8_lossy(&world.sent(&head).await).starts_with("HTTP/1.1 403"));
    let upgrade = format!(
        "GET {PATH} HTTP/1.1\r\nhost: edge\r\nconnection: upgrade, close\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n{}{}\r\n",
        with_key(1),
        world.header(5)
    );
    let answer = Answer::parse(&world.sent(&upgrade).await);
    assert_eq!((answer.status, &answer.json()["reason"]), (403, &"kind".into()));
    assert_eq!(upstream.count(), 1, "the first alone was sent");
}

#[tokio::test]
async fn a_response_that_breaks_off_is_told_as_such() {
    let upstream = Script::start(|_| {
        "HTTP/1.1 200 Told\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\nno chunk\r\n".to_owned()
    });
    let upstream = upstream.await;
    let world = World::new(&upstream.url(), []).await;
    let told = world.tried(&get(PATH, &(with_key(1) + &world.header(1)))).await;
    assert!(told.end.broken_off);
    assert_eq!(told.body, b"abc");
    assert!(told.end.record.expect("there is one").aborted);
}
