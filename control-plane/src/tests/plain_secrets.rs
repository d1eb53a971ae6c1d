//! Secrets that come in the clear: sealed to regions as they come, told that they were seen, and repeated by nothing.

use std::time::SystemTime;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use rr_contract::model::id::{CredentialId, InstallationId, OrgId};
use rr_contract::seal::{Means, OpenedSecret, SealContext, SealedSecret, Slot};
use rr_contract::wire::{fleet, management as wire};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::client::Client;
use super::world::{Region, World, target};

const ALL: &str = "/v1/orgs/acme/credentials";
const MARK: &str = "sk-c4nary";
/// Long and random enough to verify tokens.
const SHARED: &str = "c4nary86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00";

async fn world() -> (World, Client, Region, wire::Org) {
    let world = World::start().await;
    let eu = world.region("eu").await;
    let org = world.furnish(&eu).await;
    let operator = world.operator();
    (world, operator, eu, org)
}

fn upstream(name: &str, kind: &str, plain: &Value) -> Value {
    json!({"name": name, "upstream": {"kind": kind}, "plain": plain})
}

/// What is stored of the present secret of a credential.
async fn stored(world: &World, id: &str) -> SealedSecret {
    let bytes = world.found_beneath(&format!("SELECT sealed FROM secret WHERE credential = '{id}'")).await;
    let wire = fleet::SealedSecret::decode(bytes.as_slice()).expect("a message");
    wire.try_into().expect("is sealed")
}

/// The same, opened as a node of the region does.
async fn opened(world: &World, org: &wire::Org, made: &Value, region: &Region) -> OpenedSecret {
    let id = made["credential"]["id"].as_str().expect("a text");
    let version = made["credential"]["version"].as_str().expect("a text").parse().expect("a number");
    let sealed = stored(world, id).await;
    let installation: InstallationId = world.installation().await.id.parse().expect("an id");
    let org: OrgId = org.id.parse().expect("an id");
    let credential: CredentialId = id.parse().expect("an id");
    let context = SealContext { installation, org, credential, version };
    sealed.open(&context, &[region.keys.opening_key()]).expect("opens")
}

#[tokio::test]
async fn a_secret_in_the_clear_is_sealed_to_every_region_that_may_have_it_and_is_told_of_as_seen() {
    let (world, operator, eu, org) = world().await;
    let us = world.region("us").await;
    let own = world.dedicated_region("own", "acme").await;
    let other = world.org("other").await;
    let foreign = world.dedicated_region("foreign", &other.name).await;
    let plain = json!({"value": MARK, "targets": ["echo"], "origins": ["https://b.example:8443"],
        "notAfter": "2100-01-31T00:00:00Z"});
    let made = operator.post(ALL, upstream("up", "bearer", &plain)).await.good();
    assert_eq!(made["valueSeen"], true, "{made}");
    assert!(made["credential"]["plain"].is_null() && !made.to_string().contains(MARK), "{made}");
    let secret = opened(&world, &org, &made, &eu).await;
    assert_eq!(secret.value().expose(), MARK.as_bytes());
    assert!(*secret.means() == Means::sent(Slot::bearer()) && secret.ca().is_none());
    let origins: Vec<_> = secret.origins().iter().map(ToString::to_string).collect();
    assert_eq!(origins, ["https://b.example:8443", "https://api.example.com"]);
    assert!(secret.not_after() > Some(SystemTime::now()));
    // The same label as whoever seals elsewhere writes, so that the same is refused later.
    let label = &made["credential"]["upstream"]["label"]["origins"];
    assert_eq!(label, &json!(origins), "{made}");
    let regions: Vec<_> = made["credential"]["upstream"]["sealedRegions"].as_array().expect("a list").clone();
    let mut wanted = [&eu, &us, &own].map(|region| json!(region.id.to_string())).to_vec();
    wanted.sort_by_key(ToString::to_string);
    assert_eq!(regions, wanted, "shared and its own, and not {}", foreign.id);

    let plain =
        json!({"value": format!("{MARK}2"), "origins": ["https://b.example"], "regions": ["us", "eu"]});
    let body = json!({"plain": plain, "overlap": "60s"});
    let next = operator.post(&format!("{ALL}/up:replaceSecret"), body.clone()).await.good();
    assert_eq!((&next["valueSeen"], &next["credential"]["version"]), (&json!(true), &json!("2")), "{next}");
    assert_eq!(opened(&world, &org, &next, &us).await.value().expose(), b"sk-c4nary2");
    let behind = json!({"plain": plain, "version": "2"});
    operator.post(&format!("{ALL}/up:replaceSecret"), behind).await.refused(409, "version-conflict");

    let verify = json!({"issuer": "https://i.example", "audiences": ["api"], "algorithms": ["HS256"]});
    let caller = json!({"kind": "jwt-verify", "jwtVerify": verify});
    let caller =
        json!({"name": "cron", "caller": caller, "plain": {"value": SHARED, "regions": [eu.id.to_string()]}});
    let made = operator.post(ALL, caller).await.good();
    assert_eq!(made["valueSeen"], true, "{made}");
    assert!(opened(&world, &org, &made, &eu).await.is_shared());
    let bytes = "wqIAAP+vvVD9URTOKpTxa2WqH2P1P5PwsTwHlxNx3rH6W0hDokiYS2rnuRhUGFIY";
    let rolled = json!({"plain": {"valueBytes": bytes}, "overlap": "60s"});
    let rolled = operator.post(&format!("{ALL}/cron:roll"), rolled).await.good();
    assert_eq!(rolled["valueSeen"], true, "{rolled}");
    let secret = opened(&world, &org, &rolled, &us).await;
    assert!(secret.is_shared() && secret.value().expose().starts_with(&[0xc2, 0xa2, 0, 0, 0xff]));
    world.running.stop().await;
}

