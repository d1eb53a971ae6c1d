//! The schema of documents, against the schemas of the API, the parser of files and the examples of the manual.

use std::path::Path;

use rr_contract::document::document;
use rr_contract::file::document::JwksFrom;
use rr_contract::file::node;
use rr_contract::file::value_from;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::generate::{self, GROUPS};
use super::*;

/// Where the schema is.
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/schema/documents.schema.json");

fn validator() -> jsonschema::Validator {
    let schema = serde_json::from_str(DOCUMENTS).expect("JSON");
    jsonschema::validator_for(&schema).expect("a schema")
}

/// The documents of all examples of the manual.
fn examples() -> Vec<Value> {
    let manual = include_str!("../../../../docs/apply.md");
    let texts = manual.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    texts.flat_map(|text| serde_saphyr::from_multiple::<Value>(text).expect("YAML")).collect()
}

/// Whether files may have a document.
fn is_taken(value: &Value) -> bool {
    let Value::Object(mut fields) = value.clone() else { return false };
    fn is<T: DeserializeOwned>(value: Option<Value>) -> bool {
        value.is_none_or(|value| serde_json::from_value::<T>(value).is_ok())
    }
    is::<value_from::ValueFrom>(fields.remove("value_from"))
        && is::<Jwks>(fields.remove("jwks_from"))
        && document(fields).is_ok()
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Jwks {
    #[serde(rename = "file")]
    _file: String,
}

#[test]
fn the_schema_in_the_manual_is_the_one_that_the_api_gives() {
    let wanted = generate::text();
    if std::env::var_os("RRCTL_WRITE_SCHEMA").is_some() {
        std::fs::write(FILE, &wanted).expect("it is written");
        return;
    }
    assert!(
        DOCUMENTS == wanted,
        "docs/schema/documents.schema.json is not what the API says: run this test with RRCTL_WRITE_SCHEMA=1, and commit it"
    );
}

#[test]
fn every_example_of_the_manual_is_good_by_the_schema() {
    let (validator, examples) = (validator(), examples());
    assert!(examples.len() > 25, "{}", examples.len());
    for example in examples {
        let faults: Vec<String> = validator.iter_errors(&example).map(|error| error.to_string()).collect();
        assert!(faults.is_empty(), "{example}: {faults:?}");
    }
}

/// The paths of all objects in a value.
fn objects(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            found.push(path.to_owned());
            for (name, inner) in fields {
                objects(inner, &format!("{path}/{}", name.replace('~', "~0").replace('/', "~1")), found);
            }
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(i, inner)| objects(inner, &format!("{path}/{i}"), found));
        }
        _ => {}
    }
}

#[test]
fn a_field_that_files_do_not_have_is_none_by_the_schema_either() {
    let validator = validator();
    let (mut refused, mut free) = (0, 0);
    for example in examples() {
        let mut paths = Vec::new();
        objects(&example, "", &mut paths);
        for path in paths {
            let mut more = example.clone();
            let inner = more.pointer_mut(&path).and_then(Value::as_object_mut).expect("an object");
            inner.insert("nope".to_owned(), "x".into());
            let taken = is_taken(&more);
            assert_eq!(validator.is_valid(&more), taken, "{path} of {more}");
            if taken { free += 1 } else { refused += 1 }
        }
    }
    assert!(refused > 60 && free > 1, "{refused} {free}");
}

