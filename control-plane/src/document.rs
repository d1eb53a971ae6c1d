//! Documents: the stored form of resources. Each noun implements [`Resource`] in its own file.
//!
//! A document is the management message with every reference as an id and without what the control plane works
//! out anew each time (etag, times, addresses). Equal documents have equal bytes. No document holds a secret.

mod access;
mod credential;
mod filter;
mod mask;
mod meter;
mod org;
mod proxy;
mod region;
mod rule;
mod target;

use pbjson_types::Timestamp;
use prost::Message;
use rr_contract::model::invalid::Violations;
use rr_contract::wire::fleet::Limits;
use rr_contract::wire::management::Document;

use crate::noun::Noun;
use crate::payload::Hashed;

pub(crate) use credential::{is_shared, sealed_regions};
pub(crate) use mask::MaskPath;
pub(crate) use org::{RECORD_DAYS, record_days};
pub(crate) use region::{CENTRAL, since as record_store_since};
pub(crate) use rr_contract::document::check::{LABEL as TAG, is_label as is_tag, owner as check_owner};

/// The fields that every noun has, where it has them.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    pub(crate) id: &'a mut String,
    pub(crate) org: Option<&'a mut String>,
    pub(crate) name: Option<&'a mut String>,
    pub(crate) owner: Option<&'a mut String>,
    pub(crate) etag: &'a mut String,
    pub(crate) created_at: &'a mut Option<Timestamp>,
    pub(crate) updated_at: Option<&'a mut Option<Timestamp>>,
    pub(crate) created_by: &'a mut String,
}

/// The relation of a resource to one that it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Part {
    /// A rule, filter or meter belongs to it.
    Parent = 1,
    Caller = 2,
    Target = 3,
    Upstream = 4,
    Region = 5,
    /// A credential is sealed to this region.
    SealedTo = 6,
    User = 7,
    /// A token has a role here.
    Granted = 8,
    /// A region is dedicated to it.
    Dedicated = 9,
}

impl Part {
    /// Whether the resource is removed with the one that it names.
    pub(crate) const fn goes_along(self) -> bool {
        matches!(self, Self::Parent | Self::User)
    }

    /// As rows have it.
    pub(crate) const fn row(self) -> i32 {
        self as i32
    }

    /// From a row.
    pub(crate) fn of_row(row: i32) -> Option<Self> {
        [
            Self::Parent,
            Self::Caller,
            Self::Target,
            Self::Upstream,
            Self::Region,
            Self::SealedTo,
            Self::User,
            Self::Granted,
            Self::Dedicated,
        ]
        .into_iter()
        .find(|part| part.row() == row)
    }
}

/// A reference: by name or id on input, by id in a document.
#[derive(Debug)]
pub(crate) struct Link<'a> {
    /// As the schema names the field.
    pub(crate) field: String,
    pub(crate) noun: Noun,
    pub(crate) part: Part,
    pub(crate) to: &'a mut String,
}

/// A noun's message.
pub(crate) trait Resource: Message + Default + Clone + PartialEq + Send + Sync + 'static {
    const NOUN: Noun;

    /// The fields that an update can change.
    const MASK: &'static [MaskPath<Self>];

    fn fields(&mut self) -> Fields<'_>;

    /// All references to other resources.
    fn links(&mut self) -> Vec<Link<'_>>;

    /// The words that it and its records are found by: the field of a filter, and the value.
    fn labels(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    /// Clears fields that the control plane computes, and normalizes values that have several forms.
    fn settle(&mut self) {}

    /// Checks the fields that nodes are not sent; the compiler checks the others.
    fn check(&self, _faults: &mut Violations) {}

    /// Checks what nodes would take, and what is refused where it is written. What `before` has already stays, and holds up no
    /// other change.
    fn check_written(&self, _before: Option<&Self>, _faults: &mut Violations) {}

    /// Sets what follows from a change of other fields, at a time.
    fn follow(&mut self, _before: &Self, _now: i64) {}

    /// Clears fields that are written and never read back.
    fn without_secrets(&mut self) {}

    fn wrap(self) -> Document;

    fn unwrap(document: Document) -> Option<Self>;

    /// Fills in what holds in an organization for those of its resources that do not say it themselves.
    fn inherit(&mut self, _limits: Option<Limits>) {}
}