#[tokio::test]
async fn every_kind_of_upstream_credential_can_be_written_in_the_clear() {
    let (world, operator, eu, org) = world().await;
    let key = rcgen::KeyPair::generate().expect("a key");
    let chain = rcgen::CertificateParams::new(vec!["edge".to_owned()]).expect("a name");
    let chain = chain.self_signed(&key).expect("a certificate").pem();
    let (key, url) = (key.serialize_pem(), "https://i.example/token");
    let kinds: [(&str, Value, Value); 13] = [
        ("bearer", json!({"value": MARK}), json!("authorization: Bearer ")),
        ("bearer", json!({"value": MARK, "header": "x-own"}), json!("x-own: ")),
        ("jwt", json!({"value": MARK, "prefix": "Token "}), json!("authorization: Token ")),
        ("api-key", json!({"value": MARK, "header": "x-key"}), json!("x-key: ")),
        ("api-key", json!({"value": MARK, "query": "key"}), json!("?key")),
        ("basic", json!({"value": MARK, "user": "me"}), json!("authorization: Basic ")),
        ("custom-headers", json!({"values": {"x-a": MARK, "x-b": MARK}}), json!("x-a: ")),
        (
            "oauth2-client-credentials",
            json!({"value": MARK, "tokenGrant": {"url": url, "clientCredentials": {"clientId": "me", "post": {}}}}),
            Value::Null,
        ),
        (
            "jwt-bearer",
            json!({"value": key, "tokenGrant": {"url": url, "jwtBearer": {"issuer": "me"}}}),
            Value::Null,
        ),
        (
            "custom-token",
            json!({"value": MARK, "tokenRequest": {"url": url, "method": "POST", "tokenPath": "t", "body": "e3NlY3JldH0="}}),
            Value::Null,
        ),
        (
            "aws-sigv4",
            json!({"value": MARK, "awsSignature": {"accessKeyId": "AKIA", "region": "eu-1", "service": "s3"}}),
            Value::Null,
        ),
        (
            "hmac",
            json!({"value": MARK, "hmacSignature": {"hash": "sha256", "text": "{target}", "encoding": "hex",
                "keyEncoding": "raw", "date": "unix", "headers": [{"name": "x-s", "text": "{signature}"}]}}),
            Value::Null,
        ),
        ("client-certificate", json!({"value": key, "clientCertificate": {"chain": chain}}), Value::Null),
    ];
    for (i, (kind, mut plain, place)) in kinds.into_iter().enumerate() {
        plain["origins"] = json!(["https://a.example"]);
        let made = operator.post(ALL, upstream(&format!("up-{i}"), kind, &plain)).await.good();
        let secret = opened(&world, &org, &made, &eu).await;
        let slot = match secret.means() {
            Means::Sent { slot: Slot::Header { name, prefix }, .. } => json!(format!("{name}: {prefix}")),
            Means::Sent { slot: Slot::Query { name }, .. } => json!(format!("?{name}")),
            _ => Value::Null,
        };
        assert_eq!(slot, place, "{kind}");
    }
    world.running.stop().await;
}

