//! Rules and requests written briefly. An empty text stands for a part that is left out.

use rr_domain::model::effect::Effect;
use rr_domain::model::id::{OrgId, ProxyId, RuleId};
use rr_domain::model::pattern::{Flags, Pattern};
use rr_domain::model::request_match::{BodyCheck, PairCheck, PathCheck, RequestMatch};
use rr_domain::model::resource::{Key, ResourceId};
use rr_domain::model::rule::Rule;

use super::super::reference::{Body, Request, Scope};
use super::super::tree::Tree;

pub(super) fn rule_id(n: u8) -> RuleId {
    RuleId::from_random([n; 16])
}

pub(super) fn pattern(regex: &str, flags: &str) -> Pattern {
    Pattern::new(regex, Flags::parse(flags).expect("flags")).expect("a pattern")
}

pub(super) fn rule(effect: Effect, priority: u16, when: RequestMatch) -> Rule {
    let parent = Key::new(OrgId::from_random([1; 16]), ResourceId::Proxy(ProxyId::from_random([1; 16])));
    Rule {
        parent,
        name: "r".parse().expect("a name"),
        effect,
        priority,
        when,
        notes: String::new(),
        observe: false,
    }
}

pub(super) fn allow(when: RequestMatch) -> Rule {
    rule(Effect::Allow, 0, when)
}

pub(super) fn deny(when: RequestMatch) -> Rule {
    rule(Effect::Deny, 0, when)
}

/// Every request.
pub(super) fn always() -> RequestMatch {
    RequestMatch::default()
}

pub(super) fn methods(names: &[&str]) -> RequestMatch {
    RequestMatch { methods: names.iter().map(|name| (*name).to_owned()).collect(), ..always() }
}

pub(super) fn path(regex: &str) -> RequestMatch {
    RequestMatch { path: Some(PathCheck { pattern: pattern(regex, ""), absent: false }), ..always() }
}

pub(super) fn no_path(regex: &str) -> RequestMatch {
    RequestMatch { path: Some(PathCheck { pattern: pattern(regex, ""), absent: true }), ..always() }
}

pub(super) fn header(name: &str, value: &str) -> RequestMatch {
    RequestMatch { headers: vec![pair(name, value, false)], ..always() }
}

pub(super) fn no_header(name: &str, value: &str) -> RequestMatch {
    RequestMatch { headers: vec![pair(name, value, true)], ..always() }
}

pub(super) fn query(name: &str, value: &str) -> RequestMatch {
    RequestMatch { query: vec![pair(name, value, false)], ..always() }
}

pub(super) fn no_query(name: &str, value: &str) -> RequestMatch {
    RequestMatch { query: vec![pair(name, value, true)], ..always() }
}

pub(super) fn body(path: &str, value: &str) -> RequestMatch {
    RequestMatch { body: vec![field(path, value, false)], ..always() }
}

pub(super) fn no_body(path: &str, value: &str) -> RequestMatch {
    RequestMatch { body: vec![field(path, value, true)], ..always() }
}

/// All parts of several.
pub(super) fn all_of(parts: impl IntoIterator<Item = RequestMatch>) -> RequestMatch {
    parts.into_iter().fold(always(), |mut all, part| {
        all.methods.extend(part.methods);
        all.path = all.path.or(part.path);
        all.headers.extend(part.headers);
        all.query.extend(part.query);
        all.body.extend(part.body);
        all
    })
}

fn some(regex: &str) -> Option<Pattern> {
    (!regex.is_empty()).then(|| pattern(regex, ""))
}

fn pair(name: &str, value: &str, absent: bool) -> PairCheck {
    PairCheck { name: some(name), value: some(value), absent }
}

fn field(path: &str, value: &str, absent: bool) -> BodyCheck {
    BodyCheck { path: path.parse().expect("a path"), value: some(value), absent }
}

/// A request whose body is not there.
pub(super) fn get(path: &str) -> Request {
    let (method, path) = ("GET".to_owned(), path.to_owned());
    Request { method, path, query: vec![], headers: vec![], body: Body::Unread }
}

/// A request with a body: empty, JSON, or neither.
pub(super) fn post(path: &str, body: &str) -> Request {
    let json = serde_json::from_str::<serde::de::IgnoredAny>(body).is_ok();
    let body = match body {
        "" => Body::Empty,
        body if json => Body::Json(Tree::read(body)),
        _ => Body::Broken,
    };
    Request { method: "POST".to_owned(), body, ..get(path) }
}

pub(super) fn with_headers(headers: &[(&str, &str)]) -> Request {
    Request { headers: owned(headers), ..get("/") }
}

pub(super) fn with_query(query: &[(&str, &str)]) -> Request {
    Request { query: owned(query), ..get("/") }
}

fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Rules in one scope, numbered from 1; the others pass everything.
pub(super) fn in_scope(at: usize, rules: &[Rule], default: Effect) -> [Scope; 4] {
    let nothing = || Scope { rules: Vec::new(), default: Effect::Allow, observe: false };
    let mut scopes = std::array::from_fn(|_| nothing());
    scopes[at] = Scope { rules: numbered(rules), default, observe: false };
    scopes
}

pub(super) fn numbered(rules: &[Rule]) -> Vec<(RuleId, Rule)> {
    rules.iter().enumerate().map(|(n, rule)| (rule_id(n as u8 + 1), rule.clone())).collect()
}
