//! The schemas as data: messages, enums, services and routes, with their options and comments, read once from the
//! descriptors that the contract was built with.
//!
//! What REST takes, refuses and documents comes from here alone, so that a new call needs no edit beside
//! its schema. Comments are for readers: nothing is decided by them. Knows no handler.

use std::collections::BTreeMap;
use std::slice;
use std::sync::{LazyLock, OnceLock};

use prost_reflect::{DescriptorError, DescriptorPool};

mod read;

/// Everything that the contract's descriptors say.
pub(super) static SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
    Schema::read(rr_contract::wire::DESCRIPTORS).expect("the contract was built with these descriptors")
});

/// Descriptors that are not understood.
#[derive(Debug, thiserror::Error)]
pub(super) enum InvalidSchema {
    /// They are no set of descriptors that is whole.
    #[error("set of descriptors is not whole")]
    Descriptors(#[from] DescriptorError),
    /// An option of ours that this build does not know: it would be ignored without a word.
    #[error("field {field} has option {number}, which is not known")]
    Option {
        /// Its full name.
        field: String,
        /// The option's number.
        number: u32,
    },
}

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
    pub(super) options: Options,
    pub(super) kind: Kind,
    pub(super) repeated: bool,
    /// The choice that it is one of.
    pub(super) oneof: Option<String>,
}

/// What a field means beyond its type: `requestrocket/options/v1/options.proto`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Options {
    /// It is the name of what its message describes.
    pub(super) resource_name: bool,
    /// That name can be left to the control plane.
    pub(super) may_be_empty: bool,
    /// Only the control plane sets it; a value in a body is refused or ignored.
    pub(super) output_only: bool,
    /// The paths that a mask can name.
    pub(super) mask_paths: Vec<String>,
    /// REST has the fields of the message in its place.
    pub(super) flat: bool,
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
    /// Of a set of descriptors in its encoded form, which alone keeps the options.
    fn read(bytes: &[u8]) -> Result<Self, InvalidSchema> {
        read::schema(&DescriptorPool::decode(bytes)?)
    }

    /// A message that another one names.
    pub(super) fn message(&self, name: &str) -> &Message {
        self.messages.get(name).expect("a descriptor set holds what it refers to")
    }

    /// The fields of a message as REST has them: those of a flat one stand in its place.
    pub(super) fn fields<'a>(&'a self, message: &'a Message) -> impl Iterator<Item = &'a Field> {
        message.fields.iter().flat_map(|field| match self.flat(field) {
            Some(flat) => flat.fields.as_slice(),
            None => slice::from_ref(field),
        })
    }

    /// The flat field of a message that holds the field of this name in either form.
    pub(super) fn holder<'a>(&'a self, message: &'a Message, name: &str) -> Option<&'a Field> {
        message.fields.iter().find(|field| self.flat(field).is_some_and(|flat| flat.field(name).is_some()))
    }

    fn flat(&self, field: &Field) -> Option<&Message> {
        match &field.kind {
            Kind::Message(name) if field.options.flat => Some(self.message(name)),
            _ => None,
        }
    }
}

impl Enum {
    /// The names as files have them, in lower case, with dashes and without the prefix, each with the whole name. What
    /// nobody said has none.
    pub(super) fn short_names(&self) -> impl Iterator<Item = (String, &str)> {
        let prefix = self.values.iter().find_map(|(name, _)| name.strip_suffix("UNSPECIFIED"));
        let said = self.values.iter().filter(|(name, _)| !name.ends_with("UNSPECIFIED"));
        said.map(move |(name, _)| {
            let short = prefix.and_then(|prefix| name.strip_prefix(prefix)).unwrap_or(name);
            (short.to_lowercase().replace('_', "-"), name.as_str())
        })
    }
}

impl Message {
    /// A field by its name in either form.
    pub(super) fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name || field.json == name)
    }
}

#[cfg(test)]
mod tests;
