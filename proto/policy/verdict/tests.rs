//! The verdict, beside a slow and obvious one.

use std::cell::RefCell;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;

use rr_domain::model::effect::Effect;
use rr_domain::model::id::RuleId;
use rr_domain::model::pattern::Pattern;
use rr_domain::model::request_match::{BodyCheck, PairCheck, PathCheck, RequestMatch};
use rr_domain::model::rule::Rule;

use self::write::{all_of, in_scope, pattern, rule, rule_id};
use super::super::pattern::{Matcher, Patterns};
use super::super::request::QueryPair;
use super::reference::{self, Body, Request, Said, Scope};
use super::tree::Tree;
use super::{CompiledRule, Observed, RequestBody, RequestView, ScopeRules, Scopes, Verdict};

mod examples;
mod fuzz;
mod observing;
mod pace;
mod sentences;
mod write;

/// The verdict, what is observed, and the rules that matched.
fn asked(scopes: &[Scope; 4], request: &Request) -> (Said, Option<Said>, Vec<RuleId>) {
    let mut headers = HeaderMap::new();
    for (name, value) in &request.headers {
        let name: HeaderName = name.parse().expect("a name");
        headers.append(name, HeaderValue::from_str(value).expect("a value"));
    }
    let query: Vec<QueryPair<'_>> = request
        .query
        .iter()
        .map(|(name, value)| QueryPair { name: name.as_bytes().into(), value: value.as_bytes().into() })
        .collect();
    let body = bytes(&request.body);
    let view = RequestView {
        method: &request.method,
        path: &request.path,
        query: &query,
        headers: &headers,
        body: body.as_deref().map_or(RequestBody::Unread, RequestBody::Read),
    };
    answer(&compiled(scopes), &view)
}

fn compiled(scopes: &[Scope; 4]) -> [ScopeRules; 4] {
    thread_local! {
        // Few patterns in many scopes: each is compiled once for all of them.
        static KEPT: RefCell<(Patterns, Vec<Arc<Matcher>>)> = RefCell::default();
    }
    KEPT.with_borrow_mut(|(patterns, kept)| {
        scopes.each_ref().map(|scope| {
            for (_, rule) in &scope.rules {
                kept.extend(
                    rule.when.path.iter().map(|path| patterns.matcher(&path.pattern).expect("compiles")),
                );
                for check in rule.when.headers.iter().chain(&rule.when.query) {
                    kept.extend(check.value.iter().map(|value| patterns.matcher(value).expect("compiles")));
                    kept.extend(check.name.iter().map(|name| patterns.matcher(name).expect("compiles")));
                    kept.extend(check.name.iter().map(|name| patterns.header_name(name).expect("compiles")));
                }
            }
            kept.sort_by_key(Arc::as_ptr);
            kept.dedup_by(|one, other| Arc::ptr_eq(one, other));
            let rules = scope.rules.iter().map(|(id, rule)| (*id, rule));
            ScopeRules::compile(rules, scope.default, patterns, scope.observe).expect("compiles")
        })
    })
}

fn answer(scopes: &[ScopeRules; 4], view: &RequestView<'_>) -> (Said, Option<Said>, Vec<RuleId>) {
    let [caller, upstream, proxy, target] = scopes;
    let decision = Scopes { caller, upstream, proxy, target }.decide(view);
    let by_id = |by: Option<(super::Scope, &CompiledRule)>| by.map(|(scope, rule)| (scope as usize, rule.id));
    let verdict = match decision.verdict {
        Verdict::Allow { by } => Said::Allow(by_id(by)),
        Verdict::Deny { scope, by } => Said::Deny(scope as usize, by.map(|rule| rule.id)),
        Verdict::Unreadable(_) => Said::Unreadable,
        Verdict::NeedsBody => Said::NeedsBody,
    };
    let observed = decision.observed.map(|observed| match observed {
        Observed::Allow { by } => Said::Allow(by_id(by)),
        Observed::Deny { scope, by } => Said::Deny(scope as usize, by.map(|rule| rule.id)),
        Observed::Unreadable => Said::Unreadable,
    });
    (verdict, observed, decision.matched.iter().map(|rule| rule.id).collect())
}

