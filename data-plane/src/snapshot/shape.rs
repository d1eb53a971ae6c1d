//! How a proxy shapes requests and responses: what of it can be made ready before any comes.
//!
//! Changes nothing itself: `pipeline` does. A proxy that shapes nothing has none.

use std::sync::Arc;

use http::HeaderValue;
use http::uri::Authority;
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
    fn new(authority: &Authority) -> Self {
        let value = HeaderValue::from_bytes(authority.as_str().as_bytes())
            .expect("an authority has no control characters");
        Self { authority: authority.clone(), value }
    }
}
