//! Filters over JSON: what stays, what goes, and that it stays JSON.

use proptest::prelude::*;

use rr_domain::model::id::{OrgId, TargetId};
use rr_domain::model::json_path::{DEPTH_MAX, JsonPath};
use rr_domain::model::resource::{Key, ResourceId};

use super::super::path::{Batch, Event, Search};
use super::*;

mod redacts;
mod reference;
mod semantics;

fn filter(n: u8, order: u16, action: Action, paths: &[&str]) -> CompiledFilter {
    let parent = Key::new(OrgId::from_random([1; 16]), ResourceId::Target(TargetId::from_random([1; 16])));
    let paths = paths.iter().map(|path| path.parse().expect("a path")).collect();
    let direction = Direction::Response;
    let filter = Filter { parent, name: "f".parse().expect("a name"), action, paths, order, direction };
    CompiledFilter::compile(FilterId::from_random([n; 16]), &filter, &mut Patterns::default())
        .expect("it compiles")
}

fn stage(filters: Vec<CompiledFilter>) -> FilterStage {
    FilterStage::new(filters.into_iter().map(Arc::new).collect())
}

fn text(filtered: &Filtered<'_>) -> String {
    String::from_utf8(filtered.document.to_vec()).expect("UTF-8")
}

fn check(action: Action, paths: &[&str], document: &str, wanted: &str, taken: u64) {
    let filter = filter(1, 0, action, paths);
    let filtered = filter.apply(document.as_bytes()).expect("JSON");
    assert_eq!(text(&filtered), wanted);
    assert_eq!((filtered.taken, filtered.filters), (taken, 1), "{document}");
}

fn mask() -> Action {
    Action::Mask("***".to_owned())
}

