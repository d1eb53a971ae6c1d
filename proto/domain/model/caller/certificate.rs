//! Client certificates that are a caller's: those of one key, or those of one SPIFFE name that known authorities have issued.
//!
//! Reads no certificate of a caller. The invariant: there is no name without the authorities that can give it, because anybody can
//! write one into a certificate.

use std::fmt;

use crate::api_key::{KeyHash, hash_client_name};
use crate::model::invalid::Violations;
use crate::model::tls::CaBundle;
use rr_wire::fleet;

/// The longest SPIFFE name, in bytes.
pub const SPIFFE_ID_MAX: usize = 2048;
/// The longest trust domain, in bytes.
const TRUST_DOMAIN_MAX: usize = 255;
const SCHEME: &str = "spiffe://";

/// Which certificates are meant.
#[derive(Debug, Clone, PartialEq)]
pub enum Certificate {
    /// Those of a live key.
    Keys(Vec<KeyHash>),
    /// Those of a name.
    Spiffe(Box<Spiffe>),
}

/// Certificates of one name.
#[derive(Debug, Clone, PartialEq)]
pub struct Spiffe {
    /// The name.
    pub id: SpiffeId,
    /// One of these must have issued the certificate, itself or by others that are shown.
    pub ca: CaBundle,
}

/// A name of a workload: a trust domain and a path, in the one spelling that it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpiffeId(Box<str>);

/// A text that is no such name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSpiffeId {
    /// It is longer than it can be.
    #[error("is longer than {SPIFFE_ID_MAX} bytes")]
    TooLong,
    /// It has another scheme.
    #[error("does not begin with `{SCHEME}`, in lower case")]
    Scheme,
    /// What follows is no trust domain.
    #[error(
        "has no trust domain of 1 to {TRUST_DOMAIN_MAX} of `a-z`, `0-9`, `-`, `_` and `.`; it takes no user, no port and no upper case"
    )]
    TrustDomain,
    /// It names a whole trust domain.
    #[error("has no path: a trust domain alone names no workload")]
    NoPath,
    /// The path can be spelled in another way, or is none.
    #[error(
        "has a path with something else than segments of letters, digits, `-`, `_` and `.` between single slashes; `.` and `..` are \
         none, and it takes no query, no fragment, no `*` and nothing in percent"
    )]
    Path,
}

