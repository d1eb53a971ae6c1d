//! The schemas as data: messages, enums, services and routes, with their comments, read once from the
//! descriptors that the contract was built with.
//!
//! What REST takes, refuses and documents comes from here alone, so that a new call needs no edit beside
//! its schema. Knows no handler.

use std::collections::BTreeMap;
use std::sync::{LazyLock, OnceLock};

use prost::Message as _;

mod descriptor;

use descriptor::{Choice, File, FileSet, Group, HttpRule, Member, Type};

/// Everything that the contract's descriptors say.
pub(super) static SCHEMA: LazyLock<Schema> = LazyLock::new(|| Schema::read(rr_contract::wire::DESCRIPTORS));

/// Schemas by their full names.
#[derive(Debug)]
pub(super) struct Schema {
    pub(super) messages: BTreeMap<String, Message>,
    pub(super) enums: BTreeMap<String, Enum>,
    pub(super) services: Vec<Service>,
}

#[derive(Debug)]
pub(super) struct Message {
    pub(super) comment: String,
    pub(super) fields: Vec<Field>,
    /// What one takes in memory by itself, once somebody worked it out.
    pub(super) size: OnceLock<usize>,
}

#[derive(Debug, Clone)]
pub(super) struct Field {
    /// As the schema has it.
    pub(super) name: String,
    /// As JSON has it.
    pub(super) json: String,
    pub(super) number: u32,
    pub(super) comment: String,
    pub(super) kind: Kind,
    pub(super) repeated: bool,
    /// The choice that it is one of.
    pub(super) oneof: Option<String>,
}

/// What a field holds, by its form in JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Bool,
    Int32,
    Uint32,
    Int64,
    Uint64,
    Float,
    Text,
    Bytes,
    Timestamp,
    Duration,
    FieldMask,
    /// Any JSON object.
    Object,
    /// Any JSON.
    Any,
    Enum(String),
    Message(String),
    /// Keys are text.
    Map(Box<Self>),
}

#[derive(Debug)]
pub(super) struct Enum {
    pub(super) comment: String,
    /// Names and what they mean.
    pub(super) values: Vec<(String, String)>,
}

#[derive(Debug)]
pub(super) struct Service {
    pub(super) package: String,
    pub(super) name: String,
    pub(super) comment: String,
    pub(super) calls: Vec<Call>,
}

#[derive(Debug)]
pub(super) struct Call {
    pub(super) name: String,
    pub(super) comment: String,
    pub(super) input: String,
    pub(super) output: String,
    pub(super) server_streams: bool,
    pub(super) bindings: Vec<Binding>,
}

/// One route of a call.
#[derive(Debug)]
pub(super) struct Binding {
    pub(super) method: http::Method,
    pub(super) template: String,
    pub(super) body: Body,
}

/// Where a route's body goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Body {
    None,
    Whole,
    /// A field, as the schema has it.
    Field(String),
}

impl Schema {
    fn read(bytes: &[u8]) -> Self {
        Self::of(&FileSet::decode(bytes).expect("the contract was built with these descriptors"))
    }

    fn of(set: &FileSet) -> Self {
        let mut reader = Reader::default();
        for file in &set.files {
            reader.file(file);
        }
        reader.finish()
    }

    /// A message that another one names.
    pub(super) fn message(&self, name: &str) -> &Message {
        self.messages.get(name).expect("a descriptor set holds what it refers to")
    }
}

impl Message {
    /// A field by its name in either form.
    pub(super) fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name || field.json == name)
    }
}

/// Whether a field is the name of what its message describes: the schemas say so in the same words.
pub(super) fn is_name(field: &Field) -> bool {
    field.kind == Kind::Text && field.comment.starts_with("`[a-z0-9-]`, at most 63 characters")
}

/// Whether that name can be left to the control plane.
pub(super) fn may_be_empty(field: &Field) -> bool {
    field.comment.contains("Empty on create")
}

/// Fields of maps look like repeated messages until all messages are known.
#[derive(Default)]
struct Reader {
    messages: BTreeMap<String, Message>,
    entries: BTreeMap<String, Kind>,
    enums: BTreeMap<String, Enum>,
    services: Vec<Service>,
}

type Comments = BTreeMap<Vec<i32>, String>;

impl Reader {
    fn file(&mut self, file: &File) {
        let places = file.source.iter().flat_map(|source| &source.places);
        let comments: Comments = places
            .map(|place| (place.path.clone(), text(&place.leading)))
            .filter(|(_, it)| !it.is_empty())
            .collect();
        for (at, message) in file.messages.iter().enumerate() {
            self.message(&file.package, message, &[4, index(at)], &comments);
        }
        for (at, choice) in file.enums.iter().enumerate() {
            self.choice(&file.package, choice, &[5, index(at)], &comments);
        }
        for (at, group) in file.services.iter().enumerate() {
            self.services.push(service(&file.package, group, &[6, index(at)], &comments));
        }
    }

