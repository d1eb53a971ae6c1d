//! JSON Schemas of messages, enums and fields.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::limits;
use crate::api::route::Route;
use crate::api::schema::{Body, Field, Kind, Message, Schema};

/// The components of one document: whatever was referred to.
pub(super) struct Shapes {
    schema: &'static Schema,
    /// Full names by the name that they have in the document.
    names: BTreeMap<String, String>,
    made: BTreeMap<String, Value>,
    wanted: BTreeSet<String>,
}

impl Shapes {
    pub(super) fn new(schema: &'static Schema) -> Self {
        let all = || schema.messages.keys().chain(schema.enums.keys());
        let names = all().map(|full| {
            let own = short(full);
            let alone = all().filter(|other| short(other) == own && ours(other)).count() < 2;
            // Of two with one name, that of the nodes' packages gives way.
            let name =
                if alone || full.contains(".management.") { own.to_owned() } else { format!("Fleet{own}") };
            (full.clone(), name)
        });
        Self { schema, names: names.collect(), made: BTreeMap::new(), wanted: BTreeSet::new() }
    }

    /// A reference to a message or an enum, which from now on is in the document.
    pub(super) fn reference(&mut self, full: &str) -> Value {
        self.wanted.insert(full.to_owned());
        json!({"$ref": format!("#/components/schemas/{}", self.names[full])})
    }

    /// The body of a route.
    pub(super) fn body(&mut self, route: &Route) -> Option<Value> {
        match &route.binding.body {
            Body::None => None,
            Body::Field(name) => match &route.input.field(name)?.kind {
                Kind::Message(full) => {
                    let body = self.reference(full);
                    let required =
                        limits::required(full).filter(|_| route.binding.method == http::Method::POST);
                    Some(match required {
                        Some(required) => json!({"allOf": [body, {"required": required}]}),
                        None => body,
                    })
                }
                _ => None,
            },
            Body::Whole => {
                let path: BTreeSet<&str> = route.variables().collect();
                Some(self.object(&route.call.input, route.input, &path))
            }
        }
    }

    /// A body of a route that is taken as it stands.
    pub(super) fn example(route: &Route) -> Option<Value> {
        let Body::Field(name) = &route.binding.body else { return None };
        match &route.input.field(name)?.kind {
            Kind::Message(full) if route.binding.method == http::Method::POST => limits::example(full),
            _ => None,
        }
    }

    /// A field in a path.
    pub(super) fn path(&mut self, message: &str, field: &Field) -> Value {
        if field.kind == Kind::Text {
            return json!({"type": "string", "pattern": limits::REFERENCE, "maxLength": 63});
        }
        self.field(message, field)
    }

    /// A field in a query.
    pub(super) fn query(&mut self, message: &str, field: &Field) -> Value {
        self.field(message, field)
    }

    /// All that was referred to.
    pub(super) fn finish(mut self) -> Map<String, Value> {
        while let Some(full) = self.wanted.pop_first() {
            if self.made.contains_key(&full) {
                continue;
            }
            let made = match (self.schema.messages.get(&full), self.schema.enums.get(&full)) {
                (Some(message), _) => self.object(&full, message, &BTreeSet::new()),
                (None, Some(choice)) => {
                    // What nobody said is left out. Short names are only taken, whole ones are answered too.
                    let (short, whole): (Vec<String>, Vec<&str>) = choice.short_names().unzip();
                    let names: Vec<&str> =
                        whole.iter().copied().chain(short.iter().map(String::as_str)).collect();
                    let mut lines = vec![choice.comment.clone()];
                    lines.push("Input may have the short names; answers have the whole ones.".to_owned());
                    lines.extend(
                        choice
                            .values
                            .iter()
                            .filter(|(_, text)| !text.is_empty())
                            .map(|(name, text)| format!("* `{name}`: {text}")),
                    );
                    described(json!({"type": "string", "enum": names}), lines.join("\n").trim())
                }
                (None, None) => json!({}),
            };
            self.made.insert(full, made);
        }
        let Self { names, made, .. } = self;
        made.into_iter().map(|(full, schema)| (names[&full].clone(), schema)).collect()
    }

