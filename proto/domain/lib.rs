//! What is configured, and how both planes agree on it, apart from how it is sent.
//!
//! In reading order:
//!
//! * [`model`]: the domain, parsed from the wire once and never validated again;
//! * [`digest`]: the hash of a resource and the additive hash of a view;
//! * [`secret`], [`seal`]: values that cannot be printed, and the only code that names a cipher;
//! * [`api_key`]: the keys that we make, and how they are looked up;
//! * [`client_key`]: the keys of callers' certificates;
//! * [`own_value`]: the values that callers bring themselves;
//! * [`password`]: the hashes of callers' passwords;
//! * [`trial`]: permissions to have a request explained;
//! * `audit` (feature `management`): the chain over revisions, for its writer and its verifiers;
//! * `document` (feature `management`): documents as people write and read them, and where two of them differ.
//!
//! It does no I/O and reads no clock: time and randomness come through `rr-seam`.

pub mod api_key;
#[cfg(feature = "management")]
pub mod audit;
pub mod client_key;
pub mod digest;
#[cfg(feature = "management")]
pub mod document;
pub mod model;
pub mod own_value;
pub mod password;
pub mod seal;
pub mod secret;
pub mod trial;
