//! The way out: a destination is judged, and then connected to.
//!
//! Speaks neither TLS nor HTTP with it. The invariant: the addresses that a [`Judged`] destination holds are those that
//! the guard let through, and nothing else is connected to; there is no second look-up in between; and no connection leads
//! back to this machine unless the guard's exceptions say so.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rr_domain::model::id::OrgId;
use tokio::net::TcpStream;
use tokio::time::timeout;
use url::Host;

use super::address_guard::AddressGuard;
use super::eyeballs::{Family, NEXT_AFTER, in_turn, race};
use super::next_hop::NextHop;
use super::resolver::{LookupError, Order, Resolver};

/// How a process connects to addresses that others choose. One for all threads.
pub struct Outbound {
    guard: AddressGuard,
    resolver: Arc<Resolver>,
    next_hop: Option<NextHop>,
}

/// A destination that may be connected to.
#[derive(Debug)]
pub struct Judged(Way);

#[derive(Debug)]
enum Way {
    /// To these addresses.
    Addresses(Order),
    /// The next hop resolves and judges this name and port.
    Name { org: OrgId, authority: String },
    /// Through the next hop to these addresses.
    Through { org: OrgId, addresses: Order },
}

/// No connection.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    /// The guard refuses every address.
    #[error("every address is non-public and not opened by the settings of this process")]
    Guarded,
    /// The host name has no address.
    #[error("resolve the host name")]
    Resolve(#[source] LookupError),
    /// No address could be connected to.
    #[error("connect")]
    Connect(#[source] io::Error),
    /// No address could be connected to in time.
    #[error("connection was not established in time")]
    TimedOut,
}

impl Outbound {
    /// A way out through this guard, by these names, and over the next hop if there is one.
    pub fn new(guard: AddressGuard, resolver: Arc<Resolver>, next_hop: Option<NextHop>) -> Arc<Self> {
        Arc::new(Self { guard, resolver, next_hop })
    }

    /// Resolves a destination for an organization, and judges each of its addresses. The caller bounds the time.
    pub async fn judge(&self, org: OrgId, host: &Host, port: u16) -> Result<Judged, OutboundError> {
        let hop = self.next_hop.as_ref().filter(|hop| !hop.excepts_host(host));
        let found: Arc<[IpAddr]> = match host {
            Host::Ipv4(ip) => Arc::new([IpAddr::from(*ip)]),
            Host::Ipv6(ip) => Arc::new([IpAddr::from(*ip)]),
            Host::Domain(name) if hop.is_some_and(NextHop::judges) => {
                return Ok(Judged(Way::Name { org, authority: format!("{name}:{port}") }));
            }
            Host::Domain(name) => self.resolver.addresses(org, name).await.map_err(OutboundError::Resolve)?,
        };
        let allowed = found.iter().copied().filter(|ip| self.guard.allows(*ip));
        let allowed = in_turn(allowed, port, Family::default());
        // Whether the next hop is gone over is not to change with what is learned of families.
        let Some(first) = allowed.first() else { return Err(OutboundError::Guarded) };
        let order = |addresses| self.resolver.order(host, addresses);
        match hop {
            Some(hop) if !hop.excepts(first.ip()) => {
                let through = allowed.iter().copied().filter(|address| !hop.excepts(address.ip()));
                Ok(Judged(Way::Through { org, addresses: order(through.collect()) }))
            }
            Some(hop) => {
                let direct = allowed.iter().copied().filter(|address| hop.excepts(address.ip()));
                Ok(Judged(Way::Addresses(order(direct.collect()))))
            }
            None => Ok(Judged(Way::Addresses(order(allowed)))),
        }
    }

    /// Connects to the destination that was judged. The caller has room for one attempt; `spare` says whether there is
    /// a place for one more beside it, which is given back when that attempt ends.
    pub async fn connect<P>(
        &self,
        judged: &Judged,
        within: Duration,
        spare: impl Fn() -> Option<P>,
    ) -> Result<TcpStream, OutboundError> {
        let connected = timeout(within, self.connected(judged, &spare)).await;
        if let Way::Addresses(order) | Way::Through { addresses: order, .. } = &judged.0 {
            let won = connected.as_ref().ok().and_then(|connected| connected.as_ref().ok());
            self.resolver.learn(order, won.and_then(|(_, won)| *won));
        }
        match connected {
            Ok(Err(error)) if error.get_ref().is_some_and(|cause| cause.is::<LeadsBack>()) => {
                Err(OutboundError::Guarded)
            }
            Ok(Err(error)) if error.kind() == io::ErrorKind::TimedOut => Err(OutboundError::TimedOut),
            Ok(connected) => connected.map(|(stream, _)| stream).map_err(OutboundError::Connect),
            Err(_) => Err(OutboundError::TimedOut),
        }
    }

    /// The connection, and the address that it leads to, if that is known.
    async fn connected<P>(
        &self,
        judged: &Judged,
        spare: &impl Fn() -> Option<P>,
    ) -> io::Result<(TcpStream, Option<SocketAddr>)> {
        let hop = || self.next_hop.as_ref().expect("only a way out with a next hop judges so");
        match &judged.0 {
            Way::Addresses(order) => {
                let open =
                    |address| async move { self.open(address).await.map(|stream| (stream, Some(address))) };
                race(order.addresses(), NEXT_AFTER, spare, open).await
            }
            Way::Through { org, addresses } => {
                let reached = hop().reach(&self.resolver, *org, addresses.addresses(), spare);
                Box::pin(reached).await.map(|(stream, address)| (stream, Some(address)))
            }
            Way::Name { org, authority } => {
                let reached = hop().reach_name(&self.resolver, *org, authority, spare);
                Box::pin(reached).await.map(|stream| (stream, None))
            }
        }
    }

    async fn open(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(address).await?;
        // A public number may be the machine's own, and behind it is what listens for no stranger.
        let is_good = self.guard.allows_between(stream.local_addr()?.ip(), address.ip());
        if is_good { Ok(stream) } else { Err(io::Error::other(LeadsBack)) }
    }
}

/// A connection to this very machine, which nobody opened.
#[derive(Debug, thiserror::Error)]
#[error("address is this machine's own")]
struct LeadsBack;

#[cfg(test)]
mod tests;
