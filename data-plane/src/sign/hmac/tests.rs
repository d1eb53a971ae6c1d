//! Keyed hashes against published ones, and what holes stand for.

use std::time::{Duration, UNIX_EPOCH};

use http::{HeaderValue, Request};
use rr_contract::wire::fleet;

use super::super::{Kind, Signer};
use super::*;

/// 2026-11-27T09:00:00Z.
const NOW: u64 = 1_795_770_000;

fn form(text: &str, headers: &[(&str, &str)]) -> fleet::HmacSignature {
    let header =
        |(name, text): &(&str, &str)| fleet::Parameter { name: (*name).to_owned(), text: (*text).to_owned() };
    fleet::HmacSignature {
        text: text.to_owned(),
        headers: headers.iter().map(header).collect(),
        ..fleet::HmacSignature::default()
    }
}

fn signer(key: &str, wire: fleet::HmacSignature) -> Signer {
    let form = wire.try_into().unwrap_or_else(|error| panic!("{error}"));
    Signer(Kind::Hmac(Box::new(Hmac::new(&Secret::from(key.to_owned()), form).expect("a key"))))
}

fn request(line: &str, headers: &[(&'static str, &'static str)]) -> Request<Option<&'static [u8]>> {
    let (method, target) = line.split_once(' ').expect("both");
    let mut request = Request::builder().method(method).uri(target).body(None).expect("a request");
    for (name, value) in headers {
        request.headers_mut().append(*name, HeaderValue::from_static(value));
    }
    request
}

fn sign(
    signer: &Signer,
    request: &mut Request<Option<&'static [u8]>>,
    body: Option<&'static [u8]>,
    seconds: u64,
) -> Result<(), Unsignable> {
    *request.body_mut() = body;
    let (host, now) =
        (HeaderValue::from_static("api.example:8443"), UNIX_EPOCH + Duration::from_secs(seconds));
    signer.sign(request, &host, |body| *body, now, [7; 16])
}

#[test]
fn the_hashes_are_those_of_rfc_4231_and_rfc_2202() {
    for (hash, wanted) in [
        ("sha256", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
        (
            "sha512",
            "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
        ),
        ("sha1", "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
    ] {
        let wire = form("what do ya want for nothing?", &[("x-signature", "{signature}")]);
        let signer = signer("Jefe", fleet::HmacSignature { hash: hash.to_owned(), ..wire });
        let mut request = request("GET /", &[("x-signature", "mine")]);
        sign(&signer, &mut request, None, NOW).expect("it reads no body");
        assert_eq!(request.headers()["x-signature"], wanted, "{hash}");
        assert!(request.headers()["x-signature"].is_sensitive() && !signer.reads_body());
    }
}

#[test]
fn the_signatures_of_known_services_come_out() {
    // The example of Slack's documentation.
    let body: &'static [u8] = b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
    let headers = [("x-slack-signature", "v0={signature}"), ("x-slack-request-timestamp", "{date}")];
    let slack = signer("8f742231b10e8888abcd99yyyzzz85a5", form("v0:{date}:{body}", &headers));
    let mut asked = request("POST /", &[]);
    sign(&slack, &mut asked, Some(body), 1_531_420_618).expect("signed");
    assert_eq!(asked.headers()["x-slack-request-timestamp"], "1531420618");
    let wanted = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503";
    let ours = asked.headers()["x-slack-signature"].clone();
    assert_eq!(ours, wanted);
    // As Shopify writes it; computed by other code.
    let wire = form("{body}", &[("x-shopify-hmac-sha256", "{signature}")]);
    let shopify = signer("hush", fleet::HmacSignature { encoding: "base64".to_owned(), ..wire });
    let mut asked = request("POST /", &[]);
    sign(&shopify, &mut asked, Some(br#"{"id":1}"#), NOW).expect("signed");
    assert_eq!(asked.headers()["x-shopify-hmac-sha256"], "VnKUjZsLuN5iZWjn5EntcBVCF9kMN43LglzCE1/GSeY=");
}

#[test]
fn every_hole_stands_for_what_goes_out() {
    let text = "{method}\n{target}\n{date}\n{header:host}\n{nonce}\n{body:sha256:base64}\n{header:content-type}\n{header:x-many}\n{header:x-none}";
    let headers = [
        ("x-signature", "id=7,sig={signature},at={date}"),
        ("x-nonce", "{nonce}"),
        ("x-digest", "{body:sha256:base64}"),
    ];
    let wire = fleet::HmacSignature {
        hash: "sha512".to_owned(),
        encoding: "base64url".to_owned(),
        key_encoding: "hex".to_owned(),
        date: "http".to_owned(),
        ..form(text, &headers)
    };
    let signer = signer("000102030405060708090A0b0c0d0e0f10111213", wire);
    let given = [("content-type", "application/json"), ("x-many", "one"), ("x-many", "two")];
    let mut asked = request("POST /v1/a%20b?x=1&y", &given);
    let body = Some(&br#"{"id":1}"#[..]);
    sign(&signer, &mut asked, body, NOW).expect("signed");
    // Computed by other code.
    let wanted = "id=7,sig=UyEVcWYt-NvPcEcgky_fTifjILCi20LYYdC66pZ3hkosgTl6ugyZ7PJaT8KI-ickm2hA5IW6hTnWaAaaFktmuQ,at=Fri, 27 Nov 2026 09:00:00 GMT";
    assert_eq!(asked.headers()["x-signature"], wanted);
    assert_eq!(asked.headers()["x-digest"], "A3ySFO73TMOIfzpPCFtOF9digNr9JzsO4WDAnEuhz9Q=");
    assert_eq!(asked.headers()["x-nonce"], "07".repeat(16));
    let before = asked.headers().clone();
    sign(&signer, &mut asked, body, NOW).expect("signed");
    assert_eq!(*asked.headers(), before, "once more, it is the same");
    assert_eq!(sign(&signer, &mut asked, None, NOW), Err(Unsignable::Body));
}

#[test]
fn a_text_names_headers_as_they_are_sent_also_those_of_the_signature() {
    let headers = [("x-date", "{date}"), ("x-signature", "{signature}")];
    let wire = form("{header:x-date}{path}", &headers);
    let wire = fleet::HmacSignature {
        hash: "sha1".to_owned(),
        encoding: "base64".to_owned(),
        date: "rfc3339".to_owned(),
        ..wire
    };
    let mut asked = request("GET /v1?a=1", &[("x-date", "mine")]);
    sign(&signer("hush", wire), &mut asked, None, NOW).expect("signed");
    assert_eq!(asked.headers()["x-date"], "2026-11-27T09:00:00Z");
    assert_eq!(asked.headers()["x-signature"], "79KKE08Bgm6k3A5XzllhFW4o3xY=");
}
