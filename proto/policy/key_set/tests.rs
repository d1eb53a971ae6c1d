//! Documents as issuers publish them: which keys are left, and which documents are none.

use proptest::prelude::*;

use super::*;

fn rsa_key(bytes: usize) -> String {
    let mut n = vec![0xff; bytes];
    n[0] = 0x80;
    format!(r#""kty":"RSA","n":"{}","e":"AQAB""#, BASE64URL_NOPAD.encode(&n))
}

fn ec_key(curve: &str, length: usize) -> String {
    let part = BASE64URL_NOPAD.encode(&vec![7; length]);
    format!(r#""kty":"EC","crv":"{curve}","x":"{part}","y":"{part}""#)
}

fn ed_key_of(bytes: usize) -> String {
    format!(r#""kty":"OKP","crv":"Ed25519","x":"{}""#, BASE64URL_NOPAD.encode(&vec![7; bytes]))
}

fn ed_key() -> String {
    ed_key_of(32)
}

fn parse(keys: &[String]) -> Result<KeySet, KeySetError> {
    let keys: Vec<String> = keys.iter().map(|members| format!("{{{members}}}")).collect();
    KeySet::parse(format!(r#"{{"a":[1],"keys":[{}],"b":null}}"#, keys.join(",")).as_bytes())
}

fn is_usable(members: &str) -> bool {
    match parse(&[members.to_owned(), ed_key()]) {
        Ok(set) => set.skipped == 0,
        Err(error) => panic!("{members}: {error}"),
    }
}

#[test]
fn every_family_is_read_and_says_which_algorithms_it_can_have_made() {
    let named = format!(
        r#"{},"kid":"k","use":"sig","alg":"ES256","key_ops":["verify"],"x5c":["AA"]"#,
        ec_key("P-256", 32)
    );
    let set = parse(&[rsa_key(256), named, ec_key("P-384", 48), ed_key()]).expect("keys");
    assert_eq!((set.keys.len(), set.skipped), (4, 0));
    assert_eq!(set.keys[1].kid.as_deref(), Some("k"));
    assert_eq!(set.keys[1].algorithm, Some(Algorithm::ES256));
    let fits = |key: &PublishedKey| {
        let all = ["HS256", "RS256", "PS512", "ES256", "ES384", "EdDSA"];
        all.map(|name| key.material.fits(Algorithm::of(name).expect("an algorithm")))
    };
    assert_eq!(fits(&set.keys[0]), [false, true, true, false, false, false]);
    assert_eq!(fits(&set.keys[1]), [false, false, false, true, false, false]);
    assert_eq!(fits(&set.keys[2]), [false, false, false, false, true, false]);
    assert_eq!(fits(&set.keys[3]), [false, false, false, false, false, true]);
}

#[test]
fn a_key_that_cannot_be_used_is_passed_over_and_the_others_stay() {
    assert!(is_usable(&rsa_key(1024)));
    assert!(is_usable(&format!(r#"{},"use":"jwt-svid""#, ec_key("P-256", 32))), "of a SPIFFE trust domain");
    assert!(!is_usable(&format!(r#"{},"use":"x509-svid""#, ec_key("P-256", 32))));
    assert!(is_usable(&format!(r#"{},"alg":"Ed25519""#, ed_key())));
    for bad in [
        rsa_key(255),
        rsa_key(1025),
        // 2047 bits, and an even number.
        rsa_key(256).replace("\"n\":\"gP", "\"n\":\"f_"),
        rsa_key(256).replace("_w\",", "_g\","),
        rsa_key(256).replace("AQAB", "AQ"),
        rsa_key(256).replace("AQAB", "AAAC"),
        rsa_key(256).replace("AQAB", "AQAAAAB_"),
        rsa_key(256).replace("AQAB", "AQAB="),
        format!(r#"{},"d":"AQAB""#, rsa_key(256)),
        format!(r#"{},"use":"enc""#, rsa_key(256)),
        format!(r#"{},"use":1"#, rsa_key(256)),
        format!(r#"{},"key_ops":["sign"]"#, rsa_key(256)),
        format!(r#"{},"key_ops":"verify""#, rsa_key(256)),
        format!(r#"{},"key_ops":[1]"#, rsa_key(256)),
        format!(r#"{},"key_ops":{{"verify":[]}}"#, rsa_key(256)),
        format!(r#"{},"key_ops":{{}}"#, rsa_key(256)),
        format!(r#"{},"key_ops":[["verify"],{{"a":"verify"}}]"#, rsa_key(256)),
        format!(r#"{},"alg":"ES256""#, rsa_key(256)),
        format!(r#"{},"alg":"RSA-OAEP""#, rsa_key(256)),
        format!(r#"{},"alg":"none""#, rsa_key(256)),
        format!(r#"{},"alg":"HS256""#, rsa_key(256)),
        format!(r#"{},"kid":7"#, rsa_key(256)),
        format!(r#"{},"kid":"a","kid":"b""#, rsa_key(256)),
        format!(r#"{},"use":"enc","\u0075se":"sig""#, rsa_key(256)),
        format!(r#"{},"kid":"{}""#, rsa_key(256), "k".repeat(KID_MAX + 1)),
        format!(r#"{},"kty":"EC""#, rsa_key(256)),
        r#""kty":"oct","k":"AAAA""#.to_owned(),
        r#""kty":"RSA""#.to_owned(),
        ec_key("P-256", 31),
        ec_key("P-384", 32),
        ec_key("P-521", 66),
        ec_key("secp256k1", 32),
        ed_key().replace("Ed25519", "X25519"),
        ed_key_of(31),
        ed_key_of(33),
        ed_key().replace("Ed25519", "Ed448"),
        String::new(),
    ] {
        assert!(!is_usable(&bad), "{bad}");
    }
}

#[test]
fn what_is_not_public_is_told_and_an_algorithm_that_no_key_is_for_is_lacking() {
    let holds = |members: &str| parse(&[members.to_owned(), ed_key()]).map(|set| set.holds_private);
    assert_eq!(holds(&rsa_key(256)), Ok(false));
    for private in [format!(r#"{},"d":"AQAB""#, rsa_key(256)), r#""kty":"oct","k":"AAAA""#.to_owned()] {
        assert_eq!(holds(&private), Ok(true), "{private}");
    }
    let set = parse(&[format!(r#"{},"alg":"PS256""#, rsa_key(256)), ec_key("P-256", 32)]).expect("keys");
    for (algorithms, lacking) in [
        (&["PS256", "ES256"][..], None),
        (&["PS256", "RS256"], Some(1)),
        (&["ES384"], Some(0)),
        // For others to refuse.
        (&["HS256", "none"], None),
    ] {
        assert_eq!(set.lacks(algorithms), lacking, "{algorithms:?}");
    }
}

#[test]
fn entries_that_are_no_objects_are_passed_over() {
    let document = format!(r#"{{"keys":[1,"a",null,[{{}}],{{{}}}]}}"#, ed_key());
    let set = KeySet::parse(document.as_bytes()).expect("keys");
    assert_eq!((set.keys.len(), set.skipped), (1, 4));
}

#[test]
fn a_document_without_a_key_that_can_be_used_is_none() {
    for (bad, error) in [
        (r#"{}"#, KeySetError::NoList),
        (r#"[]"#, KeySetError::NoList),
        (r#"{"keys":{}}"#, KeySetError::NoList),
        (r#"{"keys":[],"keys":[]}"#, KeySetError::NoList),
        (r#"{"keys":[]}"#, KeySetError::NoneUsable),
        (r#"{"keys":[{"kty":"oct"}]}"#, KeySetError::NoneUsable),
        (r#"{"keys":[{"kty":"EC","crv":"P-256","d":"c2VjcmV0"},{"kty":"oct"}]}"#, KeySetError::OnlyPrivate),
    ] {
        assert_eq!(KeySet::parse(bad.as_bytes()), Err(error), "{bad}");
    }
    assert!(matches!(KeySet::parse(b"<html>"), Err(KeySetError::Json(_))));
    assert!(matches!(KeySet::parse(br#"{"keys":[]} x"#), Err(KeySetError::Json(_))));
}

#[test]
fn a_document_is_bounded() {
    let keys = |count: usize| vec![ed_key(); count];
    assert_eq!(parse(&keys(KEYS_MAX)).map(|set| set.keys.len()), Ok(KEYS_MAX));
    assert_eq!(parse(&keys(KEYS_MAX + 1)), Err(KeySetError::TooMany));
    let long = format!(r#"{{"keys":[{{{}}}]{}}}"#, ed_key(), " ".repeat(DOCUMENT_MAX));
    assert_eq!(KeySet::parse(long.as_bytes()), Err(KeySetError::TooLong));
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes: Vec<u8>, keys in "[\\[\\]{}\":,0-9a-zA-Z\\\\]{0,80}") {
        drop(KeySet::parse(&bytes));
        drop(KeySet::parse(format!(r#"{{"keys":[{keys}]}}"#).as_bytes()));
        drop(parse(&[keys]));
    }
}
