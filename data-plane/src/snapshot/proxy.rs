//! Proxies and targets as requests use them.
//!
//! What a header or a URI needs is made once, here, and cloned by reference afterwards.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::HeaderValue;
use http::uri::Authority;
use rr_contract::model::effect::Effect;
use rr_contract::model::id::{CredentialId, OrgId, ProxyId, TargetId};
use rr_contract::model::keeping::Keeping;
use rr_contract::model::org::Org;
use rr_contract::model::origin::{BaseUrl, Scheme};
use rr_contract::model::proxy::Proxy;
use rr_contract::model::resilience::{HealthCheck, Retry};
use rr_contract::model::target::Target;
use rr_contract::model::tls::{CaBundle, CaHash, HttpVersion, MinTls, Wire};
use rr_contract::policy::validate::Validator;
use tracing::warn;
use url::Host;

use crate::quota::ProxyQuota;
use crate::standing::{Budget, Standing};

use super::prepared::Hashed;
use super::{
    CallerHeaders, CompiledRecording, OwnCertificate, OwnCertificateId, Policy, Shape, UpstreamCredential,
};

/// A proxy with all that it needs.
pub(crate) struct CompiledProxy {
    pub(crate) id: ProxyId,
    pub(crate) org_id: OrgId,
    /// `org.name`; `None` when the organization is not understood.
    pub(crate) address: Option<Box<str>>,
    pub(crate) model: Known,
    /// `None`: its callers use `Authorization` alone.
    pub(crate) caller_headers: Option<Box<CallerHeaders>>,
    /// How many hashes a wrong password costs: as many as any of its users has. 0: its callers use no passwords.
    pub(crate) password_rounds: u8,
    /// Whether some of its callers are known by their client certificates.
    pub(crate) takes_certificates: bool,
    /// `None`: closed, because it or something that it needs was refused by this node.
    pub(crate) route: Option<Route>,
    /// `None`: records have paths as they came, without secrets.
    pub(crate) recording: Option<Box<CompiledRecording>>,
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
        self.callers().contains(caller)
    }

    /// The credentials whose holders may call.
    pub(crate) fn callers(&self) -> &[CredentialId] {
        match &self.model {
            Known::Whole(proxy) => &proxy.caller_credentials,
            Known::Callers(callers) => callers,
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

    /// Whether callers are asked for client certificates for its sake.
    pub(crate) fn asks(&self) -> bool {
        self.takes_certificates || self.wants_certificate()
    }

    /// Which records are kept of its requests; `None`: all, and none is waited for.
    pub(crate) fn keeping(&self) -> Option<&Keeping> {
        match &self.model {
            Known::Whole(proxy) => Some(&proxy.keeping),
            Known::Callers(_) => None,
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
    /// `None`: what passes is not changed.
    pub(crate) shape: Option<Arc<Shape>>,
    /// What requests have to be like, as the proxy says; `None`: nothing.
    pub(crate) validator: Option<Arc<Validator>>,
    /// Which base URLs of the target the upstream's secret may go to, as bits; found out with the first request.
    pub(crate) sealed_for: OnceLock<u32>,
}

impl Route {
    /// The certificate that the upstream is shown, if it is shown one.
    pub(crate) fn shown(&self) -> Option<Arc<OwnCertificate>> {
        self.upstream.as_deref()?.shown()
    }

    /// The base URLs that a request can be sent to, as bits: all, where its secret may go to none.
    pub(crate) fn sealed_for(&self) -> u32 {
        *self.sealed_for.get_or_init(|| {
            let Some(credential) = &self.upstream else { return u32::MAX };
            let host = self.shape.as_deref().and_then(|shape| shape.host.as_ref());
            let (mut sealed, mut others) = (0, Vec::new());
            for (index, at) in self.target.endpoints().enumerate() {
                if credential.is_sealed_for(&at.base, at.ca_hash(), host) {
                    sealed |= 1 << index;
                } else {
                    others.push(at.authority.as_str());
                }
            }
            if sealed == 0 {
                // Each request says why.
                return u32::MAX;
            }
            if !others.is_empty() {
                let target_id = self.target.id;
                warn!(%target_id, endpoints = ?others, "base URLs get no requests: the upstream credential of a proxy is not sealed for them");
            }
            sealed
        })
    }
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
    pool: Hashed<PoolKey>,
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
    others: Box<[Arc<Self>]>,
    /// Host and port, where there are several.
    pub(crate) endpoint: Option<Arc<str>>,
    /// `None` where nothing hangs on how requests to it end.
    pub(crate) standing: Option<Box<Standing>>,
    /// How its base URLs are asked whether they work.
    pub(crate) health_check: Option<Box<HealthCheck>>,
    /// Behind the base path, with its query; requested when the target is tested.
    pub(crate) test_path: Box<str>,
    /// The upstream is told which trace a request belongs to.
    pub(crate) trace_context: bool,
    /// What requests have to be like; `None`: nothing.
    pub(crate) validator: Option<Arc<Validator>>,
}

/// Names the connections that can serve a target, by all that decides who is at both ends and how they speak. A secret
/// that is part of a connection belongs in here too, with its version.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct PoolKey {
    org: OrgId,
    scheme: Scheme,
    host: Host,
    port: u16,
    ca: Option<CaHash>,
    min_tls: MinTls,
    http: HttpVersion,
    shown: Option<OwnCertificateId>,
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
            shown: None,
        }
    }

    /// The same connections with another certificate of ours.
    pub(crate) fn showing(&self, shown: OwnCertificateId) -> Self {
        Self { shown: Some(shown), ..self.clone() }
    }
}

