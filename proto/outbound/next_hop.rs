//! An HTTP proxy that connections go through, by `CONNECT`.
//!
//! The operator of the process names it, so its own address is not judged. The invariant: what comes back is the open
//! way to the destination, and not a byte of an answer: the proxy said 2xx, and nothing behind the head of that.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use data_encoding::BASE64;
use ipnet::IpNet;
use rr_domain::model::id::OrgId;
use rr_domain::model::origin::{BaseUrl, InvalidBaseUrl, Scheme};
use rr_domain::secret::Secret;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use url::Host;

use super::eyeballs::{Family, NEXT_AFTER, in_turn, race};
use super::resolver::{LookupError, Order, Resolver};

/// The longest head of an answer to `CONNECT`.
const HEAD: usize = 8 * 1024;
/// How many addresses of one destination the proxy is asked for.
const DESTINATIONS: usize = 4;
/// How long it has for one before it is asked for the next beside it. The way to it counts, and its own connecting.
const NEXT_DESTINATION_AFTER: Duration = Duration::from_secs(2);

/// The proxy, and what does not go through it.
pub struct NextHop {
    url: BaseUrl,
    /// The value of `Proxy-Authorization`.
    authorization: Option<Secret>,
    judges: bool,
    networks: Vec<IpNet>,
    /// Names, and with a dot in front whatever is below one.
    names: Vec<String>,
}

/// A setting of the next hop that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InvalidNextHop {
    /// It is not the URL of a proxy.
    #[error("not the URL of a proxy: write it as http://proxy.example.com:3128")]
    Url(#[source] InvalidBaseUrl),
    /// It is not `http`, or names more than host and port.
    #[error("proxy must be http:// with host and port and nothing behind: http://proxy.example.com:3128")]
    Form,
    /// The credentials are not a user and a password.
    #[error("credentials of the proxy are not one line of user:password")]
    Credentials,
    /// An exception is neither network, address nor host name.
    #[error("exception {0:?} is not a network, an address or a host name")]
    Exception(String),
}

