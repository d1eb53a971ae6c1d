//! What is promised of rules, a sentence a test.

use rr_domain::model::effect::Effect;
use rr_domain::model::path as paths;
use rr_domain::model::pattern::{Flags, InvalidPattern, Pattern};
use rr_domain::model::request_match::{PathCheck, RequestMatch};
use rr_domain::model::rule::Rule;

use super::super::reference::{Request, Said, Scope};
use super::said;
use super::write::*;

/// Whether a rule matches: in a scope with the opposite default, it decides.
fn matches(effect: Effect, when: RequestMatch, request: &Request) -> bool {
    let decide = |default| said(&in_scope(2, &[rule(effect, 0, when.clone())], default), request);
    match effect {
        Effect::Deny => match decide(Effect::Allow) {
            Said::Deny(2, Some(_)) => true,
            Said::Allow(None) => false,
            other => panic!("{other:?} to {request:?}"),
        },
        Effect::Allow => match decide(Effect::Deny) {
            Said::Allow(Some(_)) => true,
            Said::Deny(2, None) => false,
            other => panic!("{other:?} to {request:?}"),
        },
    }
}

fn denies(when: RequestMatch, request: &Request) -> bool {
    matches(Effect::Deny, when, request)
}

fn allows(when: RequestMatch, request: &Request) -> bool {
    matches(Effect::Allow, when, request)
}

pub(super) fn denied(at: usize, rule: u8) -> Said {
    Said::Deny(at, Some(rule_id(rule)))
}

pub(super) fn allowed(at: usize, rule: u8) -> Said {
    Said::Allow(Some((at, rule_id(rule))))
}

#[test]
fn each_of_the_four_scopes_has_its_own_rules_and_its_own_default() {
    for at in 0..4 {
        assert_eq!(said(&in_scope(at, &[], Effect::Deny), &get("/")), Said::Deny(at, None));
        assert_eq!(said(&in_scope(at, &[deny(always())], Effect::Allow), &get("/")), denied(at, 1));
        // An allow of another scope does not lift it.
        let mut scopes = in_scope(at, &[], Effect::Deny);
        scopes[(at + 1) % 4].rules = numbered(&[allow(always())]);
        assert_eq!(said(&scopes, &get("/")), Said::Deny(at, None));
    }
}

#[test]
fn a_request_passes_only_when_all_four_scopes_allow() {
    let yes = || Scope { rules: numbered(&[allow(path("^/a"))]), default: Effect::Deny, observe: false };
    assert_eq!(said(&[yes(), yes(), yes(), yes()], &get("/a")), allowed(0, 1));
    for at in 0..4 {
        let mut scopes = [yes(), yes(), yes(), yes()];
        scopes[at].rules[0].1.when = path("^/b");
        assert_eq!(said(&scopes, &get("/a")), Said::Deny(at, None));
    }
}

#[test]
fn in_a_scope_every_matching_rule_counts_any_deny_denies_else_any_allow_allows_else_the_default() {
    let (yes, no) = (|| rule(Effect::Allow, 1000, path("^/a")), || rule(Effect::Deny, 0, path("^/a/b")));
    for rules in [vec![yes(), no()], vec![no(), yes()], vec![yes(), no(), yes()]] {
        for default in [Effect::Allow, Effect::Deny] {
            let scopes = in_scope(2, &rules, default);
            assert!(matches!(said(&scopes, &get("/a/b")), Said::Deny(2, Some(_))));
            assert!(matches!(said(&scopes, &get("/a/x")), Said::Allow(Some((2, _)))));
            let other = if default == Effect::Allow { Said::Allow(None) } else { Said::Deny(2, None) };
            assert_eq!(said(&scopes, &get("/c")), other);
        }
    }
}

#[test]
fn priority_then_id_decides_which_rule_is_reported_and_never_the_verdict() {
    for effect in [Effect::Deny, Effect::Allow] {
        let priorities = [0, 7, 7, 1].map(|priority| rule(effect, priority, always()));
        let wanted = if effect == Effect::Deny { denied(0, 2) } else { allowed(0, 2) };
        assert_eq!(said(&in_scope(0, &priorities, Effect::Allow), &get("/")), wanted);
    }
    let rules = [rule(Effect::Allow, 1000, always()), rule(Effect::Deny, 0, always())];
    assert_eq!(said(&in_scope(0, &rules, Effect::Allow), &get("/")), denied(0, 2));
}

