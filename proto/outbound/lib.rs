//! Connections outwards, to addresses that others choose: names, the guard, the way out, and a client that fetches.
//!
//! In reading order:
//!
//! * [`AddressGuard`]: which addresses may be connected to;
//! * [`Names`], [`DnsNames`]: what answers names;
//! * [`Resolver`]: look-ups, bounded by organization, and their answers;
//! * [`Outbound`]: a destination judged, and then connected to, directly or over a [`NextHop`];
//! * [`Fetch`]: a document over https, bounded in time and size;
//! * [`LoadOnce`]: what is loaded at its first use, and again where that failed;
//! * [`SingleFlight`]: one fetch for all who want the same.
//!
//! Knows nothing of requests, proxies and rules, and neither plane. The invariant: an address is connected to only
//! after the guard has judged that very address.

mod address_guard;
mod dns;
mod eyeballs;
pub mod fetch;
#[cfg(test)]
mod inward_hosts;
mod load_once;
mod names;
mod next_hop;
mod outbound;
mod resolver;
mod single_flight;

pub use address_guard::AddressGuard;
pub use dns::DnsNames;
pub use fetch::Fetch;
pub use load_once::LoadOnce;
pub use names::{Found, Lookup, NameError, Names};
pub use next_hop::{InvalidNextHop, NextHop};
pub use outbound::{Judged, Outbound, OutboundError};
pub use resolver::{LOOK_UPS, LookupError, Resolver};
pub use single_flight::SingleFlight;
