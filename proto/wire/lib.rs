//! The generated types of `proto/`, and the only place with lint allowances for them.
//!
//! Nothing past the two planes' edges works on these types: they are parsed into the domain first.
//! The module tree mirrors the packages, because generated code names its neighbours by full path.
//!
//! What nodes and the control plane say to each other is always there. Features:
//!
//! * `management`: the messages and services of the management API;
//! * `json`: the JSON form of the messages that are there;
//! * `rest`: both, the routes, and `google.rpc` for problems.

#[cfg(feature = "management")]
mod field_mask;
mod redacted;

#[cfg(feature = "management")]
pub use field_mask::FieldMask;

/// Packages `requestrocket.*`.
#[allow(clippy::all, missing_docs, rustdoc::all, unreachable_pub, unused_qualifications)] // generated
pub mod requestrocket {
    pub mod fleet {
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/requestrocket.fleet.v1.rs"));
            #[cfg(feature = "json")]
            include!(concat!(env!("OUT_DIR"), "/requestrocket.fleet.v1.serde.rs"));
            #[cfg(feature = "rest")]
            include!(concat!(env!("OUT_DIR"), "/requestrocket.fleet.v1.rest.rs"));
        }
    }
    #[cfg(feature = "management")]
    pub mod management {
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/requestrocket.management.v1.rs"));
            #[cfg(feature = "json")]
            include!(concat!(env!("OUT_DIR"), "/requestrocket.management.v1.serde.rs"));
            #[cfg(feature = "rest")]
            include!(concat!(env!("OUT_DIR"), "/requestrocket.management.v1.rest.rs"));
        }
    }
}

/// Packages `google.*` that we send: error details.
#[cfg(feature = "rest")]
#[allow(clippy::all, missing_docs, rustdoc::all, unreachable_pub, unused_qualifications)] // generated
pub mod google {
    pub mod rpc {
        include!(concat!(env!("OUT_DIR"), "/google.rpc.rs"));
        include!(concat!(env!("OUT_DIR"), "/google.rpc.serde.rs"));
    }
}

/// The REST routes.
#[cfg(feature = "rest")]
#[allow(clippy::all, missing_docs, rustdoc::all, unreachable_pub, unused_qualifications)] // generated
pub mod rest {
    use super::requestrocket;
    include!(concat!(env!("OUT_DIR"), "/transcoder.rest.rs"));
}

pub use requestrocket::fleet::v1 as fleet;
#[cfg(feature = "management")]
pub use requestrocket::management::v1 as management;

/// The descriptors of every package above, for reflection.
#[cfg(feature = "management")]
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
