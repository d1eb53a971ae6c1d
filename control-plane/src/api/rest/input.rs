//! Checks a request against the schemas: names, places and formats of its query parameters and the fields of its body.
//!
//! The JSON form is strict, as the OpenAPI document has it: no null, names of enum values, whole or short, and not their
//! numbers, 64-bit numbers as texts. The meaning of a value is for the handler to check.

mod spelling;

use std::borrow::Cow;
use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use chrono::DateTime;
use http::{HeaderMap, Method, header};
use rr_contract::model::invalid::{Invalid, Violation, Violations};
use rr_contract::model::name::Name;
use serde_json::{Map, Value};
use url::form_urlencoded;
use zeroize::Zeroizing;

use super::brief::BriefJson;
use crate::api::route::{EtagPlace, Route};
use crate::api::schema::{Body, Field, Kind, Message, Schema};
use crate::api::weight::Scales;

/// The input of the transcoder.
#[derive(Debug)]
pub(super) struct Input {
    /// Path and query.
    pub(super) target: String,
    /// None while it is as it came.
    pub(super) body: Option<Vec<u8>>,
    /// The memory that its lists take once decoded.
    pub(super) weight: usize,
}

/// Checks a request against its route, and moves `If-Match` to the field that means the same.
pub(super) fn read(route: &Route, target: &str, headers: &HeaderMap, body: &[u8]) -> Result<Input, Invalid> {
    let scales = Scales::new(route.operation().class.heavy());
    let mut check =
        Check { schema: route.schema, violations: Violations::default(), scales, is_heavy: false };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    check.path(path);
    check.query(route, query);
    let is_secret = route.operation().may_hold_secret();
    let mut json = BriefJson { value: check.body(route, body), is_secret };
    let etag = check.if_match(headers);
    let target = spelling::in_query(route, target);
    let mut input = Input { target: with_holders(route, &target), body: None, weight: check.scales.weight() };
    if let (Some(Value::Object(object)), Some(message)) = (&mut json.value, body_message(route)) {
        let respelled = spelling::in_body(route.schema, message, object);
        if (route.binding.body == Body::Whole && into_holders(route, object)) || respelled {
            input.body = serde_json::to_vec(&json.value).ok();
        }
    }
    match etag {
        Some(etag) if check.violations.is_empty() && route.binding.method != Method::GET => {
            match route.etag_place() {
                Some(EtagPlace::Query) => {
                    if !form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name == "etag") {
                        let joint = if target.contains('?') { '&' } else { '?' };
                        let etag: String = form_urlencoded::byte_serialize(etag.as_bytes()).collect();
                        // The transcoder reads a plus sign as one.
                        input.target += &format!("{joint}etag={}", etag.replace('+', "%20"));
                    } else {
                        check.refuse("etag", "is given twice: by `If-Match` and in the query");
                    }
                }
                Some(EtagPlace::Body) => {
                    let Some(Value::Object(object)) = &mut json.value else { return Ok(input) };
                    match object.get("etag") {
                        Some(said) if *said != etag => {
                            check.refuse("etag", "is given twice: by `If-Match` and in the body");
                        }
                        _ => {
                            object.insert("etag".into(), etag.into());
                            let before =
                                input.body.replace(serde_json::to_vec(&json.value).unwrap_or_default());
                            drop(before.map(Zeroizing::new));
                        }
                    }
                }
                None => check.refuse("", "this call takes no `If-Match`"),
            }
        }
        _ => {}
    }
    check.violations.finish(|| Some(input))
}

/// The message that a body is.
fn body_message(route: &Route) -> Option<&Message> {
    match &route.binding.body {
        Body::None => None,
        Body::Whole => Some(route.input),
        Body::Field(name) => route.message_of(name),
    }
}

/// The target with the path of each query parameter that is a field of a flat message, as the transcoder wants it.
fn with_holders(route: &Route, target: &str) -> String {
    let Some((path, query)) = target.split_once('?') else { return target.to_owned() };
    let pairs: Vec<Cow<'_, str>> = query
        .split('&')
        .map(|pair| {
            let name = form_urlencoded::parse(pair.as_bytes()).next().map(|(name, _)| name);
            match name.and_then(|name| route.schema.holder(route.input, &name)) {
                Some(holder) => format!("{}.{pair}", holder.json).into(),
                None => pair.into(),
            }
        })
        .collect();
    format!("{path}?{}", pairs.join("&"))
}

/// Moves the fields of flat messages into those messages, and says whether there are any.
fn into_holders(route: &Route, object: &mut Map<String, Value>) -> bool {
    let held = |key: &String| Some((key.clone(), route.schema.holder(route.input, key)?));
    let held: Vec<(String, &Field)> = object.keys().filter_map(held).collect();
    for (key, holder) in &held {
        if let Some(value) = object.remove(key)
            && let Value::Object(inside) = object.entry(&holder.json).or_insert_with(|| Map::new().into())
        {
            inside.insert(key.clone(), value);
        }
    }
    !held.is_empty()
}

