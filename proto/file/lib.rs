//! Files of documents: what `rrctl apply` takes, and what a node without a control plane serves.
//!
//! * [`node`]: YAML as a tree in which each value knows its line;
//! * [`document`]: the fields of each kind;
//! * [`traffic`]: the parts that say how requests travel;
//! * [`value_from`]: where a value comes from, where it may go, and what is done with it;
//! * [`spelling`]: how values are written.
//!
//! Opens no file and looks up no name. The invariant: what is wrong has its line, and no value of the file is repeated.

#[expect(missing_docs, reason = "the schemas describe the fields")]
pub mod document;
pub mod node;
mod part;
#[expect(missing_docs, reason = "the schemas describe the values")]
pub mod spelling;
#[expect(missing_docs, reason = "the schemas describe the fields")]
pub mod traffic;
#[expect(missing_docs, reason = "the schemas of seals describe the fields")]
pub mod value_from;
