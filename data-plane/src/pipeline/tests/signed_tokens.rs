//! Signed tokens through a worker: who is served, each way to be wrong and its reason, and how long a token counts.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use prost::Message as _;
use rr_contract::model::caller::jwt::Algorithm;
use rr_contract::model::time::timestamp;
use rr_contract::seal::{SealContext, SealedSecret};
use rr_contract::seam::{Clock, SystemEntropy};
use rr_contract::secret::Secret;
use rr_contract::wire::fleet;
use rr_contract::wire::fleet::caller_credential::Kind;
use rr_contract::wire::fleet::caller_jwt_verify::Keys;
use rr_contract::wire::fleet::credential_resource::Usage;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;

use crate::fixture::{self, Region, credential_key, org, proxy, resource, target};
use crate::jwt::mint::{self, Key, claims, document, verify};

use super::edge::Edge;
use super::origin::Upstream;
use super::websockets::{self, Raw, read_rest, read_text};
use super::{get, resources, with_key};

pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is later").as_secs()
}

pub(super) fn of(n: u8, header: &str, kind: Kind) -> fleet::Resource {
    let mut message = fixture::caller_message(n, 1, &[n]);
    message.usage = Some(Usage::Caller(fleet::CallerCredential {
        kind: Some(kind),
        header: header.to_owned(),
        ..Default::default()
    }));
    resource(credential_key(n), message.encode_to_vec())
}

pub(super) fn published(keys: &[Value]) -> Keys {
    Keys::Jwks(document(keys))
}

pub(super) fn bearer(token: &str) -> String {
    format!("authorization: Bearer {token}\r\n")
}

fn required(name: &str, values: &[&str]) -> Vec<fleet::RequiredClaim> {
    let values = values.iter().map(|value| (*value).to_owned()).collect();
    vec![fleet::RequiredClaim { name: name.to_owned(), values }]
}

fn shared(region: &Region, n: u8, secret: &[u8]) -> SealedSecret {
    shared_at(region, n, 1, secret)
}

fn shared_at(region: &Region, n: u8, version: u64, secret: &[u8]) -> SealedSecret {
    let context = SealContext {
        installation: fixture::INSTALLATION,
        org: fixture::ORG,
        credential: rr_contract::model::id::CredentialId::from_random([n; 16]),
        version,
    };
    let now = SystemTime::now();
    let statement = region.keys().statement(now, now + Duration::from_secs(60));
    SealedSecret::seal_shared(&context, Secret::new(secret.to_vec()), None, &[&statement], &SystemEntropy)
        .expect("it seals")
}

pub(super) async fn reason(edge: &Edge, path: &str, headers: &str) -> (u16, String, String) {
    let answer = edge.send(&get(path, headers)).await;
    let record = edge.own_record().await;
    (answer.status, record.reason, record.caller_credential)
}

#[tokio::test]
async fn the_first_eight_credentials_of_a_proxy_are_asked_whose_token_it_is() {
    let (upstream, region, key) = (Upstream::echo().await, Region::new(), Key::ed25519());
    let callers: Vec<u8> = (3..12).collect();
    let backwards: Vec<u8> = callers.iter().rev().copied().collect();
    let mut all = resources(&region, &upstream.url(""));
    all.extend(callers.iter().map(|n| {
        let of_tenant = |verify: &mut fleet::CallerJwtVerify| {
            verify.required_claims = required("tenant", &[&format!("t{n}"), "all"]);
        };
        of(*n, "", verify(published(&[key.published("k")]), &["EdDSA"], of_tenant))
    }));
    all.extend([proxy(1, &callers, 1, 2), proxy(2, &backwards, 1, 2)]);
    let edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
    for (path, order) in [("/api/acme.proxy-1/x", &callers), ("/api/acme.proxy-2/x", &backwards)] {
        let of_tenant = |tenant: &str| {
            bearer(&key.token(Algorithm::EdDSA, "k", &claims(now(), &json!({"tenant": tenant}))))
        };
        for (at, n) in order.iter().enumerate() {
            let asked = reason(&edge, path, &of_tenant(&format!("t{n}"))).await;
            let wanted = if at < 8 {
                (200, String::new(), credential_key(*n).id_text())
            } else {
                (401, "token-claim".to_owned(), String::new())
            };
            assert_eq!(asked, wanted, "{path} {n}");
        }
        // What several would take is the first one's.
        assert_eq!(reason(&edge, path, &of_tenant("all")).await.2, credential_key(order[0]).id_text());
    }
}

