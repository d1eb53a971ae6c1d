//! Filters over JSON: what stays, what goes, and that it stays JSON.

use proptest::prelude::*;

use rr_domain::model::id::{OrgId, TargetId};
use rr_domain::model::json_path::JsonPath;
use rr_domain::model::resource::{Key, ResourceId};

use super::super::path::find;
use super::*;

fn filter(n: u8, order: u16, action: Action, paths: &[&str]) -> CompiledFilter {
    let parent = Key::new(OrgId::from_random([1; 16]), ResourceId::Target(TargetId::from_random([1; 16])));
    let paths = paths.iter().map(|path| path.parse().expect("a path")).collect();
    let filter = Filter { parent, name: "f".parse().expect("a name"), action, paths, order };
    CompiledFilter::compile(FilterId::from_random([n; 16]), &filter)
}

fn check(action: Action, paths: &[&str], document: &str, wanted: &str, taken: u64) {
    let filtered = filter(1, 0, action, paths).apply(document.as_bytes()).expect("JSON");
    assert_eq!(String::from_utf8(filtered.document).expect("UTF-8"), wanted);
    assert_eq!(filtered.taken, taken, "{document}");
}

fn mask() -> Action {
    Action::Mask("***".to_owned())
}

#[test]
fn retain_keeps_what_is_named_and_the_way_to_it() {
    let document =
        r#"{"id": 1.10, "user": {"name": "x", "mail": "y"}, "tags": [{"k": 1, "v": 2}, 3], "n": null}"#;
    check(Action::Retain, &["id", "user.name"], document, r#"{"id":1.10,"user":{"name":"x"}}"#, 3);
    check(Action::Retain, &["tags[*].k"], document, r#"{"tags":[{"k":1}]}"#, 5);
    check(Action::Retain, &["user"], document, r#"{"user":{"name":"x","mail":"y"}}"#, 3);
    check(Action::Retain, &["none.at.all"], document, "{}", 4);
    check(Action::Retain, &["user.name.first"], document, r#"{"user":{}}"#, 5);
    check(Action::Retain, &["a"], "[{\"a\":1}]", "[]", 1);
    check(Action::Retain, &["a"], "7", "null", 1);
}

#[test]
fn destroy_removes_every_occurrence_and_leaves_the_rest_as_it_was() {
    let document = r#" {"a":1,"\u0061":2, "b":[1,{"a":3,"c":1e400}],"c":"\u0061","a":{"a":1}} "#;
    check(Action::Destroy, &["a"], document, r#"{"b":[1,{"a":3,"c":1e400}],"c":"\u0061"}"#, 3);
    check(
        Action::Destroy,
        &["*[*].a", "c"],
        document,
        r#"{"a":1,"\u0061":2,"b":[1,{"c":1e400}],"a":{"a":1}}"#,
        2,
    );
    check(Action::Destroy, &["b[*]"], document, r#"{"a":1,"\u0061":2,"b":[],"c":"\u0061","a":{"a":1}}"#, 2);
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
fn what_is_not_json_or_nested_too_deeply_is_an_error_and_not_let_through() {
    let destroy = filter(1, 0, Action::Destroy, &["a"]);
    for document in ["", "{", "{} {}", "<html>", "{\"a\":1}\n{\"a\":2}", "{\"b\":{\"c\":tru}}"] {
        assert!(matches!(destroy.apply(document.as_bytes()), Err(JsonError::Syntax(_))), "{document}");
    }
    let deep = format!("{}{}", "{\"a\":".repeat(65), "}".repeat(65));
    assert_eq!(destroy.apply(deep.as_bytes()), Err(JsonError::Depth));
}

#[test]
fn stages_run_one_after_the_other_and_nothing_comes_back() {
    let stage = |filters: Vec<CompiledFilter>| FilterStage::new(filters.into_iter().map(Arc::new).collect());
    let upstream = stage(vec![filter(1, 0, Action::Destroy, &["secret"])]);
    // By order and then by id: first masked, then kept.
    let target =
        stage(vec![filter(3, 5, Action::Retain, &["mail", "secret", "id"]), filter(2, 1, mask(), &["mail"])]);
    let none = FilterStage::default();
    let proxy = stage(vec![filter(4, 0, Action::Retain, &["secret", "mail", "x"])]);
    let chain = FilterChain { upstream: &upstream, target: &target, caller: &none, proxy: &proxy };
    let filtered = chain.apply(br#"{"secret":1,"mail":"m","id":2,"x":3}"#.to_vec()).expect("JSON");
    assert_eq!(filtered, Filtered { document: br#"{"mail":"***"}"#.to_vec(), taken: 4 });
    let empty = FilterChain { upstream: &none, target: &none, caller: &none, proxy: &none };
    assert!(empty.is_empty() && !chain.is_empty());
    assert_eq!(empty.apply(b"<html>".to_vec()).expect("not looked at").document, b"<html>");
}

fn any_document() -> impl Strategy<Value = String> {
    let leaf = prop_oneof!["-?[1-9][0-9]{0,2}(\\.[0-9]{1,3})?", "\"[a-c]{0,2}\"", Just("null".to_owned())];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let key = prop_oneof![Just("\"a\""), Just("\"b\""), Just("\"\\u0061\""), Just("\"c.d\"")];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|all| format!("[{}]", all.join(","))),
            prop::collection::vec((key, inner), 0..5).prop_map(|all| {
                let all: Vec<String> = all.into_iter().map(|(key, value)| format!("{key}:{value}")).collect();
                format!("{{{}}}", all.join(","))
            }),
        ]
    })
}

fn any_paths() -> impl Strategy<Value = Vec<&'static str>> {
    let one = vec!["a", "b", "a.b", "a[*].b", "*", "*.a", "b[*]", "a.a.a", "[\"c.d\"].a", "*.*.b"];
    prop::collection::vec(prop::sample::select(one), 1..4)
}

fn any_action() -> impl Strategy<Value = Action> {
    prop_oneof![Just(Action::Retain), Just(Action::Destroy), Just(mask())]
}

/// What stands at paths, as it is written.
fn standing(document: &[u8], paths: &[&str]) -> Vec<String> {
    let paths: Vec<JsonPath> = paths.iter().map(|path| path.parse().expect("a path")).collect();
    let mut all = Vec::new();
    find(document, &Paths::new(&paths), &mut |_, value| all.push(format!("{value:?}"))).expect("JSON");
    all
}

proptest! {
    #[test]
    fn a_filter_run_twice_does_what_it_does_once(document in any_document(), action in any_action(), paths in any_paths()) {
        let filter = filter(1, 0, action, &paths);
        let once = filter.apply(document.as_bytes()).expect("JSON").document;
        prop_assert!(serde_json::from_slice::<serde::de::IgnoredAny>(&once).is_ok(), "{}", document);
        prop_assert_eq!(filter.apply(&once).expect("JSON").document, once);
    }

    #[test]
    fn destroy_leaves_nothing_that_it_names(document in any_document(), paths in any_paths()) {
        let left = filter(1, 0, Action::Destroy, &paths).apply(document.as_bytes()).expect("JSON").document;
        prop_assert_eq!(standing(&left, &paths), Vec::<String>::new());
    }

    #[test]
    fn mask_leaves_nothing_but_masks_where_it_names(document in any_document(), paths in any_paths()) {
        let left = filter(1, 0, mask(), &paths).apply(document.as_bytes()).expect("JSON").document;
        let wanted = format!("{:?}", "\"***\"");
        prop_assert!(standing(&left, &paths).iter().all(|value| value.contains(&wanted)), "{:?}", left);
    }

    #[test]
    fn retain_keeps_all_that_it_names_and_no_scalar_that_it_does_not(document in any_document(), paths in any_paths()) {
        let left = filter(1, 0, Action::Retain, &paths).apply(document.as_bytes()).expect("JSON").document;
        prop_assert_eq!(standing(&left, &paths), standing(document.as_bytes(), &paths));
        let rest = filter(1, 0, Action::Destroy, &paths).apply(&left).expect("JSON").document;
        let rest = String::from_utf8(rest).expect("UTF-8").replace("\\u0061", "a");
        prop_assert!(rest == "null" || !rest.contains(|c: char| c.is_ascii_digit() || c == 'n'), "{}", rest);
    }

    #[test]
    fn what_no_filter_names_is_copied_to_the_byte(document in any_document(), action in any_action()) {
        if action != Action::Retain {
            let same = filter(1, 0, action, &["zz.*", "[\"a.b\"]"]).apply(document.as_bytes()).expect("JSON");
            prop_assert_eq!(same, Filtered { document: document.into_bytes(), taken: 0 });
        }
    }

    #[test]
    fn no_bytes_panic(document: Vec<u8>, action in any_action()) {
        if let Ok(left) = filter(1, 0, action, &["a", "*.b"]).apply(&document) {
            prop_assert!(serde_json::from_slice::<serde::de::IgnoredAny>(&left.document).is_ok());
        }
    }
}
