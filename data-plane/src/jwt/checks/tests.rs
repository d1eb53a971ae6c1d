//! Tokens against the checks of one credential: each algorithm, and each way to be wrong.

use std::time::Duration;

use rr_contract::model::caller::CallerKind;
use rr_contract::model::credential::Usage;
use rr_contract::model::resource::Model;
use rr_contract::wire::fleet;
use rr_contract::wire::fleet::caller_jwt_verify::Keys as WireKeys;
use serde_json::{Value, json};

use prost::Message as _;

use crate::fixture::{self, credential_key};
use crate::jwt::mint::{self, Key, claims, document, verify};

use super::*;

const NOW: u64 = 1_700_000_000;

fn now() -> SystemTime {
    at(NOW)
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn model(keys: WireKeys, algorithms: &[&str], change: impl FnOnce(&mut fleet::CallerJwtVerify)) -> JwtVerify {
    let mut message = fixture::caller_message(1, 1, &[1]);
    let kind = Some(verify(keys, algorithms, change));
    let caller = fleet::CallerCredential { kind, header: String::new(), ..Default::default() };
    message.usage = Some(fleet::credential_resource::Usage::Caller(caller));
    let model = Model::parse(&credential_key(1), &message.encode_to_vec()).expect("a credential");
    let Model::Credential(credential) = model else { panic!("a credential") };
    let Usage::Caller(caller) = credential.usage else { panic!("a caller") };
    let CallerKind::JwtVerify(verify) = caller.kind else { panic!("checks of tokens") };
    *verify
}

fn checks_of(
    keys: &[Value],
    algorithms: &[&str],
    change: impl FnOnce(&mut fleet::CallerJwtVerify),
) -> Checks {
    let model = model(WireKeys::Jwks(document(keys)), algorithms, change);
    Checks::new(model, |_| panic!("nothing is fetched"), |_| panic!("nothing is sealed")).expect("checks")
}

fn pass(checks: &Checks, token: &str) -> Result<(), Fault> {
    pass_at(checks, token, now())
}

fn pass_at(checks: &Checks, token: &str, now: SystemTime) -> Result<(), Fault> {
    let token = Token::parse(token.as_bytes()).expect("a token");
    let algorithm = checks.claims(&token, now)?;
    checks.signature(&token, algorithm, now)
}

#[test]
fn each_algorithm_verifies_with_a_key_of_its_family_and_with_no_other() {
    let keys = [Key::rsa(), Key::p256(), Key::p384(), Key::ed25519()];
    let published: Vec<Value> =
        keys.iter().enumerate().map(|(n, key)| key.published(&format!("k{n}"))).collect();
    let of = |name: &str| Algorithm::of(name).expect("an algorithm");
    let families =
        [&["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"][..], &["ES256"], &["ES384"], &["EdDSA"]];
    let all: Vec<&str> = families.concat();
    let checks = checks_of(&published, &all, |_| {});
    let good = claims(NOW, &json!({}));
    for (signer, family) in families.iter().enumerate() {
        for algorithm in *family {
            let token = keys[signer].token(of(algorithm), &format!("k{signer}"), &good);
            assert_eq!(pass(&checks, &token), Ok(()), "{algorithm}");
            // The name of a key of another family, and no name.
            let token = keys[signer].token(of(algorithm), &format!("k{}", (signer + 1) % 4), &good);
            assert_eq!(pass(&checks, &token), Err(Fault::Key), "{algorithm}");
            let token = keys[signer].token_as(of(algorithm), &json!({"alg": algorithm}), &good);
            assert_eq!(pass(&checks, &token), Ok(()), "{algorithm} without a name");
        }
    }
    // The same key, and another algorithm of the family than the token says.
    let token = keys[0].token_as(of("RS256"), &json!({"alg": "PS256", "kid": "k0"}), &good);
    assert_eq!(pass(&checks, &token), Err(Fault::Signature));
    let token = keys[0].token_as(of("RS256"), &json!({"alg": "RS512", "kid": "k0"}), &good);
    assert_eq!(pass(&checks, &token), Err(Fault::Signature));
}

#[test]
fn a_public_key_is_never_a_secret_and_none_is_no_algorithm() {
    let key = Key::rsa();
    let published = key.published("k");
    let good = claims(NOW, &json!({}));
    let checks = checks_of(std::slice::from_ref(&published), &["RS256"], |_| {});
    let modulus = published["n"].as_str().expect("a modulus").as_bytes().to_vec();
    for secret in [modulus, published.to_string().into_bytes(), Vec::new()] {
        let token = Key::Secret(secret).token(Algorithm::HS256, "k", &good);
        assert_eq!(pass(&checks, &token), Err(Fault::Algorithm));
    }
    for name in ["none", "None", "NONE", "", "rs256", "RS256 "] {
        let token = key.token_as(Algorithm::RS256, &json!({"alg": name, "kid": "k"}), &good);
        assert_eq!(pass(&checks, &token), Err(Fault::Algorithm), "{name}");
        let unsigned = format!("{}.", token.rsplit_once('.').expect("dots").0);
        assert_eq!(pass(&checks, &unsigned), Err(Fault::Algorithm), "{name}");
    }
    // Its header brings a key of its own.
    let forger = Key::p256();
    let header =
        json!({"alg": "ES256", "kid": "k", "jwk": forger.published("k"), "jku": "https://evil.example"});
    let checks = checks_of(&[Key::p256().published("k")], &["ES256"], |_| {});
    assert_eq!(pass(&checks, &forger.token_as(Algorithm::ES256, &header, &good)), Err(Fault::Signature));
}

#[test]
fn a_key_is_meant_by_its_name_and_one_for_another_algorithm_is_not() {
    let (first, second) = (Key::p256(), Key::p256());
    let good = claims(NOW, &json!({}));
    let mut nameless = second.published("");
    nameless.as_object_mut().expect("an object").remove("kid");
    let checks = checks_of(&[first.published("a"), second.published("b")], &["ES256"], |_| {});
    let token = |key: &Key, kid: &str| key.token(Algorithm::ES256, kid, &good);
    assert_eq!(pass(&checks, &token(&second, "b")), Ok(()));
    assert_eq!(pass(&checks, &token(&second, "a")), Err(Fault::Signature));
    assert_eq!(pass(&checks, &token(&second, "c")), Err(Fault::Key));
    let checks = checks_of(&[first.published("a"), nameless], &["ES256"], |_| {});
    assert_eq!(pass(&checks, &token(&second, "c")), Ok(()), "a key without a name can be meant");
    assert_eq!(pass(&checks, &token(&second, "a")), Err(Fault::Signature), "not where another is named");
    let rsa = Key::rsa();
    let mut only = rsa.published("k");
    only["alg"] = json!("PS256");
    let checks = checks_of(&[only], &["RS256", "PS256"], |_| {});
    assert_eq!(pass(&checks, &rsa.token(Algorithm::PS256, "k", &good)), Ok(()));
    assert_eq!(pass(&checks, &rsa.token(Algorithm::RS256, "k", &good)), Err(Fault::Key));
}

#[test]
fn each_claim_is_checked() {
    let key = Key::p256();
    let required = |name: &str, values: &[&str]| fleet::RequiredClaim {
        name: name.to_owned(),
        values: values.iter().map(|value| (*value).to_owned()).collect(),
    };
    let checks = checks_of(&[key.published("k")], &["ES256"], |verify| {
        verify.audiences.push("other".to_owned());
        verify.required_claims =
            vec![required("tenant", &["t1", "t2"]), required("sub", &[]), required("scope", &["read"])];
    });
    let ask = |changes: Value| pass(&checks, &key.token(Algorithm::ES256, "k", &claims(NOW, &changes)));
    for good in [
        json!({}),
        json!({"aud": ["x", "other"]}),
        json!({"tenant": ["t9", "t2"]}),
        json!({"scope": "write read"}),
        json!({"scope": ["write", "read"]}),
        json!({"scope": null, "scp": ["read"]}),
        json!({"scope": "write", "scp": "read"}),
        json!({"nbf": null, "iat": null}),
        json!({"exp": 1_700_000_300.75}),
        json!({"sub": ""}),
    ] {
        assert_eq!(ask(good.clone()), Ok(()), "{good}");
    }
    for (bad, fault) in [
        (json!({"aud": null}), Fault::Audience),
        (json!({"aud": []}), Fault::Audience),
        (json!({"aud": "API"}), Fault::Audience),
        (json!({"aud": ["api2", "ap"]}), Fault::Audience),
        (json!({"exp": null}), Fault::Expired),
        (json!({"exp": 0}), Fault::Expired),
        (json!({"nbf": NOW + 31}), Fault::Early),
        (json!({"iat": NOW + 31}), Fault::Early),
        (json!({"tenant": null}), Fault::Claim),
        (json!({"tenant": "t3"}), Fault::Claim),
        (json!({"tenant": ["t3"]}), Fault::Claim),
        (json!({"tenant": {"t1": "t1"}}), Fault::Claim),
        (json!({"sub": null}), Fault::Claim),
        (json!({"scope": "reader"}), Fault::Claim),
        (json!({"scope": null}), Fault::Claim),
    ] {
        assert_eq!(ask(bad.clone()), Err(fault), "{bad}");
    }
}

#[test]
fn clocks_may_be_apart_by_the_leeway_and_by_no_more() {
    let key = Key::p256();
    let token = key.token(Algorithm::ES256, "k", &claims(NOW, &json!({"exp": NOW + 300})));
    for leeway in [0_u64, 30, 300] {
        let checks = checks_of(&[key.published("k")], &["ES256"], |verify| {
            verify.leeway = Some(rr_contract::model::time::wire_duration(Duration::from_secs(leeway)));
        });
        let ask = |time| pass_at(&checks, &token, time);
        assert_eq!(ask(at(NOW - leeway)), Ok(()), "{leeway}");
        assert_eq!(ask(at(NOW - leeway) - Duration::from_millis(1)), Err(Fault::Early), "{leeway}");
        assert_eq!(ask(at(NOW + 300 + leeway) - Duration::from_millis(1)), Ok(()), "{leeway}");
        assert_eq!(ask(at(NOW + 300 + leeway)), Err(Fault::Expired), "{leeway}");
    }
}

#[test]
fn a_token_of_which_a_bit_is_bent_is_none() {
    let key = Key::ed25519();
    let checks = checks_of(&[key.published("k")], &["EdDSA"], |_| {});
    let token = key.token(Algorithm::EdDSA, "k", &claims(NOW, &json!({})));
    assert_eq!(pass(&checks, &token), Ok(()));
    for at in 0..token.len() {
        let mut bent = token.clone().into_bytes();
        bent[at] = if bent[at] == b'A' { b'B' } else { b'A' };
        let passed = Token::parse(&bent).is_ok_and(|bent| {
            let algorithm = checks.claims(&bent, now());
            algorithm.is_ok_and(|algorithm| checks.signature(&bent, algorithm, now()).is_ok())
        });
        assert!(!passed, "byte {at}");
    }
}

#[test]
fn a_document_of_keys_of_which_none_can_be_used_makes_no_checks() {
    let new = |document: String| {
        let made = Checks::new(
            model(WireKeys::Jwks(document), &["ES256"], |_| {}),
            |_| panic!("nothing is fetched"),
            |_| panic!("no secret"),
        );
        made.map(drop).map_err(|error| error.to_string())
    };
    let secret = Key::Secret(vec![7; 32]).published("k");
    assert!(new(document(&[secret])).is_err_and(|error| error.contains("no key that verifies")));
    let mut off = Key::p256().published("k");
    off["x"] = off["y"].clone();
    assert_eq!(new(document(&[off])), Err("`jwks` has no key that lies on its curve".to_owned()));
    assert!(new("<html>".to_owned()).is_err());
}

/// RFC 7515, appendix A.3, and RFC 8037, appendix A.4: tokens that others made.
#[test]
fn signatures_that_others_made_are_good() {
    let es256 = json!({
        "kty": "EC", "crv": "P-256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    });
    let token = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    let checks = checks_of(&[es256], &["ES256"], |_| {});
    let token = Token::parse(token.as_bytes()).expect("a token");
    assert_eq!(token.claims.issuer.as_deref(), Some("joe"));
    assert_eq!(token.claims.expires, Some(at(1_300_819_380)));
    assert_eq!(checks.signature(&token, Algorithm::ES256, now()), Ok(()));
    assert_eq!(checks.signature(&token, Algorithm::ES384, now()), Err(Fault::Key));
}

#[test]
fn what_is_printed_of_checks_holds_no_secret() {
    let checks = checks_of(&[Key::p256().published("k")], &["ES256"], |_| {});
    assert!(format!("{checks:?}").contains(mint::ISSUER));
}