/// A base URL whose host cannot be sent in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("host of the base URL cannot be sent in a Host header")]
pub(crate) struct Unsendable;

impl CompiledTarget {
    pub(crate) fn new(org: OrgId, id: TargetId, mut target: Target) -> Result<Self, Unsendable> {
        let further = std::mem::take(&mut target.more_base_urls);
        if further.is_empty() {
            return Self::at_one(org, id, target);
        }
        let at = |base_url: BaseUrl| {
            let mut one = Self::at_one(org, id, Target { base_url, ..target.clone() })?;
            one.endpoint = Some(one.authority.as_str().into());
            Ok(one)
        };
        let others = further.into_iter().map(|base_url| Ok(Arc::new(at(base_url)?)));
        let others = others.collect::<Result<_, _>>()?;
        Ok(Self { others, ..at(target.base_url.clone())? })
    }

    fn at_one(org: OrgId, id: TargetId, target: Target) -> Result<Self, Unsendable> {
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
            others: Box::default(),
            endpoint: None,
            standing: None,
            health_check: target.health_check.map(Box::new),
            test_path: target.test_path,
            trace_context: target.trace_context,
            validator: None,
        })
    }

    /// The target at one of its base URLs.
    pub(crate) fn at(self: &Arc<Self>, index: u8) -> &Arc<Self> {
        index.checked_sub(1).map_or(self, |further| &self.others[usize::from(further)])
    }

    /// The target at each of its base URLs.
    pub(crate) fn endpoints(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(self.others.iter().map(|other| &**other))
    }

    /// The connections on which this certificate is shown, or none.
    pub(crate) fn pool(&self, shown: Option<&OwnCertificate>) -> Cow<'_, Hashed<PoolKey>> {
        match shown {
            None => Cow::Borrowed(&self.pool),
            Some(shown) => Cow::Owned(self.pool.key().showing(shown.id()).into()),
        }
    }

    /// Of the certificates that alone can vouch for it.
    pub(crate) fn ca_hash(&self) -> Option<&CaHash> {
        self.wire.ca.as_ref().map(CaBundle::hash)
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.base.scheme() == Scheme::Https
    }
}
