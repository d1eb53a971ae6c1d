//! A parameter of path, query or header: what a document says of it, and how its text becomes a value.
//!
//! Judges no value: the schema does. The invariant: of a parameter that stands in a request several times, each is in the
//! value that is judged, or the request is refused.

use std::borrow::Cow;

use http::HeaderName;
use percent_encoding::percent_decode_str;

use super::super::Refusal;
use super::super::tree::{Tree, read};
use super::document::{Document, Place, told};
use super::kinds::{Kinds, KindsOf, Whose, takes_any_text};
use super::schemas::{Key, Schemas};
use crate::request::decode;

/// How long a name may be, in bytes: refusals tell it.
const NAME_MAX: usize = 200;

const FIELDS: [&str; 12] = [
    "name",
    "in",
    "description",
    "required",
    "deprecated",
    "allowEmptyValue",
    "style",
    "explode",
    "allowReserved",
    "schema",
    "example",
    "examples",
];

/// Where a parameter stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum In {
    Path,
    Query,
    Header,
}

/// A parameter, before its schema was surveyed.
#[derive(Debug, Clone)]
pub(super) struct Said<'t> {
    pub(super) name: Box<str>,
    pub(super) stands: In,
    is_required: bool,
    may_be_empty: bool,
    /// Whether elements of a list stand in one text, with commas between them.
    is_joined: bool,
    at: String,
    pub(super) schema: Place<'t>,
}

/// A parameter.
#[derive(Debug)]
pub(super) struct Parameter {
    pub(super) name: Box<str>,
    /// As it is told: `query.limit`.
    place: Box<str>,
    /// Where the document says it is required, if it does.
    required_at: Option<Box<str>>,
    may_be_empty: bool,
    reads: Reads,
    /// `None`: any text will do.
    key: Option<Key>,
}

#[derive(Debug, Clone, Copy)]
enum Reads {
    One(Kinds),
    List { of: Kinds, is_joined: bool },
}

/// What a request says of a parameter.
pub(in super::super) struct Given<'d, 'r> {
    parameter: &'d Parameter,
    texts: Vec<Cow<'r, str>>,
}

/// Reads a parameter of a document. `None`: it is at fault, or one that is not looked at.
pub(super) fn said<'t>(document: &mut Document<'t>, place: &Place<'t>) -> Option<Said<'t>> {
    if let Some(content) = place.get("content") {
        let what = "says how a parameter is serialised, which is not read: write `schema`, or leave the parameter out";
        document.fault(&content.at, what);
        return None;
    }
    document.known(place, "a parameter", &FIELDS);
    let (name, stands) = (document.text(place, "name"), document.text(place, "in"));
    let (Some(name), Some(stands)) = (name, stands) else {
        document.fault(&place.at, "has no `name` or no `in`");
        return None;
    };
    if name.len() > NAME_MAX {
        document.fault(&place.at, format!("has a name of more than {NAME_MAX} bytes"));
        return None;
    }
    let stands = match stands {
        "path" => In::Path,
        "query" => In::Query,
        "header" => In::Header,
        "cookie" => {
            document.fault(
                &place.at,
                "is a cookie, which is not held against a document: leave the parameter out",
            );
            return None;
        }
        _ => {
            document.fault(&place.at, "is in none of `path`, `query` and `header`");
            return None;
        }
    };
    // OpenAPI says so of these.
    if stands == In::Header
        && ["accept", "content-type", "authorization"].iter().any(|it| name.eq_ignore_ascii_case(it))
    {
        return None;
    }
    if stands == In::Header && HeaderName::from_bytes(name.as_bytes()).is_err() {
        document.fault(&place.at, format!("is named {}, which is no name of a header", told(name)));
        return None;
    }
    let is_required = document.flag(place, "required").unwrap_or_default();
    if stands == In::Path && !is_required {
        document.fault(&place.at, "is in the path, and so `required: true`");
    }
    let may_be_empty = document.flag(place, "allowEmptyValue").unwrap_or_default();
    let usual = if stands == In::Query { "form" } else { "simple" };
    let style = document.text(place, "style").unwrap_or(usual);
    if style != usual {
        let what = format!(
            "is {}, which is not read: leave it out, for {usual:?}, or leave the parameter out",
            told(style)
        );
        document.fault(&place.at, format!("has a `style` that {what}"));
    }
    let explodes = document.flag(place, "explode").unwrap_or(stands == In::Query);
    let Some(schema) = place.get("schema") else {
        document.fault(&place.at, "has no `schema`");
        return None;
    };
    Some(Said {
        name: if stands == In::Header { name.to_ascii_lowercase().into() } else { name.into() },
        stands,
        is_required,
        may_be_empty: may_be_empty && stands == In::Query,
        is_joined: stands != In::Query || !explodes,
        at: place.at.clone(),
        schema,
    })
}