#[tokio::test]
async fn what_is_wrong_with_a_secret_in_the_clear_has_its_field_and_no_answer_repeats_it() {
    let (world, operator, eu, org) = world().await;
    let sealed = serde_json::to_value(world.seal(&org, super::world::credential_id(), 1, &[&eu]).await);
    let sealed = sealed.expect("JSON");
    let good = || json!({"value": MARK, "origins": ["https://a.example"]});
    let with = |changes: Value| {
        let mut plain = good();
        for (name, value) in changes.as_object().expect("an object") {
            plain[name] = value.clone();
        }
        plain
    };
    let certificate = rcgen::generate_simple_self_signed(vec!["ca".to_owned()]).expect("a certificate");
    for (kind, plain, field) in [
        ("bearer", json!({"value": MARK}), "origins"),
        ("bearer", json!({"origins": ["https://a.example"]}), "value"),
        ("bearer", with(json!({"valueBytes": "AAAA"})), "value_bytes"),
        ("bearer", with(json!({"value": format!("Bearer {MARK}")})), ""),
        ("bearer", with(json!({"value": format!("{MARK}\n")})), "value"),
        ("bearer", with(json!({"query": "q"})), "query"),
        ("bearer", with(json!({"values": {"x-a": MARK}})), "values"),
        ("bearer", with(json!({"origins": ["ftp://a.example"]})), "origins[0]"),
        ("bearer", with(json!({"targets": ["nope"]})), "targets[0]"),
        ("bearer", with(json!({"regions": ["nope"]})), "regions[0]"),
        ("bearer", with(json!({"regions": ["eu", "eu"]})), "regions[1]"),
        ("bearer", with(json!({"ca": MARK})), "ca"),
        ("bearer", with(json!({"header": "content-length"})), "header"),
        ("bearer", with(json!({"awsSignature": {"accessKeyId": MARK}})), "aws_signature"),
        ("bearer", with(json!({"origins": ["http://a.example"], "ca": certificate.cert.pem()})), ""),
        ("api-key", good(), "header"),
        ("basic", good(), "user"),
        ("basic", with(json!({"user": format!("{MARK}:")})), "user"),
        ("custom-headers", with(json!({"values": {"x-a": MARK}})), "value"),
        ("custom-headers", json!({"origins": ["https://a.example"]}), "values"),
        ("oauth2-client-credentials", good(), "token_grant"),
        (
            "oauth2-client-credentials",
            with(
                json!({"tokenGrant": {"url": format!("http://{MARK}"), "clientCredentials": {"clientId": "a", "basic": {}}}}),
            ),
            "token_grant.url",
        ),
        ("hmac", with(json!({"hmacSignature": {"hash": MARK}})), "hmac_signature.hash"),
        (
            "client-certificate",
            with(json!({"clientCertificate": {"chain": MARK}})),
            "client_certificate.chain",
        ),
        ("none", good(), ""),
    ] {
        let refused = operator.post(ALL, upstream("up", kind, &plain)).await;
        assert!(!refused.text.contains(MARK) && !refused.text.contains("c4nary"), "{kind}: {}", refused.text);
        let text = refused.text.clone();
        let dot = if field.is_empty() { "" } else { "." };
        let wanted = format!("credential.plain{dot}{field}");
        assert!(refused.faults().contains(&wanted), "{kind} {wanted}: {text}");
    }
    // What JSON cannot be is refused before it is a message, and not repeated either.
    for name in [
        "value",
        "valueBytes",
        "values",
        "origins",
        "targets",
        "ca",
        "header",
        "tokenGrant",
        "notAfter",
        "regions",
        "awsSignature",
        MARK,
    ] {
        for wrong in [json!([[MARK]]), json!({"x": [MARK]}), json!(MARK), json!([MARK, 7])] {
            if matches!((name, &wrong), ("value" | "ca" | "header", Value::String(_))) {
                continue;
            }
            let refused = operator.post(ALL, upstream("up", "bearer", &with(json!({name: wrong})))).await;
            assert_eq!(refused.status, 400, "{name} {wrong}: {}", refused.text);
            let text =
                if name == MARK { refused.text.replace(&format!("plain.{MARK}"), "") } else { refused.text };
            assert!(
                name == "origins" || name == "regions" || name == "targets" || !text.contains(MARK),
                "{name}: {text}"
            );
        }
    }
    let broken = format!("{{\"name\": \"up\", \"plain\": {{\"value\": \"{MARK}\" \"origins\"");
    let send = super::rest::send;
    let address = world.running.management();
    let refused = send(address, "POST", ALL, &operator.token, "application/json", broken.into()).await;
    assert!(refused.status == 400 && !refused.text.contains(MARK), "{}", refused.text);
    // Both ways at once, and ways that take none.
    let both = json!({"name": "up", "upstream": {"kind": "bearer", "sealed": sealed}, "plain": good()});
    assert_eq!(operator.post(ALL, both).await.faults(), ["credential.upstream.sealed"]);
    let mut ided = upstream("up", "bearer", &good());
    ided["id"] = super::world::credential_id().to_string().into();
    assert_eq!(operator.post(ALL, ided).await.faults(), ["credential.id"]);
    let caller = json!({"name": "up", "caller": {"kind": "bearer"}, "plain": good()});
    assert_eq!(operator.post(ALL, caller).await.faults(), ["credential.plain"]);
    let made = operator.post(ALL, upstream("up", "bearer", &good())).await.good();
    let both = json!({"sealed": sealed, "plain": good()});
    assert_eq!(operator.post(&format!("{ALL}/up:replaceSecret"), both).await.faults(), ["sealed"]);
    let update = json!({"notAfter": "2100-01-01T00:00:00Z", "plain": good()});
    assert_eq!(operator.patch(&format!("{ALL}/up"), update).await.faults(), ["credential.plain"]);
    let set = json!({"documents": [{"credential": upstream("more", "bearer", &good())}], "dryRun": true});
    let refused = operator.post("/v1/orgs/acme:apply", set).await;
    assert_eq!(refused.faults(), ["documents[0].credential.plain"]);
    // Neither does anything that is kept.
    for path in [ALL, "/v1/audit", "/v1/orgs/acme/audit", &format!("{ALL}/up")] {
        let shown = operator.get(path).await;
        assert!(!shown.text.contains("c4nary"), "{path}: {}", shown.text);
    }
    drop(made);
    let state = world.folder.path().join("state");
    world.running.stop().await;
    for entry in std::fs::read_dir(state).expect("a folder") {
        let path = entry.expect("an entry").path();
        let bytes = std::fs::read(&path).unwrap_or_default();
        assert!(!bytes.windows(MARK.len()).any(|part| part == MARK.as_bytes()), "{}", path.display());
    }
}

