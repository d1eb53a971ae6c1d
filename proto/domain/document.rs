//! Documents as people write and read them: `kind` and the fields of the message beside each other.
//!
//! Fields are read in snake case and in the names of the JSON form, values of enums by their whole name or without
//! its prefix; both are written in the shorter way. Knows no file and no line, and judges no value.

pub mod check;
mod difference;
pub mod payload;
pub mod preview;

use rr_wire::management as mg;
use rr_wire::management::document::Resource;
use serde::de::DeserializeOwned;
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

pub use difference::{COMPUTED, between};

/// Fields that hold an enum, or a list of them: the field around them, their name, and the prefix of the values.
const ENUMS: [(&str, &str, &str); 11] = [
    ("", "effect", "EFFECT_"),
    ("", "default_effect", "EFFECT_"),
    ("", "action", "FILTER_ACTION_"),
    ("", "direction", "FILTER_DIRECTION_"),
    ("", "detectors", "DETECTOR_"),
    ("", "balance", "BALANCE_"),
    ("", "forwarded", "FORWARDED_HEADERS_"),
    ("", "echo_guard", "ECHO_GUARD_"),
    ("validation", "unlisted", "UNLISTED_OPERATIONS_"),
    ("caller", "kind", "CALLER_KIND_"),
    ("upstream", "kind", "UPSTREAM_KIND_"),
];

/// Fields that hold a time.
const TIMES: [&str; 1] = ["not_after"];

/// Numbers that the JSON form writes as texts, beside those that begin with `per_`.
const NUMBERS: [&str; 4] = ["max_request_bytes", "max_response_bytes", "on_missing", "reserve"];

/// The field whose names users choose.
const METADATA: &str = "metadata";

/// The field of a secret in the clear, which no document has.
pub const PLAIN: &str = "plain";

/// The kinds of document.
pub const KINDS: &str = "target, credential, proxy, rule, filter or meter";

/// Reads a document from its fields.
pub fn document(mut fields: Map<String, Value>) -> Result<mg::Document, String> {
    let kind = match fields.remove("kind") {
        Some(Value::String(kind)) => kind,
        Some(_) | None => return Err(format!("kind is missing: give {KINDS}")),
    };
    if fields.contains_key(PLAIN) {
        return Err(format!(
            "{PLAIN} is for calls of the API: a file says in value_from where the secret is"
        ));
    }
    lengthen(&mut fields, "");
    let fields = Value::Object(fields);
    let resource = match kind.as_str() {
        "target" => Resource::Target(message(fields)?),
        "credential" => Resource::Credential(message(fields)?),
        "proxy" => Resource::Proxy(message(fields)?),
        "rule" => Resource::Rule(message(fields)?),
        "filter" => Resource::Filter(message(fields)?),
        "meter" => Resource::Meter(message(fields)?),
        _ => return Err(format!("kind {kind:?} is not {KINDS}")),
    };
    Ok(mg::Document { resource: Some(resource) })
}

fn message<T: DeserializeOwned>(fields: Value) -> Result<T, String> {
    serde_json::from_value(fields).map_err(|error| error.to_string())
}

/// Kind and name of a document, for messages.
pub fn label(document: &mg::Document) -> (&'static str, &str) {
    match &document.resource {
        Some(Resource::Target(target)) => ("target", &target.name),
        Some(Resource::Credential(credential)) => ("credential", &credential.name),
        Some(Resource::Proxy(proxy)) => ("proxy", &proxy.name),
        Some(Resource::Rule(rule)) => ("rule", &rule.name),
        Some(Resource::Filter(filter)) => ("filter", &filter.name),
        Some(Resource::Meter(meter)) => ("meter", &meter.name),
        Some(_) | None => ("document", ""),
    }
}

/// A document to be written to a file.
pub struct Exported {
    kind: &'static str,
    fields: Map<String, Value>,
}

impl Exported {
    /// The fields of a document, in the names and the spelling of files.
    pub fn new(document: &mg::Document) -> Result<Self, serde_json::Error> {
        let fields = match serde_json::to_value(document)? {
            Value::Object(kinds) => kinds.into_values().next(),
            _ => None,
        };
        let mut fields = match fields.map(snake) {
            Some(Value::Object(fields)) => fields,
            _ => Map::new(),
        };
        shorten(&mut fields, "");
        Ok(Self { kind: label(document).0, fields })
    }
}

