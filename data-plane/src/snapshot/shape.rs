//! How a proxy shapes requests and responses: what of it can be made ready before any comes.
//!
//! Changes nothing itself: `pipeline` does. A proxy that shapes nothing has none.

use std::sync::Arc;

use http::HeaderValue;
use http::uri::Authority;
use rr_contract::model::origin::{BaseUrl, Scheme};
use rr_contract::model::proxy::Proxy;
use rr_contract::model::rewrite::Rewrite;

use super::cors::CompiledCors;
use super::query_edits::QueryEdits;

/// How a proxy shapes requests and responses.
pub(crate) struct Shape {
    proxy: Arc<Proxy>,
    pub(crate) query: Option<QueryEdits>,
    /// `None`: that of the base URL.
    pub(crate) host: Option<SentHost>,
    pub(crate) cors: Option<CompiledCors>,
}

/// What is sent as `Host` and as `:authority` in the place of the base URL's.
#[derive(Debug, Clone)]
pub(crate) struct SentHost {
    pub(crate) authority: Authority,
    pub(crate) value: HeaderValue,
    /// Where it leads over TLS, and without, as a seal would have to name it; `None`: no seal can.
    https: Option<BaseUrl>,
    http: Option<BaseUrl>,
}

impl Shape {
    /// `None`: what passes is not changed.
    pub(crate) fn of(proxy: &Arc<Proxy>) -> Option<Arc<Self>> {
        if proxy.rewrite.is_none() && proxy.cors.is_none() {
            return None;
        }
        let rewrite = proxy.rewrite.as_deref();
        let query = rewrite.and_then(|rewrite| QueryEdits::compile(&rewrite.query));
        let host = rewrite.and_then(|rewrite| rewrite.host.as_ref()).map(SentHost::new);
        let cors = proxy.cors.as_deref().map(CompiledCors::new);
        Some(Arc::new(Self { proxy: Arc::clone(proxy), query, host, cors }))
    }

    /// Its changes.
    pub(crate) fn rewrite(&self) -> Option<&Rewrite> {
        self.proxy.rewrite.as_deref()
    }
}

impl SentHost {
    pub(crate) fn new(authority: &Authority) -> Self {
        let value = HeaderValue::from_bytes(authority.as_str().as_bytes())
            .expect("an authority has no control characters");
        let named = |scheme: Scheme| format!("{}://{authority}", scheme.as_str()).parse().ok();
        let (https, http) = (named(Scheme::Https), named(Scheme::Http));
        Self { authority: authority.clone(), value, https, http }
    }

    /// Where a front that many share would take a request with this host.
    pub(crate) fn leads_to(&self, scheme: Scheme) -> Option<&BaseUrl> {
        match scheme {
            Scheme::Https => self.https.as_ref(),
            Scheme::Http => self.http.as_ref(),
        }
    }
}
