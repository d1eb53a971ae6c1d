//! How much work a body may make.

use std::cell::Cell;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::super::super::json::JsonError;
use super::super::super::pace::Pace;
use super::*;

/// What is said, and how often there was a rest.
fn paced(rules: usize, body: &str) -> (Result<Said, JsonError>, u32) {
    let rule = |n: usize| {
        let value = Some(pattern(&format!("^tool-{n}$"), ""));
        let check = BodyCheck { path: "m".parse().expect("a path"), value, absent: false };
        rule(Effect::Deny, 0, RequestMatch { body: vec![check], ..RequestMatch::default() })
    };
    let rules: Vec<Rule> = (0..rules).map(rule).collect();
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
