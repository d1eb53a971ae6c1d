//! Documents that are not taken, each with its place and what to do; and that hostile ones end.

use std::time::{Duration, Instant};

use rr_domain::model::validation::{DOCUMENT_MAX, Unlisted};
use serde_json::{Map, Value, json};

use super::{ask, compile, document, of};

fn fault(document: &Value) -> String {
    match compile(document, Unlisted::Refuse) {
        Ok(_) => panic!("{document} is taken"),
        Err(told) => told,
    }
}

/// A document with one operation.
fn get(operation: Value) -> Value {
    document(&json!({"/a/{id}": {"get": operation}}), &json!({}))
}

fn query(more: Value) -> Value {
    let mut parameter = json!({"name": "q", "in": "query"});
    parameter.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
    get(json!({"parameters": [parameter]}))
}

fn body(content: Value) -> Value {
    get(json!({"requestBody": {"content": content}}))
}

#[expect(clippy::too_many_lines, reason = "a table")]
#[test]
fn a_document_that_is_not_taken_is_told_where_and_what_to_do() {
    let none = json!({});
    let of_paths = |paths: Value| document(&paths, &none);
    let with =
        |components: Value, operation: Value| document(&json!({"/a": {"get": operation}}), &components);
    let text = json!({"type": "string"});
    for (document, words) in [
        (
            json!({"openapi": "3.0.3", "paths": {}}),
            &["`/openapi`", "3.0.3", "OpenAPI 3.1", "document upgrade"] as &[&str],
        ),
        (json!({"swagger": "2.0", "paths": {}}), &["`/swagger`", "2.0", "OpenAPI 3.1", "document upgrade"]),
        (json!({"openapi": "3.2.0", "paths": {}}), &["`/openapi`", "3.2.0", "OpenAPI 3.1"]),
        (json!({"openapi": "3.1", "paths": {}}), &["`/openapi`"]),
        (json!({"type": "object"}), &["no OpenAPI document"]),
        (json!([]), &["no OpenAPI document"]),
        (json!({"openapi": "3.1.0", "webhooks": {"a": {"post": {}}}}), &["no `paths`"]),
        (json!({"openapi": "3.1.0", "paths": {}}), &["`/paths`", "no operation"]),
        (json!({"openapi": "3.1.0", "paths": []}), &["`/paths`", "no object"]),
        (
            json!({"openapi": "3.1.0", "jsonSchemaDialect": "http://json-schema.org/draft-07/schema#", "paths": {}}),
            &["/jsonSchemaDialect", "leave it out"],
        ),
        // Paths.
        (of_paths(json!({"a": {"get": {}}})), &["/paths/a", "slash"]),
        (of_paths(json!({"/a//b": {"get": {}}})), &["/paths/~1a~1~1b", "empty segment"]),
        (of_paths(json!({"/a/../b": {"get": {}}})), &["dot segment"]),
        (of_paths(json!({"/a?b={c}": {"get": {}}})), &["in: query"]),
        (of_paths(json!({"/a/{b": {"get": {}}})), &["does not close"]),
        (of_paths(json!({"/a/b}": {"get": {}}})), &["does not open"]),
        (of_paths(json!({"/a/{}": {"get": {}}})), &["no name"]),
        (of_paths(json!({"/{a}-{b}": {"get": {}}})), &["several parameters"]),
        (of_paths(json!({"/{a}/{a}": {"get": {}}})), &["twice"]),
        (of_paths(json!({"/{a}/x": {"get": {}}, "/{b}/x": {"get": {}}})), &["/paths/~1{b}~1x", "same path"]),
        (of_paths(json!({"/a": {"get": {}}, "/%61": {"get": {}}})), &["same path"]),
        (of_paths(json!({"/a": {"fetch": {}}})), &["/paths/~1a/fetch", "nothing that a path"]),
        (
            of_paths(json!({"/a": {"get": {"paramters": []}}})),
            &["/paths/~1a/get/paramters", "nothing that an operation"],
        ),
        (of_paths(json!({"/a": {"get": []}})), &["/paths/~1a/get", "no object"]),
        (
            of_paths(json!({"/a": {"$ref": "https://x.example/a"}})),
            &["/paths/~1a/$ref", "no place in the document"],
        ),
        (of_paths(json!({"/a": {"$ref": "other.json#/a"}})), &["no place in the document", "components"]),
        (of_paths(json!({"/a": {"$ref": "#/components/pathItems/A"}})), &["/paths/~1a/$ref", "not there"]),
        (
            of_paths(json!({"/a": {"$ref": "#/paths/~1b"}, "/b": {"$ref": "#/paths/~1a"}})),
            &["/paths/~1a", "leads to itself"],
        ),
        (
            of_paths(json!({"/a": {"$ref": "#/paths/~1b", "get": {}}, "/b": {"get": {}}})),
            &["beside its `$ref`"],
        ),
        // Parameters.
        (get(json!({"parameters": {}})), &["/paths/~1a~1{id}/get/parameters", "no list"]),
        (get(json!({"parameters": [{"name": "q"}]})), &["parameters/0", "`in`"]),
        (
            get(json!({"parameters": [{"name": "q", "in": "cookie", "schema": text}]})),
            &["cookie", "leave the parameter out"],
        ),
        (
            get(json!({"parameters": [{"name": "q", "in": "body", "schema": text}]})),
            &["`path`, `query` and `header`"],
        ),
        (get(json!({"parameters": [{"name": "id", "in": "path", "schema": text}]})), &["required: true"]),
        (
            get(json!({"parameters": [{"name": "no", "in": "path", "required": true, "schema": text}]})),
            &["\"no\"", "does not have"],
        ),
        (
            get(json!({"parameters": [{"name": "a b", "in": "header", "schema": text}]})),
            &["no name of a header"],
        ),
        (
            get(
                json!({"parameters": [{"name": "q", "in": "query", "schema": text}, {"name": "q", "in": "query", "schema": text}]}),
            ),
            &["parameters/1", "second parameter"],
        ),
        (query(json!({})), &["no `schema`"]),
        (query(json!({"content": {"application/json": {}}})), &["parameters/0/content", "write `schema`"]),
        (query(json!({"schema": text, "style": "deepObject"})), &["deepObject", "leave it out"]),
        (query(json!({"schema": text, "style": "pipeDelimited"})), &["pipeDelimited"]),
        (
            get(
                json!({"parameters": [{"name": "id", "in": "path", "required": true, "style": "matrix", "schema": text}]}),
            ),
            &["matrix", "simple"],
        ),
        (query(json!({"schema": text, "required": "yes"})), &["required", "true nor false"]),
        (query(json!({"schema": text, "requried": true})), &["requried", "nothing that a parameter"]),
        (query(json!({"schema": {"type": "object"}})), &["parameters/0/schema", "object"]),
        (query(json!({"schema": {"minimum": 1}})), &["parameters/0/schema", "write `type`"]),
        (query(json!({"schema": {"pattern": "^a$"}})), &["write `type`"]),
        (query(json!({"schema": {"type": ["array", "string"]}})), &["one `type`"]),
        (query(json!({"schema": {"type": "array", "items": {"type": "array"}}})), &["`items`"]),
        (query(json!({"schema": {"type": "array", "items": {"minimum": 1}}})), &["`items`"]),
        (query(json!({"schema": {"type": "array", "items": {"type": ["string", "integer"]}}})), &["`items`"]),
        (query(json!({"schema": {"type": "array", "prefixItems": [{"type": "integer"}]}})), &["`items`"]),
        (
            document(
                &json!({"/a.{id}": {"get": {"parameters": [{"name": "id", "in": "path", "required": true, "schema": {"type": "array"}}]}}}),
                &none,
            ),
            &["part of a segment"],
        ),
        (
            with(
                json!({"parameters": {"A": {"$ref": "#/components/parameters/A"}}}),
                json!({"parameters": [{"$ref": "#/components/parameters/A"}]}),
            ),
            &["parameters/0", "leads to itself"],
        ),
        // Bodies.
        (get(json!({"requestBody": {}})), &["requestBody", "`content`"]),
        (body(json!({"json": {}})), &["requestBody/content/json", "no type"]),
        (body(json!({"application/json; v=1": {}})), &["without parameters"]),
        (body(json!({"application/json": {}, "Application/JSON": {}})), &["one type twice"]),
        (
            body(json!({"multipart/form-data": {"schema": {"type": "object"}}})),
            &["multipart~1form-data/schema", "no JSON", "leave the schema out"],
        ),
        (body(json!({"text/plain": {"schema": {"type": "string", "maxLength": 3}}})), &["no JSON"]),
        // Schemas.
        (
            body(json!({"application/json": {"schema": {"type": "text"}}})),
            &["application~1json/schema/type", "no JSON Schema 2020-12"],
        ),
        (
            body(json!({"application/json": {"schema": {"properties": {"a": {"minLength": -1}}}}})),
            &["schema/properties/a/minLength"],
        ),
        (
            body(json!({"application/json": {"schema": {"$ref": "https://x.example/a"}}})),
            &["schema/$ref", "outside the document", "components/schemas"],
        ),
        (
            body(json!({"application/json": {"schema": {"$ref": "#/components/schemas/None"}}})),
            &["schema/$ref", "not there"],
        ),
        (body(json!({"application/json": {"schema": {"$ref": "#anchor"}}})), &["by place"]),
        (body(json!({"application/json": {"schema": {"$ref": "#"}}})), &["by place"]),
        (
            body(json!({"application/json": {"schema": {"type": "string", "nullable": true}}})),
            &["schema/nullable", "OpenAPI 3.0", "null"],
        ),
        (body(json!({"application/json": {"schema": {"exclusiveMinimum": true}}})), &["exclusiveMinimum"]),
        (
            body(json!({"application/json": {"schema": {"$id": "https://x.example/a", "type": "string"}}})),
            &["schema/$id", "leave it out"],
        ),
        (
            body(json!({"application/json": {"schema": {"pattern": "(?=a)"}}})),
            &["schema/pattern", "look-around"],
        ),
        (
            with(
                json!({"schemas": {"A": {"type": "text"}}}),
                json!({"requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/A"}}}}}),
            ),
            &["/components/schemas/A/type", "no JSON Schema 2020-12"],
        ),
        (
            with(
                json!({"schemas": {"A": {"allOf": [{"$ref": "#/components/schemas/B"}]}, "B": {"$ref": "#/components/schemas/A"}}}),
                json!({"requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/A"}}}}}),
            ),
            &["without end"],
        ),
    ] {
        let told = fault(&document);
        assert!(told.starts_with("validation.openapi: "), "{told}");
        for word in words {
            assert!(told.contains(word), "{word} in {told}");
        }
    }
}

