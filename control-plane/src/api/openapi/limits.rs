//! The bounds of values that the schemas do not have: by message and field, or by field
//! alone for all messages that have it. The place where a bound is enforced is the domain's or the service's.

use serde_json::{Value, json};

use crate::api::schema::Field;

type Make = fn() -> Value;

/// Segments in front of a path, in one spelling.
const PREFIX: &str = r"^((/\.?[A-Za-z0-9_~!$&'()*+,=:@-][A-Za-z0-9._~!$&'()*+,;=:@-]*)+)?$";

/// `*` stands for every message. The first row that fits counts.
const TABLE: &[(&str, &str, Make)] = &[
    ("*", "page_size", || json!({"minimum": 0, "maximum": 1000})),
    (
        "*",
        "display_name",
        || json!({"maxLength": 200, "pattern": r"^[^\u0000-\u001F\u007F-\u009F]*$", "examples": ["Payments"]}),
    ),
    ("*", "page_token", || json!({"pattern": "^[A-Za-z0-9_-]*$"})),
    // No bound on how many are shown: a token gets a grant for each organization that it creates.
    ("Token", "grants", || json!({"minItems": 1})),
    ("Token", "name", || json!({"maxLength": 63, "examples": ["ci"]})),
    (
        "Target",
        "base_url",
        || json!({"maxLength": 2048, "pattern": "^https?://.", "examples": ["https://api.example.com/v1"]}),
    ),
    ("Target", "connect_timeout", || json!({"examples": ["5s"]})),
    ("Target", "response_timeout", || json!({"examples": ["30s"]})),
    (
        "Region",
        "base_url",
        || json!({"maxLength": 2048, "pattern": "^https?://.", "examples": ["https://edge.example.com"]}),
    ),
    ("Target", "more_base_urls", || json!({"maxItems": 31})),
    ("Target", "min_tls", || json!({"enum": ["", "1.2", "1.3"]})),
    ("Target", "http_version", || json!({"enum": ["", "1.1", "2"]})),
    ("*", "consecutive_failures", || json!({"minimum": 0, "maximum": 1000})),
    ("*", "max_ejected_percent", || json!({"minimum": 0, "maximum": 100})),
    ("*", "unhealthy_after", || json!({"minimum": 0, "maximum": 100})),
    ("*", "healthy_after", || json!({"minimum": 0, "maximum": 100})),
    ("RetryPolicy", "attempts", || json!({"minimum": 1, "maximum": 5})),
    ("*", "budget_percent", || json!({"minimum": 0, "maximum": 100})),
    ("*", "strip_prefix", || json!({"maxLength": 1024, "pattern": PREFIX, "examples": ["/v1"]})),
    ("*", "add_prefix", || json!({"maxLength": 1024, "pattern": PREFIX, "examples": ["/api/v2"]})),
    ("Rewrite", "host", || json!({"maxLength": 256, "examples": ["api.example.com"]})),
    ("PairEdits", "remove", || json!({"maxItems": 32})),
    ("PairEdits", "rename", || json!({"maxItems": 32})),
    ("PairEdits", "set", || json!({"maxItems": 32})),
    ("PairEdits", "add", || json!({"maxItems": 32})),
    ("Pair", "value", || json!({"maxLength": 4096})),
    ("Cors", "origins", || json!({"minItems": 1, "maxItems": 64, "examples": [["https://app.example.com"]]})),
    ("Cors", "methods", || json!({"maxItems": 64})),
    ("Cors", "headers", || json!({"maxItems": 64})),
    ("Cors", "exposed_headers", || json!({"maxItems": 64})),
    ("Proxy", "caller_credentials", || json!({"maxItems": 100})),
    // 0 is taken as what was never given, which means 400.
    ("Proxy", "deny_status", || json!({"enum": [0, 400, 403]})),
    ("*", "order", || json!({"minimum": 0, "maximum": 1000})),
    ("*", "priority", || json!({"minimum": 0, "maximum": 1000})),
    // 0 is taken as what was never given, which means 90.
    ("Org", "record_days", || json!({"minimum": 0, "maximum": 400})),
];

/// The fields that a create call needs, by their JSON names.
const REQUIRED: &[(&str, &[&str])] = &[
    ("Org", &["name"]),
    ("Region", &["id", "name", "key"]),
    ("Target", &["name", "baseUrl"]),
    ("Credential", &["name"]),
    ("Proxy", &["name", "callerCredentials", "target", "upstreamCredential", "regions"]),
    ("Token", &["name", "grants"]),
];

/// The fields that a create call with this message as its body needs.
pub(super) fn required(message: &str) -> Option<&'static [&'static str]> {
    let message = message.rsplit('.').next().unwrap_or(message);
    REQUIRED.iter().find(|(name, _)| *name == message).map(|(_, fields)| *fields)
}

/// A reference in a path: a name, an id, or a number.
pub(super) const REFERENCE: &str = "^[A-Za-z0-9]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?$";

/// Whole bodies of create calls that are taken as they stand, for people and for tests.
const EXAMPLES: &[(&str, Make)] = &[
    ("Org", || json!({"name": "payments", "displayName": "Payments"})),
    (
        "Target",
        || json!({"name": "openai", "baseUrl": "https://api.openai.com/v1", "responseTimeout": "60s"}),
    ),
    ("Credential", || json!({"name": "app", "caller": {"kind": "CALLER_KIND_API_KEY"}})),
    ("Token", || json!({"name": "ci", "grants": [{"role": "ROLE_OPERATOR"}]})),
];

/// A body of a create call with this message.
pub(super) fn example(message: &str) -> Option<Value> {
    let message = message.rsplit('.').next().unwrap_or(message);
    EXAMPLES.iter().find(|(name, _)| *name == message).map(|(_, example)| example())
}

/// The bounds of a field.
pub(super) fn of(message: &str, field: &Field) -> Option<Value> {
    if field.options.resource_name {
        let pattern = if field.options.may_be_empty {
            "^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)?$"
        } else {
            "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
        };
        return Some(json!({"pattern": pattern, "maxLength": 63, "examples": ["payments"]}));
    }
    let message = message.rsplit('.').next().unwrap_or(message);
    let row = TABLE.iter().find(|(m, f, _)| (*m == "*" || *m == message) && *f == field.name);
    row.map(|(_, _, bounds)| bounds())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::schema::SCHEMA;

    #[test]
    fn every_row_is_about_a_field_that_there_is_or_about_all() {
        for (message, field, _) in TABLE.iter().filter(|(message, ..)| *message != "*") {
            let has = |package: &str| {
                let full = format!("requestrocket.{package}.v1.{message}");
                SCHEMA.messages.get(&full).is_some_and(|it| it.field(field).is_some())
            };
            assert!(has("management") || has("fleet"), "{message}.{field}");
        }
    }

    #[test]
    fn the_pattern_of_names_is_that_of_the_domain() {
        let doc = rr_contract::model::name::InvalidName.to_string();
        assert!(doc.contains("1 to 63 of a-z, 0-9 and -"), "{doc}: change the pattern too");
    }
}
