//! The rules once more, slow and plain: every pattern is a regular expression compiled on the spot, every rule
//! is looked at by itself, and a document is a tree of values in which nothing is dropped.

use regex::RegexBuilder;

use rr_domain::model::effect::Effect;
use rr_domain::model::id::RuleId;
use rr_domain::model::json_path::Step;
use rr_domain::model::pattern::Pattern;
use rr_domain::model::request_match::{PairCheck, RequestMatch};
use rr_domain::model::rule::Rule;

/// A document with its duplicates.
#[derive(Debug, Clone)]
pub(super) enum Tree {
    Object(Vec<(String, Tree)>),
    Array(Vec<Tree>),
    Text(String),
    /// As it is written: numbers, `true`, `false` and `null`.
    Plain(String),
}

#[derive(Debug, Clone)]
pub(super) enum Body {
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

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    Allow,
    Deny(usize, Option<RuleId>),
    Unreadable,
}

pub(super) type Scope<'r> = (&'r [(RuleId, Rule)], Effect);

pub(super) fn decide(scopes: &[Scope<'_>; 4], request: &Request) -> Said {
    // Without the body.
    let mut open = false;
    for (at, (rules, default)) in scopes.iter().enumerate() {
        let by_head = |effect| reported(rules, effect, |rule| !reads(rule) && head(&rule.when, request));
        let by_body =
            |effect| reported(rules, effect, |rule| reads(rule) && head(&rule.when, request)).is_some();
        if let Some(id) = by_head(Effect::Deny) {
            return Said::Deny(at, Some(id));
        }
        let undecided = by_head(Effect::Allow).is_none() && *default == Effect::Deny;
        if by_body(Effect::Deny) || (undecided && by_body(Effect::Allow)) {
            open = true;
        } else if undecided {
            return Said::Deny(at, None);
        }
    }
    if open && matches!(request.body, Body::Broken) {
        return Said::Unreadable;
    }
    // With it: any deny, else any allow, else the default.
    for (at, (rules, default)) in scopes.iter().enumerate() {
        let by = |effect| reported(rules, effect, |rule| matches(&rule.when, request));
        if let Some(id) = by(Effect::Deny) {
            return Said::Deny(at, Some(id));
        }
        if by(Effect::Allow).is_none() && *default == Effect::Deny {
            return Said::Deny(at, None);
        }
    }
    Said::Allow
}

fn reported(rules: &[(RuleId, Rule)], effect: Effect, is: impl Fn(&Rule) -> bool) -> Option<RuleId> {
    let found = rules.iter().filter(|(_, rule)| rule.effect == effect && is(rule));
    found.min_by_key(|(id, rule)| (std::cmp::Reverse(rule.priority), *id)).map(|(id, _)| *id)
}

fn reads(rule: &Rule) -> bool {
    !rule.when.body.is_empty()
}

fn matches(when: &RequestMatch, request: &Request) -> bool {
    head(when, request)
        && when.body.iter().all(|check| {
            let mut values = Vec::new();
            if let Body::Json(tree) = &request.body {
                at(tree, check.path.steps(), &mut values);
            }
            let found = values.iter().any(|tree| match (&check.value, tree) {
                (None, _) => true,
                (Some(pattern), Tree::Text(text) | Tree::Plain(text)) => has(pattern, text, false),
                (Some(_), Tree::Object(_) | Tree::Array(_)) => false,
            });
            found != check.absent
        })
}

fn head(when: &RequestMatch, request: &Request) -> bool {
    let pair = |check: &PairCheck, pairs: &[(String, String)], fold: bool| {
        let found = pairs.iter().any(|(name, value)| {
            check.name.as_ref().is_none_or(|pattern| has(pattern, name, fold))
                && check.value.as_ref().is_none_or(|pattern| has(pattern, value, false))
        });
        found != check.absent
    };
    (when.methods.is_empty() || when.methods.contains(&request.method))
        && when.path.as_ref().is_none_or(|path| has(&path.pattern, &request.path, false) != path.absent)
        && when.headers.iter().all(|check| pair(check, &request.headers, true))
        && when.query.iter().all(|check| pair(check, &request.query, false))
}

fn has(pattern: &Pattern, text: &str, fold: bool) -> bool {
    RegexBuilder::new(pattern.regex())
        .case_insensitive(fold || pattern.flags().ignore_case)
        .multi_line(pattern.flags().multi_line)
        .dot_matches_new_line(pattern.flags().dot_all)
        .build()
        .expect("compiles")
        .is_match(text)
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
            members.iter().filter(|(name, _)| **name == **key).for_each(|(_, tree)| at(tree, rest, found));
        }
        (Tree::Array(elements), Step::Any) => elements.iter().for_each(|tree| at(tree, rest, found)),
        _ => {}
    }
}

impl Tree {
    pub(super) fn write(&self, out: &mut String) {
        match self {
            Self::Object(members) => {
                out.push('{');
                for (i, (name, tree)) in members.iter().enumerate() {
                    out.push_str(if i > 0 { ", " } else { "" });
                    // Every other key escaped, which changes nothing.
                    if i % 2 == 1 {
                        out.push('"');
                        name.chars().for_each(|c| out.push_str(&format!("\\u{:04x}", u32::from(c))));
                        out.push('"');
                    } else {
                        out.push_str(&format!("{name:?}"));
                    }
                    out.push_str(": ");
                    tree.write(out);
                }
                out.push('}');
            }
            Self::Array(elements) => {
                out.push('[');
                for (i, tree) in elements.iter().enumerate() {
                    out.push_str(if i > 0 { "," } else { "" });
                    tree.write(out);
                }
                out.push(']');
            }
            Self::Text(text) => out.push_str(&format!("{text:?}")),
            Self::Plain(text) => out.push_str(text),
        }
    }
}
