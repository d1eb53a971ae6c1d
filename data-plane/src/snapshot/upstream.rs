//! Upstream credentials: sealed until they are needed, then open in memory until they are replaced.
//!
//! Decides whether a secret may go to a target; puts it into no request. The invariant: nothing in here
//! can be printed, and a value leaves only through [`UpstreamCredential::injection`], which checks where it
//! would go and whether it is still good.

use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use http::{HeaderName, HeaderValue};
use rr_contract::api_key::{self, KeyKind};
use rr_contract::model::credential::Upstream;
use rr_contract::model::effect::Effect;
use rr_contract::model::id::{CredentialId, InstallationId, OrgId};
use rr_contract::model::origin::{BaseUrl, Origin};
use rr_contract::model::tls::CaHash;
use rr_contract::seal::region_key::RegionOpeningKey;
use rr_contract::seal::{Means, OpenError, OpenedSecret, SealContext, SealedSecret, Slot};
use zeroize::Zeroizing;

use crate::echo::{Needles, VALUE_MIN};

use super::SentHost;
use super::query_edits::encoded;

/// The keys that open what is sealed to this node's region.
pub(crate) struct Vault {
    installation: InstallationId,
    keys: Vec<RegionOpeningKey>,
}

impl Vault {
    pub(crate) fn new(installation: InstallationId, keys: Vec<RegionOpeningKey>) -> Arc<Self> {
        Arc::new(Self { installation, keys })
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
        secret.open(&context, &self.keys)
    }
}

/// The credential that is presented to an upstream.
pub(crate) struct UpstreamCredential {
    not_after: Option<SystemTime>,
    default_effect: Effect,
    kind: Kind,
}

enum Kind {
    None,
    Sealed(Box<Sealed>),
}

struct Sealed {
    secret: SealedSecret,
    context: SealContext,
    vault: Arc<Vault>,
    /// `None`, once set: it does not open.
    opened: OnceLock<Option<Ready>>,
}

/// An open secret in the form in which it is sent.
pub(crate) struct Ready {
    /// Marked sensitive. Not wiped when dropped: the bytes have been in send buffers by then.
    headers: Box<[(HeaderName, HeaderValue)]>,
    pairs: Box<[Pair]>,
    origins: Vec<Origin>,
    not_after: Option<SystemTime>,
    ca: Option<CaHash>,
    /// It has the form of a caller's key.
    is_key: bool,
    /// Its values but passwords, as far as they are looked for in what upstreams answer.
    guarded: Box<[Zeroizing<Vec<u8>>]>,
    needles: OnceLock<Option<Arc<Needles>>>,
}

/// A value in the query.
pub(crate) struct Pair {
    /// As it stands in the query.
    pub(crate) name: Box<str>,
    /// Name and value, as they stand in the query.
    pub(crate) text: Box<str>,
}

/// What is to be put into a request.
pub(crate) enum Injection<'a> {
    /// Nothing: the upstream is open.
    Nothing,
    /// What an open secret holds.
    Secret(&'a Ready),
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
    /// It was not sealed for the certificates of the target.
    #[error("secret is not sealed for the certificates (`ca`) of the target")]
    Ca,
}

impl UpstreamCredential {
    pub(crate) fn new(
        org: OrgId,
        id: CredentialId,
        version: u64,
        not_after: Option<SystemTime>,
        default_effect: Effect,
        upstream: Upstream,
        vault: &Arc<Vault>,
    ) -> Self {
        let kind = match upstream {
            Upstream::None => Kind::None,
            Upstream::Sealed { secret, needs: _ } => Kind::Sealed(Box::new(Sealed {
                secret,
                context: SealContext { installation: vault.installation, org, credential: id, version },
                vault: Arc::clone(vault),
                opened: OnceLock::new(),
            })),
        };
        Self { not_after, default_effect, kind }
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

    /// What is looked for in what upstreams answer; `None`: nothing.
    pub(crate) fn needles(&self) -> Option<&Arc<Needles>> {
        match &self.kind {
            Kind::None => None,
            Kind::Sealed(sealed) => sealed.ready()?.needles(),
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
        Ok(Injection::Secret(ready))
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
    /// Values in headers.
    pub(crate) fn headers(&self) -> &[(HeaderName, HeaderValue)] {
        &self.headers
    }

    /// Values in the query.
    pub(crate) fn pairs(&self) -> &[Pair] {
        &self.pairs
    }

    /// Whether one of them is a caller's key of an edge: the upstream is one, or wants to be taken for one.
    pub(crate) fn is_key(&self) -> bool {
        self.is_key
    }

    /// Made with the first request: few credentials of a region are used at each node.
    fn needles(&self) -> Option<&Arc<Needles>> {
        let make = || Needles::of(self.guarded.iter().map(|value| &***value)).map(Arc::new);
        self.needles.get_or_init(make).as_ref()
    }

    fn may_go(&self, target: &BaseUrl, ca: Option<&CaHash>, host: Option<&SentHost>) -> Result<(), Unusable> {
        // Against the seal, not against plain configuration: who edits a target cannot redirect a secret.
        let covers = |url: &BaseUrl| self.origins.iter().any(|origin| origin.covers(url));
        if !covers(target) {
            return Err(Unusable::Origin);
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
        // The first request after a start pays for opening, some 200 µs; each later one reads it.
        self.opened.get_or_init(|| self.open().ok()).as_ref()
    }

    fn open(&self) -> Result<Ready, OpenError> {
        let secret = self.secret.open(&self.context, &self.vault.keys)?;
        let (mut headers, mut pairs, mut is_key) = (Vec::new(), Vec::new(), false);
        let mut guarded = Vec::new();
        // Others need features that this node does not name.
        let Means::Sent { slot, more } = secret.means() else { return Err(OpenError::Content) };
        let first = std::iter::once((secret.value(), slot));
        for (value, slot) in first.chain(more.iter().map(|(value, slot)| (value, slot))) {
            // Behind whichever word, as the next edge would find it.
            is_key |= value
                .expose()
                .split(u8::is_ascii_whitespace)
                .any(|word| api_key::hash_unsummed(KeyKind::Caller, word).is_some());
            if value.len() >= VALUE_MIN && !is_password(slot) {
                guarded.push(Zeroizing::new(value.expose().to_vec()));
            }
            match slot {
                Slot::Header { name, prefix } => {
                    let mut text = Zeroizing::new(Vec::with_capacity(prefix.len() + value.len()));
                    text.extend_from_slice(prefix.as_bytes());
                    text.extend_from_slice(value.expose());
                    let mut value = HeaderValue::from_bytes(&text).map_err(|_| OpenError::Content)?;
                    value.set_sensitive(true);
                    headers.push((name.clone(), value));
                }
                Slot::Query { name } => {
                    let text = [name, "=", &encoded(value.expose())].concat().into();
                    pairs.push(Pair { name: name.as_str().into(), text });
                }
            }
        }
        Ok(Ready {
            is_key,
            guarded: guarded.into(),
            needles: OnceLock::new(),
            headers: headers.into(),
            pairs: pairs.into(),
            origins: secret.origins().to_vec(),
            not_after: secret.not_after(),
            ca: secret.ca().copied(),
        })
    }
}

/// Whether it holds user and password: what somebody chose can be guessed, and a mask would confirm it.
fn is_password(slot: &Slot) -> bool {
    matches!(slot, Slot::Header { prefix, .. } if prefix.trim().eq_ignore_ascii_case("basic"))
}

#[cfg(test)]
mod tests;
