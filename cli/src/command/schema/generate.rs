//! Makes the JSON Schema of documents: their fields and comments out of the descriptors of the API, and the fields that
//! only files have out of a table.
//!
//! Draft 7, which editors know. Takes whatever a file may have; says what an editor offers.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet,
};
use rr_contract::document::{COMPUTED, PLAIN};
use serde_json::{Map, Value, json};

/// The kinds of document, and their messages.
const KINDS: [&str; 6] = ["Target", "Credential", "Proxy", "Rule", "Filter", "Meter"];
/// Fields of a credential's usage that the control plane sets: like the computed ones, taken and not offered.
const COMPUTED_OF_USAGE: [&str; 3] = ["sealed_regions", "rolled_at", "previous_not_after"];
/// A value that `--env` fills in.
const VARIABLE: &str = r"\$\{[A-Za-z_][A-Za-z0-9_]*\}";

/// The shape of a field that only files have.
pub(super) enum Shape {
    Text,
    Flag,
    Seconds,
    Texts,
    TextMap,
    Of(&'static str),
    MapOf(&'static str),
}

use Shape::{Flag, MapOf, Of, Seconds, Text, TextMap, Texts};

/// A group of fields that only files have: its name, and each field.
type Group = (&'static str, &'static [(&'static str, Shape)]);

/// `value_from`, its parts, and `jwks_from`; the tests hold it against what files may have.
pub(super) const GROUPS: [Group; 9] = [
    (
        "ValueFrom",
        &[
            ("env", Text),
            ("file", Text),
            ("origins", Texts),
            ("targets", Texts),
            ("ca", Text),
            ("header", Text),
            ("prefix", Text),
            ("query", Text),
            ("user", Text),
            ("headers", MapOf("Source")),
            ("oauth2", Of("Oauth2")),
            ("jwt_bearer", Of("JwtBearer")),
            ("custom_token", Of("CustomToken")),
            ("aws", Of("Aws")),
            ("hmac", Of("Hmac")),
            ("certificate", Of("Certificate")),
        ],
    ),
    ("Source", &[("env", Text), ("file", Text)]),
    (
        "Oauth2",
        &[
            ("token_url", Text),
            ("client_id", Text),
            ("authentication", Text),
            ("scope", Text),
            ("audience", Text),
            ("resource", Text),
            ("parameters", TextMap),
            ("key_id", Text),
            ("algorithm", Text),
            ("assertion_audience", Text),
            ("claims", TextMap),
        ],
    ),
    (
        "JwtBearer",
        &[
            ("token_url", Text),
            ("issuer", Text),
            ("subject", Text),
            ("audience", Text),
            ("key_id", Text),
            ("algorithm", Text),
            ("claims", TextMap),
            ("parameters", TextMap),
        ],
    ),
    (
        "CustomToken",
        &[
            ("token_url", Text),
            ("method", Text),
            ("headers", TextMap),
            ("body", Text),
            ("token_path", Text),
            ("lifetime_path", Text),
            ("lifetime", Seconds),
        ],
    ),
    (
        "Aws",
        &[
            ("access_key_id", Text),
            ("region", Text),
            ("service", Text),
            ("session_token", Of("Source")),
            ("unsigned_payload", Flag),
        ],
    ),
    (
        "Hmac",
        &[
            ("hash", Text),
            ("text", Text),
            ("encoding", Text),
            ("key_encoding", Text),
            ("date", Text),
            ("headers", TextMap),
        ],
    ),
    ("Certificate", &[("chain", Text)]),
    ("JwksFrom", &[("file", Text)]),
];

/// What the descriptors say.
struct Schemas {
    messages: BTreeMap<String, (DescriptorProto, BTreeMap<usize, String>)>,
    enums: BTreeMap<String, EnumDescriptorProto>,
}

impl Schemas {
    fn read() -> Self {
        let set =
            FileDescriptorSet::decode(rr_contract::wire::DESCRIPTORS).expect("descriptors of the build");
        let (mut messages, mut enums) = (BTreeMap::new(), BTreeMap::new());
        for file in set.file {
            let package = file.package().to_owned();
            let mut comments = comments(&file);
            for (i, message) in file.message_type.into_iter().enumerate() {
                let name = format!(".{package}.{}", message.name());
                messages.insert(name, (message, comments.remove(&i).unwrap_or_default()));
            }
            for kinds in file.enum_type {
                enums.insert(format!(".{package}.{}", kinds.name()), kinds);
            }
        }
        Self { messages, enums }
    }
}

/// The comments of fields, by the place of message and field.
fn comments(file: &FileDescriptorProto) -> BTreeMap<usize, BTreeMap<usize, String>> {
    let mut found: BTreeMap<usize, BTreeMap<usize, String>> = BTreeMap::new();
    for location in file.source_code_info.iter().flat_map(|info| &info.location) {
        // Messages of a file are field 4 of its descriptor, fields of a message field 2.
        let [4, message, 2, field] = location.path[..] else { continue };
        let (Ok(message), Ok(field)) = (usize::try_from(message), usize::try_from(field)) else { continue };
        let text = location.leading_comments().split_whitespace().collect::<Vec<_>>().join(" ");
        if !text.is_empty() {
            found.entry(message).or_default().insert(field, text);
        }
    }
    found
}

/// The schema, as the file has it.
pub(super) fn text() -> String {
    let schemas = Schemas::read();
    let mut definitions = Map::new();
    let mut wanted: Vec<String> =
        KINDS.iter().map(|kind| format!(".requestrocket.management.v1.{kind}")).collect();
    while let Some(name) = wanted.pop() {
        let short = short(&name);
        let (message, comments) = &schemas.messages[&name];
        let mut one = of_message(&schemas, message, comments, &mut wanted);
        if KINDS.contains(&short.as_str()) {
            of_document(&mut one, &short);
        }
        definitions.insert(short, one);
    }
    for (name, fields) in GROUPS {
        assert!(definitions.insert(name.to_owned(), of_group(fields)).is_none(), "two of the name {name}");
    }
    let kinds: Vec<String> = KINDS.iter().map(|kind| kind.to_lowercase()).collect();
    let by_kind = |kind: &&str| {
        json!({
            "if": {"properties": {"kind": {"const": kind.to_lowercase()}}, "required": ["kind"]},
            "then": {"$ref": format!("#/definitions/{kind}")},
        })
    };
    let document = json!({
        "type": "object",
        "required": ["kind"],
        "properties": {"kind": {"enum": kinds, "description": "Which resource the document describes."}},
        "allOf": KINDS.iter().map(by_kind).collect::<Vec<_>>(),
    });
    definitions.insert("document".to_owned(), document);
    let schema = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "RequestRocket documents",
        "description": "What `rrctl apply` takes: a document, or a list of documents.",
        "type": ["object", "array", "null"],
        "if": {"type": "array"},
        "then": {"items": {"$ref": "#/definitions/document"}},
        "else": {"if": {"type": "object"}, "then": {"$ref": "#/definitions/document"}},
        "definitions": definitions,
    });
    serde_json::to_string_pretty(&schema).expect("JSON") + "\n"
}

/// The last part of a name.
fn short(name: &str) -> String {
    name.rsplit('.').next().unwrap_or(name).to_owned()
}

fn of_message(
    schemas: &Schemas,
    message: &DescriptorProto,
    comments: &BTreeMap<usize, String>,
    wanted: &mut Vec<String>,
) -> Value {
    let (mut properties, mut others) = (Map::new(), BTreeSet::new());
    for (i, field) in message.field.iter().enumerate() {
        if field.json_name() != field.name() {
            others.insert(field.json_name().to_owned());
        }
        // No file has one.
        if field.name() == PLAIN {
            continue;
        }
        if COMPUTED.contains(&field.name()) || COMPUTED_OF_USAGE.contains(&field.name()) {
            others.insert(field.name().to_owned());
            continue;
        }
        let mut one = of_field(schemas, message, field, wanted);
        if let (Some(text), Some(one)) = (comments.get(&i), one.as_object_mut()) {
            // Beside a reference, draft 7 reads nothing.
            if let Some(reference) = one.remove("$ref") {
                one.insert("allOf".to_owned(), json!([{"$ref": reference}]));
            }
            one.insert("description".to_owned(), json!(text));
        }
        properties.insert(field.name().to_owned(), one);
    }
    let mut schema = json!({"type": "object", "properties": properties, "additionalProperties": false});
    if !others.is_empty() {
        // The names of the JSON form, and what `rrctl export` and answers have beside: taken, and not offered.
        let names = others.into_iter().collect::<Vec<_>>().join("|");
        schema["patternProperties"] = json!({format!("^({names})$"): {}});
    }
    let choices = choices(message);
    if !choices.is_empty() {
        schema["allOf"] = json!(choices);
    }
    schema
}

/// What excludes each other.
fn choices(message: &DescriptorProto) -> Vec<Value> {
    let mut found = Vec::new();
    let is_choice = |field: &&FieldDescriptorProto| field.oneof_index.is_some() && !field.proto3_optional();
    let fields: Vec<&FieldDescriptorProto> = message.field.iter().filter(is_choice).collect();
    for (i, one) in fields.iter().enumerate() {
        for other in &fields[i + 1..] {
            if one.oneof_index == other.oneof_index {
                found.push(json!({"not": {"required": [one.name(), other.name()]}}));
            }
        }
    }
    found
}

fn of_field(
    schemas: &Schemas,
    message: &DescriptorProto,
    field: &FieldDescriptorProto,
    wanted: &mut Vec<String>,
) -> Value {
    let entry = message.nested_type.iter().find(|it| field.type_name().ends_with(&format!(".{}", it.name())));
    if entry.is_some() {
        return of_shape(&TextMap);
    }
    let one = match field.r#type() {
        Type::Message => match field.type_name() {
            ".google.protobuf.Duration" => of_shape(&Seconds),
            ".google.protobuf.Timestamp" => of_shape(&Text),
            name => {
                wanted.push(name.to_owned());
                json!({"$ref": format!("#/definitions/{}", short(name))})
            }
        },
        Type::Enum => of_enum(&schemas.enums[field.type_name()]),
        Type::String | Type::Bytes => of_shape(&Text),
        Type::Bool => of_shape(&Flag),
        Type::Uint32 | Type::Uint64 => json!({
            "anyOf": [
                {"type": "integer", "minimum": 0},
                {"type": "string", "pattern": format!("^([0-9]+|{VARIABLE})$")},
            ]
        }),
        other => panic!("{}: {other:?} is new here", field.name()),
    };
    if field.label() == Label::Repeated { json!({"type": "array", "items": one}) } else { one }
}

fn of_enum(kinds: &EnumDescriptorProto) -> Value {
    let mut prefix = String::new();
    for c in kinds.name().chars() {
        if c.is_ascii_uppercase() && !prefix.is_empty() {
            prefix.push('_');
        }
        prefix.push(c.to_ascii_uppercase());
    }
    let names: Vec<&str> = kinds.value.iter().map(|value| value.name()).collect();
    let bare = names.iter().filter_map(|name| name.strip_prefix(&format!("{prefix}_")));
    let mut values: Vec<Value> = bare
        .filter(|name| *name != "UNSPECIFIED")
        .map(|name| json!(name.to_lowercase().replace('_', "-")))
        .collect();
    if values.contains(&json!("off")) {
        // As YAML reads it without quotes.
        values.push(json!(false));
    }
    json!({"anyOf": [{"enum": values}, {"enum": names}, {"type": "string", "pattern": format!("^{VARIABLE}$")}]})
}

fn of_shape(shape: &Shape) -> Value {
    match shape {
        Text => json!({"type": "string"}),
        Flag => json!({"type": "boolean"}),
        Seconds => json!({"type": "string", "pattern": format!("^([0-9]+(\\.[0-9]+)?s|{VARIABLE})$")}),
        Texts => json!({"type": "array", "items": {"type": "string"}}),
        TextMap => json!({"type": "object", "additionalProperties": {"type": "string"}}),
        Of(name) => json!({"$ref": format!("#/definitions/{name}")}),
        MapOf(name) => json!({
            "type": "object",
            "additionalProperties": {"$ref": format!("#/definitions/{name}")},
        }),
    }
}

fn of_group(fields: &[(&str, Shape)]) -> Value {
    let properties: Map<String, Value> =
        fields.iter().map(|(name, shape)| ((*name).to_owned(), of_shape(shape))).collect();
    json!({"type": "object", "properties": properties, "additionalProperties": false})
}

/// Adds what a document has beside the fields of its message.
fn of_document(schema: &mut Value, kind: &str) {
    schema["properties"]["kind"] = json!({"const": kind.to_lowercase()});
    schema["required"] = json!(["kind", "name"]);
    if kind == "Credential" {
        let described = |name: &str, what: &str| json!({"allOf": [{"$ref": format!("#/definitions/{name}")}], "description": what});
        schema["properties"]["value_from"] = described(
            "ValueFrom",
            "Where the value is, and where it may go. It is sealed or hashed by rrctl, and never sent.",
        );
        schema["properties"]["jwks_from"] =
            described("JwksFrom", "The file with the public keys of the issuer: a JWKS document, or PEM.");
    }
}
