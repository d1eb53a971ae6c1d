//! Settings of the port for callers: TLS, and whose word counts about who a caller is.

use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;

use crate::caller_tls::{CallerTls, Pair};
use crate::pipeline::TrustedHeader;

use super::{ConfigError, Settings};

/// How callers are let in.
#[derive(Debug, Default)]
pub struct Callers {
    /// `None`: no TLS.
    pub tls: Option<CallerTls>,
    /// From where each connection begins with a PROXY header.
    pub proxy_protocol_from: Vec<IpNet>,
    /// Who is believed about senders of requests.
    pub trusted_proxies: Vec<IpNet>,
    /// Where they say it.
    pub trusted_header: TrustedHeader,
}

impl Callers {
    pub(super) fn of(settings: &Settings) -> Result<Self, ConfigError> {
        Ok(Self {
            tls: tls(settings)?,
            proxy_protocol_from: networks("--proxy-protocol-from", settings.proxy_protocol_from.as_deref())?,
            trusted_proxies: networks("--trusted-proxies", settings.trusted_proxies.as_deref())?,
            trusted_header: trusted_header(settings)?,
        })
    }
}

fn trusted_header(settings: &Settings) -> Result<TrustedHeader, ConfigError> {
    let header = match settings.trusted_header.as_deref() {
        None => return Ok(TrustedHeader::default()),
        Some("x-forwarded-for") => TrustedHeader::XForwardedFor,
        Some("forwarded") => TrustedHeader::Forwarded,
        Some(text) => return Err(ConfigError::TrustedHeader { text: text.to_owned() }),
    };
    if settings.trusted_proxies.is_none() {
        return Err(ConfigError::NoTrustedProxies);
    }
    Ok(header)
}

fn tls(settings: &Settings) -> Result<Option<CallerTls>, ConfigError> {
    let list = |files: &Option<Vec<PathBuf>>| files.clone().unwrap_or_default();
    let (certificates, keys) = (list(&settings.tls_certificate), list(&settings.tls_key));
    if certificates.len() != keys.len() {
        return Err(ConfigError::TlsPairs { certificates: certificates.len(), keys: keys.len() });
    }
    let is_tls13_only = match settings.tls_min_version.as_deref() {
        None | Some("1.2") => false,
        Some("1.3") => true,
        Some(text) => return Err(ConfigError::TlsVersion { text: text.to_owned() }),
    };
    if certificates.is_empty() {
        return match settings.tls_min_version {
            Some(_) => Err(ConfigError::NoTls),
            None => Ok(None),
        };
    }
    let pairs = certificates.into_iter().zip(keys).map(|(certificate, key)| Pair { certificate, key });
    Ok(Some(CallerTls { pairs: pairs.collect(), is_tls13_only }))
}

/// Networks; a bare address is one of its own.
pub(super) fn networks(flag: &'static str, texts: Option<&[String]>) -> Result<Vec<IpNet>, ConfigError> {
    let network = |text: &String| {
        let one = || text.parse::<IpAddr>().ok().map(IpNet::from);
        text.parse().ok().or_else(one).ok_or_else(|| ConfigError::Network { flag, text: text.clone() })
    };
    texts.unwrap_or_default().iter().map(network).collect()
}
