//! The schemas as the contract has them.

use super::*;

use std::path::Path;

use prost::Message as _;
use protox::file::{ChainFileResolver, DescriptorSetFileResolver, File, FileResolver};

/// A schema that a test makes up, and that may import what the contract has.
const NAME: &str = "requestrocket/test.proto";

struct MadeUp(String);

impl FileResolver for MadeUp {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        match name {
            NAME => File::from_source(name, &self.0),
            _ => Err(protox::Error::file_not_found(name)),
        }
    }
}

/// Descriptors of a schema, with those of whatever it imports.
fn compiled(declarations: &str) -> Vec<u8> {
    let source = format!(
        r#"
        syntax = "proto3";
        package requestrocket.test;
        import "google/api/annotations.proto";
        import "google/protobuf/descriptor.proto";
        import "google/protobuf/field_mask.proto";
        import "requestrocket/options/v1/options.proto";
        {declarations}"#
    );
    let mut resolver = ChainFileResolver::new();
    resolver.add(MadeUp(source));
    resolver.add(DescriptorSetFileResolver::decode(rr_contract::wire::DESCRIPTORS).expect("descriptors"));
    let mut compiler = protox::Compiler::with_file_resolver(resolver);
    compiler.include_imports(true).open_file(Path::new(NAME)).expect("it compiles");
    compiler.encode_file_descriptor_set()
}