    fn message(&mut self, parent: &str, message: &Type, path: &[i32], comments: &Comments) {
        let full = format!("{parent}.{}", message.name);
        let inside = |number: i32, at: usize| [path, &[number, index(at)]].concat();
        for (at, nested) in message.nested.iter().enumerate() {
            self.message(&full, nested, &inside(3, at), comments);
        }
        for (at, choice) in message.enums.iter().enumerate() {
            self.choice(&full, choice, &inside(4, at), comments);
        }
        let fields = message.fields.iter().enumerate();
        let fields: Vec<Field> = fields
            .map(|(at, member)| Field {
                name: member.name.clone(),
                json: member.json.clone(),
                number: member.number.unsigned_abs(),
                comment: comment(comments, &inside(2, at)),
                kind: kind(member),
                repeated: member.label == 3,
                oneof: member
                    .oneof
                    .filter(|_| !member.optional)
                    .and_then(|at| message.oneofs.get(usize::try_from(at).ok()?))
                    .map(|oneof| oneof.name.clone()),
            })
            .collect();
        if message.options.as_ref().is_some_and(|options| options.map_entry) {
            let value = fields.into_iter().find(|field| field.name == "value").expect("an entry has a value");
            self.entries.insert(full, value.kind);
            return;
        }
        self.messages
            .insert(full, Message { comment: comment(comments, path), fields, size: OnceLock::new() });
    }

    fn choice(&mut self, parent: &str, choice: &Choice, path: &[i32], comments: &Comments) {
        let values = choice.values.iter().enumerate();
        let values = values
            .map(|(at, value)| (value.name.clone(), comment(comments, &[path, &[2, index(at)]].concat())))
            .collect();
        self.enums
            .insert(format!("{parent}.{}", choice.name), Enum { comment: comment(comments, path), values });
    }

    fn finish(mut self) -> Schema {
        for field in self.messages.values_mut().flat_map(|message| &mut message.fields) {
            if let Kind::Message(name) = &field.kind
                && let Some(value) = self.entries.get(name)
            {
                field.kind = Kind::Map(Box::new(value.clone()));
                field.repeated = false;
            }
        }
        Schema { messages: self.messages, enums: self.enums, services: self.services }
    }
}

fn service(package: &str, group: &Group, path: &[i32], comments: &Comments) -> Service {
    let calls = group.methods.iter().enumerate();
    Service {
        package: package.to_owned(),
        name: group.name.clone(),
        comment: comment(comments, path),
        calls: calls
            .map(|(at, method)| Call {
                name: method.name.clone(),
                comment: comment(comments, &[path, &[2, index(at)]].concat()),
                input: bare(&method.input),
                output: bare(&method.output),
                server_streams: method.server_streams,
                bindings: method
                    .options
                    .iter()
                    .flat_map(|options| &options.http)
                    .flat_map(|rule| std::iter::once(rule).chain(&rule.more))
                    .filter_map(binding)
                    .collect(),
            })
            .collect(),
    }
}

fn binding(rule: &HttpRule) -> Option<Binding> {
    use http::Method;
    let ways = [
        (Method::GET, &rule.get),
        (Method::PUT, &rule.put),
        (Method::POST, &rule.post),
        (Method::DELETE, &rule.delete),
        (Method::PATCH, &rule.patch),
    ];
    let (method, template) = ways.into_iter().find(|(_, template)| !template.is_empty())?;
    let body = match rule.body.as_str() {
        "" => Body::None,
        "*" => Body::Whole,
        field => Body::Field(field.to_owned()),
    };
    Some(Binding { method, template: template.clone(), body })
}

fn kind(member: &Member) -> Kind {
    match member.kind {
        1 | 2 => Kind::Float,
        3 | 16 | 18 => Kind::Int64,
        4 | 6 => Kind::Uint64,
        5 | 15 | 17 => Kind::Int32,
        7 | 13 => Kind::Uint32,
        8 => Kind::Bool,
        12 => Kind::Bytes,
        14 => Kind::Enum(bare(&member.type_name)),
        11 => match bare(&member.type_name).as_str() {
            "google.protobuf.Timestamp" => Kind::Timestamp,
            "google.protobuf.Duration" => Kind::Duration,
            "google.protobuf.FieldMask" => Kind::FieldMask,
            "google.protobuf.Struct" | "google.protobuf.Any" => Kind::Object,
            "google.protobuf.Value" => Kind::Any,
            other => Kind::Message(other.to_owned()),
        },
        _ => Kind::Text,
    }
}

fn bare(name: &str) -> String {
    name.trim_start_matches('.').to_owned()
}

fn index(at: usize) -> i32 {
    i32::try_from(at).expect("few")
}

fn comment(comments: &Comments, path: &[i32]) -> String {
    comments.get(path).cloned().unwrap_or_default()
}

/// Lines of a comment as the text of one paragraph, or of several where a line is empty.
fn text(comment: &str) -> String {
    let mut text = String::new();
    for line in comment.lines().map(str::trim) {
        if line.is_empty() {
            text.push('\n');
        } else {
            if !text.is_empty() && !text.ends_with('\n') {
                text.push(' ');
            }
            text.push_str(line);
        }
    }
    text.trim().to_owned()
}

#[cfg(test)]
mod tests;
