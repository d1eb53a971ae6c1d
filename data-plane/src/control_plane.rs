//! The connection to the control plane: addresses, sockets, TLS, channels.
//!
//! Knows none of the services behind it. Of several addresses, one of each replica, the one that worked last is
//! tried first and the next one after a failure; where a node begins is left to chance, so that a control_plane spreads.
//! The invariants: it is TLS always, whatever the address, and the peer must show a certificate for the control
//! plane's own name, whatever was dialed.

pub mod dial;
pub(crate) mod pin;
pub(crate) mod tls;

use std::fmt;
use std::io;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use rr_contract::seam::{Entropy, draw};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};

use self::dial::Dial;

/// The name on the control plane's certificate.
const SERVER_NAME: &str = "control-plane.requestrocket.internal";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A peer that vanished is found in 30 s. Servers take more frequent pings for abuse.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// The address of a fleet port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlPlaneAddress {
    host: String,
    port: u16,
}

/// A text that is not the address of a fleet port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidControlPlaneAddress {
    /// Not an https URL.
    #[error("the fleet port always uses TLS: write the address as https://host:7421")]
    NotHttps,
    /// No host, or more than host and port.
    #[error("the address must be a host and a port: write it as https://host:7421")]
    Shape,
}

impl ControlPlaneAddress {
    /// A name, or an address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl FromStr for ControlPlaneAddress {
    type Err = InvalidControlPlaneAddress;

    fn from_str(text: &str) -> Result<Self, InvalidControlPlaneAddress> {
        if !text.starts_with("https://") {
            return Err(InvalidControlPlaneAddress::NotHttps);
        }
        let uri: Uri = text.parse().map_err(|_| InvalidControlPlaneAddress::Shape)?;
        let authority = uri.authority().ok_or(InvalidControlPlaneAddress::Shape)?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let bare =
            matches!(uri.path(), "" | "/") && uri.query().is_none() && !authority.as_str().contains('@');
        if host.is_empty() || !bare {
            return Err(InvalidControlPlaneAddress::Shape);
        }
        Ok(Self { host: host.to_owned(), port: authority.port_u16().unwrap_or(443) })
    }
}

impl fmt::Display for ControlPlaneAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "https://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "https://{}:{}", self.host, self.port)
        }
    }
}

/// Opens connections to one control plane. Clones share which address is in use.
#[derive(Clone)]
pub(crate) struct ControlPlane {
    addresses: Arc<[ControlPlaneAddress]>,
    /// Which of them; counts up without end.
    turn: Arc<AtomicUsize>,
    dial: Arc<dyn Dial>,
}

impl ControlPlane {
    /// Of at least one address.
    pub(crate) fn new(
        addresses: Vec<ControlPlaneAddress>,
        dial: Arc<dyn Dial>,
        entropy: &dyn Entropy,
    ) -> Self {
        let first = usize::from(u16::from_le_bytes(draw(entropy)));
        Self { addresses: addresses.into(), turn: Arc::new(AtomicUsize::new(first)), dial }
    }

    /// The one in use.
    pub(crate) fn address(&self) -> &ControlPlaneAddress {
        &self.addresses[self.turn.load(Ordering::Relaxed) % self.addresses.len()]
    }

    /// The address does not serve: the next connection goes to the next one.
    pub(crate) fn pass_on(&self) {
        self.turn.fetch_add(1, Ordering::Relaxed);
    }

    /// A connection of its own; streams of two purposes never share one.
    pub(crate) async fn connect(&self, tls: Arc<ClientConfig>) -> Result<Channel, tonic::transport::Error> {
        let name = ServerName::try_from(SERVER_NAME).expect("the constant is a DNS name");
        let connector = TlsConnector::from(tls);
        let control_plane = self.clone();
        let connect = tower::service_fn(move |_: Uri| {
            let (name, connector, control_plane) = (name.clone(), connector.clone(), control_plane.clone());
            async move {
                let socket = control_plane.dial.dial(control_plane.address()).await?;
                let stream = connector.connect(name, socket).await?;
                Ok::<_, io::Error>(TokioIo::new(stream))
            }
        });
        // The scheme is for tonic, which would do TLS by itself; the connector has done it.
        Endpoint::from_static("http://control-plane.requestrocket.internal")
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_TIMEOUT)
            .keep_alive_while_idle(true)
            .connect_with_connector(connect)
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_in_use_stays_until_it_fails_and_then_the_next_is_tried_for_all_clones() {
        struct Zeros;

        impl Entropy for Zeros {
            fn fill(&self, bytes: &mut [u8]) {
                bytes.fill(0);
            }
        }

        let addresses = ["https://a:1", "https://b:2"].map(|text| text.parse().expect("an address"));
        let control_plane = ControlPlane::new(addresses.to_vec(), Arc::new(dial::TcpDial), &Zeros);
        let other = control_plane.clone();
        assert_eq!((control_plane.address().host(), other.address().host()), ("a", "a"));
        control_plane.pass_on();
        assert_eq!((control_plane.address().host(), other.address().host()), ("b", "b"));
        other.pass_on();
        assert_eq!(control_plane.address().host(), "a");
    }

    #[test]
    fn an_address_is_host_and_port_over_tls() {
        let check = |text: &str, shown: &str| {
            assert_eq!(text.parse::<ControlPlaneAddress>().expect("an address").to_string(), shown);
        };
        check("https://cp.example.com:7421", "https://cp.example.com:7421");
        check("https://cp.example.com/", "https://cp.example.com:443");
        check("https://[::1]:7421", "https://[::1]:7421");
        for text in ["http://127.0.0.1:7421", "cp:7421", "", "HTTPS://x"] {
            assert_eq!(
                text.parse::<ControlPlaneAddress>(),
                Err(InvalidControlPlaneAddress::NotHttps),
                "{text}"
            );
        }
        for text in ["https://", "https://a/b", "https://u@a", "https://a?b"] {
            assert_eq!(text.parse::<ControlPlaneAddress>(), Err(InvalidControlPlaneAddress::Shape), "{text}");
        }
    }
}
