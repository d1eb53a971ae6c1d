//! contract
pub mod wire;
