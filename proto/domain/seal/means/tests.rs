//! Means of secrets: read, sealed again, and refused where they do not fit.

use rr_wire::fleet::client_credentials::Authentication as AuthenticationWire;
use rr_wire::fleet::token_grant::Flow as FlowWire;

use super::*;

fn slot() -> Option<fleet::Slot> {
    Some(fleet::Slot {
        header: "authorization".to_owned(),
        prefix: "Bearer ".to_owned(),
        ..Default::default()
    })
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
        claims: parameters(&[("scope", "read")]),
        algorithm: "ES256".to_owned(),
        ..fleet::Assertion::default()
    }
}

fn grant(flow: FlowWire) -> fleet::TokenGrant {
    fleet::TokenGrant {
        url: "https://issuer.example/token".to_owned(),
        flow: Some(flow),
        parameters: parameters(&[("audience", "api")]),
    }
}

fn client(authentication: AuthenticationWire) -> FlowWire {
    let authentication = Some(authentication);
    FlowWire::ClientCredentials(fleet::ClientCredentials { client_id: "me".to_owned(), authentication })
}

fn request() -> fleet::TokenRequest {
    fleet::TokenRequest {
        url: "https://issuer.example/login".to_owned(),
        method: "POST".to_owned(),
        headers: parameters(&[("content-type", "application/json")]),
        body: br#"{"key":"{secret:json}"}"#.to_vec(),
        token_path: "data.token".to_owned(),
        lifetime_path: "data.expires_in".to_owned(),
        lifetime: 0,
    }
}

fn aws() -> fleet::AwsSignature {
    fleet::AwsSignature {
        access_key_id: "AKIDEXAMPLE".to_owned(),
        region: "us-east-1".to_owned(),
        service: "s3".to_owned(),
        session_token: b"session".to_vec(),
        unsigned_payload: true,
    }
}

fn hmac() -> fleet::HmacSignature {
    fleet::HmacSignature {
        hash: "sha256".to_owned(),
        text: "{method}\n{target}\n{date}\n{body:sha256}".to_owned(),
        encoding: "hex".to_owned(),
        key_encoding: "raw".to_owned(),
        date: "unix".to_owned(),
        headers: parameters(&[("x-date", "{date}"), ("x-signature", "v1={signature}")]),
    }
}

fn read(wire: Wire) -> Result<Means, Invalid> {
    let has_place = matches!(wire, Wire::TokenGrant(_) | Wire::TokenRequest(_));
    Means::from_wire(Some(wire), if has_place { slot() } else { None }, Vec::new())
}

#[test]
fn means_are_sealed_as_they_were_read_and_name_what_a_node_needs() {
    for (wire, needs) in [
        (
            Wire::TokenGrant(grant(client(AuthenticationWire::Basic(fleet::Empty {})))),
            feature::UPSTREAM_OAUTH2,
        ),
        (
            Wire::TokenGrant(grant(client(AuthenticationWire::Post(fleet::Empty {})))),
            feature::UPSTREAM_OAUTH2,
        ),
        (Wire::TokenGrant(grant(FlowWire::JwtBearer(assertion()))), feature::UPSTREAM_OAUTH2),
        (Wire::TokenRequest(request()), feature::UPSTREAM_CUSTOM_TOKEN),
        (Wire::AwsSignature(aws()), feature::UPSTREAM_AWS_SIGV4),
        (Wire::HmacSignature(hmac()), feature::UPSTREAM_HMAC),
    ] {
        let means = read(wire.clone()).unwrap_or_else(|error| panic!("{needs}: {error}"));
        assert_eq!(means.needs(), [needs]);
        let OnWire { means: Some(again), more, .. } = means.to_wire() else { panic!("{needs}: nothing") };
        assert!(again == wire && more.is_empty(), "{needs}");
    }
}