impl Schema {
    /// A service whose calls have an etag in the query, in the body's field, and nowhere.
    pub(in crate::api) fn with_etags() -> Self {
        let set = compiled(
            r#"
            message Thing { string etag = 1; string text = 2; }
            message Patch { string name = 1; Thing thing = 2; google.protobuf.FieldMask update_mask = 3; }
            message Delete { string name = 1; string etag = 2; }
            message Poke { string name = 1; }
            service ThingService {
              rpc Patch(requestrocket.test.Patch) returns (Thing) {
                option (google.api.http) = {patch: "/v1/things/{name}" body: "thing"};
              }
              rpc Delete(requestrocket.test.Delete) returns (Thing) {
                option (google.api.http) = {delete: "/v1/things/{name}"};
              }
              rpc Poke(requestrocket.test.Poke) returns (Thing) {
                option (google.api.http) = {post: "/v1/things/{name}:poke" body: "*"};
              }
            }"#,
        );
        Self::read(&set).expect("it is understood")
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

fn managed() -> impl Iterator<Item = (&'static str, &'static Message)> {
    SCHEMA
        .messages
        .iter()
        .map(|(name, message)| (name.as_str(), message))
        .filter(|(name, _)| name.starts_with("requestrocket.management.v1."))
}

#[test]
fn every_option_is_said_of_some_field_that_it_can_mean_something_for() {
    let mut seen = Options::default();
    for (message, field) in managed().flat_map(|(name, it)| it.fields.iter().map(move |field| (name, field)))
    {
        let place = format!("{message}.{}", field.name);
        let Options { resource_name, may_be_empty, output_only, mask_paths, flat } = &field.options;
        assert!(!resource_name || (field.kind == Kind::Text && !field.repeated), "{place}");
        assert!(!may_be_empty || *resource_name, "{place}");
        assert_eq!(field.kind == Kind::FieldMask, !mask_paths.is_empty(), "{place}");
        assert!(!flat || (matches!(field.kind, Kind::Message(_)) && !field.repeated), "{place}");
        seen.flat |= flat;
        seen.resource_name |= resource_name;
        seen.may_be_empty |= may_be_empty;
        seen.output_only |= output_only;
        seen.mask_paths.extend(mask_paths.iter().cloned());
    }
    assert!(seen.resource_name && seen.may_be_empty && seen.output_only && seen.flat);
    assert!(!seen.mask_paths.is_empty());
}

#[test]
fn what_a_mask_can_name_are_fields_of_what_the_call_changes_and_not_ours_alone() {
    for (name, message) in managed() {
        let Some(mask) = message.fields.iter().find(|field| field.kind == Kind::FieldMask) else { continue };
        let noun = name.rsplit('.').next().and_then(|it| it.strip_prefix("Update")?.strip_suffix("Request"));
        let changed = format!("requestrocket.management.v1.{}", noun.expect("only updates have a mask"));
        for path in &mask.options.mask_paths {
            let mut inside = SCHEMA.message(&changed);
            let mut steps = path.split('.').peekable();
            while let Some(step) = steps.next() {
                let field = inside.fields.iter().find(|field| field.name == step);
                let field = field.unwrap_or_else(|| panic!("{name}: {path}"));
                assert!(!field.options.output_only && !field.options.resource_name, "{name}: {path}");
                if let (Kind::Message(full), Some(_)) = (&field.kind, steps.peek()) {
                    inside = SCHEMA.message(full);
                }
            }
        }
    }
}

/// Comments say it to readers, options to programs: neither is forgotten where the other is there.
#[test]
fn what_a_comment_promises_its_option_says() {
    for (message, field) in managed().flat_map(|(name, it)| it.fields.iter().map(move |field| (name, field)))
    {
        let place = format!("{message}.{}", field.name);
        let named = field.comment.starts_with("`[a-z0-9-]`, at most 63 characters");
        assert_eq!(field.options.resource_name, named, "{place}");
        assert_eq!(field.options.may_be_empty, named && field.comment.contains("Empty on create"), "{place}");
        let ours = field.comment.contains("Set by the control plane") && field.name != "etag";
        assert!(field.options.output_only || !ours, "{place}");
        for path in &field.options.mask_paths {
            assert!(field.comment.contains(&format!("`{path}`")), "{place}: {path}");
        }
    }
}

#[test]
fn an_option_in_our_range_that_is_not_known_is_refused() {
    let with = |number: u32| {
        let set = compiled(&format!(
            "extend google.protobuf.FieldOptions {{ bool shiny = {number}; }}
            message Thing {{ string text = 1 [(shiny) = true]; }}"
        ));
        Schema::read(&set)
    };
    for number in [50_000, 50_099, 99_999] {
        let refused = with(number).expect_err("nobody knows what it means");
        let InvalidSchema::Option { field, number: said } = &refused else { panic!("{refused}") };
        assert_eq!((field.as_str(), *said), ("requestrocket.test.Thing.text", number));
    }
    // Numbers below and above are protobuf's and other people's.
    assert!(with(1_000).is_ok() && with(100_000).is_ok());
}

/// As `google/protobuf/descriptor.proto` has them, with the options as they are on the wire.
mod bare {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Set {
        #[prost(message, repeated, tag = "1")]
        pub(super) files: Vec<File>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct File {
        #[prost(string, tag = "1")]
        pub(super) name: String,
        #[prost(message, repeated, tag = "4")]
        pub(super) messages: Vec<Type>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Type {
        #[prost(string, tag = "1")]
        pub(super) name: String,
        #[prost(message, repeated, tag = "2")]
        pub(super) fields: Vec<Member>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Member {
        #[prost(string, tag = "1")]
        pub(super) name: String,
        #[prost(int32, tag = "3")]
        pub(super) number: i32,
        #[prost(int32, tag = "4")]
        pub(super) label: i32,
        #[prost(int32, tag = "5")]
        pub(super) kind: i32,
        #[prost(bytes = "vec", tag = "8")]
        pub(super) options: Vec<u8>,
    }
}

#[test]
fn an_option_in_our_range_is_refused_where_no_file_declares_it_too() {
    // Number 50099, a varint, 1.
    let options = vec![0x98, 0xbb, 0x18, 0x01];
    let text = bare::Member { name: "text".to_owned(), number: 1, label: 1, kind: 9, options };
    let thing = bare::Type { name: "Thing".to_owned(), fields: vec![text] };
    let file = bare::File { name: "thing.proto".to_owned(), messages: vec![thing] };
    let set = bare::Set { files: vec![file] }.encode_to_vec();
    let refused = Schema::read(&set).expect_err("nobody knows what it means");
    assert!(matches!(refused, InvalidSchema::Option { number: 50_099, .. }), "{refused}");
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
