//! Which operation of a document a request is, and what of it is refused: paths, parameters, bodies.

mod documents;

use http::{HeaderMap, HeaderName, HeaderValue};
use rr_domain::model::validation::{Subject, Unlisted, Validation};
use serde_json::{Value, json};

use super::super::{Effort, Head, Look, Refusal, Stopped, Validator};

fn compile(document: &Value, unlisted: Unlisted) -> Result<Validator, String> {
    let subject = Subject::OpenApi(document.to_string().into(), unlisted);
    Validator::compile(&Validation { subject, methods: [].into() }).map_err(|error| error.to_string())
}

/// A document of paths and components.
fn document(paths: &Value, components: &Value) -> Value {
    json!({"openapi": "3.1.0", "info": {"title": "t", "version": "1"}, "paths": paths, "components": components})
}

fn of(paths: &Value) -> Validator {
    compile(&document(paths, &json!({})), Unlisted::Refuse).unwrap_or_else(|error| panic!("{error}"))
}

fn short(refusal: Refusal) -> String {
    let of = refusal.parameter.map(String::from).unwrap_or_default();
    format!("{of} {} {} {}", refusal.pointer, refusal.keyword, refusal.schema).trim().to_owned()
}

/// What is said of a request: method and target, headers, and a body. Empty: it passes.
fn ask(validator: &Validator, line: &str, headers: &[(&str, &str)], body: &str) -> String {
    let (method, target) = line.split_once(' ').expect("a method and a target");
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let value = HeaderValue::from_bytes(value.as_bytes()).expect("a value");
        map.append(HeaderName::from_bytes(name.as_bytes()).expect("a name"), value);
    }
    let head = Head { method, path, query, headers: &map, has_body: !body.is_empty() };
    match validator.look(head, Effort::AtLength) {
        Look::Passes => String::new(),
        Look::Refused(refusal) => short(refusal),
        Look::TooMuch => panic!("there is nobody else to do it"),
        Look::Body(wanted) => match validator.body(wanted, body.as_bytes(), Effort::AtLength) {
            Ok(()) => String::new(),
            Err(Stopped::Refused(refusal)) => short(refusal),
            Err(Stopped::TooMuch) => panic!("there is nobody else to do it"),
        },
    }
}

/// A path whose operation tells by a header, which it requires, which one it is.
fn marked(mark: &str) -> Value {
    json!({"get": {"parameters": [{"name": mark, "in": "header", "required": true, "schema": {"type": "string"}}]}})
}

#[test]
fn a_request_is_the_operation_of_its_method_and_of_the_most_concrete_path() {
    let paths = [
        "/",
        "/a",
        "/a/",
        "/a/{x}",
        "/{x}/b",
        "/{x}/{y}/c",
        "/a/b/{z}",
        "/files/{name}.json",
        "/files/v{n}.json",
        "/files/{name}",
        "/files/{name}:cancel",
        "/sp%61ce d/\u{e4}",
        "/x/@me",
    ];
    let all: serde_json::Map<_, _> =
        paths.iter().enumerate().map(|(i, path)| ((*path).to_owned(), marked(&format!("m{i}")))).collect();
    let validator = of(&all.into());
    for (path, wanted) in [
        ("/", Some(0)),
        ("/a", Some(1)),
        ("/a/", Some(2)),
        ("/a/b", Some(3)),
        ("/a/c", Some(3)),
        ("/%61/b", Some(3)),
        ("/z/b", Some(4)),
        ("/z/b/", None),
        ("/z/", None),
        ("/a/x/c", Some(5)),
        ("/a/b/c", Some(6)),
        ("/a/b/", None),
        ("/files/v1.json", Some(8)),
        ("/files/a.json", Some(7)),
        ("/files/.json", Some(9)),
        ("/files/a:cancel", Some(10)),
        ("/files/a%3Acancel", Some(10)),
        ("/files/a", Some(9)),
        ("/space%20d/%C3%A4", Some(11)),
        ("/space%20d/\u{e4}", Some(11)),
        ("/x/%40me", Some(12)),
        ("/A", None),
        ("/a%2Fb", None),
        ("/a/b/c/d", None),
        ("/a/b/c/d/e/f/g/h", None),
    ] {
        let found = ask(&validator, &format!("GET {path}"), &[], "");
        let wanted = match wanted {
            Some(i) => format!("header.m{i}  required"),
            None => "operation".to_owned(),
        };
        assert!(found.starts_with(&wanted), "{path}: {found}, not {wanted}");
    }
    assert_eq!(ask(&validator, "POST /a", &[], ""), "operation");
}

