//! Callers that are known by their client certificates: by a key, whose hash comes in and is shown, or by a name with whoever gives
//! it.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use rr_contract::client_key::ClientKey;
use rr_contract::model::caller::certificate::SpiffeId;
use serde_json::{Value, json};

use super::client::{Client, number};
use super::world::World;

const ALL: &str = "/v1/orgs/acme/credentials";
const APPLY: &str = "/v1/orgs/acme:apply";
const ROLL: &str = "/v1/orgs/acme/credentials/partner:roll";
const NAME: &str = "spiffe://example.org/payments";

async fn world() -> (World, Client) {
    let world = World::start().await;
    world.org("acme").await;
    let operator = world.operator();
    (world, operator)
}

fn hash(of: u8) -> String {
    BASE64_STANDARD.encode([of; 32])
}

/// As records have it.
fn shown(of: u8) -> String {
    ClientKey::try_from(&[of; 32][..]).expect("a hash").to_string()
}

fn key(name: &str, of: u8) -> Value {
    json!({"name": name, "caller": {"kind": "CALLER_KIND_CERTIFICATE", "valueHash": hash(of)}})
}

fn named(name: &str, spiffe_id: &str, ca: &str) -> Value {
    let certificate = json!({"spiffeId": spiffe_id, "ca": ca});
    json!({"name": name, "caller": {"kind": "CALLER_KIND_CERTIFICATE", "certificate": certificate}})
}

fn authority() -> String {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.self_signed(&KeyPair::generate().expect("a key")).expect("a root").pem()
}

/// One that has signed nothing but itself.
fn leaf(is_ca: IsCa) -> String {
    let mut params = CertificateParams::default();
    params.is_ca = is_ca;
    params.self_signed(&KeyPair::generate().expect("a key")).expect("a certificate").pem()
}

fn certificate(answer: &Value) -> &Value {
    &answer["credential"]["caller"]["certificate"]
}

#[tokio::test]
async fn the_key_of_a_certificate_comes_as_its_hash_is_shown_and_is_rolled_like_other_values() {
    let (world, operator) = world().await;
    let made = operator.post(ALL, key("partner", 1)).await.good();
    assert_eq!(certificate(&made)["spkiSha256"], shown(1));
    assert_eq!(made["key"].as_str().unwrap_or_default(), "");
    let back_to = operator.head().await;
    let rolled = operator.post(ROLL, json!({"valueHash": hash(2), "overlap": "3600s"})).await.good();
    assert_eq!(number(&rolled["credential"]["version"]), 2);
    let wanted = json!({"spkiSha256": shown(2), "previousSpkiSha256": shown(1)});
    let both = |answer: &Value| json!({"spkiSha256": certificate(answer)["spkiSha256"], "previousSpkiSha256": certificate(answer)["previousSpkiSha256"]});
    assert_eq!(both(&rolled), wanted);
    // Neither a set nor a rollback changes which keys count.
    let set = |of: Option<u8>| {
        let mut credential = key("partner", of.unwrap_or_default());
        if of.is_none() {
            credential["caller"] = json!({"kind": "CALLER_KIND_CERTIFICATE"});
        }
        operator.post(APPLY, json!({"documents": [{"credential": credential}]}))
    };
    for of in [Some(2), None] {
        assert_eq!(number(&set(of).await.good()["outcome"]["unchanged"]), 1, "{of:?}");
    }
    assert_eq!(set(Some(3)).await.faults(), ["documents[0].credential.caller.value_hash"]);
    operator.post("/v1/orgs/acme:rollback", json!({"revision": back_to.to_string()})).await.good();
    let back = operator.get(&format!("{ALL}/partner")).await.good();
    assert_eq!(both(&back), wanted);
    operator.post(ROLL, json!({"valueHash": hash(3), "overlap": "1s"})).await.refused(400, "two-values-live");
    for body in [json!({}), json!({"valueHash": hash(2)}), json!({"valueHash": "AAAA"})] {
        assert_eq!(operator.post(ROLL, body.clone()).await.faults(), ["value_hash"], "{body}");
    }
    let last = operator.post(ROLL, json!({"valueHash": hash(3)})).await.good();
    assert_eq!(certificate(&last)["spkiSha256"], shown(3));
    assert_eq!(certificate(&last)["previousSpkiSha256"].as_str().unwrap_or_default(), "");
    world.running.stop().await;
}