#[tokio::test]
async fn a_region_that_is_blind_only_gets_no_secret_that_came_in_the_clear() {
    let (world, operator, eu, _) = world().await;
    let us = world.region("us").await;
    let plain =
        |regions: &[&str]| json!({"value": MARK, "origins": ["https://a.example"], "regions": regions});
    let blind = async |region: &str, is: bool| {
        let path = format!("/v1/regions/{region}?updateMask=blindOnly");
        operator.patch(&path, json!({"blindOnly": is})).await.good()
    };
    assert_eq!(blind("eu", true).await["region"]["blindOnly"], true);
    let refused = operator.post(ALL, upstream("up", "bearer", &plain(&["us", "eu"]))).await;
    let problem = refused.refused(400, "blind-only");
    let text = problem["detail"].as_str().expect("a text");
    assert!(
        text.contains("\"eu\"")
            && !text.contains("\"us\"")
            && text.contains("rrctl credential create-upstream"),
        "{text}"
    );
    // By default, those that take it.
    let made = operator.post(ALL, upstream("up", "bearer", &plain(&[]))).await.good();
    assert_eq!(made["credential"]["upstream"]["sealedRegions"], json!([us.id.to_string()]));
    blind("us", true).await;
    operator.post(ALL, upstream("two", "bearer", &plain(&[]))).await.refused(400, "blind-only");
    operator
        .post(&format!("{ALL}/up:replaceSecret"), json!({"plain": plain(&[])}))
        .await
        .refused(400, "blind-only");
    // What is sealed elsewhere is taken as ever.
    let id = super::world::credential_id();
    let org = wire::Org {
        name: "acme".into(),
        id: made["credential"]["org"].as_str().expect("an id").into(),
        ..Default::default()
    };
    world.upstream(&org, "sealed", id, &[&eu]).await.expect("is made");
    blind("us", false).await;
    operator.post(ALL, upstream("two", "bearer", &plain(&[]))).await.good();
    world.running.stop().await;
}

