//! Access tokens in requests: got before, waited for, got anew where an upstream does not take one, and kept from callers.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use prost::Message as _;
use rr_contract::seal::{Means, SecretSpec, Slot};
use rr_contract::seam::Volatile;
use rr_contract::secret::Secret;
use rr_contract::wire::fleet;
use tokio::task::yield_now;
use tokio::time::{Instant, timeout};

use crate::access_token::tests::{Endpoint, Following, basic, grant};
use crate::fixture::{
    Region, proxy_key, proxy_message, resource, rule_key, rule_message, sealed_upstream, target_message,
    target_of,
};

use super::edge::{Answer, Edge};
use super::origin::Upstream;
use super::{get, resources, with_key};

const PATH: &str = "/api/acme.proxy-1/x";
const TOKEN_1: &str = "token-1-of-32-characters-0123456";
const TOKEN_2: &str = "token-2-of-32-characters-0123456";

/// What a token that is asked for there is sealed as.
pub(super) fn spec(issuer: &str, client_secret: &str, origin: &str) -> SecretSpec {
    SecretSpec {
        value: Secret::from(client_secret.to_owned()),
        origins: vec![origin.parse().expect("an origin")],
        means: Means::Grant { slot: Slot::bearer(), grant: grant(issuer, basic()) },
        not_after: None,
        ca: None,
    }
}

struct World {
    issuer: Endpoint,
    taken: Arc<Mutex<String>>,
    upstream: Upstream,
    region: Region,
    _following: Following,
}

impl World {
    async fn new() -> Self {
        let (issuer, taken) = (Endpoint::start().await, Arc::new(Mutex::new(format!("Bearer {TOKEN_1}"))));
        issuer.gives(TOKEN_1, 3600);
        let upstream = Upstream::that_takes(&taken).await;
        let region = Region::new();
        let following = Following::of(region.standings.tokens().clone(), &Arc::<Volatile>::default());
        Self { issuer, taken, upstream, region, _following: following }
    }

    /// An edge with these resources besides, for a token that is sealed for an origin.
    fn edge_for(&self, origin: &str, more: Vec<fleet::Resource>) -> Edge {
        let mut all = resources(&self.region, &self.upstream.url(""));
        let spec = spec(&self.issuer.url(), "a client's secret of 32 characters", origin);
        all[3] = sealed_upstream(2, 1, &self.region.seal_spec(2, 1, &spec));
        all.extend(more);
        Edge::start(self.region.snapshot(&all), &["127.0.0.0/8"])
    }

    fn edge(&self, more: Vec<fleet::Resource>) -> Edge {
        self.edge_for(&self.upstream.url(""), more)
    }

    fn takes(&self, token: &str) {
        *self.taken.lock().expect("no test panics with it") = format!("Bearer {token}");
    }

    /// As if the issuer had been asked long ago.
    fn asked_long_ago(&self) {
        let [source] = &self.region.standings.tokens().all()[..] else { panic!("one source") };
        source.begun_before(Duration::from_secs(60));
    }
}

async fn asks(edge: &Edge, method: &str, body: &str) -> Answer {
    let head = format!("{method} {PATH} HTTP/1.1\r\nhost: edge\r\nconnection: close\r\n{}", with_key(1));
    let length = if method == "GET" { String::new() } else { format!("content-length: {}\r\n", body.len()) };
    edge.send(&format!("{head}{length}\r\n{body}")).await
}

#[tokio::test]
async fn a_token_is_got_once_and_takes_the_place_of_a_callers_header() {
    let world = World::new().await;
    let edge = world.edge(Vec::new());
    for _ in 0..3 {
        let answer = edge.send(&get(PATH, &format!("{}x: 1\r\n", with_key(1)))).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(world.upstream.last().all("authorization"), [format!("Bearer {TOKEN_1}")]);
        // What the upstream sends back of it is masked.
        assert!(answer.text.ends_with(&format!("Bearer {}", "*".repeat(TOKEN_1.len()))), "{answer:?}");
        let record = edge.record().await;
        assert_eq!(record.echo(), fleet::EchoOutcome::Masked);
        assert!(!format!("{record:?}").contains("token-1"));
    }
    assert_eq!((world.issuer.count(), world.upstream.count()), (1, 3));
}

