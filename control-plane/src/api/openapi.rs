//! The OpenAPI 3.1 document of the REST API, made of the schemas and their comments.
//!
//! It describes exactly the accepted requests and their responses: schemas are closed, formats are those that
//! `rest/input.rs` checks, and every status that a call can answer stands with it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use bytes::Bytes;
use http::Method;
use serde_json::{Map, Value, json};

use super::route::{ROUTES, Route};
use super::schema::{Body, Field, SCHEMA, Schema};

mod limits;
mod shape;

use shape::Shapes;

/// The document as it is served.
pub(super) static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| {
    let document = document(&SCHEMA);
    serde_json::to_vec(&document).expect("a JSON value serializes").into()
});

const PROBLEM: &str = "application/problem+json";

fn document(schema: &'static Schema) -> Value {
    let names = unified();
    let mut shapes = Shapes::new(schema);
    let mut paths: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    let mut tags = BTreeMap::new();
    let mut ids = BTreeSet::new();
    for route in ROUTES.iter() {
        tags.insert(route.service.name.clone(), route.service.comment.clone());
        let variables = &names[&route.shape()];
        let template = route.template(|at, _| variables[&at].clone());
        let method = route.binding.method.as_str().to_ascii_lowercase();
        let mut operation = operation(route, &template, variables, &mut shapes);
        let plain = format!("{}_{}", route.service.name, route.call.name);
        // A call with several routes has several operations.
        let mut id = plain.clone();
        for more in 2.. {
            if ids.insert(id.clone()) {
                break;
            }
            id = format!("{plain}_{more}");
        }
        operation.insert("operationId".into(), id.into());
        paths.entry(template).or_default().insert(method, operation.into());
    }
    let tags: Vec<Value> =
        tags.into_iter().map(|(name, text)| json!({"name": name, "description": text})).collect();
    let mut schemas = shapes.finish();
    schemas.insert("Problem".into(), problem());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "RequestRocket management API",
            "version": "v1",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            "description": "Everything that RequestRocket manages. The same calls are served over gRPC at the \
                same address. 64-bit numbers are texts, times are RFC 3339, durations are seconds as `1.5s`. \
                What is empty or unset is left out of an answer, and null is not taken.",
        },
        "security": [{"token": []}],
        "tags": tags,
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {
                "type": "http",
                "scheme": "bearer",
                "description": "A token that `TokenService_CreateToken` answered, as `rr_token_…`.",
            }},
            "schemas": schemas,
            "responses": responses(),
        },
    })
}

/// Templates that differ in the names of their variables alone are one path: by shape, one name for each
/// place, that of a call which says more than `name`.
fn unified() -> BTreeMap<String, BTreeMap<usize, String>> {
    let mut names: BTreeMap<String, BTreeMap<usize, String>> = BTreeMap::new();
    for route in ROUTES.iter() {
        let chosen = names.entry(route.shape()).or_default();
        route.template(|at, name| {
            let slot = chosen.entry(at).or_insert_with(|| name.to_owned());
            if slot == "name" {
                name.clone_into(slot);
            }
            String::new()
        });
    }
    names
}

fn operation(
    route: &Route,
    template: &str,
    variables: &BTreeMap<usize, String>,
    shapes: &mut Shapes,
) -> Map<String, Value> {
    let mut parameters = Vec::new();
    for (variable, name) in route.variables().zip(variables.values()) {
        let field = route.input.field(variable).expect("a route's variables are fields of its request");
        parameters.push(parameter("path", name, field, shapes.path(&route.call.input, field)));
    }
    for field in route.query() {
        parameters.push(parameter("query", &field.json, field, shapes.query(&route.call.input, field)));
    }
    if route.etag_place().is_some() {
        parameters.push(json!({
            "name": "If-Match",
            "in": "header",
            "required": false,
            "description": "The etag that the resource must still bear, in quotes. The same as the field `etag`; \
                `*` is any.",
            "schema": {"type": "string", "pattern": "^(\\*|\"[A-Za-z0-9_-]{1,128}\")$"},
        }));
    }
    let mut operation = Map::new();
    let summary = route.call.comment.split(". ").next().unwrap_or_default().trim_end_matches('.');
    operation.insert("tags".into(), json!([route.service.name]));
    let words = words(&route.call.name);
    operation.insert(
        "summary".into(),
        if summary.is_empty() || summary.len() > 120 { words.clone() } else { summary.to_owned() }.into(),
    );
    let text = if route.call.comment.is_empty() { format!("{words}.") } else { route.call.comment.clone() };
    operation.insert("description".into(), text.into());
    operation.insert("security".into(), json!([{"token": []}]));
    if !parameters.is_empty() {
        operation.insert("parameters".into(), parameters.into());
    }
    if let Some(schema) = shapes.body(route) {
        let mut content = json!({"application/json": {"schema": schema}});
        if let Some(example) = Shapes::example(route) {
            content["application/json"]["examples"] = json!({"whole": {"value": example}});
        }
        operation.insert("requestBody".into(), json!({"required": true, "content": content}));
    }
    operation.insert("responses".into(), answers(route, template, shapes));
    operation
}

fn parameter(place: &str, name: &str, field: &Field, schema: Value) -> Value {
    let mut parameter = json!({
        "name": name,
        "in": place,
        "required": place == "path",
        "schema": schema,
    });
    if !field.comment.is_empty() {
        parameter["description"] = field.comment.as_str().into();
    }
    if place == "query" && field.repeated {
        parameter["style"] = "form".into();
        parameter["explode"] = true.into();
    }
    parameter
}

