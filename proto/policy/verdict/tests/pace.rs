//! How much work a body may make.

use std::cell::Cell;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::super::super::json::JsonError;
use super::super::super::pace::Pace;
use super::*;

/// What is said, and how often there was a rest.
fn paced(rules: usize, body: &str) -> (Result<Said, JsonError>, u32) {
    let patterns: Vec<String> = (0..rules).map(|n| format!("^tool-{n}$")).collect();
    paced_with(&patterns.iter().map(String::as_str).collect::<Vec<_>>(), body)
}

/// The same with a rule for each pattern.
fn paced_with(patterns: &[&str], body: &str) -> (Result<Said, JsonError>, u32) {
    let rule = |regex: &&str| {
        let value = Some(pattern(regex, ""));
        let check = BodyCheck { path: "m".parse().expect("a path"), value, absent: false };
        rule(Effect::Deny, 0, RequestMatch { body: vec![check], ..RequestMatch::default() })
    };
    let rules: Vec<Rule> = patterns.iter().map(rule).collect();
    let scopes = compiled(&in_scope(2, &rules, Effect::Allow));
    let [caller, upstream, proxy, target] = &scopes;
    let (headers, body) = (HeaderMap::new(), RequestBody::Read(body.as_bytes()));
    let view = RequestView { method: "POST", path: "/", query: &[], headers: &headers, body };
    let rests = Cell::new(0);
    let mut pace = Pace::new(async || rests.set(rests.get() + 1));
    let scopes = Scopes { caller, upstream, proxy, target };
    let said = match done(scopes.decide_at(&mut pace, &view)).verdict {
        Verdict::Unreadable(error) => Err(error),
        Verdict::Allow { .. } => Ok(Said::Allow(None)),
        Verdict::Deny { scope, by } => Ok(Said::Deny(scope as usize, by.map(|rule| rule.id))),
        Verdict::NeedsBody => Ok(Said::NeedsBody),
    };
    (said, rests.get())
}

/// What comes of work whose rests are over at once.
fn done<T>(work: impl Future<Output = T>) -> T {
    match pin!(work).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done,
        Poll::Pending => unreachable!("nothing is waited for"),
    }
}