/// What went wrong at the proxy.
#[derive(Debug, thiserror::Error)]
enum NextHopError {
    #[error("resolve the host name of the proxy {0}")]
    Resolve(BaseUrl, #[source] LookupError),
    #[error("connect to the proxy {0}")]
    Connect(BaseUrl, #[source] io::Error),
    #[error("speak with the proxy {0}")]
    Exchange(BaseUrl, #[source] io::Error),
    #[error("proxy {0} answered CONNECT with status {1}")]
    Refused(BaseUrl, u16),
    #[error("proxy {0} did not answer CONNECT with the head of an HTTP answer")]
    NoHead(BaseUrl),
    #[error("proxy {0} sent something behind the head of its answer to CONNECT")]
    Behind(BaseUrl),
}

impl NextHop {
    /// The proxy at this URL. `credentials` are `user:password`; if it `judges`, it is told names, and resolves them.
    /// Networks, addresses, names, and with a dot in front whatever is below a name, can be excepted.
    pub fn new(
        url: &str,
        credentials: Option<&Secret>,
        judges: bool,
        except: &[String],
    ) -> Result<Self, InvalidNextHop> {
        let url: BaseUrl = url.parse().map_err(InvalidNextHop::Url)?;
        if url.scheme() != Scheme::Http || !url.path().is_empty() {
            return Err(InvalidNextHop::Form);
        }
        let authorization = credentials.map(authorization).transpose()?;
        let (mut networks, mut names) = (Vec::new(), Vec::new());
        for text in except {
            let invalid = || InvalidNextHop::Exception(text.clone());
            if let Ok(net) = text.parse() {
                networks.push(net);
            } else if let Ok(address) = text.parse::<IpAddr>() {
                networks.push(address.into());
            } else {
                let name = text.strip_prefix('.').unwrap_or(text);
                let host = Host::parse(name).map_err(|_| invalid())?;
                let Host::Domain(host) = host else { return Err(invalid()) };
                let dot = &text[..text.len() - name.len()];
                names.push(format!("{dot}{}", host.trim_end_matches('.')));
            }
        }
        Ok(Self { url, authorization, judges, networks, names })
    }

    /// Whether it resolves and judges names itself.
    pub(crate) fn judges(&self) -> bool {
        self.judges
    }

    /// Whether a host is connected to without it, whatever its addresses are.
    pub(crate) fn excepts_host(&self, host: &Host) -> bool {
        let Host::Domain(name) = host else { return false };
        let name = name.trim_end_matches('.');
        self.names.iter().any(|except| match except.strip_prefix('.') {
            Some(_) => name.ends_with(except.as_str()),
            None => name == except,
        })
    }

    /// Whether an address is connected to without it.
    pub(crate) fn excepts(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|net| net.contains(&address))
    }

    /// Connects through it to the first of these addresses that it reaches, and says which one that is.
    pub(crate) async fn reach<P>(
        &self,
        resolver: &Resolver,
        org: OrgId,
        addresses: &[SocketAddr],
        spare: &impl Fn() -> Option<P>,
    ) -> io::Result<(TcpStream, SocketAddr)> {
        let proxy = &self.addresses(resolver, org).await?;
        let few = &addresses[..addresses.len().min(DESTINATIONS)];
        let open = |address: SocketAddr| async move {
            let opened = self.open(resolver, proxy, address.to_string(), spare).await;
            opened.map(|stream| (stream, address))
        };
        race(few, NEXT_DESTINATION_AFTER, spare, open).await
    }

    /// Connects through it to a name that it resolves.
    pub(crate) async fn reach_name<P>(
        &self,
        resolver: &Resolver,
        org: OrgId,
        authority: &str,
        spare: &impl Fn() -> Option<P>,
    ) -> io::Result<TcpStream> {
        let proxy = self.addresses(resolver, org).await?;
        self.open(resolver, &proxy, authority.to_owned(), spare).await
    }

    /// Its own.
    async fn addresses(&self, resolver: &Resolver, org: OrgId) -> io::Result<Order> {
        let host = self.url.host();
        let found: Arc<[IpAddr]> = match host {
            Host::Ipv4(ip) => Arc::new([IpAddr::from(*ip)]),
            Host::Ipv6(ip) => Arc::new([IpAddr::from(*ip)]),
            Host::Domain(name) => resolver
                .addresses(org, name)
                .await
                .map_err(|error| io::Error::other(NextHopError::Resolve(self.url.clone(), error)))?,
        };
        let found = in_turn(found.iter().copied(), self.url.port(), Family::default());
        Ok(resolver.order(host, found))
    }

    async fn open<P>(
        &self,
        resolver: &Resolver,
        proxy: &Order,
        authority: String,
        spare: &impl Fn() -> Option<P>,
    ) -> io::Result<TcpStream> {
        let opened = async {
            let raced = race(proxy.addresses(), NEXT_AFTER, spare, TcpStream::connect).await;
            let peer = raced.as_ref().ok().and_then(|stream| stream.peer_addr().ok());
            resolver.learn(proxy, peer);
            let mut stream = raced.map_err(|error| NextHopError::Connect(self.url.clone(), error))?;
            let broken = |error| NextHopError::Exchange(self.url.clone(), error);
            stream.write_all(&self.request(&authority)).await.map_err(broken)?;
            self.read_head(&mut stream).await?;
            Ok(stream)
        };
        opened.await.map_err(|error: NextHopError| io::Error::other(error))
    }

    fn request(&self, authority: &str) -> Vec<u8> {
        let mut request = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n").into_bytes();
        if let Some(authorization) = &self.authorization {
            request.extend_from_slice(b"Proxy-Authorization: ");
            request.extend_from_slice(authorization.expose());
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"\r\n");
        request
    }

    async fn read_head(&self, stream: &mut TcpStream) -> Result<(), NextHopError> {
        let mut head = Vec::with_capacity(512);
        let end = loop {
            let mut chunk = [0; 512];
            let room = chunk.len().min(HEAD - head.len());
            let read = stream.read(&mut chunk[..room]).await;
            let came = read.map_err(|error| NextHopError::Exchange(self.url.clone(), error))?;
            if came == 0 {
                return Err(NextHopError::NoHead(self.url.clone()));
            }
            head.extend_from_slice(&chunk[..came]);
            if let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
        };
        let status = status(&head).ok_or_else(|| NextHopError::NoHead(self.url.clone()))?;
        if !(200..300).contains(&status) {
            return Err(NextHopError::Refused(self.url.clone(), status));
        }
        // It would be read as the destination's, or as what it says in TLS.
        if end != head.len() { Err(NextHopError::Behind(self.url.clone())) } else { Ok(()) }
    }
}

fn authorization(credentials: &Secret) -> Result<Secret, InvalidNextHop> {
    let text = credentials.expose();
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    if text.iter().any(u8::is_ascii_control) || !text.contains(&b':') {
        return Err(InvalidNextHop::Credentials);
    }
    Ok(Secret::from(format!("Basic {}", BASE64.encode(text))))
}

/// The status of `HTTP/1.x NNN`.
fn status(head: &[u8]) -> Option<u16> {
    let line = head.split(|byte| *byte == b'\r').next()?;
    let rest = line.strip_prefix(b"HTTP/1.0 ").or_else(|| line.strip_prefix(b"HTTP/1.1 "))?;
    let (digits, behind) = rest.split_at_checked(3)?;
    let is_status = digits.iter().all(u8::is_ascii_digit) && behind.first().is_none_or(|byte| *byte == b' ');
    is_status.then(|| digits.iter().fold(0, |number, digit| number * 10 + u16::from(digit - b'0')))
}

#[cfg(test)]
mod tests;
