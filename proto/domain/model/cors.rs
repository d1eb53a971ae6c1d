//! Calls from web pages: which pages, and what they can send and read.
//!
//! Answers nothing itself.

use std::time::Duration;

use http::{HeaderName, Method};
use rr_wire::fleet;

use super::header;
use super::invalid::Violations;
use super::origin::Origin;
use super::resilience::span;

const ORIGINS_MAX: usize = 64;
const NAMES_MAX: usize = 64;
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Calls from web pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cors {
    /// Pages of these.
    pub origins: Origins,
    /// At least one.
    pub methods: Box<[Method]>,
    /// What pages can send.
    pub headers: Headers,
    /// What pages can read.
    pub exposed_headers: Box<[HeaderName]>,
    /// Whether pages can send cookies and the like.
    pub credentials: bool,
    /// How long a browser can keep the answer.
    pub max_age: Duration,
}

/// Origins of pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origins {
    /// Any.
    All,
    /// These; at least one.
    Some(Box<[Origin]>),
}

/// Headers that pages can send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Headers {
    /// All but `authorization`, unless it is named here.
    All {
        /// `authorization` too.
        authorization: bool,
    },
    /// These.
    Some(Box<[HeaderName]>),
}

impl Cors {
    pub(crate) fn read(faults: &mut Violations, wire: fleet::Cors) -> Option<Self> {
        let origins = origins(faults, &wire.origins);
        if wire.credentials && origins == Some(Origins::All) {
            faults.add("cors.credentials", "excludes the origin `*`: name the origins of the pages");
        }
        let mut methods = Vec::new();
        for (i, text) in wire.methods.iter().enumerate().take(NAMES_MAX) {
            let is_method = !text.is_empty() && text.bytes().all(|b| b.is_ascii_uppercase() || b == b'-');
            match Method::from_bytes(text.as_bytes()) {
                Ok(method) if is_method => methods.push(method),
                _ => faults.add(format!("cors.methods[{i}]"), "is no method in upper case, like GET"),
            }
        }
        if methods.is_empty() {
            methods.extend([Method::GET, Method::HEAD, Method::POST]);
        }
        for (field, count) in [
            ("cors.methods", wire.methods.len()),
            ("cors.headers", wire.headers.len()),
            ("cors.exposed_headers", wire.exposed_headers.len()),
        ] {
            if count > NAMES_MAX {
                faults.add(field, format!("has at most {NAMES_MAX}"));
            }
        }
        let is_all = wire.headers.iter().any(|text| text == "*");
        let named = wire.headers.iter().filter(|text| *text != "*");
        let headers = names(faults, "cors.headers", named);
        let headers = if is_all {
            Headers::All { authorization: headers.contains(&http::header::AUTHORIZATION) }
        } else {
            Headers::Some(headers)
        };
        let (age, ten_minutes) = (wire.max_age.as_ref(), Duration::from_secs(600));
        Some(Self {
            origins: origins?,
            methods: methods.into(),
            headers,
            exposed_headers: names(faults, "cors.exposed_headers", wire.exposed_headers.iter()),
            credentials: wire.credentials,
            max_age: span(faults, "cors.max_age", age, ten_minutes, Duration::ZERO, DAY),
        })
    }
}

fn origins(faults: &mut Violations, texts: &[String]) -> Option<Origins> {
    if texts.is_empty() || texts.len() > ORIGINS_MAX {
        faults.add("cors.origins", format!("has 1 to {ORIGINS_MAX}"));
        return None;
    }
    if texts.iter().any(|text| text == "*") {
        if texts.len() > 1 {
            faults.add("cors.origins", "`*` is every origin and stands alone");
        }
        return Some(Origins::All);
    }
    let mut origins = Vec::with_capacity(texts.len());
    for (i, text) in texts.iter().enumerate() {
        origins.extend(faults.take(format!("cors.origins[{i}]"), text.parse::<Origin>()));
    }
    Some(Origins::Some(origins.into()))
}

fn names<'a>(
    faults: &mut Violations,
    field: &str,
    texts: impl Iterator<Item = &'a String>,
) -> Box<[HeaderName]> {
    let mut names = Vec::new();
    for (i, text) in texts.enumerate().take(NAMES_MAX) {
        names.extend(faults.take(format!("{field}[{i}]"), header::parse(text)));
    }
    names.into()
}

#[cfg(test)]
mod tests;
