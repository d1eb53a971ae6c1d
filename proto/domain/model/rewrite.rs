//! What a proxy changes in requests and responses.
//!
//! Changes nothing itself. The invariant: no edit names what frames a message, belongs to one hop, identifies anybody, or
//! is set by the edge node alone.

use http::uri::Authority;
use http::{HeaderName, HeaderValue};
use rr_wire::fleet;

use super::header::{self, OURS};
use super::invalid::Violations;
use super::path;

/// Edits of one kind.
const EDITS_MAX: usize = 32;
const NAME_MAX: usize = 256;
const VALUE_MAX: usize = 4096;
const PREFIX_MAX: usize = 1024;

/// Changes of requests and responses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rewrite {
    /// Empty, or begins with a slash and does not end with one.
    pub strip_prefix: Box<str>,
    /// The same.
    pub add_prefix: Box<str>,
    /// By decoded names.
    pub query: Edits<Box<str>, Box<str>>,
    /// Before rules see it.
    pub request_headers: Edits<HeaderName, HeaderValue>,
    /// After filters.
    pub response_headers: Edits<HeaderName, HeaderValue>,
    /// `None`: that of the base URL.
    pub host: Option<Authority>,
    /// Both directions bear a `Via` header.
    pub via: bool,
}

/// Changes of pairs, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edits<N, V> {
    /// All occurrences.
    pub remove: Box<[N]>,
    /// From, to.
    pub rename: Box<[(N, N)]>,
    /// In the place of all occurrences.
    pub set: Box<[(N, V)]>,
    /// Behind the others.
    pub add: Box<[(N, V)]>,
}

impl<N, V> Default for Edits<N, V> {
    fn default() -> Self {
        Self { remove: Box::default(), rename: Box::default(), set: Box::default(), add: Box::default() }
    }
}

impl<N, V> Edits<N, V> {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.rename.is_empty() && self.set.is_empty() && self.add.is_empty()
    }
}

impl Rewrite {
    pub(crate) fn read(faults: &mut Violations, wire: fleet::Rewrite) -> Self {
        let host = match wire.host.as_str() {
            "" => None,
            text => match text.parse::<Authority>() {
                Ok(host) if text.len() <= NAME_MAX && !text.contains('@') && is_whole(&host) => Some(host),
                _ => {
                    faults.add("rewrite.host", "is a host, with a port if there is one");
                    None
                }
            },
        };
        Self {
            strip_prefix: prefix(faults, "rewrite.strip_prefix", wire.strip_prefix),
            add_prefix: prefix(faults, "rewrite.add_prefix", wire.add_prefix),
            query: edits(faults, "rewrite.query", wire.query, parameter, text),
            request_headers: edits(faults, "rewrite.request_headers", wire.request_headers, name, value),
            response_headers: edits(faults, "rewrite.response_headers", wire.response_headers, name, value),
            host,
            via: wire.via,
        }
    }
}

/// Whether there is a host, and a port if there is a colon for it.
fn is_whole(host: &Authority) -> bool {
    let name = host.host();
    let port = host.as_str().get(name.len()..).unwrap_or_default();
    !name.is_empty() && (port.is_empty() || host.port_u16().is_some())
}

fn prefix(faults: &mut Violations, field: &str, text: String) -> Box<str> {
    // As rules see a path: no second spelling of a byte, no segment that another server would resolve.
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/".contains(&byte);
    let is_path = text.starts_with('/') && !text.ends_with('/') && !text.contains("//");
    let is_normal = || path::normalise(&text).as_deref() == Ok(&*text);
    let is_one = is_path && text.len() <= PREFIX_MAX && text.bytes().all(is_plain) && is_normal();
    if !text.is_empty() && !is_one {
        faults.add(
            field,
            format!(
                "begins with `/`, does not end with it, has no empty and no dot segments, no escapes, and at most \
                 {PREFIX_MAX} bytes"
            ),
        );
    }
    text.into()
}

/// A name of a header that a proxy can change.
fn name(text: &str) -> Result<HeaderName, String> {
    let name = header::parse(text).map_err(|error| error.to_string())?;
    let why = if name == http::header::HOST {
        "set `rewrite.host`, which requests are sent with"
    } else if name == http::header::AUTHORIZATION {
        "it is for credentials: that of the upstream is put there by itself"
    } else if header::is_identity(&name) {
        "it says who somebody is"
    } else if header::is_framing(&name) {
        "it frames messages or belongs to one connection"
    } else if header::hyphened(&name).starts_with(OURS) {
        "headers that begin so are the node's own"
    } else if text.len() > NAME_MAX {
        return Err(format!("is longer than {NAME_MAX} bytes"));
    } else {
        return Ok(name);
    };
    Err(format!("{text:?} cannot be changed by a proxy: {why}"))
}

fn value(text: &str) -> Result<HeaderValue, String> {
    HeaderValue::from_str(text)
        .ok()
        .filter(|_| text.len() <= VALUE_MAX)
        .ok_or_else(|| format!("is at most {VALUE_MAX} visible ASCII characters and spaces"))
}

fn parameter(text: &str) -> Result<Box<str>, String> {
    // The parameter in which callers present a credential is gone before anything is changed.
    if text.is_empty() || text.len() > NAME_MAX || text.eq_ignore_ascii_case("authorization") {
        return Err(format!("is a name of 1 to {NAME_MAX} bytes, and not `authorization`"));
    }
    Ok(text.into())
}

fn text(text: &str) -> Result<Box<str>, String> {
    if text.len() > VALUE_MAX { Err(format!("is at most {VALUE_MAX} bytes")) } else { Ok(text.into()) }
}

fn edits<N: PartialEq, V>(
    faults: &mut Violations,
    field: &str,
    wire: Option<fleet::PairEdits>,
    name: impl Fn(&str) -> Result<N, String>,
    value: impl Fn(&str) -> Result<V, String>,
) -> Edits<N, V> {
    let wire = wire.unwrap_or_default();
    for (list, count) in [
        ("remove", wire.remove.len()),
        ("rename", wire.rename.len()),
        ("set", wire.set.len()),
        ("add", wire.add.len()),
    ] {
        if count > EDITS_MAX {
            faults.add(format!("{field}.{list}"), format!("has at most {EDITS_MAX}"));
            return Edits::default();
        }
    }
    let mut edits = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (i, text) in wire.remove.iter().enumerate() {
        edits.0.extend(faults.take(format!("{field}.remove[{i}]"), name(text)));
    }
    for (i, rename) in wire.rename.iter().enumerate() {
        let from = faults.take(format!("{field}.rename[{i}].from"), name(&rename.from));
        let to = faults.take(format!("{field}.rename[{i}].to"), name(&rename.to));
        if let (Some(from), Some(to)) = (from, to) {
            if from == to {
                faults.add(format!("{field}.rename[{i}]"), "has one name twice");
            }
            edits.1.push((from, to));
        }
    }
    for (list, pairs, into) in [("set", &wire.set, &mut edits.2), ("add", &wire.add, &mut edits.3)] {
        for (i, pair) in pairs.iter().enumerate() {
            let name = faults.take(format!("{field}.{list}[{i}].name"), name(&pair.name));
            let value = faults.take(format!("{field}.{list}[{i}].value"), value(&pair.value));
            into.extend(name.zip(value));
        }
    }
    let (remove, rename, set, add) = edits;
    Edits { remove: remove.into(), rename: rename.into(), set: set.into(), add: add.into() }
}

#[cfg(test)]
mod tests;