fn said(scopes: &[Scope; 4], request: &Request) -> Said {
    asked(scopes, request).0
}

fn bytes(body: &Body) -> Option<Vec<u8>> {
    match body {
        Body::Unread => None,
        Body::Empty => Some(Vec::new()),
        Body::Broken => Some(b"{\"a\":".to_vec()),
        Body::Json(tree) => {
            let mut text = String::new();
            tree.write(&mut text);
            Some(text.into_bytes())
        }
    }
}

fn any_pattern() -> impl Strategy<Value = Pattern> {
    let regex = prop_oneof![
        Just("^/a/"),
        Just("^/a/b$"),
        Just("^/(a|b)/"),
        Just("a"),
        Just("^A$"),
        Just("b$"),
        Just("a|bb|1"),
        Just("^[ab]+$"),
        Just("\\d"),
        Just("^.$"),
        Just("true|null"),
        Just("X-"),
        Just("[ab]+/[ab]"),
        Just("^/[^/]$"),
        Just("/\\w+$"),
        Just("(a|b)+1"),
        Just("^/.*b"),
        Just("\\ba\\b"),
    ];
    (regex, prop_oneof![4 => Just(""), 1 => Just("i"), 1 => Just("gms")])
        .prop_map(|(regex, flags)| pattern(regex, flags))
}

fn any_pair() -> impl Strategy<Value = PairCheck> {
    let named = prop_oneof![Just("^a$"), Just("^b$")].prop_map(|regex| pattern(regex, ""));
    let name = prop_oneof![1 => Just(None), 2 => named.prop_map(Some), 2 => any_pattern().prop_map(Some)];
    (name, any_pattern(), prop::option::of(any_pattern()), any::<bool>()).prop_map(
        |(name, value, other, absent)| PairCheck {
            value: if name.is_none() { Some(value) } else { other },
            name,
            absent,
        },
    )
}

fn any_body_check() -> impl Strategy<Value = BodyCheck> {
    let path =
        prop_oneof![3 => Just("a"), 1 => Just("a.b"), 1 => Just("*"), 1 => Just("a[*].b"), 1 => Just("b")];
    (path, prop::option::weighted(0.7, any_pattern()), any::<bool>())
        .prop_map(|(path, value, absent)| BodyCheck { path: path.parse().expect("a path"), value, absent })
}

/// Of one or two parts, so that it often matches.
fn any_rule() -> impl Strategy<Value = Rule> {
    let part = prop_oneof![
        1 => prop_oneof![Just(vec!["GET"]), Just(vec!["POST", "PURGE"])].prop_map(|names| RequestMatch {
            methods: names.into_iter().map(str::to_owned).collect(),
            ..RequestMatch::default()
        }),
        2 => (any_pattern(), any::<bool>()).prop_map(|(pattern, absent)| RequestMatch {
            path: Some(PathCheck { pattern, absent }),
            ..RequestMatch::default()
        }),
        2 => any_pair().prop_map(|pair| RequestMatch { headers: vec![pair], ..RequestMatch::default() }),
        2 => any_pair().prop_map(|pair| RequestMatch { query: vec![pair], ..RequestMatch::default() }),
        4 => any_body_check().prop_map(|check| RequestMatch { body: vec![check], ..RequestMatch::default() }),
    ];
    let parts = prop::collection::vec(part, 1..3);
    let effect = prop_oneof![Just(Effect::Allow), Just(Effect::Deny)];
    (effect, 0..3_u16, parts, prop::bool::weighted(0.2)).prop_map(|(effect, priority, parts, observe)| Rule {
        observe,
        ..rule(effect, priority, all_of(parts))
    })
}

fn any_scope() -> impl Strategy<Value = Scope> {
    let default = prop_oneof![2 => Just(Effect::Allow), 1 => Just(Effect::Deny)];
    let observe = prop::bool::weighted(0.1);
    // Sometimes so many that their patterns are a set.
    let size = prop_oneof![6 => 0..3_usize, 1 => 16..24_usize];
    let rules = size.prop_flat_map(|size| prop::collection::vec(any_rule(), size));
    (rules, default, observe).prop_map(|(rules, default, observe)| {
        let rules = rules.into_iter().enumerate().map(|(n, rule)| (rule_id(n as u8), rule));
        Scope { rules: rules.collect(), default, observe }
    })
}