#[tokio::test]
async fn a_token_is_taken_for_the_credential_whose_checks_it_passes_and_every_other_is_refused_alike() {
    let upstream = Upstream::echo().await;
    let region = Region::new();
    let (key, other, elsewhere) = (Key::p256(), Key::p256(), Key::ed25519());
    let secret = [7; 32];
    let keys = || published(&[key.published("k1"), other.published("k2")]);
    let mut all = resources(&region, &upstream.url(""));
    all.extend([
        of(3, "", verify(keys(), &["ES256"], |verify| verify.required_claims = required("tenant", &["t1"]))),
        of(4, "", verify(keys(), &["ES256"], |verify| verify.required_claims = required("tenant", &["t2"]))),
        of(
            5,
            "x-token",
            verify(published(&[elsewhere.published("e")]), &["EdDSA"], |verify| {
                verify.issuer = "https://other.example".to_owned();
            }),
        ),
        of(6, "", verify(keys(), &["ES256"], |verify| verify.audiences = vec!["unadmitted".to_owned()])),
        of(
            7,
            "",
            verify(Keys::SharedSecret(shared(&region, 7, &secret).to_wire()), &["HS256"], |verify| {
                verify.issuer = "shared".to_owned();
            }),
        ),
        of(
            8,
            "",
            verify(published(&[elsewhere.published("e")]), &["EdDSA"], |verify| {
                verify.issuer.clear();
                verify.required_claims = required("sub", &["spiffe://acme.example/billing"]);
            }),
        ),
        proxy(1, &[1, 3, 4, 5, 7, 8], 1, 2),
    ]);
    let edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
    let path = "/api/acme.proxy-1/x";
    let unknown = edge.send(&get("/api/acme.nobody/x", "")).await.without_id_and_date();
    let from = now();
    let token = |changes: Value| key.token(Algorithm::ES256, "k1", &claims(from, &changes));
    let theirs =
        elsewhere.token(Algorithm::EdDSA, "e", &claims(from, &json!({"iss": "https://other.example"})));
    let hmac =
        Key::Secret(secret.to_vec()).token(Algorithm::HS256, "", &claims(from, &json!({"iss": "shared"})));
    let typed = |typ: &str| {
        key.token_as(
            Algorithm::ES256,
            &json!({"alg": "ES256", "kid": "k1", "typ": typ}),
            &claims(from, &json!({})),
        )
    };
    let svid = |algorithm: &str, subject: &str| {
        let header = json!({"alg": algorithm, "kid": "e", "typ": "JOSE"});
        let changes = json!({"iss": null, "sub": format!("spiffe://acme.example/{subject}")});
        elsewhere.token_as(Algorithm::EdDSA, &header, &claims(from, &changes))
    };
    for (headers, caller) in [
        (bearer(&svid("EdDSA", "billing")), 8),
        (bearer(&svid("Ed25519", "billing")), 8),
        (bearer(&token(json!({}))), 3),
        // Seen before, and the credential of our own making beside it.
        (bearer(&token(json!({}))), 3),
        (with_key(1), 1),
        (format!("authorization: {}\r\n", token(json!({}))), 3),
        (bearer(&other.token(Algorithm::ES256, "k2", &claims(from, &json!({})))), 3),
        (bearer(&token(json!({"tenant": "t2"}))), 4),
        (bearer(&typed("at+jwt")), 3),
        (format!("x-token: {theirs}\r\n"), 5),
        (bearer(&hmac), 7),
    ] {
        let asked = reason(&edge, path, &headers).await;
        assert_eq!(asked, (200, String::new(), credential_key(caller).id_text()), "{headers}");
        assert!(!upstream.last().text().contains("eyJ"), "{}", upstream.last().text());
    }
    let forged = key.token(Algorithm::ES256, "k2", &claims(from, &json!({})));
    let renamed = key.token(Algorithm::ES256, "k9", &claims(from, &json!({})));
    let none = key.token_as(Algorithm::ES256, &json!({"alg": "none"}), &claims(from, &json!({})));
    let long = key.token(Algorithm::ES256, "k1", &claims(from, &json!({"x": "x".repeat(8_000)})));
    let twice = {
        let token = token(json!({}));
        let parts: Vec<&str> = token.split('.').collect();
        let encode = |text: &str| data_encoding::BASE64URL_NOPAD.encode(text.as_bytes());
        format!(
            "{}.{}.{}",
            parts[0],
            encode(r#"{"iss":"https://issuer.example","exp":1,"exp":99999999999}"#),
            parts[2]
        )
    };
    for (token, said) in [
        (token(json!({"iss": "https://evil.example"})), "unknown-token"),
        (token(json!({"iss": null})), "token-algorithm"),
        (svid("EdDSA", "other"), "token-claim"),
        (svid("ES256", "billing"), "token-algorithm"),
        (token(json!({"aud": "unadmitted"})), "token-audience"),
        (token(json!({"exp": from - 31})), "token-expired"),
        (token(json!({"exp": null})), "token-expired"),
        (token(json!({"nbf": from + 60})), "token-early"),
        (token(json!({"tenant": "t3"})), "token-claim"),
        (forged, "token-signature"),
        (renamed, "token-key"),
        (none.clone(), "token-algorithm"),
        (format!("{}.", none.rsplit_once('.').expect("dots").0), "token-algorithm"),
        (typed("dpop+jwt"), "token-type"),
        (long, "token-malformed"),
        (twice, "token-malformed"),
        (theirs.clone(), "misplaced"),
        (
            Key::Secret(vec![8; 32]).token(Algorithm::HS256, "", &claims(from, &json!({"iss": "shared"}))),
            "token-signature",
        ),
        ("a.b".to_owned(), "unknown"),
        ("..".to_owned(), "token-malformed"),
    ] {
        let before = upstream.count();
        let answer = edge.send(&get(path, &bearer(&token))).await.without_id_and_date();
        assert_eq!(answer, unknown, "{said}");
        let record = edge.record().await;
        assert_eq!((&*record.reason, &*record.caller_credential), (said, ""), "{token}");
        assert!(!format!("{record:?}").contains("eyJ"));
        assert_eq!(upstream.count(), before);
    }
}

/// A wall clock that a test moves.
pub(super) struct Moved(pub(super) std::sync::atomic::AtomicU64);

impl Clock for Moved {
    fn now(&self) -> SystemTime {
        let second = self.0.load(std::sync::atomic::Ordering::Relaxed);
        SystemTime::UNIX_EPOCH + Duration::from_secs(second)
    }
}

#[tokio::test]
async fn a_token_that_was_seen_counts_until_its_end_and_its_leeway_are_over() {
    let upstream = Upstream::echo().await;
    let region = Region::new();
    let key = Key::ed25519();
    let mut all = resources(&region, &upstream.url(""));
    all.extend([
        of(3, "", verify(published(&[key.published("k")]), &["EdDSA"], |_| {})),
        proxy(1, &[3], 1, 2),
    ]);
    let from = now();
    let clock = Arc::new(Moved(from.into()));
    let edge = Edge::start_at(region.snapshot(&all), &["127.0.0.0/8"], Arc::clone(&clock) as Arc<dyn Clock>);
    let token = bearer(&key.token(Algorithm::EdDSA, "k", &claims(from, &json!({"exp": from + 60}))));
    for (second, status) in [(0, 200), (1, 200), (89, 200), (90, 401), (1_000, 401)] {
        clock.0.store(from + second, std::sync::atomic::Ordering::Relaxed);
        let (came, reason, _) = reason(&edge, "/api/acme.proxy-1/x", &token).await;
        assert_eq!(came, status, "{second}: {reason}");
    }
}

#[tokio::test]
async fn a_token_that_was_seen_counts_no_longer_once_its_credential_has_other_checks_or_the_proxy_another_caller()
 {
    let upstream = Upstream::echo().await;
    let region = Region::new();
    let (key, next) = (Key::ed25519(), Key::ed25519());
    let with = |keys: &[Value], algorithm: &str| of(3, "", verify(published(keys), &[algorithm], |_| {}));
    let mut all = resources(&region, &upstream.url(""));
    all.extend([with(&[key.published("k")], "EdDSA"), proxy(1, &[3], 1, 2)]);
    let mut edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
    let from = now();
    let path = "/api/acme.proxy-1/x";
    let old = bearer(&key.token(Algorithm::EdDSA, "k", &claims(from, &json!({}))));
    let new = bearer(&next.token(Algorithm::EdDSA, "n", &claims(from, &json!({}))));
    assert_eq!(reason(&edge, path, &old).await.0, 200);
    assert_eq!(reason(&edge, path, &new).await.1, "token-key");
    // Both keys for a time, and then the new one alone: no good token is refused.
    all.push(with(&[key.published("k"), next.published("n")], "EdDSA"));
    edge.activate(region.snapshot(&all));
    assert_eq!((reason(&edge, path, &old).await.0, reason(&edge, path, &new).await.0), (200, 200));
    all.push(with(&[next.published("n")], "EdDSA"));
    edge.activate(region.snapshot(&all));
    assert_eq!(reason(&edge, path, &old).await.1, "token-key");
    assert_eq!(reason(&edge, path, &new).await.0, 200);
    all.push(proxy(1, &[1], 1, 2));
    edge.activate(region.snapshot(&all));
    assert_eq!(reason(&edge, path, &new).await.1, "unknown-token");
}

#[tokio::test]
async fn a_token_of_the_older_secret_that_was_seen_counts_until_that_ends() {
    let upstream = Upstream::echo().await;
    let region = Region::new();
    let (older, newer) = ([7; 32], [8; 32]);
    let from = now();
    let mut all = resources(&region, &upstream.url(""));
    let mut message = fixture::caller_message(3, 2, &[3]);
    let kind = verify(Keys::SharedSecret(shared_at(&region, 3, 2, &newer).to_wire()), &["HS256"], |verify| {
        verify.previous_shared_secret = Some(shared_at(&region, 3, 1, &older).to_wire())
    });
    message.usage = Some(Usage::Caller(fleet::CallerCredential {
        kind: Some(kind),
        previous_not_after: Some(timestamp(SystemTime::UNIX_EPOCH + Duration::from_secs(from + 60))),
        ..Default::default()
    }));
    all.extend([resource(credential_key(3), message.encode_to_vec()), proxy(1, &[3], 1, 2)]);
    let clock = Arc::new(Moved(from.into()));
    let edge = Edge::start_at(region.snapshot(&all), &["127.0.0.0/8"], Arc::clone(&clock) as Arc<dyn Clock>);
    let token = |secret: [u8; 32]| {
        bearer(&Key::Secret(secret.to_vec()).token(Algorithm::HS256, "", &claims(from, &json!({}))))
    };
    for (second, status) in [(0, 200), (1, 200), (59, 200), (60, 401), (200, 401)] {
        clock.0.store(from + second, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(reason(&edge, "/api/acme.proxy-1/x", &token(older)).await.0, status, "{second}");
        assert_eq!(reason(&edge, "/api/acme.proxy-1/x", &token(newer)).await.0, 200, "{second}");
    }
}

#[tokio::test]
async fn a_secret_that_is_sealed_for_an_upstream_or_another_credential_verifies_nothing() {
    let region = Region::new();
    let url = "http://127.0.0.1:1";
    let sealed = |n: u8| Keys::SharedSecret(shared(&region, n, &[7; 32]).to_wire());
    let upstream: fleet::Resource = region.upstream(7, 1, &"s".repeat(64), "x-a", &[url]);
    let message = fleet::CredentialResource::decode(&*upstream.payload).expect("a credential");
    let Some(Usage::Upstream(fleet::UpstreamCredential {
        kind: Some(fleet::upstream_credential::Kind::Sealed(for_upstream)),
        ..
    })) = message.usage
    else {
        panic!("it is sealed")
    };
    let token = bearer(&Key::Secret(vec![7; 32]).token(Algorithm::HS256, "", &claims(now(), &json!({}))));
    for (keys, status) in [(sealed(7), 502), (sealed(8), 401), (Keys::SharedSecret(for_upstream), 401)] {
        let all = [
            org(false),
            target(1, url),
            fixture::open_upstream(2),
            of(7, "", verify(keys, &["HS256"], |_| {})),
            proxy(1, &[7], 1, 2),
        ];
        let edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
        assert_eq!(reason(&edge, "/api/acme.proxy-1/x", &token).await.0, status);
    }
}

#[tokio::test]
async fn a_tunnel_ends_with_the_token_that_opened_it() {
    let upstream = Raw::new().await;
    let region = Region::new();
    let key = Key::ed25519();
    let mut all = websockets::open(&region, &upstream.url());
    let kind = verify(published(&[key.published("k")]), &["EdDSA"], |verify| {
        verify.leeway = Some(pbjson_types::Duration { seconds: 0, nanos: 0 });
    });
    all.extend([of(1, "", kind)]);
    let edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
    let ends = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("later").as_secs_f64() + 1.5;
    let token =
        key.token(Algorithm::EdDSA, "k", &claims(now(), &json!({"iat": null, "nbf": null, "exp": ends})));
    let (mut near, mut far) = websockets::tunnel_of(&edge, &upstream, &bearer(&token)).await;
    timeout(Duration::from_secs(10), async {
        assert_eq!(read_rest(&mut near).await, "");
        assert_eq!(read_rest(&mut far).await, "");
    })
    .await
    .expect("it ends");
    assert!(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("later").as_secs_f64() >= ends);
    let record = edge.record().await;
    assert_eq!(record.tunnel_end(), fleet::TunnelEnd::Withdrawn);
    assert_eq!(record.caller_credential, credential_key(1).id_text());
    assert_eq!(mint::AUDIENCE, "api");
}

#[tokio::test]
async fn a_token_that_nobody_takes_is_taken_apart_wherever_it_is_presented() {
    let upstream = Upstream::echo().await;
    let region = Region::new();
    let key = Key::ed25519();
    let mut all = resources(&region, &upstream.url(""));
    all.extend([
        of(3, "", verify(published(&[key.published("k")]), &["EdDSA"], |_| {})),
        proxy(1, &[3], 1, 2),
        proxy(2, &[1], 1, 2),
    ]);
    let edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
    let theirs = json!({"iss": "https://other.example"});
    let token = bearer(&key.token(Algorithm::EdDSA, "k", &claims(now(), &theirs)));
    // One that takes tokens, one that takes none, and none.
    for (at, path) in (1..).zip(["/api/acme.proxy-1/x", "/api/acme.proxy-2/x", "/api/acme.nobody/x"]) {
        assert_eq!(edge.send(&get(path, &token)).await.status, 401);
        assert_eq!(edge.tokens_read().await, at, "{path}");
    }
}

#[tokio::test]
async fn a_tunnel_that_a_token_opened_lasts_as_long_as_the_checks_that_it_passed() {
    let upstream = Raw::new().await;
    let region = Region::new();
    let key = Key::ed25519();
    let with = |audiences: &[&str]| {
        let kind = verify(published(&[key.published("k")]), &["EdDSA"], |verify| {
            verify.audiences = audiences.iter().map(|audience| (*audience).to_owned()).collect();
        });
        let mut all = websockets::open(&region, &upstream.url());
        all.push(of(1, "", kind));
        region.snapshot(&all)
    };
    let mut edge = Edge::start(with(&["api"]), &["127.0.0.0/8"]);
    let token = bearer(&key.token(Algorithm::EdDSA, "k", &claims(now(), &json!({}))));
    let (mut near, mut far) = websockets::tunnel_of(&edge, &upstream, &token).await;
    let generation = edge.activate(with(&["api"]));
    edge.tells(generation).await;
    for text in ["still", "there"] {
        far.write_all(text.as_bytes()).await.expect("it is open");
        read_text(&mut near, text).await;
    }
    // The token would be good for the credential as it is now. It is not looked at again.
    edge.activate(with(&["api", "other"]));
    let ended = timeout(Duration::from_secs(10), read_rest(&mut near)).await;
    assert_eq!(ended.expect("it ends"), "");
    assert_eq!(edge.record().await.tunnel_end(), fleet::TunnelEnd::Withdrawn);
}
