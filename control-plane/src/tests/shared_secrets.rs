//! Secrets that verify tokens: taken in sealed, for every region that needs them, and rolled while two are live.

use std::time::{Duration, SystemTime};

use rr_contract::model::id::{CredentialId, InstallationId, OrgId, RegionId};
use rr_contract::seal::{SealContext, SealedSecret};
use rr_contract::seam::SystemEntropy;
use rr_contract::secret::Secret;
use rr_contract::wire::management as wire;
use serde_json::{Value, json};

use super::client::{Client, number};
use super::world::{Region, World, credential_id, proxy};

const ALL: &str = "/v1/orgs/acme/credentials";
const APPLY: &str = "/v1/orgs/acme:apply";

/// A secret as `rrctl` seals it.
async fn sealed(
    world: &World,
    org: &wire::Org,
    id: CredentialId,
    version: u64,
    regions: &[&Region],
) -> Value {
    let installation: InstallationId = world.installation().await.id.parse().expect("an id");
    let org: OrgId = org.id.parse().expect("an id");
    let now = SystemTime::now();
    let statements: Vec<_> =
        regions.iter().map(|it| it.keys.statement(now, now + Duration::from_secs(86_400))).collect();
    let context = SealContext { installation, org, credential: id, version };
    let secret = Secret::new(b"9f86d081884c7d659a2feaa0c55ad015".to_vec());
    let regions: Vec<_> = statements.iter().collect();
    let sealed = SealedSecret::seal_shared(&context, secret, None, &regions, &SystemEntropy).expect("seals");
    serde_json::to_value(sealed.to_wire()).expect("JSON")
}

fn verify(changes: Value) -> Value {
    let mut verify = json!({"issuer": "https://i.example", "audiences": ["api"], "algorithms": ["HS256"]});
    for (name, value) in changes.as_object().expect("an object") {
        verify[name] = value.clone();
    }
    verify
}

fn shared(name: &str, id: CredentialId, sealed: &Value) -> Value {
    json!({"id": id.to_string(), "name": name, "caller": {
        "kind": "CALLER_KIND_JWT_VERIFY", "jwtVerify": verify(json!({})), "sealed": sealed}})
}

fn roll(name: &str) -> String {
    format!("{ALL}/{name}:roll")
}

async fn world() -> (World, Client, Region, wire::Org) {
    let world = World::start().await;
    let eu = world.region("eu").await;
    let org = world.furnish(&eu).await;
    let operator = world.operator();
    (world, operator, eu, org)
}

