//! What people read of an explanation.

use super::*;

#[test]
fn what_is_explained_is_named_in_one_word_or_in_two() {
    let named = |kind: &str, name: Option<&str>| {
        ExplainArgs { kind: kind.to_owned(), name: name.map(str::to_owned) }.named()
    };
    for (kind, name) in
        [("proxy/pay", None), ("proxies/pay", None), ("proxy", Some("pay")), ("proxies", Some("pay"))]
    {
        assert_eq!(named(kind, name).expect(kind), ("proxy".to_owned(), "pay".to_owned()));
    }
    for (kind, name) in [("proxy", None), ("proxy/", None), ("proxy/pay", Some("pay"))] {
        let error = named(kind, name).expect_err(kind).to_string();
        assert!(error.contains("`rrctl explain proxy/NAME`"), "{error}");
    }
    // The control plane knows which kinds there are.
    assert_eq!(named("colour/red", None).expect("two words"), ("colour".to_owned(), "red".to_owned()));
}

#[test]
fn an_explanation_says_what_callers_get_with_resource_node_and_reason() {
    let harm = |harm: fleet::Harm, cause_kind: &str| fleet::ProxyHarm {
        name: "pay".into(),
        node: "nd_1".into(),
        harm: harm.into(),
        cause_kind: cause_kind.into(),
        cause_name: "first".into(),
        why: fleet::Why::Invalid.into(),
        detail: "no such pattern".into(),
        ..fleet::ProxyHarm::default()
    };
    let region = fleet::ResourceInRegion {
        region: "eu".into(),
        harms: vec![harm(fleet::Harm::Closed, "rule"), harm(fleet::Harm::Denied, "credential")],
        harm_count: 5,
        untold: vec!["nd_2".into()],
        clashes: vec!["nd_3".into()],
        ..fleet::ResourceInRegion::default()
    };
    assert_eq!(
        told(&region),
        [
            "proxy pay on nd_1: callers get 503: it is closed, because nd_1 refuses rule first: no such pattern (invalid)",
            "proxy pay on nd_1: callers with that credential get 503, or 401 where it cannot tell whose it is, because nd_1 refuses credential first: no such pattern (invalid)",
            "… and 3 more of region eu",
            "nd_2 refuses more than it tells of: there may be more; see `rrctl node why nd_2`",
            "another process claims to be nd_3 and was not let in; see `rrctl node why nd_3`",
        ]
    );
}

#[test]
fn a_refusal_says_what_runs_in_the_place_of_what_is_refused() {
    let refusal = fleet::ResourceRefusal {
        node: "nd_1".into(),
        why: fleet::Why::Invalid.into(),
        detail: "no such pattern".into(),
        fails_closed: true,
        ..fleet::ResourceRefusal::default()
    };
    let older = fleet::ResourceRefusal { running: vec![1], fails_closed: false, ..refusal.clone() };
    let region = fleet::ResourceInRegion { refusals: vec![refusal, older], ..Default::default() };
    assert_eq!(
        told(&region),
        [
            "nd_1 refuses it: no such pattern (invalid); the proxies that use it deny their callers there; no version of it runs",
            "nd_1 refuses it: no such pattern (invalid); an older version runs in its place",
        ]
    );
}

#[test]
fn a_node_that_runs_no_version_is_not_one_that_runs_another() {
    let version = |hash: &[u8], published, count| fleet::RunningVersion {
        hash: hash.to_vec(),
        published,
        count,
        nodes: Vec::new(),
    };
    let running = vec![version(&[1], true, 3), version(&[2], false, 2), version(&[], false, 1)];
    let region = fleet::ResourceInRegion { running, ..Default::default() };
    let cell = |column: &str| {
        let at = fleet::ResourceInRegion::COLUMNS.iter().position(|it| *it == column).expect(column);
        region.cells()[at].clone()
    };
    assert_eq!((cell("published version"), cell("others")), ("3".to_owned(), "2".to_owned()));
}
