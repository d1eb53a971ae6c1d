//! One envelope of each kind of secret that was ever stored: `envelopes.txt`, as the builds wrote it that brought the kinds.
//!
//! A new kind does not compile here before it has a name, and fails before it has a line. `record` prints lines.

use std::collections::BTreeSet;
use std::time::{Duration, UNIX_EPOCH};

use rr_seam::SystemEntropy;
use rr_wire::fleet::client_credentials::Authentication as AuthenticationWire;
use rr_wire::fleet::secret_plaintext::Means as Wire;
use rr_wire::fleet::token_grant::Flow as FlowWire;

use super::*;
use crate::model::tls::CaHash;
use crate::seal::means::private_key::PrivateKey;
use crate::seal::means::{Authentication, Flow};
use crate::seal::region_key::{Excluded, RegionKeys};
use crate::seal::{OpenedSecret, SecretSpec};

/// A kind and its envelope in each line.
const ENVELOPES: &str = include_str!("envelopes.txt");
const CA: CaHash = [8; 32];
const ENDS: Duration = Duration::from_secs(1_900_000_000);

/// What the value of a recorded secret is.
#[derive(Clone, Copy)]
enum Value {
    Text(&'static str),
    /// A key that was made for the record, and is known no more.
    Key,
    /// The key of the certificate in the envelope.
    OfCertificate,
}

fn parameters(pairs: &[(&str, &str)]) -> Vec<fleet::Parameter> {
    pairs
        .iter()
        .map(|(name, text)| fleet::Parameter { name: (*name).to_owned(), text: (*text).to_owned() })
        .collect()
}

fn assertion() -> fleet::Assertion {
    fleet::Assertion {
        issuer: "robot@example.com".to_owned(),
        subject: "subject".to_owned(),
        audience: "audience".to_owned(),
        key_id: "key".to_owned(),
        claims: parameters(&[("scope", "read")]),
        algorithm: "ES256".to_owned(),
    }
}

fn grant(flow: FlowWire) -> Wire {
    Wire::TokenGrant(fleet::TokenGrant {
        url: "https://issuer.example/token".to_owned(),
        flow: Some(flow),
        parameters: parameters(&[("audience", "api")]),
    })
}

fn client(authentication: AuthenticationWire) -> Wire {
    let authentication = Some(authentication);
    grant(FlowWire::ClientCredentials(fleet::ClientCredentials {
        client_id: "me".to_owned(),
        authentication,
    }))
}

fn header(name: &str, prefix: &str) -> Option<fleet::Slot> {
    Some(Slot::header(name, prefix).expect("a slot").to_wire())
}

fn query(name: &str) -> Option<fleet::Slot> {
    Some(Slot::query(name).expect("a slot").to_wire())
}

/// Of each kind its name, its value and its means. Secrets that verify tokens are a kind of their own.
fn kinds(chain: &str) -> Vec<(&'static str, Value, Means)> {
    let value = Value::Text("s3cr3t");
    let sent = |slot, more: &[(&str, Option<fleet::Slot>)]| {
        let more = more.iter().map(|(value, slot)| (Secret::from((*value).to_owned()), slot.clone()));
        Means::from_wire(None, slot, more.collect()).expect("means")
    };
    let placed = |wire| Means::from_wire(Some(wire), header("authorization", "Bearer "), Vec::new());
    let bare = |wire| Means::from_wire(Some(wire), None, Vec::new());
    let request = Wire::TokenRequest(fleet::TokenRequest {
        url: "https://issuer.example/login".to_owned(),
        method: "POST".to_owned(),
        headers: parameters(&[("content-type", "application/json")]),
        body: br#"{"key":"{secret:json}"}"#.to_vec(),
        token_path: "data.token".to_owned(),
        lifetime_path: "data.expires_in".to_owned(),
        lifetime: 60,
    });
    let aws = Wire::AwsSignature(fleet::AwsSignature {
        access_key_id: "AKIDEXAMPLE".to_owned(),
        region: "us-east-1".to_owned(),
        service: "s3".to_owned(),
        session_token: b"session".to_vec(),
        unsigned_payload: true,
    });
    let hmac = Wire::HmacSignature(fleet::HmacSignature {
        hash: "sha256".to_owned(),
        text: "{method}\n{target}\n{date}\n{body:sha256}".to_owned(),
        encoding: "hex".to_owned(),
        key_encoding: "raw".to_owned(),
        date: "unix".to_owned(),
        headers: parameters(&[("x-date", "{date}"), ("x-signature", "v1={signature}")]),
    });
    let certificate = Wire::ClientCertificate(fleet::ClientCertificate { chain: chain.to_owned() });
    let post = client(AuthenticationWire::Post(fleet::Empty {}));
    let basic = client(AuthenticationWire::Basic(fleet::Empty {}));
    let signed = client(AuthenticationWire::PrivateKeyJwt(assertion()));
    let of_shared = Value::Text("0123456789abcdef0123456789abcdef");
    vec![
        ("header", value, sent(header("x-api-key", "Token "), &[])),
        ("query", value, sent(query("key"), &[])),
        ("several", value, sent(header("x-one", ""), &[("2", header("x-two", "")), ("3", query("three"))])),
        ("client-basic", value, placed(basic).expect("means")),
        ("client-post", value, placed(post).expect("means")),
        ("client-private-key-jwt", Value::Key, placed(signed).expect("means")),
        ("jwt-bearer", Value::Key, placed(grant(FlowWire::JwtBearer(assertion()))).expect("means")),
        ("token-request", value, placed(request).expect("means")),
        ("aws-sigv4", value, bare(aws).expect("means")),
        ("hmac", value, bare(hmac).expect("means")),
        ("client-certificate", Value::OfCertificate, bare(certificate).expect("means")),
        ("shared", of_shared, Means::sent(Slot::header("authorization", "").expect("a slot"))),
    ]
}

/// The name of a secret's kind.
fn kind_of(opened: &OpenedSecret) -> &'static str {
    match opened.means() {
        Means::Sent { .. } if opened.is_shared() => "shared",
        Means::Sent { more, .. } if !more.is_empty() => "several",
        Means::Sent { slot: Slot::Header { .. }, .. } => "header",
        Means::Sent { slot: Slot::Query { .. }, .. } => "query",
        Means::Grant { grant, .. } => match &grant.flow {
            Flow::JwtBearer(_) => "jwt-bearer",
            Flow::ClientCredentials { authentication, .. } => match authentication {
                Authentication::Basic => "client-basic",
                Authentication::Post => "client-post",
                Authentication::PrivateKeyJwt(_) => "client-private-key-jwt",
            },
        },
        Means::Request { .. } => "token-request",
        Means::Aws(_) => "aws-sigv4",
        Means::Hmac(_) => "hmac",
        Means::Certificate(_) => "client-certificate",
    }
}