#[test]
fn an_operation_that_is_not_listed_is_refused_or_passes_whole() {
    let paths = json!({
        "/me": {"get": {}, "options": {}},
        "/{user}": {"get": {}, "delete": {}, "parameters": [
            {"name": "user", "in": "path", "required": true, "schema": {"type": "integer"}}]},
        "/head": {"get": {}, "head": {"parameters": [{"name": "x", "in": "query", "required": true, "schema": true}]}},
    });
    let refuses = of(&paths);
    let passes = compile(&document(&paths, &json!({})), Unlisted::Pass).expect("it is good");
    for (line, refused, passed) in [
        ("GET /me", "", ""),
        ("HEAD /me", "", ""),
        ("HEAD /head", "query.x  required", "query.x  required"),
        ("OPTIONS /me", "", ""),
        ("OPTIONS /7", "operation", ""),
        // The concrete path is the one that it is of.
        ("DELETE /me", "operation", ""),
        ("DELETE /7", "", ""),
        ("DELETE /you", "path.user  type", "path.user  type"),
        ("get /me", "operation", ""),
        ("GET /me/you", "operation", ""),
    ] {
        for (validator, wanted) in [(&refuses, refused), (&passes, passed)] {
            let found = ask(validator, line, &[], "");
            assert!(found.starts_with(wanted) && found.is_empty() == wanted.is_empty(), "{line}: {found}");
        }
    }
    assert_eq!(ask(&passes, "POST /other", &[("content-type", "text/x")], "what"), "");
}

