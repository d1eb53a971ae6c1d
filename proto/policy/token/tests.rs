//! Tokens as issuers make them, and every form that has two readings.

use proptest::prelude::*;

use super::*;

fn token(header: &str, claims: &str) -> String {
    let encode = |text: &str| BASE64URL_NOPAD.encode(text.as_bytes());
    format!("{}.{}.c2ln", encode(header), encode(claims))
}

fn read(header: &str, claims: &str) -> Result<(String, Option<String>), TokenError> {
    let text = token(header, claims);
    Token::parse(text.as_bytes()).map(|token| (token.algorithm, token.kid))
}

fn claims(document: &str) -> Result<Claims, TokenError> {
    Claims::read(document.as_bytes().to_vec())
}

#[test]
fn a_token_is_taken_apart() {
    let text = token(
        r#"{"alg":"ES256","typ":"at+jwt","kid":"k1","jku":"https://evil.example","jwk":{"kty":"oct"}}"#,
        r#"{"iss":"https://i","sub":"ann","aud":["a","b"],"exp":1700000000.5,"nbf":1.6e9,"iat":0,"x":{"exp":1,"exp":2}}"#,
    );
    let token = Token::parse(text.as_bytes()).expect("a token");
    assert_eq!(token.signed, text.rsplit_once('.').expect("dots").0.as_bytes());
    assert_eq!(token.signature, b"sig");
    assert_eq!((&*token.algorithm, token.kid.as_deref()), ("ES256", Some("k1")));
    let claims = token.claims;
    assert_eq!(claims.issuer.as_deref(), Some("https://i"));
    assert_eq!(claims.audiences, ["a", "b"]);
    let at = |seconds| Some(SystemTime::UNIX_EPOCH + Duration::from_secs_f64(seconds));
    assert_eq!((claims.expires, claims.not_before), (at(1_700_000_000.5), at(1_600_000_000.0)));
    assert_eq!(claims.issued, at(0.0));
    assert_eq!(claims.text("sub").as_deref(), Some("ann"));
    assert!(claims.has("x") && !claims.has("y"));
}

