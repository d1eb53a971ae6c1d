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
use rr_contract::model::target::Target;
use rr_contract::model::tls::{CaBundle, CaHash, HttpVersion, MinTls, Wire};
use url::Host;

use crate::quota::ProxyQuota;

use super::prepared::Hashed;
use super::{Policy, Shape, UpstreamCredential};

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

    /// Whether it refuses callers that show no client certificate. One that cannot be read is closed.
    pub(crate) fn wants_certificate(&self) -> bool {
        match &self.model {
            Known::Whole(proxy) => proxy.client_certificates,
            Known::Callers(_) => false,
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
    /// `None`: what passes is not changed.
    pub(crate) shape: Option<Arc<Shape>>,
}

/// A target with its URI parts at hand.
pub(crate) struct CompiledTarget {
    pub(crate) id: TargetId,
    /// Whose it is.
    pub(crate) org: OrgId,
    pub(crate) base: BaseUrl,
    pub(crate) pool: Hashed<PoolKey>,
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
}

/// Names the connections that can serve a target, by all that decides who is at both ends and how they speak. A secret
/// that is part of a connection belongs in here too, with its version.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct PoolKey {
    org: OrgId,
    scheme: Scheme,
    host: Host,
    port: u16,
    ca: Option<CaHash>,
    min_tls: MinTls,
    http: HttpVersion,
}

impl PoolKey {
    pub(crate) fn new(org: OrgId, base: &BaseUrl, wire: &Wire) -> Self {
        Self {
            org,
            scheme: base.scheme(),
            host: base.host().clone(),
            port: base.port(),
            ca: wire.ca.as_ref().map(|ca| *ca.hash()),
            min_tls: wire.min_tls,
            http: wire.http,
        }
    }
}

/// A base URL whose host cannot be sent in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("host of the base URL cannot be sent in a Host header")]
pub(crate) struct Unsendable;

impl CompiledTarget {
    pub(crate) fn new(org: OrgId, id: TargetId, target: Target) -> Result<Self, Unsendable> {
        let text = target.base_url.authority();
        let host = HeaderValue::from_str(&text).map_err(|_| Unsendable)?;
        let authority: Authority = text.parse().map_err(|_| Unsendable)?;
        let base = target.base_url;
        Ok(Self {
            id,
            org,
            pool: PoolKey::new(org, &base, &target.wire).into(),
            authority,
            host,
            connect_timeout: target.connect_timeout,
            response_timeout: target.response_timeout,
            idle_timeout: target.idle_timeout,
            total_timeout: target.total_timeout,
            default_effect: target.default_effect,
            wire: target.wire,
            base,
        })
    }

    /// Of the certificates that alone can vouch for it.
    pub(crate) fn ca_hash(&self) -> Option<&CaHash> {
        self.wire.ca.as_ref().map(CaBundle::hash)
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.base.scheme() == Scheme::Https
    }
}