#[test]
fn parameters_are_read_as_their_schemas_say_and_each_of_them_is_judged() {
    let parameter = |name: &str, stands: &str, more: Value| {
        let mut all = json!({"name": name, "in": stands});
        all.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
        all
    };
    let list = |items: Value| json!({"type": "array", "items": items, "maxItems": 3});
    let validator = of(&json!({"/o/{id}/{ids}": {
        "parameters": [
            parameter("id", "path", json!({"required": true, "schema": {"type": "integer", "minimum": 1}})),
            parameter("ids", "path", json!({"required": true, "schema": list(json!({"pattern": "^[a-z]+$", "type": "string"}))})),
        ],
        "get": {"parameters": [
            parameter("limit", "query", json!({"schema": {"type": "integer", "maximum": 100}})),
            parameter("price", "query", json!({"schema": {"type": ["number", "null"], "multipleOf": 0.01}})),
            parameter("open", "query", json!({"schema": {"type": "boolean"}})),
            parameter("tag", "query", json!({"schema": list(json!({"enum": ["new", "used"]}))})),
            parameter("nums", "query", json!({"explode": false, "schema": list(json!({"type": "integer"}))})),
            parameter("sort", "query", json!({"schema": {"enum": ["up", "down"]}})),
            parameter("either", "query", json!({"schema": {"anyOf": [{"type": "integer", "maximum": 9}, {"enum": ["10", "all"]}]}})),
            parameter("free", "query", json!({"schema": {"type": "string"}})),
            parameter("flag", "query", json!({"allowEmptyValue": true, "schema": {"type": "integer"}})),
            parameter("\u{e4} b", "query", json!({"schema": {"maxLength": 2, "type": "string"}})),
            parameter("X-Trace", "header", json!({"schema": {"type": "string", "pattern": "^[0-9a-f]{4}$"}})),
            parameter("x-parts", "header", json!({"schema": list(json!({"type": "integer"}))})),
            parameter("x-text", "header", json!({"schema": {"type": "string"}})),
            parameter("Authorization", "header", json!({"required": true, "schema": {"type": "integer"}})),
        ]},
    }}));
    let at = "/o/7/a";
    let list_of = "/paths/~1o~1{id}~1{ids}";
    for (target, wanted) in [
        (format!("{at}?limit=100&price=1.25&open=true&tag=new&tag=used&nums=1,2&sort=up&free="), ""),
        (format!("{at}?other=1&other=2"), ""),
        ("/o/0/a".into(), &*format!("path.id  minimum {list_of}/parameters/0/schema/minimum")),
        ("/o/seven/a".into(), "path.id  type"),
        ("/o/7.5/a".into(), "path.id  type"),
        ("/o/%37/a".into(), ""),
        ("/o/07/a".into(), "path.id  type"),
        ("/o/%FF/a".into(), "path.id  not-text"),
        ("/o/7/a,b,c".into(), ""),
        ("/o/7/a,b,7".into(), "path.ids /2 pattern"),
        ("/o/7/a,b,c,d".into(), "path.ids  maxItems"),
        // A comma that is escaped is one of the text.
        ("/o/7/a%2Cb".into(), "path.ids /0 pattern"),
        (format!("{at}?limit=101"), "query.limit  maximum"),
        (format!("{at}?limit=1&limit=101"), "query.limit  duplicate-parameter"),
        (format!("{at}?limit=1&%6Cimit=101"), "query.limit  duplicate-parameter"),
        (format!("{at}?limit"), "query.limit  type"),
        (format!("{at}?limit=+1"), "query.limit  type"),
        (format!("{at}?limit=1e1"), ""),
        (format!("{at}?limit=1e1000000"), "query.limit  inexact-number"),
        (format!("{at}?limit=[1]"), "query.limit  type"),
        (format!("{at}?limit=100.0000000000000000001"), "query.limit"),
        (format!("{at}?price=null"), "query.price  type"),
        (format!("{at}?price=0.001"), "query.price  multipleOf"),
        (format!("{at}?open=True"), "query.open  type"),
        (format!("{at}?open=1"), "query.open  type"),
        (format!("{at}?tag=new&tag=old"), "query.tag /1 enum"),
        (format!("{at}?tag=new,used"), "query.tag /0 enum"),
        (format!("{at}?nums=1,x"), "query.nums /1 type"),
        (format!("{at}?nums=1%2C2"), "query.nums /0 type"),
        (format!("{at}?nums=1&nums=x"), "query.nums  duplicate-parameter"),
        (format!("{at}?sort=left"), "query.sort  enum"),
        (format!("{at}?either=9"), ""),
        (format!("{at}?either=10"), ""),
        (format!("{at}?either=all"), ""),
        (format!("{at}?either=11"), "query.either  anyOf"),
        (format!("{at}?free=%FF"), "query.free  not-text"),
        (format!("{at}?free=1&free=2"), "query.free  duplicate-parameter"),
        (format!("{at}?flag="), ""),
        (format!("{at}?flag=x"), "query.flag  type"),
        (format!("{at}?flag=&flag=x"), "query.flag  duplicate-parameter"),
        (format!("{at}?%C3%A4+b=xyz"), "query.\u{e4} b  maxLength"),
        (format!("{at}?%C3%A4%20b=xy"), ""),
    ] {
        let found = ask(&validator, &format!("GET {target}"), &[], "");
        assert!(
            found.starts_with(wanted) && found.is_empty() == wanted.is_empty(),
            "{target}: {found}, not {wanted}"
        );
    }
    for (headers, wanted) in [
        (&[("x-trace", "00ff")] as &[_], ""),
        (&[("x-trace", "00fg")], "header.x-trace  pattern"),
        (&[("x-trace", "00ff"), ("x-trace", "evil")], "header.x-trace  duplicate-parameter"),
        // Upstreams with one variable for both would take the one or the other.
        (&[("x-trace", "00ff"), ("x_trace", "evil")], "header.x-trace  duplicate-parameter"),
        (&[("x_trace", "evil")], "header.x-trace  pattern"),
        (&[("x-parts", "1, 2"), ("x-parts", "3")], ""),
        (&[("x-parts", "1, 2"), ("x-parts", "x")], "header.x-parts /2 type"),
        (&[("x-parts", "1"), ("x_parts", "x")], "header.x-parts /1 type"),
        (&[("x-text", "a"), ("x-text", "b")], "header.x-text  duplicate-parameter"),
    ] {
        let found = ask(&validator, &format!("GET {at}"), headers, "");
        assert!(
            found.starts_with(wanted) && found.is_empty() == wanted.is_empty(),
            "{headers:?}: {found}, not {wanted}"
        );
    }
}

