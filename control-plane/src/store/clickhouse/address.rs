//! Where a database of ClickHouse is, as a setting says it.
//!
//! Its HTTP interface is asked. Without TLS only on this machine: records are not for the network to read. Nothing here repeats
//! user or password.

use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use clickhouse::Client;
use percent_encoding::percent_decode_str;
use rr_contract::secret::Secret;
use url::{Host, Url};

/// Where a database of ClickHouse is, and who asks it.
#[derive(Clone)]
pub struct ClickHouseAddress {
    /// Scheme, host and port.
    origin: String,
    database: String,
    user: String,
    password: Arc<Secret>,
}

/// A text that is no such address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidClickHouse {
    /// It is no URL of the form.
    #[error("not an address of ClickHouse: write clickhouse+https://user:password@host:8443/database")]
    Form,
    /// It names no database.
    #[error(
        "an address of ClickHouse without a database: write its name behind the host, as in clickhouse+https://host:8443/records"
    )]
    Database,
    /// It would send records in the clear.
    #[error(
        "an address of ClickHouse without TLS on another machine: write clickhouse+https://, and the port of its HTTPS interface"
    )]
    Plain,
}

impl ClickHouseAddress {
    pub(super) fn is_plain(&self) -> bool {
        self.origin.starts_with("http:")
    }

    /// A client that goes there.
    pub(super) fn told(&self, client: Client) -> Client {
        let client = client.with_url(&self.origin).with_database(&self.database).with_user(&self.user);
        // It came out of a text.
        client.with_password(String::from_utf8_lossy(self.password.expose()))
    }
}

impl FromStr for ClickHouseAddress {
    type Err = InvalidClickHouse;

    fn from_str(text: &str) -> Result<Self, InvalidClickHouse> {
        let http = text.strip_prefix("clickhouse+").ok_or(InvalidClickHouse::Form)?;
        let url = Url::parse(http).map_err(|_| InvalidClickHouse::Form)?;
        let decoded = |part: &str| {
            percent_decode_str(part).decode_utf8().map(String::from).map_err(|_| InvalidClickHouse::Form)
        };
        let host = url.host().ok_or(InvalidClickHouse::Form)?;
        if url.query().is_some() || url.fragment().is_some() {
            return Err(InvalidClickHouse::Form);
        }
        match url.scheme() {
            "https" => {}
            "http" if is_here(&host) => {}
            "http" => return Err(InvalidClickHouse::Plain),
            _ => return Err(InvalidClickHouse::Form),
        }
        let database = decoded(url.path().trim_start_matches('/'))?;
        if database.is_empty() || database.contains('/') {
            return Err(InvalidClickHouse::Database);
        }
        let user = if url.username().is_empty() { "default".to_owned() } else { decoded(url.username())? };
        let password = decoded(url.password().unwrap_or_default())?;
        let origin = url.origin().ascii_serialization();
        Ok(Self { origin, database, user, password: Arc::new(Secret::from(password)) })
    }
}

fn is_here(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => *name == "localhost",
        Host::Ipv4(ip) => IpAddr::V4(*ip).is_loopback(),
        Host::Ipv6(ip) => IpAddr::V6(*ip).is_loopback(),
    }
}

/// One database is one, whoever asks it.
impl PartialEq for ClickHouseAddress {
    fn eq(&self, other: &Self) -> bool {
        (&self.origin, &self.database) == (&other.origin, &other.database)
    }
}

impl Eq for ClickHouseAddress {}

impl std::fmt::Display for ClickHouseAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "clickhouse+{}/{}", self.origin, self.database)
    }
}

impl std::fmt::Debug for ClickHouseAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}
