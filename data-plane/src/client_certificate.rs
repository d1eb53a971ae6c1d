//! The client certificate of a connection: what it is known by, and whether an authority that a credential names has issued it.
//!
//! Proves no possession, which the handshake has done, and knows no proxy. The invariants: a name counts for nothing by itself; a
//! verdict counts for one credential of one version, and only as long as no certificate of the chain begins or ends; how much a
//! chain makes a node do is bounded before a signature is looked at.

use std::cell::RefCell;
use std::fmt;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use rr_contract::api_key::KeyHash;
use rr_contract::client_key::ClientKey;
use rr_contract::model::caller::certificate::{Spiffe, SpiffeId};
use rr_contract::model::tls::CaHash;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{CertificateError, Error, RootCertStore};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

/// Certificates of a chain that are looked at. With more, the ways through them would be too many.
const CHAIN_MAX: usize = 5;
/// The ways through as many certificates as stand above the first one, in whatever order.
const WAYS: [u32; CHAIN_MAX] = [1, 2, 5, 16, 65];
/// The library looks at no more signatures of one chain.
const SIGNATURES_MAX: u32 = 100;
/// Verdicts that a connection keeps.
const JUDGED_MAX: usize = 4;
/// The tag of a URI among a certificate's names.
const URI: u32 = 6;
const SCHEME: &str = "spiffe:";

static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));

/// What is wrong with a certificate whose name a credential has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// It, or one above it, has ended.
    Expired,
    /// It, or one above it, has not begun.
    Early,
    /// No authority of the credential has issued it for clients.
    Chain,
}

/// The authorities of a credential, and the name that they give.
pub(crate) struct Trust {
    id: SpiffeId,
    ca: CaHash,
    /// As many of the authorities have one name at the most, and each of them may have signed.
    alike: u32,
    verifier: Arc<dyn ClientCertVerifier>,
}

impl Trust {
    /// `None`: none of the authorities can be used.
    pub(crate) fn new(spiffe: Spiffe) -> Option<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in spiffe.ca.certificates() {
            roots.add(certificate.clone()).ok()?;
        }
        let alike = |name: &[u8]| roots.roots.iter().filter(|root| *root.subject == *name).count();
        let alike = roots.roots.iter().map(|root| alike(&root.subject)).max().unwrap_or(0);
        let alike = u32::try_from(alike).unwrap_or(u32::MAX);
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&PROVIDER));
        let verifier = verifier.clear_root_hint_subjects().build().ok()?;
        Some(Self { id: spiffe.id, ca: *spiffe.ca.hash(), alike, verifier })
    }

    fn judge(&self, chain: &Chain, now: SystemTime) -> Result<(), Flaw> {
        let Some((leaf, above)) = chain.certificates.split_first() else { return Err(Flaw::Chain) };
        if chain.is_authority || chain.certificates.len() > CHAIN_MAX {
            return Err(Flaw::Chain);
        }
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let verified = self.verifier.verify_client_cert(leaf, above, UnixTime::since_unix_epoch(since));
        verified.map(drop).map_err(|error| match error {
            Error::InvalidCertificate(
                CertificateError::Expired | CertificateError::ExpiredContext { .. },
            ) => Flaw::Expired,
            Error::InvalidCertificate(
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
            ) => Flaw::Early,
            _ => Flaw::Chain,
        })
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {:?}", self.id, self.ca)
    }
}

/// The certificate that a connection has shown, and those that came with it.
pub(crate) struct Shown {
    pub(crate) key: ClientKey,
    /// What the key is looked up by.
    pub(crate) hash: KeyHash,
    /// `None`: when it was shown, no credential had a name.
    chain: Option<Chain>,
}

/// Certificates, the caller's own first.
struct Chain {
    certificates: Box<[CertificateDer<'static>]>,
    name: Named,
    /// It may sign certificates itself, and so names nobody.
    is_authority: bool,
    /// When one of them begins or has ended, in order.
    turns: Box<[SystemTime]>,
    judged: RefCell<Vec<Judged>>,
}

/// Whom a certificate names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Named {
    Nobody,
    /// By this hash of its only URI.
    One(KeyHash),
    /// It has a name that cannot be read in one way: another URI beside it, or another spelling.
    Unclear,
}

/// A verdict, and when it counts.
struct Judged {
    trust: Arc<Trust>,
    verdict: Result<(), Flaw>,
    from: SystemTime,
    until: Option<SystemTime>,
}

