//! The reader against `serde_json`, and the depth that it takes.

use proptest::prelude::*;

use super::*;

fn read(document: &[u8]) -> Result<(), JsonError> {
    let mut reader = Reader::new(document)?;
    reader.pass()?;
    reader.end()
}

/// The same, value after value.
fn walk(reader: &mut Reader<'_>) -> Result<(), JsonError> {
    let value = reader.value()?;
    let mut first = true;
    match value {
        Value::Object => {
            while reader.member(first)?.is_some() {
                first = false;
                walk(reader)?;
            }
        }
        Value::Array => {
            while reader.element(first)? {
                first = false;
                walk(reader)?;
            }
        }
        Value::Text(_) | Value::Number(_) | Value::Word(_) => {}
    }
    Ok(())
}

fn read_in_steps(document: &[u8]) -> Result<(), JsonError> {
    let mut reader = Reader::new(document)?;
    walk(&mut reader)?;
    reader.end()
}

fn any_space() -> impl Strategy<Value = &'static str> + Clone {
    prop_oneof![8 => Just(""), 1 => Just(" "), 1 => Just("\n         \t"), 1 => Just("\r\n")]
}

/// JSON with space anywhere, texts of many lengths, and escapes.
fn any_document() -> impl Strategy<Value = String> {
    let text = "\"[ a-zä€😀]{0,20}(\\\\[\"\\\\/bfnrt]|\\\\u[0-9a-fA-F]{4})?[a-z]{0,9}(\\\\u00e4)?\"";
    let leaf =
        prop_oneof!["-?(0|[1-9][0-9]{0,3})(\\.[0-9]{1,9})?([eE][+-]?[0-9]{1,3})?", text, "true|false|null"];
    leaf.prop_recursive(5, 30, 5, move |inner| {
        let item = (any_space(), inner, any_space())
            .prop_map(|(before, item, after)| format!("{before}{item}{after}"));
        let member = (any_space(), text, any_space(), item.clone())
            .prop_map(|(before, key, after, item)| format!("{before}{key}{after}:{item}"));
        prop_oneof![
            any_space().prop_map(|space| format!("[{space}]")),
            any_space().prop_map(|space| format!("{{{space}}}")),
            prop::collection::vec(item, 1..5).prop_map(|all| format!("[{}]", all.join(","))),
            prop::collection::vec(member, 1..5).prop_map(|all| format!("{{{}}}", all.join(","))),
        ]
    })
}

fn unescaped(document: &str) -> String {
    match Reader::new(document.as_bytes()).expect("UTF-8").value() {
        Ok(Value::Text(text)) => text.unescaped().into_owned(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_depth_is_bounded_and_the_bound_can_be_reached() {
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    for read in [read, read_in_steps] {
        assert_eq!(read(nested(DEPTH_MAX).as_bytes()), Ok(()));
        assert_eq!(read(nested(DEPTH_MAX + 1).as_bytes()), Err(JsonError::Depth));
        assert_eq!(read("[".repeat(1_000_000).as_bytes()), Err(JsonError::Depth));
    }
    let wide = format!("[{}1]", "[],".repeat(1000));
    assert_eq!(read(wide.as_bytes()), Ok(()));
}

#[test]
fn texts_are_unescaped_as_others_do() {
    for text in [r#""a\u00e4\n\"\\\/""#, r#""\ud83d\ude00x""#, r#""""#] {
        assert_eq!(unescaped(text), serde_json::from_str::<String>(text).expect("a text"), "{text}");
    }
    assert_eq!(unescaped(r#""\ud83dx\ude00\ud83d\u0041""#), "\u{fffd}x\u{fffd}\u{fffd}A");
}

#[test]
fn what_is_not_json_is_refused_where_it_goes_wrong() {
    for (document, at) in
        [("{\"a\":1,}", 7), ("[1,]", 3), ("01", 1), ("", 0), ("[1 2]", 3), ("nul", 0), ("'a'", 0)]
    {
        assert_eq!(read(document.as_bytes()), Err(JsonError::Syntax(at)), "{document}");
    }
    assert_eq!(read(b"\"\xff\""), Err(JsonError::Encoding(1)));
    assert!(read("\u{feff}1".as_bytes()).is_err());
}

proptest! {
    #[test]
    fn it_takes_exactly_what_serde_json_takes(document in "[\\[\\]{},:\"\\\\/abtrue0nlf.eE+\\- \n1]{0,16}|\\{(\"a\\\\?[nux\"]?\":(-?0\\.?1?e?|\"\\\\u00?e4?\"|\\[1?,?2?\\]),?){0,3}\\}") {
        let wanted = serde_json::from_str::<serde::de::IgnoredAny>(&document).is_ok();
        prop_assert_eq!(read(document.as_bytes()).is_ok(), wanted, "{}", document);
    }

    #[test]
    fn json_is_taken_whole_and_in_steps(document in any_document()) {
        prop_assert_eq!(read(document.as_bytes()), Ok(()), "{}", document);
        prop_assert_eq!(read_in_steps(document.as_bytes()), Ok(()), "{}", document);
    }

    #[test]
    fn damaged_json_is_taken_where_serde_json_takes_it_and_fails_at_one_place(
        document in any_document(),
        at: prop::sample::Index,
        damage in "[\\[\\]{},:\"\\\\/abtrue0nlf.eE+\\- \n\u{1}\u{1f}1]{0,2}",
        removed in 0_usize..3,
    ) {
        let mut bytes = document.into_bytes();
        let at = at.index(bytes.len() + 1);
        bytes.splice(at..(at + removed).min(bytes.len()), damage.bytes());
        let wanted = serde_json::from_slice::<serde::de::IgnoredAny>(&bytes).is_ok();
        // It does not look whether texts that it ignores are UTF-8.
        let wanted = wanted && std::str::from_utf8(&bytes).is_ok();
        prop_assert_eq!(read(&bytes).is_ok(), wanted, "{}", String::from_utf8_lossy(&bytes));
        prop_assert_eq!(read(&bytes), read_in_steps(&bytes), "{}", String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn no_bytes_panic(document: Vec<u8>) {
        let wanted = serde_json::from_slice::<serde::de::IgnoredAny>(&document).is_ok();
        prop_assert!(wanted || read(&document).is_err());
    }
}
