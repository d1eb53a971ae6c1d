//! Tokens against the checks of one credential: each algorithm, and each way to be wrong.

use std::time::Duration;

use rr_contract::model::caller::CallerKind;
use rr_contract::model::credential::Usage;
use rr_contract::model::resource::{Model, ResourceId};
use rr_contract::seal::{Means, SealContext, SecretSpec, Slot};
use rr_contract::seam::SystemEntropy;
use rr_contract::secret::Secret;
use rr_contract::wire::fleet;
use rr_contract::wire::fleet::caller_jwt_verify::Keys as WireKeys;
use serde_json::{Value, json};

use prost::Message as _;

use crate::fixture::{self, Region, credential_key};
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
    Checks::new(model, None, |_| panic!("nothing is fetched"), |_, _| panic!("nothing is sealed"))
        .expect("checks")
}

fn pass(checks: &Checks, token: &str) -> Result<(), Fault> {
    pass_at(checks, token, now())
}

fn pass_at(checks: &Checks, token: &str, now: SystemTime) -> Result<(), Fault> {
    let token = Token::parse(token.as_bytes()).expect("a token");
    let algorithm = checks.claims(&token, now)?;
    checks.signature(&token, algorithm, now).map(drop)
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
fn a_token_that_names_no_key_is_tried_with_four_of_them() {
    let keys: Vec<Key> = (0..5).map(|_| Key::ed25519()).collect();
    let published: Vec<Value> =
        keys.iter().enumerate().map(|(n, key)| key.published(&format!("k{n}"))).collect();
    let checks = checks_of(&published, &["EdDSA"], |_| {});
    let good = claims(NOW, &json!({}));
    let nameless = |n: usize| keys[n].token_as(Algorithm::EdDSA, &json!({"alg": "EdDSA"}), &good);
    for n in 0..4 {
        assert_eq!(pass(&checks, &nameless(n)), Ok(()), "{n}");
    }
    assert_eq!(pass(&checks, &nameless(4)), Err(Fault::Signature));
    let named = keys[4].token(Algorithm::EdDSA, "k4", &good);
    assert_eq!(pass(&checks, &named), Ok(()));
    // What a wrong one costs.
    let work = |token: &str| {
        let token = Token::parse(token.as_bytes()).expect("a token");
        checks.work(&token, Algorithm::EdDSA)
    };
    assert_eq!((work(&nameless(4)), work(&named)), (4, 1));
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
fn a_token_says_who_holds_it_where_its_credential_tells_holders_apart() {
    let key = Key::p256();
    let named = |claim: &str| {
        checks_of(&[key.published("k")], &["ES256"], |verify| verify.identity_claim = claim.to_owned())
    };
    let ask = |claim: &str, changes: Value| {
        let token = key.token(Algorithm::ES256, "k", &claims(NOW, &changes));
        let checks = named(claim);
        pass(&checks, &token)?;
        Ok(checks.identity(&Token::parse(token.as_bytes()).expect("a token")))
    };
    let text = |text: &str| Ok(Some(Identity::Text(text.to_owned())));
    assert_eq!(ask("", json!({"sub": null})), Ok(None));
    assert_eq!(ask("sub", json!({})), text("ann"));
    assert_eq!(ask("https://x.example/id", json!({"https://x.example/id": "eve"})), text("eve"));
    assert_eq!(ask("uid", json!({"uid": 7})), Ok(Some(Identity::Number("7".to_owned()))));
    assert_eq!(ask("uid", json!({"uid": "u".repeat(256)})), text(&"u".repeat(256)));
    for bad in [
        json!({}),
        json!({"uid": ""}),
        json!({"uid": true}),
        json!({"uid": ["a"]}),
        json!({"uid": {"uid": "a"}}),
        json!({"uid": "u".repeat(257)}),
    ] {
        assert_eq!(ask("uid", bad.clone()), Err(Fault::Claim), "{bad}");
    }
    assert_eq!(ask("sub", json!({"sub": null})), Err(Fault::Claim));
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
            None,
            |_| panic!("nothing is fetched"),
            |_, _| panic!("no secret"),
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

/// A secret of a version of the credential, sealed as what verifies tokens or as what goes to an upstream.
fn sealed(
    region: &Region,
    version: u64,
    secret: &[u8],
    not_after: Option<u64>,
    is_shared: bool,
) -> SealedSecret {
    let ResourceId::Credential(credential) = credential_key(1).id else { panic!("a credential") };
    let context = SealContext { installation: fixture::INSTALLATION, org: fixture::ORG, credential, version };
    let statement = region.keys().statement(at(0), at(NOW));
    let (value, not_after) = (Secret::new(secret.to_vec()), not_after.map(at));
    let made = if is_shared {
        SealedSecret::seal_shared(&context, value, not_after, &[&statement], &SystemEntropy)
    } else {
        let origins = vec!["https://a.example".parse().expect("an origin")];
        let spec = SecretSpec { value, origins, means: Means::sent(Slot::bearer()), not_after, ca: None };
        SealedSecret::seal(&context, &spec, &[&statement], &SystemEntropy)
    };
    made.expect("it seals")
}

/// Checks of a credential at version 2, whose older secret ends at a time.
fn shared_checks(
    region: &Region,
    newest: &SealedSecret,
    previous: Option<&SealedSecret>,
    ends: Option<u64>,
    algorithms: &[&str],
) -> Checks {
    let ResourceId::Credential(credential) = credential_key(1).id else { panic!("a credential") };
    let model = model(WireKeys::SharedSecret(newest.to_wire()), algorithms, |verify| {
        verify.previous_shared_secret = previous.map(SealedSecret::to_wire);
    });
    let open = |secret: &SealedSecret, before: u64| -> Open {
        let (vault, secret) = (region.vault(), secret.clone());
        Box::new(move || vault.open(&secret, fixture::ORG, credential, 2 - before))
    };
    Checks::new(model, ends.map(at), |_| panic!("nothing is fetched"), open).expect("checks")
}

fn signed(secret: &[u8], algorithm: Algorithm) -> String {
    Key::Secret(secret.to_vec()).token(algorithm, "k", &claims(NOW, &json!({})))
}

#[test]
fn a_shared_secret_verifies_its_algorithms_and_two_do_until_the_older_one_ends() {
    let (region, first, second) = (Region::new(), [b'a'; 64], [b'b'; 64]);
    let newest = sealed(&region, 2, &second, None, true);
    let previous = sealed(&region, 1, &first, None, true);
    let all = ["HS256", "HS384", "HS512"];
    let checks = shared_checks(&region, &newest, Some(&previous), Some(NOW + 60), &all);
    let ask = |checks: &Checks, token: &str, seconds: u64| {
        let token = Token::parse(token.as_bytes()).expect("a token");
        let algorithm = checks.claims(&token, at(NOW + seconds))?;
        checks.signature(&token, algorithm, at(NOW + seconds))
    };
    for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
        assert_eq!(ask(&checks, &signed(&second, algorithm), 0), Ok(None), "{algorithm:?}");
        // What is remembered of it counts no longer than the secret.
        let old = signed(&first, algorithm);
        assert_eq!(ask(&checks, &old, 59), Ok(Some(at(NOW + 60))), "{algorithm:?}");
        assert_eq!(ask(&checks, &old, 60), Err(Fault::Signature), "{algorithm:?}");
        assert_eq!(ask(&checks, &signed(&[b'c'; 64], algorithm), 0), Err(Fault::Signature));
    }
    // The algorithm is the credential's to say.
    let only = shared_checks(&region, &newest, None, None, &["HS512"]);
    assert_eq!(ask(&only, &signed(&second, Algorithm::HS256), 0), Err(Fault::Algorithm));
    assert_eq!(
        ask(&only, &signed(&first, Algorithm::HS512), 0),
        Err(Fault::Signature),
        "it was ended at once"
    );
    // A secret that says itself when it ends.
    let ending = sealed(&region, 2, &second, Some(NOW + 9), true);
    let checks = shared_checks(&region, &ending, None, None, &all);
    assert_eq!(ask(&checks, &signed(&second, Algorithm::HS256), 8), Ok(Some(at(NOW + 9))));
    assert_eq!(ask(&checks, &signed(&second, Algorithm::HS256), 9), Err(Fault::Key));
}

#[test]
fn an_older_secret_that_does_not_open_takes_nothing_from_the_newest() {
    let (region, elsewhere, second) = (Region::new(), Region::new(), [b'b'; 64]);
    let newest = sealed(&region, 2, &second, None, true);
    for (what, previous) in [
        ("of another region's key", sealed(&elsewhere, 1, &[b'a'; 64], None, true)),
        ("of another version", sealed(&region, 2, &[b'a'; 64], None, true)),
        ("for an upstream", sealed(&region, 1, &[b'a'; 64], None, false)),
    ] {
        let checks = shared_checks(&region, &newest, Some(&previous), Some(NOW + 60), &["HS256"]);
        assert!(checks.unseal().is_ok(), "{what}");
        assert_eq!(pass(&checks, &signed(&second, Algorithm::HS256)), Ok(()), "{what}");
        assert_eq!(pass(&checks, &signed(&[b'a'; 64], Algorithm::HS256)), Err(Fault::Signature), "{what}");
    }
}

#[test]
fn a_secret_that_is_short_or_may_be_sent_somewhere_verifies_nothing_and_says_why() {
    let region = Region::new();
    for (length, algorithms, is_shared, part) in [
        (32, &["HS256"][..], true, None),
        (47, &["HS256", "HS384"], true, Some("shorter than the 48 bytes")),
        (48, &["HS384"], true, None),
        (63, &["HS512"], true, Some("shorter than the 64 bytes")),
        (64, &["HS512", "HS256"], true, None),
        (64, &["HS256"], false, Some("sealed to be sent to an upstream")),
    ] {
        let secret = vec![b'g'; length];
        let newest = sealed(&region, 2, &secret, None, is_shared);
        let checks = shared_checks(&region, &newest, None, None, algorithms);
        let why = checks.unseal().map_err(|error| error.to_string());
        let is_good = match part {
            None => why.is_ok(),
            Some(part) => why.as_ref().is_err_and(|why| why.contains(part)),
        };
        assert!(is_good, "{length} {algorithms:?}: {why:?}");
        let algorithm = Algorithm::of(algorithms[0]).expect("an algorithm");
        let wanted = if part.is_none() { Ok(()) } else { Err(Fault::Key) };
        assert_eq!(pass(&checks, &signed(&secret, algorithm)), wanted, "{length} {algorithms:?}");
    }
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
    assert_eq!(checks.signature(&token, Algorithm::ES256, now()), Ok(None));
    assert_eq!(checks.signature(&token, Algorithm::ES384, now()), Err(Fault::Key));
}

#[test]
fn what_is_printed_of_checks_holds_no_secret() {
    let checks = checks_of(&[Key::p256().published("k")], &["ES256"], |_| {});
    assert!(format!("{checks:?}").contains(mint::ISSUER));
}
