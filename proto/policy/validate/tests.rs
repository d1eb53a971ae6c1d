//! What passes a schema and what does not; what is refused as a schema; and that hostile ones of both end.

mod hostile;
mod openapi;

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;

/// A body that a JSON Schema is about.
pub(super) const BODY: Wanted = Wanted(Wants::Schema { may_be_empty: false });

pub(super) fn validation(schema: &str) -> Validation {
    Validation { subject: Subject::JsonSchema(schema.into()), methods: Arc::default() }
}

pub(super) fn compiled(schema: &Value) -> Validator {
    Validator::compile(&validation(&schema.to_string())).unwrap_or_else(|error| panic!("{schema}: {error}"))
}

/// Pointer, keyword and place in the schema of the refusal of a body.
fn refused(validator: &Validator, body: &str) -> Option<(String, String, String)> {
    match validator.body(BODY, body.as_bytes(), Effort::AtLength) {
        Ok(()) => None,
        Err(Stopped::Refused(it)) => Some((it.pointer.into(), it.keyword.into(), it.schema.into())),
        Err(Stopped::TooMuch) => panic!("there is nobody else to do it"),
    }
}

fn fault(schema: &str) -> String {
    match Validator::compile(&validation(schema)) {
        Ok(_) => panic!("{schema} is taken"),
        Err(invalid) => invalid.to_string(),
    }
}

fn order() -> Validator {
    compiled(&json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://schemas.example/order",
        "type": "object",
        "required": ["item", "price"],
        "additionalProperties": false,
        "properties": {
            "item": {"type": "string", "pattern": "^[a-z]{1,20}$"},
            "price": {"type": "number", "exclusiveMinimum": 0, "multipleOf": 0.01},
            "tags": {"type": "array", "uniqueItems": true, "items": {"$ref": "#/$defs/tag"}},
            "a/b~c": {"const": 1}
        },
        "$defs": {"tag": {"enum": ["new", "used", 3]}}
    }))
}

