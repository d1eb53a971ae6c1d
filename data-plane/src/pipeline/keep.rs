//! What a record keeps of a request's path, and of the headers and parameters that its proxy names.
//!
//! Changes nothing that goes on. The invariants: nothing is kept of a caller who is not known yet but the path; what is kept
//! was looked at before the upstream's secret went in, and has been through `scrub`.

use http::{HeaderMap, HeaderName};
use rr_contract::model::proxy::EchoGuard;
use rr_contract::policy::request::decode;
use rr_contract::wire::fleet::KeptPlace;

use crate::echo::Needles;
use crate::report::KeptValue;
use crate::scrub::{Path, Value};
use crate::snapshot::{CompiledProxy, Known, UpstreamCredential};

/// Of each place, whatever the request holds.
const EACH: usize = 16;

/// A path as records of the proxy have it.
pub(super) fn path(proxy: &CompiledProxy, path: &str) -> Path {
    match &proxy.recording {
        Some(recording) => recording.template(path).map_or_else(|| Path::of(path), Path::template),
        None => match proxy.model {
            Known::Whole(_) => Path::of(path),
            // It may have templates that nobody can read here.
            Known::Callers(_) => Path::withheld(),
        },
    }
}

/// What is kept of a request without the caller's credential.
pub(super) fn request(
    proxy: &CompiledProxy,
    upstream: Option<&UpstreamCredential>,
    headers: &HeaderMap,
    query: Option<&str>,
) -> Vec<KeptValue> {
    let Some(recording) = &proxy.recording else { return Vec::new() };
    let names = recording.names(upstream);
    let mut kept = values(KeptPlace::RequestHeader, &names.request_headers, headers, Value::of);
    let Some(query) = query.filter(|_| !names.query_parameters.is_empty()) else { return kept };
    let pairs = query.split('&').filter_map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = decode(name);
        let name = names.query_parameters.iter().find(|kept| kept.as_bytes() == &*name)?;
        Some(KeptValue { place: KeptPlace::Query, name: name.clone(), value: Value::of(&decode(value)) })
    });
    kept.extend(pairs.take(EACH));
    kept
}

/// What is kept of a response as the caller gets it; `sent`: what is never kept of it, wherever it stands.
pub(super) fn response(
    proxy: &CompiledProxy,
    upstream: Option<&UpstreamCredential>,
    sent: Option<&Needles>,
    headers: &HeaderMap,
) -> Vec<KeptValue> {
    let Some(recording) = &proxy.recording else { return Vec::new() };
    let names = recording.names(upstream);
    let value = |value: &[u8]| {
        let is_sent_back = sent.is_some_and(|needles| needles.masked(value).is_some());
        if is_sent_back { Value::masked() } else { Value::of(value) }
    };
    values(KeptPlace::ResponseHeader, &names.response_headers, headers, value)
}

/// What is looked for in response headers that are kept, where the answer itself is passed on unsearched.
pub(super) fn unsearched(guard: EchoGuard, shown: Option<&Needles>) -> Option<&Needles> {
    shown.filter(|_| guard == EchoGuard::Off)
}

fn values(
    place: KeptPlace,
    names: &[HeaderName],
    headers: &HeaderMap,
    of: impl Fn(&[u8]) -> Value,
) -> Vec<KeptValue> {
    let each = names.iter().flat_map(|name| headers.get_all(name).iter().map(move |value| (name, value)));
    each.take(EACH)
        .map(|(name, value)| KeptValue { place, name: name.as_str().into(), value: of(value.as_bytes()) })
        .collect()
}
