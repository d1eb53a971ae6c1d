//! Lines, paths and spellings.

use super::*;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Sample {
    base_url: String,
    inner: Option<Inner>,
    many: Vec<Inner>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Inner {
    #[serde(rename = "number")]
    _number: u32,
}

#[test]
fn both_spellings_of_a_field_are_read_and_documents_come_in_order_from_lists_too() {
    let text = "---\n# nothing\n---\nkind: a\nbaseUrl: x\n---\n- {kind: b, base_url: z}\n- kind: c\n";
    let found = documents(text).expect("YAML");
    let kinds: Vec<_> = found.iter().map(|node| node.text("kind").unwrap_or_default()).collect();
    assert_eq!(kinds, ["a", "b", "c"]);
    assert_eq!(found[0].read::<Sample>().expect("a sample").base_url, "x");
    assert_eq!(found[1].read::<Sample>().expect("a sample").base_url, "z");
    assert_eq!((found[0].line, found[1].line, found[2].line), (4, 7, 8));
}

#[test]
fn a_mistake_has_the_line_and_the_path_and_not_what_stands_there() {
    for (text, line, what) in [
        ("kind: a\nbase_url: [s3cret]\n", 2, "base_url: must be a string"),
        (
            "kind: a\nbase_url: 1.3\n",
            2,
            "base_url: must be a string, and YAML takes what stands here for a number",
        ),
        (
            "kind: a\nbase_url: y\n",
            2,
            "base_url: must be a string, and YAML takes what stands here for true or false",
        ),
        ("kind: a\n\ninner:\n  number: s3cret\n", 4, "inner.number: must be u32"),
        ("kind: a\nmany:\n- number: 1\n- number: -3\n", 4, "many[1].number: must be u32"),
        ("kind: a\ninner:\n  numbr:\n    x: s3cret\n", 3, "inner: there is no field numbr"),
        ("kind: a\nother: s3cret\n", 2, "there is no field other"),
        ("kind: a\ninner: {}\n", 2, "inner: missing field `number`"),
    ] {
        let mistake = documents(text).expect("YAML")[0].read::<Sample>().expect_err(what);
        assert!(mistake.to_string().starts_with(what), "{mistake}");
        assert!(!mistake.to_string().contains("s3cret"), "{mistake}");
        assert_eq!(mistake.line, Some(line), "{mistake}");
    }
    let mistake = documents("a: 1\nb: [\n").expect_err("no YAML");
    assert!(mistake.line.is_some(), "{mistake}");
    for twice in ["a: 1\na: 2\n", "baseUrl: 1\nbase_url: 2\n"] {
        documents(twice).expect_err("a field that is there twice");
    }
}

#[test]
fn what_is_no_yaml_is_said_without_a_word_of_the_library() {
    let twice = documents("a: 1\nb: 2\na: 3\n").expect_err("a field that is there twice");
    assert_eq!((twice.line, twice.to_string().as_str()), (Some(3), "a: is there twice: keep one of them"));
    let open = documents("a: 1\nb: [\n").expect_err("no YAML").to_string();
    assert!(!open.contains("at line") && !open.contains("Options"), "{open}");
}

#[test]
fn what_is_wrong_can_be_taken_out_so_that_the_rest_is_read() {
    let text = "kind: a\nother: 1\nbase_url: [x]\ninner:\n  numbr: 1\n  number: 2\nmany:\n- number: 3\n- number: x\n";
    let mut node = documents(text).expect("YAML").remove(0);
    let mut found = Vec::new();
    while let Err(mistake) = node.read::<Sample>() {
        found.push(mistake.to_string());
        assert!(node.remove(&mistake.removable()), "{mistake}");
    }
    assert_eq!(found.len(), 5, "{found:?}");
    for (n, part) in
        ["field other", "base_url: must", "field numbr", "many[1].number: must", "many[1]: missing"]
            .into_iter()
            .enumerate()
    {
        assert!(found[n].contains(part), "{found:?}");
    }
    assert_eq!(node.read::<Sample>().expect("the rest").many.len(), 1);
    for nowhere in ["", "gone", "kind.x.y"] {
        let had = node.text("kind").is_some();
        assert_eq!(node.remove(nowhere), had && nowhere.starts_with("kind"), "{nowhere}");
    }
}

#[test]
fn the_line_of_a_field_is_found_by_its_path() {
    let text = "kind: a\nwhen:\n  headers:\n  - name: x\n  - name:\n      regex: y\n";
    let node = &documents(text).expect("YAML")[0];
    for (path, line) in [("when.headers[1].name.regex", 6), ("when.headers[0].name", 4), ("gone", 1)] {
        assert_eq!(node.line_of(path), line, "{path}");
    }
}