#[test]
fn a_token_has_three_parts_of_strict_base64url() {
    let good = token(r#"{"alg":"ES256"}"#, "{}");
    assert!(Token::parse(good.as_bytes()).is_ok());
    let parts: Vec<&str> = good.split('.').collect();
    for bad in [
        String::new(),
        "..".to_owned(),
        format!("{}.{}", parts[0], parts[1]),
        format!("{}..{}", parts[0], parts[2]),
        format!(".{}.{}", parts[1], parts[2]),
        format!("{good}."),
        format!("{good}.c2ln"),
        format!("{good}="),
        format!(" {good}"),
        format!("{good}\n"),
        // Bits that no byte has: the same signature in another spelling.
        format!("{}.{}.c2lo-", parts[0], parts[1]),
        format!("{}.{}.YR", parts[0], parts[1]),
        format!("{}.{}.+/==", parts[0], parts[1]),
    ] {
        assert_eq!(Token::parse(bad.as_bytes()).err(), Some(TokenError::Form), "{bad:?}");
    }
    let long = format!("{good}{}", "A".repeat(TOKEN_MAX));
    assert_eq!(Token::parse(long.as_bytes()).err(), Some(TokenError::TooLong));
}

#[test]
fn a_member_that_is_there_twice_refuses_the_token() {
    assert_eq!(read(r#"{"alg":"ES256","alg":"none"}"#, "{}"), Err(TokenError::Twice));
    assert_eq!(read(r#"{"alg":"ES256","\u0061lg":"none"}"#, "{}"), Err(TokenError::Twice));
    assert_eq!(read(r#"{"alg":"ES256"}"#, r#"{"exp":1,"exp":9}"#), Err(TokenError::Twice));
    assert_eq!(read(r#"{"alg":"ES256"}"#, r#"{"own":1,"ow\u006e":2}"#), Err(TokenError::Twice));
}

#[test]
fn a_header_says_how_it_is_signed_and_nothing_that_has_to_be_understood() {
    let header = |header: &str| read(header, "{}").map(|(algorithm, _)| algorithm);
    for kind in ["JWT", "jwt", "at+jwt", "AT+JWT", "JOSE", "application/at+jwt"] {
        assert_eq!(header(&format!(r#"{{"alg":"RS256","typ":"{kind}"}}"#)).as_deref(), Ok("RS256"), "{kind}");
    }
    for kind in ["", "dpop+jwt", "logout+jwt", "JWE", "application/", "JWT "] {
        assert_eq!(header(&format!(r#"{{"alg":"RS256","typ":"{kind}"}}"#)), Err(TokenError::Type), "{kind}");
    }
    for critical in [r#""crit":["b64"],"b64":false"#, r#""crit":[]"#, r#""b64":true"#, r#""crit":null"#] {
        assert_eq!(
            header(&format!(r#"{{"alg":"RS256",{critical}}}"#)),
            Err(TokenError::Critical),
            "{critical}"
        );
    }
    for (bad, member) in [
        ("{}", "alg"),
        (r#"{"alg":null}"#, "alg"),
        (r#"{"alg":["RS256"]}"#, "alg"),
        (r#"{"alg":"RS256","typ":1}"#, "typ"),
        (r#"{"alg":"RS256","kid":1}"#, "kid"),
    ] {
        assert_eq!(header(bad), Err(TokenError::Member(member)), "{bad}");
    }
    let named = |length| format!(r#"{{"alg":"RS256","kid":"{}"}}"#, "k".repeat(length));
    assert!(header(&named(KID_MAX)).is_ok());
    assert_eq!(header(&named(KID_MAX + 1)), Err(TokenError::Member("kid")));
}

#[test]
fn what_is_no_object_is_no_header_and_no_claims() {
    for bad in ["[]", "1", "\"\"", "{", "{}}", "{}x", "{\"a\":}", "{'a':1}", "\u{feff}{}"] {
        assert!(matches!(read(bad, "{}"), Err(TokenError::Json(_))), "{bad}");
        assert!(matches!(read(r#"{"alg":"ES256"}"#, bad), Err(TokenError::Json(_))), "{bad}");
    }
    let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(500), "]".repeat(500));
    assert_eq!(claims(&deep).err(), Some(TokenError::Json(JsonError::Depth)));
    let not_utf8 = [b"{\"a\":\"\xff\"}".as_slice()].concat();
    assert!(matches!(Claims::read(not_utf8), Err(TokenError::Json(JsonError::Encoding(_)))));
}

#[test]
fn a_time_is_a_number_of_seconds_that_a_calendar_has() {
    let expires = |number: &str| claims(&format!(r#"{{"exp":{number}}}"#)).map(|claims| claims.expires);
    let at = |millis| Ok(Some(SystemTime::UNIX_EPOCH + Duration::from_millis(millis)));
    assert_eq!(expires("0"), at(0));
    assert_eq!(expires("1.25"), at(1_250));
    assert_eq!(expires("17E8"), at(1_700_000_000_000));
    assert_eq!(expires("253402300799"), at(253_402_300_799_000));
    for bad in
        ["-1", "1e300", "1e999", "253402300800", "18446744073709551616", "\"1700000000\"", "null", "[1]"]
    {
        assert_eq!(expires(bad), Err(TokenError::Member("exp")), "{bad}");
    }
    assert_eq!(claims("{}").map(|claims| claims.expires), Ok(None));
    assert_eq!(claims(r#"{"nbf":true}"#).err(), Some(TokenError::Member("nbf")));
    assert_eq!(claims(r#"{"iat":"x"}"#).err(), Some(TokenError::Member("iat")));
}

#[test]
fn registered_claims_have_their_forms() {
    for (document, member) in [
        (r#"{"iss":["a"]}"#, "iss"),
        (r#"{"sub":1}"#, "sub"),
        (r#"{"aud":1}"#, "aud"),
        (r#"{"aud":["a",1]}"#, "aud"),
        (r#"{"aud":[["a"]]}"#, "aud"),
        (r#"{"aud":{"a":"b"}}"#, "aud"),
    ] {
        assert_eq!(claims(document).err(), Some(TokenError::Member(member)), "{document}");
    }
    assert_eq!(claims(r#"{"aud":"a"}"#).expect("claims").audiences, ["a"]);
    assert!(claims(r#"{"aud":[]}"#).expect("claims").audiences.is_empty());
}

#[test]
fn a_claim_holds_a_value_as_a_text_or_in_a_list_and_a_scope_as_a_word() {
    let claims =
        claims(r#"{"a":"x","b":[1,{"c":["x"]},"x",[]],"c":{"x":"x"},"d":["y"],"s":"read  write","n":1}"#)
            .expect("claims");
    let x = ["x".to_owned(), "z".to_owned()];
    let holds = ["a", "b", "c", "d", "s", "n", "e"].map(|name| claims.holds(name, &x));
    assert_eq!(holds, [true, true, false, false, false, false, false]);
    let word = |word: &str| claims.has_word("s", &[word.to_owned()]);
    assert!(word("read") && word("write"));
    assert!(!word("rea") && !word("read  write") && !word("x"));
    assert!(!claims.holds("s", &["read".to_owned()]), "it is a text like another here");
    assert!(claims.has_word("b", &x) && !claims.has_word("n", &["1".to_owned()]));
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes: Vec<u8>, header in "\\PC{0,40}", document in "[\\[\\]{}\":,0-9a-z\\\\]{0,60}") {
        drop(Token::parse(&bytes));
        drop(read(&header, &document));
        drop(read(r#"{"alg":"ES256"}"#, &document));
        drop(claims(&document).map(|claims| [claims.holds("a", &[]), claims.has_word("a", &[])].to_vec()));
    }

    #[test]
    fn a_bent_token_is_refused_or_signs_something_else(at in 0_usize..200, put: u8) {
        let good = token(r#"{"alg":"ES256","kid":"k"}"#, r#"{"iss":"i","aud":"a","exp":1700000000,"sub":"s"}"#);
        let mut bent = good.clone().into_bytes();
        let at = at % bent.len();
        bent[at] = put;
        if let Ok(token) = Token::parse(&bent) && bent != good.as_bytes() {
            let whole = [token.signed, &token.signature].concat();
            let same = Token::parse(good.as_bytes()).expect("a token");
            prop_assert_ne!(whole, [same.signed, &same.signature].concat());
        }
    }
}

#[test]
fn who_holds_a_token_is_said_by_a_text_or_a_number_of_bounded_length() {
    let identity = |value: &str| {
        let claims = claims(&format!(r#"{{"id":{value},"nested":{{"id":"x"}}}}"#)).expect("claims");
        claims.identity("id")
    };
    let text = |text: &str| Some(Identity::Text(text.to_owned()));
    let number = |digits: &str| Some(Identity::Number(digits.to_owned()));
    assert_eq!(identity(r#""ann""#), text("ann"));
    assert_eq!(identity(r#""\u0061nn""#), text("ann"));
    assert_eq!(identity("7"), number("7"));
    assert_eq!(identity(r#""7""#), text("7"));
    assert_eq!(identity("-1.5e3"), number("-1.5e3"));
    for bad in ["null", "true", r#""""#, "[]", r#"["ann"]"#, "{}", r#"{"id":"ann"}"#] {
        assert_eq!(identity(bad), None, "{bad}");
    }
    let (longest, digits) = ("\u{e9}".repeat(IDENTITY_MAX / 2), "1".repeat(IDENTITY_MAX));
    assert_eq!(identity(&format!("\"{longest}\"")), text(&longest));
    assert_eq!(identity(&format!("\"{longest}x\"")), None);
    assert_eq!(identity(&digits), number(&digits));
    assert_eq!(identity(&format!("{digits}1")), None);
    let claims = claims("{}").expect("claims");
    assert_eq!(claims.identity("id"), None);
}