#[test]
fn what_says_nothing_of_requests_is_passed_over() {
    let validator = compile(
        &json!({
            "openapi": "3.1.1",
            "jsonSchemaDialect": "https://spec.openapis.org/oas/3.1/dialect/base",
            "servers": [{"url": "https://api.example/v1"}],
            "security": [{"key": []}],
            "tags": [],
            "x-own": {"$ref": "https://x.example/"},
            "webhooks": {"w": {"$ref": "https://x.example/"}},
            "paths": {
                "x-own": 7,
                "/a": {"x-own": 7, "summary": "s", "servers": [], "get": {
                    "x-own": 7, "operationId": "a", "deprecated": true,
                    "responses": {"200": {"$ref": "https://x.example/"}},
                    "callbacks": {"c": {"$ref": "https://x.example/"}},
                    "parameters": [{"name": "q", "in": "query", "example": 1, "schema": {
                        "type": "integer", "format": "int32", "example": {"$ref": "#/none"}, "xml": {}, "x-own": {}}}],
                }},
            },
            "components": {
                "schemas": {"Unused": {"$ref": "https://x.example/"}, "Loop": {"$ref": "#/components/schemas/Loop"}},
                "responses": {"R": {}},
            },
        }),
        Unlisted::Refuse,
    );
    let validator = validator.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(ask(&validator, "GET /a?q=1", &[], ""), "");
    assert!(ask(&validator, "GET /a?q=x", &[], "").starts_with("query.q  type"));
    assert_eq!(ask(&validator, "GET /v1/a?q=1", &[], ""), "operation", "paths of servers are not in front");
}

