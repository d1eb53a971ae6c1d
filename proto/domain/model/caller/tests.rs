//! Kinds of caller credential: what parses, and every fault of what does not.

use fleet::caller_credential::Kind;
use fleet::caller_jwt_verify::Keys;

use std::time::Duration;

use crate::model::time;

use super::jwt::{Algorithm, DOCUMENT_MAX, InvalidJwksUrl, JwksUrl, LEEWAY, NAMED_MAX, TEXT_MAX, UNKNOWN};
use super::*;

const PHC: &str = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$";

fn phc() -> String {
    // 32 bytes of base64 without padding.
    format!("{PHC}{}", "A".repeat(43))
}

fn read(kind: Kind, header: &str) -> Result<Caller, Vec<String>> {
    let mut faults = Violations::default();
    let wire =
        fleet::CallerCredential { kind: Some(kind), header: header.to_owned(), previous_not_after: None };
    let caller = parse(&mut faults, wire);
    faults
        .finish(|| caller)
        .map_err(|invalid| invalid.violations().iter().map(|violation| violation.field.clone()).collect())
}

fn jwt(n: usize) -> Kind {
    Kind::Jwt(fleet::CallerJwt { hashes: vec![vec![1; 32]; n] })
}

fn verify(change: impl FnOnce(&mut fleet::CallerJwtVerify)) -> Result<Caller, Vec<String>> {
    let mut wire = fleet::CallerJwtVerify {
        issuer: "https://issuer.example".to_owned(),
        audiences: vec!["api".to_owned()],
        algorithms: vec!["RS256".to_owned(), "EdDSA".to_owned()],
        leeway: None,
        required_claims: vec![fleet::RequiredClaim {
            name: "scope".to_owned(),
            values: vec!["read".to_owned()],
        }],
        identity_claim: String::new(),
        keys: Some(Keys::JwksUrl("https://issuer.example/.well-known/jwks.json?v=1".to_owned())),
        previous_shared_secret: None,
    };
    change(&mut wire);
    read(Kind::JwtVerify(wire), "")
}

#[test]
fn each_kind_is_read() {
    let bearer = fleet::CallerBearer { hashes: vec![vec![1; 32]], prefix: String::new() };
    let Ok(Caller { kind: CallerKind::Bearer(bearer), header: None, .. }) = read(Kind::Bearer(bearer), "")
    else {
        panic!("a bearer");
    };
    assert_eq!(bearer.prefix, "Bearer");
    let basic = fleet::CallerBasic { user: "ann".to_owned(), password_hashes: vec![phc()] };
    assert!(matches!(read(Kind::Basic(basic), ""), Ok(Caller { kind: CallerKind::Basic(_), .. })));
    let Ok(Caller { kind: CallerKind::Jwt(_), header: Some(header), .. }) = read(jwt(2), "x-token") else {
        panic!("a token in a header of its own");
    };
    assert_eq!(header, "x-token");
    assert!(matches!(read(jwt(1), "authorization"), Ok(Caller { header: None, .. })));
    let Ok(Caller { kind: CallerKind::JwtVerify(checks), .. }) = verify(|_| {}) else { panic!("checks") };
    assert_eq!(checks.algorithms, [Algorithm::RS256, Algorithm::EdDSA]);
    assert_eq!(checks.leeway, LEEWAY);
}

#[test]
fn a_header_that_means_something_else_holds_no_credential() {
    for header in [
        "host",
        "content-length",
        "connection",
        "cookie",
        "requestrocket-hops",
        "requestrocket_x",
        "X-Token",
        "a b",
    ] {
        assert_eq!(read(jwt(1), header), Err(vec!["caller.header".to_owned()]), "{header}");
    }
}

/// Nodes read what was stored before somebody looked at what a header is for.
#[test]
fn a_header_with_another_purpose_is_refused_where_it_is_written_and_read_where_it_is_stored() {
    for name in ["accept", "content-type", "x-forwarded-for"] {
        assert!(read(jwt(1), name).is_ok(), "{name}");
    }
    let refused = |name: &str| {
        let mut faults = Violations::default();
        check_header("header", name, &mut faults);
        !faults.is_empty()
    };
    for name in
        ["accept", "Content-Type", "date", "origin", "user_agent", "x-forwarded-", "X-Forwarded-For", "via"]
    {
        assert!(refused(name), "{name}");
    }
    for name in ["", "a b", "authorization", "x-api-key", "x-forwarded", "x-origin", "api-date", "x-accept"] {
        assert!(!refused(name), "{name}");
    }
}

#[test]
fn a_certificate_stands_in_no_header() {
    let certificate = fleet::CallerCertificate { hashes: vec![vec![1; 32]], ..Default::default() };
    let in_header = |header: &str| read(Kind::Certificate(certificate.clone()), header);
    assert!(in_header("").is_ok());
    assert_eq!(in_header("x-own"), Err(vec!["caller.header".to_owned()]));
}

