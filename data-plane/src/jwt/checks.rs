//! What one credential wants of a token: whose it is, for whom, until when, with which claims, and signed by which keys.
//!
//! The invariant: the cheap checks come first, so that a signature is looked at only of a token that would be good.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use rr_contract::model::caller::jwt::{Algorithm, JwksUrl, JwtVerify, VerifyingKeys};
use rr_contract::policy::key_set::{KeySet, KeySetError};
use rr_contract::policy::token::Token;
use rr_contract::seal::{OpenError, OpenedSecret, SealedSecret};

use super::Fault;
use super::issuer::Issuer;
use super::keys::{PublicKeys, SharedKey};

/// Opens the secret of a credential.
pub(crate) type Open = Box<dyn Fn() -> Result<OpenedSecret, OpenError> + Send + Sync>;

/// The checks of a credential, ready to be made.
pub(crate) struct Checks {
    model: JwtVerify,
    keys: Keys,
}

enum Keys {
    Given(PublicKeys),
    Fetched(Arc<Issuer>),
    Shared(Box<Sealed>),
}

/// A secret that is opened with the first token.
struct Sealed {
    open: Open,
    /// `None`, once set: it verifies nothing.
    opened: OnceLock<Option<Opened>>,
}

struct Opened {
    key: SharedKey,
    not_after: Option<SystemTime>,
}

/// Keys of a credential that verify nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnusableKeys {
    /// The document.
    #[error("`jwks` {0}")]
    Document(#[from] KeySetError),
    /// No point of a curve.
    #[error("`jwks` has no key that lies on its curve")]
    Points,
    /// The secret does not open.
    #[error(transparent)]
    Sealed(#[from] OpenError),
    /// The secret is another's.
    #[error("secret is sealed to be sent to an upstream, or is too short to verify tokens")]
    NotShared,
}

impl Checks {
    pub(crate) fn new(
        model: JwtVerify,
        issuer: impl FnOnce(&JwksUrl) -> Arc<Issuer>,
        open: impl FnOnce(&SealedSecret) -> Open,
    ) -> Result<Self, UnusableKeys> {
        let keys = match &model.keys {
            VerifyingKeys::Given(document) => {
                let set = KeySet::parse(document.as_bytes())?;
                Keys::Given(PublicKeys::of(set).ok_or(UnusableKeys::Points)?)
            }
            VerifyingKeys::Shared(secret) => {
                Keys::Shared(Box::new(Sealed { open: open(secret), opened: OnceLock::new() }))
            }
            VerifyingKeys::Jwks(url) => Keys::Fetched(issuer(url)),
        };
        Ok(Self { model, keys })
    }

    /// Opens its secret now rather than with the first token, to find out whether it can be opened.
    pub(crate) fn unseal(&self) -> Result<(), UnusableKeys> {
        let Keys::Shared(sealed) = &self.keys else { return Ok(()) };
        let opened = sealed.open()?;
        sealed.opened.get_or_init(|| Some(opened));
        Ok(())
    }

    /// `iss`.
    pub(crate) fn issuer(&self) -> &str {
        &self.model.issuer
    }

    /// Who may publish a key that a token needs.
    pub(crate) fn fetched_from(&self) -> Option<&Arc<Issuer>> {
        match &self.keys {
            Keys::Fetched(issuer) => Some(issuer),
            Keys::Given(_) | Keys::Shared(_) => None,
        }
    }

    /// Tells the keys apart that these checks have one after the other. `None`: they count no longer.
    pub(crate) fn generation(&self) -> Option<u64> {
        match &self.keys {
            Keys::Fetched(issuer) => (!issuer.is_stale()).then(|| issuer.generation()),
            Keys::Given(_) | Keys::Shared(_) => Some(0),
        }
    }

    /// Whether they are the same checks, so that what passed those passes these.
    pub(crate) fn are(&self, other: &Self) -> bool {
        self.model == other.model
    }

    /// Looks at everything but the signature. The algorithm by which that is to be looked at.
    pub(crate) fn claims(&self, token: &Token<'_>, now: SystemTime) -> Result<Algorithm, Fault> {
        let (model, claims) = (&self.model, &token.claims);
        let named = model.algorithms.iter().find(|algorithm| algorithm.as_str() == token.algorithm);
        let algorithm = *named.ok_or(Fault::Algorithm)?;
        if !claims.audiences.iter().any(|audience| model.audiences.contains(audience)) {
            return Err(Fault::Audience);
        }
        if self.ends(token).is_none_or(|end| now >= end) {
            return Err(Fault::Expired);
        }
        let is_later = |time: Option<SystemTime>| time.is_some_and(|time| time > now + model.leeway);
        if is_later(claims.not_before) || is_later(claims.issued) {
            return Err(Fault::Early);
        }
        let has = |name: &str, values: &[String]| match (name, values) {
            // One and the same thing to issuers, as words or as a list.
            ("scope", []) => claims.has("scope") || claims.has("scp"),
            ("scope", words) => claims.has_word("scope", words) || claims.has_word("scp", words),
            (name, []) => claims.has(name),
            (name, values) => claims.holds(name, values),
        };
        if !model.required_claims.iter().all(|claim| has(&claim.name, &claim.values)) {
            return Err(Fault::Claim);
        }
        Ok(algorithm)
    }

    /// When a token counts no longer. `None`: it says of no time that it does.
    pub(crate) fn ends(&self, token: &Token<'_>) -> Option<SystemTime> {
        token.claims.expires.map(|end| end + self.model.leeway)
    }

    /// Looks at the signature of a token whose claims are good.
    pub(crate) fn signature(
        &self,
        token: &Token<'_>,
        algorithm: Algorithm,
        now: SystemTime,
    ) -> Result<(), Fault> {
        match &self.keys {
            Keys::Given(keys) => keys.verify(token, algorithm),
            Keys::Fetched(issuer) => issuer.keys().ok_or(Fault::Stale)?.verify(token, algorithm),
            Keys::Shared(sealed) => {
                let opened = sealed.opened.get_or_init(|| sealed.open().ok()).as_ref();
                let opened = opened.filter(|opened| opened.not_after.is_none_or(|end| now <= end));
                opened.ok_or(Fault::Key)?.key.verify(token, algorithm)
            }
        }
    }
}

impl Sealed {
    fn open(&self) -> Result<Opened, UnusableKeys> {
        let secret = (self.open)()?;
        // One that may be sent somewhere would answer questions here.
        let secret = Some(secret).filter(OpenedSecret::is_shared).ok_or(UnusableKeys::NotShared)?;
        let key = SharedKey::of(secret.value().expose());
        Ok(Opened { key, not_after: secret.not_after() })
    }
}

impl fmt::Debug for Checks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Checks").field(&self.model).finish()
    }
}

#[cfg(test)]
mod tests;
