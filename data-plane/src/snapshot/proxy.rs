//! Proxies and targets as requests use them.
//!
//! What a header or a URI needs is made once, here, and cloned by reference afterwards.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use http::uri::Authority;
use rr_contract::model::effect::Effect;
use rr_contract::model::id::{CredentialId, OrgId, ProxyId, TargetId};
use rr_contract::model::org::Org;
use rr_contract::model::origin::{BaseUrl, Scheme};
use rr_contract::model::proxy::Proxy;
use rr_contract::model::resilience::{HealthCheck, Retry};
use rr_contract::model::target::Target;
use rr_contract::model::tls::{CaBundle, CaHash, Wire};

use crate::quota::ProxyQuota;
use crate::standing::{Budget, Standing};

use super::prepared::HashedText;
use super::{Policy, UpstreamCredential};

/// A proxy with all that it needs.
pub(crate) struct CompiledProxy {
    pub(crate) id: ProxyId,
    pub(crate) org_id: OrgId,
    /// `org.name`; `None` when the organization is not understood.
    pub(crate) address: Option<Box<str>>,
    pub(crate) model: Known,
    /// `None`: closed, because it or something that it needs was refused by this node.
    pub(crate) route: Option<Route>,
}

/// What is known of a proxy.
pub(crate) enum Known {
    /// All of it; shared with what it was compiled from.
    Whole(Arc<Proxy>),
    /// It cannot be read but for who may call it, if that.
    Callers(Box<[CredentialId]>),
}

impl CompiledProxy {
    /// Whether a credential's holder may call. A short list: scanned.
    pub(crate) fn admits(&self, caller: &CredentialId) -> bool {
        match &self.model {
            Known::Whole(proxy) => proxy.caller_credentials.contains(caller),
            Known::Callers(callers) => callers.contains(caller),
        }
    }

    /// Whether it is switched on, as far as that is known.
    pub(crate) fn is_active(&self) -> bool {
        match &self.model {
            Known::Whole(proxy) => proxy.active,
            Known::Callers(_) => true,
        }
    }

    pub(crate) fn upstream_credential(&self) -> Option<CredentialId> {
        match &self.model {
            Known::Whole(proxy) => Some(proxy.upstream_credential),
            Known::Callers(_) => None,
        }
    }
}

/// Where an open proxy leads.
#[derive(Clone)]
pub(crate) struct Route {
    pub(crate) org: Arc<Org>,
    pub(crate) target: Arc<CompiledTarget>,
    /// `None`: no version of it can be used.
    pub(crate) upstream: Option<Arc<UpstreamCredential>>,
    pub(crate) upstream_policy: Arc<Policy>,
    pub(crate) target_policy: Arc<Policy>,
    /// The proxy's own.
    pub(crate) policy: Arc<Policy>,
    /// The counts of its limits; `None` where it has none.
    pub(crate) quota: Option<Arc<ProxyQuota>>,
    /// `None` where it has none.
    pub(crate) retries: Option<Arc<Retries>>,
}

/// The retries of a proxy.
pub(crate) struct Retries {
    pub(crate) policy: Retry,
    pub(crate) budget: Arc<Budget>,
}

/// A target with its URI parts at hand.
pub(crate) struct CompiledTarget {
    pub(crate) id: TargetId,
    /// Whose it is.
    pub(crate) org: OrgId,
    pub(crate) base: BaseUrl,
    /// Names connections that can serve this target, by all that decides who is at both ends:
    /// `org https://host:port`.
    pub(crate) pool: HashedText,
    pub(crate) authority: Authority,
    pub(crate) host: HeaderValue,
    pub(crate) connect_timeout: Duration,
    pub(crate) response_timeout: Duration,
    /// Between two parts of a response.
    pub(crate) idle_timeout: Duration,
    /// For the whole of a request.
    pub(crate) total_timeout: Option<Duration>,
    pub(crate) default_effect: Effect,
    /// How it is spoken to.
    pub(crate) wire: Wire,
    /// The same at its further base URLs.
    others: Box<[Self]>,
    /// Host and port, where there are several.
    pub(crate) endpoint: Option<Arc<str>>,
    /// `None` where nothing hangs on how requests to it end.
    pub(crate) standing: Option<Box<Standing>>,
    /// How its base URLs are asked whether they work.
    pub(crate) health_check: Option<Box<HealthCheck>>,
}

/// A base URL whose host cannot be sent in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("host of the base URL cannot be sent in a Host header")]
pub(crate) struct Unsendable;

impl CompiledTarget {
    pub(crate) fn new(org: OrgId, id: TargetId, mut target: Target) -> Result<Self, Unsendable> {
        let further = std::mem::take(&mut target.more_base_urls);
        let at = |base_url: BaseUrl| Self::new(org, id, Target { base_url, ..target.clone() });
        let others: Box<[Self]> = further.into_iter().map(at).collect::<Result<_, _>>()?;
        let text = target.base_url.authority();
        let host = HeaderValue::from_str(&text).map_err(|_| Unsendable)?;
        let authority: Authority = text.parse().map_err(|_| Unsendable)?;
        let base = target.base_url;
        let pool = format!("{org} {}://{}:{}", base.scheme().as_str(), base.host(), base.port());
        Ok(Self {
            id,
            org,
            pool: pool.into(),
            authority,
            host,
            connect_timeout: target.connect_timeout,
            response_timeout: target.response_timeout,
            idle_timeout: target.idle_timeout,
            total_timeout: target.total_timeout,
            default_effect: target.default_effect,
            wire: target.wire,
            base,
            others,
            endpoint: None,
            standing: None,
            health_check: target.health_check.map(Box::new),
        })
    }

    /// The same, which stands like this at its base URLs with these names.
    pub(super) fn standing(mut self, standing: Standing, names: Vec<Arc<str>>) -> Self {
        if !self.others.is_empty() {
            let others = self.others.iter_mut().map(|other| &mut other.endpoint);
            for (endpoint, name) in std::iter::once(&mut self.endpoint).chain(others).zip(names) {
                *endpoint = Some(name);
            }
        }
        self.standing = Some(Box::new(standing));
        self
    }

    /// The target at one of its base URLs.
    pub(crate) fn at(&self, index: u8) -> &Self {
        index.checked_sub(1).map_or(self, |further| &self.others[usize::from(further)])
    }

    /// The target at each of its base URLs.
    pub(crate) fn endpoints(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(&self.others)
    }

    /// Of the certificates that alone can vouch for it.
    pub(crate) fn ca_hash(&self) -> Option<&CaHash> {
        self.wire.ca.as_ref().map(CaBundle::hash)
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.base.scheme() == Scheme::Https
    }
}
