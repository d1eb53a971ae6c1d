//! Flags that several commands share, and the types that their texts are parsed into.
//!
//! A file says what its flags mean, and knows no command that takes them.

pub(crate) mod change;
pub(crate) mod count;
pub(crate) mod keeping;
pub(crate) mod key_file;
pub(crate) mod limits;
pub(crate) mod matching;
pub(crate) mod moment;
pub(crate) mod page;
pub(crate) mod parent;
pub(crate) mod plan;
pub(crate) mod reading;
pub(crate) mod recording;
pub(crate) mod resilience;
pub(crate) mod role;
pub(crate) mod shape;
pub(crate) mod size;
pub(crate) mod span;
pub(crate) mod trust;
pub(crate) mod validation;
