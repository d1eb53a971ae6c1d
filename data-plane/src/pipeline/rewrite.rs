//! What a proxy changes: in a request before rules look at it, in a response when filters have gone over it.
//!
//! Cannot touch framing, what identifies anybody, or our own headers: the model takes no edit that names them. The
//! invariant: rules, meters, the record and the upstream see one request, the one that leaves here.

use std::borrow::Cow;

use http::header::{Entry, HeaderName, HeaderValue};
use http::{HeaderMap, Version};
use rr_contract::model::path::{behind, normalise, normalise_opaque};
use rr_contract::model::rewrite::{Edits, Rewrite};

use crate::reply::Denial;
use crate::snapshot::Shape;

use super::activate::Active;
use super::clean::Cleaned;
use super::forwarded::tell::Told;
use super::header_name::remove_others;
use super::resolve::HEADERS_MAX;
use super::settle::Draft;
use super::via;

/// A request as rules, meters and the upstream see it, but for the upstream's secret.
pub(super) struct Rewritten<'s> {
    pub(super) request: Active<'s>,
    pub(super) cleaned: Box<Cleaned>,
}

/// Makes the proxy's changes to a request, and has it tell the upstream of its sender. `pseudonym` is this node's in `Via`.
pub(super) fn request<'s>(
    mut request: Active<'s>,
    mut cleaned: Box<Cleaned>,
    told: Option<Told>,
    pseudonym: &str,
    draft: &mut Draft,
) -> Result<Rewritten<'s>, Denial> {
    if let Some(shape) = request.route.shape.as_deref()
        && let Some(rewrite) = shape.rewrite()
    {
        change(rewrite, shape, &mut request, &mut cleaned, pseudonym)?;
        draft.goes_on_as(request.proxy, &request.path);
    }
    // In the place of whatever an edit put there.
    if let Some(told) = told {
        told.put(&mut cleaned.parts.headers);
    }
    Ok(Rewritten { request, cleaned })
}

fn change(
    rewrite: &Rewrite,
    shape: &Shape,
    request: &mut Active<'_>,
    cleaned: &mut Cleaned,
    pseudonym: &str,
) -> Result<(), Denial> {
    let headers = &mut cleaned.parts.headers;
    // By what came, not by what an edit made of it.
    if rewrite.via && via::names(headers, pseudonym) {
        return Err(Denial::Loop);
    }
    if let Some(path) = path(rewrite, &request.path, request.model.opaque_paths)? {
        request.path = path;
    }
    if let Some(edits) = &shape.query {
        cleaned.query = edits.apply(cleaned.query.as_deref());
    }
    let edits = &rewrite.request_headers;
    // Of what the proxy says of a header a caller could send another spelling, and some upstreams take that for it.
    let renamed = edits.rename.iter().flat_map(|(from, to)| [from, to]);
    for name in edits.remove.iter().chain(renamed).chain(edits.set.iter().map(|(name, _)| name)) {
        remove_others(headers, name);
    }
    edit(edits, headers);
    if headers.len() > HEADERS_MAX {
        return Err(Denial::Headers);
    }
    if rewrite.via {
        via::append(headers, cleaned.parts.version, pseudonym);
    }
    Ok(())
}

/// The path with other segments at its front; `None` where they stay.
fn path(rewrite: &Rewrite, path: &str, is_opaque: bool) -> Result<Option<Box<str>>, Denial> {
    let stripped = if rewrite.strip_prefix.is_empty() { None } else { behind(path, &rewrite.strip_prefix) };
    if stripped.is_none() && rewrite.add_prefix.is_empty() {
        return Ok(None);
    }
    let path = [&*rewrite.add_prefix, stripped.unwrap_or(path)].concat();
    // Both parts were normal, and so is the whole. That it never leaves the base path hangs on nothing but this.
    let path = if is_opaque { normalise_opaque(&path) } else { normalise(&path).map(Cow::into_owned) };
    Ok(Some(path.map_err(Denial::Malformed)?.into()))
}

/// Makes the proxy's changes to a response that came as `version`.
pub(super) fn response(shape: &Shape, headers: &mut HeaderMap, version: Version, pseudonym: &str) {
    let Some(rewrite) = shape.rewrite() else { return };
    edit(&rewrite.response_headers, headers);
    if rewrite.via {
        via::append(headers, version, pseudonym);
    }
}

/// Makes the proxy's changes to the trailers of a response: what is removed or renamed in its head is here, too. What is
/// set or added stands in the head alone; a trailer of a name that is set would be a second value.
pub(super) fn trailers(shape: &Shape, trailers: &mut HeaderMap) {
    let Some(rewrite) = shape.rewrite() else { return };
    let edits = &rewrite.response_headers;
    take(edits, trailers);
    for (name, _) in &edits.set {
        trailers.remove(name);
    }
}

pub(super) fn edit(edits: &Edits<HeaderName, HeaderValue>, headers: &mut HeaderMap) {
    take(edits, headers);
    for (name, value) in &edits.set {
        headers.insert(name, value.clone());
    }
    for (name, value) in &edits.add {
        headers.append(name, value.clone());
    }
}

/// Removes and renames.
fn take(edits: &Edits<HeaderName, HeaderValue>, headers: &mut HeaderMap) {
    for name in &edits.remove {
        headers.remove(name);
    }
    for (from, to) in &edits.rename {
        headers.remove(to);
        if let Entry::Occupied(entry) = headers.entry(from) {
            let (_, values) = entry.remove_entry_mult();
            let values: Vec<HeaderValue> = values.collect();
            for value in values {
                headers.append(to, value);
            }
        }
    }
}
