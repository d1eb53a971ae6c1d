//! YAML as a tree in which each value knows its line.
//!
//! Knows no document. A mistake names the line, and the path of the field, and repeats nothing that stands there: a
//! person may have put a secret where none belongs.

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, forward_to_deserialize_any};
use serde_saphyr::Spanned;

/// A value and its line.
#[derive(Debug, Clone)]
pub struct Node {
    /// Where it begins, from 1.
    pub line: u64,
    value: Value,
}

#[derive(Debug, Clone)]
enum Value {
    Null,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Field, Node)>),
}

/// The name of a field, in snake case, and its line.
#[derive(Debug, Clone)]
struct Field {
    line: u64,
    name: String,
}

/// What is wrong, and where.
#[derive(Debug)]
pub struct Mistake {
    /// From 1; `None` where it is not known.
    pub line: Option<u64>,
    /// `when.path.regex`; empty for a whole document.
    path: String,
    what: String,
    /// The field of that path that is not known.
    unknown: Option<String>,
}

impl Mistake {
    /// What `Node::remove` takes out, so that the rest can be read.
    pub fn removable(&self) -> String {
        match &self.unknown {
            Some(name) if self.path.is_empty() => name.clone(),
            Some(name) => format!("{}.{name}", self.path),
            None => self.path.clone(),
        }
    }

    fn about(mut self, field: &str) -> Self {
        self.unknown.get_or_insert_with(|| field.to_owned());
        self
    }

    /// The path of the field: `when.path.regex`; empty for a whole document.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What is wrong there.
    pub fn what(&self) -> &str {
        &self.what
    }

    fn at(mut self, line: u64) -> Self {
        self.line.get_or_insert(line);
        self
    }

    fn under(mut self, field: &str) -> Self {
        let dot = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        self.path = format!("{field}{dot}{}", self.path);
        self
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() { f.write_str(&self.what) } else { write!(f, "{}: {}", self.path, self.what) }
    }
}

impl std::error::Error for Mistake {}

impl de::Error for Mistake {
    fn custom<T: fmt::Display>(what: T) -> Self {
        Self { line: None, path: String::new(), what: what.to_string(), unknown: None }
    }

    fn invalid_type(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        let what = format!("must be {expected}");
        let is_bare = matches!(
            found,
            de::Unexpected::Unsigned(_)
                | de::Unexpected::Signed(_)
                | de::Unexpected::Float(_)
                | de::Unexpected::Bool(_)
        );
        if is_bare && what == "must be a string" {
            let (is, of) = match found {
                de::Unexpected::Bool(_) => ("true or false", "y, n, yes, no, on and off"),
                _ => ("a number", "1.3 and 007"),
            };
            return Self::custom(format_args!(
                "must be a string, and YAML takes what stands here for {is}, as it does {of}: put it in quotes"
            ));
        }
        Self::custom(what)
    }

    fn invalid_value(_: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::custom(format_args!("must be {expected}"))
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self::custom(format_args!("there is no field {field}; the fields are {}", expected.join(", ")))
    }
}

/// What is wrong with a text that is no YAML, without its place: the field, where one is known, and the words of a user.
pub fn no_yaml(error: &serde_saphyr::Error) -> (String, String) {
    let error = error.without_snippet();
    if let serde_saphyr::Error::DuplicateMappingKey { key, .. } = error {
        let field = key.as_ref().map(ToString::to_string).unwrap_or_default();
        return (field, "is there twice: keep one of them".to_owned());
    }
    let text = error.to_string();
    let what = text.lines().next().unwrap_or_default();
    let what = what.rfind(" at line ").map_or(what, |at| &what[..at]);
    (String::new(), what.to_owned())
}

/// All documents of a text, in their order; empty ones are left out. A document that is a list counts as the documents
/// in it.
pub fn documents(text: &str) -> Result<Vec<Node>, Mistake> {
    let options = serde_saphyr::options! {
        // A file may be long; one that expands to more than its size stays refused.
        budget: serde_saphyr::budget! {
            max_documents: 1_000_000,
            max_nodes: 50_000_000,
            max_events: 200_000_000,
        },
    };
    let nodes: Vec<Node> = serde_saphyr::from_multiple_with_options(text, options).map_err(|error| {
        let (field, what) = no_yaml(&error);
        Mistake { line: error.location().map(|at| at.line()), path: field, what, unknown: None }
    })?;
    let mut found = Vec::with_capacity(nodes.len());
    for node in nodes {
        match node.value {
            Value::Null => {}
            Value::List(items) => found.extend(items),
            _ => found.push(node),
        }
    }
    Ok(found)
}

impl Node {
    /// Whether it has fields.
    pub fn is_document(&self) -> bool {
        matches!(self.value, Value::Map(_))
    }