/// It was kept without a word, and no certificate that it was to vouch for was taken.
#[tokio::test]
async fn what_vouches_for_a_name_is_an_authority() {
    let (world, operator) = world().await;
    let field = "credential.caller.certificate.ca";
    let set = |ca: &str| json!({"documents": [{"credential": named("payments", NAME, ca)}]});
    for leaf in [leaf(IsCa::NoCa), leaf(IsCa::ExplicitNoCa)] {
        let bundle = format!("{}{leaf}", authority());
        let refused = operator.post(ALL, named("payments", NAME, &bundle)).await;
        assert!(refused.text.contains("certificate 2 is of no authority"), "{}", refused.text);
        assert_eq!(refused.faults(), [field]);
        assert_eq!(operator.post(APPLY, set(&bundle)).await.faults(), [format!("documents[0].{field}")]);
    }
    operator.post(ALL, named("payments", NAME, &authority())).await.good();
    let alone = leaf(IsCa::NoCa);
    let change = json!({"caller": {"certificate": {"ca": alone}}});
    assert_eq!(operator.patch(&format!("{ALL}/payments"), change).await.faults(), [field]);
    assert_eq!(operator.post(APPLY, set(&alone)).await.faults(), [format!("documents[0].{field}")]);
    world.running.stop().await;
}

