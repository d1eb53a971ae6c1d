//! What is promised of rules that only observe, and which rules are named, a sentence a test.

use rr_domain::model::effect::Effect;
use rr_domain::model::rule::Rule;

use super::super::ScopeRules;
use super::super::reference::Said;
use super::asked;
use super::sentences::{allowed, denied};
use super::write::*;

#[test]
fn a_rule_that_observes_neither_refuses_nor_allows_and_says_what_it_would_have_done() {
    let observing = |rule: Rule| Rule { observe: true, ..rule };
    let scopes = in_scope(3, &[observing(deny(path("^/a")))], Effect::Allow);
    assert_eq!(asked(&scopes, &get("/a")), (Said::Allow(None), Some(denied(3, 1)), vec![rule_id(1)]));
    assert_eq!(asked(&scopes, &get("/b")), (Said::Allow(None), Some(Said::Allow(None)), vec![]));
    let scopes = in_scope(0, &[observing(allow(path("^/a")))], Effect::Deny);
    assert_eq!(asked(&scopes, &get("/a")), (Said::Deny(0, None), Some(allowed(0, 1)), vec![rule_id(1)]));
    // A scope behind the one that denies is looked at for what is observed.
    let mut scopes = scopes;
    scopes[2].rules = vec![(rule_id(7), observing(deny(always())))];
    let wanted = (Said::Deny(0, None), Some(denied(2, 7)), vec![rule_id(1), rule_id(7)]);
    assert_eq!(asked(&scopes, &get("/a")), wanted);
}

#[test]
fn in_a_scope_that_observes_no_rule_and_no_default_decides() {
    for default in [Effect::Allow, Effect::Deny] {
        let mut scopes = in_scope(2, &[deny(path("^/a")), allow(path("^/b"))], default);
        scopes[2].observe = true;
        let other = if default == Effect::Allow { Said::Allow(None) } else { Said::Deny(2, None) };
        for (path, observed) in [("/a", denied(2, 1)), ("/b", allowed(2, 2)), ("/c", other)] {
            let (verdict, would, _) = asked(&scopes, &get(path));
            assert_eq!((verdict, would), (Said::Allow(None), Some(observed)), "{path}");
        }
    }
}

#[test]
fn a_scope_without_rules_that_observes_is_looked_at_all_the_same() {
    for default in [Effect::Allow, Effect::Deny] {
        for observe in [false, true] {
            let scope = ScopeRules::new(Vec::new(), default, observe);
            assert_eq!(scope.allows_all(), default == Effect::Allow && !observe, "{default:?} {observe}");
        }
    }
}

#[test]
fn nothing_is_observed_where_nothing_observes() {
    assert_eq!(asked(&in_scope(2, &[deny(always())], Effect::Allow), &get("/")).1, None);
}

#[test]
fn what_observes_asks_for_no_body_and_is_unreadable_where_its_answer_depends_on_it() {
    let observing = Rule { observe: true, ..deny(body("a", "evil")) };
    let scopes = in_scope(1, std::slice::from_ref(&observing), Effect::Allow);
    let pass = Said::Allow(None);
    for (request, observed) in [
        (get("/"), Said::Unreadable),
        (post("/", "{"), Said::Unreadable),
        (post("/", r#"{"a":"evil"}"#), denied(1, 1)),
        (post("/", r#"{"a":"good"}"#), Said::Allow(None)),
    ] {
        let (verdict, would, _) = asked(&scopes, &request);
        assert_eq!((verdict, would), (pass, Some(observed)), "{request:?}");
    }
    // It does not depend on it: another rule denies by the head.
    let mut scopes = scopes;
    scopes[0].rules = vec![(rule_id(9), Rule { observe: true, ..deny(always()) })];
    assert_eq!(asked(&scopes, &get("/")).1, Some(denied(0, 9)));
}

#[test]
fn the_first_16_rules_that_matched_are_named_whatever_they_say() {
    let mut rules: Vec<Rule> = (0..20_u16).map(|n| rule(Effect::Allow, 100 - n, always())).collect();
    rules[3].when = path("^/never");
    rules[4].observe = true;
    let (_, _, matched) = asked(&in_scope(2, &rules, Effect::Deny), &get("/"));
    let wanted: Vec<_> = (1..=17).filter(|n| *n != 4).map(rule_id).collect();
    assert_eq!(matched, wanted);
    // Those of the body come behind those of the head; those that nobody had to look at are not there.
    let rules = [deny(body("a", "x")), allow(body("b", "")), allow(always())];
    let (_, _, matched) = asked(&in_scope(2, &rules, Effect::Deny), &post("/", r#"{"b":1}"#));
    assert_eq!(matched, [rule_id(3), rule_id(2)]);
    let (_, _, matched) = asked(&in_scope(2, &rules[1..], Effect::Deny), &post("/", r#"{"b":1}"#));
    assert_eq!(matched, [rule_id(2)]);
}