/// Kind and name come first, for readers.
impl Serialize for Exported {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.fields.len() + 1))?;
        map.serialize_entry("kind", self.kind)?;
        if let Some(name) = self.fields.get("name") {
            map.serialize_entry("name", name)?;
        }
        for (key, value) in self.fields.iter().filter(|(key, _)| *key != "name") {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

fn prefix(around: &str, field: &str) -> Option<&'static str> {
    let field = snake_key(field);
    ENUMS.iter().find(|(a, f, _)| *a == around && *f == field).map(|(_, _, prefix)| *prefix)
}

fn lengthen(fields: &mut Map<String, Value>, around: &str) {
    for (key, value) in fields {
        match (value, prefix(around, key)) {
            (Value::String(text), Some(prefix)) => lengthen_text(text, prefix),
            (Value::Array(list), Some(prefix)) => {
                for text in list {
                    if let Value::String(text) = text {
                        lengthen_text(text, prefix);
                    }
                }
            }
            // YAML reads `off` so.
            (value @ Value::Bool(false), Some(prefix)) => *value = format!("{prefix}OFF").into(),
            (Value::Object(inner), _) if around.is_empty() => lengthen(inner, &snake_key(key)),
            _ => {}
        }
    }
}

fn lengthen_text(text: &mut String, prefix: &str) {
    if !text.starts_with(prefix) {
        *text = format!("{prefix}{}", text.to_uppercase().replace('-', "_"));
    }
}

fn shorten(fields: &mut Map<String, Value>, around: &str) {
    for (key, value) in fields {
        match value {
            Value::Array(list) if prefix(around, key).is_some() => {
                for text in list {
                    if let (Value::String(text), Some(prefix)) = (text, prefix(around, key))
                        && let Some(short) = text.strip_prefix(prefix)
                    {
                        *text = short.to_lowercase().replace('_', "-");
                    }
                }
            }
            Value::String(text) => {
                if let Some(short) = prefix(around, key).and_then(|prefix| text.strip_prefix(prefix)) {
                    *text = short.to_lowercase().replace('_', "-");
                } else if (key.starts_with("per_") || NUMBERS.contains(&key.as_str()))
                    && let Ok(number) = text.parse::<u64>()
                {
                    *value = number.into();
                } else if let Some(utc) =
                    text.strip_suffix("+00:00").filter(|_| TIMES.contains(&key.as_str()))
                {
                    *text = format!("{utc}Z");
                }
            }
            // What users wrote is not ours to spell.
            Value::Object(inner) if key != METADATA => shorten(inner, key),
            _ => {}
        }
    }
}

/// Converts keys to snake case at every level, but those that users choose.
fn snake(value: Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .into_iter()
            .map(|(key, value)| {
                let value = if key == METADATA { value } else { snake(value) };
                (snake_key(&key), value)
            })
            .collect(),
        Value::Array(items) => items.into_iter().map(snake).collect(),
        other => other,
    }
}