    /// The text of a field.
    pub fn text(&self, field: &str) -> Option<&str> {
        match &self.field(field)?.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The line of a field, or of what is around it: `when.headers[1].name`.
    pub fn line_of(&self, path: &str) -> u64 {
        let mut node = self;
        for step in path.split(['.', '[', ']']).filter(|step| !step.is_empty()) {
            let inner = match &node.value {
                Value::List(items) => step.parse().ok().and_then(|at: usize| items.get(at)),
                _ => node.field(step),
            };
            match inner {
                Some(inner) => node = inner,
                None => break,
            }
        }
        node.line
    }

    /// Takes out what stands at a path, or its nearest part that is there. Whether something was taken out.
    pub fn remove(&mut self, path: &str) -> bool {
        let Some((first, rest)) = steps(path) else { return false };
        let inner = match &mut self.value {
            Value::List(items) => {
                let Some(at) = first.parse::<usize>().ok().filter(|at| *at < items.len()) else {
                    return false;
                };
                if items[at].remove(rest) {
                    return true;
                }
                items.remove(at);
                return true;
            }
            Value::Map(fields) => fields,
            _ => return false,
        };
        let Some(at) = inner.iter().position(|(field, _)| field.name == first) else { return false };
        if !inner[at].1.remove(rest) {
            inner.remove(at);
        }
        true
    }

    /// Offers each text and its line, and puts what comes back in its place. Names of fields stay.
    pub fn replace(&mut self, with: &mut impl FnMut(u64, &str) -> Option<String>) {
        match &mut self.value {
            Value::Text(text) => {
                if let Some(other) = with(self.line, text) {
                    *text = other;
                }
            }
            Value::List(items) => items.iter_mut().for_each(|item| item.replace(with)),
            Value::Map(fields) => fields.iter_mut().for_each(|(_, node)| node.replace(with)),
            Value::Null | Value::Bool(_) | Value::Unsigned(_) | Value::Signed(_) | Value::Float(_) => {}
        }
    }

    /// Reads a document, whose `kind` is looked at elsewhere.
    pub fn read<'de, T: Deserialize<'de>>(&'de self) -> Result<T, Mistake> {
        match &self.value {
            Value::Map(_) => T::deserialize(Reader { node: self, skipped: "kind" }),
            _ => Err(<Mistake as de::Error>::custom("a document is `kind` and its fields").at(self.line)),
        }
    }

    fn field(&self, name: &str) -> Option<&Self> {
        let Value::Map(fields) = &self.value else { return None };
        fields.iter().find(|(field, _)| field.name == name).map(|(_, node)| node)
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        Ok(Self { line: spanned.referenced.line(), value: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Unsigned(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(u64::try_from(value).map_or(Value::Signed(value), Value::Unsigned))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut map: Vec<(Field, Node)> = Vec::new();
        while let Some(key) = fields.next_key::<Spanned<String>>()? {
            let field = Field { line: key.referenced.line(), name: snake(&key.value) };
            if map.iter().any(|(other, _)| other.name == field.name) {
                return Err(de::Error::custom(format_args!("{} is there twice", field.name)));
            }
            map.push((field, fields.next_value()?));
        }
        Ok(Value::Map(map))
    }
}

/// The first step of a path, and the rest: of `when.headers[1].name`, `when` and `headers[1].name`.
fn steps(path: &str) -> Option<(&str, &str)> {
    let path = path.trim_start_matches(['.', '[', ']']);
    let end = path.find(['.', '[', ']']).unwrap_or(path.len());
    (end > 0).then(|| path.split_at(end))
}

/// `baseUrl` is `base_url`: the JSON form of the schemas spells fields so.
fn snake(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

/// Reads a node as any type.
#[derive(Clone, Copy)]
struct Reader<'de> {
    node: &'de Node,
    /// A field that is passed over.
    skipped: &'static str,
}

impl<'de> Reader<'de> {
    fn of(node: &'de Node) -> Self {
        Self { node, skipped: "" }
    }

    fn visit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistake> {
        match &self.node.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Unsigned(value) => visitor.visit_u64(*value),
            Value::Signed(value) => visitor.visit_i64(*value),
            Value::Float(value) => visitor.visit_f64(*value),
            Value::Text(text) => visitor.visit_borrowed_str(text),
            Value::List(items) => visitor.visit_seq(Items { items: items.iter(), at: 0 }),
            Value::Map(fields) => {
                visitor.visit_map(Fields { fields: fields.iter(), skipped: self.skipped, value: None })
            }
        }
    }
}

impl<'de> Deserializer<'de> for Reader<'de> {
    type Error = Mistake;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistake> {
        let line = self.node.line;
        self.visit(visitor).map_err(|mistake| mistake.at(line))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistake> {
        match self.node.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Mistake> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistake> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq
        tuple tuple_struct map struct enum identifier
    }
}

struct Items<'de> {
    items: std::slice::Iter<'de, Node>,
    at: usize,
}

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = Mistake;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Mistake> {
        let Some(item) = self.items.next() else { return Ok(None) };
        let at = self.at;
        self.at += 1;
        seed.deserialize(Reader::of(item)).map(Some).map_err(|mistake| mistake.under(&format!("[{at}]")))
    }
}

struct Fields<'de> {
    fields: std::slice::Iter<'de, (Field, Node)>,
    skipped: &'static str,
    value: Option<&'de (Field, Node)>,
}

impl<'de> MapAccess<'de> for Fields<'de> {
    type Error = Mistake;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Mistake> {
        let skipped = self.skipped;
        let Some(next) = self.fields.find(|(field, _)| field.name != skipped) else { return Ok(None) };
        self.value = Some(next);
        let name = IntoDeserializer::<Mistake>::into_deserializer(next.0.name.as_str());
        seed.deserialize(name).map(Some).map_err(|mistake| mistake.at(next.0.line).about(&next.0.name))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Mistake> {
        let (field, node) = self.value.take().expect("serde asks for a value behind its key");
        seed.deserialize(Reader::of(node)).map_err(|mistake| mistake.under(&field.name))
    }
}

#[cfg(test)]
mod tests;
