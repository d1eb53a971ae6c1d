//! Which certificates a target can name, and by what a seal names them.

use super::*;

/// A block of PEM.
fn block(content: &str) -> String {
    format!("-----BEGIN CERTIFICATE-----\n{content}\n-----END CERTIFICATE-----\n")
}

fn certificate(name: &str) -> rcgen::Certificate {
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.self_signed(&rcgen::KeyPair::generate().expect("a key")).expect("a certificate")
}

#[test]
fn equal_certificates_have_an_equal_hash_however_they_are_wrapped() {
    let hash = |text: &str| *text.parse::<CaBundle>().expect("certificates").hash();
    let (one, two) = (certificate("one"), certificate("two"));
    let bare = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, one.der());
    assert_eq!(hash(&one.pem()), hash(&format!("# ours\n{}\n\n", block(&bare))));
    assert_ne!(hash(&one.pem()), hash(&two.pem()));
    assert_ne!(hash(&(one.pem() + &two.pem())), hash(&(two.pem() + &one.pem())));
}

#[test]
fn a_certificate_that_cannot_be_a_root_is_named_by_its_number() {
    let text = certificate("one").pem() + &block("AAEC");
    let Err(InvalidCa::Root { number, why }) = text.parse::<CaBundle>() else {
        panic!("it is no certificate")
    };
    assert!(number == 2 && !why.is_empty(), "{number}: {why}");
}

#[test]
fn a_text_without_certificates_is_refused_with_the_reason() {
    for (text, wanted) in [
        ("", InvalidCa::Empty),
        ("certificate", InvalidCa::Empty),
        ("-----BEGIN CERTIFICATE-----\nAAEC\n", InvalidCa::Syntax),
        ("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n", InvalidCa::Syntax),
        ("-----BEGIN PRIVATE KEY-----\nAAEC\n-----END PRIVATE KEY-----\n", InvalidCa::Key),
        ("-----BEGIN EC PRIVATE KEY-----\nAAEC\n-----END EC PRIVATE KEY-----\n", InvalidCa::Key),
    ] {
        assert_eq!(text.parse::<CaBundle>(), Err(wanted), "{text}");
    }
    assert_eq!(certificate("one").pem().repeat(33).parse::<CaBundle>(), Err(InvalidCa::TooMany));
    assert_eq!(" ".repeat(CA_MAX + 1).parse::<CaBundle>(), Err(InvalidCa::TooLong));
}