#[tokio::test]
async fn a_request_without_a_token_says_so_in_its_record_and_reaches_no_upstream() {
    let world = World::new().await;
    world.issuer.says(401, r#"{"error":"invalid_client"}"#);
    let edge = world.edge(Vec::new());
    let answer = edge.send(&get(PATH, &with_key(1))).await;
    assert_eq!(answer.status, 502, "{answer:?}");
    assert!(!answer.text.contains("invalid_client"));
    let record = edge.record().await;
    assert_eq!((record.code.as_str(), record.reason.as_str()), ("credential-unusable", "no-token"));
    assert_eq!((world.issuer.count(), world.upstream.count()), (1, 0));
    // Its issuer gives one again.
    world.issuer.gives(TOKEN_1, 3600);
    world.asked_long_ago();
    assert_eq!(edge.send(&get(PATH, &with_key(1))).await.status, 200);
}

#[tokio::test]
async fn a_token_goes_to_the_origins_of_its_seal_alone() {
    let world = World::new().await;
    let edge = world.edge_for("https://other.example", Vec::new());
    assert_eq!(edge.send(&get(PATH, &with_key(1))).await.status, 502);
    assert_eq!(edge.record().await.reason, "other-origin");
    assert_eq!(world.upstream.count(), 0);
}

#[tokio::test]
async fn a_token_that_the_upstream_does_not_take_is_got_anew_once() {
    let world = World::new().await;
    let edge = world.edge(Vec::new());
    assert_eq!(asks(&edge, "GET", "").await.status, 200);
    // It was revoked.
    world.takes(TOKEN_2);
    world.issuer.gives(TOKEN_2, 3600);
    assert_eq!(asks(&edge, "GET", "").await.status, 401, "the issuer was asked a moment ago");
    world.asked_long_ago();
    let answer = asks(&edge, "GET", "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.text.ends_with(&format!("Bearer {}", "*".repeat(TOKEN_2.len()))), "{answer:?}");
    assert_eq!(world.issuer.count(), 2);
    let seen: Vec<_> = world.upstream.all().iter().map(|seen| seen.all("authorization").join(",")).collect();
    let tokens = [TOKEN_1, TOKEN_1, TOKEN_1, TOKEN_2].map(|token| format!("Bearer {token}"));
    assert_eq!(seen, tokens);
    assert_eq!((edge.totals().other_tokens, edge.totals().previous_secrets), (1, 0));
    // An upstream that takes none has neither its issuer asked for each request, nor a request sent for ever.
    world.takes("another");
    world.asked_long_ago();
    world.issuer.gives("token-3-of-32-characters-0123456", 3600);
    for (asked, sent) in [(3, 6), (3, 7), (3, 8)] {
        assert_eq!(asks(&edge, "GET", "").await.status, 401);
        assert_eq!((world.issuer.count(), world.upstream.count()), (asked, sent));
    }
}

/// A rule that looks at bodies, so that they are read before they are sent.
fn reads_bodies() -> fleet::Resource {
    let value = Some(fleet::Pattern { regex: "^never$".to_owned(), ..fleet::Pattern::default() });
    let check = fleet::BodyCheck { path: "a".to_owned(), value, absent: false };
    let rule = fleet::RuleResource {
        effect: fleet::Effect::Deny.into(),
        when: Some(fleet::RequestMatch { body: vec![check], ..fleet::RequestMatch::default() }),
        ..rule_message(1, proxy_key(1))
    };
    resource(rule_key(1), rule.encode_to_vec())
}

#[tokio::test]
async fn a_body_that_was_sent_is_sent_again_only_where_the_request_may_be_repeated_and_all_of_it_is_there() {
    for (method, is_read, is_sent_again) in [
        ("GET", false, true),
        ("POST", true, false),
        ("PUT", true, true),
        ("DELETE", true, true),
        ("PUT", false, false),
    ] {
        let world = World::new().await;
        let more = if is_read { vec![reads_bodies()] } else { Vec::new() };
        let edge = world.edge(more);
        assert_eq!(asks(&edge, "GET", "").await.status, 200);
        world.takes(TOKEN_2);
        world.issuer.gives(TOKEN_2, 3600);
        world.asked_long_ago();
        let answer = asks(&edge, method, r#"{"a":"b"}"#).await;
        let status = if is_sent_again { 200 } else { 401 };
        assert_eq!(answer.status, status, "{method}: {answer:?}");
        assert_eq!(world.upstream.count(), 2 + usize::from(is_sent_again), "{method}");
    }
}

#[tokio::test]
async fn a_credential_that_goes_takes_its_source_with_it() {
    let world = World::new().await;
    let mut edge = world.edge(Vec::new());
    assert_eq!(asks(&edge, "GET", "").await.status, 200);
    assert_eq!(world.region.standings.tokens().all().len(), 1);
    let without = resources(&world.region, &world.upstream.url(""));
    let generation = edge.activate(world.region.snapshot(&without));
    edge.tells(generation).await;
    let goes = async {
        while !world.region.standings.tokens().all().is_empty() {
            edge.bury();
            yield_now().await;
        }
    };
    timeout(Duration::from_secs(10), goes).await.expect("nobody holds it");
}

#[tokio::test]
async fn no_wait_for_a_token_is_longer_than_the_target_lets_a_request_last() {
    let world = World::new().await;
    let target = fleet::TargetResource {
        total_timeout: Some(pbjson_types::Duration { seconds: 0, nanos: 300_000_000 }),
        ..target_message(1, &world.upstream.url(""))
    };
    let edge = world.edge(vec![target_of(1, &target)]);
    world.issuer.holds();
    let began = Instant::now();
    assert_eq!(asks(&edge, "GET", "").await.status, 502);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    // Nor is one for another token.
    world.issuer.opens();
    until_token(&world).await;
    world.takes(TOKEN_2);
    world.asked_long_ago();
    world.issuer.holds();
    let began = Instant::now();
    assert_eq!(asks(&edge, "GET", "").await.status, 401);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

async fn until_token(world: &World) {
    let there = async {
        while !world.region.standings.tokens().all().iter().all(|it| it.has_token(SystemTime::now())) {
            yield_now().await;
        }
    };
    timeout(Duration::from_secs(10), there).await.expect("the issuer answers");
}

/// What answers hold is looked at for their records alone.
#[tokio::test]
async fn a_token_that_comes_back_is_in_no_kept_value_where_answers_are_not_searched() {
    let world = World { upstream: Upstream::told().await, ..World::new().await };
    let names = fleet::Recording { response_headers: vec!["x-said".to_owned()], ..Default::default() };
    let proxy = fleet::ProxyResource {
        echo_guard: fleet::EchoGuard::Off.into(),
        recording: Some(names),
        ..proxy_message(1, &[1], 1, 2)
    };
    let edge = world.edge(vec![resource(proxy_key(1), proxy.encode_to_vec())]);
    for (said, kept) in [(TOKEN_1, ""), ("fine", "fine")] {
        let headers = format!("{}x-answer-x-said: {said}\r\n", with_key(1));
        let answer = edge.send(&get(PATH, &headers)).await;
        assert_eq!((answer.status, answer.header("x-said")), (200, Some(said)));
        let record = edge.record().await;
        let values: Vec<_> = record.kept_values.iter().map(|it| (&*it.name, &*it.value)).collect();
        assert_eq!(values, [("x-said", kept)]);
    }
}