fn batch(elements: usize) -> String {
    format!("[{}{{}}]", r#"{"m":"a"},"#.repeat(elements))
}

#[test]
fn a_short_body_is_looked_at_without_a_rest() {
    assert_eq!(paced(200, &batch(20)), (Ok(Said::Allow(None)), 0));
}

#[test]
fn a_long_batch_is_looked_at_with_rests() {
    let (said, rests) = paced(20, &batch(50_000));
    assert_eq!(said, Ok(Said::Allow(None)));
    assert!(rests > 50, "{rests} rests");
}

#[test]
fn elements_in_which_nothing_is_found_are_looked_at_with_rests_too() {
    let (said, rests) = paced(1, &format!("[{}1]", "1,".repeat(100_000)));
    assert_eq!((said, rests), (Ok(Said::Allow(None)), 9));
}

#[test]
fn a_batch_that_makes_too_much_work_is_not_looked_at_to_its_end() {
    assert_eq!(paced(200, &batch(800_000)).0, Err(JsonError::TooMuch));
}

#[test]
fn a_long_text_is_work_for_each_pattern_that_it_is_looked_at_with() {
    let text = |length: usize| format!(r#"{{"m":"{}"}}"#, "x".repeat(length));
    assert_eq!(paced(1, &text(100_000)), (Ok(Said::Allow(None)), 0));
    assert_eq!(paced(7, &text(1_600_000)), (Ok(Said::Allow(None)), 7));
}

/// Keeps a step for each of its characters under way.
const HEAVY: &str = "a[a-z]{3000}[^a-z]";

#[test]
fn a_heavy_pattern_on_a_long_text_rests_and_is_given_up() {
    let (said, rests) = paced_with(&[HEAVY], &format!(r#"{{"m":"{}"}}"#, "a".repeat(8 << 20)));
    assert_eq!(said, Err(JsonError::TooMuch));
    // Of 16 million looks, 10,000 at a time.
    assert!((1_400..=1_600).contains(&rests), "{rests} rests");
}

#[test]
fn a_heavy_pattern_is_found_where_the_engine_may_not_be_asked() {
    let text = |behind: &str| format!(r#"{{"m":"{}{behind}"}}"#, "a".repeat(6_000));
    let (said, rests) = paced_with(&[HEAVY], &text("!"));
    assert!(matches!(said, Ok(Said::Deny(..))) && rests > 100, "{said:?}, {rests} rests");
    assert_eq!(paced_with(&[HEAVY], &text("a")).0, Ok(Said::Allow(None)));
}

#[test]
fn short_texts_in_any_number_are_counted_where_the_engine_looks_at_them() {
    // The engine looks at the first of them, with a rest behind each but few; the others are walked.
    let body =
        |elements: usize| format!("[{}{{}}]", format!(r#"{{"m":"{}"}},"#, "a".repeat(30)).repeat(elements));
    let (said, rests) = paced_with(&[HEAVY], &body(30));
    assert_eq!(said, Ok(Said::Allow(None)));
    assert!((29..=31).contains(&rests), "{rests} rests");
    let (said, rests) = paced_with(&[HEAVY], &body(3_000));
    assert_eq!(said, Ok(Said::Allow(None)));
    assert!((100..200).contains(&rests), "{rests} rests");
}

#[test]
fn ordinary_patterns_look_at_long_texts_to_their_end() {
    let text = "Please send the report to jane.doe@example.com by 2026-11-26. ".repeat(16_000);
    let patterns =
        [r"\b[A-Za-z0-9]{40}\b", r"sk-[A-Za-z0-9]{20,48}", r"\d{4}-\d{4}-\d{4}", "(?i)password\\s*="];
    let (said, _) = paced_with(&patterns, &format!(r#"{{"m":"{text}"}}"#));
    assert_eq!(said, Ok(Said::Allow(None)));
}

/// What is said of a head, and what is observed.
fn of_head(rules: &[Rule], default: Effect, path: &str, header: &str) -> (Said, Option<Said>) {
    let (said, observed, _) = of_request(rules, default, path, header, RequestBody::Unread);
    (said, observed)
}

fn of_request(
    rules: &[Rule],
    default: Effect,
    path: &str,
    header: &str,
    body: RequestBody<'_>,
) -> (Said, Option<Said>, Vec<RuleId>) {
    let mut headers = HeaderMap::new();
    headers.insert("x", HeaderValue::from_str(header).expect("a value"));
    let query = [QueryPair { name: b"x"[..].into(), value: header.as_bytes().into() }];
    let view = RequestView { method: "GET", path, query: &query, headers: &headers, body };
    answer(&compiled(&in_scope(2, rules, default)), &view)
}

fn heavy(effect: Effect, part: usize, absent: bool) -> Rule {
    let check = || PairCheck { name: None, value: Some(pattern(HEAVY, "")), absent };
    let mut when = RequestMatch::default();
    match part {
        0 => when.path = Some(PathCheck { pattern: pattern(HEAVY, ""), absent }),
        1 => when.headers.push(check()),
        _ => when.query.push(check()),
    }
    rule(effect, 0, when)
}

#[test]
fn a_head_that_is_too_much_work_passes_by_no_rule() {
    let long = "a".repeat(60_000);
    for (effect, default) in [(Effect::Deny, Effect::Allow), (Effect::Allow, Effect::Deny)] {
        for part in 0..3 {
            for absent in [false, true] {
                let rules = [heavy(effect, part, absent)];
                // The same rules look at a short head.
                assert_ne!(of_head(&rules, default, "/a", "a").0, Said::Unreadable);
                let of_long = of_head(&rules, default, &long, &long);
                assert_eq!(of_long.0, Said::Unreadable, "{effect:?}, {part}, {absent}");
            }
        }
    }
}

#[test]
fn a_head_is_looked_at_by_the_engine_only_so_often() {
    // One look of each would be short; together they are walked, and then are too much.
    let rules: Vec<Rule> = (0..200)
        .map(|n| {
            let value = Some(pattern(&format!("a[a-z]{{{}}}[^a-z]", 2_000 + n), ""));
            let check = PairCheck { name: None, value, absent: false };
            rule(Effect::Deny, 0, RequestMatch { headers: vec![check], ..RequestMatch::default() })
        })
        .collect();
    assert_eq!(of_head(&rules[..40], Effect::Allow, "/", &"a".repeat(300)).0, Said::Allow(None));
    assert_eq!(of_head(&rules, Effect::Allow, "/", &"a".repeat(300)).0, Said::Unreadable);
}

#[test]
fn rules_that_only_observe_make_no_head_too_much_work() {
    let long = "a".repeat(60_000);
    let mut rules = [heavy(Effect::Deny, 1, true), heavy(Effect::Deny, 0, false)];
    rules[0].observe = true;
    let all = of_request(&rules, Effect::Allow, "/b!", &long, RequestBody::Unread);
    // Nobody knows whether that one matches, so it is not said to.
    assert_eq!(all, (Said::Allow(None), Some(Said::Unreadable), Vec::new()));
}

#[test]
fn a_head_that_is_too_much_work_when_the_body_is_there_passes_by_no_rule_either() {
    // More than half of what may be: with the body, heads are looked at again.
    let half = "a".repeat(2_400);
    let on_body = |observe: bool| {
        let mut rule = heavy(Effect::Deny, 1, true);
        rule.when.body.push(BodyCheck { path: "m".parse().expect("a path"), value: None, absent: false });
        Rule { observe, ..rule }
    };
    let asked = |rules: &[Rule], body| {
        let (said, observed, _) = of_request(rules, Effect::Allow, "/", &half, body);
        (said, observed)
    };
    let body = || RequestBody::Read(b"{}");
    assert_eq!(asked(&[on_body(false)], RequestBody::Unread), (Said::NeedsBody, None));
    assert_eq!(asked(&[on_body(false)], body()), (Said::Unreadable, None));
    let observing = [on_body(true)];
    assert_eq!(asked(&observing, body()), (Said::Allow(None), Some(Said::Unreadable)));
}

#[test]
fn what_is_said_of_a_head_does_not_depend_on_those_before() {
    let rules = [heavy(Effect::Deny, 1, false)];
    let lengths = [30, 60_000, 400, 60_000, 2_000, 30];
    let said: Vec<Said> =
        lengths.iter().map(|n| of_head(&rules, Effect::Allow, "/", &"a".repeat(*n)).0).collect();
    let wanted = |n: &usize| if *n < 2_500 { Said::Allow(None) } else { Said::Unreadable };
    assert_eq!(said, lengths.iter().map(wanted).collect::<Vec<_>>());
}