#[test]
fn a_body_passes_or_is_told_where_and_by_which_keyword_it_does_not() {
    let order = order();
    for body in [
        r#"{"item":"book","price":1.25}"#,
        r#" {"price":0.07,"item":"\u0062ook","tags":["new",3.0]} "#,
        r#"{"item":"book","price":19.99,"a/b~c":1.0}"#,
    ] {
        assert_eq!(refused(&order, body), None, "{body}");
    }
    for (body, pointer, keyword, schema) in [
        ("{}", "", "required", "/required"),
        ("[]", "", "type", "/type"),
        (r#"{"item":"book","price":0}"#, "/price", "exclusiveMinimum", "/properties/price/exclusiveMinimum"),
        (r#"{"item":"book","price":0.001}"#, "/price", "multipleOf", "/properties/price/multipleOf"),
        (r#"{"item":"Book","price":1}"#, "/item", "pattern", "/properties/item/pattern"),
        (r#"{"item":"book","price":1,"x":1}"#, "", "additionalProperties", "/additionalProperties"),
        (
            r#"{"item":"book","price":1,"tags":["new","new"]}"#,
            "/tags",
            "uniqueItems",
            "/properties/tags/uniqueItems",
        ),
        (r#"{"item":"book","price":1,"tags":["new","old"]}"#, "/tags/1", "enum", "/$defs/tag/enum"),
        (r#"{"item":"book","price":1,"a/b~c":2}"#, "/a~1b~0c", "const", "/properties/a~1b~0c/const"),
        (r#"{"item":"book","price":1,"item":"book"}"#, "/item", "duplicate-key", ""),
        (r#"{"item":"book","price":1,"tags":[{"a":1,"\u0061":1}]}"#, "/tags/0/a", "duplicate-key", ""),
        (r#"{"item":"book","price":1"#, "", "not-json", ""),
        (r#"{"item":"book","price":1}x"#, "", "not-json", ""),
        ("\u{feff}{}", "", "not-json", ""),
        ("", "", "no-body", ""),
        (r#"{"item":"book","price":1.00000000000000000001}"#, "/price", "inexact-number", ""),
        (r#"{"item":"book","price":1e1000000}"#, "/price", "inexact-number", ""),
    ] {
        let told = Some((pointer.to_owned(), keyword.to_owned(), schema.to_owned()));
        assert_eq!(refused(&order, body), told, "{body}");
    }
}

#[test]
fn a_number_is_compared_as_it_is_written_or_not_at_all() {
    for (schema, body, keyword) in [
        (json!({"const": 9_007_199_254_740_993_u64}), "9007199254740993", None),
        (json!({"const": 9_007_199_254_740_993_u64}), "9007199254740992", Some("const")),
        (json!({"maximum": 9_007_199_254_740_992_u64}), "9007199254740993", Some("maximum")),
        (json!({"maximum": 1}), "1.0000000000000000000001", Some("inexact-number")),
        (json!({"type": "integer"}), "1e1000000", None),
        (json!({"type": "integer"}), "1.0", None),
        (json!({"type": "integer"}), "1e-1000000", Some("type")),
        (json!({"type": "number"}), "1.0000000000000000000001", None),
        (json!({"uniqueItems": true}), "[1.0000000000000000000001,1,1.00]", Some("uniqueItems")),
        (json!({"uniqueItems": true}), "[1.0000000000000000000001,1]", None),
        (json!({"uniqueItems": true}), r#"[{"a":[1e2]},{"a":[100]}]"#, Some("uniqueItems")),
        (json!({"const": {"a": [0.1, null, true, "x"]}}), r#"{"a":[1e-1,null,true,"x"]}"#, None),
        (json!({"const": {"a": [0.1]}}), r#"{"a":[0.1000000000000000000001]}"#, Some("const")),
        (json!({"multipleOf": 0.1}), "0.3", None),
        (json!({"minimum": -5}), "-5.0", None),
        (json!({"minimum": 0}), "-0", None),
        (json!({"maximum": 18_446_744_073_709_551_615_u64}), "18446744073709551616", Some("inexact-number")),
    ] {
        let found = refused(&compiled(&schema), body).map(|(_, keyword, _)| keyword);
        assert_eq!(found.as_deref(), keyword, "{schema} {body}");
    }
}

#[test]
fn keywords_of_2020_12_hold() {
    for (schema, good, bad) in [
        (
            json!({"prefixItems": [{"type": "string"}], "items": {"type": "number"}}),
            r#"["a",1]"#,
            r#"["a","b"]"#,
        ),
        (json!({"contains": {"const": 1}, "maxContains": 1}), "[1,2]", "[1,1]"),
        (json!({"dependentRequired": {"a": ["b"]}}), r#"{"a":1,"b":1}"#, r#"{"a":1}"#),
        (json!({"dependentSchemas": {"a": {"required": ["b"]}}}), r#"{"b":1}"#, r#"{"a":1}"#),
        (json!({"propertyNames": {"pattern": "^x"}}), r#"{"xa":1}"#, r#"{"a":1}"#),
        (json!({"patternProperties": {"^n": {"type": "number"}}}), r#"{"na":1,"b":""}"#, r#"{"na":""}"#),
        (
            json!({"if": {"required": ["a"]}, "then": {"required": ["b"]}, "else": {"required": ["c"]}}),
            r#"{"c":1}"#,
            r#"{"a":1}"#,
        ),
        (json!({"oneOf": [{"type": "string"}, {"minLength": 2}]}), r#""a""#, r#""ab""#),
        (json!({"not": {"type": "string"}}), "1", r#""a""#),
        (
            json!({"allOf": [{"properties": {"a": true}}], "unevaluatedProperties": false}),
            r#"{"a":1}"#,
            r#"{"b":1}"#,
        ),
        (json!({"prefixItems": [true], "unevaluatedItems": false}), "[1]", "[1,2]"),
        (json!({"minLength": 2, "maxLength": 2}), r#""äö""#, r#""ä""#),
        (
            json!({"$ref": "#tree", "$defs": {"t": {"$anchor": "tree", "properties": {"in": {"$ref": "#tree"}}, "required": ["n"]}}}),
            r#"{"n":1,"in":{"n":1}}"#,
            r#"{"n":1,"in":{}}"#,
        ),
        (
            json!({"$dynamicAnchor": "node", "type": "object", "additionalProperties": {"$dynamicRef": "#node"}}),
            r#"{"a":{"b":{}}}"#,
            r#"{"a":{"b":1}}"#,
        ),
        (json!({"format": "email", "type": "string"}), r#""nobody""#, "1"),
    ] {
        let validator = compiled(&schema);
        assert_eq!(refused(&validator, good), None, "{schema}");
        assert!(refused(&validator, bad).is_some(), "{schema}");
    }
    assert!(refused(&compiled(&json!(false)), "1").is_some());
    assert_eq!(refused(&compiled(&json!(true)), "1"), None);
}

#[test]
fn what_is_wrong_with_a_schema_is_told_without_its_values() {
    for schema in [r#"{"type":"s3cret"}"#, r#"{"required":["s3cret","s3cret"]}"#, r#"{"minimum":"s3cret"}"#] {
        let said = fault(schema);
        assert!(said.contains("JSON Schema 2020-12") && !said.contains("s3cret"), "{said}");
    }
}

#[test]
fn a_schema_that_is_not_taken_is_told_where_and_why() {
    let many = |count: usize, one: &str| vec![one; count].join(",");
    let doubled = (0..4).map(|i| {
        format!(r##""d{i}":{{"allOf":[{}]}}"##, many(16, &format!(r##"{{"$ref":"#/$defs/d{}"}}"##, i + 1)))
    });
    let doubled = doubled.collect::<Vec<_>>().join(",");
    let row =
        (0..40).map(|i| format!(r##""d{i}":{{"$ref":"#/$defs/d{}"}}"##, i + 1)).collect::<Vec<_>>().join(",");
    let patterns = (0..129).map(|i| format!(r#""p{i}":{{"pattern":"a{i}"}}"#)).collect::<Vec<_>>().join(",");
    for (schema, words) in [
        ("{", &["not JSON at byte 1"] as &[&str]),
        ("[]", &["neither an object nor a boolean"]),
        (r#"{"type":"object","type":"object"}"#, &["/type", "twice"]),
        (r#"{"$schema":"http://json-schema.org/draft-07/schema#"}"#, &["/$schema", "draft-07", "2020-12"]),
        (
            r#"{"properties":{"a":{"$ref":"https://x.example/a"}}}"#,
            &["/properties/a/$ref", "outside the document", "$defs"],
        ),
        (r#"{"$ref":"other.json#/a"}"#, &["/$ref", "outside the document"]),
        (r#"{"$ref":"file:///etc/passwd"}"#, &["outside the document"]),
        (r##"{"$ref":"#/$defs/none"}"##, &["/$ref", "#/$defs/none", "not there"]),
        (r##"{"$ref":"#none"}"##, &["/$ref", "anchor"]),
        (r##"{"$ref":"#/required","required":["a"]}"##, &["no schema"]),
        (r#"{"$defs":{"a":{"$id":"https://x.example/a"}}}"#, &["/$defs/a/$id", "leave it out"]),
        (r##"{"$recursiveRef":"#"}"##, &["/$recursiveRef", "$dynamicRef"]),
        (r#"{"dependencies":{"a":["b"]}}"#, &["/dependencies", "dependentRequired"]),
        (
            r#"{"properties":{"a":{"pattern":"(?=x)y"}}}"#,
            &["/properties/a/pattern", "look-around at column 1", "(?=x)y"],
        ),
        (r#"{"pattern":"(a)\\1"}"#, &["/pattern", "back-reference"]),
        (r#"{"patternProperties":{"(?<!x)y":true}}"#, &["/patternProperties/(?<!x)y", "look-around"]),
        (r#"{"pattern":"[a"}"#, &["/pattern", "column"]),
        (r#"{"pattern":"((a{300}){300}){300}"}"#, &["/pattern", "weighs"]),
        (r##"{"$ref":"#"}"##, &["without end"]),
        (r##"{"allOf":[{"anyOf":[{"$ref":"#"}]}]}"##, &["without end"]),
        (
            r##"{"$ref":"#/$defs/a","$defs":{"a":{"not":{"$ref":"#/$defs/b"}},"b":{"$ref":"#/$defs/a"}}}"##,
            &["without end"],
        ),
        (
            &format!(r##"{{"$ref":"#/$defs/d0","$defs":{{{doubled},"d4":{{}}}}}}"##),
            &["4096 schemas to one value"],
        ),
        (
            &format!(r##"{{"$ref":"#/$defs/d0","$defs":{{{row},"d40":{{}}}}}}"##),
            &["in a row of more than 24"],
        ),
        (&format!(r#"{{"anyOf":[{}]}}"#, many(5_001, "{}")), &["5000"]),
        (&format!(r#"{{"properties":{{{patterns}}}}}"#), &["128"]),
        (r#"{"type":"text"}"#, &["/type", "no JSON Schema 2020-12"]),
        (r#"{"properties":{"a":{"minLength":-1}}}"#, &["/properties/a/minLength"]),
        (r#"{"maximum":1e400}"#, &["/maximum", "rounded"]),
        (r#"{"enum":[{"a":1.00000000000000000001}]}"#, &["/enum/0/a", "rounded"]),
    ] {
        let told = fault(schema);
        assert!(told.starts_with("validation.json_schema: "), "{told}");
        for word in words {
            assert!(told.contains(word), "{word} in {told}");
        }
    }
    let deep = format!("{}1{}", r#"{"not":"#.repeat(70), "}".repeat(70));
    assert!(fault(&deep).contains("nested deeper than 64"));
}

#[test]
fn which_requests_a_schema_is_about() {
    let any = compiled(&json!({}));
    let headers = HeaderMap::new();
    let of = |validator: &Validator, method, has_body| {
        validator.look(Head { method, path: "/", query: None, headers: &headers, has_body }, Effort::AtOnce)
    };
    let (body, any_body) = (Look::Body(BODY), Look::Body(Wanted(Wants::Schema { may_be_empty: true })));
    let missing = Look::Refused(Refusal::ours("", "no-body"));
    for (method, has_body, look) in [
        ("POST", true, &body),
        ("POST", false, &missing),
        ("PUT", false, &missing),
        ("PATCH", false, &missing),
        ("GET", false, &Look::Passes),
        ("DELETE", false, &Look::Passes),
        ("DELETE", true, &any_body),
        ("GET", true, &any_body),
    ] {
        assert_eq!(&of(&any, method, has_body), look, "{method} {has_body}");
    }
    let methods = Arc::from([Box::from("QUERY")]);
    let some = Validator::compile(&Validation { methods, ..validation("{}") }).expect("a schema");
    assert_eq!(of(&some, "QUERY", false), missing);
    assert_eq!((of(&some, "QUERY", true), of(&some, "POST", true)), (body, Look::Passes));
    let Look::Body(wanted) = any_body else { panic!("it was made so") };
    assert_eq!(any.body(wanted, b"", Effort::AtOnce), Ok(()), "there turned out to be none");
}

#[test]
fn what_is_long_is_left_to_somebody_with_more_time() {
    let validator = compiled(&json!({"type": "array", "items": {"type": "integer"}}));
    let long = format!("[{}1]", "1,".repeat(AT_ONCE_MAX / 2));
    assert_eq!(validator.body(BODY, long.as_bytes(), Effort::AtOnce), Err(Stopped::TooMuch));
    assert_eq!(validator.body(BODY, long.as_bytes(), Effort::AtLength), Ok(()));
    let most = format!("[{}1]", "1,".repeat(250_000));
    assert_eq!(refused(&validator, &most).map(|(_, keyword, _)| keyword).as_deref(), Some("too-much-work"));
}

#[test]
fn places_that_are_told_are_not_longer_than_a_place_may_be() {
    let name = "n".repeat(300);
    let validator = compiled(&json!({"additionalProperties": {"additionalProperties": {"type": "string"}}}));
    let (pointer, keyword, _) =
        refused(&validator, &json!({&name: {&name: 1}}).to_string()).expect("it is a number");
    assert_eq!((pointer, keyword.as_str()), (format!("/{name}"), "type"));
}
