//! Two secrets that are live: the newest first, and the one before where the upstream does not take it.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use aws_lc_rs::{digest, hmac};
use data_encoding::HEXLOWER;
use prost::Message as _;
use rr_contract::model::time::timestamp;
use rr_contract::seal::{Means, SecretSpec, Slot};
use rr_contract::seam::Volatile;
use rr_contract::secret::Secret;
use rr_contract::wire::fleet;
use rr_contract::wire::fleet::credential_resource::Usage;
use rustls::version::{TLS12, TLS13};

use crate::access_token::tests::{Endpoint, Following};
use crate::fixture::demanding::{ClientPair, Demanding, authority};
use crate::fixture::{
    Region, caller, caller_key, credential_key, org, proxy, resource, target_message, target_of,
};
use crate::upstream::Trust;

use super::access_tokens::spec;
use super::edge::Edge;
use super::origin::Upstream;
use super::{get, resources, with_key};

const PATH: &str = "/api/acme.proxy-1/x?a=1";
const OLD: &str = "old-secret-of-more-than-24-characters";
const NEW: &str = "new-secret-of-more-than-24-characters";

fn value(text: &str, slot: Slot, origin: &str) -> SecretSpec {
    SecretSpec {
        value: Secret::from(text.to_owned()),
        origins: vec![origin.parse().expect("an origin")],
        means: Means::sent(slot),
        not_after: None,
        ca: None,
    }
}

fn header(name: &str) -> Slot {
    Slot::header(name, "").expect("a slot")
}

/// Credential 2 at version 2, and its version 1 until then.
fn two(region: &Region, newest: &SecretSpec, before: &SecretSpec, until: SystemTime) -> fleet::Resource {
    let upstream = fleet::UpstreamCredential {
        kind: Some(fleet::upstream_credential::Kind::Sealed(region.seal_spec(2, 2, newest).to_wire())),
        previous_sealed: Some(region.seal_spec(2, 1, before).to_wire()),
        previous_not_after: Some(timestamp(until)),
        ..fleet::UpstreamCredential::default()
    };
    let credential = fleet::CredentialResource {
        name: "credential-2".to_owned(),
        version: 2,
        usage: Some(Usage::Upstream(upstream)),
        ..fleet::CredentialResource::default()
    };
    resource(credential_key(2), credential.encode_to_vec())
}

fn soon() -> SystemTime {
    SystemTime::now() + Duration::from_secs(600)
}

struct World {
    upstream: Upstream,
    region: Region,
}

impl World {
    async fn that_takes(value: &str) -> Self {
        let upstream = Upstream::that_takes(&Arc::new(Mutex::new(value.to_owned()))).await;
        Self { upstream, region: Region::new() }
    }

    fn edge(&self, newest: &SecretSpec, before: &SecretSpec, until: SystemTime) -> Edge {
        let mut all = resources(&self.region, &self.upstream.url(""));
        all[3] = two(&self.region, newest, before, until);
        Edge::start(self.region.snapshot(&all), &["127.0.0.0/8"])
    }
}

#[tokio::test]
async fn an_upstream_that_does_not_know_the_newest_secret_yet_is_shown_the_one_before_in_its_place() {
    for (slot, shown) in [(header("x-key"), "x-key"), (header("authorization"), "authorization")] {
        let world = World::that_takes(OLD).await;
        let origin = world.upstream.url("");
        let edge = world.edge(&value(NEW, header("x-key"), &origin), &value(OLD, slot, &origin), soon());
        let answer = edge.send(&get(PATH, &with_key(1))).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let [first, second] = &world.upstream.all()[..] else { panic!("two requests") };
        assert_eq!((first.header("x-key"), second.all(shown)), (Some(NEW), vec![OLD]));
        assert_eq!((&*first.target, &*second.target), ("/x?a=1", "/x?a=1"));
        assert!(!second.text().contains(NEW), "nothing of the first one is left");
        // What was shown is what is looked for.
        assert!(!answer.text.contains(OLD), "{answer:?}");
        let record = edge.record().await;
        assert_eq!((record.upstream_status, record.attempts), (200, 2));
        assert_eq!((edge.totals().other_tokens, edge.totals().previous_secrets), (0, 1));
    }
}

