//! Upstream credentials: sealed until they are needed, then open in memory until they are replaced or end, or until others are
//! needed more.
//!
//! Decides whether a secret may go to a target; puts it into no request. The invariant: nothing in here
//! can be printed, and a value leaves only through [`UpstreamCredential::injection`], which checks where it
//! would go and whether it is still good.

mod sealed;
mod slots;

use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use rr_contract::model::credential::Upstream;
use rr_contract::model::effect::Effect;
use rr_contract::model::feature;
use rr_contract::model::id::{CredentialId, InstallationId, OrgId};
use rr_contract::model::origin::BaseUrl;
use rr_contract::model::tls::CaHash;
use rr_contract::seal::region_key::RegionOpeningKey;
use rr_contract::seal::{OpenError, OpenedSecret, SealContext, SealedSecret};

use crate::access_token::{AccessToken, TokenSource, TokenSources};
use crate::echo::Needles;
use crate::sign::Signer;
use crate::values::Values;

use self::sealed::{Sealed, Sent, State};

use super::{OwnCertificate, SentHost};

pub(crate) use self::sealed::InUse;

/// What a credential needs whose secret gets tokens.
const WITH_TOKENS: [&str; 2] = [feature::UPSTREAM_OAUTH2, feature::UPSTREAM_CUSTOM_TOKEN];

/// The keys that open what is sealed to this node's region.
pub(crate) struct Vault {
    installation: InstallationId,
    /// Of each epoch, while secrets may be sealed to it.
    keys: ArcSwap<Vec<RegionOpeningKey>>,
}

impl Vault {
    pub(crate) fn new(installation: InstallationId, keys: Vec<RegionOpeningKey>) -> Arc<Self> {
        Arc::new(Self { installation, keys: ArcSwap::from_pointee(keys) })
    }

    /// Opens with one more key from now on.
    pub(crate) fn add(&self, key: RegionOpeningKey) {
        let mut keys = Vec::clone(&self.keys.load());
        keys.retain(|known| known.epoch() != key.epoch());
        keys.push(key);
        self.keys.store(Arc::new(keys));
    }

    /// Opens a secret of this version of a credential.
    pub(crate) fn open(
        &self,
        secret: &SealedSecret,
        org: OrgId,
        credential: CredentialId,
        version: u64,
    ) -> Result<OpenedSecret, OpenError> {
        let context = SealContext { installation: self.installation, org, credential, version };
        secret.open(&context, &self.keys.load())
    }
}

/// What seals are opened with, and what is got with the secrets.
#[derive(Clone, Copy)]
pub(crate) struct Opening<'a> {
    pub(crate) vault: &'a Arc<Vault>,
    pub(crate) tokens: &'a TokenSources,
}

/// The credential that is presented to an upstream.
pub(crate) struct UpstreamCredential {
    not_after: Option<SystemTime>,
    default_effect: Effect,
    kind: Kind,
    previous: Option<Box<Previous>>,
}

/// The version before.
struct Previous {
    credential: UpstreamCredential,
    until: SystemTime,
}

enum Kind {
    None,
    Sealed(Arc<Sealed>),
}

/// What is to be put into a request.
pub(crate) enum Injection {
    /// Nothing: the upstream is open, or the certificate of the connection says all.
    Nothing,
    /// What an open secret holds.
    Secret(InUse),
    /// What was got with it.
    Token(Arc<AccessToken>),
    /// What signs the request, when nothing changes it any more.
    Signature(InUse),
}

impl Injection {
    /// What goes in.
    pub(crate) fn values(&self) -> Option<&Values> {
        match self {
            Self::Nothing | Self::Signature(_) => None,
            Self::Secret(used) => used.values(),
            Self::Token(token) => Some(&token.values),
        }
    }

    /// What is looked for in the answer to a request with it; `None`: nothing.
    pub(crate) fn needles(&self) -> Option<&Arc<Needles>> {
        match self {
            Self::Nothing => None,
            Self::Secret(used) | Self::Signature(used) => used.values()?.needles(),
            Self::Token(token) => token.values.needles(),
        }
    }

    /// What signs the request, if it is signed.
    pub(crate) fn signer(&self) -> Option<&Signer> {
        match self {
            Self::Signature(used) => used.signer(),
            Self::Nothing | Self::Secret(_) | Self::Token(_) => None,
        }
    }

    pub(crate) fn token(&self) -> Option<&Arc<AccessToken>> {
        match self {
            Self::Token(token) => Some(token),
            Self::Nothing | Self::Secret(_) | Self::Signature(_) => None,
        }
    }
}

/// A credential that must not be used for this request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unusable {
    /// No version of it is at hand.
    #[error("no version of the upstream credential can be used")]
    Missing,
    /// The seal does not open.
    #[error("secret cannot be decrypted")]
    Sealed,
    /// Its time is over.
    #[error("credential has expired")]
    Expired,
    /// It was not sealed for where the request goes.
    #[error("secret is not sealed for the origin of the target")]
    Origin,
    /// It was not sealed for the `Host` that the proxy sends.
    #[error("secret is not sealed for the origin that the proxy names in `rewrite.host`")]
    Host,
    /// Nobody would see it.
    #[error("credential is a client certificate, which a target without TLS (`http://`) is never shown")]
    Plain,
    /// It was not sealed for the certificates of the target.
    #[error("secret is not sealed for the certificates (`ca`) of the target")]
    Ca,
    /// None was got with the secret, and the issuer gives no other now.
    #[error("no access token is at hand: the issuer did not give one; the log of the node says why")]
    Token,
}

