//! Rules, filters and meters, compiled, and run on requests and responses.
//!
//! In reading order:
//!
//! * [`json`]: a reader of JSON that keeps every duplicate key and every digit;
//! * [`pace`]: how much work a request may make;
//! * [`pattern`]: patterns as matchers, each compiled once and shared;
//! * [`path`]: many paths looked for in one pass over a document;
//! * [`request`]: what of a request is looked at;
//! * [`condition`]: which requests a rule or a meter is about;
//! * [`verdict`]: whether the rules of four scopes let a request pass;
//! * [`stream`]: where documents of a stream begin and end;
//! * [`filter`]: what a response may still hold;
//! * [`meter`]: what is counted;
//! * [`token`]: signed tokens, taken apart;
//! * [`key_set`]: published keys that verify them;
//! * [`public_key`]: keys in PEM, made such a document;
//! * [`validate`]: whether a request is as a schema says;
//! * [`detect`]: what looks like a secret.
//!
//! The control plane checks every write with the model that is compiled here; an edge node only runs it. Pure: no
//! I/O, no clock. Nothing but the look into a body, and at a text that could keep a worker, allocates while a request
//! waits.

pub mod condition;
pub mod detect;
pub mod filter;
pub mod json;
pub mod key_set;
pub mod meter;
pub mod pace;
pub mod path;
pub mod pattern;
pub mod public_key;
pub mod request;
pub mod stream;
pub mod token;
pub mod validate;
pub mod verdict;