#[tokio::test]
async fn a_shared_secret_comes_sealed_for_its_credential_and_each_way_to_be_wrong_has_its_field() {
    let (world, operator, eu, org) = world().await;
    let id = credential_id();
    let secret = sealed(&world, &org, id, 1, &[&eu]).await;
    let made = operator.post(ALL, shared("cron", id, &secret)).await.good();
    assert_eq!(made["credential"]["caller"]["sealedRegions"], json!([eu.id.to_string()]), "{made}");
    assert!(made["key"].as_str().is_none_or(str::is_empty), "{made}");
    let ciphertext = secret["ciphertext"].as_str().expect("a text");
    for path in [format!("{ALL}/cron"), ALL.to_owned(), "/v1/audit".to_owned()] {
        let shown = operator.get(&path).await;
        assert!(!shown.text.contains(ciphertext), "{path}: {}", shown.text);
    }
    operator.post(ALL, shared("again", id, &secret)).await.refused(409, "name-taken");

    let unseal = |it: &mut Value| {
        it["caller"].as_object_mut().expect("an object").remove("sealed");
    };
    let good = |changes: &dyn Fn(&mut Value)| {
        let mut message = shared("wrong", credential_id(), &secret);
        changes(&mut message);
        message
    };
    let mut nowhere = secret.clone();
    nowhere["wraps"][0]["region"] = RegionId::from_random([9; 16]).to_string().into();
    let mut later = secret.clone();
    later["wraps"][0]["epoch"] = 7.into();
    let mut broken = secret.clone();
    broken["nonce"] = "AAAA".into();
    for (what, message, field) in [
        (
            "another kind",
            good(&|it| {
                it["caller"] = json!({"kind": "CALLER_KIND_API_KEY", "sealed": secret});
            }),
            "credential.caller.sealed",
        ),
        ("no id", good(&|it| it["id"] = "".into()), "credential.id"),
        ("an id and no secret", good(&|it| unseal(it)), "credential.id"),
        (
            "neither keys nor a secret",
            good(&|it| {
                it["id"] = "".into();
                unseal(it);
            }),
            "credential.caller.jwt_verify.jwks_url",
        ),
        (
            "a URL beside it",
            good(&|it| {
                it["caller"]["jwtVerify"] = verify(json!({"jwksUrl": "https://i.example/jwks"}));
            }),
            "credential.caller.jwt_verify.jwks_url",
        ),
        (
            "keys beside it",
            good(&|it| {
                it["caller"]["jwtVerify"] = verify(json!({"jwks": "{}"}));
            }),
            "credential.caller.jwt_verify.jwks",
        ),
        (
            "an algorithm of public keys",
            good(&|it| {
                it["caller"]["jwtVerify"] = verify(json!({"algorithms": ["HS256", "RS256"]}));
            }),
            "credential.caller.jwt_verify.algorithms[1]",
        ),
        (
            "a shared secret's algorithm with keys",
            good(&|it| {
                it["id"] = "".into();
                unseal(it);
                it["caller"]["jwtVerify"] = verify(json!({"jwksUrl": "https://i.example/jwks"}));
            }),
            "credential.caller.jwt_verify.algorithms[0]",
        ),
        (
            "the hash of a value beside it",
            good(&|it| {
                it["caller"]["valueHash"] = "A".repeat(43).into();
            }),
            "credential.caller.value_hash",
        ),
        (
            "a region that is none",
            good(&|it| it["caller"]["sealed"] = nowhere.clone()),
            "credential.caller.sealed.wraps[0].region",
        ),
        (
            "another epoch",
            good(&|it| it["caller"]["sealed"] = later.clone()),
            "credential.caller.sealed.wraps[0].epoch",
        ),
        (
            "what is no seal",
            good(&|it| it["caller"]["sealed"] = broken.clone()),
            "credential.caller.sealed.nonce",
        ),
    ] {
        assert_eq!(operator.post(ALL, message).await.faults(), [field], "{what}");
    }

    // Keys and a secret do not take each other's place.
    let keys = json!({"jwksUrl": "https://i.example/jwks", "algorithms": ["ES256"]});
    let body = json!({"caller": {"kind": "CALLER_KIND_JWT_VERIFY", "jwtVerify": verify(keys.clone())}});
    assert_eq!(
        operator.patch(&format!("{ALL}/cron"), body.clone()).await.faults(),
        ["credential.caller.jwt_verify.jwks_url"]
    );
    let mut public = body;
    public["name"] = "public".into();
    operator.post(ALL, public).await.good();
    let body = json!({"caller": {"kind": "CALLER_KIND_JWT_VERIFY", "jwtVerify": verify(json!({})), "sealed": secret}});
    assert_eq!(
        operator.patch(&format!("{ALL}/public"), body).await.faults(),
        ["credential.caller.jwt_verify.jwks_url"]
    );
    // The rest of the checks can change.
    let body = json!({"caller": {"kind": "CALLER_KIND_JWT_VERIFY", "jwtVerify": verify(json!({"audiences": ["other"]}))}});
    let changed = operator.patch(&format!("{ALL}/cron"), body).await.good();
    assert_eq!(
        changed["credential"]["caller"]["sealedRegions"],
        made["credential"]["caller"]["sealedRegions"]
    );
    world.running.stop().await;
}

#[tokio::test]
async fn a_proxy_is_served_only_where_the_secrets_of_its_callers_open() {
    let (world, operator, eu, org) = world().await;
    let us = world.region("us").await;
    let id = credential_id();
    let secret = sealed(&world, &org, id, 1, &[&eu]).await;
    operator.post(ALL, shared("cron", id, &secret)).await.good();
    let upstream = credential_id();
    world.upstream(&org, "everywhere", upstream, &[&eu, &us]).await.expect("is made");
    let with = |regions: &[&str]| wire::Proxy {
        caller_credentials: vec!["app".to_owned(), "cron".to_owned()],
        upstream_credential: "everywhere".to_owned(),
        ..proxy("tokens", regions)
    };
    let refused = world.proxy("acme", with(&["eu", "us"])).await.expect_err("us cannot open it");
    let said = refused.message();
    assert!(
        said.contains("\"cron\"") && said.contains("credential roll cron") && said.contains("us"),
        "{said}"
    );
    world.proxy("acme", with(&["eu"])).await.expect("eu can");

    // A region is taken from it only where no proxy needs it.
    let only_us = json!({"version": "2", "sealed": sealed(&world, &org, id, 2, &[&us]).await});
    let refused = operator.post(&roll("cron"), only_us).await;
    assert!(refused.status != 200 && refused.text.contains("tokens"), "{}", refused.text);
    let both = json!({"version": "2", "sealed": sealed(&world, &org, id, 2, &[&eu, &us]).await});
    let rolled = operator.post(&roll("cron"), both).await.good();
    assert_eq!(rolled["credential"]["caller"]["sealedRegions"].as_array().map(Vec::len), Some(2), "{rolled}");
    let body = json!({"regions": ["eu", "us"]});
    operator.patch("/v1/orgs/acme/proxies/tokens", body).await.good();
    world.running.stop().await;
}

