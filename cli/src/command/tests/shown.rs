//! What `show` shows, against the fields of the schemas.

use prost_types::FieldDescriptorProto;
use prost_types::field_descriptor_proto::{Label, Type};
use rr_contract::wire::management as mg;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::*;
use crate::print::Row;

/// Fields that only JSON has: who made a resource and when, and by which etag it is changed.
const NOT_SHOWN: &[&str] = &["org", "etag", "created_at", "created_by"];

/// A field with a value that is not the default.
fn filled(messages: &BTreeMap<String, DescriptorProto>, field: &FieldDescriptorProto) -> Value {
    let value = match (field.r#type(), field.type_name()) {
        (Type::String, _) => json!("x"),
        (Type::Bool, _) => json!(true),
        (Type::Uint64 | Type::Int64, _) => json!("7"),
        (Type::Bytes, _) => json!("AQID"),
        // Every enum has a value 2, and 1 is the default of some.
        (Type::Uint32 | Type::Int32 | Type::Enum, _) => json!(2),
        (_, ".google.protobuf.Duration") => json!("7s"),
        (_, ".google.protobuf.Timestamp") => json!("2026-01-01T00:00:00Z"),
        (_, name) => {
            let message = &messages[name];
            // Of several fields that exclude each other, the first.
            let is_first = |field: &&FieldDescriptorProto| {
                let among = field.oneof_index.filter(|_| !field.proto3_optional());
                let first = message.field.iter().find(|it| it.oneof_index == among);
                among.is_none() || first.is_some_and(|first| first.name() == field.name())
            };
            let fields = message.field.iter().filter(is_first);
            Value::Object(fields.map(|it| (it.name().to_owned(), filled(messages, it))).collect())
        }
    };
    if field.label() == Label::Repeated { json!([value]) } else { value }
}

/// The fields of a message whose value no cell of a row shows; those within a field by their paths.
fn hidden<T: Row + DeserializeOwned>(message: &str, within: &str) -> Vec<String> {
    let messages = messages();
    let read = |value: Value| {
        let value = if within.is_empty() { value } else { json!({ (within): value }) };
        serde_json::from_value::<T>(value).expect("a message").cells()
    };
    let unset = read(json!({}));
    let fields = messages[message].field.iter();
    let is_hidden = |field: &&FieldDescriptorProto| {
        let one = Map::from_iter([(field.name().to_owned(), filled(&messages, field))]);
        read(Value::Object(one)) == unset
    };
    fields.filter(is_hidden).map(|field| field.name().to_owned()).collect()
}

#[test]
fn every_field_of_a_target_a_proxy_and_a_record_is_shown() {
    let fleet = |name: &str| format!(".requestrocket.fleet.v1.{name}");
    assert_eq!(hidden::<mg::Target>(".requestrocket.management.v1.Target", ""), NOT_SHOWN);
    assert_eq!(hidden::<mg::Proxy>(".requestrocket.management.v1.Proxy", ""), NOT_SHOWN);
    for (message, within) in [("Rewrite", "rewrite"), ("Cors", "cors"), ("RetryPolicy", "retry")] {
        assert_eq!(hidden::<mg::Proxy>(&fleet(message), within), [""; 0], "{message}");
    }
    for (message, within) in [
        ("CircuitBreaker", "circuit_breaker"),
        ("OutlierEjection", "outlier_ejection"),
        ("HealthCheck", "health_check"),
    ] {
        assert_eq!(hidden::<mg::Target>(&fleet(message), within), [""; 0], "{message}");
    }
    let not_shown = ["org", "target", "upstream_credential"];
    assert_eq!(hidden::<mg::Request>(&fleet("Record"), "record"), not_shown);
}