impl Shown {
    /// `None`: there is none, or it cannot be read.
    pub(crate) fn new(shown: &[CertificateDer<'_>], keeps_chain: bool) -> Option<Self> {
        let key = ClientKey::of(shown.first()?)?;
        Some(Self { key, hash: key.hash(), chain: keeps_chain.then(|| Chain::new(shown)) })
    }

    /// Whom it names. `None`: the connection does not know any more.
    pub(crate) fn name(&self) -> Option<Named> {
        self.chain.as_ref().map(|chain| chain.name)
    }

    /// What is known of it to these authorities without a look at a signature.
    pub(crate) fn known(&self, trust: &Arc<Trust>, now: SystemTime) -> Option<Result<(), Flaw>> {
        let judged = self.chain.as_ref()?.judged.borrow();
        let counts = |judged: &&Judged| {
            Arc::ptr_eq(&judged.trust, trust)
                && now >= judged.from
                && judged.until.is_none_or(|until| now < until)
        };
        judged.iter().find(counts).map(|judged| judged.verdict)
    }

    /// Looks at the signatures, and keeps the verdict.
    pub(crate) fn judge(&self, trust: &Arc<Trust>, now: SystemTime) -> Result<(), Flaw> {
        let Some(chain) = &self.chain else { return Err(Flaw::Chain) };
        let verdict = trust.judge(chain, now);
        let mut judged = chain.judged.borrow_mut();
        judged.retain(|judged| !Arc::ptr_eq(&judged.trust, trust));
        if judged.len() >= JUDGED_MAX {
            judged.remove(0);
        }
        judged.push(Judged { trust: Arc::clone(trust), verdict, from: now, until: chain.turns_after(now) });
        verdict
    }

    /// How many signatures were looked at for a verdict, at the most.
    pub(crate) fn work(&self, trust: &Trust) -> u32 {
        let above = self.chain.as_ref().map_or(0, |chain| chain.certificates.len().saturating_sub(1));
        let ways = WAYS.get(above).copied().unwrap_or(1);
        ways.saturating_mul(trust.alike).min(SIGNATURES_MAX)
    }

    /// When a verdict of now counts no longer.
    pub(crate) fn turns_after(&self, now: SystemTime) -> Option<SystemTime> {
        self.chain.as_ref()?.turns_after(now)
    }
}

impl Chain {
    fn new(shown: &[CertificateDer<'_>]) -> Self {
        let certificates: Box<[_]> = shown.iter().map(|one| one.clone().into_owned()).collect();
        let parsed =
            certificates.iter().map(|one| parse_x509_certificate(one).ok().map(|(_, parsed)| parsed));
        let parsed: Vec<Option<X509Certificate<'_>>> = parsed.collect();
        let mut turns: Vec<SystemTime> = parsed.iter().flatten().flat_map(turns).collect();
        turns.sort();
        let (name, is_authority) = match parsed.first() {
            Some(Some(leaf)) => (name(leaf), is_authority(leaf)),
            _ => (Named::Unclear, true),
        };
        drop(parsed);
        Self { certificates, name, is_authority, turns: turns.into(), judged: RefCell::default() }
    }

    fn turns_after(&self, now: SystemTime) -> Option<SystemTime> {
        self.turns.iter().find(|turn| **turn > now).copied()
    }
}

/// When a certificate begins, and when it has ended: in the second behind its last one.
fn turns(certificate: &X509Certificate<'_>) -> [SystemTime; 2] {
    let at = |seconds: i64| {
        let after = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        SystemTime::UNIX_EPOCH.checked_add(after).unwrap_or(SystemTime::UNIX_EPOCH)
    };
    let validity = certificate.validity();
    [at(validity.not_before.timestamp()), at(validity.not_after.timestamp().saturating_add(1))]
}

fn name(leaf: &X509Certificate<'_>) -> Named {
    let names = match leaf.subject_alternative_name() {
        Ok(None) => return Named::Nobody,
        Ok(Some(names)) => &names.value.general_names,
        // It is there twice, or cannot be read.
        Err(_) => return Named::Unclear,
    };
    let is_uri = |name: &&GeneralName<'_>| match name {
        GeneralName::URI(_) => true,
        GeneralName::Invalid(tag, _) => tag.0 == URI,
        _ => false,
    };
    let mut uris = names.iter().filter(is_uri);
    match (uris.next(), uris.next()) {
        (None, _) => Named::Nobody,
        (Some(GeneralName::URI(uri)), None) => match SpiffeId::try_from(*uri) {
            Ok(id) => Named::One(id.hash()),
            Err(_) if !is_spiffe(uri) => Named::Nobody,
            Err(_) => Named::Unclear,
        },
        _ => {
            let is_other = |name: &GeneralName<'_>| matches!(name, GeneralName::URI(uri) if !is_spiffe(uri));
            if names.iter().filter(is_uri).all(is_other) { Named::Nobody } else { Named::Unclear }
        }
    }
}

fn is_spiffe(uri: &str) -> bool {
    uri.get(..SCHEME.len()).is_some_and(|scheme| scheme.eq_ignore_ascii_case(SCHEME))
}

/// Whether it may sign certificates or lists of revoked ones. Its constraints say so too, which the library looks at.
fn is_authority(leaf: &X509Certificate<'_>) -> bool {
    match leaf.key_usage() {
        Ok(usage) => usage.is_some_and(|usage| usage.value.key_cert_sign() || usage.value.crl_sign()),
        Err(_) => true,
    }
}

#[cfg(test)]
pub(crate) mod tests;