#[test]
fn parameters_of_an_operation_go_before_those_of_its_path_and_some_are_shared() {
    let paths = json!({
        "/a": {
            "parameters": [{"$ref": "#/components/parameters/Limit"}, {"name": "q", "in": "query", "schema": {"type": "integer"}}],
            "get": {"parameters": [{"name": "q", "in": "query", "required": true, "schema": {"type": "boolean"}}]},
            "delete": {},
        },
        "/b": {"$ref": "#/components/pathItems/B"},
    });
    let components = json!({
        "parameters": {
            "Limit": {"$ref": "#/components/parameters/Size"},
            "Size": {"name": "limit", "in": "query", "schema": {"$ref": "#/components/schemas/Small"}},
        },
        "pathItems": {"B": {"get": {"parameters": [{"$ref": "#/components/parameters/Limit"}]}}},
        "schemas": {"Small": {"type": "integer", "maximum": 10}},
    });
    let validator =
        compile(&document(&paths, &components), Unlisted::Refuse).unwrap_or_else(|e| panic!("{e}"));
    for (line, wanted) in [
        ("GET /a?q=true&limit=10", ""),
        ("GET /a?limit=10", "query.q  required /paths/~1a/get/parameters/0/required"),
        ("GET /a?q=1", "query.q  type"),
        ("DELETE /a?q=1", ""),
        ("DELETE /a?q=true", "query.q  type"),
        ("GET /b?limit=11", "query.limit  maximum /components/schemas/Small/maximum"),
        ("GET /a?limit=11&q=true", "query.limit  maximum /components/schemas/Small/maximum"),
    ] {
        let found = ask(&validator, line, &[], "");
        assert!(
            found.starts_with(wanted) && found.is_empty() == wanted.is_empty(),
            "{line}: {found}, not {wanted}"
        );
    }
}

