//! What one credential wants of a token: whose it is, for whom, until when, with which claims, and signed by which keys.
//!
//! The invariant: the cheap checks come first, so that a signature is looked at only of a token that would be good.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use rr_contract::model::caller::jwt::{Algorithm, JwksUrl, JwtVerify, VerifyingKeys};
use rr_contract::policy::key_set::{KeySet, KeySetError};
use rr_contract::policy::token::{Identity, Token};
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
    Shared(Box<Shared>),
}

/// The secret of a credential, and the one before while both are live.
struct Shared {
    newest: Sealed,
    previous: Option<Sealed>,
    previous_ends: Option<SystemTime>,
}

/// A secret that is opened with the first token.
struct Sealed {
    open: Open,
    /// A shorter one verifies nothing.
    least: usize,
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
    #[error(
        "secret is sealed to be sent to an upstream: seal it with `rrctl credential create-caller` or `roll`"
    )]
    NotShared,
    /// The secret is guessed from any token.
    #[error(
        "secret is shorter than the {0} bytes that its algorithms need: give it a longer one with `rrctl credential roll`, or \
         name no such algorithm"
    )]
    Short(usize),
}

impl Checks {
    /// `open`: with what a secret is opened that was sealed so many versions before that of the credential.
    pub(crate) fn new(
        model: JwtVerify,
        previous_ends: Option<SystemTime>,
        issuer: impl FnOnce(&JwksUrl) -> Arc<Issuer>,
        open: impl Fn(&SealedSecret, u64) -> Open,
    ) -> Result<Self, UnusableKeys> {
        let keys = match &model.keys {
            VerifyingKeys::Given(document) => {
                let set = KeySet::parse(document.as_bytes())?;
                Keys::Given(PublicKeys::of(set).ok_or(UnusableKeys::Points)?)
            }
            VerifyingKeys::Shared { newest, previous } => {
                let least = model.algorithms.iter().filter_map(|algorithm| algorithm.secret_min()).max();
                let least = least.unwrap_or_default();
                let sealed =
                    |secret, before| Sealed { open: open(secret, before), least, opened: OnceLock::new() };
                Keys::Shared(Box::new(Shared {
                    newest: sealed(newest, 0),
                    previous: previous.as_ref().map(|secret| sealed(secret, 1)),
                    previous_ends,
                }))
            }
            VerifyingKeys::Jwks(url) => Keys::Fetched(issuer(url)),
        };
        Ok(Self { model, keys })
    }

    /// Opens its secret now rather than with the first token, to find out whether it can be opened.
    pub(crate) fn unseal(&self) -> Result<(), UnusableKeys> {
        let Keys::Shared(shared) = &self.keys else { return Ok(()) };
        let opened = shared.newest.open()?;
        shared.newest.opened.get_or_init(|| Some(opened));
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
            Keys::Fetched(issuer) => issuer.counting(),
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
        let named = Algorithm::of(&token.algorithm).filter(|named| model.algorithms.contains(named));
        let algorithm = named.ok_or(Fault::Algorithm)?;
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
        if model.identity_claim.is_some() && self.identity(token).is_none() {
            return Err(Fault::Claim);
        }
        Ok(algorithm)
    }

    /// Who holds a token, where the credential tells holders apart.
    pub(crate) fn identity(&self, token: &Token<'_>) -> Option<Identity> {
        token.claims.identity(self.model.identity_claim.as_deref()?)
    }

    /// When a token counts no longer. `None`: it says of no time that it does.
    pub(crate) fn ends(&self, token: &Token<'_>) -> Option<SystemTime> {
        token.claims.expires.map(|end| end + self.model.leeway)
    }

    /// Looks at the signature of a token whose claims are good. Until when the key counts that made it, where that is known.
    pub(crate) fn signature(
        &self,
        token: &Token<'_>,
        algorithm: Algorithm,
        now: SystemTime,
    ) -> Result<Option<SystemTime>, Fault> {
        match &self.keys {
            Keys::Given(keys) => keys.verify(token, algorithm).map(|()| None),
            Keys::Fetched(issuer) => {
                issuer.keys().ok_or(Fault::Stale)?.verify(token, algorithm).map(|()| None)
            }
            Keys::Shared(shared) => shared.verify(token, algorithm, now),
        }
    }

    /// How many signatures were looked at of a token that no key has signed.
    pub(crate) fn work(&self, token: &Token<'_>, algorithm: Algorithm) -> u32 {
        match &self.keys {
            Keys::Given(keys) => keys.tries(token, algorithm),
            Keys::Fetched(issuer) => issuer.keys().map_or(1, |keys| keys.tries(token, algorithm)),
            // Two secrets cost less than one key.
            Keys::Shared(_) => 1,
        }
    }
}

impl Shared {
    fn verify(
        &self,
        token: &Token<'_>,
        algorithm: Algorithm,
        now: SystemTime,
    ) -> Result<Option<SystemTime>, Fault> {
        let newest = self.newest.verify(token, algorithm, None, now);
        match &self.previous {
            Some(previous) if newest.is_err() => {
                // Where it does not count, the newest one says what is wrong.
                previous.verify(token, algorithm, self.previous_ends, now).or(newest)
            }
            _ => newest,
        }
    }
}

impl Sealed {
    /// Verifies with the secret, which counts no longer than this.
    fn verify(
        &self,
        token: &Token<'_>,
        algorithm: Algorithm,
        ends: Option<SystemTime>,
        now: SystemTime,
    ) -> Result<Option<SystemTime>, Fault> {
        let is_over = |ends: Option<SystemTime>| ends.is_some_and(|end| now >= end);
        if is_over(ends) {
            return Err(Fault::Key);
        }
        let opened = self.opened.get_or_init(|| self.open().ok()).as_ref();
        let opened = opened.filter(|opened| !is_over(opened.not_after)).ok_or(Fault::Key)?;
        opened.key.verify(token, algorithm)?;
        Ok(ends.into_iter().chain(opened.not_after).min())
    }

    fn open(&self) -> Result<Opened, UnusableKeys> {
        let secret = (self.open)()?;
        // One that may be sent somewhere would answer questions here.
        let secret = Some(secret).filter(OpenedSecret::is_shared).ok_or(UnusableKeys::NotShared)?;
        if secret.value().expose().len() < self.least {
            return Err(UnusableKeys::Short(self.least));
        }
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