/// A call over one connection, which says of itself that it may be kept.
fn raw(token: &str, path: &str, body: &Value) -> String {
    let body = body.to_string();
    format!(
        "POST {path} HTTP/1.1\r\nhost: control\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[tokio::test]
async fn the_connection_that_brought_a_secret_ends_with_the_answer_and_others_are_kept() {
    let (world, operator, eu, org) = world().await;
    let address = world.running.management();
    let plain = json!({"value": MARK, "origins": ["https://a.example"]});
    let bad = json!({"value": MARK, "origins": ["nowhere"]});
    for (body, token, status) in [
        (upstream("one", "bearer", &plain), &*operator.token, "200"),
        (upstream("two", "bearer", &bad), &*operator.token, "400"),
        (upstream("two", "bearer", &json!([MARK])), &*operator.token, "400"),
        (upstream("two", "bearer", &plain), "rr_token_nobodys", "401"),
    ] {
        let mut stream = TcpStream::connect(address).await.expect("connects");
        stream.write_all(raw(token, ALL, &body).as_bytes()).await.expect("writes");
        let mut said = String::new();
        stream.read_to_string(&mut said).await.expect("it ends");
        assert!(said.starts_with(&format!("HTTP/1.1 {status}")), "{said}");
        assert!(said.contains("connection: close"), "{said}");
    }
    let (mut sender, connection) = hyper::client::conn::http2::handshake(
        TokioExecutor::new(),
        TokioIo::new(TcpStream::connect(address).await.expect("connects")),
    )
    .await
    .expect("speaks HTTP/2");
    let mut connection = std::pin::pin!(connection);
    let request = |path: &str, body: &Value| {
        Request::post(format!("http://control{path}"))
            .header("authorization", format!("Bearer {}", operator.token))
            .header("content-type", "application/json")
            .body(Full::<Bytes>::from(body.to_string()))
            .expect("a request")
    };
    // One that brings none, and one that is sealed, leave it open.
    let id = super::world::credential_id();
    let sealed = serde_json::to_value(world.seal(&org, id, 1, &[&eu]).await).expect("JSON");
    let sealed =
        json!({"id": id.to_string(), "name": "sealed", "upstream": {"kind": "bearer", "sealed": sealed}});
    let caller = json!({"name": "caller", "caller": {"kind": "api-key"}});
    for body in [&sealed, &caller] {
        let answer = tokio::select! {
            answer = sender.send_request(request(ALL, body)) => answer.expect("answers"),
            ended = connection.as_mut() => panic!("{ended:?}"),
        };
        assert_eq!(answer.status(), 200);
    }
    let answer = sender.send_request(request(ALL, &upstream("three", "bearer", &plain)));
    let (answer, ended) = tokio::join!(
        async {
            let answer = answer.await.expect("answers");
            #[expect(clippy::disallowed_methods, reason = "it is limited")]
            let body = Limited::new(answer.into_body(), 1 << 16).collect().await.expect("reads");
            String::from_utf8_lossy(&body.to_bytes()).into_owned()
        },
        connection
    );
    ended.expect("it goes away in order");
    assert!(answer.contains("\"valueSeen\":true"), "{answer}");
    // It ended though this side could have gone on.
    drop(sender);
    world.target("acme", target("still", "https://c.example")).await.expect("others go on");
    world.running.stop().await;
}
