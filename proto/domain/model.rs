//! The domain: what a valid organization, target, credential, proxy, rule, filter and meter is.
//!
//! Wire messages become these types through `TryFrom` or a `parse`, and after that the type is the proof.
//! Both planes run the same code, so what the control plane accepts an edge node can load.
//! Pure: no I/O, no clock, no randomness.

pub mod caller;
pub mod cors;
pub mod credential;
pub mod detector;
pub mod effect;
pub mod feature;
pub mod filter;
pub(crate) mod header;
pub mod id;
pub mod invalid;
pub mod json_path;
pub mod keeping;
pub mod key;
pub mod latency;
pub mod meter;
pub mod name;
pub mod org;
pub mod origin;
pub mod path;
pub mod pattern;
pub mod proxy;
pub mod recording;
pub mod removal;
pub mod request_match;
pub mod resilience;
pub mod resource;
pub mod rewrite;
pub mod rule;
pub mod seal_label;
pub mod sealed;
pub mod target;
pub mod time;
pub mod tls;
pub mod validation;