#[test]
fn what_stands_in_the_wrong_place_is_wrong_by_the_schema_too() {
    let validator = validator();
    for (good, text) in [
        (true, r#"{"kind": "target", "name": "a", "base_url": "https://a", "connect_timeout": "1.5s"}"#),
        (true, r#"{"kind": "target", "name": "a", "baseUrl": "https://a"}"#),
        (true, r#"{"kind": "proxy", "name": "a", "deny_status": "403", "echo_guard": false}"#),
        (
            true,
            r#"{"kind": "proxy", "name": "a", "deny_status": "${STATUS}", "default_effect": "EFFECT_DENY"}"#,
        ),
        (true, r#"[{"kind": "target", "name": "a"}, {"kind": "target", "name": "b"}]"#),
        (true, "null"),
        (false, r#"{"kind": "target", "name": "a", "connect_timeout": "2m"}"#),
        (false, r#"{"kind": "user", "name": "a"}"#),
        (false, r#"{"name": "a"}"#),
        (false, r#"{"kind": "target"}"#),
        (false, r#"{"kind": "rule", "name": "a", "effect": "perhaps"}"#),
        (false, r#"{"kind": "rule", "name": "a", "proxy": "p", "target": "t"}"#),
        (false, r#"{"kind": "proxy", "name": "a", "deny_status": -1}"#),
        (false, r#"{"kind": "proxy", "name": "a", "active": "perhaps"}"#),
        (false, r#"{"kind": "credential", "name": "a", "value_from": {"envy": "A"}}"#),
        (false, r#"[{"kind": "target", "nope": 1}]"#),
        (false, r#""just text""#),
    ] {
        let value: Value = serde_json::from_str(text).expect("JSON");
        assert_eq!(validator.is_valid(&value), good, "{text}");
    }
}

/// The names that a part of a file may have, out of what it says of one that it may not have.
fn fields<'a, T: serde::Deserialize<'a>>(node: &'a node::Node) -> Vec<String> {
    let mistake = node.read::<T>().err().expect("there is no such field");
    let listed = mistake.what().rsplit_once("the fields are ").expect("it lists the fields").1.to_owned();
    listed.split(", ").map(str::to_owned).collect()
}

#[test]
fn the_fields_that_only_files_have_are_those_of_files() {
    let nodes = node::documents("nope: 1\n").expect("YAML");
    let node = &nodes[0];
    for (name, listed) in GROUPS {
        let wanted = match name {
            "ValueFrom" => fields::<value_from::ValueFrom>(node),
            "Source" => fields::<value_from::Source>(node),
            "Oauth2" => fields::<value_from::Oauth2>(node),
            "JwtBearer" => fields::<value_from::JwtBearer>(node),
            "CustomToken" => fields::<value_from::CustomToken>(node),
            "Aws" => fields::<value_from::Aws>(node),
            "Hmac" => fields::<value_from::Hmac>(node),
            "Certificate" => fields::<value_from::Certificate>(node),
            "JwksFrom" => fields::<JwksFrom>(node),
            other => panic!("{other} is new here"),
        };
        let listed: Vec<String> = listed.iter().map(|(field, _)| (*field).to_owned()).collect();
        assert_eq!(listed, wanted, "{name}");
    }
}

#[test]
fn every_value_that_an_editor_offers_is_taken() {
    let schema: Value = serde_json::from_str(DOCUMENTS).expect("JSON");
    let mut offered = 0;
    for kind in ["Target", "Credential", "Proxy", "Rule", "Filter", "Meter"] {
        let properties = schema["definitions"][kind]["properties"].as_object().expect("fields");
        let parts = ["caller", "upstream"].iter().filter(|_| kind == "Credential");
        let mut places: Vec<(Option<&str>, &Map<String, Value>)> = vec![(None, properties)];
        for part in parts {
            let name = if *part == "caller" { "Caller" } else { "Upstream" };
            let inner = schema["definitions"][name]["properties"].as_object().expect("fields");
            places.push((Some(*part), inner));
        }
        for (part, properties) in places {
            for (field, one) in properties {
                for value in one["anyOf"][0]["enum"].as_array().into_iter().flatten() {
                    let mut fields = serde_json::json!({field: value});
                    if let Some(part) = part {
                        fields = serde_json::json!({part: fields});
                    }
                    fields["kind"] = kind.to_lowercase().into();
                    let Value::Object(fields) = fields else { panic!("an object") };
                    let result = document(fields);
                    assert!(result.is_ok(), "{kind} {field} {value}: {result:?}");
                    offered += 1;
                }
            }
        }
    }
    assert!(offered > 25, "{offered}");
    assert!(Path::new(FILE).exists());
}