    fn object(&mut self, full: &str, message: &Message, but: &BTreeSet<&str>) -> Value {
        let mut properties = Map::new();
        for field in self.schema.fields(message).filter(|field| !but.contains(field.name.as_str())) {
            let schema = self.field(full, field);
            let mut text = field.comment.clone();
            if let Some(oneof) = &field.oneof {
                let others = message.fields.iter().filter(|it| it.oneof.as_ref() == Some(oneof));
                let others: Vec<String> = others.map(|it| format!("`{}`", it.json)).collect();
                if others.len() > 1 {
                    text = format!("{text} At most one of {} is said.", others.join(", ")).trim().to_owned();
                }
            }
            let mut schema = described(schema, &text);
            if field.options.output_only {
                schema["readOnly"] = true.into();
            }
            properties.insert(field.json.clone(), schema);
        }
        let mut object = json!({"type": "object", "additionalProperties": false, "properties": properties});
        let both = pairs(message);
        if !both.is_empty() {
            object["not"] = json!({"anyOf": both});
        }
        described(object, &message.comment)
    }

    fn field(&mut self, message: &str, field: &Field) -> Value {
        let mut schema = match field.kind {
            Kind::FieldMask => mask(&field.options.mask_paths),
            _ => self.kind(&field.kind),
        };
        if field.repeated {
            schema = json!({"type": "array", "items": schema});
        }
        if let Some(Value::Object(bounds)) = limits::of(message, field)
            && let Value::Object(schema) = &mut schema
        {
            schema.extend(bounds);
        }
        schema
    }

    fn kind(&mut self, kind: &Kind) -> Value {
        match kind {
            Kind::Bool => json!({"type": "boolean"}),
            Kind::Int32 => {
                json!({"type": "integer", "format": "int32", "minimum": i32::MIN, "maximum": i32::MAX})
            }
            Kind::Uint32 => json!({"type": "integer", "minimum": 0, "maximum": u32::MAX}),
            Kind::Int64 => json!({"type": "string", "pattern": "^(0|-?[1-9][0-9]{0,17})$"}),
            Kind::Uint64 => json!({"type": "string", "pattern": "^(0|[1-9][0-9]{0,18})$"}),
            Kind::Float => json!({"type": "number", "format": "double"}),
            Kind::Text => json!({"type": "string"}),
            Kind::Bytes => json!({
                "type": "string",
                "contentEncoding": "base64",
                "pattern": "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$",
            }),
            Kind::Timestamp => json!({"type": "string", "format": "date-time"}),
            Kind::Duration => json!({"type": "string", "pattern": r"^-?[0-9]{1,12}(\.[0-9]{1,9})?s$"}),
            Kind::FieldMask => mask(&[]),
            Kind::Object => json!({"type": "object"}),
            Kind::Any => json!({}),
            Kind::Enum(full) | Kind::Message(full) => self.reference(full),
            Kind::Map(value) => json!({"type": "object", "additionalProperties": self.kind(value)}),
        }
    }
}

/// Two of one choice, for all of them.
fn pairs(message: &Message) -> Vec<Value> {
    let mut both = Vec::new();
    for (at, one) in message.fields.iter().enumerate().filter(|(_, field)| field.oneof.is_some()) {
        for two in message.fields[at + 1..].iter().filter(|two| two.oneof == one.oneof) {
            both.push(json!({"required": [one.json, two.json]}));
        }
    }
    both
}

/// Names of fields, joined by commas: these, or any where the schema names none.
fn mask(paths: &[String]) -> Value {
    let names: Vec<String> = paths.iter().map(|path| camel(path)).collect();
    if names.is_empty() {
        return json!({"type": "string", "pattern": r"^([A-Za-z0-9_.]+(,[A-Za-z0-9_.]+)*)?$"});
    }
    let one = names.join("|").replace('.', r"\.");
    json!({"type": "string", "pattern": format!("^(({one})(,({one}))*)?$"), "examples": [names[0]]})
}

fn camel(path: &str) -> String {
    let mut words = path.split('_');
    let mut out = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut chars = word.chars();
        out.extend(chars.next().map(|first| first.to_ascii_uppercase()));
        out.push_str(chars.as_str());
    }
    out
}

fn described(mut schema: Value, text: &str) -> Value {
    if !text.is_empty() {
        schema["description"] = text.into();
    }
    schema
}

fn short(full: &str) -> &str {
    full.rsplit('.').next().unwrap_or(full)
}

fn ours(full: &str) -> bool {
    full.starts_with("requestrocket.")
}
