//! Builds the request as the upstream is to see it, and adds the upstream's secret.
//!
//! Sends nothing. The invariant: the secret stands in one header, in a request to an origin that it was sealed for.

use std::sync::Arc;
use std::time::SystemTime;

use http::header;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderValue, Uri, Version};

use crate::reply::{Denial, Failure, Refused};
use crate::snapshot::upstream::Unusable;
use crate::snapshot::{CompiledTarget, Injection};

use super::admit::Admitted;
use super::caller_body::CallerBody;
use super::clean::Cleaned;

/// A request as the upstream is to see it.
pub(crate) struct Injected<'s> {
    pub(super) parts: Parts,
    pub(super) body: CallerBody,
    pub(super) target: &'s Arc<CompiledTarget>,
}

pub(super) fn inject<'s>(request: Admitted<'s>, now: SystemTime) -> Result<Injected<'s>, Refused> {
    let Admitted { request, cleaned, body } = request;
    let Cleaned { mut parts, query, trailers } = cleaned;
    let target = &request.route.target;
    let credential = request.route.upstream.as_deref().ok_or(Failure::Credential(Unusable::Missing))?;
    let injection = credential.injection(&target.base, target.ca_hash(), now).map_err(Failure::Credential)?;

    parts.uri = uri(target, &request.path, query.as_deref())?;
    parts.version = Version::HTTP_11;
    if let Some(host) = request.route.shape.as_deref().and_then(|shape| shape.host.as_ref()) {
        parts.extensions.insert(host.clone());
    }
    if trailers {
        parts.headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    match injection {
        Injection::Nothing => {}
        // Replaces whatever the caller put there, however often.
        Injection::Header(name, value) => {
            parts.headers.insert(name.clone(), value.clone());
        }
    }
    Ok(Injected { parts, body, target })
}

/// The base path, the rest, and the query. Scheme and host are added where a connection wants them.
fn uri(target: &CompiledTarget, path: &str, query: Option<&str>) -> Result<Uri, Denial> {
    let base = target.base.path();
    let mut text = String::with_capacity(base.len() + path.len() + query.map_or(0, |query| query.len() + 1));
    text.push_str(base);
    text.push_str(path);
    if let Some(query) = query {
        text.push('?');
        text.push_str(query);
    }
    let path = PathAndQuery::from_maybe_shared(bytes::Bytes::from(text)).map_err(|_| Denial::TooLong)?;
    Ok(Uri::from(path))
}