/// Text of a document that is about as long as may be.
fn full(one: impl Fn(usize) -> (String, Value)) -> (Value, usize) {
    let (mut paths, mut length, mut count) = (Map::new(), 200, 0);
    loop {
        let (template, item) = one(count);
        length += template.len() + item.to_string().len() + 4;
        if length > DOCUMENT_MAX || count == 10_000 {
            return (document(&paths.into(), &json!({})), count);
        }
        paths.insert(template, item);
        count += 1;
    }
}

#[test]
fn ten_thousand_paths_are_read_at_once_and_told_apart_at_once() {
    let (document, count) = full(|i| (format!("/p{i}"), json!({"get": {}})));
    assert_eq!(count, 10_000);
    let begun = Instant::now();
    let validator = compile(&document, Unlisted::Refuse).unwrap_or_else(|error| panic!("{error}"));
    let took = begun.elapsed();
    println!("compiled in {took:?}");
    assert!(took < Duration::from_secs(20), "{took:?}");
    let begun = Instant::now();
    for i in 0..10_000 {
        assert_eq!(ask(&validator, &format!("GET /p{i}"), &[], ""), "");
    }
    let took = begun.elapsed();
    println!("10,000 requests in {took:?}");
    // Each by each they would be 100 million looks.
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(ask(&validator, "GET /p10000", &[], ""), "operation");
}

