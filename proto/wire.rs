//! The generated types of `proto/`, and the only place with lint allowances for them.
//!
//! Nothing past the two planes' edges works on these types: they are parsed into [`crate::model`] first.
//! The module tree mirrors the packages, because generated code names its neighbours by full path.

mod field_mask;
mod redacted;

pub use field_mask::FieldMask;

/// Packages `requestrocket.*`.
#[allow(clippy::all, missing_docs, rustdoc::all, unreachable_pub, unused_qualifications)] // generated
pub mod requestrocket {
    pub mod fleet {
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/requestrocket.fleet.v1.rs"));
            include!(concat!(env!("OUT_DIR"), "/requestrocket.fleet.v1.serde.rs"));
            #[cfg(feature = "rest")]
            include!(concat!(env!("OUT_DIR"), "/requestrocket.fleet.v1.rest.rs"));
        }
    }
    pub mod management {
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/requestrocket.management.v1.rs"));
            include!(concat!(env!("OUT_DIR"), "/requestrocket.management.v1.serde.rs"));
            #[cfg(feature = "rest")]
            include!(concat!(env!("OUT_DIR"), "/requestrocket.management.v1.rest.rs"));
        }
    }
}

/// Packages `google.*` that we send: error details.
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
pub use requestrocket::management::v1 as management;

/// The descriptors of every package above, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
