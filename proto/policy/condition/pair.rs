//! Checks of headers and of query pairs.
//!
//! A header whose name the pattern spells out is looked up; other patterns are tried on every name.

use std::sync::Arc;

use http::{HeaderMap, HeaderName};

use super::super::pace::HeadWork;
use super::super::pattern::Matcher;
use super::super::request::QueryPair;
use super::need::Need;

#[derive(Debug)]
pub(super) struct HeaderLook {
    name: NameLook,
    value: Option<Arc<Matcher>>,
    need: Need,
}

#[derive(Debug)]
enum NameLook {
    Any,
    /// Spelled out. Texts that no header can have as a name are left out.
    Known(Box<[HeaderName]>),
    Pattern(Arc<Matcher>),
}

#[derive(Debug)]
pub(super) struct QueryLook {
    pub(super) name: Option<Arc<Matcher>>,
    pub(super) value: Option<Arc<Matcher>>,
    pub(super) need: Need,
}

impl HeaderLook {
    pub(super) fn new(name: Option<Arc<Matcher>>, value: Option<Arc<Matcher>>, need: Need) -> Self {
        let name = match name {
            None => NameLook::Any,
            Some(matcher) => match matcher.texts() {
                Some(texts) => {
                    let names = texts.iter().filter_map(|text| HeaderName::from_bytes(text).ok());
                    let mut names: Vec<HeaderName> = names.collect();
                    // A pattern with letters of either case stands for each name several times.
                    names.sort_by(|one, other| one.as_str().cmp(other.as_str()));
                    names.dedup();
                    NameLook::Known(names.into())
                }
                None => NameLook::Pattern(matcher),
            },
        };
        Self { name, value, need }
    }

    pub(super) fn is_slow(&self) -> bool {
        matches!(&self.name, NameLook::Pattern(matcher) if matcher.is_regex()) || is_regex(&self.value)
    }

    pub(super) fn holds(&self, headers: &HeaderMap, work: &mut HeadWork) -> bool {
        let is = |value: &http::HeaderValue| has(&self.value, value.as_bytes(), work);
        match &self.name {
            NameLook::Any => self.need.is_met_by(headers.values().map(is)),
            NameLook::Known(names) => {
                self.need.is_met_by(names.iter().flat_map(|name| headers.get_all(name)).map(is))
            }
            NameLook::Pattern(name) => {
                let named = headers.iter().filter_map(|(one, value)| {
                    let named = name.is_in(one.as_str().as_bytes(), work);
                    named.then(|| has(&self.value, value.as_bytes(), work))
                });
                self.need.is_met_by(named)
            }
        }
    }
}

impl QueryLook {
    pub(super) fn is_slow(&self) -> bool {
        is_regex(&self.name) || is_regex(&self.value)
    }

    pub(super) fn holds(&self, query: &[QueryPair<'_>], work: &mut HeadWork) -> bool {
        let named = query.iter().filter_map(|pair| {
            let named = has(&self.name, &pair.name, work);
            named.then(|| has(&self.value, &pair.value, work))
        });
        self.need.is_met_by(named)
    }
}

fn is_regex(matcher: &Option<Arc<Matcher>>) -> bool {
    matcher.as_ref().is_some_and(|matcher| matcher.is_regex())
}

fn has(matcher: &Option<Arc<Matcher>>, text: &[u8], work: &mut HeadWork) -> bool {
    matcher.as_ref().is_none_or(|matcher| matcher.is_in(text, work))
}
