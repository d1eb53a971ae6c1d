//! The domain: what a valid organization, region, target, credential and proxy is.
//!
//! Wire messages become these types through `TryFrom` or a `parse`, and after that the type is the proof.
//! Both planes run the same code, so what the control plane accepts an edge node can load.
//! Pure: no I/O, no clock, no randomness.

pub mod credential;
pub mod id;
pub mod invalid;
pub mod name;
pub mod org;
pub mod origin;
pub mod path;
pub mod proxy;
pub mod resource;
pub mod target;
pub mod time;