#[test]
fn the_word_before_user_and_password_stands_before_nothing_else() {
    for prefix in ["Basic", "bASIC"] {
        let bearer = fleet::CallerBearer { hashes: vec![vec![1; 32]], prefix: prefix.to_owned() };
        assert_eq!(read(Kind::Bearer(bearer), "x-own"), Err(vec!["caller.bearer.prefix".to_owned()]));
    }
}

#[test]
fn what_stands_before_a_value_is_one_word_with_an_end() {
    let of = |prefix: &str| {
        let bearer = fleet::CallerBearer { hashes: vec![vec![1; 32]], prefix: prefix.to_owned() };
        read(Kind::Bearer(bearer), "").map(|_| ())
    };
    for prefix in ["two words", " Key", "Key\t", "Schlüssel", "\u{7f}", &"k".repeat(USER_MAX + 1)] {
        assert_eq!(of(prefix), Err(vec!["caller.bearer.prefix".to_owned()]), "{prefix:?}");
    }
    assert_eq!([of("Key:"), of(&"k".repeat(USER_MAX))], [Ok(()), Ok(())]);
}

#[test]
fn a_user_has_a_name_that_can_stand_before_a_colon() {
    let of = |user: &str| {
        let basic = fleet::CallerBasic { user: user.to_owned(), password_hashes: vec![phc()] };
        read(Kind::Basic(basic), "").map(|_| ())
    };
    for user in ["", "a:b", ":", "a\nb", "a\u{7f}", "\u{85}", &"n".repeat(USER_MAX + 1)] {
        assert_eq!(of(user), Err(vec!["caller.basic.user".to_owned()]), "{user:?}");
    }
    assert_eq!([of("zoë ✓"), of(&"n".repeat(USER_MAX))], [Ok(()), Ok(())]);
}

#[test]
fn one_or_two_values_are_live() {
    for n in [0, 3] {
        assert_eq!(read(jwt(n), ""), Err(vec!["caller.jwt.hashes".to_owned()]));
    }
    let short = fleet::CallerApiKey { hashes: vec![vec![1; 32], vec![1; 31]] };
    assert_eq!(read(Kind::ApiKey(short), ""), Err(vec!["caller.api_key.hashes[1]".to_owned()]));
}

#[test]
fn a_password_hash_with_other_parameters_is_refused_where_it_stands() {
    let basic = fleet::CallerBasic {
        user: "ann".to_owned(),
        password_hashes: vec![phc(), phc().replace("t=2", "t=3")],
    };
    assert_eq!(read(Kind::Basic(basic), ""), Err(vec!["caller.basic.password_hashes[1]".to_owned()]));
}

#[test]
fn a_token_never_chooses_how_it_is_verified() {
    let field = |name: &str| Err(vec![format!("caller.jwt_verify.{name}")]);
    assert_eq!(verify(|wire| wire.algorithms = vec![]), field("algorithms"));
    assert_eq!(verify(|wire| wire.algorithms[1] = "none".to_owned()), field("algorithms[1]"));
    assert_eq!(verify(|wire| wire.algorithms[1] = "HS256".to_owned()), field("algorithms[1]"));
    assert_eq!(verify(|wire| wire.algorithms[1] = "RS256".to_owned()), field("algorithms[1]"));
}

#[test]
fn a_shared_secret_and_public_keys_verify_different_algorithms() {
    let sealed = || fleet::SealedSecret {
        envelope: 1,
        suite: 1,
        nonce: vec![0; 24],
        ciphertext: vec![0; 64],
        key_commitment: vec![0; 32],
        wraps: vec![fleet::Wrap {
            region: crate::model::id::RegionId::from_random([1; 16]).to_string(),
            epoch: 1,
            encapsulated: vec![0; 32],
            sealed_key: vec![0; 48],
            suite: 0,
        }],
    };
    let shared = |algorithms: &[&str], change: &dyn Fn(&mut fleet::CallerJwtVerify)| {
        verify(|wire| {
            wire.keys = Some(Keys::SharedSecret(sealed()));
            wire.algorithms = algorithms.iter().map(|name| (*name).to_owned()).collect();
            change(wire);
        })
    };
    let field = |name: &str| Err(vec![format!("caller.jwt_verify.{name}")]);
    assert!(shared(&["HS256", "HS384", "HS512"], &|_| {}).is_ok());
    assert!(shared(&["HS256"], &|wire| wire.previous_shared_secret = Some(sealed())).is_ok());
    assert_eq!(shared(&["RS256"], &|_| {}), field("algorithms[0]"));
    assert_eq!(shared(&["HS256", "ES256"], &|_| {}), field("algorithms[1]"));
    for keys in [Keys::JwksUrl("https://i.example".to_owned()), Keys::Jwks("{}".to_owned())] {
        let other = |wire: &mut fleet::CallerJwtVerify| wire.keys = Some(keys.clone());
        assert_eq!(shared(&["HS256"], &other), field("algorithms[0]"));
        let beside = |wire: &mut fleet::CallerJwtVerify| {
            wire.keys = Some(keys.clone());
            wire.previous_shared_secret = Some(sealed());
        };
        assert_eq!(shared(&["ES256"], &beside), field("previous_shared_secret"));
    }
    let broken = |wire: &mut fleet::CallerJwtVerify| {
        wire.previous_shared_secret = Some(fleet::SealedSecret { nonce: Vec::new(), ..sealed() });
    };
    assert!(shared(&["HS256"], &broken).is_err());
    let lengths: Vec<_> = ["HS256", "HS384", "HS512", "RS256", "EdDSA"]
        .into_iter()
        .map(|name| Algorithm::of(name).and_then(Algorithm::secret_min))
        .collect();
    assert_eq!(lengths, [Some(32), Some(48), Some(64), None, None]);
}

