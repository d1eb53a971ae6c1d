//! The rules once more, slow and plain: every pattern is a regular expression, every rule is looked at by itself,
//! every occurrence is gathered before it is counted, and a document is a tree of values in which nothing is
//! dropped.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::HashMap;

use regex::{Regex, RegexBuilder};

use rr_domain::model::effect::Effect;
use rr_domain::model::id::RuleId;
use rr_domain::model::json_path::Step;
use rr_domain::model::pattern::Pattern;
use rr_domain::model::request_match::PairCheck;
use rr_domain::model::rule::Rule;

use super::tree::Tree;

/// What rules see of a path as it came; `None` where it has no single meaning.
pub(super) fn path(raw: &str) -> Option<String> {
    let mut segments: Vec<Vec<u8>> = Vec::new();
    let mut ends_open = false;
    for segment in raw.split('/') {
        let dots = segment.replace("%2e", ".").replace("%2E", ".").replace("%3b", ";").replace("%3B", ";");
        let bytes = unescaped(segment.as_bytes(), true)?;
        if bytes.iter().any(|byte| b"/\\\0".contains(byte))
            || dots.starts_with(".;")
            || dots.starts_with("..;")
        {
            return None;
        }
        ends_open = true;
        match &*bytes {
            b"" | b"." => {}
            b".." => drop(segments.pop()),
            _ => {
                segments.push(bytes);
                ends_open = false;
            }
        }
    }
    let mut out = String::new();
    for segment in &segments {
        out.push('/');
        for byte in segment {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => out.push(char::from(*byte)),
                byte if b"-._~!$&'()*+,;=:@".contains(byte) => out.push(char::from(*byte)),
                byte => out.push_str(&format!("%{byte:02X}")),
            }
        }
    }
    if ends_open || out.is_empty() {
        out.push('/');
    }
    Some(out)
}

/// The pairs of a query as it came.
pub(super) fn pairs(raw: &str) -> Vec<(String, String)> {
    let form = |text: &str| {
        let bytes = unescaped(text.replace('+', " ").as_bytes(), false).expect("takes anything");
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let pairs = raw.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).map(|(n, v)| (form(n), form(v))).collect()
}

fn unescaped(bytes: &[u8], strictly: bool) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut i = 0;
    while i < bytes.len() {
        let digits = bytes.get(i + 1..i + 3).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        match (bytes[i], digits) {
            (b'%', Some(digits)) => {
                let digits = std::str::from_utf8(digits).expect("ASCII");
                out.push(u8::from_str_radix(digits, 16).expect("two digits"));
                i += 3;
            }
            (b'%', None) if strictly => return None,
            (byte, _) => {
                out.push(byte);
                i += 1;
            }
        }
    }
    Some(out)
}

#[derive(Debug, Clone)]
pub(super) enum Body {
    Unread,
    Empty,
    Json(Tree),
    Broken,
}

#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) query: Vec<(String, String)>,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Body,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    Allow(Option<(usize, RuleId)>),
    Deny(usize, Option<RuleId>),
    NeedsBody,
    Unreadable,
}

#[derive(Debug, Clone)]
pub(super) struct Scope {
    pub(super) rules: Vec<(RuleId, Rule)>,
    pub(super) default: Effect,
    pub(super) observe: bool,
}

/// By the rules and defaults that enforce.
pub(super) fn verdict(scopes: &[Scope; 4], request: &Request) -> Said {
    let enforced = scopes.each_ref().map(|scope| match scope.observe {
        true => Scope { rules: Vec::new(), default: Effect::Allow, observe: false },
        false => Scope {
            rules: scope.rules.iter().filter(|(_, rule)| !rule.observe).cloned().collect(),
            ..scope.clone()
        },
    });
    decide(&enforced, request)
}

/// By all of them; `None` where nothing observes.
pub(super) fn observed(scopes: &[Scope; 4], request: &Request) -> Option<Said> {
    let observes = |scope: &Scope| scope.observe || scope.rules.iter().any(|(_, rule)| rule.observe);
    scopes.iter().any(observes).then(|| match decide(scopes, request) {
        Said::NeedsBody => Said::Unreadable,
        said => said,
    })
}

fn decide(scopes: &[Scope; 4], request: &Request) -> Said {
    // Without the body.
    let mut open = [false; 4];
    for (at, scope) in scopes.iter().enumerate() {
        let by_head = |effect| reported(scope, effect, |rule| !reads(rule) && head(rule, request));
        let by_body = |effect| reported(scope, effect, |rule| reads(rule) && head(rule, request)).is_some();
        if let Some(id) = by_head(Effect::Deny) {
            return Said::Deny(at, Some(id));
        }
        let undecided = by_head(Effect::Allow).is_none() && scope.default == Effect::Deny;
        if by_body(Effect::Deny) || (undecided && by_body(Effect::Allow)) {
            open[at] = true;
        } else if undecided {
            return Said::Deny(at, None);
        }
    }
    let documents: Vec<Option<&Tree>> = match &request.body {
        Body::Unread if open.contains(&true) => return Said::NeedsBody,
        Body::Broken if open.contains(&true) => return Said::Unreadable,
        Body::Unread | Body::Broken | Body::Empty => vec![None],
        Body::Json(Tree::Array(elements)) if elements.is_empty() => vec![None],
        Body::Json(Tree::Array(elements)) => elements.iter().map(Some).collect(),
        Body::Json(tree) => vec![Some(tree)],
    };
    // With it: of each document any deny, else any allow, else the default.
    let mut by = None;
    for (at, scope) in scopes.iter().enumerate() {
        let anywhere = |effect| {
            reported(scope, effect, |rule| {
                head(rule, request) && documents.iter().any(|document| body(rule, *document))
            })
        };
        if open[at] {
            if let Some(id) = anywhere(Effect::Deny) {
                return Said::Deny(at, Some(id));
            }
            let allowed = |document: &Option<&Tree>| {
                let allows = |rule: &Rule| head(rule, request) && body(rule, *document);
                reported(scope, Effect::Allow, allows).is_some()
            };
            if scope.default == Effect::Deny && !documents.iter().all(allowed) {
                return Said::Deny(at, None);
            }
        }
        // Those that need no body are reported before those that do.
        let id = reported(scope, Effect::Allow, |rule| !reads(rule) && head(rule, request));
        let id = id.or_else(|| if open[at] { anywhere(Effect::Allow) } else { None });
        by = by.or(id.map(|id| (at, id)));
    }
    Said::Allow(by)
}

