//! What is asked of issuers, and which answers count.

use data_encoding::{BASE64, BASE64URL_NOPAD};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use rr_contract::runtime::chain;
use serde_json::{Value, json};
use url::form_urlencoded;

use super::super::answer::{Refusal, granted};
use super::super::request::question;
use super::*;

fn pairs(body: &[u8]) -> Vec<(String, String)> {
    form_urlencoded::parse(body).into_owned().collect()
}

fn asked(asked: &Asked, secret: &str) -> (http::HeaderMap, Vec<u8>) {
    let question = question(asked, &Secret::from(secret.to_owned()), &Seams::real());
    let question = question.unwrap_or_else(|error| panic!("{error}"));
    (question.headers, question.body.to_vec())
}

const MORE: [(&str, &str); 2] = [("scope", "read write"), ("audience", "https://api.example")];

fn with_more(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().chain(&MORE).map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

#[test]
fn a_client_says_who_it_is_in_basic_or_in_the_form() {
    let url = "https://issuer.example/token";
    let (headers, body) = asked(&by_grant(url, basic()), SECRET);
    assert_eq!(pairs(&body), with_more(&[("grant_type", "client_credentials")]));
    let encoded = headers["authorization"].to_str().expect("text").strip_prefix("Basic ").expect("Basic");
    let plain = BASE64.decode(encoded.as_bytes()).expect("base64");
    // RFC 6749 2.3.1: each of them as in a form.
    assert_eq!(String::from_utf8(plain).expect("text"), "client%3A1:client+secret%2Fof%2Bthe%26client%3D5");
    assert!(headers["authorization"].is_sensitive());
    assert_eq!(headers["content-type"], "application/x-www-form-urlencoded");

    let post = Flow::ClientCredentials(fleet::ClientCredentials {
        client_id: "client:1".to_owned(),
        authentication: Some(Authentication::Post(fleet::Empty {})),
    });
    let (headers, body) = asked(&by_grant(url, post), SECRET);
    assert!(!headers.contains_key("authorization"));
    let said = [("grant_type", "client_credentials"), ("client_id", "client:1"), ("client_secret", SECRET)];
    assert_eq!(pairs(&body), with_more(&said));
}

/// Header and claims of a token that this key signed.
fn verified(token: &str, key: &KeyPair) -> (Value, Value) {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
    let (signed, signature) = token.rsplit_once('.').expect("a signature");
    let signature = BASE64URL_NOPAD.decode(signature.as_bytes()).expect("base64");
    let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.public_key_raw());
    public.verify(signed.as_bytes(), &signature).expect("its signature");
    let part = |text: &str| {
        serde_json::from_slice(&BASE64URL_NOPAD.decode(text.as_bytes()).expect("base64")).expect("JSON")
    };
    let (header, claims) = signed.split_once('.').expect("two parts");
    (part(header), part(claims))
}

#[test]
fn a_client_with_a_key_signs_who_it_is_and_a_service_account_what_it_wants() {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
    let url = "https://issuer.example/token";
    let assertion = fleet::Assertion { key_id: "k1".to_owned(), ..fleet::Assertion::default() };
    let flow = Flow::ClientCredentials(fleet::ClientCredentials {
        client_id: "client:1".to_owned(),
        authentication: Some(Authentication::PrivateKeyJwt(assertion)),
    });
    let (_, body) = asked(&by_grant(url, flow), &key.serialize_pem());
    let said = pairs(&body);
    let (_, token) = said.iter().find(|(name, _)| name == "client_assertion").expect("a token");
    let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    let wanted = [
        ("grant_type", "client_credentials"),
        ("client_id", "client:1"),
        ("client_assertion_type", kind),
        ("client_assertion", token),
    ];
    assert_eq!(said, with_more(&wanted));
    let (header, claims) = verified(token, &key);
    assert_eq!(header, json!({"alg": "ES256", "typ": "JWT", "kid": "k1"}));
    assert_eq!(
        (&claims["iss"], &claims["sub"], &claims["aud"]),
        (&json!("client:1"), &json!("client:1"), &json!(url))
    );
    let (from, to) = (claims["iat"].as_u64().expect("a time"), claims["exp"].as_u64().expect("a time"));
    assert_eq!(to - from, 300);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs();
    assert!(now.abs_diff(from) < 60);
    let id = claims["jti"].as_str().expect("an id").to_owned();
    let (_, again) = asked(&by_grant(url, basic()), SECRET);
    assert!(!String::from_utf8(again).expect("text").contains(&id));

    let account = Flow::JwtBearer(fleet::Assertion {
        issuer: "robot@project".to_owned(),
        subject: "person@example".to_owned(),
        audience: "https://other.example".to_owned(),
        claims: parameters(&[("scope", "https://api.example/auth")]),
        ..fleet::Assertion::default()
    });
    let (_, body) = asked(&by_grant(url, account), &key.serialize_pem());
    let said = pairs(&body);
    let (_, token) = said.iter().find(|(name, _)| name == "assertion").expect("a token");
    let grant = "urn:ietf:params:oauth:grant-type:jwt-bearer";
    assert_eq!(said, with_more(&[("grant_type", grant), ("assertion", token)]));
    let (header, claims) = verified(token, &key);
    assert_eq!(header, json!({"alg": "ES256", "typ": "JWT"}));
    assert_eq!(claims["iss"], "robot@project");
    assert_eq!(claims["sub"], "person@example");
    assert_eq!(claims["aud"], "https://other.example");
    assert_eq!(claims["scope"], "https://api.example/auth");
}