#[tokio::test]
async fn a_key_and_a_name_are_each_one_credential_of_an_organization() {
    let (world, operator) = world().await;
    world.org("other").await;
    let ca = authority();
    operator.post(ALL, key("partner", 1)).await.good();
    operator.post(ALL, named("payments", NAME, &ca)).await.good();
    let refused = operator.post(ALL, key("second", 1)).await;
    assert!(refused.text.contains(r#"credential \"partner\""#), "{}", refused.text);
    assert_eq!(refused.faults(), ["credential.caller.value_hash"]);
    let field = "credential.caller.certificate.spiffe_id";
    assert_eq!(operator.post(ALL, named("second", NAME, &ca)).await.faults(), [field]);
    let set = json!({"documents": [{"credential": named("second", NAME, &ca)}]});
    assert_eq!(operator.post(APPLY, set).await.faults(), [format!("documents[0].{field}")]);
    let two = json!({"documents": [{"credential": key("a", 7)}, {"credential": key("b", 7)}]});
    assert_eq!(operator.post(APPLY, two).await.faults(), ["documents[1].credential.caller.value_hash"]);
    // What certificates are found by is nobody's value, even if somebody says that a value has this hash.
    let by_key = ClientKey::try_from(&[1; 32][..]).expect("a hash").hash();
    let by_name = SpiffeId::try_from(NAME).expect("a name").hash();
    for taken in [by_key, by_name] {
        let forged =
            json!({"kind": "CALLER_KIND_BEARER", "valueHash": BASE64_STANDARD.encode(taken.as_bytes())});
        let faults = operator.post(ALL, json!({"name": "forged", "caller": forged})).await.faults();
        assert_eq!(faults, ["credential.caller.value_hash"]);
    }
    let elsewhere = "/v1/orgs/other/credentials";
    operator.post(elsewhere, key("partner", 1)).await.good();
    operator.post(elsewhere, named("payments", NAME, &ca)).await.good();
    world.running.stop().await;
}

#[tokio::test]
async fn a_name_comes_with_its_authorities_which_alone_can_change() {
    let (world, operator) = world().await;
    let (ca, next) = (authority(), authority());
    let made = operator.post(ALL, named("partner", NAME, &ca)).await.good();
    assert_eq!((&certificate(&made)["spiffeId"], &certificate(&made)["ca"]), (&json!(NAME), &json!(ca)));
    let roll = operator.post(ROLL, json!({"valueHash": hash(1)})).await;
    assert_eq!(roll.faults(), ["credential"]);
    let path = format!("{ALL}/partner?updateMask=caller.certificate.ca");
    let change =
        |ca: &str| json!({"caller": {"certificate": {"ca": ca, "spiffeId": "spiffe://evil.example/a"}}});
    let changed = operator.patch(&path, change(&next)).await.good();
    assert_eq!(
        (&certificate(&changed)["spiffeId"], &certificate(&changed)["ca"]),
        (&json!(NAME), &json!(next))
    );
    for bad in ["", "no PEM"] {
        assert_eq!(operator.patch(&path, change(bad)).await.faults(), ["credential.caller.certificate.ca"]);
    }
    let set = |spiffe_id: &str, ca: &str| {
        let documents = json!([{"credential": named("partner", spiffe_id, ca)}]);
        operator.post(APPLY, json!({"documents": documents}))
    };
    assert_eq!(number(&set(NAME, &next).await.good()["outcome"]["unchanged"]), 1);
    assert_eq!(number(&set(NAME, &ca).await.good()["outcome"]["updated"]), 1);
    let field = "documents[0].credential.caller.certificate.spiffe_id";
    for other in ["spiffe://example.org/other", ""] {
        let faults = set(other, &ca).await.faults();
        assert!(faults.contains(&field.to_owned()), "{faults:?}");
    }
    // A key does not become a name.
    operator.post(ALL, key("pinned", 1)).await.good();
    let faults =
        operator.patch(&format!("{ALL}/pinned?updateMask=caller.certificate.ca"), change(&ca)).await.faults();
    assert_eq!(faults, ["credential.caller.certificate.ca"]);
    world.running.stop().await;
}

#[tokio::test]
async fn what_names_no_certificate_is_refused_by_name() {
    let (world, operator) = world().await;
    let ca = authority();
    let private = KeyPair::generate().expect("a key").serialize_pem();
    let with = |caller: Value| json!({"name": "wrong", "caller": caller});
    let kind = "CALLER_KIND_CERTIFICATE";
    let (hash_field, id, bundle) = (
        "credential.caller.value_hash",
        "credential.caller.certificate.spiffe_id",
        "credential.caller.certificate.ca",
    );
    for (wrong, field) in [
        (with(json!({"kind": kind})), hash_field),
        (with(json!({"kind": kind, "valueHash": "AAAA"})), hash_field),
        (
            with(json!({"kind": kind, "valueHash": hash(1), "certificate": {"spiffeId": NAME, "ca": ca}})),
            hash_field,
        ),
        (with(json!({"kind": kind, "valueHash": hash(1), "certificate": {"ca": ca}})), bundle),
        (with(json!({"kind": kind, "valueHash": hash(1), "header": "x-cert"})), "credential.caller.header"),
        (with(json!({"kind": kind, "passwordHash": "x"})), "credential.caller.password_hash"),
        (named("wrong", NAME, ""), bundle),
        (named("wrong", NAME, &private), bundle),
        (named("wrong", "spiffe://Example.org/a", &ca), id),
        (named("wrong", "spiffe://example.org/a?b", &ca), id),
        (named("wrong", "spiffe://example.org", &ca), id),
        (
            with(json!({"kind": "CALLER_KIND_API_KEY", "certificate": {"spiffeId": NAME, "ca": ca}})),
            "credential.caller.certificate",
        ),
    ] {
        let refused = operator.post(ALL, wrong.clone()).await;
        assert!(!refused.text.contains("PRIVATE KEY"), "{}", refused.text);
        assert_eq!(refused.faults(), [field], "{wrong}");
    }
    // Nor does a set make one of a key that is there.
    operator.post(ALL, json!({"name": "app", "caller": {"kind": "CALLER_KIND_API_KEY"}})).await.good();
    let set = json!({"name": "app", "caller": {"kind": "CALLER_KIND_API_KEY", "certificate": {"spiffeId": NAME, "ca": ca}}});
    let faults = operator.post(APPLY, json!({"documents": [{"credential": set}]})).await.faults();
    assert_eq!(faults, ["documents[0].credential.caller.certificate"]);
    // What the control plane says of keys is not taken from anybody.
    let mut claims = key("partner", 1);
    claims["caller"]["certificate"] = json!({"spkiSha256": shown(9), "previousSpkiSha256": shown(8)});
    let made = operator.post(ALL, claims).await.good();
    assert_eq!(certificate(&made)["spkiSha256"], shown(1));
    assert_eq!(certificate(&made)["previousSpkiSha256"].as_str().unwrap_or_default(), "");
    world.running.stop().await;
}
