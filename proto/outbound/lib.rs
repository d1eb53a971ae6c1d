//! Connections outwards: which addresses they may go to.
//!
//! Knows nothing of requests, proxies or either plane. The invariant: an address is connected to only after the guard
//! has judged that very address.

mod address_guard;

pub use address_guard::AddressGuard;