fn by_request(url: &str) -> Asked {
    let request = fleet::TokenRequest {
        url: url.to_owned(),
        method: "POST".to_owned(),
        headers: parameters(&[("x-key", "k {secret}"), ("authorization", "Basic {secret:base64}")]),
        body: br#"{"password":"{secret:json}","form":"{secret:form}"}"#.to_vec(),
        token_path: "data[*].token".to_owned(),
        lifetime_path: "data[*].seconds".to_owned(),
        lifetime: 77,
    };
    Asked::Request(request.try_into().unwrap_or_else(|error| panic!("{error}")))
}

#[test]
fn a_request_of_an_operators_own_has_the_secret_where_it_says() {
    let (headers, body) = asked(&by_request("https://issuer.example/login"), "a\"b\\c d&");
    assert_eq!(headers["x-key"], "k a\"b\\c d&");
    assert_eq!(headers["authorization"], "Basic YSJiXGMgZCY=");
    assert_eq!(headers["content-type"], "application/json");
    assert!(headers["x-key"].is_sensitive());
    let text = String::from_utf8(body).expect("text");
    assert_eq!(text, r#"{"password":"a\"b\\c d&","form":"a%22b%5Cc+d%26"}"#);
    let bad = question(&by_request("https://issuer.example/login"), &Secret::new(vec![0xff]), &Seams::real());
    assert_eq!(bad.err().expect("it is no text").to_string(), "secret is no text, and cannot stand in JSON");
    let line = question(&by_request("https://i.example/"), &Secret::from("a\nb".to_owned()), &Seams::real());
    assert_eq!(line.err().expect("no header").to_string(), "secret cannot stand in a header of the request");
}

fn judged(asked: &Asked, status: u16, body: &str) -> Result<(String, u64), Refusal> {
    let fetched = rr_contract::outbound::fetch::Fetched {
        status: http::StatusCode::from_u16(status).expect("a status"),
        headers: http::HeaderMap::new(),
        body: body.to_owned().into(),
    };
    let text = |secret: &Secret| String::from_utf8(secret.expose().to_vec()).expect("text");
    granted(asked, &fetched).map(|granted| (text(&granted.token), granted.lasts.as_secs()))
}

#[test]
fn a_token_counts_as_long_as_its_answer_says_and_a_wrong_answer_is_told_by_its_fault() {
    let by_grant = by_grant("https://issuer.example/token", basic());
    let by_request = by_request("https://issuer.example/login");
    let long = format!(r#"{{"access_token":"{}"}}"#, "a".repeat(16 * 1024 + 1));
    for (asked, status, body, wanted) in [
        (&by_grant, 200, r#"{"access_token":"a","expires_in":60}"#, Ok(60)),
        (&by_grant, 201, r#"{"access_token":"a","expires_in":"60","token_type":"bearer"}"#, Ok(60)),
        (&by_grant, 200, r#"{"access_token":"a","expires_in":59.9}"#, Ok(59)),
        (&by_grant, 200, r#"{"access_token":"a"}"#, Ok(300)),
        (&by_grant, 200, r#"{"access_token":"a","expires_in":null}"#, Ok(300)),
        (&by_grant, 200, r#"{"access_token":"a","expires_in":1e300}"#, Ok(30 * 24 * 3600)),
        (&by_grant, 200, r#"{"access_token":"a","expires_in":0}"#, Err(Refusal::Lifetime)),
        (&by_grant, 200, r#"{"access_token":"a","expires_in":-5}"#, Err(Refusal::Lifetime)),
        (&by_grant, 200, r#"{"access_token":"a","expires_in":"soon"}"#, Err(Refusal::Lifetime)),
        (&by_grant, 200, r#"{"access_token":"a","token_type":"mac"}"#, Err(Refusal::Type)),
        (&by_grant, 200, r#"{"access_token":""}"#, Err(Refusal::NoToken)),
        (&by_grant, 200, r#"{"access_token":5}"#, Err(Refusal::NoToken)),
        (&by_grant, 200, r#"{"access_token":"a\nb"}"#, Err(Refusal::Token)),
        (&by_grant, 200, &long, Err(Refusal::Token)),
        (&by_grant, 200, "", Err(Refusal::Json)),
        (&by_grant, 200, r#"["a"]"#, Err(Refusal::NoToken)),
        (&by_request, 200, r#"{"data":[{"token":"a","seconds":5}]}"#, Ok(5)),
        (&by_request, 200, r#"{"data":[{"token":"a"}]}"#, Ok(77)),
        (&by_request, 200, r#"{"data":{"x":{"token":"a"}}}"#, Ok(77)),
        (&by_request, 200, r#"{"data":[]}"#, Err(Refusal::NoToken)),
        (&by_request, 200, r#"{"access_token":"a"}"#, Err(Refusal::NoToken)),
    ] {
        let wanted = wanted.map(|seconds| ("a".to_owned(), seconds));
        assert_eq!(judged(asked, status, body), wanted, "{status} {body}");
    }
    let told = |body: &str| judged(&by_grant, 401, body).expect_err("no token").to_string();
    assert_eq!(told(r#"{"error":"invalid_client"}"#), "issuer answers with status 401: invalid_client");
    let unknown = "issuer answers with status 401: no known error code is in the answer";
    assert_eq!(told(&format!(r#"{{"error":"{SECRET}","error_description":"{SECRET}"}}"#)), unknown);
    assert_eq!(told("<html>"), unknown);
}

#[tokio::test]
async fn whatever_an_issuer_answers_its_secret_is_in_no_error_and_no_redirect_is_followed() {
    let (endpoint, other) = (Endpoint::start().await, Endpoint::start().await);
    let answerer = answerer(&Arc::default());
    let source = TokenSources::default().source(name(1));
    source.opens(by_grant(&endpoint.url(), basic()), Secret::from(SECRET.to_owned()), Slot::bearer());
    let gone = format!("HTTP/1.1 307 X\r\nlocation: {}?{SECRET}\r\ncontent-length: 0\r\n\r\n", other.url());
    let huge = format!("HTTP/1.1 200 X\r\ncontent-length: 70000\r\n\r\n{}", "a".repeat(70_000));
    let coded = "HTTP/1.1 200 X\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\n{}";
    for (answer, told) in [
        (&*gone, "answer is a redirect (status 307"),
        (&huge, "answer is longer than 65536 bytes"),
        (coded, "content coding"),
        ("", "exchange with the host"),
        (
            "HTTP/1.1 400 X\r\ncontent-length: 27\r\n\r\n{\"error\":\"invalid_client\"} ",
            "400: invalid_client",
        ),
    ] {
        endpoint.answers(answer);
        let error = answerer.ask(&source, &source.way().expect("it is open")).await.err().expect("no token");
        let error = chain(&error).to_string();
        assert!(error.contains(told), "{error}");
        assert!(!error.contains("secret/of") && !error.contains("secret%2Fof"), "{error}");
    }
    assert_eq!((endpoint.count(), other.count()), (5, 0));
}

#[tokio::test]
async fn the_token_of_a_request_of_an_operators_own_goes_where_its_slot_is() {
    let endpoint = Endpoint::start().await;
    endpoint.says(200, r#"{"data":{"x":{"token":"abc","seconds":600}}}"#);
    let following = Following::start();
    let source = following.sources.source(name(1));
    let slot = Slot::header("x-session", "S ").expect("a slot");
    source.opens(by_request(&endpoint.url()), Secret::from("s".to_owned()), slot);
    assert_eq!(got(&source).await.as_deref(), Some("x-session: S abc"));
    following.end().await;
}
