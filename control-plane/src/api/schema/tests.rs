//! The schemas as the contract has them.

use super::*;

impl Schema {
    /// A service whose calls have an etag in the query, in the body's field, and nowhere.
    pub(in crate::api) fn with_etags() -> Self {
        use descriptor::{Method, MethodOptions};

        let text = |name: &str| Member {
            name: name.to_owned(),
            json: name.to_owned(),
            kind: 9,
            label: 1,
            ..Member::default()
        };
        let thing = Member { kind: 11, type_name: ".requestrocket.test.Thing".to_owned(), ..text("thing") };
        let mask = Member {
            kind: 11,
            type_name: ".google.protobuf.FieldMask".to_owned(),
            json: "updateMask".to_owned(),
            ..text("update_mask")
        };
        let message =
            |name: &str, fields: Vec<Member>| Type { name: name.to_owned(), fields, ..Type::default() };
        let method = |name: &str, rule: HttpRule| Method {
            name: name.to_owned(),
            input: format!(".requestrocket.test.{name}"),
            output: ".requestrocket.test.Thing".to_owned(),
            options: Some(MethodOptions { http: Some(rule) }),
            ..Method::default()
        };
        let path = || "/v1/things/{name}".to_owned();
        let patch = HttpRule { patch: path(), body: "thing".to_owned(), ..HttpRule::default() };
        let delete = HttpRule { delete: path(), ..HttpRule::default() };
        let poke = HttpRule { post: path() + ":poke", body: "*".to_owned(), ..HttpRule::default() };
        let file = File {
            package: "requestrocket.test".to_owned(),
            messages: vec![
                message("Thing", vec![text("etag"), text("text")]),
                message("Patch", vec![text("name"), thing, mask]),
                message("Delete", vec![text("name"), text("etag")]),
                message("Poke", vec![text("name")]),
            ],
            services: vec![Group {
                name: "ThingService".to_owned(),
                methods: vec![method("Patch", patch), method("Delete", delete), method("Poke", poke)],
            }],
            ..File::default()
        };
        Self::of(&FileSet { files: vec![file] })
    }
}

#[test]
fn services_of_the_management_api_have_a_comment_and_their_calls_routes() {
    let managed = SCHEMA.services.iter().filter(|service| service.package.ends_with("management.v1"));
    let mut seen = 0;
    for service in managed {
        assert!(!service.comment.is_empty(), "{}", service.name);
        seen += service.calls.iter().filter(|call| !call.bindings.is_empty()).count();
    }
    assert!(seen > 20, "{seen}");
}

/// The words that [`is_name`] looks for.
#[test]
fn names_are_known_by_their_comment() {
    for message in ["Org", "Region", "Target", "Credential", "Proxy"] {
        let message = SCHEMA.message(&format!("requestrocket.management.v1.{message}"));
        assert!(message.field("name").is_some_and(is_name));
    }
}

#[test]
fn fields_say_what_they_hold_and_which_choice_they_are_of() {
    let credential = SCHEMA.message("requestrocket.management.v1.Credential");
    let field = |name: &str| credential.field(name).expect("is there");
    assert_eq!(field("version").kind, Kind::Uint64);
    assert_eq!(field("notAfter").kind, Kind::Timestamp);
    assert_eq!(field("caller").oneof.as_deref(), Some("usage"));
    let proxy = SCHEMA.message("requestrocket.management.v1.Proxy");
    let active = proxy.field("active").expect("is there");
    assert_eq!((active.oneof.as_deref(), &active.kind), (None, &Kind::Bool));
    assert!(active.comment.starts_with("False: its callers get 403."), "{}", active.comment);
}