impl Parameter {
    /// Of a document whose schemas were surveyed.
    pub(super) fn new<'t>(
        document: &mut Document<'t>,
        said: &Said<'t>,
        kinds: &mut KindsOf,
        schemas: &mut Schemas,
    ) -> Self {
        let schema = &said.schema;
        let place: Box<str> = format!("{}.{}", said.stands.text(), said.name).into();
        let is_any_text = takes_any_text(schema.tree);
        let reads = if is_any_text { Reads::One(Kinds::TEXT) } else { reads(document, said, kinds) };
        Self {
            name: said.name.clone(),
            required_at: said.is_required.then(|| format!("{}/required", said.at).into()),
            may_be_empty: said.may_be_empty,
            reads,
            key: (!is_any_text).then(|| schemas.add(&schema.at, Some(place.clone()))),
            place,
        }
    }

    pub(super) fn is_list(&self) -> bool {
        matches!(self.reads, Reads::List { .. })
    }

    /// What a query says of it.
    pub(super) fn of_query<'d, 'r>(&'d self, raw: &[&'r str]) -> Result<Option<Given<'d, 'r>>, Refusal> {
        let texts = match (self.reads, raw) {
            (_, []) => return self.missing(),
            (_, [""]) if self.may_be_empty => return Ok(None),
            (Reads::One(_), [one]) => self.texts([decode(one)]),
            (Reads::List { is_joined: true, .. }, [one]) => self.texts(one.split(',').map(decode)),
            (Reads::List { is_joined: false, .. }, several) => {
                self.texts(several.iter().map(|one| decode(one)))
            }
            _ => return Err(self.refused("duplicate-parameter")),
        };
        Ok(Some(Given { parameter: self, texts: texts? }))
    }

    /// What values of a header say of it.
    pub(super) fn of_header<'d, 'r>(&'d self, values: &[&'r [u8]]) -> Result<Option<Given<'d, 'r>>, Refusal> {
        let texts = match (self.reads, values) {
            (_, []) => return self.missing(),
            (Reads::One(_), [one]) => self.texts([Cow::Borrowed(*one)]),
            (Reads::One(_), _) => return Err(self.refused("duplicate-parameter")),
            (Reads::List { .. }, several) => {
                let parts = several.iter().flat_map(|value| value.split(|byte| *byte == b','));
                self.texts(parts.map(|part| Cow::Borrowed(part.trim_ascii())))
            }
        };
        Ok(Some(Given { parameter: self, texts: texts? }))
    }

    /// What a path says of it: all of a segment as it is written, or a part of it without escapes.
    pub(super) fn of_path<'d, 'r>(&'d self, raw: &'r str, plain: &'r [u8]) -> Result<Given<'d, 'r>, Refusal> {
        let texts = match self.reads {
            Reads::One(_) => self.texts([Cow::Borrowed(plain)]),
            Reads::List { .. } => self.texts(raw.split(',').map(|part| percent_decode_str(part).into())),
        };
        Ok(Given { parameter: self, texts: texts? })
    }

    fn missing<T>(&self) -> Result<Option<T>, Refusal> {
        let Some(at) = &self.required_at else { return Ok(None) };
        Err(Refusal { schema: at.clone(), ..self.refused("required") })
    }

    fn texts<'r>(
        &self,
        texts: impl IntoIterator<Item = Cow<'r, [u8]>>,
    ) -> Result<Vec<Cow<'r, str>>, Refusal> {
        let text = |bytes| match bytes {
            Cow::Borrowed(bytes) => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
            Cow::Owned(bytes) => String::from_utf8(bytes).ok().map(Cow::Owned),
        };
        texts.into_iter().map(|bytes| text(bytes).ok_or_else(|| self.refused("not-text"))).collect()
    }

    fn refused(&self, keyword: &str) -> Refusal {
        Refusal::ours("", keyword).of_parameter(&self.place)
    }
}