/// Whether a rule matches, of some document where it looks at one.
pub(super) fn matches(rule: &Rule, request: &Request) -> bool {
    head(rule, request)
        && match &request.body {
            _ if !reads(rule) => true,
            Body::Unread | Body::Broken => false,
            Body::Json(Tree::Array(elements)) if !elements.is_empty() => {
                elements.iter().any(|element| body(rule, Some(element)))
            }
            Body::Json(tree @ (Tree::Object(_) | Tree::Text(_) | Tree::Plain(_))) => body(rule, Some(tree)),
            Body::Empty | Body::Json(Tree::Array(_)) => body(rule, None),
        }
}

fn reported(scope: &Scope, effect: Effect, is: impl Fn(&Rule) -> bool) -> Option<RuleId> {
    let found = scope.rules.iter().filter(|(_, rule)| rule.effect == effect && is(rule));
    found.min_by_key(|(id, rule)| (Reverse(rule.priority), *id)).map(|(id, _)| *id)
}

fn reads(rule: &Rule) -> bool {
    !rule.when.body.is_empty()
}

/// Whether a check holds, by all occurrences whose name or path matches.
fn holds(effect: Effect, absent: bool, occurrences: &[bool]) -> bool {
    let any = occurrences.contains(&true);
    let all = !occurrences.is_empty() && !occurrences.contains(&false);
    match (effect, absent) {
        (Effect::Deny, false) => any,
        (Effect::Deny, true) => !all,
        (Effect::Allow, false) => all,
        (Effect::Allow, true) => !any,
    }
}

fn body(rule: &Rule, document: Option<&Tree>) -> bool {
    rule.when.body.iter().all(|check| {
        let mut values = Vec::new();
        if let Some(tree) = document {
            at(tree, check.path.steps(), &mut values);
        }
        let is = |tree: &&Tree| match (&check.value, tree) {
            (None, _) => true,
            (Some(pattern), Tree::Text(text) | Tree::Plain(text)) => has(pattern, text, false),
            (Some(_), Tree::Object(_) | Tree::Array(_)) => false,
        };
        holds(rule.effect, check.absent, &values.iter().map(is).collect::<Vec<bool>>())
    })
}

fn head(rule: &Rule, request: &Request) -> bool {
    let when = &rule.when;
    let pair = |check: &PairCheck, pairs: &[(String, String)], fold: bool| {
        let named = pairs
            .iter()
            .filter(|(name, _)| check.name.as_ref().is_none_or(|pattern| has(pattern, name, fold)));
        let values = named
            .map(|(_, value)| check.value.as_ref().is_none_or(|pattern| has(pattern, value, false)))
            .collect::<Vec<bool>>();
        holds(rule.effect, check.absent, &values)
    };
    (when.methods.is_empty() || when.methods.contains(&request.method))
        && when.path.as_ref().is_none_or(|path| has(&path.pattern, &request.path, false) != path.absent)
        && when.headers.iter().all(|check| pair(check, &request.headers, true))
        && when.query.iter().all(|check| pair(check, &request.query, false))
}

fn has(pattern: &Pattern, text: &str, fold: bool) -> bool {
    thread_local! {
        // Only so that a million requests do not take a day.
        static COMPILED: RefCell<HashMap<(Pattern, bool), Regex>> = RefCell::default();
    }
    COMPILED.with_borrow_mut(|compiled| {
        let regex = compiled.entry((pattern.clone(), fold)).or_insert_with(|| {
            RegexBuilder::new(pattern.regex())
                .case_insensitive(fold || pattern.flags().ignore_case)
                .multi_line(pattern.flags().multi_line)
                .dot_matches_new_line(pattern.flags().dot_all)
                .build()
                .expect("compiles")
        });
        regex.is_match(text)
    })
}

/// All values at a path.
fn at<'t>(tree: &'t Tree, steps: &[Step], found: &mut Vec<&'t Tree>) {
    let Some((step, rest)) = steps.split_first() else {
        found.push(tree);
        return;
    };
    match (tree, step) {
        (Tree::Object(members), Step::Any) => members.iter().for_each(|(_, tree)| at(tree, rest, found)),
        (Tree::Object(members), Step::Key(key)) => {
            let named = members.iter().filter(|(name, _)| name.eq_ignore_ascii_case(key));
            named.for_each(|(_, tree)| at(tree, rest, found));
        }
        (Tree::Array(elements), Step::Any) => elements.iter().for_each(|tree| at(tree, rest, found)),
        _ => {}
    }
}
