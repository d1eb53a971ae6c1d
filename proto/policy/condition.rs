//! Which requests a rule or a meter is about, compiled.
//!
//! The head is looked at first, cheap checks before regular expressions; the body only when all of the head
//! matches. Looking at a head allocates nothing.

use std::sync::Arc;

use http::HeaderMap;

use rr_domain::model::request_match::{BodyCheck, PairCheck, RequestMatch};

use super::json::{JsonError, Value};
use super::path::{self, Paths};
use super::pattern::{Matcher, Patterns, Uncompilable};
use super::request::{QueryPair, RequestView};

/// A compiled condition.
#[derive(Debug)]
pub struct Condition {
    methods: Methods,
    /// Cheap ones first.
    head: Box<[HeadCheck]>,
    body: Box<[BodyLook]>,
}

#[derive(Debug)]
struct HeadCheck {
    what: What,
    absent: bool,
}

#[derive(Debug)]
enum What {
    Path(Arc<Matcher>),
    Header(Pair),
    Query(Pair),
}

#[derive(Debug)]
struct Pair {
    name: Option<Arc<Matcher>>,
    value: Option<Arc<Matcher>>,
}

#[derive(Debug)]
struct BodyLook {
    check: BodyCheck,
    value: Option<Arc<Matcher>>,
}

/// Methods as bits; those that have none are listed.
#[derive(Debug)]
struct Methods {
    bits: u16,
    others: Box<[Box<str>]>,
}

const KNOWN: [&str; 9] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "CONNECT", "TRACE"];

impl Condition {
    /// Compiles a condition.
    pub fn compile(when: &RequestMatch, patterns: &mut Patterns) -> Result<Self, Uncompilable> {
        let mut head = Vec::with_capacity(when.headers.len() + when.query.len() + 1);
        if let Some(path) = &when.path {
            head.push(HeadCheck { what: What::Path(patterns.matcher(&path.pattern)?), absent: path.absent });
        }
        for check in &when.headers {
            let name = check.name.as_ref().map(|name| patterns.header_name(name)).transpose()?;
            head.push(HeadCheck {
                what: What::Header(Pair { name, value: value(check, patterns)? }),
                absent: check.absent,
            });
        }
        for check in &when.query {
            let name = check.name.as_ref().map(|name| patterns.matcher(name)).transpose()?;
            head.push(HeadCheck {
                what: What::Query(Pair { name, value: value(check, patterns)? }),
                absent: check.absent,
            });
        }
        head.sort_by_key(HeadCheck::cost);
        let body = when.body.iter().map(|check| {
            let value = check.value.as_ref().map(|value| patterns.matcher(value)).transpose()?;
            Ok(BodyLook { check: check.clone(), value })
        });
        Ok(Self {
            methods: Methods::new(&when.methods),
            head: head.into(),
            body: body.collect::<Result<_, Uncompilable>>()?,
        })
    }

    /// Whether everything but the body matches.
    pub fn matches_head(&self, request: &RequestView<'_>) -> bool {
        self.methods.has(request.method) && self.head.iter().all(|check| check.holds(request))
    }

    /// Whether it can depend on the body.
    pub fn reads_body(&self) -> bool {
        !self.body.is_empty()
    }

    /// Whether it depends on the query.
    pub fn reads_query(&self) -> bool {
        self.head.iter().any(|check| matches!(check.what, What::Query(_)))
    }

    pub(super) fn looks(&self) -> usize {
        self.body.len()
    }

    /// Whether the body matches, by what was found of its looks.
    pub(super) fn matches_body(&self, found: &[bool]) -> bool {
        self.body.iter().zip(found).all(|(look, found)| *found != look.check.absent)
    }
}

fn value(check: &PairCheck, patterns: &mut Patterns) -> Result<Option<Arc<Matcher>>, Uncompilable> {
    check.value.as_ref().map(|value| patterns.matcher(value)).transpose()
}

impl HeadCheck {
    /// For an order in which what is quick and decides often comes first.
    fn cost(&self) -> (bool, u8) {
        let slow =
            |pair: &Pair| [&pair.name, &pair.value].into_iter().flatten().any(|matcher| matcher.is_regex());
        match &self.what {
            What::Path(matcher) => (matcher.is_regex(), 0),
            What::Header(pair) => (slow(pair), 1),
            What::Query(pair) => (slow(pair), 2),
        }
    }

    fn holds(&self, request: &RequestView<'_>) -> bool {
        let found = match &self.what {
            What::Path(matcher) => matcher.is_match(request.path.as_bytes()),
            What::Header(pair) => pair.is_in_headers(request.headers),
            What::Query(pair) => pair.is_in_query(request.query),
        };
        found != self.absent
    }
}

impl Pair {
    fn is_in_headers(&self, headers: &HeaderMap) -> bool {
        headers.iter().any(|(name, value)| self.is(name.as_str().as_bytes(), value.as_bytes()))
    }

    fn is_in_query(&self, query: &[QueryPair<'_>]) -> bool {
        query.iter().any(|pair| self.is(&pair.name, &pair.value))
    }

    fn is(&self, name: &[u8], value: &[u8]) -> bool {
        self.name.as_ref().is_none_or(|matcher| matcher.is_match(name))
            && self.value.as_ref().is_none_or(|matcher| matcher.is_match(value))
    }
}

impl Methods {
    fn new(names: &[String]) -> Self {
        if names.is_empty() {
            return Self { bits: u16::MAX, others: Box::default() };
        }
        let bits = names.iter().filter_map(|name| bit(name)).fold(0, |bits, bit| bits | bit);
        let others = names.iter().filter(|name| bit(name).is_none());
        Self { bits, others: others.map(|name| name.as_str().into()).collect() }
    }

    fn has(&self, name: &str) -> bool {
        match bit(name) {
            Some(bit) => self.bits & bit != 0,
            None => self.bits == u16::MAX || self.others.iter().any(|other| **other == *name),
        }
    }
}

fn bit(name: &str) -> Option<u16> {
    KNOWN.iter().position(|known| *known == name).map(|at| 1 << at)
}

/// What several conditions look for in a body, found in one pass.
#[derive(Debug, Default)]
pub(super) struct BodyIndex {
    paths: Paths,
    values: Box<[Option<Arc<Matcher>>]>,
}

impl BodyIndex {
    /// Numbers the looks of the conditions in their order.
    pub(super) fn new<'c>(conditions: impl Iterator<Item = &'c Condition> + Clone) -> Self {
        let looks = conditions.flat_map(|condition| &condition.body);
        Self {
            paths: Paths::new(looks.clone().map(|look| &look.check.path)),
            values: looks.map(|look| look.value.clone()).collect(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// Which of the wanted looks find something.
    pub(super) fn look(&self, body: &[u8], wanted: &[bool]) -> Result<Vec<bool>, JsonError> {
        let mut found = vec![false; self.len()];
        if body.is_empty() {
            return Ok(found);
        }
        path::find(body, &self.paths, &mut |number, value| {
            let number = number as usize;
            if !wanted[number] || found[number] {
                return;
            }
            found[number] = match (&self.values[number], value) {
                (None, _) => true,
                (Some(_), Value::Object | Value::Array) => false,
                (Some(matcher), Value::Text(text)) => matcher.is_match(text.unescaped().as_bytes()),
                (Some(matcher), Value::Number(raw)) => matcher.is_match(raw.as_bytes()),
                (Some(matcher), Value::Word(word)) => matcher.is_match(word.as_bytes()),
            };
        })?;
        Ok(found)
    }
}
