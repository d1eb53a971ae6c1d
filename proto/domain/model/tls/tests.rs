//! Which certificates a target can name, and by what a seal names them.

use super::*;

/// A block of PEM. Nobody looks inside here.
fn block(content: &str) -> String {
    format!("-----BEGIN CERTIFICATE-----\n{content}\n-----END CERTIFICATE-----\n")
}

#[test]
fn equal_certificates_have_an_equal_hash_however_they_are_wrapped() {
    let hash = |text: &str| *text.parse::<CaBundle>().expect("certificates").hash();
    let one = hash(&block("AAEC"));
    assert_eq!(one, hash(&format!("# ours\n{}\n\n", block("AA\nEC"))));
    assert_ne!(one, hash(&block("AAED")));
    // Neither one certificate cut in two nor another order is the same.
    assert_ne!(hash(&(block("AAEC") + &block("AwQF"))), hash(&block("AAECAwQF")));
    assert_ne!(hash(&(block("AAEC") + &block("AwQF"))), hash(&(block("AwQF") + &block("AAEC"))));
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
    assert_eq!(block("AAEC").repeat(33).parse::<CaBundle>(), Err(InvalidCa::TooMany));
    assert_eq!(" ".repeat(CA_MAX + 1).parse::<CaBundle>(), Err(InvalidCa::TooLong));
}