/// Runs one piece of code on whichever resource a document holds.
macro_rules! each {
    ($document:expr, $resource:ident => $body:expr) => {
        match $document {
            rr_contract::wire::management::document::Resource::Org($resource) => $body,
            rr_contract::wire::management::document::Resource::Target($resource) => $body,
            rr_contract::wire::management::document::Resource::Credential($resource) => $body,
            rr_contract::wire::management::document::Resource::Proxy($resource) => $body,
            rr_contract::wire::management::document::Resource::Rule($resource) => $body,
            rr_contract::wire::management::document::Resource::Filter($resource) => $body,
            rr_contract::wire::management::document::Resource::Meter($resource) => $body,
            rr_contract::wire::management::document::Resource::Region($resource) => $body,
            rr_contract::wire::management::document::Resource::User($resource) => $body,
            rr_contract::wire::management::document::Resource::Member($resource) => $body,
            rr_contract::wire::management::document::Resource::Token($resource) => $body,
            rr_contract::wire::management::document::Resource::NodeToken($resource) => $body,
        }
    };
}
pub(crate) use each;

/// How the two ways between a message and a document are written, once a noun.
macro_rules! wrapped {
    ($message:ident) => {
        const NOUN: $crate::noun::Noun = $crate::noun::Noun::$message;

        fn wrap(self) -> rr_contract::wire::management::Document {
            let resource = rr_contract::wire::management::document::Resource::$message(self);
            rr_contract::wire::management::Document { resource: Some(resource) }
        }

        fn unwrap(document: rr_contract::wire::management::Document) -> Option<Self> {
            match document.resource {
                Some(rr_contract::wire::management::document::Resource::$message(message)) => Some(message),
                _ => None,
            }
        }
    };
}
use wrapped;

/// [`Resource::fields`] of what an organization has, by names of its own.
macro_rules! owned_fields {
    () => {
        fn fields(&mut self) -> $crate::document::Fields<'_> {
            $crate::document::Fields {
                id: &mut self.id,
                org: Some(&mut self.org),
                name: Some(&mut self.name),
                owner: Some(&mut self.owner),
                etag: &mut self.etag,
                created_at: &mut self.created_at,
                updated_at: Some(&mut self.updated_at),
                created_by: &mut self.created_by,
            }
        }
    };
}
use owned_fields;

/// What rules and filters have in common: each belongs to a proxy, a target or a credential.
macro_rules! parent {
    ($module:ident) => {
        fn links(&mut self) -> Vec<Link<'_>> {
            let (field, noun, to) = match &mut self.parent {
                Some($module::Parent::Proxy(to)) => ("proxy", Noun::Proxy, to),
                Some($module::Parent::Target(to)) => ("target", Noun::Target, to),
                Some($module::Parent::Credential(to)) => ("credential", Noun::Credential, to),
                None => return Vec::new(),
            };
            vec![Link { field: field.to_owned(), noun, part: Part::Parent, to }]
        }

        fn check(&self, faults: &mut rr_contract::model::invalid::Violations) {
            if self.parent.is_none() {
                faults.add("parent", "is missing: name a proxy, a target or a credential");
            }
        }
    };
}
use parent;

/// The bytes that history keeps, and their hash.
pub(crate) fn encode(document: &Document) -> Hashed {
    Hashed::of(document.encode_to_vec())
}

/// A document as it is kept, with the fields cleared that rows have.
pub(crate) fn kept<R: Resource>(mut resource: R) -> R {
    resource.settle();
    resource.without_secrets();
    let fields = resource.fields();
    fields.etag.clear();
    *fields.created_at = None;
    fields.created_by.clear();
    if let Some(updated_at) = fields.updated_at {
        *updated_at = None;
    }
    resource
}

/// A text for people.
pub(crate) fn check_text(text: &str, field: &str, faults: &mut Violations) {
    if text.chars().count() > 200 || text.chars().any(char::is_control) {
        faults.add(field, "must be at most 200 characters, none of them a control character");
    }
}
