//! AWS's published examples, and what goes beyond them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderValue, Request};
use rr_contract::wire::fleet;

use super::super::Kind;
use super::super::Signer;
use super::*;

/// 2015-08-30T12:36:00Z.
const SUITE: u64 = 1_440_938_160;
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn signer(key: &str, region: &str, service: &str, token: &str, unsigned_payload: bool) -> Aws {
    let wire = fleet::AwsSignature {
        access_key_id: "AKIDEXAMPLE".to_owned(),
        region: region.to_owned(),
        service: service.to_owned(),
        session_token: token.as_bytes().to_vec(),
        unsigned_payload,
    };
    Aws::new(&Secret::from(key.to_owned()), wire.try_into().expect("a form")).expect("a key")
}

fn suite() -> Aws {
    signer("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "us-east-1", "service", "", false)
}

fn s3(unsigned_payload: bool) -> Aws {
    signer("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "us-east-1", "s3", "", unsigned_payload)
}

/// The request as it goes out: method and target, host, headers, body.
fn signed(
    aws: Aws,
    (line, host): (&str, &str),
    headers: &[(&'static str, &str)],
    body: Option<&str>,
    seconds: u64,
) -> Result<Request<Option<String>>, Unsignable> {
    let (method, target) = line.split_once(' ').expect("both");
    let mut request =
        Request::builder().method(method).uri(target).body(body.map(str::to_owned)).expect("a request");
    for (name, value) in headers {
        let value = HeaderValue::from_bytes(value.as_bytes()).expect("a value");
        request.headers_mut().append(*name, value);
    }
    let host = HeaderValue::from_str(host).expect("a host");
    let signer = Signer(Kind::Aws(Box::new(aws)));
    signer.sign(&mut request, &host, bytes, at(seconds), [7; 16]).map(|()| request)
}

fn bytes(body: &Option<String>) -> Option<&[u8]> {
    body.as_ref().map(String::as_bytes)
}

/// The signed headers, and the signature.
fn said<B>(request: &Request<B>) -> (String, String) {
    let text = request.headers()["authorization"].to_str().expect("text");
    let (head, signature) = text.split_once(", Signature=").expect("a signature");
    (head.split_once("SignedHeaders=").expect("names").1.to_owned(), signature.to_owned())
}

#[test]
fn the_signatures_of_the_published_suite_come_out() {
    const FORM: &str = "application/x-www-form-urlencoded";
    const UNRESERVED: &str = "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let unreserved = [format!("GET /{UNRESERVED}"), format!("GET /?{UNRESERVED}={UNRESERVED}")];
    for (line, content_type, signature) in [
        ("GET /", "", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        (
            "GET /?Param2=value2&Param1=value1",
            "",
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        ),
        (
            "GET /?Param-3=Value3&Param=Value2&%E1%88%B4=Value1",
            "",
            "371d3713e185cc334048618a97f809c9ffe339c62934c032af5a0e595648fcac",
        ),
        ("GET /?\u{1234}=bar", "", "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04"),
        ("GET /\u{1234}", "", "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85"),
        (&unreserved[0], "", "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f"),
        (&unreserved[1], "", "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197"),
        (
            "GET /example1/example2/../..",
            "",
            "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
        ),
        ("GET //example//", "", "9a624bd73a37c9a373b5312afbebe7a714a789de108f0bdfe846570885f57e84"),
        ("POST /", "", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
        ("POST /?Param1=value1", "", "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11"),
        ("POST /", FORM, "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"),
        (
            "POST /",
            "application/x-www-form-urlencoded; charset=utf8",
            "1a72ec8f64bd914b0e42e42607c7fbce7fb2c7465f63e3092b3b0d39fa77a6fe",
        ),
    ] {
        let (headers, body) = match content_type {
            "" => (vec![], ""),
            text => (vec![("content-type", text)], "Param1=value1"),
        };
        // The suite is from before the header that tells the hash.
        let mut aws = suite();
        aws.settings.payload_checksum_kind = PayloadChecksumKind::NoHeader;
        let request =
            signed(aws, (line, "example.amazonaws.com"), &headers, Some(body), SUITE).expect("signed");
        assert_eq!(said(&request).1, signature, "{line}");
        let text = request.headers()["authorization"].to_str().expect("text");
        let head =
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=";
        assert!(text.starts_with(head), "{text}");
        assert_eq!(request.headers()["x-amz-date"], "20150830T123600Z");
    }
}

#[test]
fn a_session_token_goes_with_the_request_and_is_signed() {
    let token = "6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267";
    let mut aws = signer("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "us-east-1", "service", token, false);
    aws.settings.payload_checksum_kind = PayloadChecksumKind::NoHeader;
    let mine = [("x-amz-security-token", "mine"), ("x-amz-date", "20000101T000000Z")];
    let request = signed(aws, ("GET /", "example.amazonaws.com"), &mine, Some(""), SUITE).expect("signed");
    let wanted = "07ec1639c89043aa0e3e2de82b96708f198cceab042d4a97044c66dd9f74e7f8";
    assert_eq!(said(&request), ("host;x-amz-date;x-amz-security-token".to_owned(), wanted.to_owned()));
    let all: Vec<_> = request.headers().get_all("x-amz-security-token").iter().collect();
    assert_eq!(all, [token]);
    assert!(!format!("{:?}", request.headers()).contains(token), "it is not printed");
}

#[test]
fn the_signatures_of_the_published_examples_of_s3_come_out() {
    const DAY: u64 = 1_369_353_600;
    for (line, headers, body, names, signature) in [
        (
            "GET /test.txt",
            &[("range", "bytes=0-9")][..],
            "",
            "host;range;x-amz-content-sha256;x-amz-date",
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
        (
            "PUT /test$file.text",
            &[("date", "Fri, 24 May 2013 00:00:00 GMT"), ("x-amz-storage-class", "REDUCED_REDUNDANCY")],
            "Welcome to Amazon S3.",
            "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        ),
        (
            "GET /?lifecycle",
            &[],
            "",
            "host;x-amz-content-sha256;x-amz-date",
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
        ),
        (
            "GET /?max-keys=2&prefix=J",
            &[],
            "",
            "host;x-amz-content-sha256;x-amz-date",
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
        // Not published: computed by other code. Neither dots nor slashes are taken out of a key.
        (
            "GET /a=b%20+//c/../%c3%A9",
            &[],
            "",
            "host;x-amz-content-sha256;x-amz-date",
            "95712e96bad61174b417b139dfc537d4af0dee3fec6c1f44ba61b7acda0c02c6",
        ),
    ] {
        let to = (line, "examplebucket.s3.amazonaws.com");
        let request = signed(s3(false), to, headers, Some(body), DAY).expect("signed");
        assert_eq!(said(&request), (names.to_owned(), signature.to_owned()), "{line}");
        assert_eq!(request.headers()["x-amz-content-sha256"] == EMPTY, body.is_empty());
    }
    let to = ("PUT /k", "examplebucket.s3.amazonaws.com");
    let request = signed(s3(true), to, &[("x-amz-content-sha256", EMPTY)], None, DAY).expect("signed");
    assert_eq!(said(&request).1, "fe9e666b10d57c981c9fac1b314ec84292dad4c8df64fb9bf5690403b5b77d49");
    assert_eq!(request.headers()["x-amz-content-sha256"], "UNSIGNED-PAYLOAD");
    assert_eq!(signed(s3(false), to, &[], None, DAY).err(), Some(Unsignable::Body));
}

#[test]
fn a_body_in_chunks_of_aws_is_told_as_one_and_refused_where_its_chunks_are_signed_or_have_to_be() {
    let to = ("PUT /k", "examplebucket.s3.amazonaws.com");
    let sign = |aws: Aws, said: &str| {
        let headers = [("x-amz-content-sha256", said), ("x-amz-trailer", "x-amz-checksum-crc32")];
        signed(aws, to, &headers, Some("chunks"), 1_369_353_600)
    };
    let request = sign(s3(true), "STREAMING-UNSIGNED-PAYLOAD-TRAILER").expect("signed");
    // Computed by other code.
    let wanted = "d0283804e9cae663664885c4744a96f85ef692132b768851b466ad2428ea4d68";
    let names = "host;x-amz-content-sha256;x-amz-date;x-amz-trailer";
    assert_eq!(said(&request), (names.to_owned(), wanted.to_owned()));
    assert_eq!(request.headers()["x-amz-content-sha256"], "STREAMING-UNSIGNED-PAYLOAD-TRAILER");
    for (aws, said) in [
        (s3(true), "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),
        (s3(true), "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"),
        (s3(false), "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),
        (s3(false), "STREAMING-UNSIGNED-PAYLOAD-TRAILER"),
    ] {
        assert_eq!(sign(aws, said).err(), Some(Unsignable::Chunks), "{said}");
    }
}

#[test]
fn other_services_get_the_escapes_of_a_path_escaped_and_the_hash_of_the_body() {
    let aws = signer("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "us-east-1", "es", "", false);
    let to = ("GET /a%20b/@c?x=1+2&a", "es.example");
    let request = signed(aws, to, &[], Some(""), SUITE).expect("signed");
    // Computed by other code.
    assert_eq!(said(&request).1, "4619752884cd4dba1dd22035d9f79f87de12a83a571667ca3f245d793144c5bf");
    assert_eq!(request.headers()["x-amz-content-sha256"], EMPTY);
    let mut aws = signer("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "us-east-2", "lambda", "", false);
    aws.settings.payload_checksum_kind = PayloadChecksumKind::NoHeader;
    let line = "POST /2015-03-31/functions/arn%3Aaws%3Alambda%3Aus-west-2%3A892717189312%3Afunction%3Amy-rusty-fun/invocations";
    let request = signed(aws, (line, "lambda.us-east-2.amazonaws.com"), &[], Some(""), 1_620_747_645);
    let signature = said(&request.expect("signed")).1;
    assert_eq!(signature, "4b93abbcc68be32bd64c18e2c71150660ab4c29bbd6c32a383a7517a88fc1804");
}

#[test]
fn no_part_of_a_callers_own_signature_is_left_and_what_cannot_be_signed_is_said() {
    let headers = [
        ("authorization", "AWS4-HMAC-SHA256 Credential=mine"),
        ("authorization", "Bearer mine"),
        ("x-amz-content-sha256", "mine"),
        ("x-amz-date", "mine"),
        ("x-amz-security-token", "mine"),
        ("x-amz-target", "Table.Get"),
        ("x-other", "mine"),
    ];
    let request = signed(suite(), ("GET /", "example.com"), &headers, Some(""), SUITE).expect("signed");
    let kept: Vec<_> = request.headers().iter().filter(|(_, value)| *value == "mine").collect();
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert_eq!(said(&request).0, "host;x-amz-content-sha256;x-amz-date;x-amz-target");
    assert_eq!(request.headers().get_all("authorization").iter().count(), 1);
    let with =
        |name, value| signed(suite(), ("GET /", "example.com"), &[(name, value)], Some(""), SUITE).err();
    let refused = Unsignable::Header(HeaderName::from_static("x-amz-meta-a"));
    assert_eq!(with("x-amz-meta-a", "\u{e9}"), Some(refused));
    assert_eq!(with("x-other", "\u{e9}"), None);
    let query = signed(suite(), ("GET /?a=%FF", "example.com"), &[], Some(""), SUITE);
    assert_eq!(query.err(), Some(Unsignable::Query));
}

#[test]
fn what_was_signed_before_is_signed_anew_with_the_time_and_host_of_now() {
    let aws = Signer(Kind::Aws(Box::new(suite())));
    let mut request = Request::builder().uri("/").body(()).expect("a request");
    let mut sign = |host: &'static str, seconds| {
        let host = HeaderValue::from_static(host);
        aws.sign(&mut request, &host, |()| Some(b""), at(seconds), [7; 16]).expect("signed");
        (request.headers().len(), said(&request).1)
    };
    let first = sign("a.example", SUITE);
    assert_ne!(sign("b.example", SUITE), first);
    assert_ne!(sign("a.example", SUITE + 1), first);
    assert_eq!(sign("a.example", SUITE), first);
}
