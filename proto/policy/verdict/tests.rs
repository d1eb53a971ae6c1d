//! The verdict, beside a slow and obvious one.

use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;

use rr_domain::model::id::{OrgId, ProxyId};
use rr_domain::model::pattern::{Flags, Pattern};
use rr_domain::model::request_match::{BodyCheck, PairCheck, PathCheck, RequestMatch};
use rr_domain::model::resource::{Key, ResourceId};

use super::super::request::QueryPair;
use super::reference::{self, Body, Request, Said, Tree};
use super::*;

fn rule_id(n: u8) -> RuleId {
    RuleId::from_random([n; 16])
}

fn pattern(regex: &str, flags: &str) -> Pattern {
    Pattern::new(regex, Flags::parse(flags).expect("flags")).expect("a pattern")
}

fn rule(effect: Effect, priority: u16, when: RequestMatch) -> Rule {
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

fn said(scopes: &[(Vec<(RuleId, Rule)>, Effect); 4], request: &Request, body: Option<&[u8]>) -> Option<Said> {
    let mut patterns = Patterns::default();
    let compiled: Vec<ScopeRules> = scopes
        .iter()
        .map(|(rules, default)| {
            let rules = rules.iter().map(|(id, rule)| (*id, rule));
            ScopeRules::compile(rules, *default, &mut patterns).expect("compiles")
        })
        .collect();
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
    let view = RequestView {
        method: &request.method,
        path: &request.path,
        query: &query,
        headers: &headers,
        body: body.map_or(RequestBody::Unread, RequestBody::Read),
    };
    let scopes =
        Scopes { caller: &compiled[0], upstream: &compiled[1], proxy: &compiled[2], target: &compiled[3] };
    match scopes.decide(&view) {
        Verdict::Allow { .. } => Some(Said::Allow),
        Verdict::Deny { scope, by } => Some(Said::Deny(scope as usize, by.map(|rule| rule.id))),
        Verdict::Unreadable(_) => Some(Said::Unreadable),
        Verdict::NeedsBody => None,
    }
}

fn bytes(body: &Body) -> Vec<u8> {
    match body {
        Body::Empty => Vec::new(),
        Body::Broken => b"{\"a\":".to_vec(),
        Body::Json(tree) => {
            let mut text = String::new();
            tree.write(&mut text);
            text.into_bytes()
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
    ];
    (regex, prop_oneof![4 => Just(""), 1 => Just("i"), 1 => Just("gms")])
        .prop_map(|(regex, flags)| pattern(regex, flags))
}

fn any_pair() -> impl Strategy<Value = PairCheck> {
    let one = || prop::option::of(any_pattern());
    (one(), any_pattern(), one(), any::<bool>()).prop_map(|(name, value, other, absent)| PairCheck {
        value: if name.is_none() { Some(value) } else { other },
        name,
        absent,
    })
}

fn any_body_check() -> impl Strategy<Value = BodyCheck> {
    let path = prop_oneof![Just("a"), Just("a.b"), Just("*"), Just("a[*].b"), Just("*.*"), Just("b")];
    (path, prop::option::of(any_pattern()), any::<bool>()).prop_map(|(path, value, absent)| BodyCheck {
        path: path.parse().expect("a path"),
        value,
        absent,
    })
}

fn any_rule() -> impl Strategy<Value = Rule> {
    let few = 0..3_usize;
    (
        prop_oneof![Just(Effect::Allow), Just(Effect::Deny)],
        0..3_u16,
        prop_oneof![3 => Just(vec![]), 2 => Just(vec!["GET"]), 2 => Just(vec!["POST", "PURGE"])],
        prop::option::weighted(0.4, (any_pattern(), any::<bool>())),
        prop_oneof![3 => Just(vec![]).boxed(), 1 => prop::collection::vec(any_pair(), few.clone()).boxed()],
        prop_oneof![3 => Just(vec![]).boxed(), 1 => prop::collection::vec(any_pair(), few.clone()).boxed()],
        prop_oneof![2 => Just(vec![]).boxed(), 1 => prop::collection::vec(any_body_check(), few).boxed()],
    )
        .prop_map(|(effect, priority, methods, path, headers, query, body)| {
            let methods = methods.into_iter().map(str::to_owned).collect();
            let path = path.map(|(pattern, absent)| PathCheck { pattern, absent });
            rule(effect, priority, RequestMatch { methods, path, headers, query, body })
        })
}

fn any_scope() -> impl Strategy<Value = (Vec<(RuleId, Rule)>, Effect)> {
    let default = prop_oneof![2 => Just(Effect::Allow), 1 => Just(Effect::Deny)];
    (prop::collection::vec(any_rule(), 0..4), default).prop_map(|(rules, default)| {
        let rules = rules.into_iter().enumerate().map(|(n, rule)| (rule_id(n as u8), rule));
        (rules.collect(), default)
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
            prop::collection::vec((prop_oneof![Just("a".to_owned()), Just("b".to_owned())], inner), 0..4)
                .prop_map(Tree::Object),
        ]
    })
}

fn any_request() -> impl Strategy<Value = Request> {
    let pairs = |names: [&'static str; 3]| {
        let name = prop::sample::select(names.to_vec()).prop_map(str::to_owned);
        prop::collection::vec((name, "[abAB1]{0,2}"), 0..3)
    };
    (
        prop::sample::select(vec!["GET", "POST", "PURGE", "PUT"]).prop_map(str::to_owned),
        "/[ab]{0,1}/?[ab1]{0,1}",
        pairs(["a", "A", "b"]),
        pairs(["a", "x-a", "b"]),
        prop_oneof![
            1 => Just(Body::Empty),
            1 => Just(Body::Broken),
            6 => any_tree().prop_map(Body::Json),
        ],
    )
        .prop_map(|(method, path, query, headers, body)| Request { method, path, query, headers, body })
}

fn get(path: &str) -> Request {
    let (method, path) = ("GET".to_owned(), path.to_owned());
    Request { method, path, query: vec![], headers: vec![], body: Body::Empty }
}

fn on_path(regex: &str) -> RequestMatch {
    RequestMatch {
        path: Some(PathCheck { pattern: pattern(regex, ""), absent: false }),
        ..RequestMatch::default()
    }
}

fn in_scope(at: usize, rules: Vec<(RuleId, Rule)>, default: Effect) -> [(Vec<(RuleId, Rule)>, Effect); 4] {
    let mut scopes = std::array::from_fn(|_| (Vec::new(), Effect::Allow));
    scopes[at] = (rules, default);
    scopes
}

#[test]
fn any_deny_wins_over_any_allow_whatever_their_priorities() {
    for (allow, deny) in [(0, 1000), (1000, 0), (5, 5)] {
        let rules = vec![
            (rule_id(1), rule(Effect::Allow, allow, on_path("^/a"))),
            (rule_id(2), rule(Effect::Deny, deny, on_path("^/a/b"))),
        ];
        let scopes = in_scope(2, rules, Effect::Deny);
        assert_eq!(said(&scopes, &get("/a/x"), None), Some(Said::Allow));
        assert_eq!(said(&scopes, &get("/a/b"), None), Some(Said::Deny(2, Some(rule_id(2)))));
        assert_eq!(said(&scopes, &get("/c"), None), Some(Said::Deny(2, None)));
    }
}

#[test]
fn every_scope_has_to_allow() {
    for at in 0..4 {
        let scopes = in_scope(at, vec![], Effect::Deny);
        assert_eq!(said(&scopes, &get("/"), None), Some(Said::Deny(at, None)));
    }
}

#[test]
fn priority_then_id_chooses_the_rule_that_is_reported() {
    let deny = |n, priority| (rule_id(n), rule(Effect::Deny, priority, RequestMatch::default()));
    let scopes = in_scope(0, vec![deny(3, 1), deny(2, 7), deny(1, 7), deny(0, 0)], Effect::Allow);
    assert_eq!(said(&scopes, &get("/"), None), Some(Said::Deny(0, Some(rule_id(1)))));
}

#[test]
fn the_body_is_asked_for_only_when_the_verdict_depends_on_it() {
    let check = BodyCheck { path: "a".parse().expect("a path"), value: None, absent: false };
    let with_body = |regex| RequestMatch { body: vec![check.clone()], ..on_path(regex) };
    let deny = (rule_id(1), rule(Effect::Deny, 0, with_body("^/a")));
    let scopes = in_scope(1, vec![deny.clone()], Effect::Allow);
    assert_eq!(said(&scopes, &get("/b"), None), Some(Said::Allow));
    assert_eq!(said(&scopes, &get("/a"), None), None);
    assert_eq!(said(&scopes, &get("/a"), Some(b"")), Some(Said::Allow), "an empty body has no fields");
    assert_eq!(said(&scopes, &get("/a"), Some(b" ")), Some(Said::Unreadable));
    // Refused already, so nobody has to read it.
    let refused = (rule_id(2), rule(Effect::Deny, 0, RequestMatch::default()));
    let scopes = in_scope(1, vec![deny, refused], Effect::Allow);
    assert_eq!(said(&scopes, &get("/a"), None), Some(Said::Deny(1, Some(rule_id(2)))));
    // A rule that would only say what the default says.
    let allow = (rule_id(1), rule(Effect::Allow, 0, with_body("^/a")));
    assert_eq!(said(&in_scope(1, vec![allow], Effect::Allow), &get("/a"), None), Some(Said::Allow));
}

#[test]
fn a_second_occurrence_of_a_key_hides_nothing_from_a_rule() {
    let value = Some(pattern("evil", ""));
    let check = BodyCheck { path: "a.b".parse().expect("a path"), value, absent: false };
    let when = RequestMatch { body: vec![check], ..RequestMatch::default() };
    let scopes = in_scope(3, vec![(rule_id(1), rule(Effect::Deny, 0, when))], Effect::Allow);
    for body in [
        r#"{"a":{"b":"evil","b":"good"}}"#,
        r#"{"a":{"b":"good","b":"evil"}}"#,
        r#"{"a":{"b":"evil"},"a":{}}"#,
        r#"{"a":{"\u0062":"\u0065vil"}}"#,
    ] {
        assert_eq!(said(&scopes, &get("/"), Some(body.as_bytes())), Some(Said::Deny(3, Some(rule_id(1)))));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn verdict_and_reported_rule_are_those_of_the_slow_reference(
        scopes in [any_scope(), any_scope(), any_scope(), any_scope()],
        request in any_request(),
    ) {
        let body = bytes(&request.body);
        let borrowed = std::array::from_fn(|at| (scopes[at].0.as_slice(), scopes[at].1));
        let wanted = reference::decide(&borrowed, &request);
        let got = said(&scopes, &request, Some(&body)).expect("the body is there");
        prop_assert_eq!(&got, &wanted);
        // What is said without the body is said with it.
        if let Some(early) = said(&scopes, &request, None) {
            prop_assert_eq!(early, got);
        }
    }

    #[test]
    fn the_order_of_rules_changes_nothing(
        scope in any_scope(),
        request in any_request(),
        turn in 0..4_usize,
    ) {
        let (mut rules, default) = scope;
        let body = bytes(&request.body);
        let before = said(&in_scope(2, rules.clone(), default), &request, Some(&body));
        rules.reverse();
        let by = turn % rules.len().max(1);
        rules.rotate_left(by);
        prop_assert_eq!(said(&in_scope(2, rules, default), &request, Some(&body)), before);
    }

    #[test]
    fn priorities_change_the_rule_that_is_reported_and_never_the_verdict(
        scope in any_scope(),
        request in any_request(),
        priorities in prop::collection::vec(0..1000_u16, 4),
    ) {
        let (mut rules, default) = scope;
        let body = bytes(&request.body);
        let verdict = |rules: Vec<(RuleId, Rule)>| {
            let said = said(&in_scope(0, rules, default), &request, Some(&body)).expect("the body is there");
            std::mem::discriminant(&said)
        };
        let before = verdict(rules.clone());
        for ((_, rule), priority) in rules.iter_mut().zip(priorities) {
            rule.priority = priority;
        }
        prop_assert_eq!(verdict(rules), before);
    }
}
