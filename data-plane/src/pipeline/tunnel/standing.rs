//! Whether a tunnel would be opened again: asked when the configuration has changed, and when a credential of either side
//! ends.
//!
//! Charges nothing, and waits for nobody. The invariant: who may not open a tunnel by now keeps none for longer than it
//! takes a worker to look (a second, and its tick).

use std::sync::Arc;
use std::time::SystemTime;

use http::HeaderValue;
use rr_contract::model::id::CredentialId;
use rr_contract::model::path::{self, InvalidPath};

use crate::snapshot::{CompiledCaller, CompiledProxy, CompiledTarget, Place, Policy, Snapshot};

use super::super::activate::{Active, activate};
use super::super::authenticate::{self, Authenticated, FoundBy};
use super::super::authorize;
use super::super::clean::Cleaned;
use super::super::cors;
use super::super::inject::may_go;
use super::super::resolve::Path;
use super::permits;

/// What a tunnel was opened on.
pub(crate) struct Standing {
    found_by: FoundBy,
    /// Where the credential stood.
    place: Option<Arc<Place>>,
    credential: CredentialId,
    has_certificate: bool,
    origins: Box<[HeaderValue]>,
    /// Of the credential, when it was looked at last.
    policy: Arc<Policy>,
    /// As it was when it was looked at last.
    proxy: Arc<CompiledProxy>,
    /// When one of its credentials ends, the caller's or the upstream's.
    not_after: Option<SystemTime>,
    /// Where it ends; `None` before it is open.
    upstream: Option<Arc<CompiledTarget>>,
    /// What rules saw of the request.
    path: Box<str>,
    cleaned: Box<Cleaned>,
}

impl Standing {
    /// `None` where the snapshot does not hold what the request was let in by.
    pub(super) fn new(
        snapshot: &Snapshot,
        found_by: FoundBy,
        has_certificate: bool,
        origins: Box<[HeaderValue]>,
        request: &Active<'_>,
        cleaned: &Cleaned,
        now: SystemTime,
    ) -> Option<Self> {
        let proxy = Arc::clone(snapshot.proxy_by_id(&request.proxy.id)?);
        Some(Self {
            not_after: earlier(request.caller.ends(), found_by.ends(now)),
            found_by,
            place: request.caller.place.clone(),
            has_certificate,
            origins,
            credential: request.caller.credential,
            policy: Arc::clone(&request.caller.policy),
            proxy,
            upstream: None,
            path: request.path.clone(),
            cleaned: Box::new(cleaned.clone()),
        })
    }

    /// The same, of a tunnel that ends there.
    pub(super) fn ending_at(self, upstream: Arc<CompiledTarget>) -> Self {
        Self { upstream: Some(upstream), ..self }
    }

    /// When it has to be asked again though nothing changes: a credential ends.
    pub(super) fn not_after(&self) -> Option<SystemTime> {
        self.not_after
    }

    /// Whether the request would be let in now.
    pub(super) async fn holds(&mut self, snapshot: &Snapshot, now: SystemTime) -> bool {
        let Some(proxy) = snapshot.proxy_by_id(&self.proxy.id) else { return false };
        let Some(caller) = self.found_by.find(proxy, snapshot, now) else { return false };
        if caller.is_refused || caller.place != self.place || authenticate::admit(caller, proxy, now).is_err()
        {
            return false;
        }
        if proxy.wants_certificate() && !self.has_certificate {
            return false;
        }
        if caller.is_shown() && !cors::takes_certificate(proxy, &self.origins) {
            return false;
        }
        let is_same = Arc::ptr_eq(proxy, &self.proxy)
            && Arc::ptr_eq(&caller.policy, &self.policy)
            && caller.credential == self.credential;
        if !is_same && !self.passes_anew(proxy, caller, now).await {
            return false;
        }
        let upstream = proxy.route.as_ref().and_then(|route| route.upstream.as_ref());
        let upstream_ends = upstream.and_then(|credential| credential.ends());
        let own_end = earlier(caller.ends(), self.found_by.ends(now));
        self.not_after = earlier(own_end, upstream_ends);
        upstream_ends.is_none_or(|end| now <= end)
    }

    /// Whether it passes what comes behind its credential, where that or the proxy is another than it was.
    async fn passes_anew(
        &mut self,
        proxy: &Arc<CompiledProxy>,
        caller: &CompiledCaller,
        now: SystemTime,
    ) -> bool {
        let path = match path::normalise(&self.path) {
            Err(InvalidPath::Ambiguous) => Path::Opaque(self.path.clone()),
            _ => Path::Plain(self.path.clone()),
        };
        // Nothing is counted.
        let Ok(active) = activate(Authenticated { proxy, caller, holder: None, path }) else { return false };
        if permits(&active, &self.origins).is_err() || !self.leads_there(&active, now) {
            return false;
        }
        if !authorize::allows_still(&active, &self.cleaned).await {
            return false;
        }
        self.credential = caller.credential;
        self.policy = Arc::clone(&caller.policy);
        self.proxy = Arc::clone(proxy);
        true
    }

    /// Whether the proxy still leads to where the tunnel ends, with a secret that may go there.
    fn leads_there(&self, active: &Active<'_>, now: SystemTime) -> bool {
        let Some(then) = &self.upstream else { return false };
        let mut endpoints = active.route.target.endpoints();
        endpoints.any(|now| then.id == now.id && then.pool(None) == now.pool(None))
            && may_go(active.route.upstream.as_deref(), active.route, then, now)
    }
}

fn earlier(one: Option<SystemTime>, other: Option<SystemTime>) -> Option<SystemTime> {
    one.into_iter().chain(other).min()
}
