//! What a proxy may say of its records, and what it may not.

use super::*;

fn read(wire: &fleet::Recording) -> Result<Recording, Vec<(String, String)>> {
    let mut faults = Violations::default();
    let recording = Recording::read(&mut faults, wire);
    faults.finish(|| Some(recording)).map_err(|invalid| {
        invalid.violations().iter().map(|it| (it.field.clone(), it.reason.clone())).collect()
    })
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn templates(paths: &[&str]) -> Result<Recording, Vec<(String, String)>> {
    read(&fleet::Recording { path_templates: texts(paths), ..Default::default() })
}

fn fields(result: Result<Recording, Vec<(String, String)>>) -> Vec<String> {
    result.expect_err("it is wrong").into_iter().map(|(field, _)| field).collect()
}

#[test]
fn a_template_is_texts_and_variables_of_whole_segments() {
    let read =
        templates(&["/users/{id}/orders/{orderNo}", "/files/{rest...}", "/a%20b/~me"]).expect("it is good");
    let [users, files, spaced] = &*read.path_templates else { panic!("three") };
    let text = |text: &str| Segment::Text(text.into());
    assert_eq!(*users.segments, [text("users"), Segment::One, text("orders"), Segment::One]);
    assert_eq!(*files.segments, [text("files"), Segment::Rest]);
    assert_eq!(*spaced.segments, [text("a%20b"), text("~me")]);
}

#[test]
fn what_is_no_template_is_refused_with_its_place() {
    let long = format!("/{}", "a".repeat(256));
    let deep = "/a".repeat(33);
    for bad in [
        "",
        "/",
        "users",
        "/users/",
        "//a",
        "/a//b",
        "/a/../b",
        "/a/.",
        "/a%2fb",
        "/%7Euser",
        "/a b",
        "/\u{e4}",
        "/a?b",
        "/a\\b",
        "/{}",
        "/{a",
        "/a}",
        "/x{a}",
        "/{a}x",
        "/{a-b}",
        "/{a..}",
        "/{...}",
        "/{a...}/b",
        "/{masked}",
        "/{{a}}",
        &long,
        &deep,
    ] {
        assert_eq!(fields(templates(&["/good", bad])), ["recording.path_templates[1]"], "{bad:?}");
    }
    let many: Vec<String> = (0..101).map(|n| format!("/{n}")).collect();
    let many = fleet::Recording { path_templates: many, ..Default::default() };
    assert_eq!(fields(read(&many)), ["recording.path_templates"]);
}

#[test]
fn two_templates_for_the_same_paths_are_one_too_many() {
    let faults = templates(&["/users/{id}", "/users/me", "/users/{name}"]).expect_err("it is wrong");
    assert_eq!(faults[0].0, "recording.path_templates[2]");
    assert!(faults[0].1.contains("/users/{id}"), "{faults:?}");
}

#[test]
fn nothing_that_holds_a_credential_can_be_named() {
    for name in [
        "authorization",
        "cookie",
        "set-cookie",
        "proxy-authorization",
        "www-authenticate",
        "proxy_authorization",
        "set_cookie",
    ] {
        let wire = fleet::Recording {
            request_headers: texts(&["x-a", name]),
            response_headers: texts(&[name]),
            ..Default::default()
        };
        let faults = read(&wire).expect_err("it is wrong");
        let fields: Vec<&str> = faults.iter().map(|(field, _)| field.as_str()).collect();
        assert_eq!(fields, ["recording.request_headers[1]", "recording.response_headers[0]"], "{name}");
        assert!(faults[0].1.contains(name) && faults[0].1.contains("leave it out"), "{faults:?}");
    }
    for name in ["authorization", "Authorization", "AUTHORIZATION"] {
        let wire = fleet::Recording { query_parameters: texts(&["page", name]), ..Default::default() };
        assert_eq!(fields(read(&wire)), ["recording.query_parameters[1]"], "{name}");
    }
}

#[test]
fn names_are_few_and_short_and_none_is_there_twice() {
    let many = || (0..17).map(|n| format!("x-{n}")).collect::<Vec<_>>();
    let wire = fleet::Recording {
        request_headers: many(),
        response_headers: texts(&["x-a", "X-B", "x-a", &"x".repeat(129)]),
        query_parameters: texts(&["a", "", "a", "b\n"]),
        ..Default::default()
    };
    assert_eq!(
        fields(read(&wire)),
        [
            "recording.query_parameters[1]",
            "recording.query_parameters[2]",
            "recording.query_parameters[3]",
            "recording.request_headers",
            "recording.response_headers[1]",
            "recording.response_headers[2]",
            "recording.response_headers[3]",
        ]
    );
    assert!(read(&fleet::Recording::default()).expect("it is good").is_empty());
}