#[test]
fn a_rule_matches_when_all_of_its_stated_parts_match_and_a_part_left_out_does_not_restrict() {
    let parts = [methods(&["POST"]), path("^/a"), header("^x$", "1"), query("^q$", "2"), body("b", "3")];
    let with = |turned: usize| {
        let other = |n: usize, good: &str| if n == turned { "other".to_owned() } else { good.to_owned() };
        let method = if turned == 0 { "PUT" } else { "POST" };
        Request {
            method: method.to_owned(),
            query: vec![("q".to_owned(), other(3, "2"))],
            headers: vec![("x".to_owned(), other(2, "1"))],
            ..post(if turned == 1 { "/other" } else { "/a" }, &format!("{{\"b\":\"{}\"}}", other(4, "3")))
        }
    };
    for effect in [Effect::Deny, Effect::Allow] {
        assert!(matches(effect, all_of(parts.clone()), &with(9)));
        assert!(matches(effect, always(), &with(9)));
        for (n, part) in parts.iter().enumerate() {
            assert!(!matches(effect, all_of(parts.clone()), &with(n)), "part {n}");
            assert!(matches(effect, part.clone(), &with((n + 1) % 5)), "part {n} alone");
        }
    }
}

/// Says the same of headers, of query pairs, of duplicate keys and of elements.
fn of_occurrences(effect: Effect, absent: bool, wanted: [bool; 5]) {
    let all: [&[&str]; 5] = [&[], &["good"], &["good", "bad"], &["bad", "good"], &["bad"]];
    for (values, wanted) in all.into_iter().zip(wanted) {
        let pairs: Vec<(&str, &str)> =
            values.iter().map(|value| ("a", *value)).chain([("b", "good")]).collect();
        let keys: Vec<String> = pairs.iter().map(|(name, value)| format!("\"{name}\":\"{value}\"")).collect();
        let elements: Vec<String> = values.iter().map(|value| format!("{{\"a\":\"{value}\"}}")).collect();
        let says = |here: RequestMatch, gone: RequestMatch, request: Request| {
            let when = if absent { gone } else { here };
            assert_eq!(matches(effect, when, &request), wanted, "{effect:?} {absent} {values:?} {request:?}");
        };
        says(header("^a$", "^good"), no_header("^a$", "^good"), with_headers(&pairs));
        says(header("^.$|a$", "^good"), no_header("a$|^a", "^good"), with_headers(&pairs[..values.len()]));
        says(query("^a$", "^good"), no_query("^a$", "^good"), with_query(&pairs));
        let body_of = |text: String| post("/", &text);
        says(body("a", "^good"), no_body("a", "^good"), body_of(format!("{{{}}}", keys.join(","))));
        let list = format!("{{\"l\":[{}]}}", elements.join(","));
        says(body("l[*].a", "^good"), no_body("l[*].a", "^good"), body_of(list));
    }
}

#[test]
fn in_a_rule_that_denies_one_occurrence_that_matches_is_enough() {
    of_occurrences(Effect::Deny, false, [false, true, true, true, false]);
}

#[test]
fn in_a_rule_that_allows_there_is_an_occurrence_and_all_match() {
    of_occurrences(Effect::Allow, false, [false, true, false, false, false]);
}

#[test]
fn absent_in_a_rule_that_allows_holds_if_no_occurrence_matches() {
    of_occurrences(Effect::Allow, true, [true, false, false, false, true]);
}

#[test]
fn absent_in_a_rule_that_denies_holds_unless_there_is_one_and_all_match() {
    of_occurrences(Effect::Deny, true, [true, false, true, true, true]);
}

#[test]
fn a_check_without_a_value_asks_whether_there_is_an_occurrence() {
    for effect in [Effect::Deny, Effect::Allow] {
        for (pairs, there) in [(&[("a", "1"), ("a", "")][..], true), (&[("b", "1")][..], false)] {
            assert_eq!(matches(effect, header("^a$", ""), &with_headers(pairs)), there);
            assert_eq!(matches(effect, no_header("^a$", ""), &with_headers(pairs)), !there);
            assert_eq!(matches(effect, query("^a$", ""), &with_query(pairs)), there);
            assert_eq!(matches(effect, no_query("^a$", ""), &with_query(pairs)), !there);
            let json = format!("{{\"{}\":[]}}", pairs[0].0);
            assert_eq!(matches(effect, body("a", ""), &post("/", &json)), there);
            assert_eq!(matches(effect, no_body("a", ""), &post("/", &json)), !there);
        }
    }
}