fn any_tree() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        "[ab]{0,2}".prop_map(Tree::Text),
        prop_oneof![Just("1"), Just("-0.10"), Just("2e3"), Just("true"), Just("null")]
            .prop_map(|text| Tree::Plain(text.to_owned())),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Tree::Array),
            prop::collection::vec(
                (prop::sample::select(vec!["a", "b", "A"]).prop_map(str::to_owned), inner),
                0..4
            )
            .prop_map(Tree::Object),
        ]
    })
}

fn any_request() -> impl Strategy<Value = Request> {
    let pairs = |names: [&'static str; 3]| {
        let name = prop::sample::select(names.to_vec()).prop_map(str::to_owned);
        prop::collection::vec((name, "[ab1]"), 0..4)
    };
    (
        prop::sample::select(vec!["GET", "POST", "PURGE", "PUT"]).prop_map(str::to_owned),
        "/[ab]{0,1}/?[ab1]{0,1}",
        pairs(["a", "A", "b"]),
        pairs(["a", "x-a", "b"]),
        prop_oneof![
            1 => Just(Body::Unread),
            1 => Just(Body::Empty),
            1 => Just(Body::Broken),
            6 => any_tree().prop_map(Body::Json),
        ],
    )
        .prop_map(|(method, path, query, headers, body)| Request { method, path, query, headers, body })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn verdict_and_reported_rule_are_those_of_the_slow_reference(
        scopes in [any_scope(), any_scope(), any_scope(), any_scope()],
        request in any_request(),
    ) {
        let (verdict, observed, matched) = asked(&scopes, &request);
        prop_assert_eq!(verdict, reference::verdict(&scopes, &request));
        prop_assert_eq!(observed, reference::observed(&scopes, &request));
        for id in matched {
            let rules = scopes.iter().flat_map(|scope| &scope.rules).filter(|(one, _)| *one == id);
            prop_assert!(rules.into_iter().any(|(_, rule)| reference::matches(rule, &request)), "{:?}", id);
        }
        // What is said without the body is said with it.
        let early = said(&scopes, &Request { body: Body::Unread, ..request });
        prop_assert!(early == Said::NeedsBody || early == verdict || verdict == Said::NeedsBody);
    }

    #[test]
    fn the_order_of_rules_changes_nothing(
        scopes in [any_scope(), any_scope(), any_scope(), any_scope()],
        request in any_request(),
        turn in 0..4_usize,
    ) {
        let before = asked(&scopes, &request);
        let turned = scopes.map(|mut scope| {
            scope.rules.reverse();
            let by = turn % scope.rules.len().max(1);
            scope.rules.rotate_left(by);
            scope
        });
        prop_assert_eq!(asked(&turned, &request), before);
    }

    #[test]
    fn priorities_change_the_rule_that_is_reported_and_never_the_verdict(
        scope in any_scope(),
        request in any_request(),
        priorities in prop::collection::vec(0..1000_u16, 4),
    ) {
        let verdict = |rules: Vec<(RuleId, Rule)>| {
            let mut scopes = in_scope(0, &[], scope.default);
            scopes[0].rules = rules;
            std::mem::discriminant(&said(&scopes, &request))
        };
        let before = verdict(scope.rules.clone());
        let mut rules = scope.rules;
        for ((_, rule), priority) in rules.iter_mut().zip(priorities) {
            rule.priority = priority;
        }
        prop_assert_eq!(verdict(rules), before);
    }

    #[test]
    fn what_only_observes_never_changes_the_verdict(
        scopes in [any_scope(), any_scope(), any_scope(), any_scope()],
        request in any_request(),
    ) {
        let without = scopes.each_ref().map(|scope| match scope.observe {
            true => Scope { rules: Vec::new(), default: Effect::Allow, observe: false },
            false => {
                let mut scope = scope.clone();
                scope.rules.retain(|(_, rule)| !rule.observe);
                scope
            }
        });
        prop_assert_eq!(said(&scopes, &request), said(&without, &request));
    }
}
