//! In which order the addresses of a name are attempted, by what became of the attempts before.
//!
//! IPv6 begins. Where IPv4 was faster, that begins for some minutes, so that a network whose IPv6 leads nowhere costs its
//! wait once in that time, and not with every connection. What was learned stands beside the answer of the name, and is
//! bounded with it. The invariant: an order leaves no address out and adds none.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;
use url::Host;

use super::super::eyeballs::{Family, in_turn};
use super::{Resolver, lock, whole};

/// For how long IPv4 begins. Then IPv6 has another chance (RFC 6555, 4.2: some ten minutes).
const V4_FIRST_FOR: Duration = Duration::from_secs(600);

/// Addresses to attempt one after the other.
#[derive(Debug)]
pub(crate) struct Order {
    addresses: Vec<SocketAddr>,
    /// Of whom something can be learned by it: a name with addresses of both families.
    name: Option<Box<str>>,
}

impl Order {
    pub(crate) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    fn first(&self) -> Family {
        self.addresses.first().map_or(Family::default(), |first| Family::of(first.ip()))
    }

    /// As they stand, whatever was learned.
    #[cfg(test)]
    pub(crate) fn fixed(addresses: Vec<SocketAddr>) -> Self {
        Self { addresses, name: None }
    }
}

impl Resolver {
    /// The order for addresses of a host, which all have one port.
    pub(crate) fn order(&self, host: &Host, addresses: Vec<SocketAddr>) -> Order {
        let has = |family| addresses.iter().any(|address| Family::of(address.ip()) == family);
        let (Host::Domain(name), true) = (host, has(Family::V4) && has(Family::V6)) else {
            return Order { addresses, name: None };
        };
        let name = whole(name);
        let is_v4_first = {
            let known = lock(&self.known);
            let until = known.answers.get(name).and_then(|answer| answer.v4_first_until);
            until.is_some_and(|until| Instant::now() < until)
        };
        let first = if is_v4_first { Family::V4 } else { Family::V6 };
        let port = addresses.first().map_or(0, SocketAddr::port);
        let addresses = in_turn(addresses.iter().map(SocketAddr::ip), port, first);
        Order { addresses, name: Some(name.into()) }
    }

    /// Attempts in that order have ended: with a connection to one of the addresses, or with none.
    pub(crate) fn learn(&self, order: &Order, won: Option<SocketAddr>) {
        let Some(name) = &order.name else { return };
        let v4_first_until = match (order.first(), won.map(|won| Family::of(won.ip()))) {
            (Family::V6, Some(Family::V4)) => Some(Instant::now() + V4_FIRST_FOR),
            (Family::V4, Some(Family::V6) | None) => None,
            // It goes on as it is.
            (Family::V4, Some(Family::V4)) | (Family::V6, Some(Family::V6) | None) => return,
        };
        if let Some(answer) = lock(&self.known).answers.get_mut(&**name) {
            answer.v4_first_until = v4_first_until;
        }
    }
}
