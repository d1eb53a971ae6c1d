//! What is taken out of texts, numbers and keys, and that the rest stays byte for byte.

use std::sync::LazyLock;

use rr_domain::model::detector::Detector;
use rr_domain::model::filter::Redact;
use rr_domain::model::pattern::{Flags, Pattern};

use super::*;

fn redact(detectors: &[Detector], patterns: &[&str], mask: &str) -> Action {
    let patterns = patterns.iter().map(|it| Pattern::new(it, Flags::default()).expect("a pattern")).collect();
    Action::Redact(Redact { mask: mask.to_owned(), detectors: detectors.iter().copied().collect(), patterns })
}

fn email() -> Action {
    redact(&[Detector::Email], &[], "***")
}

#[test]
fn only_what_is_found_goes_and_the_rest_of_a_text_stays_as_it_was_written() {
    check(
        email(),
        &[],
        r#" {"a" : "Hi \u00e4 ann@example.com, bye\n", "b":1.10,"c":[null,"x@y.de"]} "#,
        r#" {"a" : "Hi \u00e4 ***, bye\n", "b":1.10,"c":[null,"***"]} "#,
        2,
    );
    check(email(), &[], r#"{"a":"@","b":"a@b","c":true}"#, r#"{"a":"@","b":"a@b","c":true}"#, 0);
    check(email(), &[], r#""ann@example.com""#, r#""***""#, 1);
    check(email(), &["a"], r#""ann@example.com""#, r#""ann@example.com""#, 0);
}

#[test]
fn escapes_hide_nothing() {
    check(
        email(),
        &[],
        r#"["ann\u0040example.com","\u0061\u006E\u006e@example\u002ecom!"]"#,
        r#"["***","***!"]"#,
        2,
    );
    check(
        email(),
        &[],
        r#"["\ud83d\ude00 ann@example.com \ud83d\ude00"]"#,
        r#"["\ud83d\ude00 *** \ud83d\ude00"]"#,
        1,
    );
    check(email(), &[], r#"["\ud83d ann@example.com\/"]"#, r#"["\ud83d ***\/"]"#, 1);
}

#[test]
fn a_document_within_a_text_stays_one() {
    let all = redact(&[Detector::Email, Detector::Card, Detector::Key], &[], "***");
    check(
        all,
        &[],
        r#"{"arguments":"{\"a\":\"Hi\\nann@example.com\",\"b\":\"\\t4111111111111111\",\"c\":\"\\nsk_live_4fX92bQz\"}"}"#,
        r#"{"arguments":"{\"a\":\"Hi\\n***\",\"b\":\"\\t***\",\"c\":\"\\n***\"}"}"#,
        3,
    );
}

#[test]
fn a_number_in_which_something_is_found_becomes_a_text() {
    let card = redact(&[Detector::Card], &[], "[card]");
    check(
        card,
        &[],
        r#"{"a":4111111111111111,"b":4111111111111112,"c":[-4111111111111111,4111111111111111.0],"d":0.4111111111111111}"#,
        r#"{"a":"[card]","b":4111111111111112,"c":["[card]","[card]"],"d":0.4111111111111111}"#,
        3,
    );
}

#[test]
fn keys_are_looked_at_as_values_are() {
    check(email(), &[], r#"{"ann@example.com":{"ann\u0040example.com":"x"}}"#, r#"{"***":{"***":"x"}}"#, 2);
}

#[test]
fn a_path_bounds_what_is_looked_at_to_what_is_there_and_below() {
    let document = r#"{"a":{"b":["x@y.de"],"x@y.de":1},"c":"x@y.de","d":["x@y.de",{"e":"x@y.de"}]}"#;
    let wanted = r#"{"a":{"b":["***"],"***":1},"c":"x@y.de","d":["x@y.de",{"e":"***"}]}"#;
    check(email(), &["a", "d[*].e"], document, wanted, 3);
    check(email(), &["a"], r#"[{"a":"x@y.de","b":"x@y.de"}]"#, r#"[{"a":"***","b":"x@y.de"}]"#, 1);
}

#[test]
fn of_finds_that_have_something_in_common_one_mask_is_left_and_it_is_the_first_filters() {
    let stage = stage(vec![
        filter(1, 0, redact(&[], &["[a-z]{3}@example"], "[one]"), &[]),
        filter(2, 1, redact(&[Detector::Email], &["one"], "[two]"), &[]),
    ]);
    let chain = chain_of(&stage);
    let filtered = chain.apply(br#"["mail ann@example.com now","bob@other.com",1]"#).expect("JSON");
    assert_eq!(text(&filtered), r#"["mail [one] now","[two]",1]"#);
    assert_eq!((filtered.taken, filtered.filters), (2, 2));
}

#[test]
fn the_first_filters_mask_is_left_wherever_in_the_others_find_its_own_stands() {
    let stage = stage(vec![
        filter(1, 0, redact(&[], &["example", "1111"], "[one]"), &[]),
        filter(2, 1, redact(&[Detector::Email, Detector::Card], &[], "[two]"), &[]),
    ]);
    let filtered = chain_of(&stage).apply(br#"["mail ann@example.com now",4111111111111111]"#).expect("JSON");
    assert_eq!(text(&filtered), r#"["mail [one] now","[one]"]"#, "nothing of the longer find is left");
}

#[test]
fn a_text_too_short_for_detectors_is_looked_through_for_patterns() {
    check(redact(&[], &["ab"], "***"), &[], r#"["xab","x"]"#, r#"["x***","x"]"#, 1);
}

fn chain_of(stage: &FilterStage) -> FilterChain<'_> {
    static NONE: LazyLock<FilterStage> = LazyLock::new(FilterStage::default);
    FilterChain { redacts_only: false, upstream: &NONE, target: &NONE, caller: &NONE, proxy: stage }
}

#[test]
fn the_other_filters_go_on_as_before_and_alone_are_left_out_of_errors() {
    let stage = stage(vec![
        filter(1, 0, Action::Destroy, &["gone"]),
        filter(2, 1, Action::Mask("ann@example.com".to_owned()), &["masked"]),
        filter(3, 2, email(), &[]),
        filter(4, 3, Action::Destroy, &["late"]),
    ]);
    let document = br#"{"gone":"a@b.de","masked":1,"late":"a@b.de","left":"a@b.de"}"#;
    let mut chain = chain_of(&stage);
    let filtered = chain.apply(document).expect("JSON");
    assert_eq!(text(&filtered), r#"{"masked":"ann@example.com","left":"***"}"#, "a mask is left as it is");
    chain.redacts_only = true;
    let filtered = chain.apply(document).expect("JSON");
    assert_eq!(text(&filtered), r#"{"gone":"***","masked":1,"late":"***","left":"***"}"#);
    assert_eq!(filtered.filters, 1);
}

#[test]
fn a_mask_is_written_as_json() {
    let action = redact(&[Detector::Email, Detector::Card], &[], "\"<ä>\\");
    check(action, &[], r#"["a@b.de",4111111111111111]"#, r#"["\"<ä>\\","\"<ä>\\"]"#, 2);
}

#[test]
fn a_long_text_is_gone_over_in_slices_and_finds_across_their_borders_are_whole() {
    let mut document = String::from("[\"");
    let mut wanted = document.clone();
    for i in 0..20_000 {
        document.push_str(&"-".repeat(i % 13));
        wanted.push_str(&"-".repeat(i % 13));
        document.push_str(" ann\\u0040example.com EMP-12345");
        wanted.push_str(" *** ***");
    }
    document.push_str("\"]");
    wanted.push_str("\"]");
    let filter = filter(1, 0, redact(&[Detector::Email], &["EMP-[0-9]{1,9}"], "***"), &[]);
    let mut pass = Pass::begin(vec![&filter], document.as_bytes()).expect("JSON");
    let mut slices = 0;
    while !pass.advance().expect("JSON") {
        slices += 1;
        assert!(pass.copies() > 0, "a copy without escapes is held");
    }
    let filtered = pass.finish();
    assert!(slices > 3, "{slices}");
    assert_eq!((filtered.taken, text(&filtered) == wanted), (40_000, true));
}

#[test]
fn a_document_that_is_broken_or_deep_is_none_wherever_it_is() {
    let filter = filter(1, 0, email(), &[]);
    for document in
        ["{\"a\":\"x@y.de\"", "[\"\\u00\"]", "[1,]", "{\"a\":tru}", "\"x@y.de\" 1", "", "<p>x@y.de</p>"]
    {
        assert!(filter.apply(document.as_bytes()).is_err(), "{document}");
    }
    let deep = "[".repeat(DEPTH_MAX + 1) + &"]".repeat(DEPTH_MAX + 1);
    assert_eq!(filter.apply(deep.as_bytes()), Err(JsonError::Depth));
}

fn texts() -> impl Strategy<Value = String> {
    "[a-c@. \\\\\"/nut0-9é😀-]{0,40}(ann@example.com)?[ -~]{0,10}"
}

proptest! {
    #[test]
    fn whatever_a_text_holds_what_is_left_is_that_text_without_what_is_found(all in prop::collection::vec(texts(), 0..6)) {
        let document = serde_json::to_vec(&all).expect("JSON");
        let filter = filter(1, 0, redact(&[Detector::Email], &["0[0-9]"], ""), &[]);
        let filtered = filter.apply(&document).expect("JSON");
        let left: Vec<String> = serde_json::from_slice(&filtered.document).expect("JSON");
        prop_assert_eq!(left.len(), all.len());
        for (left, all) in left.iter().zip(&all) {
            prop_assert!(left.len() <= all.len());
            // Nothing is there that was not there before, in that order.
            let mut rest = all.chars();
            prop_assert!(left.chars().all(|c| rest.any(|other| other == c)), "{:?} of {:?}", left, all);
        }
    }
}