#[tokio::test]
async fn a_secret_in_the_query_gives_way_to_the_one_before() {
    let world = World::that_takes(OLD).await;
    let origin = world.upstream.url("");
    let query = Slot::query("key").expect("a slot");
    let edge = world.edge(&value(NEW, query, &origin), &value(OLD, header("x-key"), &origin), soon());
    assert_eq!(edge.send(&get(PATH, &with_key(1))).await.status, 200);
    let targets: Vec<_> = world.upstream.all().iter().map(|seen| seen.target.clone()).collect();
    assert_eq!(targets, [format!("/x?a=1&key={NEW}"), "/x?a=1".to_owned()]);
}

#[tokio::test]
async fn the_secret_before_is_not_shown_once_its_time_is_over_or_where_the_newest_is_taken() {
    for (taken, until, status, count) in [
        (OLD, SystemTime::now() - Duration::from_secs(1), 401, 1),
        (NEW, soon(), 200, 1),
        ("neither", soon(), 401, 2),
    ] {
        let world = World::that_takes(taken).await;
        let origin = world.upstream.url("");
        let (newest, before) = (value(NEW, header("x-key"), &origin), value(OLD, header("x-key"), &origin));
        let edge = world.edge(&newest, &before, until);
        assert_eq!(edge.send(&get(PATH, &with_key(1))).await.status, status, "{taken}");
        assert_eq!(world.upstream.count(), count, "{taken}");
    }
}

#[tokio::test]
async fn the_secret_before_goes_to_the_origins_of_its_own_seal_alone() {
    let world = World::that_takes(OLD).await;
    let origin = world.upstream.url("");
    let before = value(OLD, header("x-key"), "https://other.example");
    let edge = world.edge(&value(NEW, header("x-key"), &origin), &before, soon());
    assert_eq!(edge.send(&get(PATH, &with_key(1))).await.status, 401);
    assert_eq!(world.upstream.count(), 1);
}

