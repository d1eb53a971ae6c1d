//! The body of an operation: which types it may have, and which schema is for which.
//!
//! Reads no body. Bodies of JSON are held against their schemas; of another one only the type is looked at, so a document
//! that asks more of it is not taken.

use http::HeaderMap;
use http::header::CONTENT_TYPE;

use super::document::{Document, Place};
use super::kinds::{asks_nothing, takes_any_text};
use super::schemas::{Key, Schemas};
use super::values;

/// What a document says of a body.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) is_required: bool,
    /// Where it says so.
    pub(super) at: Box<str>,
    /// The narrower ranges first.
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    range: Range,
    /// `None`: nothing is asked of such bodies.
    key: Option<Key>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Range {
    /// `application/json`.
    One(Box<str>),
    /// `application/*`, without the star.
    Some(Box<str>),
    Any,
}

/// What follows from the type of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    /// It is held against a schema.
    Schema(Key),
    /// It passes.
    Passes,
    /// The operation takes none of this type, or its type cannot be told.
    Unlisted,
}

/// Reads what a document says of a body. `None`: it is at fault.
pub(super) fn said<'t>(
    document: &mut Document<'t>,
    place: &Place<'t>,
    roots: &mut Vec<Place<'t>>,
) -> Option<Vec<(String, Option<Place<'t>>)>> {
    document.known(place, "a request body", &["description", "content", "required"]);
    let Some(content) = place.get("content").filter(|content| content.members().next().is_some()) else {
        document.fault(&place.at, "has no `content`: name the types that a body may have");
        return None;
    };
    let mut said = Vec::new();
    for (range, entry) in content.members() {
        document.known(&entry, "a media type", &["schema", "example", "examples", "encoding"]);
        let schema = entry.get("schema").filter(|schema| !asks_nothing(schema.tree));
        let Some(essence) = essence_of_range(range) else {
            let what = "is no type of a body, as `application/json`, `text/*` or `*/*`, without parameters";
            document.fault(&entry.at, what);
            continue;
        };
        let is_one = !essence.ends_with('*');
        let schema = match schema {
            Some(schema) if is_one && !is_json(&essence) => {
                if !takes_any_text(schema.tree) {
                    let what = "is for bodies that are no JSON, which are not read: leave the schema out to pass them by their type alone";
                    document.fault(&schema.at, what);
                }
                None
            }
            schema => schema,
        };
        roots.extend(schema.clone());
        said.push((essence, schema));
    }
    Some(said)
}

impl Content {
    pub(super) fn new<'t>(
        document: &mut Document<'t>,
        place: &Place<'t>,
        said: Vec<(String, Option<Place<'t>>)>,
        schemas: &mut Schemas,
    ) -> Self {
        let is_required = document.flag(place, "required").unwrap_or_default();
        let mut entries: Vec<Entry> = said
            .into_iter()
            .map(|(essence, schema)| Entry {
                range: Range::of(&essence),
                key: schema.map(|schema| schemas.add(&schema.at, None)),
            })
            .collect();
        entries.sort_by(|one, other| one.range.cmp(&other.range));
        if entries.windows(2).any(|pair| pair[0].range == pair[1].range) {
            document.fault(&place.at, "has one type twice in `content`");
        }
        Self { is_required, at: format!("{}/content", place.at).into(), entries }
    }

    /// What follows from the type that a request says its body has.
    pub(super) fn of(&self, headers: &HeaderMap) -> Of {
        let [value] = values(headers, &CONTENT_TYPE)[..] else { return Of::Unlisted };
        let Some(Type { essence, is_utf8 }) = Type::read(value) else { return Of::Unlisted };
        let Some(entry) = self.entries.iter().find(|entry| entry.range.has(&essence)) else {
            return Of::Unlisted;
        };
        match entry.key {
            None => Of::Passes,
            Some(key) if is_utf8 && is_json(&essence) => Of::Schema(key),
            // It would be read otherwise than as it is judged, or not be judged.
            Some(_) => Of::Unlisted,
        }
    }
}

impl Range {
    fn of(essence: &str) -> Self {
        match essence.strip_suffix('*') {
            None => Self::One(essence.into()),
            Some("*/") => Self::Any,
            Some(of) => Self::Some(of.into()),
        }
    }

    fn has(&self, essence: &str) -> bool {
        match self {
            Self::One(one) => **one == *essence,
            Self::Some(of) => essence.starts_with(&**of),
            Self::Any => true,
        }
    }
}

struct Type {
    essence: String,
    is_utf8: bool,
}

impl Type {
    fn read(value: &[u8]) -> Option<Self> {
        let value = std::str::from_utf8(value).ok()?;
        let (essence, parameters) = value.split_once(';').unwrap_or((value, ""));
        let essence = essence.trim().to_ascii_lowercase();
        let (of, kind) = essence.split_once('/')?;
        if !is_token(of) || !is_token(kind) {
            return None;
        }
        let charset = |parameter: &str| {
            let (name, value) = parameter.split_once('=')?;
            name.trim()
                .eq_ignore_ascii_case("charset")
                .then(|| value.trim().trim_matches('"').to_ascii_lowercase())
        };
        let is_utf8 =
            parameters.split(';').filter_map(charset).all(|it| matches!(&*it, "utf-8" | "utf8" | "us-ascii"));
        Some(Self { essence, is_utf8 })
    }
}

/// A range of types without parameters, in small letters.
fn essence_of_range(range: &str) -> Option<String> {
    let essence = range.trim().to_ascii_lowercase();
    let (of, kind) = essence.split_once('/')?;
    let is_range = kind == "*" && (of == "*" || is_token(of));
    (is_range || (is_token(of) && is_token(kind))).then_some(essence)
}

/// A name of a type, with no star in it.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&byte))
}

fn is_json(essence: &str) -> bool {
    essence.ends_with("/json") || essence.ends_with("+json")
}
