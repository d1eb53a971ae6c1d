//! What both planes of RequestRocket must agree on, under one name.
//!
//! In reading order:
//!
//! * [`wire`]: generated types of the schemas in `proto/requestrocket`;
//! * [`model`]: the domain, parsed from them once and never validated again;
//! * [`policy`]: rules, filters and meters compiled, and run on requests and responses;
//! * [`digest`]: the hash of a resource and the additive hash of a view;
//! * [`secret`], [`seal`]: values that cannot be printed, and the only code that names a cipher;
//! * [`api_key`]: the keys that we make, and how they are looked up;
//! * [`client_key`]: the keys of callers' certificates;
//! * [`own_value`]: the values that callers bring themselves;
//! * [`password`]: the hashes of callers' passwords;
//! * [`trial`]: permissions to have a request explained;
//! * `audit` (feature `management`): the chain over revisions, for its writer and its verifiers;
//! * `document` (feature `management`): documents as people write and read them;
//! * `file` (feature of that name): documents in files, and the line of what is wrong with them;
//! * `outbound` (feature of that name): which addresses may be connected to;
//! * [`seam`]: time, randomness and files as traits, so that a simulation can take their place;
//! * `runtime` (feature of that name): start-up, logging and OpenTelemetry of the programs.
//!
//! It holds no code: each part is a package of its own below this one, so that an edit compiles what depends on it and
//! no more. None does I/O or reads a clock outside `outbound`, `seam` and `runtime`, and none names a plane.

pub use rr_domain::{api_key, client_key, digest, model, own_value, password, seal, secret, trial};
#[cfg(feature = "management")]
pub use rr_domain::{audit, document};
#[cfg(feature = "file")]
pub use rr_file as file;
#[cfg(feature = "outbound")]
pub use rr_outbound as outbound;
pub use rr_policy as policy;
#[cfg(feature = "runtime")]
pub use rr_runtime as runtime;
pub use rr_seam as seam;
pub use rr_wire as wire;
