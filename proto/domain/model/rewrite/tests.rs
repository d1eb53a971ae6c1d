//! Which changes a proxy can make, and which it cannot.

use super::*;

fn read(wire: fleet::Rewrite) -> Result<Rewrite, Vec<String>> {
    let mut faults = Violations::default();
    let rewrite = Rewrite::read(&mut faults, wire);
    let named = |invalid: crate::model::invalid::Invalid| {
        invalid.violations().iter().map(|violation| violation.field.clone()).collect()
    };
    faults.finish(|| Some(rewrite)).map_err(named)
}

fn pair(name: &str, value: &str) -> fleet::Pair {
    fleet::Pair { name: name.to_owned(), value: value.to_owned() }
}

fn headers(edits: fleet::PairEdits) -> fleet::Rewrite {
    fleet::Rewrite { request_headers: Some(edits), ..fleet::Rewrite::default() }
}

#[test]
fn what_is_said_is_kept_in_its_order() {
    let edits = fleet::PairEdits {
        remove: vec!["x-a".to_owned()],
        rename: vec![fleet::Rename { from: "x-b".to_owned(), to: "x-c".to_owned() }],
        set: vec![pair("x-d", "1")],
        add: vec![pair("x-e", "2"), pair("x-e", "3")],
    };
    let wire = fleet::Rewrite {
        strip_prefix: "/v1".to_owned(),
        add_prefix: "/api/v2".to_owned(),
        query: Some(fleet::PairEdits { set: vec![pair("a b", "\u{e4}")], ..fleet::PairEdits::default() }),
        host: "api.example:8443".to_owned(),
        via: true,
        ..headers(edits)
    };
    let rewrite = read(wire).expect("it is valid");
    assert_eq!((&*rewrite.strip_prefix, &*rewrite.add_prefix, rewrite.via), ("/v1", "/api/v2", true));
    assert_eq!(rewrite.host.as_ref().map(Authority::as_str), Some("api.example:8443"));
    assert_eq!(*rewrite.query.set, [("a b".into(), "\u{e4}".into())]);
    let names: Vec<&str> = rewrite.request_headers.add.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["x-e", "x-e"]);
    assert!(rewrite.response_headers.is_empty() && !rewrite.request_headers.is_empty());
}

#[test]
fn no_edit_names_a_header_that_frames_identifies_or_is_ours() {
    for name in [
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "upgrade",
        "te",
        "trailer",
        "expect",
        "keep-alive",
        "proxy-connection",
        "authorization",
        "proxy-authorization",
        "cookie",
        "set-cookie",
        "requestrocket-request-id",
        "requestrocket_request_id",
        "content_length",
        "transfer_encoding",
        "set_cookie",
        "http2-settings",
        "sec-websocket-accept",
        "sec-websocket-key",
        "sec-websocket-version",
        "proxy-authenticate",
        "www-authenticate",
        "X-Upper",
        "x y",
        "",
        ":path",
    ] {
        let of = |edits| read(headers(edits)).expect_err(name);
        let empty = fleet::PairEdits::default;
        let field = |what: &str| vec![format!("rewrite.request_headers.{what}")];
        assert_eq!(of(fleet::PairEdits { remove: vec![name.to_owned()], ..empty() }), field("remove[0]"));
        assert_eq!(of(fleet::PairEdits { set: vec![pair(name, "a")], ..empty() }), field("set[0].name"));
        assert_eq!(of(fleet::PairEdits { add: vec![pair(name, "a")], ..empty() }), field("add[0].name"));
        let rename = |from: &str, to: &str| fleet::Rename { from: from.to_owned(), to: to.to_owned() };
        assert_eq!(
            of(fleet::PairEdits { rename: vec![rename(name, "x-a")], ..empty() }),
            field("rename[0].from")
        );
        assert_eq!(
            of(fleet::PairEdits { rename: vec![rename("x-a", name)], ..empty() }),
            field("rename[0].to")
        );
    }
}

#[test]
fn a_name_that_cannot_be_changed_is_refused_with_the_reason() {
    for (text, why) in [
        ("host", "rewrite.host"),
        ("authorization", "credentials"),
        ("cookie", "who somebody is"),
        ("content-length", "frames"),
        ("requestrocket-region", "the node's own"),
        ("X-A", "lower case"),
    ] {
        let said = name(text).expect_err(text);
        assert!(said.contains(why), "{said}");
    }
    assert_eq!(name(&"a".repeat(NAME_MAX + 1)), Err("is longer than 256 bytes".to_owned()));
}

#[test]
fn no_value_holds_a_line_end() {
    for value in ["a\r\nb", "a\nb", "a\0", "\u{e4}\u{7f}"] {
        let edits = fleet::PairEdits { set: vec![pair("x-a", value)], ..fleet::PairEdits::default() };
        assert_eq!(
            read(headers(edits)),
            Err(vec!["rewrite.request_headers.set[0].value".to_owned()]),
            "{value:?}"
        );
    }
}

#[test]
fn a_prefix_has_one_spelling() {
    for prefix in
        ["v1", "/v1/", "//v1", "/a/../b", "/.", "/..;x", "/%41", "/a b", "/a?b", "/a#b", "/a\\b", "/"]
    {
        let wire = fleet::Rewrite { add_prefix: prefix.to_owned(), ..fleet::Rewrite::default() };
        assert_eq!(read(wire), Err(vec!["rewrite.add_prefix".to_owned()]), "{prefix}");
        let wire = fleet::Rewrite { strip_prefix: prefix.to_owned(), ..fleet::Rewrite::default() };
        assert_eq!(read(wire), Err(vec!["rewrite.strip_prefix".to_owned()]), "{prefix}");
    }
}

#[test]
fn a_host_is_a_host_and_a_parameter_is_not_the_one_with_the_credential() {
    for host in ["a@b", "a/b", "a b", "http://a", ":80", "a:", "a:b", "a:99999", "a:1:2", "\u{e4}", "[::1"] {
        let wire = fleet::Rewrite { host: host.to_owned(), ..fleet::Rewrite::default() };
        assert_eq!(read(wire), Err(vec!["rewrite.host".to_owned()]), "{host}");
    }
    for host in ["a", "a.example:8443", "[::1]:80", "127.0.0.1"] {
        let wire = fleet::Rewrite { host: host.to_owned(), ..fleet::Rewrite::default() };
        assert!(read(wire).is_ok(), "{host}");
    }
    let edits = fleet::PairEdits { remove: vec!["Authorization".to_owned()], ..fleet::PairEdits::default() };
    let wire = fleet::Rewrite { query: Some(edits), ..fleet::Rewrite::default() };
    assert_eq!(read(wire), Err(vec!["rewrite.query.remove[0]".to_owned()]));
}

#[test]
fn edits_are_bounded() {
    let edits = fleet::PairEdits { remove: vec!["x-a".to_owned(); 33], ..fleet::PairEdits::default() };
    assert_eq!(read(headers(edits)), Err(vec!["rewrite.request_headers.remove".to_owned()]));
}