impl Given<'_, '_> {
    /// The key of its schema, if it has one.
    pub(in super::super) fn key(&self) -> Option<Key> {
        self.parameter.key
    }

    /// The value that it is: what its schema can let pass goes before a text.
    pub(in super::super) fn value(&self) -> Tree<'_> {
        match self.parameter.reads {
            Reads::One(kinds) => self.texts.first().map_or(Tree::Null, |text| value(text, kinds)),
            Reads::List { of, .. } => Tree::List(self.texts.iter().map(|text| value(text, of)).collect()),
        }
    }

    /// The text that it is, where its schema can let a text pass, too.
    pub(in super::super) fn other_value(&self) -> Option<Tree<'_>> {
        let Reads::One(kinds) = self.parameter.reads else { return None };
        let text = self.texts.first().filter(|_| kinds.has(Kinds::TEXT))?;
        (!matches!(value(text, kinds), Tree::Text(_))).then(|| Tree::Text(Cow::Borrowed(text)))
    }
}

impl In {
    fn text(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Query => "query",
            Self::Header => "header",
        }
    }
}

fn value(text: &str, kinds: Kinds) -> Tree<'_> {
    match text {
        "true" if kinds.has(Kinds::BOOLEAN) => Tree::Bool(true),
        "false" if kinds.has(Kinds::BOOLEAN) => Tree::Bool(false),
        text if kinds.has(Kinds::NUMBER) && is_number(text) => Tree::Number(text),
        text => Tree::Text(Cow::Borrowed(text)),
    }
}

/// Whether it is a number as JSON has it, and nothing else.
fn is_number(text: &str) -> bool {
    let is_bare = text.starts_with(|first: char| first == '-' || first.is_ascii_digit())
        && text.ends_with(|last: char| last.is_ascii_digit());
    is_bare && read(text.as_bytes(), 1).is_ok()
}

fn reads<'t>(document: &mut Document<'t>, said: &Said<'t>, kinds: &mut KindsOf) -> Reads {
    let schema = &said.schema;
    let single = [Kinds::TEXT, Kinds::NUMBER, Kinds::BOOLEAN];
    let fault = match kinds.get(document, schema, Whose::Value) {
        Kinds::ALL => "says no type, by which the text of a parameter is read: write `type`",
        of if of.has(Kinds::OBJECT) => {
            "is an object, which is not read from a parameter: make each of its members a parameter"
        }
        of if of.has(Kinds::LIST) && single.iter().any(|kind| of.has(*kind)) => {
            "is a list or a single value, which a text does not tell: say one `type`"
        }
        of if of.has(Kinds::LIST) => match kinds.get(document, schema, Whose::Items) {
            // Nothing is said of them.
            Kinds::ALL => return Reads::List { of: Kinds::TEXT, is_joined: said.is_joined },
            of if of.has(Kinds::OBJECT) || of.has(Kinds::LIST) => {
                "has elements that are not single values of one `type`: write `items` with a `type`"
            }
            of if of.has(Kinds::TEXT) && single[1..].iter().any(|kind| of.has(*kind)) => {
                "has elements of which a text does not tell the type: write `items` with one `type`"
            }
            of => return Reads::List { of, is_joined: said.is_joined },
        },
        of => return Reads::One(of),
    };
    document.fault(&schema.at, fault);
    Reads::One(Kinds::TEXT)
}