struct Check {
    schema: &'static Schema,
    violations: Violations,
    /// The decoded message is weighed as it is over gRPC.
    scales: Scales,
    is_heavy: bool,
}

impl Check {
    fn refuse(&mut self, field: &str, reason: impl Into<String>) {
        self.violations.add(field, reason);
    }

    /// No name has a zero in it, and no database takes one.
    fn path(&mut self, path: &str) {
        if path.contains("%00") {
            self.refuse("", "the path contains a NUL character");
        }
    }

    fn query(&mut self, route: &Route, query: &str) {
        let known: Vec<&Field> = route.query().collect();
        let mut said = BTreeSet::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let Some(field) = known.iter().find(|field| field.name == name || field.json == name) else {
                let names: Vec<&str> = known.iter().map(|field| field.json.as_str()).collect();
                self.refuse(&name, unknown("is not a query parameter of this call", &names));
                continue;
            };
            if !field.repeated && !said.insert(field.name.clone()) {
                self.refuse(&field.name, "is given twice");
            }
            if let Err(reason) = of_text(self.schema, &field.kind, &value) {
                self.refuse(&field.name, reason);
            }
        }
    }

    fn body(&mut self, route: &Route, bytes: &[u8]) -> Option<Value> {
        let prefix = if let Body::Field(name) = &route.binding.body { name } else { "" };
        if route.binding.body == Body::None && !bytes.is_empty() {
            self.refuse("", "this call takes no body");
        }
        let message = body_message(route)?;
        let value: Value = match serde_json::from_slice(bytes) {
            Ok(value) => value,
            Err(error) => {
                self.refuse("", format!("the body is not JSON: {error}"));
                return None;
            }
        };
        let Value::Object(object) = &value else {
            self.refuse(prefix, "the body is not a JSON object");
            return None;
        };
        if prefix.is_empty() {
            for variable in route.variables() {
                let said = message.field(variable).is_some_and(|field| {
                    object.contains_key(&field.name) || object.contains_key(&field.json)
                });
                if said {
                    self.refuse(variable, "is given by the path: leave it out of the body");
                }
            }
        }
        self.message(message, object, prefix);
        // An update does not read the name, so nothing else would refuse a malformed one.
        if route.binding.method == Method::PATCH
            && let Some(field) = message.fields.iter().find(|field| field.options.resource_name)
            && let Some(Value::String(name)) = object.get(&field.json)
            && !(name.is_empty() && field.options.may_be_empty)
            && let Err(error) = name.parse::<Name>()
        {
            self.refuse(&below(prefix, &field.name), error.to_string());
        }
        Some(value)
    }

    fn message(&mut self, message: &Message, object: &Map<String, Value>, path: &str) {
        let (mut said, mut chosen) = (BTreeSet::new(), BTreeSet::new());
        for (key, value) in object {
            let schema = self.schema;
            let Some(field) = schema.fields(message).find(|field| field.name == *key || field.json == *key)
            else {
                self.violations.note(|| {
                    let names: Vec<&str> = schema.fields(message).map(|field| field.json.as_str()).collect();
                    Violation {
                        field: below(path, key),
                        reason: unknown("is not a field of this message", &names),
                    }
                });
                continue;
            };
            let path = below(path, &field.name);
            if !said.insert(&field.name) {
                self.refuse(&path, "is given twice");
            }
            if let Some(oneof) = &field.oneof
                && !chosen.insert(oneof)
            {
                self.refuse(
                    &path,
                    format!("is one of several fields of which only one may be set ({oneof})"),
                );
            }
            self.field(field, value, &path);
        }
    }

    fn field(&mut self, field: &Field, value: &Value, path: &str) {
        match (field.repeated, value) {
            (_, Value::Null) => self.refuse(path, "is null: leave it out"),
            (false, value) => self.value(&field.kind, value, path),
            (true, Value::Array(items)) => {
                if !self.is_heavy
                    && let Err(heavy) = self.scales.elements(self.schema, &field.kind, items.len())
                {
                    self.is_heavy = true;
                    self.refuse(path, heavy.to_string());
                }
                if self.is_heavy {
                    return;
                }
                for (at, item) in items.iter().enumerate() {
                    self.value(&field.kind, item, &format!("{path}[{at}]"));
                }
            }
            (true, _) => self.refuse(path, "must be a list"),
        }
    }

    fn value(&mut self, kind: &Kind, value: &Value, path: &str) {
        let refused = match (kind, value) {
            (Kind::Any, _)
            | (Kind::Object, Value::Object(_))
            | (Kind::Bool, Value::Bool(_))
            | (Kind::Float, Value::Number(_)) => None,
            (Kind::Object, _) => Some("must be an object"),
            (Kind::Bool, _) => Some("must be true or false"),
            (Kind::Float, _) => Some("must be a number"),
            (Kind::Message(name), Value::Object(object)) => {
                return self.message(self.schema.message(name), object, path);
            }
            (Kind::Map(kind), Value::Object(object)) => {
                for (key, value) in object {
                    if key.contains('\0') {
                        self.refuse(path, "has a key that contains a NUL character");
                    }
                    self.value(kind, value, &below(path, key));
                }
                return;
            }
            (Kind::Message(_) | Kind::Map(_), _) => Some("must be an object"),
            (Kind::Int32 | Kind::Uint32, Value::Number(number)) => {
                let (least, most) = if *kind == Kind::Int32 {
                    (f64::from(i32::MIN), f64::from(i32::MAX))
                } else {
                    (0.0, f64::from(u32::MAX))
                };
                let whole =
                    number.as_f64().is_some_and(|it| it.fract() == 0.0 && (least..=most).contains(&it));
                (!whole).then_some("must be a whole number of 32 bits")
            }
            (Kind::Int32 | Kind::Uint32, _) => Some("must be a whole number of 32 bits"),
            (Kind::Int64 | Kind::Uint64, Value::Number(_)) => {
                Some("must be in quotes: it is a number of 64 bits")
            }
            (_, Value::String(text)) => {
                if let Err(reason) = of_text(self.schema, kind, text) {
                    self.refuse(path, reason);
                }
                return;
            }
            (Kind::Duration, _) => Some("must be a duration in seconds in quotes, like \"1.5s\""),
            (Kind::Enum(name), _) => {
                let names = spelling::short_names(self.schema, name).join(", ");
                return self.refuse(path, format!("must be the name of a value, in quotes: {names}"));
            }
            (_, _) => Some("must be a text: put it in quotes"),
        };
        if let Some(reason) = refused {
            self.refuse(path, reason);
        }
    }

    /// The etag that `If-Match` names.
    fn if_match(&mut self, headers: &HeaderMap) -> Option<String> {
        let mut values = headers.get_all(header::IF_MATCH).iter();
        let value = values.next()?;
        let text = value.to_str().unwrap_or_default().trim();
        let etag = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
        match etag {
            _ if values.next().is_some() => self.refuse("", "`If-Match` is given twice"),
            // Any etag: the call itself refuses a resource that does not exist.
            None if text == "*" => {}
            Some(etag) if !etag.is_empty() && !etag.contains('"') => return Some(etag.to_owned()),
            _ => self.refuse("", "`If-Match` must be one etag in quotes"),
        }
        None
    }
}