fn answers(route: &Route, template: &str, shapes: &mut Shapes) -> Value {
    let answer = shapes.reference(&route.call.output);
    let content = if route.call.server_streams {
        json!({
            "application/x-ndjson": {"schema": {
                "description": "One a line. `error` is the last line of a stream that failed.",
                "type": "string",
            }},
            "text/event-stream": {"schema": {
                "description": "One an event, as its `data`. An event `error` with a problem is the last of a \
                    stream that failed.",
                "type": "string",
            }},
        })
    } else {
        json!({"application/json": {"schema": answer}})
    };
    let mut good = json!({"description": "Done.", "content": content});
    if route.call.server_streams {
        good["x-message"] = answer;
    }
    if let Some(links) = links(route, template) {
        good["links"] = links;
    }
    let mut answers = Map::new();
    answers.insert("200".into(), good);
    for (status, name, _) in REFUSALS {
        let body_only = matches!(status, "413" | "415");
        if body_only && route.binding.body == Body::None && status == "415" {
            continue;
        }
        answers.insert(status.into(), json!({"$ref": format!("#/components/responses/{name}")}));
    }
    answers.into()
}

/// Links from a created resource to the calls about it: its own name is the last variable of their paths.
fn links(route: &Route, template: &str) -> Option<Value> {
    let Body::Field(noun) = &route.binding.body else { return None };
    if route.binding.method != Method::POST || template.contains(':') {
        return None;
    }
    let json = &route.input.field(noun)?.json;
    let names = unified();
    let mut links = Map::new();
    for other in ROUTES.iter().filter(|other| other.service.name == route.service.name) {
        let variables: Vec<String> = names[&other.shape()].values().cloned().collect();
        let Some((last, before)) = variables.split_last() else { continue };
        let shared: Vec<String> = names[&route.shape()].values().cloned().collect();
        if last != noun || before != shared {
            continue;
        }
        let mut parameters = Map::new();
        parameters.insert(format!("path.{last}"), format!("$response.body#/{json}/id").into());
        for name in before {
            parameters.insert(format!("path.{name}"), format!("$request.path.{name}").into());
        }
        let id = format!("{}_{}", other.service.name, other.call.name);
        links.insert(id.clone(), json!({"operationId": id, "parameters": parameters}));
    }
    (!links.is_empty()).then(|| links.into())
}

/// The responses of a call beside 200: status, name, meaning.
const REFUSALS: [(&str, &str, &str); 13] = [
    (
        "400",
        "BadRequest",
        "The request is not valid, or its preconditions do not hold: `errors` names the fields, `details` the rest.",
    ),
    ("401", "Unauthenticated", "The request has no token, or one that is not valid."),
    ("403", "Forbidden", "The token does not allow the call."),
    ("404", "NotFound", "The resource does not exist, or the token may not see it."),
    ("405", "MethodNotAllowed", "The path does not take this method."),
    ("409", "Conflict", "The resource already exists, or was changed in the meantime."),
    ("413", "TooLarge", "The body is too large."),
    ("415", "UnsupportedMediaType", "The body is not declared as JSON."),
    (
        "429",
        "TooMany",
        "Too many calls or streams, or too much sent at once. Try again after `Retry-After` seconds.",
    ),
    ("500", "Internal", "An internal error: see the log of the control plane."),
    ("501", "Unimplemented", "This version does not implement the call."),
    ("503", "Unavailable", "The control plane or its database is not available. Try again."),
    ("504", "DeadlineExceeded", "The call took too long. It is not known whether it was carried out."),
];

fn responses() -> Value {
    let mut all = Map::new();
    for (status, name, text) in REFUSALS {
        let mut response = json!({
            "description": text,
            "content": {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        });
        let header = match status {
            "401" => Some(("WWW-Authenticate", json!({"type": "string"}), true)),
            "405" => Some(("Allow", json!({"type": "string"}), true)),
            "429" => Some(("Retry-After", json!({"type": "integer", "minimum": 0}), true)),
            "503" => Some(("Retry-After", json!({"type": "integer", "minimum": 0}), false)),
            _ => None,
        };
        if let Some((header, schema, required)) = header {
            response["headers"] = json!({header: {"schema": schema, "required": required}});
        }
        all.insert(name.into(), response);
    }
    all.into()
}

fn problem() -> Value {
    json!({
        "type": "object",
        "description": "What went wrong (RFC 9457).",
        "additionalProperties": false,
        "required": ["type", "title", "status", "detail", "code"],
        "properties": {
            "type": {"type": "string", "const": "about:blank"},
            "title": {"type": "string", "description": "What the status means."},
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "detail": {"type": "string", "description": "For people."},
            "code": {
                "type": "string",
                "pattern": "^[a-z0-9-]+$",
                "description": "For programs; it does not change.",
            },
            "errors": {
                "type": "array",
                "description": "Every field at fault.",
                "items": {
                    "type": "object",
                    "additionalProperties": false,
                    "required": ["field", "reason"],
                    "properties": {
                        "field": {
                            "type": "string",
                            "description": "As the schemas name it, from the request down. Empty where it is none.",
                        },
                        "reason": {"type": "string"},
                    },
                },
            },
            "details": {
                "type": "array",
                "description": "Messages of `google.rpc`, as gRPC callers get them.",
                "items": {
                    "type": "object",
                    "required": ["@type"],
                    "properties": {"@type": {"type": "string"}},
                },
            },
        },
    })
}

/// `CreateProxy` as `Create proxy`.
fn words(name: &str) -> String {
    let mut text = String::new();
    for (at, c) in name.chars().enumerate() {
        if at > 0 && c.is_ascii_uppercase() {
            text.push(' ');
            text.push(c.to_ascii_lowercase());
        } else {
            text.push(c);
        }
    }
    text
}

#[cfg(test)]
mod tests;