#[test]
fn names_of_headers_are_matched_without_regard_to_case_and_others_as_they_are() {
    for effect in [Effect::Deny, Effect::Allow] {
        for regex in ["^X-Tenant$", "^(?i)x-tenanT$", "Tenant", "^X-T[a-z]+$"] {
            assert!(matches(
                effect,
                header(regex, "^a$"),
                &with_headers(&[("x-tenant", "a"), ("accept", "b")])
            ));
            assert!(!matches(effect, header(regex, "^a$"), &with_headers(&[("accept", "a")])), "{regex}");
        }
        assert!(!matches(effect, header("^no name$", ""), &with_headers(&[("name", "a")])));
        assert!(!matches(effect, query("^A$", ""), &with_query(&[("a", "1")])));
    }
}

#[test]
fn the_path_is_one_occurrence() {
    for effect in [Effect::Deny, Effect::Allow] {
        assert!(matches(effect, path("/a/"), &get("/x/a/b")));
        assert!(!matches(effect, path("/a/"), &get("/x")));
        assert!(!matches(effect, no_path("/a/"), &get("/x/a/b")));
        assert!(matches(effect, no_path("/a/"), &get("/x")));
    }
}

#[test]
fn an_object_or_an_array_has_no_value_so_it_is_never_matched_and_makes_an_allow_fail() {
    for json in [r#"{"a":{"b":1}}"#, r#"{"a":[1]}"#, r#"{"a":{}}"#, r#"{"a":[]}"#] {
        for regex in [".", "^", "1"] {
            assert!(!denies(body("a", regex), &post("/", json)), "{json} {regex}");
            assert!(!allows(body("a", regex), &post("/", json)), "{json} {regex}");
            assert!(denies(no_body("a", regex), &post("/", json)), "{json} {regex}");
            assert!(allows(no_body("a", regex), &post("/", json)), "{json} {regex}");
        }
    }
    // Beside an occurrence that matches, it is one that does not.
    assert!(denies(body("a", "good"), &post("/", r#"{"a":"good","a":{}}"#)));
    assert!(!allows(body("a", "good"), &post("/", r#"{"a":"good","a":{}}"#)));
}

#[test]
fn a_second_occurrence_hides_nothing_however_it_is_spelled() {
    for json in [
        r#"{"a":{"b":"evil","b":"good"}}"#,
        r#"{"a":{"b":"good","b":"evil"}}"#,
        r#"{"a":{"b":"evil"},"a":{"b":"good"}}"#,
        r#"{"a":{"b":"good","\u0062":"\u0065vil"}}"#,
    ] {
        assert!(denies(body("a.b", "evil"), &post("/", json)), "{json}");
        assert!(!allows(body("a.b", "^good$"), &post("/", json)), "{json}");
    }
}

#[test]
fn an_array_as_a_body_is_judged_element_by_element_with_paths_that_start_at_the_element() {
    let batch = post("/", r#"[{"m":"a"},{"m":"b"}]"#);
    assert!(denies(body("m", "^b$"), &batch));
    assert!(!denies(body("[*].m", "^b$"), &batch), "paths start at the element");
    assert!(allows(body("m", "^[ab]$"), &batch));
    // Both parts have to be of one element.
    assert!(!denies(all_of([body("m", "a"), body("n", "b")]), &post("/", r#"[{"m":"a"},{"n":"b"}]"#)));
    assert!(denies(all_of([body("m", "a"), body("n", "b")]), &post("/", r#"[1,{"m":"a","n":"b"}]"#)));
    // An element that is an array is one document.
    assert!(denies(body("[*].m", "b"), &post("/", r#"[[{"m":"a"},{"m":"b"}]]"#)));
    assert!(!denies(body("m", "b"), &post("/", r#"[[{"m":"b"}]]"#)));
}

#[test]
fn every_element_of_a_batch_has_to_be_allowed_each_by_some_rule() {
    let rules = [allow(body("m", "^a$")), allow(body("m", "^b$"))];
    let scopes = in_scope(1, &rules, Effect::Deny);
    for (json, wanted) in [
        (r#"[{"m":"a"}]"#, allowed(1, 1)),
        (r#"[{"m":"b"},{"m":"a"}]"#, allowed(1, 1)),
        (r#"[{"m":"b"},{"m":"b"}]"#, allowed(1, 2)),
        (r#"[{"m":"a"},{"m":"c"}]"#, Said::Deny(1, None)),
        (r#"[{"m":"c"},{"m":"a"}]"#, Said::Deny(1, None)),
        (r#"[{"m":"a"},{}]"#, Said::Deny(1, None)),
        (r#"[{"m":"a"},1,{"m":"a"}]"#, Said::Deny(1, None)),
        (r#"[{"m":"a","m":"b"}]"#, Said::Deny(1, None)),
    ] {
        assert_eq!(said(&scopes, &post("/", json)), wanted, "{json}");
    }
}

#[test]
fn one_denied_element_denies_a_batch() {
    let rules = [allow(always()), deny(body("m", "^evil$")), rule(Effect::Deny, 9, body("m", "^worse$"))];
    let scopes = in_scope(3, &rules, Effect::Deny);
    assert_eq!(said(&scopes, &post("/", r#"[{"m":"good"},{"m":"good"}]"#)), allowed(3, 1));
    assert_eq!(said(&scopes, &post("/", r#"[{"m":"good"},{"m":"evil"}]"#)), denied(3, 2));
    assert_eq!(said(&scopes, &post("/", r#"[{"m":"evil"},{"m":"good"},{"m":"worse"}]"#)), denied(3, 3));
    // A rule that denies is reported before an element that nothing allows.
    let scopes = in_scope(3, &rules[1..], Effect::Deny);
    assert_eq!(said(&scopes, &post("/", r#"[{"m":"good"},{"m":"evil"}]"#)), denied(3, 1));
}

#[test]
fn an_empty_array_and_an_empty_body_are_a_document_without_fields() {
    for json in ["[]", " [ ] ", "", "{}", "[{}]", "7"] {
        assert!(!denies(body("*", ""), &post("/", json)), "{json}");
        assert!(!allows(body("*", ""), &post("/", json)), "{json}");
        assert!(denies(no_body("*", ""), &post("/", json)), "{json}");
        assert!(allows(no_body("*", ""), &post("/", json)), "{json}");
    }
}

#[test]
fn a_rule_that_needs_no_body_speaks_for_every_element() {
    let json = r#"[{"m":"a"},{"m":"b"}]"#;
    let head = allow(path("^/rpc"));
    let scopes = in_scope(0, &[head.clone(), deny(body("m", "^c$"))], Effect::Deny);
    assert_eq!(said(&scopes, &post("/rpc", json)), allowed(0, 1));
    assert_eq!(said(&scopes, &post("/x", json)), Said::Deny(0, None), "without the body");
    // It decides, so the body is not asked for.
    let scopes = in_scope(0, &[head, allow(body("m", "^a$"))], Effect::Deny);
    assert_eq!(said(&scopes, &get("/rpc")), allowed(0, 1));
    assert_eq!(said(&scopes, &get("/x")), Said::NeedsBody);
}

#[test]
fn the_body_is_asked_for_only_when_the_verdict_depends_on_it() {
    let on = |regex| all_of([path(regex), body("a", "")]);
    let scopes = in_scope(1, &[deny(on("^/a"))], Effect::Allow);
    assert_eq!(said(&scopes, &get("/b")), Said::Allow(None));
    assert_eq!(said(&scopes, &get("/a")), Said::NeedsBody);
    assert_eq!(said(&scopes, &post("/a", "")), Said::Allow(None));
    assert_eq!(said(&scopes, &post("/a", " ")), Said::Unreadable);
    // Refused already, so nobody has to read it; by a later scope, too.
    let scopes = in_scope(1, &[deny(on("^/a")), deny(always())], Effect::Allow);
    assert_eq!(said(&scopes, &get("/a")), denied(1, 2));
    let mut scopes = in_scope(1, &[deny(on("^/a"))], Effect::Allow);
    scopes[3].default = Effect::Deny;
    assert_eq!(said(&scopes, &post("/a", "{")), Said::Deny(3, None));
    // A rule that would only say what the default says.
    assert_eq!(said(&in_scope(1, &[allow(on("^/a"))], Effect::Allow), &get("/a")), Said::Allow(None));
}

#[test]
fn a_body_that_has_to_be_read_and_cannot_be_is_refused_wherever_it_is_broken() {
    let scopes = in_scope(0, &[deny(body("a", "evil"))], Effect::Allow);
    for broken in ["{", "[{},", "{\"a\":1}x", "nope", "[{\"a\":\"evil\"}", "\u{feff}{}"] {
        assert_eq!(said(&scopes, &post("/", broken)), Said::Unreadable, "{broken}");
    }
    let deep = "[".repeat(65) + &"]".repeat(65);
    assert_eq!(said(&scopes, &post("/", &deep)), Said::Unreadable, "nested too deeply");
}

#[test]
fn patterns_are_found_anywhere_take_flags_and_refuse_what_is_not_linear() {
    let with = |regex, flags: &str| RequestMatch {
        path: Some(PathCheck { pattern: pattern(regex, flags), absent: false }),
        ..always()
    };
    for effect in [Effect::Deny, Effect::Allow] {
        assert!(matches(effect, with("b+/c", ""), &get("/a/bb/c/d")));
        assert!(!matches(effect, with("B+/C", ""), &get("/a/bb/c/d")));
        assert!(matches(effect, with("B+/C", "i"), &get("/a/bb/c/d")));
        assert!(matches(effect, with("(?i)B+/C", ""), &get("/a/bb/c/d")), "inline");
        assert!(matches(effect, with("b+/c", "g"), &get("/a/bb/c/d")), "g means nothing");
    }
    for regex in ["a(?=b)", r"(a)\1"] {
        let refused = Pattern::new(regex, Flags::default()).expect_err(regex);
        assert!(matches!(refused, InvalidPattern::LookAround { .. } | InvalidPattern::BackReference { .. }));
    }
}

#[test]
fn two_spellings_of_a_path_are_one_to_a_rule() {
    for (raw, regex) in [
        ("/a%40b", "^/a@b$"),
        ("/a@b", "^/a@b$"),
        ("/v1/models/m%3agenerate", "^/v1/models/[^/]+:generate$"),
        ("/x%28%29%3d%2C", r"^/x\(\)=,$"),
        ("/%61dmin/./%2E%2e/admin", "^/admin$"),
        ("/a|b%7cc", "^/a%7Cb%7Cc$"),
        ("/\u{e4}%c3%a4", "^/(%C3%A4){2}$"),
    ] {
        let normal = paths::normalise(raw).expect(raw);
        let seen = paths::for_rules(&normal);
        for effect in [Effect::Deny, Effect::Allow] {
            assert!(matches(effect, path(regex), &get(&seen)), "{raw} is seen as {seen}");
        }
    }
}

#[test]
fn many_regular_expressions_decide_as_each_by_itself_would() {
    let regexes: Vec<String> = (0..40).map(|n| format!("/[a-z]+/{n}[xy]$")).collect();
    let rules: Vec<Rule> = regexes.iter().map(|regex| rule(Effect::Deny, 0, path(regex))).collect();
    let scopes = in_scope(2, &rules, Effect::Allow);
    for (n, regex) in regexes.iter().enumerate() {
        let path = format!("/q/a/{n}{}", if n % 2 == 0 { "x" } else { "y" });
        let n = u8::try_from(n).expect("few") + 1;
        assert_eq!(said(&scopes, &get(&path)), denied(2, n), "{regex}");
    }
    assert_eq!(said(&scopes, &get("/q/a/40x")), Said::Allow(None));
    // In a field of the body, too.
    let rules: Vec<Rule> =
        regexes.iter().map(|regex| deny(all_of([body("p", regex), body("q", "")]))).collect();
    let scopes = in_scope(2, &rules, Effect::Allow);
    for n in 0..40 {
        let json = format!("{{\"p\":[],\"p\":\"/q/a/{n}\\u0078\",\"q\":[{{}}],\"p\":7}}");
        assert_eq!(said(&scopes, &post("/", &json)), denied(2, n + 1), "{json}");
    }
    assert_eq!(said(&scopes, &post("/", r#"{"p":"/q/a/40x","q":1}"#)), Said::Allow(None));
    // Absent, with each of them.
    let rules: Vec<Rule> = regexes.iter().map(|regex| rule(Effect::Deny, 0, no_path(regex))).collect();
    assert_eq!(said(&in_scope(2, &rules, Effect::Allow), &get("/q/a/0x")), denied(2, 2));
    assert_eq!(said(&in_scope(2, &rules[..1], Effect::Allow), &get("/q/a/0x")), Said::Allow(None));
}