impl UpstreamCredential {
    pub(crate) fn new(
        org: OrgId,
        id: CredentialId,
        version: u64,
        not_after: Option<SystemTime>,
        default_effect: Effect,
        upstream: Upstream,
        opening: Opening<'_>,
    ) -> Self {
        let Opening { vault, tokens } = opening;
        let sealed = |secret, version, needs: &[String], until| {
            let context = SealContext { installation: vault.installation, org, credential: id, version };
            let gets_tokens = needs.iter().any(|need| WITH_TOKENS.contains(&need.as_str()));
            Kind::Sealed(Sealed::new(secret, context, Arc::clone(vault), tokens.clone(), gets_tokens, until))
        };
        match upstream {
            Upstream::None => Self { not_after, default_effect, kind: Kind::None, previous: None },
            Upstream::Sealed { secret, needs, previous } => {
                let previous = previous.map(|before| {
                    let (secret, until) = *before;
                    // Both have to end: that of the credential, and that of two at a time.
                    let end = not_after.map_or(until, |end| end.min(until));
                    let kind = sealed(secret, version.saturating_sub(1), &needs, Some(end));
                    let credential = Self { not_after, default_effect, kind, previous: None };
                    Box::new(Previous { credential, until })
                });
                let kind = sealed(secret, version, &needs, not_after);
                Self { not_after, default_effect, kind, previous }
            }
        }
    }

    /// What its scope says of a request that none of its rules matches.
    pub(crate) fn default_effect(&self) -> Effect {
        self.default_effect
    }

    /// Opens it now rather than with the first request, to find out whether it can be opened.
    pub(crate) fn unseal(&self) -> Result<(), OpenError> {
        match &self.kind {
            Kind::None => Ok(()),
            Kind::Sealed(sealed) => sealed.unseal(),
        }
    }

    /// When it must not be used any longer, by its own word or by its seal's, if that is open or was.
    pub(crate) fn ends(&self) -> Option<SystemTime> {
        let sealed = match &self.kind {
            Kind::None => None,
            Kind::Sealed(sealed) => sealed.known_end(),
        };
        self.not_after.into_iter().chain(sealed).min()
    }

    /// Its secret, open unless its end has come; `None`: there is none.
    pub(crate) fn in_use(&self) -> Option<InUse> {
        match &self.kind {
            Kind::None => None,
            Kind::Sealed(sealed) => Some(sealed.in_use()),
        }
    }

    /// The version before, while both are live.
    pub(crate) fn previous(&self, now: SystemTime) -> Option<&Self> {
        let Previous { credential, until } = self.previous.as_deref()?;
        (now <= *until).then_some(credential)
    }

    /// Whether there was one, which may have ended since.
    pub(crate) fn has_previous(&self) -> bool {
        self.previous.is_some()
    }

    /// Where its tokens come from, if what it sends is a token.
    pub(crate) fn token_source(&self) -> Option<Arc<TokenSource>> {
        match &self.in_use()?.ready()?.sent {
            Sent::Values(_) | Sent::Signed(..) | Sent::Shown(..) => None,
            Sent::Token(source) => Some(Arc::clone(source)),
        }
    }

    /// The certificate that the upstream is shown, if it is shown one.
    pub(crate) fn shown(&self) -> Option<Arc<OwnCertificate>> {
        match &self.in_use()?.ready()?.sent {
            Sent::Shown(certificate) => Some(Arc::clone(certificate)),
            Sent::Values(_) | Sent::Token(_) | Sent::Signed(..) => None,
        }
    }

    /// What goes into a request to `target` at `now`, whose certificates `ca` alone can vouch for, if it is given, and
    /// which bears another `host`, if that is.
    pub(crate) fn injection(
        &self,
        target: &BaseUrl,
        ca: Option<&CaHash>,
        host: Option<&SentHost>,
        now: SystemTime,
    ) -> Result<Injection, Unusable> {
        if self.not_after.is_some_and(|end| now > end) {
            return Err(Unusable::Expired);
        }
        let Kind::Sealed(sealed) = &self.kind else { return Ok(Injection::Nothing) };
        let used = sealed.in_use_at(now);
        let ready = match used.state() {
            State::Ready(ready) => ready,
            State::Over(_) => return Err(Unusable::Expired),
            State::Broken => return Err(Unusable::Sealed),
        };
        if ready.not_after.is_some_and(|end| now > end) {
            return Err(Unusable::Expired);
        }
        ready.may_go(target, ca, host)?;
        match &ready.sent {
            Sent::Values(_) => Ok(Injection::Secret(used)),
            Sent::Signed(..) => Ok(Injection::Signature(used)),
            Sent::Shown(..) => Ok(Injection::Nothing),
            Sent::Token(source) => match source.token(now) {
                Some(token) => Ok(Injection::Token(token)),
                // An issuer may not know the new secret yet.
                None => self.previous(now).ok_or(Unusable::Token)?.injection(target, ca, host, now),
            },
        }
    }

    /// Whether its secret may go to `target`, at whatever time; so may one that there is not.
    pub(crate) fn is_sealed_for(
        &self,
        target: &BaseUrl,
        ca: Option<&CaHash>,
        host: Option<&SentHost>,
    ) -> bool {
        let Some(used) = self.in_use() else { return true };
        used.ready().is_some_and(|ready| ready.may_go(target, ca, host).is_ok())
    }
}

#[cfg(test)]
mod tests;