/// Whether a text is one of this kind, in a query or as a JSON text.
fn of_text(schema: &Schema, kind: &Kind, text: &str) -> Result<(), Cow<'static, str>> {
    if text.contains('\0') {
        return Err("contains a NUL character".into());
    }
    if let Kind::Enum(name) = kind {
        return spelling::check(schema, name, text).map_err(Cow::from);
    }
    let (good, reason) = match kind {
        Kind::Text => (true, ""),
        Kind::Bool => (matches!(text, "true" | "false"), "must be true or false"),
        Kind::Int32 => (plain(text) && text.parse::<i32>().is_ok(), "must be a whole number of 32 bits"),
        Kind::Uint32 => (plain(text) && text.parse::<u32>().is_ok(), "must be a whole number of 32 bits"),
        Kind::Int64 => (plain(text) && text.parse::<i64>().is_ok(), "must be a whole number of 64 bits"),
        Kind::Uint64 => (plain(text) && text.parse::<u64>().is_ok(), "must be a whole number of 64 bits"),
        Kind::Float => (text.parse::<f64>().is_ok_and(f64::is_finite), "must be a number"),
        Kind::Bytes => {
            let bytes = STANDARD.decode(text).or_else(|_| URL_SAFE.decode(text)).map(Zeroizing::new);
            (bytes.is_ok(), "must be bytes in base64")
        }
        Kind::Timestamp => (
            text.contains(['T', 't']) && DateTime::parse_from_rfc3339(text).is_ok(),
            "must be a time like 2006-01-02T15:04:05Z",
        ),
        Kind::Duration => (is_duration(text), "must be a duration in seconds like 1.5s"),
        Kind::FieldMask => (
            text.is_empty()
                || text.split(',').all(|path| {
                    !path.is_empty()
                        && path.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'.')
                }),
            "must be names of fields, separated by commas",
        ),
        Kind::Enum(_) | Kind::Object | Kind::Any | Kind::Message(_) | Kind::Map(_) => {
            (false, "is not a text")
        }
    };
    if good { Ok(()) } else { Err(reason.into()) }
}

/// As JSON writes whole numbers.
fn plain(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    digits == "0" || (!digits.starts_with('0') && digits.bytes().all(|digit| digit.is_ascii_digit()))
}

fn is_duration(text: &str) -> bool {
    let Some(number) = text.strip_suffix('s') else { return false };
    let number = number.strip_prefix('-').unwrap_or(number);
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str, most| {
        (1..=most).contains(&text.len()) && text.bytes().all(|digit| digit.is_ascii_digit())
    };
    digits(whole, 12) && digits(part, 9)
}

fn below(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn unknown(what: &str, names: &[&str]) -> String {
    if names.is_empty() { what.to_owned() } else { format!("{what}: there are {}", names.join(", ")) }
}

#[cfg(test)]
mod tests;