#[test]
fn hostile_documents_end_with_a_word_or_are_taken() {
    let shared = json!({"$ref": "#/components/schemas/S"});
    let many = |count: usize, one: Value| vec![one; count];
    let row = |count: usize| {
        let defs: Map<_, _> = (0..count)
            .map(|i| (format!("d{i}"), json!({"$ref": format!("#/components/schemas/d{}", i + 1)})))
            .collect();
        document(
            &json!({"/": {"put": {"requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/d0"}}}}}}}),
            &json!({"schemas": defs}),
        )
    };
    let ways = |levels: usize| {
        // Each level concrete or not, in all ways.
        let paths: Map<_, _> = (0..1_usize << levels)
            .map(|ways| {
                let segment =
                    |at: usize| if ways >> at & 1 == 0 { "/a".to_owned() } else { format!("/{{p{at}}}") };
                ((0..levels).map(segment).collect::<String>(), json!({"get": {}}))
            })
            .collect();
        document(&paths.into(), &json!({}))
    };
    let properties: Map<_, _> =
        (0..300).map(|i| (format!("p{i}"), json!({"$ref": "#/components/schemas/S"}))).collect();
    let bodies: Map<_, _> = (0..700)
        .map(|i| {
            let schema = json!({"type": "array", "items": shared});
            (
                format!("/p{i}"),
                json!({"put": {"requestBody": {"content": {"application/json": {"schema": schema}}}}}),
            )
        })
        .collect();
    let parameters = |count: usize| -> Vec<Value> {
        (0..count)
            .map(|i| json!({"name": format!("q{i}"), "in": "query", "schema": {"type": "integer"}}))
            .collect()
    };
    for (what, document, word) in [
        ("a row of references", row(3_000), Some("not there")),
        (
            "a template of 65 segments",
            document(&json!({"/a".repeat(65): {"get": {}}}), &json!({})),
            Some("64 segments"),
        ),
        (
            "a template of 100,000 segments",
            document(&json!({"/a".repeat(100_000): {"get": {}}}), &json!({})),
            Some("64 segments"),
        ),
        (
            "a segment of 200,000 bytes",
            document(&json!({format!("/{}", "a".repeat(200_000)): {"get": {}}}), &json!({})),
            None,
        ),
        (
            "a segment of many braces",
            document(&json!({format!("/{}", "{a}".repeat(60_000)): {"get": {}}}), &json!({})),
            Some("several parameters"),
        ),
        ("all ways of 8 segments", ways(8), None),
        ("all ways of 11 segments", ways(11), Some("few steps")),
        ("400 texts around one parameter", full_mixed(400), None),
        ("5,000 texts around one parameter", full_mixed(5_000), Some("few steps")),
        ("257 parameters", get(json!({"parameters": parameters(257)})), Some("256 parameters")),
        ("256 parameters", get(json!({"parameters": parameters(256)})), None),
        (
            "a shared schema in 700 bodies",
            document(
                &bodies.into(),
                &json!({"schemas": {"S": {"type": "object", "properties": properties}}}),
            ),
            None,
        ),
        (
            "a path nested deep",
            get(serde_json::from_str(&format!("{}1{}", r#"{"x-a":"#.repeat(62), "}".repeat(62)))
                .unwrap_or_default()),
            Some("nested deeper"),
        ),
        (
            "6,000 schemas",
            get(
                json!({"requestBody": {"content": {"application/json": {"schema": {"anyOf": many(6_000, json!({}))}}}}}),
            ),
            Some("5000"),
        ),
    ] {
        let begun = Instant::now();
        let found = compile(&document, Unlisted::Refuse);
        let took = begun.elapsed();
        println!(
            "{took:10.2?} {:?} {what}",
            found.as_ref().err().map(|told| told.chars().take(90).collect::<String>())
        );
        match (found, word) {
            (Ok(_), None) => {}
            (Err(told), Some(word)) if told.contains(word) => assert!(told.len() < 12_000, "{what}"),
            (found, _) => panic!("{what}: {:?}", found.err()),
        }
        // Built without optimisation, and on a machine that has other things to do.
        assert!(took < Duration::from_secs(20), "{what} took {took:?}");
    }
}

fn full_mixed(count: usize) -> Value {
    let paths: Map<_, _> = (0..count).map(|i| (format!("/{{p}}x{i}"), json!({"get": {}}))).collect();
    document(&paths.into(), &json!({}))
}

#[test]
fn a_request_that_wants_to_take_long_to_find_does_not() {
    let paths: Map<_, _> = (0..256_usize)
        .map(|ways| {
            let segment =
                |at: usize| if ways >> at & 1 == 0 { "/a".to_owned() } else { format!("/{{p{at}}}") };
            (format!("{}/end", (0..8).map(segment).collect::<String>()), json!({"get": {}}))
        })
        .collect();
    let validator = of(&paths.into());
    let begun = Instant::now();
    for _ in 0..1_000 {
        assert_eq!(ask(&validator, &format!("GET {}/no", "/a".repeat(8)), &[], ""), "operation");
        assert_eq!(ask(&validator, &format!("GET {}", "/a".repeat(4_000)), &[], ""), "operation");
    }
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}