impl SpiffeId {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What it is looked up by.
    pub fn hash(&self) -> KeyHash {
        hash_client_name(&self.0)
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<&str> for SpiffeId {
    type Error = InvalidSpiffeId;

    fn try_from(text: &str) -> Result<Self, InvalidSpiffeId> {
        if text.len() > SPIFFE_ID_MAX {
            return Err(InvalidSpiffeId::TooLong);
        }
        let rest = text.strip_prefix(SCHEME).ok_or(InvalidSpiffeId::Scheme)?;
        let (domain, path) = rest.split_once('/').unwrap_or((rest, ""));
        let in_domain = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.');
        if !(1..=TRUST_DOMAIN_MAX).contains(&domain.len()) || !domain.bytes().all(in_domain) {
            return Err(InvalidSpiffeId::TrustDomain);
        }
        if rest.len() == domain.len() {
            return Err(InvalidSpiffeId::NoPath);
        }
        let in_segment = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let is_segment =
            |segment: &str| !matches!(segment, "" | "." | "..") && segment.bytes().all(in_segment);
        if !path.split('/').all(is_segment) {
            return Err(InvalidSpiffeId::Path);
        }
        Ok(Self(text.into()))
    }
}

pub(super) fn parse(faults: &mut Violations, wire: fleet::CallerCertificate) -> Option<Certificate> {
    const FIELD: &str = "caller.certificate";
    const CA: &str = "caller.certificate.ca";

    if wire.spiffe_id.is_empty() {
        if !wire.ca.is_empty() {
            faults.add(
                CA,
                "is there without `spiffe_id`: a key is known by its hash, whoever issued its certificate",
            );
        }
        return super::hashes(faults, &format!("{FIELD}.hashes"), &wire.hashes).map(Certificate::Keys);
    }
    if !wire.hashes.is_empty() {
        faults.add(format!("{FIELD}.hashes"), "are there beside `spiffe_id`: leave one of them out");
    }
    let id = faults.take(format!("{FIELD}.spiffe_id"), SpiffeId::try_from(&*wire.spiffe_id));
    if wire.ca.is_empty() {
        faults.add(CA, "is missing: a SPIFFE name counts only from authorities that can give it, because anybody can write one into a certificate");
        return None;
    }
    let ca = faults.take(CA, wire.ca.parse());
    Some(Certificate::Spiffe(Box::new(Spiffe { id: id?, ca: ca? })))
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

    use super::*;

    #[test]
    fn a_spiffe_name_has_one_spelling() {
        let longest = format!("spiffe://a/{}", "p".repeat(SPIFFE_ID_MAX - "spiffe://a/".len()));
        let domain = format!("spiffe://{}/p", "d".repeat(TRUST_DOMAIN_MAX));
        for text in [
            "spiffe://example.org/payments",
            "spiffe://example.org/ns/prod/sa/Api_1.2-x",
            "spiffe://a_b-1.c/...",
            &longest,
            &domain,
        ] {
            assert_eq!(SpiffeId::try_from(text).as_ref().map(SpiffeId::as_str), Ok(text));
        }
        let long_domain = format!("spiffe://{}/p", "d".repeat(TRUST_DOMAIN_MAX + 1));
        for (text, why) in [
            (&*format!("{longest}p"), InvalidSpiffeId::TooLong),
            ("", InvalidSpiffeId::Scheme),
            ("https://example.org/a", InvalidSpiffeId::Scheme),
            ("SPIFFE://example.org/a", InvalidSpiffeId::Scheme),
            ("spiffe:/example.org/a", InvalidSpiffeId::Scheme),
            ("spiffe:///a", InvalidSpiffeId::TrustDomain),
            ("spiffe://Example.org/a", InvalidSpiffeId::TrustDomain),
            ("spiffe://example.org:8443/a", InvalidSpiffeId::TrustDomain),
            ("spiffe://user@example.org/a", InvalidSpiffeId::TrustDomain),
            ("spiffe://exa%6dple.org/a", InvalidSpiffeId::TrustDomain),
            ("spiffe://example.org?a/b", InvalidSpiffeId::TrustDomain),
            (&long_domain, InvalidSpiffeId::TrustDomain),
            ("spiffe://example.org", InvalidSpiffeId::NoPath),
            ("spiffe://example.org/", InvalidSpiffeId::Path),
            ("spiffe://example.org/a/", InvalidSpiffeId::Path),
            ("spiffe://example.org//a", InvalidSpiffeId::Path),
            ("spiffe://example.org/a/../b", InvalidSpiffeId::Path),
            ("spiffe://example.org/./a", InvalidSpiffeId::Path),
            ("spiffe://example.org/a?b", InvalidSpiffeId::Path),
            ("spiffe://example.org/a#b", InvalidSpiffeId::Path),
            ("spiffe://example.org/a%2fb", InvalidSpiffeId::Path),
            ("spiffe://example.org/*", InvalidSpiffeId::Path),
            ("spiffe://example.org/ä", InvalidSpiffeId::Path),
        ] {
            assert_eq!(SpiffeId::try_from(text), Err(why), "{text}");
        }
    }

    /// The fields at fault.
    fn faults(wire: fleet::CallerCertificate) -> Vec<String> {
        let mut faults = Violations::default();
        let parsed = parse(&mut faults, wire);
        match faults.finish(|| parsed) {
            Ok(_) => Vec::new(),
            Err(invalid) => invalid.violations().iter().map(|one| one.field.clone()).collect(),
        }
    }

    #[test]
    fn it_is_known_by_keys_or_by_a_name_with_whoever_gives_it() {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let ca = params.self_signed(&key).expect("a root").pem();
        let of = |hashes: usize, spiffe_id: &str, ca: &str| fleet::CallerCertificate {
            hashes: vec![vec![1; 32]; hashes],
            spiffe_id: spiffe_id.to_owned(),
            ca: ca.to_owned(),
        };
        let name = "spiffe://example.org/a";
        let (hashes, id, bundle) =
            ("caller.certificate.hashes", "caller.certificate.spiffe_id", "caller.certificate.ca");
        for (wire, at_fault) in [
            (of(1, "", ""), &[][..]),
            (of(2, "", ""), &[]),
            (of(0, name, &ca), &[]),
            (of(0, "", ""), &[hashes]),
            (of(3, "", ""), &[hashes]),
            (of(1, "", &ca), &[bundle]),
            (of(1, name, &ca), &[hashes]),
            (of(0, name, ""), &[bundle]),
            (of(0, name, "no PEM"), &[bundle]),
            (of(0, name, &key.serialize_pem()), &[bundle]),
            (of(0, "spiffe://example.org", ""), &[id, bundle]),
        ] {
            assert_eq!(faults(wire), at_fault);
        }
        let short = fleet::CallerCertificate { hashes: vec![vec![1; 31]], ..Default::default() };
        assert_eq!(faults(short), ["caller.certificate.hashes[0]"]);
    }
}