#[test]
fn a_body_is_of_a_type_that_its_operation_takes_and_as_the_schema_of_that_type_says() {
    let order = json!({"$ref": "#/components/schemas/Order"});
    let paths = json!({
        "/o": {
            "post": {"requestBody": {"required": true, "content": {
                "application/json": {"schema": order},
                "Application/*": {"schema": {"type": "array", "items": order}},
                "text/plain": {"schema": {"type": "string"}},
                "application/octet-stream": {},
            }}},
            "put": {"requestBody": {"$ref": "#/components/requestBodies/Any"}},
            "get": {},
        },
    });
    let components = json!({
        "requestBodies": {"Any": {"content": {"*/*": {"schema": {"minimum": 3}}, "image/*": {}}}},
        "schemas": {"Order": {"type": "object", "required": ["price"], "properties": {
            "price": {"type": "number"}, "more": {"$ref": "#/components/schemas/Order"}}}},
    });
    let validator =
        compile(&document(&paths, &components), Unlisted::Refuse).unwrap_or_else(|e| panic!("{e}"));
    let content = "header.content-type  content /paths/~1o/post/requestBody/content";
    for (method, kind, body, wanted) in [
        ("POST", "application/json", r#"{"price":1}"#, ""),
        ("POST", "Application/JSON; charset=UTF-8", r#"{"price":1,"more":{"price":2}}"#, ""),
        ("POST", "application/json; charset=\"utf-16\"", r#"{"price":1}"#, content),
        ("POST", "application/json", "{}", "required /components/schemas/Order/required"),
        (
            "POST",
            "application/json",
            r#"{"price":1,"more":{}}"#,
            "/more required /components/schemas/Order/required",
        ),
        ("POST", "application/json", r#"{"price":1,"price":2}"#, "/price duplicate-key"),
        ("POST", "application/json", r#"{"price":1"#, "not-json"),
        ("POST", "application/json", "", "no-body"),
        ("POST", "", "", "no-body"),
        ("POST", "", r#"{"price":1}"#, content),
        ("POST", "json", r#"{"price":1}"#, content),
        ("POST", "application/json, text/plain", r#"{"price":1}"#, content),
        ("POST", "application/vnd.x+json", r#"[{"price":1}]"#, ""),
        ("POST", "application/vnd.x+json", r#"[{"price":""}]"#, "/0/price type"),
        ("POST", "application/xml", "<a/>", content),
        ("POST", "text/plain; charset=latin1", "what", ""),
        ("POST", "text/html", "what", content),
        ("POST", "application/octet-stream", "what", ""),
        ("PUT", "a/json", "4", ""),
        ("PUT", "a/json", "2", "minimum"),
        ("PUT", "a/b", "4", "header.content-type  content /components/requestBodies/Any/content"),
        ("PUT", "image/png", "4", ""),
        ("PUT", "", "", ""),
        ("GET", "application/json", "4", "requestBody"),
        ("GET", "", "", ""),
    ] {
        let headers = [("content-type", kind)];
        let headers = if kind.is_empty() { &[] } else { &headers[..] };
        let found = ask(&validator, &format!("{method} /o"), headers, body);
        assert!(
            found.starts_with(wanted) && found.is_empty() == wanted.is_empty(),
            "{method} {kind} {body}: {found}, not {wanted}"
        );
    }
    for other in ["content-type", "content_type"] {
        let headers = [("content-type", "application/json"), (other, "text/plain")];
        assert_eq!(ask(&validator, "POST /o", &headers, r#"{"price":1}"#), content, "{other}");
    }
    // A body that was announced, and turns out to be none.
    let headers = HeaderMap::new();
    for (method, wanted) in [("GET", Ok(())), ("PUT", Ok(())), ("POST", Err("no-body"))] {
        let head = Head { method, path: "/o", query: None, headers: &headers, has_body: true };
        let Look::Body(wants) = validator.look(head, Effort::AtOnce) else { panic!("{method}") };
        let found = validator.body(wants, b"", Effort::AtOnce);
        assert_eq!(found, wanted.map_err(|keyword| Refusal::ours("", keyword).into()), "{method}");
    }
}

#[test]
fn what_takes_long_is_left_to_somebody_with_more_time_and_ends() {
    let pattern = "([a-z]*[0-9]){40}x";
    let paths = json!({"/": {
        "get": {"parameters": [{"name": "q", "in": "query", "schema": {"type": "string", "pattern": pattern}}]},
        "post": {"requestBody": {"content": {"application/json": {"schema": {"items": {"uniqueItems": true}}}}}},
    }});
    let validator = of(&paths);
    let long = "a".repeat(8_000);
    let mut headers = HeaderMap::new();
    let query = format!("q={long}");
    let head = Head { method: "GET", path: "/", query: Some(&query), headers: &headers, has_body: false };
    assert_eq!(validator.look(head, Effort::AtOnce), Look::TooMuch);
    assert!(ask(&validator, &format!("GET /?{query}"), &[], "").starts_with("query.q  pattern"));
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let head = Head { method: "POST", path: "/", query: None, headers: &headers, has_body: true };
    let Look::Body(wanted) = validator.look(head, Effort::AtOnce) else { panic!("it has a body") };
    let long = format!("[{}1]", "1,".repeat(super::AT_ONCE_MAX / 2));
    assert_eq!(validator.body(wanted, long.as_bytes(), Effort::AtOnce), Err(Stopped::TooMuch));
    assert_eq!(validator.body(wanted, long.as_bytes(), Effort::AtLength), Ok(()));
    let most = format!("[{}1]", "1,".repeat(250_000));
    let refused = Err(Stopped::Refused(Refusal::ours("", "too-much-work")));
    assert_eq!(validator.body(wanted, most.as_bytes(), Effort::AtLength), refused);
}