fn context() -> SealContext {
    SealContext {
        installation: InstallationId::from_random([1; 16]),
        org: OrgId::from_random([2; 16]),
        credential: CredentialId::from_random([3; 16]),
        version: 4,
    }
}

#[test]
fn a_secret_of_each_kind_opens_as_it_was_sealed() {
    let key = RegionOpeningKey::new(RegionId::from_random([5; 16]), 1, OpeningKey::derive(&[7; 32]));
    let mut found = BTreeSet::new();
    for line in ENVELOPES.lines() {
        let (name, envelope) = line.split_once(' ').expect("a kind and an envelope");
        let sealed = fleet::SealedSecret::decode(bytes(envelope).as_slice()).expect("decodes");
        let sealed = SealedSecret::try_from(sealed).expect("its form is right");
        let opened = sealed
            .open(&context(), std::slice::from_ref(&key))
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(kind_of(&opened), name);
        assert_eq!(opened.not_after(), Some(UNIX_EPOCH + ENDS), "{name}");
        let is_shared = name == "shared";
        assert_eq!(opened.ca().copied(), (!is_shared).then_some(CA), "{name}");
        let origins: Vec<String> = opened.origins().iter().map(ToString::to_string).collect();
        let sealed_for = ["https://*.example.com:8443", "http://127.0.0.1"];
        assert_eq!(origins, if is_shared { &[][..] } else { &sealed_for[..] }, "{name}");
        let chain = match opened.means().to_wire().means {
            Some(Wire::ClientCertificate(shown)) => shown.chain,
            _ => certified().cert.pem(),
        };
        let (_, value, means) = kinds(&chain).into_iter().find(|(kind, ..)| *kind == name).expect("is known");
        assert!(opened.means() == &means, "{name}: other means");
        match (value, opened.means()) {
            (Value::Text(text), _) => assert_eq!(opened.value().expose(), text.as_bytes(), "{name}"),
            (Value::Key, _) => assert!(PrivateKey::parse(opened.value(), None).is_ok(), "{name}"),
            (Value::OfCertificate, Means::Certificate(chain)) => {
                assert!(chain.with_key(opened.value()).is_ok(), "{name}");
            }
            (Value::OfCertificate, _) => panic!("{name}: no certificate"),
        }
        assert!(found.insert(name), "{name} is there twice");
    }
    let made = certified();
    let all: BTreeSet<&str> = kinds(&made.cert.pem()).into_iter().map(|(name, ..)| name).collect();
    assert_eq!(found, all, "a kind has no envelope that was recorded");
}

fn certified() -> rcgen::CertifiedKey<rcgen::KeyPair> {
    rcgen::generate_simple_self_signed(vec!["recorded".to_owned()]).expect("a certificate")
}

#[test]
#[ignore = "prints what is recorded in envelopes.txt, by hand, for a kind that is new"]
fn record() {
    let signing = ed25519_dalek::SigningKey::from_bytes(&[9; 32]);
    let region = RegionId::from_random([5; 16]);
    let epochs = vec![(1, OpeningKey::derive(&[7; 32]))];
    let keys = RegionKeys { region, signing, epochs, excluded: Excluded::default(), attested: 0 };
    let statement = keys.statement(UNIX_EPOCH + ENDS, UNIX_EPOCH + ENDS);
    let made = certified();
    for (name, value, means) in kinds(&made.cert.pem()) {
        let value = match value {
            Value::Text(text) => text.to_owned(),
            Value::Key => {
                rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key").serialize_pem()
            }
            Value::OfCertificate => made.signing_key.serialize_pem(),
        };
        let (value, not_after, regions) = (Secret::from(value), Some(UNIX_EPOCH + ENDS), [&statement]);
        let sealed = if name == "shared" {
            SealedSecret::seal_shared(&context(), value, not_after, &regions, &SystemEntropy)
        } else {
            let origins = ["https://*.example.com:8443", "http://127.0.0.1"];
            let origins = origins.iter().map(|origin| origin.parse().expect("an origin")).collect();
            let spec = SecretSpec { value, means, origins, not_after, ca: Some(CA) };
            SealedSecret::seal(&context(), &spec, &regions, &SystemEntropy)
        };
        println!("{name} {}", BASE64.encode(sealed.expect("seals").to_wire().encode_to_vec()));
    }
    let file = key_file::write(&keys, &Secret::from("correct horse".to_owned()), &SystemEntropy);
    println!("key file {} {}", keys.fingerprint(), BASE64.encode(file.expose()));
}