#[tokio::test]
async fn a_token_of_the_client_before_is_used_while_the_issuer_does_not_know_the_new_one() {
    let (knows, does_not) = (Endpoint::start().await, Endpoint::start().await);
    knows.gives(OLD, 3600);
    does_not.says(401, r#"{"error":"invalid_client"}"#);
    let world = World::that_takes(&format!("Bearer {OLD}")).await;
    let _following = Following::of(world.region.standings.tokens().clone(), &Arc::<Volatile>::default());
    let origin = world.upstream.url("");
    let edge = world.edge(
        &spec(&does_not.url(), "another client's secret", &origin),
        &spec(&knows.url(), "a client's secret", &origin),
        soon(),
    );
    let answers = async || edge.send(&get(PATH, &with_key(1))).await.status;
    // The first request finds neither; the one of before is asked for by that.
    answers().await;
    for _ in 0..2_000 {
        if answers().await == 200 {
            break;
        }
    }
    assert_eq!(answers().await, 200);
    assert_eq!(knows.count(), 1);
}

#[tokio::test]
async fn a_value_that_stands_in_for_a_token_that_there_is_not_is_kept_from_the_caller() {
    let issuer = Endpoint::start().await;
    issuer.says(401, r#"{"error":"invalid_client"}"#);
    let world = World::that_takes(OLD).await;
    let _following = Following::of(world.region.standings.tokens().clone(), &Arc::<Volatile>::default());
    let origin = world.upstream.url("");
    let newest = spec(&issuer.url(), "a client's secret", &origin);
    let edge = world.edge(&newest, &value(OLD, header("authorization"), &origin), soon());
    let answer = edge.send(&get(PATH, &with_key(1))).await;
    assert_eq!(world.upstream.last().all("authorization"), [OLD]);
    assert!(answer.status == 200 && answer.text.ends_with(&"*".repeat(OLD.len())), "{answer:?}");
    assert_eq!(edge.record().await.echo(), fleet::EchoOutcome::Masked);
}

#[tokio::test]
async fn a_certificate_that_the_upstream_does_not_take_gives_way_to_the_one_before_until_its_time_is_over() {
    for (protocol, version) in
        [(&b"h2"[..], &TLS13), (b"h2", &TLS12), (b"http/1.1", &TLS13), (b"http/1.1", &TLS12)]
    {
        let (region, upstream) = (Region::new(), Demanding::start(&[protocol], &[version], false).await);
        let (ours, unknown) = (upstream.client("ours"), ClientPair::new("unknown", &authority("another")));
        let mut target = target_message(1, &upstream.url());
        target.ca = upstream.own().to_owned();
        let [newest, before] = [&unknown, &ours].map(|pair| pair.spec(&upstream.url(), Some(upstream.own())));
        let of = |until| {
            let credential = two(&region, &newest, &before, until);
            let all =
                [org(false), caller(1, 1, &[1]), target_of(1, &target), credential, proxy(1, &[1], 1, 2)];
            region.snapshot(&all)
        };
        let mut edge = Edge::start_trusting(of(soon()), &["127.0.0.0/8", "::1/128"], Trust::new(None));
        for n in 0..20 {
            let answer = edge.send(&get(PATH, &with_key(1))).await;
            assert!(answer.status == 200 && answer.text.ends_with(" ours"), "{n}: {answer:?}");
            assert_eq!(edge.record().await.upstream_status, 200);
        }
        edge.activate(of(SystemTime::now() - Duration::from_secs(1)));
        let answer = edge.send(&get(PATH, &with_key(1))).await;
        assert_eq!((answer.status, answer.json()["code"].clone()), (502, "upstream-unreachable".into()));
    }
}

fn keyed_hash(key: &str, text: &str, origin: &str) -> SecretSpec {
    let header = fleet::Parameter { name: "x-sig".to_owned(), text: "{signature}".to_owned() };
    let form = fleet::HmacSignature {
        text: text.to_owned(),
        headers: vec![header],
        ..fleet::HmacSignature::default()
    };
    let means = Means::Hmac(form.try_into().expect("a form"));
    SecretSpec { means, ..value(key, Slot::bearer(), origin) }
}

fn signature(key: &str, text: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
    HEXLOWER.encode(hmac::sign(&key, text.as_bytes()).as_ref())
}

#[tokio::test]
async fn a_request_is_signed_with_the_key_of_before_over_a_body_that_the_newest_does_not_read() {
    let body_hash = HEXLOWER.encode(digest::digest(&digest::SHA256, b"{}").as_ref());
    let world = World::that_takes(&signature(OLD, &body_hash)).await;
    let origin = world.upstream.url("");
    let edge =
        world.edge(&keyed_hash(NEW, "{method}", &origin), &keyed_hash(OLD, "{body:sha256}", &origin), soon());
    let request = format!(
        "PUT {PATH} HTTP/1.1\r\nhost: edge\r\nconnection: close\r\ncontent-length: 2\r\n{}\r\n{{}}",
        with_key(1)
    );
    let answer = edge.send(&request).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let shown: Vec<_> = world.upstream.all().iter().map(|seen| seen.all("x-sig").join(",")).collect();
    assert_eq!(shown, [signature(NEW, "PUT"), signature(OLD, &body_hash)]);
}

#[tokio::test]
async fn a_key_of_an_edge_gives_way_to_another_key_alone_and_the_count_of_edges_stays() {
    let key = |n: u8| caller_key(n);
    let bearer = |n: u8| format!("Bearer {}", key(n));
    for (before, taken, count, hops) in
        [(key(8), bearer(8), 2, Some("3")), (OLD.to_owned(), OLD.to_owned(), 1, Some("3"))]
    {
        let world = World::that_takes(&taken).await;
        let origin = world.upstream.url("");
        let before = value(&before, if count == 2 { Slot::bearer() } else { header("x-key") }, &origin);
        let edge = world.edge(&value(&key(9), Slot::bearer(), &origin), &before, soon());
        let said = format!("{}requestrocket-hops: 2\r\n", with_key(1));
        edge.send(&get(PATH, &said)).await;
        assert_eq!(world.upstream.count(), count);
        assert_eq!(world.upstream.last().header("requestrocket-hops"), hops);
    }
}
