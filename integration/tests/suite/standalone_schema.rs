//! A node alone takes every field of a document that `rrctl apply` takes, and its records have every field of `Record`.
//!
//! The edge is not built with the messages of the management API nor with the JSON form of messages, so it lists these
//! fields again. The schemas' own descriptors say here which fields there are.

use std::collections::{BTreeSet, HashMap};

use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet};
use rr_contract::wire::{DESCRIPTORS, fleet, management as mg};
use rr_data_plane::standalone;
use serde_json::{Map, Value, json};

/// What the schemas say.
struct Schemas {
    messages: HashMap<String, DescriptorProto>,
    /// A value of each enum that is not the unspecified one.
    enums: HashMap<String, String>,
}

impl Schemas {
    fn read() -> Self {
        let set = FileDescriptorSet::decode(DESCRIPTORS).expect("descriptors of the build");
        let (mut messages, mut enums) = (HashMap::new(), HashMap::new());
        for file in set.file {
            let package = file.package().to_owned();
            for message in file.message_type {
                messages.insert(format!(".{package}.{}", message.name()), message);
            }
            for kinds in file.enum_type {
                let value = kinds.value.last().expect("an enum has values").name().to_owned();
                enums.insert(format!(".{package}.{}", kinds.name()), value);
            }
        }
        Self { messages, enums }
    }

    fn fields(&self, message: &str) -> &[FieldDescriptorProto] {
        &self.messages.get(message).unwrap_or_else(|| panic!("no message {message}")).field
    }

    /// Objects that together have each field of a message; no object has two fields of a choice.
    fn samples(&self, message: &str, name: fn(&FieldDescriptorProto) -> &str) -> Vec<Value> {
        let (mut base, mut choices) = (Map::new(), Vec::new());
        for field in self.fields(message) {
            let is_choice = field.oneof_index.is_some() && !field.proto3_optional();
            for value in self.values(field, name) {
                if is_choice {
                    choices.push((name(field).to_owned(), value));
                } else if base.get(name(field)).is_none() {
                    base.insert(name(field).to_owned(), value);
                } else {
                    choices.push((name(field).to_owned(), value));
                }
            }
        }
        let with = |(field, value)| {
            let mut object = base.clone();
            object.insert(field, value);
            Value::Object(object)
        };
        if choices.is_empty() {
            return vec![Value::Object(base)];
        }
        choices.into_iter().map(with).collect()
    }

    /// Values of a field that together have each field inside of it.
    fn values(&self, field: &FieldDescriptorProto, name: fn(&FieldDescriptorProto) -> &str) -> Vec<Value> {
        // A map, by the name that the compiler gives its entries.
        if field.type_name().ends_with("Entry") {
            return vec![json!({"x": "x"})];
        }
        let values = match field.r#type() {
            Type::Message => match field.type_name() {
                ".google.protobuf.Duration" => vec![json!("5s")],
                ".google.protobuf.Timestamp" => vec![json!("2027-01-31T00:00:00Z")],
                message => self.samples(message, name),
            },
            Type::Enum => vec![json!(self.enums[field.type_name()])],
            Type::String => vec![json!("x")],
            Type::Bytes => vec![json!("AAAA")],
            Type::Bool => vec![json!(true)],
            _ => vec![json!(7)],
        };
        if field.label() == Label::Repeated { vec![Value::Array(values)] } else { values }
    }
}

fn as_in_schemas(field: &FieldDescriptorProto) -> &str {
    field.name()
}

fn as_in_json(field: &FieldDescriptorProto) -> &str {
    field.json_name()
}

fn is_applied(kind: &str, document: Value) -> Result<(), serde_json::Error> {
    match kind {
        "Target" => serde_json::from_value::<mg::Target>(document).map(drop),
        "Credential" => serde_json::from_value::<mg::Credential>(document).map(drop),
        "Proxy" => serde_json::from_value::<mg::Proxy>(document).map(drop),
        "Rule" => serde_json::from_value::<mg::Rule>(document).map(drop),
        "Filter" => serde_json::from_value::<mg::Filter>(document).map(drop),
        "Meter" => serde_json::from_value::<mg::Meter>(document).map(drop),
        _ => panic!("another kind"),
    }
}

#[test]
fn a_node_alone_takes_every_field_that_apply_takes_and_its_own_three_beside() {
    let schemas = Schemas::read();
    for kind in ["Target", "Credential", "Proxy", "Rule", "Filter", "Meter"] {
        let message = format!(".requestrocket.management.v1.{kind}");
        for name in [as_in_schemas, as_in_json] {
            for sample in schemas.samples(&message, name) {
                is_applied(kind, sample.clone()).unwrap_or_else(|error| panic!("{kind} {sample}: {error}"));
                let mut document = sample.clone();
                document["kind"] = json!(kind.to_lowercase());
                let taken = standalone::fields(&document.to_string());
                taken.unwrap_or_else(|fault| panic!("{kind} {sample}: {fault}"));
            }
        }
        let refused = standalone::fields(&format!("{{\"kind\": \"{}\", \"nope\": 1}}", kind.to_lowercase()));
        let refused = refused.expect_err("there is no such field").to_string();
        let listed = refused.rsplit_once("the fields are ").expect("it lists the fields").1;
        let listed: BTreeSet<&str> = listed.split(", ").collect();
        let mut wanted: BTreeSet<&str> =
            schemas.fields(&message).iter().map(FieldDescriptorProto::name).collect();
        if kind == "Credential" {
            wanted.extend(["value_from", "jwks_from", "key_hashes"]);
        }
        assert_eq!(listed, wanted, "{kind}");
    }
}

/// Paths of all fields in an object.
fn paths(value: &Value, at: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, inner) in fields {
                let path = format!("{at}.{name}");
                paths(inner, &path, found);
                found.insert(path);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| paths(item, at, found)),
        _ => {}
    }
}

#[test]
fn the_line_of_a_record_has_every_field_of_the_record() {
    let schemas = Schemas::read();
    let samples = schemas.samples(".requestrocket.fleet.v1.Record", as_in_schemas);
    let sample = &samples[0];
    let record: fleet::Record = serde_json::from_value(sample.clone()).expect("a record");
    let line: Value = serde_json::from_str(&rr_data_plane::json_line(&record)).expect("JSON");
    let (mut wanted, mut found) = (BTreeSet::new(), BTreeSet::new());
    paths(sample, "", &mut wanted);
    paths(&line, "", &mut found);
    assert_eq!(found, wanted, "{line}");
    assert_eq!((&line["status"], &line["duration"]), (&json!(7), &json!("5s")));
}
