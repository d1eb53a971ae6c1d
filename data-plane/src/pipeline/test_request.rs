//! The request for the test path of a target, with the secret of a proxy's upstream credential, as the proxy would send it.
//!
//! Sends nothing. The invariant: the secret goes in by the code that puts it into callers' requests, and nothing of the
//! request comes from whoever asked for the test.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::SystemTime;

use http::header::{ACCEPT, HeaderValue, USER_AGENT};
use http::{HeaderMap, Request, Version};
use rr_contract::model::path::normalise_opaque;
use rr_contract::seam::{Entropy, draw};
use tokio::time::Instant;

use crate::reply::{Denial, Failure, Refused};
use crate::snapshot::{CompiledTarget, Route};
use crate::upstream::RequestBody;

use super::{inject, rewrite, sign};

/// The request, at one of the base URLs of the route's target.
pub(crate) fn test_request(
    route: &Route,
    target: &Arc<CompiledTarget>,
    now: SystemTime,
    entropy: &dyn Entropy,
) -> Result<Request<RequestBody>, Refused> {
    let injection =
        inject::injection(route.upstream.as_deref(), route, target, now).map_err(Failure::Credential)?;
    let mut headers = HeaderMap::new();
    headers.insert(USER_AGENT, HeaderValue::from_static("requestrocket-target-test"));
    headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    let (path, query) = match target.test_path.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (&*target.test_path, None),
    };
    // Never out of the base path. Empty: the base URL itself.
    let path =
        if path.is_empty() { String::new() } else { normalise_opaque(path).map_err(Denial::Malformed)? };
    let mut query = query.map(Cow::Borrowed);
    let shape = route.shape.as_deref();
    if let Some(shape) = shape
        && let Some(rewrite) = shape.rewrite()
    {
        if let Some(edits) = &shape.query {
            query = edits.apply(query.as_deref()).map(|query| Cow::Owned(query.into()));
        }
        rewrite::edit(&rewrite.request_headers, &mut headers);
    }
    let query = inject::put(&injection, &mut headers, query.as_deref(), 0);
    let is_nothing = path.is_empty() && target.base.path().is_empty();
    let path = if is_nothing { "/" } else { &path };
    let mut request = Request::new(RequestBody::nothing(Instant::now()));
    *request.uri_mut() = inject::uri(target, path, query.as_deref())?;
    *request.headers_mut() = headers;
    *request.version_mut() = Version::HTTP_11;
    if let Some(host) = shape.and_then(|shape| shape.host.as_ref()) {
        request.extensions_mut().insert(host.clone());
    }
    if let Some(signer) = injection.signer() {
        sign::sign_at(&mut request, signer, target, now, draw(entropy))?;
    }
    Ok(request)
}
