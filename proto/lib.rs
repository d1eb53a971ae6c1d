//! What both planes of RequestRocket must agree on.
//!
//! In reading order:
//!
//! * [`wire`]: generated types of the schemas in `proto/requestrocket`;
//! * [`model`]: the domain, parsed from them once and never validated again;
//! * [`policy`]: rules, filters and meters compiled, and run on requests and responses;
//! * [`digest`]: the hash of a resource and the additive hash of a view;
//! * [`secret`], [`seal`]: values that cannot be printed, and the only code that names a cipher;
//! * [`api_key`]: the keys that we make, and how they are looked up;
//! * [`audit`]: the chain over revisions, for who writes it and for who verifies it;
//! * [`seam`]: time, randomness and files as traits, so that a simulation can take their place;
//! * `runtime` (feature of that name): start-up, logging and OpenTelemetry of the programs.
//!
//! It does no I/O and reads no clock outside `seam` and `runtime`, and names neither plane.

pub mod api_key;
pub mod audit;
pub mod digest;
pub mod model;
pub mod policy;
#[cfg(feature = "runtime")]
pub mod runtime;
pub mod seal;
pub mod seam;
pub mod secret;
pub mod wire;