fn snake_key(key: &str) -> String {
    let mut out = String::with_capacity(key.len() + 4);
    for c in key.chars() {
        if c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use rr_wire::fleet;
    use serde_json::json;

    use super::*;

    fn read(value: Value) -> Result<mg::Document, String> {
        match value {
            Value::Object(fields) => document(fields),
            _ => Err("no object".to_owned()),
        }
    }

    #[test]
    fn a_document_that_is_written_is_read_as_the_same() {
        for value in [
            json!({"kind": "target", "name": "a", "base_url": "https://a", "connect_timeout": "5s", "default_effect": "deny"}),
            json!({"kind": "credential", "name": "a", "caller": {"kind": "api-key"}, "tags": ["gold"], "metadata": {"team": "a", "per_seat": "7"}}),
            json!({"kind": "credential", "name": "a", "caller": {"kind": "jwt-verify", "jwt_verify": {"issuer": "i", "leeway": "30s"}}}),
            json!({"kind": "credential", "name": "a", "upstream": {"kind": "api-key"}, "not_after": "2027-01-31T00:00:00Z"}),
            json!({"kind": "proxy", "name": "a", "active": false, "deny_status": 403, "limits": {"per_day_per_node": 7}}),
            json!({"kind": "proxy", "name": "a", "observe": true, "max_request_bytes": 8388608, "max_response_bytes": 1,
                "limits_per_caller": {"per_minute_per_node": 7}, "limits_per_address": {"per_day_per_node": 9}}),
            json!({"kind": "target", "name": "a", "base_url": "https://a", "more_base_urls": ["https://b"],
                "balance": "least-requests", "idle_timeout": "60s", "circuit_breaker": {"open_for": "5s"}, "min_tls": "1.3"}),
            json!({"kind": "proxy", "name": "a", "forwarded": "x-forwarded", "max_concurrent_requests_per_node": 9,
                "retry": {"attempts": 2, "statuses": [503]}, "cors": {"origins": ["*"], "max_age": "60s"},
                "rewrite": {"strip_prefix": "/v1", "request_headers": {"set": [{"name": "x-a", "value": "b"}]}}}),
            json!({"kind": "rule", "name": "a", "proxy": "p", "effect": "deny", "observe": true}),
            json!({"kind": "rule", "name": "a", "proxy": "p", "effect": "deny", "when": {"path": {"regex": "^/v1", "absent": true}}}),
            json!({"kind": "filter", "name": "a", "target": "t", "action": "mask", "paths": ["a.b"]}),
            json!({"kind": "meter", "name": "a", "proxy": "p", "requests": {}, "per_minute_per_node": 9}),
            json!({"kind": "meter", "name": "a", "proxy": "p", "per_day_per_node": 9,
                "value": {"body_path": "usage.total_tokens", "reserve": 500, "on_missing": 0}}),
        ] {
            let document = read(value.clone()).expect("a document");
            let written = serde_json::to_value(Exported::new(&document).expect("fields")).expect("JSON");
            assert_eq!(written, value);
        }
    }

    #[test]
    fn the_names_of_the_json_form_are_read_too() {
        let value =
            json!({"kind": "target", "name": "a", "baseUrl": "https://a", "defaultEffect": "EFFECT_DENY"});
        let Some(Resource::Target(target)) = read(value).expect("a document").resource else {
            panic!("another kind");
        };
        assert_eq!((target.base_url.as_str(), target.default_effect()), ("https://a", fleet::Effect::Deny));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (value, part) in [
            (json!({"name": "a"}), "kind is missing"),
            (json!({"kind": "user", "name": "a"}), "\"user\""),
            (json!({"kind": "target", "bas_url": "x"}), "bas_url"),
            (json!({"kind": "rule", "effect": "perhaps"}), "EFFECT_PERHAPS"),
        ] {
            let error = read(value).expect_err(part);
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn off_is_read_as_yaml_has_it_where_an_enum_has_such_a_value_and_nowhere_else() {
        for said in [json!(false), json!("off"), json!("ECHO_GUARD_OFF")] {
            let Some(Resource::Proxy(proxy)) =
                read(json!({"kind": "proxy", "name": "a", "echo_guard": said})).expect("it is good").resource
            else {
                panic!("a proxy")
            };
            assert_eq!(proxy.echo_guard(), fleet::EchoGuard::Off, "{said}");
        }
        for (field, said) in [("echo_guard", json!(true)), ("default_effect", json!(false))] {
            read(json!({"kind": "proxy", "name": "a", field: said})).expect_err("it is no value of it");
        }
    }

    #[test]
    fn lists_of_an_enum_are_spelled_as_single_values_are() {
        let said = json!({"kind": "filter", "name": "a", "action": "redact", "direction": "request",
            "detectors": ["email", "us-ssn", "DETECTOR_CARD"]});
        let document = read(said).expect("it is good");
        let Some(Resource::Filter(filter)) = &document.resource else { panic!("a filter") };
        let detectors: Vec<_> = filter.detectors().collect();
        assert_eq!(detectors, [fleet::Detector::Email, fleet::Detector::UsSsn, fleet::Detector::Card]);
        assert_eq!(filter.direction(), fleet::FilterDirection::Request);
        let exported = serde_json::to_value(Exported::new(&document).expect("JSON")).expect("JSON");
        assert_eq!(exported["detectors"], json!(["email", "us-ssn", "card"]));
        assert_eq!(exported["direction"], "request");
    }
}