#[tokio::test]
async fn a_roll_takes_the_next_seal_and_keeps_the_one_before_for_a_time() {
    let (world, operator, eu, org) = world().await;
    let id = credential_id();
    operator.post(ALL, shared("cron", id, &sealed(&world, &org, id, 1, &[&eu]).await)).await.good();
    let keys = verify(json!({"jwksUrl": "https://i.example/jwks", "algorithms": ["ES256"]}));
    let public = json!({"name": "public", "caller": {"kind": "CALLER_KIND_JWT_VERIFY", "jwtVerify": keys}});
    operator.post(ALL, public).await.good();
    let second = sealed(&world, &org, id, 2, &[&eu]).await;
    let body = |version: u64, sealed: &Value, overlap: &str| json!({"version": version.to_string(), "sealed": sealed, "overlap": overlap});
    for (name, body, fields) in [
        ("cron", json!({}), ["sealed"]),
        ("cron", json!({"version": "2", "sealed": second, "valueHash": "A".repeat(43)}), ["value_hash"]),
        ("public", body(2, &second, "0s"), ["sealed"]),
        ("app", body(2, &second, "0s"), ["sealed"]),
    ] {
        assert_eq!(operator.post(&roll(name), body.clone()).await.faults(), fields, "{name} {body}");
    }
    for version in [0, 1, 3] {
        let conflict = operator.post(&roll("cron"), body(version, &second, "0s")).await;
        assert!(conflict.status == 409 && conflict.text.contains("seal for version 2"), "{}", conflict.text);
    }
    let replace = json!({"version": "2", "sealed": second});
    let refused = operator.post(&format!("{ALL}/cron:replaceSecret"), replace).await;
    assert!(refused.text.contains("credential roll"), "{}", refused.text);
    assert_eq!(refused.faults(), ["credential"]);

    let rolled = operator.post(&roll("cron"), body(2, &second, "3600s")).await.good();
    let (credential, caller) = (&rolled["credential"], &rolled["credential"]["caller"]);
    assert_eq!(credential["version"], "2");
    assert!(caller["previousNotAfter"].is_string() && caller["rolledAt"].is_string(), "{rolled}");
    let third = sealed(&world, &org, id, 3, &[&eu]).await;
    operator.post(&roll("cron"), body(3, &third, "60s")).await.refused(400, "two-values-live");
    // Nothing but a roll changes which are live: neither an older revision nor a set.
    let head = operator.head().await;
    let body_of = json!({"defaultEffect": "EFFECT_DENY"});
    operator.patch(&format!("{ALL}/cron"), body_of).await.good();
    operator.post("/v1/orgs/acme:rollback", json!({"revision": head.to_string()})).await.good();
    let back = operator.get(&format!("{ALL}/cron")).await.good();
    for field in ["rolledAt", "previousNotAfter", "sealedRegions"] {
        assert_eq!(back["credential"]["caller"][field], caller[field], "{field}");
    }
    let ended = operator.post(&roll("cron"), body(3, &third, "0s")).await.good();
    assert!(ended["credential"]["caller"]["previousNotAfter"].is_null(), "{ended}");
    world.running.stop().await;
}

#[tokio::test]
async fn a_set_brings_a_sealed_secret_with_a_new_credential_and_replaces_none() {
    let (world, operator, eu, org) = world().await;
    let id = credential_id();
    let secret = sealed(&world, &org, id, 1, &[&eu]).await;
    let set = |credential: Value| operator.post(APPLY, json!({"documents": [{"credential": credential}]}));
    let made = set(shared("cron", id, &secret)).await.good();
    assert_eq!(number(&made["outcome"]["created"]), 1, "{made}");
    let shown = operator.get(&format!("{ALL}/cron")).await.good();
    assert_eq!(shown["credential"]["id"], id.to_string(), "the seal is bound to it");
    // The same set again, with the secret and without.
    let mut silent = shared("cron", id, &secret);
    silent["caller"].as_object_mut().expect("an object").remove("sealed");
    let mut again = shared("cron", id, &secret);
    again["version"] = "1".into();
    for credential in [silent, again.clone()] {
        let same = set(credential).await.good();
        assert_eq!(number(&same["outcome"]["unchanged"]), 1, "{same}");
    }
    again["version"] = "2".into();
    let refused = set(again).await;
    assert!(refused.text.contains("rrctl credential roll cron"), "{}", refused.text);
    assert_eq!(refused.faults(), ["documents[0].credential.caller.sealed"]);
    world.running.stop().await;
}