#[test]
fn whatever_does_not_fit_means_is_named() {
    let with = |change: fn(&mut fleet::TokenGrant)| {
        let mut wire = grant(client(AuthenticationWire::Basic(fleet::Empty {})));
        change(&mut wire);
        Wire::TokenGrant(wire)
    };
    let asking = |change: fn(&mut fleet::TokenRequest)| {
        let mut wire = request();
        change(&mut wire);
        Wire::TokenRequest(wire)
    };
    let aws = |change: fn(&mut fleet::AwsSignature)| {
        let mut wire = aws();
        change(&mut wire);
        Wire::AwsSignature(wire)
    };
    let hmac = |change: fn(&mut fleet::HmacSignature)| {
        let mut wire = hmac();
        change(&mut wire);
        Wire::HmacSignature(wire)
    };
    for (wire, text) in [
        (with(|it| it.url = "http://issuer.example".to_owned()), "token_url: is not https"),
        (with(|it| it.flow = None), "flow: is missing"),
        (
            with(|it| it.parameters = parameters(&[("client_secret", "x")])),
            "parameters: holds `client_secret`",
        ),
        (with(|it| it.parameters = vec![fleet::Parameter::default(); 33]), "parameters: has at most 32"),
        (asking(|it| it.method = "PUT".to_owned()), "method: is GET or POST"),
        (asking(|it| it.body = b"{sekret}".to_vec()), "body: holds {sekret}"),
        (asking(|it| it.body = b"key".to_vec()), "body: and headers hold none of {secret}"),
        (asking(|it| it.token_path = String::new()), "token_path: is missing"),
        (asking(|it| it.headers = parameters(&[("host", "x")])), "headers: holds `host`"),
        (asking(|it| it.lifetime = u32::MAX), "lifetime: is at most"),
        (aws(|it| it.service = "execute-api".to_owned()), "unsigned_payload: is for service s3 alone"),
        (aws(|it| it.region = "a/b".to_owned()), "region: is 1 to 128"),
        (aws(|it| it.session_token = b"a b".to_vec()), "session_token: is at most"),
        (hmac(|it| it.hash = "md5".to_owned()), "hash: is one of sha256, sha512, sha1"),
        (hmac(|it| it.text = "{bdy}".to_owned()), "text: holds {bdy}"),
        (hmac(|it| it.headers = parameters(&[("x-date", "{date}")])), "headers: have no {signature}"),
        (hmac(|it| it.headers = parameters(&[("te", "{signature}")])), "headers: holds `te`"),
        (hmac(|it| it.headers.clear()), "headers: has 1 to 16"),
        (hmac(|it| it.text = "{body}{date}{body}".to_owned()), "text: holds {body} more than once"),
        (hmac(|it| it.text = "{date}".repeat(65)), "text: has at most 64 holes"),
    ] {
        let error = read(wire).err().unwrap_or_else(|| panic!("{text}")).to_string();
        assert!(error.contains(text), "{text}: {error}");
    }
    let misplaced =
        Means::from_wire(Some(Wire::AwsSignature(fleet::AwsSignature::default())), slot(), Vec::new());
    assert!(misplaced.is_err());
    let more = vec![(Secret::from("x".to_owned()), slot())];
    assert!(Means::from_wire(Some(Wire::TokenRequest(request())), slot(), more).is_err());
    assert!(Means::from_wire(Some(Wire::TokenRequest(request())), None, Vec::new()).is_err());
}

#[test]
fn a_value_that_its_means_cannot_use_is_refused() {
    let refuses = |wire: Wire, value: &str| {
        let (mut faults, value) = (Violations::default(), Secret::from(value.to_owned()));
        read(wire).expect("means").check(&value, &mut faults);
        !faults.is_empty()
    };
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key").serialize_pem();
    let signs = || Wire::TokenGrant(grant(client(AuthenticationWire::PrivateKeyJwt(assertion()))));
    assert!(!refuses(signs(), &key));
    assert!(refuses(signs(), "a password"));
    assert!(refuses(Wire::AwsSignature(aws()), "a b"));
    let hex = || Wire::HmacSignature(fleet::HmacSignature { key_encoding: "hex".to_owned(), ..hmac() });
    assert!(!refuses(hex(), "00ff"));
    assert!(refuses(hex(), "0"));
}

#[test]
fn a_certificate_is_shown_with_its_own_key_alone() {
    let (one, other) = (
        rcgen::generate_simple_self_signed(vec!["a".to_owned()]).expect("a certificate"),
        rcgen::generate_simple_self_signed(vec!["b".to_owned()]).expect("a certificate"),
    );
    let chain = |chain: String| read(Wire::ClientCertificate(fleet::ClientCertificate { chain }));
    let Ok(Means::Certificate(shown)) = chain(one.cert.pem()) else { panic!("a chain") };
    let key = |of: &rcgen::CertifiedKey<rcgen::KeyPair>| Secret::from(of.signing_key.serialize_pem());
    assert!(shown.with_key(&key(&one)).is_ok());
    assert_eq!(shown.with_key(&key(&other)).err(), Some(InvalidPair::Other));
    assert!(chain(String::new()).is_err());
    assert!(chain(one.cert.pem() + &one.signing_key.serialize_pem()).is_err());
}