#[test]
fn retain_keeps_what_is_named_and_the_way_to_it() {
    let document = r#"{"id":1.10,"user":{"name":"x","mail":"y"},"tags":[{"k":1,"v":2},3],"n":null}"#;
    check(Action::Retain, &["id", "user.name"], document, r#"{"id":1.10,"user":{"name":"x"}}"#, 3);
    check(Action::Retain, &["tags[*].k"], document, r#"{"tags":[{"k":1}]}"#, 5);
    check(Action::Retain, &["user"], document, r#"{"user":{"name":"x","mail":"y"}}"#, 3);
    check(Action::Retain, &["none.at.all"], document, "{}", 4);
    check(Action::Retain, &["user.name.first"], document, r#"{"user":{}}"#, 5);
    check(Action::Retain, &["a"], "[7]", "[]", 1);
    check(Action::Retain, &["a"], "7", "null", 1);
    check(Action::Retain, &["a"], " \"\\u00e4\" ", "null", 1);
}

#[test]
fn destroy_removes_every_occurrence_and_leaves_the_rest_as_it_was() {
    let document = r#"{"a":1,"\u0061":2,"b":[1,{"a":3,"c":1e400}],"c":"\u0061","a":{"a":1}}"#;
    check(Action::Destroy, &["a"], document, r#"{"b":[1,{"a":3,"c":1e400}],"c":"\u0061"}"#, 3);
    check(
        Action::Destroy,
        &["*[*].a", "c"],
        document,
        r#"{"a":1,"\u0061":2,"b":[1,{"c":1e400}],"a":{"a":1}}"#,
        2,
    );
    check(Action::Destroy, &["b[*]"], document, r#"{"a":1,"\u0061":2,"b":[],"c":"\u0061","a":{"a":1}}"#, 2);
    check(Action::Destroy, &["*"], document, "{}", 5);
    check(Action::Destroy, &["*"], "7", "7", 0);
}

#[test]
fn in_a_root_array_a_path_that_starts_with_a_key_starts_at_each_element() {
    let document = r#"[{"id":1,"result":{"mail":"x"}},{"result":{"mail":"y","n":2}},[{"id":3}],4]"#;
    let wanted = r#"[{"id":1,"result":{}},{"result":{"n":2}},[{"id":3}],4]"#;
    check(Action::Destroy, &["result.mail"], document, wanted, 2);
    let wanted = r#"[{"id":"***","result":{"mail":"x"}},{"result":{"mail":"y","n":2}},[{"id":3}],4]"#;
    check(mask(), &["id"], document, wanted, 1);
    check(Action::Retain, &["id"], document, r#"[{"id":1},{},[]]"#, 4);
    check(Action::Destroy, &["*.id"], document, &document.replacen(r#""id":1,"#, "", 1), 1);
}

#[test]
fn a_pass_is_let_go_between_and_ends_where_it_would_make_too_much_work() {
    let all: Vec<CompiledFilter> = (0..64).map(|n| filter(n, 0, Action::Destroy, &["*.b"])).collect();
    let (all, none) = (stage(all), FilterStage::default());
    let chain =
        FilterChain { redacts_only: false, upstream: &none, target: &none, caller: &all, proxy: &none };
    let document = |values: usize| format!("[{}1]", r#"{"a":1},"#.repeat(values));
    let some = document(10_000);
    let mut pass = chain.begin(some.as_bytes()).expect("UTF-8");
    let mut rests = 0;
    while !pass.advance().expect("JSON") {
        rests += 1;
    }
    assert!((20..200).contains(&rests), "{rests} rests");
    assert_eq!(pass.finish().taken, 0);
    assert_eq!(chain.apply(document(600_000).as_bytes()), Err(JsonError::TooMuch));
}

#[test]
fn mask_puts_a_text_in_place_of_any_value() {
    let document = r#"{"card":"4111","cards":[{"n":1},{"n":[2]}],"x":0.10}"#;
    check(
        mask(),
        &["card", "cards[*].n"],
        document,
        r#"{"card":"***","cards":[{"n":"***"},{"n":"***"}],"x":0.10}"#,
        3,
    );
    let quoted = Action::Mask("\"\\\u{1}".to_owned());
    check(quoted, &["a"], r#"{"a":{}}"#, r#"{"a":"\"\\\u0001"}"#, 1);
}

#[test]
fn the_space_around_what_stays_is_left_and_that_around_what_goes_goes_with_it() {
    let document = "\n{ \"a\" : 1 ,\r\n\t\"b\": [ 1 , {\"a\":2} ] , \"c\" :3 }\n";
    check(Action::Destroy, &["a"], document, "\n{\r\n\t\"b\": [ 1 , {\"a\":2} ] , \"c\" :3 }\n", 1);
    check(Action::Destroy, &["b"], document, "\n{ \"a\" : 1 , \"c\" :3 }\n", 1);
    check(Action::Destroy, &["c"], document, "\n{ \"a\" : 1 ,\r\n\t\"b\": [ 1 , {\"a\":2} ] }\n", 1);
    check(Action::Destroy, &["a", "b", "c"], document, "\n{}\n", 3);
    check(Action::Destroy, &["b.*"], document, "\n{ \"a\" : 1 ,\r\n\t\"b\": [] , \"c\" :3 }\n", 2);
    check(mask(), &["b", "a"], document, "\n{ \"a\" : \"***\" ,\r\n\t\"b\": \"***\" , \"c\" :3 }\n", 2);
    check(Action::Retain, &["b.a", "c"], document, "\n{\r\n\t\"b\": [] , \"c\" :3 }\n", 3);
}

#[test]
fn a_document_of_which_nothing_is_taken_is_not_copied() {
    let document = br#"{"a":{"b":1}}"#;
    for filter in [
        filter(1, 0, Action::Destroy, &["b", "a.a", "a.b.c"]),
        filter(1, 0, mask(), &["b"]),
        filter(1, 0, Action::Retain, &["a"]),
    ] {
        let filtered = filter.apply(document).expect("JSON");
        assert!(matches!(filtered.document, Cow::Borrowed(same) if same == document));
    }
}

#[test]
fn what_is_not_json_or_nested_too_deeply_is_an_error_and_not_let_through() {
    let destroy = filter(1, 0, Action::Destroy, &["a"]);
    for document in [
        "",
        "{",
        "{} {}",
        "<html>",
        "{\"a\":1}\n{\"a\":2}",
        "{\"b\":{\"c\":tru}}",
        "{\"a\":{\"c\":01}}",
        "{\"a\":1",
        "{\"a\":1]",
        "{\"b\":1,}",
        "{\"a\":1 \"b\":2}",
        "[1 2]",
        "{\"b\":\"\\x\"}",
    ] {
        assert!(matches!(destroy.apply(document.as_bytes()), Err(JsonError::Syntax(_))), "{document}");
    }
}

#[test]
fn the_bound_of_the_depth_is_the_same_whether_a_path_leads_there_or_not() {
    let nested = |key: &str, depth: usize| format!("{{\"{key}\":").repeat(depth) + "1" + &"}".repeat(depth);
    let longest = ["a"; DEPTH_MAX].join(".");
    for paths in [&["a"][..], &[&longest], &[&longest[2..], "b"]] {
        for action in [Action::Retain, Action::Destroy, mask()] {
            let filter = filter(1, 0, action, paths);
            for key in ["a", "b"] {
                assert!(filter.apply(nested(key, DEPTH_MAX).as_bytes()).is_ok(), "{filter:?} {key}");
                let deeper = nested(key, DEPTH_MAX + 1);
                assert_eq!(filter.apply(deeper.as_bytes()), Err(JsonError::Depth), "{filter:?} {key}");
            }
        }
    }
}

#[test]
fn filters_of_one_parent_run_in_their_order_and_then_by_id() {
    let masks = [(3, 3, "third"), (1, 7, "last"), (2, 3, "second")];
    let masks = masks.map(|(n, order, text)| filter(n, order, Action::Mask(text.to_owned()), &["a"]));
    let (some, none) = (stage(masks.into()), FilterStage::default());
    let ids: Vec<_> = some.filters().iter().map(|filter| filter.id).collect();
    assert_eq!(ids, [2, 3, 1].map(|n| FilterId::from_random([n; 16])));
    let chain =
        FilterChain { redacts_only: false, upstream: &none, target: &none, caller: &some, proxy: &none };
    assert_eq!(text(&chain.apply(br#"{"a":1}"#).expect("JSON")), r#"{"a":"last"}"#);
}

#[test]
fn stages_run_one_after_the_other_and_nothing_comes_back() {
    let upstream = stage(vec![filter(1, 0, Action::Destroy, &["secret"])]);
    // By order and then by id: first masked, then kept.
    let target =
        stage(vec![filter(3, 5, Action::Retain, &["mail", "secret", "id"]), filter(2, 1, mask(), &["mail"])]);
    let none = FilterStage::default();
    let proxy = stage(vec![filter(4, 0, Action::Retain, &["secret", "mail", "x"])]);
    let chain = FilterChain {
        redacts_only: false,
        upstream: &upstream,
        target: &target,
        caller: &none,
        proxy: &proxy,
    };
    let filtered = chain.apply(br#"{"secret":1,"mail":"m","id":2,"x":3}"#).expect("JSON");
    assert_eq!(text(&filtered), r#"{"mail":"***"}"#);
    assert_eq!((filtered.taken, filtered.filters), (4, 4));
    let empty =
        FilterChain { redacts_only: false, upstream: &none, target: &none, caller: &none, proxy: &none };
    assert!(empty.is_empty() && !chain.is_empty());
    let same = empty.apply(b"<html>").expect("not looked at");
    assert_eq!((&*same.document, same.filters), (&b"<html>"[..], 0));
}

#[test]
fn a_value_that_several_filters_take_is_counted_once_and_those_inside_of_it_not_at_all() {
    let first = stage(vec![filter(1, 0, Action::Destroy, &["a.b"]), filter(2, 1, mask(), &["c"])]);
    let second = stage(vec![filter(3, 0, mask(), &["c", "a"]), filter(4, 1, Action::Destroy, &["c"])]);
    let none = FilterStage::default();
    let chain =
        FilterChain { redacts_only: false, upstream: &first, target: &none, caller: &second, proxy: &none };
    let filtered = chain.apply(br#"{"a":{"b":1},"c":[2],"d":3}"#).expect("JSON");
    assert_eq!(text(&filtered), r#"{"a":"***","d":3}"#);
    assert_eq!(filtered.taken, 2);
}

fn any_paths() -> impl Strategy<Value = Vec<&'static str>> {
    let one = vec!["a", "b", "a.b", "a[*].b", "*", "*.a", "b[*]", "a.a.a", "[\"c.d\"].a", "*.*.b"];
    prop::collection::vec(prop::sample::select(one), 1..4)
}

fn any_action() -> impl Strategy<Value = Action> {
    prop_oneof![
        3 => Just(Action::Retain),
        3 => Just(Action::Destroy),
        2 => Just(mask()),
        1 => Just(Action::Mask("\"\u{1}".to_owned())),
    ]
}

fn any_filters() -> impl Strategy<Value = Vec<(u16, Action, Vec<&'static str>)>> {
    prop::collection::vec((0_u16..3, any_action(), any_paths()), 0..3)
}

fn any_space() -> impl Strategy<Value = &'static str> + Clone {
    prop_oneof![6 => Just(""), 1 => Just(" "), 1 => Just("\n          \t")]
}

/// Duplicates, escapes in keys, numbers that no type holds, and space if there is to be any.
fn any_document(spaced: bool) -> impl Strategy<Value = String> {
    let space = any_space().prop_map(move |space| if spaced { space } else { "" }).boxed();
    let leaf = prop_oneof![
        "-?[1-9][0-9]{0,2}(\\.[0-9]{1,3})?(e[0-9]{3})?",
        "\"[a-c]{0,2}\"",
        Just("null".to_owned())
    ];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        let key = prop::sample::select(vec![
            r#""a""#,
            r#""b""#,
            r#""\u0061""#,
            r#""c.d""#,
            r#""c\u002Ed""#,
            r#""""#,
        ]);
        let item = (space.clone(), inner, space.clone())
            .prop_map(|(before, item, after)| format!("{before}{item}{after}"));
        let item = item.boxed();
        let member = (space.clone(), key, space.clone(), item.clone())
            .prop_map(|(before, key, after, item)| format!("{before}{key}{after}:{item}"));
        prop_oneof![
            (space.clone(), any::<bool>()).prop_map(|(space, object)| {
                if object { format!("{{{space}}}") } else { format!("[{space}]") }
            }),
            prop::collection::vec(item, 1..4).prop_map(|all| format!("[{}]", all.join(","))),
            prop::collection::vec(member, 1..5).prop_map(|all| format!("{{{}}}", all.join(","))),
        ]
    })
}

/// What stands at paths, as it is written.
fn standing(document: &[u8], paths: &[&str]) -> Vec<String> {
    let paths: Vec<JsonPath> = paths.iter().map(|path| path.parse().expect("a path")).collect();
    let paths = Paths::new(&paths);
    let mut search = Search::new(document, &paths, Batch::Elements).expect("UTF-8");
    let mut all = Vec::new();
    while let Some(event) = search.next().expect("JSON") {
        if let Event::Found(value, place) = event {
            all.extend(search.ends(place).map(|_| format!("{value:?}")));
        }
    }
    all
}

proptest! {
    #[test]
    fn a_chain_does_what_the_slow_reference_does(
        document in any::<bool>().prop_flat_map(any_document),
        stages in (any_filters(), any_filters(), any_filters(), any_filters()),
    ) {
        let stages = [stages.0, stages.1, stages.2, stages.3];
        let numbered = |(n, (order, action, paths)): (usize, (u16, Action, Vec<&'static str>))| {
            filter(u8::try_from(n).expect("few"), order, action, &paths)
        };
        let compiled = stages.clone().map(|all| stage(all.into_iter().enumerate().map(numbered).collect()));
        let [upstream, target, caller, proxy] = &compiled;
        let chain = FilterChain { redacts_only: false, upstream, target, caller, proxy };
        let left = chain.apply(document.as_bytes()).expect("JSON");
        let (wanted, taken) = reference::run(&document, stages);
        prop_assert_eq!(reference::compact(&text(&left)), wanted.clone(), "{}", document);
        prop_assert_eq!(left.taken, taken, "{}", document);
        if reference::compact(&document) == document && !chain.is_empty() {
            prop_assert_eq!(text(&left), wanted);
        }
        // Space is not made up: what is left stands in the document, but for masks.
        prop_assert!(text(&left).len() <= document.len() + 10 * usize::try_from(taken).expect("few"));
    }

    #[test]
    fn a_chain_does_what_its_filters_do_one_after_the_other(document in any_document(true), filters in any_filters()) {
        let each: Vec<CompiledFilter> = filters.into_iter().map(|(_, action, paths)| filter(1, 0, action, &paths)).collect();
        let mut wanted = document.clone().into_bytes();
        for filter in &each {
            wanted = filter.apply(&wanted).expect("JSON").document.into_owned();
        }
        let (all, none) = (stage(each), FilterStage::default());
        let chain = FilterChain { redacts_only: false, upstream: &none, target: &none, caller: &all, proxy: &none };
        prop_assert_eq!(text(&chain.apply(document.as_bytes()).expect("JSON")), String::from_utf8(wanted).expect("UTF-8"));
    }

    #[test]
    fn a_filter_run_twice_does_what_it_does_once(document in any_document(true), action in any_action(), paths in any_paths()) {
        let filter = filter(1, 0, action, &paths);
        let once = filter.apply(document.as_bytes()).expect("JSON").document;
        prop_assert!(serde_json::from_slice::<serde::de::IgnoredAny>(&once).is_ok(), "{}", document);
        prop_assert_eq!(&filter.apply(&once).expect("JSON").document, &once);
    }

    #[test]
    fn destroy_leaves_nothing_that_it_names(document in any_document(true), paths in any_paths()) {
        let filter = filter(1, 0, Action::Destroy, &paths);
        let left = filter.apply(document.as_bytes()).expect("JSON").document;
        prop_assert_eq!(standing(&left, &paths), Vec::<String>::new());
    }

    #[test]
    fn mask_leaves_nothing_but_masks_where_it_names(document in any_document(true), paths in any_paths()) {
        let filter = filter(1, 0, mask(), &paths);
        let left = filter.apply(document.as_bytes()).expect("JSON").document;
        let wanted = format!("{:?}", "\"***\"");
        prop_assert!(standing(&left, &paths).iter().all(|value| value.contains(&wanted)), "{:?}", left);
    }

    #[test]
    fn retain_keeps_all_that_it_names(document in any_document(true), paths in any_paths()) {
        let filter = filter(1, 0, Action::Retain, &paths);
        let left = filter.apply(document.as_bytes()).expect("JSON").document;
        prop_assert_eq!(standing(&left, &paths), standing(document.as_bytes(), &paths));
    }

    #[test]
    fn no_bytes_panic(document: Vec<u8>, action in any_action()) {
        if let Ok(left) = filter(1, 0, action, &["a", "*.b"]).apply(&document) {
            prop_assert!(serde_json::from_slice::<serde::de::IgnoredAny>(&left.document).is_ok());
        }
    }

    #[test]
    fn no_damage_panics_and_what_is_left_of_it_is_json(
        document in any_document(true),
        action in any_action(),
        paths in any_paths(),
        at: prop::sample::Index,
        byte in prop::sample::select(b"[]{},:\"\\ 0n\x00\xff".to_vec()),
    ) {
        let mut document = document.into_bytes();
        let at = at.index(document.len());
        document[at] = byte;
        let whole = serde_json::from_slice::<serde::de::IgnoredAny>(&document).is_ok();
        let filter = filter(1, 0, action, &paths);
        match filter.apply(&document) {
            Ok(left) => prop_assert!(whole && serde_json::from_slice::<serde::de::IgnoredAny>(&left.document).is_ok()),
            Err(error) => prop_assert!(!whole || matches!(error, JsonError::Encoding(_))),
        }
    }
}
