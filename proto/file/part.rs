//! Parts of documents: messages of the schemas that stand inside a document.
//!
//! Declares no fields itself.

/// A part of a document: a message of the schemas.
macro_rules! part {
    ($(#[doc = $doc:literal])* $name:ident { $($(#[$meta:meta])* $field:ident: $type:ty,)* }) => {
        $(#[doc = $doc])*
        #[derive(Default, Deserialize)]
        #[serde(default, deny_unknown_fields, expecting = "fields, as { … }")]
        pub struct $name {
            $($(#[$meta])* pub $field: $type,)*
        }
    };
}
pub(super) use part;
