//! Upstream credentials: sealed until they are needed, then open in memory until they are replaced.
//!
//! Decides whether a secret may go to a target; puts it into no request. The invariant: nothing in here
//! can be printed, and a value leaves only through [`UpstreamCredential::injection`], which checks where it
//! would go and whether it is still good.

mod slots;

use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use rr_contract::model::credential::Upstream;
use rr_contract::model::effect::Effect;
use rr_contract::model::feature;
use rr_contract::model::id::{CredentialId, InstallationId, OrgId};
use rr_contract::model::origin::{BaseUrl, Origin, Scheme};
use rr_contract::model::tls::CaHash;
use rr_contract::seal::region_key::RegionOpeningKey;
use rr_contract::seal::{Means, OpenError, OpenedSecret, SealContext, SealedSecret, Slot};
use rr_contract::secret::Secret;

use crate::access_token::{AccessToken, Asked, SourceName, TokenSource, TokenSources};
use crate::echo::Needles;
use crate::sign::Signer;
use crate::values::Values;

use super::{OwnCertificate, SentHost};

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
    Sealed(Box<Sealed>),
}

struct Sealed {
    secret: SealedSecret,
    context: SealContext,
    vault: Arc<Vault>,
    tokens: TokenSources,
    /// Where its tokens come from, if it says that it gets some.
    source: Option<Arc<TokenSource>>,
    /// `None`, once set: it does not open.
    opened: OnceLock<Option<Ready>>,
}

/// An open secret.
struct Ready {
    sent: Sent,
    origins: Vec<Origin>,
    not_after: Option<SystemTime>,
    ca: Option<CaHash>,
}

/// What goes into a request.
enum Sent {
    /// The secret itself.
    Values(Values),
    /// A token that is got with it.
    Token(Arc<TokenSource>),
    /// A signature, last of all, which may write one of these values into the request.
    Signed(Signer, Values),
    /// A certificate, in the handshake.
    Shown(Arc<OwnCertificate>),
}

