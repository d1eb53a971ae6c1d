//! The sentences about response filters, each with what it means for documents.
//!
//! Whether a response is filtered at all (its status, its media type) is not decided here.

use super::*;

/// Of the upstream credential, the target, the caller credential and the proxy.
type Stages = [Vec<(Action, &'static [&'static str])>; 4];

fn left(stages: Stages, document: &str) -> Result<String, JsonError> {
    let [upstream, target, caller, proxy] = stages.map(|filters| {
        stage(filters.into_iter().map(|(action, paths)| filter(1, 0, action, paths)).collect())
    });
    let chain = FilterChain {
        redacts_only: false,
        upstream: &upstream,
        target: &target,
        caller: &caller,
        proxy: &proxy,
    };
    chain.apply(document.as_bytes()).map(|filtered| text(&filtered))
}

fn table(rows: Vec<(Stages, &str, &str)>) {
    for (stages, document, wanted) in rows {
        let said = format!("{stages:?}");
        assert_eq!(left(stages, document).as_deref(), Ok(wanted), "{said}");
    }
}

fn destroy(paths: &'static [&'static str]) -> (Action, &'static [&'static str]) {
    (Action::Destroy, paths)
}

fn retain(paths: &'static [&'static str]) -> (Action, &'static [&'static str]) {
    (Action::Retain, paths)
}

fn masked(text: &str, paths: &'static [&'static str]) -> (Action, &'static [&'static str]) {
    (Action::Mask(text.to_owned()), paths)
}

#[test]
fn only_json_is_filtered_and_what_is_not_json_leaks_nothing() {
    for document in
        ["<html>", "a=1&b=2", "", "{\"a\":1}{\"a\":1}", "event: x\ndata: {\"a\":1}\n\n", "{'a':1}"]
    {
        let stages = [vec![destroy(&["a"])], vec![], vec![], vec![]];
        assert!(left(stages, document).is_err(), "{document}");
    }
    // Without filters nothing is looked at.
    table(vec![([vec![], vec![], vec![], vec![]], "<html>", "<html>")]);
}

#[test]
fn four_stages_run_strictly_one_after_the_other_each_on_what_the_one_before_left() {
    let document = r#"{"a":{"x":1,"y":2},"b":3}"#;
    table(vec![
        // A mask is what the next stage sees: a text has no members.
        (
            [vec![masked("m", &["a"])], vec![destroy(&["a.x"])], vec![], vec![]],
            document,
            r#"{"a":"m","b":3}"#,
        ),
        (
            [vec![destroy(&["a.x"])], vec![masked("m", &["a"])], vec![], vec![]],
            document,
            r#"{"a":"m","b":3}"#,
        ),
        ([vec![], vec![masked("m", &["a"])], vec![retain(&["a.x"])], vec![]], document, "{}"),
        ([vec![], vec![], vec![retain(&["a.x"])], vec![masked("m", &["a"])]], document, r#"{"a":"m"}"#),
        // Of two masks of one value, the last one is seen.
        (
            [vec![masked("1", &["b"])], vec![], vec![masked("2", &["b"])], vec![]],
            document,
            r#"{"a":{"x":1,"y":2},"b":"2"}"#,
        ),
    ]);
}

#[test]
fn the_source_side_is_first_and_the_consumer_side_last() {
    let mask = |n: usize| -> Stages {
        let mut stages: Stages = [vec![], vec![], vec![], vec![]];
        stages[n].push(masked("this", &["a"]));
        if n < 3 {
            stages[n + 1].push(masked("next", &["a"]));
        }
        stages
    };
    let (next, this) = (r#"{"a":"next"}"#, r#"{"a":"this"}"#);
    table(vec![
        (mask(0), r#"{"a":1}"#, next),
        (mask(1), r#"{"a":1}"#, next),
        (mask(2), r#"{"a":1}"#, next),
        (mask(3), r#"{"a":1}"#, this),
    ]);
}

#[test]
fn a_removed_field_can_never_come_back() {
    let document = r#"{"secret":1,"\u0073ecret":[2],"open":{"secret":3}}"#;
    for n in 0..4 {
        let mut stages: Stages = [vec![], vec![], vec![], vec![]];
        for (later, stage) in stages.iter_mut().enumerate() {
            if later == n {
                stage.push(destroy(&["secret"]));
            }
            if later >= n {
                stage.push(retain(&["secret", "open"]));
                stage.push(masked("m", &["secret"]));
            }
        }
        assert_eq!(left(stages, document).as_deref(), Ok(r#"{"open":{"secret":3}}"#), "{n}");
    }
}

#[test]
fn each_stage_says_what_may_pass_and_all_of_them_have_to() {
    let document = r#"{"id":1,"name":"n","mail":"m","debug":true,"price":9.90}"#;
    table(vec![
        // What the upstream key is entitled to, the policy for the API, what this consumer may see, tidying.
        (
            [
                vec![retain(&["id", "name", "mail", "debug"])],
                vec![masked("***", &["mail"])],
                vec![destroy(&["name"])],
                vec![destroy(&["debug"])],
            ],
            document,
            r#"{"id":1,"mail":"***"}"#,
        ),
        ([vec![retain(&["id"])], vec![retain(&["name"])], vec![], vec![]], document, "{}"),
    ]);
}

#[test]
fn proxies_that_share_a_target_show_views_that_differ() {
    let document =
        r#"{"patient":"p","visits":[{"diagnosis":"d","amount":10.00},{"diagnosis":"e","amount":5}]}"#;
    let target = || vec![masked("***", &["patient"])];
    table(vec![
        (
            [vec![], target(), vec![], vec![destroy(&["visits[*].amount"])]],
            document,
            r#"{"patient":"***","visits":[{"diagnosis":"d"},{"diagnosis":"e"}]}"#,
        ),
        (
            [vec![], target(), vec![], vec![retain(&["patient", "visits[*].amount"])]],
            document,
            r#"{"patient":"***","visits":[{"amount":10.00},{"amount":5}]}"#,
        ),
    ]);
}

#[test]
fn the_order_of_keys_duplicates_and_numbers_stay_to_the_byte() {
    let document = r#"{"z":1.0,"a":1e400,"z":-0,"q":12345678901234567890.10,"\u007a":"\/\u00E4ä","x":0}"#;
    table(vec![
        ([vec![destroy(&["x"])], vec![], vec![], vec![]], document, &document.replace(r#","x":0"#, "")),
        (
            [vec![retain(&["z", "a", "q"])], vec![], vec![], vec![]],
            document,
            &document.replace(r#","x":0"#, ""),
        ),
        (
            [vec![destroy(&["z"])], vec![], vec![], vec![]],
            document,
            r#"{"a":1e400,"q":12345678901234567890.10,"x":0}"#,
        ),
    ]);
}