#[test]
fn an_algorithm_that_is_not_known_is_told_all_that_are() {
    for algorithm in Algorithm::ALL {
        assert!(UNKNOWN.contains(algorithm.as_str()), "{algorithm:?}");
    }
}

#[test]
fn every_check_of_a_token_is_stated_and_bounded() {
    let field = |name: &str| Err(vec![format!("caller.jwt_verify.{name}")]);
    assert_eq!(verify(|wire| wire.keys = None), field("keys"));
    assert_eq!(verify(|wire| wire.issuer.clear()), field("issuer"));
    assert_eq!(verify(|wire| wire.audiences.clear()), field("audiences"));
    assert_eq!(verify(|wire| wire.audiences.push(String::new())), field("audiences[1]"));
    assert_eq!(verify(|wire| wire.required_claims[0].name.clear()), field("required_claims[0].name"));
    let many = |count: usize| vec!["v".to_owned(); count];
    assert!(verify(|wire| wire.audiences = many(NAMED_MAX)).is_ok());
    assert_eq!(verify(|wire| wire.audiences = many(NAMED_MAX + 1)), field("audiences"));
    assert!(verify(|wire| wire.required_claims[0].values = many(NAMED_MAX)).is_ok());
    let values = verify(|wire| wire.required_claims[0].values = many(NAMED_MAX + 1));
    assert_eq!(values, field("required_claims[0].values"));
    let claims =
        |count: usize| verify(|wire| wire.required_claims = vec![wire.required_claims[0].clone(); count]);
    assert!(claims(NAMED_MAX).is_ok());
    assert_eq!(claims(NAMED_MAX + 1), field("required_claims"));
    let document = |length: usize| verify(|wire| wire.keys = Some(Keys::Jwks("k".repeat(length))));
    assert!(document(DOCUMENT_MAX).is_ok());
    assert_eq!(document(DOCUMENT_MAX + 1), field("jwks"));
    assert_eq!(document(0), field("jwks"));
    let long = "c".repeat(TEXT_MAX + 1);
    for name in ["\n", &*long] {
        assert_eq!(verify(|wire| wire.identity_claim = name.to_owned()), field("identity_claim"));
    }
    for (name, read) in [("", None), ("https://issuer.example/user", Some("https://issuer.example/user"))] {
        let Ok(Caller { kind: CallerKind::JwtVerify(checks), .. }) =
            verify(|wire| wire.identity_claim = name.to_owned())
        else {
            panic!("checks")
        };
        assert_eq!(checks.identity_claim.as_deref(), read);
    }
    let minutes = |seconds| Some(time::wire_duration(Duration::from_secs(seconds)));
    assert_eq!(verify(|wire| wire.leeway = minutes(301)), field("leeway"));
    assert!(verify(|wire| wire.leeway = minutes(300)).is_ok());
    let of = |name: &str, values: &[&str]| {
        let values = values.iter().map(|value| (*value).to_owned()).collect();
        verify(|wire| {
            wire.issuer.clear();
            wire.required_claims[0] = fleet::RequiredClaim { name: name.to_owned(), values };
        })
    };
    assert!(of("sub", &["spiffe://acme.example/billing"]).is_ok(), "the name says whose token it is");
    assert_eq!(of("sub", &["spiffe://acme.example/billing", "ann"]), field("issuer"));
    assert_eq!(of("sub", &[]), field("issuer"));
    assert_eq!(of("azp", &["spiffe://acme.example/billing"]), field("issuer"));
}

#[test]
fn keys_are_not_fetched_in_the_clear() {
    let url = |text: &str| JwksUrl::try_from(text).map(|url| url.as_str().to_owned());
    assert_eq!(url("http://issuer.example/jwks"), Err(InvalidJwksUrl::Plaintext));
    for good in
        ["https://issuer.example/jwks?p=a", "http://127.0.0.1:9/jwks", "http://[::1]/", "http://localhost/"]
    {
        assert_eq!(url(good).as_deref(), Ok(good));
    }
    for bad in
        ["https://u:p@issuer.example/", "https://issuer.example/#x", "https://i.example/?a#b", "ftp://x/"]
    {
        assert!(url(bad).is_err(), "{bad}");
    }
}
