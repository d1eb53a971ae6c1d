//! The short names of enum values, as files have them: `api-key` for `CALLER_KIND_API_KEY`.
//!
//! Writes whole names in their place, which alone the transcoder reads.

use std::borrow::Cow;

use serde_json::{Map, Value};
use url::form_urlencoded;

use crate::api::route::Route;
use crate::api::schema::{Kind, Message, Schema};

/// Writes whole names into a body; true where there was a short one.
pub(super) fn in_body(schema: &Schema, message: &Message, object: &mut Map<String, Value>) -> bool {
    let mut changed = false;
    for (key, value) in object {
        let field = schema.fields(message).find(|field| field.name == *key || field.json == *key);
        if let Some(field) = field {
            changed |= in_value(schema, &field.kind, value);
        }
    }
    changed
}

fn in_value(schema: &Schema, kind: &Kind, value: &mut Value) -> bool {
    let mut changed = false;
    match (kind, value) {
        (_, Value::Array(items)) => {
            for item in items {
                changed |= in_value(schema, kind, item);
            }
        }
        (Kind::Enum(name), Value::String(text)) => {
            if let Some(whole) = whole(schema, name, text) {
                *text = whole;
                changed = true;
            }
        }
        (Kind::Message(name), Value::Object(object)) => {
            changed = in_body(schema, schema.message(name), object);
        }
        (Kind::Map(kind), Value::Object(object)) => {
            for value in object.values_mut() {
                changed |= in_value(schema, kind, value);
            }
        }
        _ => {}
    }
    changed
}

/// A target with whole names in its query.
pub(super) fn in_query<'a>(route: &Route, target: &'a str) -> Cow<'a, str> {
    let Some((path, query)) = target.split_once('?') else { return target.into() };
    let respelled = |pair: &str| {
        let (name, value) = form_urlencoded::parse(pair.as_bytes()).next()?;
        let field = route.query().find(|field| field.name == name || field.json == name)?;
        let Kind::Enum(of) = &field.kind else { return None };
        // Names of fields and of values hold nothing that a query would have to escape.
        Some(format!("{}={}", field.json, whole(route.schema, of, &value)?))
    };
    let mut changed = false;
    let pairs: Vec<Cow<'_, str>> = query
        .split('&')
        .map(|pair| match respelled(pair) {
            Some(pair) => {
                changed = true;
                pair.into()
            }
            None => pair.into(),
        })
        .collect();
    if changed { format!("{path}?{}", pairs.join("&")).into() } else { target.into() }
}

/// The whole name of a value that is named by its short one.
fn whole(schema: &Schema, name: &str, text: &str) -> Option<String> {
    let choice = schema.enums.get(name)?;
    choice.short_names().find(|(short, _)| short == text).map(|(_, whole)| whole.to_owned())
}

/// What is wrong with a text that is neither a whole name nor a short one.
pub(super) fn check(schema: &Schema, name: &str, text: &str) -> Result<(), String> {
    let mut values = schema.enums.get(name).into_iter().flat_map(|choice| &choice.values);
    let short = short_names(schema, name);
    if values.any(|(value, _)| value == text) || short.iter().any(|value| value == text) {
        return Ok(());
    }
    Err(format!("is not one of {}", short.join(", ")))
}

/// The short names of an enum.
pub(super) fn short_names(schema: &Schema, name: &str) -> Vec<String> {
    let choice = schema.enums.get(name);
    choice.into_iter().flat_map(|choice| choice.short_names()).map(|(short, _)| short).collect()
}