/// What is to be put into a request.
pub(crate) enum Injection<'a> {
    /// Nothing: the upstream is open, or the certificate of the connection says all.
    Nothing,
    /// What an open secret holds.
    Secret(&'a Values),
    /// What was got with it.
    Token(Arc<AccessToken>),
    /// What signs the request, when nothing changes it any more.
    Signature(&'a Signer),
}

impl Injection<'_> {
    /// What goes in.
    pub(crate) fn values(&self) -> Option<&Values> {
        match self {
            Self::Nothing | Self::Signature(_) => None,
            Self::Secret(values) => Some(values),
            Self::Token(token) => Some(&token.values),
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
        let sealed = |secret, version, needs: &[String]| {
            let context = SealContext { installation: vault.installation, org, credential: id, version };
            let (vault, tokens) = (Arc::clone(vault), tokens.clone());
            let mut sealed = Sealed { secret, context, vault, tokens, source: None, opened: OnceLock::new() };
            // Known before it is open: what is kept of it on disk stays as long as the credential does.
            let is_of_tokens = |need: &String| WITH_TOKENS.contains(&need.as_str());
            sealed.source = needs.iter().any(is_of_tokens).then(|| sealed.token_source());
            Kind::Sealed(Box::new(sealed))
        };
        match upstream {
            Upstream::None => Self { not_after, default_effect, kind: Kind::None, previous: None },
            Upstream::Sealed { secret, needs, previous } => {
                let previous = previous.map(|before| {
                    let (secret, until) = *before;
                    let kind = sealed(secret, version.saturating_sub(1), &needs);
                    let credential = Self { not_after, default_effect, kind, previous: None };
                    Box::new(Previous { credential, until })
                });
                Self { not_after, default_effect, kind: sealed(secret, version, &needs), previous }
            }
        }
    }

    /// What its scope says of a request that none of its rules matches.
    pub(crate) fn default_effect(&self) -> Effect {
        self.default_effect
    }

    /// Opens it now rather than with the first request, to find out whether it can be opened.
    pub(crate) fn unseal(&self) -> Result<(), OpenError> {
        let Kind::Sealed(sealed) = &self.kind else { return Ok(()) };
        if sealed.opened.get().is_some_and(Option::is_some) {
            return Ok(());
        }
        let ready = sealed.open()?;
        sealed.opened.get_or_init(|| Some(ready));
        Ok(())
    }

    /// When it must not be used any longer, by its own word or by its seal's, if that is open.
    pub(crate) fn ends(&self) -> Option<SystemTime> {
        let sealed = match &self.kind {
            Kind::None => None,
            Kind::Sealed(sealed) => {
                sealed.opened.get().and_then(Option::as_ref).and_then(|ready| ready.not_after)
            }
        };
        self.not_after.into_iter().chain(sealed).min()
    }

    /// What is looked for in what upstreams answer, tokens apart; `None`: nothing. Where tokens are sent, that is what the
    /// version before sends: it stands in for a token that there is not.
    pub(crate) fn needles(&self) -> Option<&Arc<Needles>> {
        if self.token_source().is_some() {
            return self.previous.as_deref()?.credential.needles();
        }
        self.values()?.needles()
    }

    /// What it sends, tokens apart.
    pub(crate) fn values(&self) -> Option<&Values> {
        match &self.kind {
            Kind::None => None,
            Kind::Sealed(sealed) => match &sealed.ready()?.sent {
                Sent::Values(values) | Sent::Signed(_, values) => Some(values),
                Sent::Token(_) | Sent::Shown(_) => None,
            },
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
    pub(crate) fn token_source(&self) -> Option<&Arc<TokenSource>> {
        match &self.kind {
            Kind::None => None,
            Kind::Sealed(sealed) => match &sealed.ready()?.sent {
                Sent::Values(_) | Sent::Signed(..) | Sent::Shown(..) => None,
                Sent::Token(source) => Some(source),
            },
        }
    }

    /// What signs requests, if they are signed.
    pub(crate) fn signer(&self) -> Option<&Signer> {
        match &self.kind {
            Kind::None => None,
            Kind::Sealed(sealed) => match &sealed.ready()?.sent {
                Sent::Signed(signer, _) => Some(signer),
                Sent::Values(_) | Sent::Token(_) | Sent::Shown(..) => None,
            },
        }
    }

    /// The certificate that the upstream is shown, if it is shown one.
    pub(crate) fn shown(&self) -> Option<&Arc<OwnCertificate>> {
        match &self.kind {
            Kind::None => None,
            Kind::Sealed(sealed) => match &sealed.ready()?.sent {
                Sent::Shown(certificate) => Some(certificate),
                Sent::Values(_) | Sent::Token(_) | Sent::Signed(..) => None,
            },
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
    ) -> Result<Injection<'_>, Unusable> {
        if self.not_after.is_some_and(|end| now > end) {
            return Err(Unusable::Expired);
        }
        let Kind::Sealed(sealed) = &self.kind else { return Ok(Injection::Nothing) };
        let ready = sealed.ready().ok_or(Unusable::Sealed)?;
        if ready.not_after.is_some_and(|end| now > end) {
            return Err(Unusable::Expired);
        }
        ready.may_go(target, ca, host)?;
        match &ready.sent {
            Sent::Values(values) => Ok(Injection::Secret(values)),
            Sent::Signed(signer, _) => Ok(Injection::Signature(signer)),
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
        match &self.kind {
            Kind::None => true,
            Kind::Sealed(sealed) => {
                sealed.ready().is_some_and(|ready| ready.may_go(target, ca, host).is_ok())
            }
        }
    }
}

impl Ready {
    fn may_go(&self, target: &BaseUrl, ca: Option<&CaHash>, host: Option<&SentHost>) -> Result<(), Unusable> {
        // Against the seal, not against plain configuration: who edits a target cannot redirect a secret.
        let covers = |url: &BaseUrl| self.origins.iter().any(|origin| origin.covers(url));
        if !covers(target) {
            return Err(Unusable::Origin);
        }
        if matches!(self.sent, Sent::Shown(..)) && target.scheme() != Scheme::Https {
            return Err(Unusable::Plain);
        }
        // A front that many share sends a request where its `Host` says, whoever the certificate names.
        if host.is_some_and(|host| !host.leads_to(target.scheme()).is_some_and(covers)) {
            return Err(Unusable::Host);
        }
        // Both ways: a private authority must not get a secret that was meant for a public one.
        if self.ca.as_ref() == ca { Ok(()) } else { Err(Unusable::Ca) }
    }
}

impl Sealed {
    /// `None`: it does not open.
    fn ready(&self) -> Option<&Ready> {
        if let Some(opened) = self.opened.get() {
            return opened.as_ref();
        }
        // The first request after a start pays for opening, some 200 µs; each later one reads it.
        match self.open() {
            // Its key may follow, and to look for it costs next to nothing.
            Err(OpenError::NoWrap) => None,
            opened => self.opened.get_or_init(|| opened.ok()).as_ref(),
        }
    }

    fn open(&self) -> Result<Ready, OpenError> {
        let secret = self.secret.open(&self.context, &self.vault.keys.load())?;
        let (origins, not_after, ca) = (secret.origins().to_vec(), secret.not_after(), secret.ca().copied());
        let sent = match secret.into_parts() {
            (value, Means::Sent { slot, more }) => {
                let more = more.iter().map(|(value, slot)| (value, slot));
                let values = std::iter::once((&value, &slot)).chain(more);
                Sent::Values(Values::of(values).ok_or(OpenError::Content)?)
            }
            (value, Means::Grant { slot, grant }) => self.token(Asked::Grant(grant), value, slot),
            (value, Means::Request { slot, request }) => self.token(Asked::Request(request), value, slot),
            (value, Means::Aws(aws)) => {
                // An upstream that never got the key cannot send it back.
                let sent = Values::looked_for(aws.session_token.as_ref());
                Sent::Signed(Signer::aws(&value, aws).ok_or(OpenError::Content)?, sent)
            }
            (value, Means::Hmac(hmac)) => {
                let signer = Signer::hmac(&value, hmac).ok_or(OpenError::Content)?;
                Sent::Signed(signer, Values::looked_for(None))
            }
            (value, Means::Certificate(chain)) => {
                let pair = chain.with_key(&value).map_err(|_| OpenError::Content)?;
                Sent::Shown(OwnCertificate::new(&self.context, pair))
            }
        };
        Ok(Ready { sent, origins, not_after, ca })
    }

    /// Tokens that are got with it.
    fn token(&self, asked: Asked, secret: Secret, slot: Slot) -> Sent {
        let source = self.source.clone().unwrap_or_else(|| self.token_source());
        source.opens(asked, secret, slot);
        Sent::Token(source)
    }

    fn token_source(&self) -> Arc<TokenSource> {
        let SealContext { org, credential, version, .. } = self.context;
        self.tokens.source(SourceName { org, credential, version, seal: self.secret.content_id() })
    }
}

#[cfg(test)]
mod tests;
