//! Base URLs, and the origins that a secret may be sent to.
//!
//! Resolves no name: whether an address may be reached is the edge node's to decide.

use std::fmt;
use std::str::FromStr;

use url::{Host, Url};

/// `http` or `https`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// In the clear.
    Http,
    /// Over TLS.
    Https,
}

impl Scheme {
    /// As in a URL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// Where a target lives: scheme, host, port and base path. No query, no fragment, no user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUrl {
    scheme: Scheme,
    host: Host,
    port: u16,
    path: String,
}

/// A text that is not a base URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBaseUrl {
    /// It is no URL at all.
    #[error("not a URL ({0}); write it like https://api.example.com/v1")]
    Syntax(url::ParseError),
    /// It has another scheme.
    #[error("scheme {0:?} is not supported; use https")]
    Scheme(String),
    /// It names no host.
    #[error("has no host; write it like https://api.example.com/v1")]
    NoHost,
    /// It has a user or a password.
    #[error("holds a user or password; put it into an upstream credential")]
    UserInfo,
    /// It has a query or a fragment.
    #[error("has a query or fragment; a base URL ends with its path")]
    Query,
    /// It is longer than a base URL may be.
    #[error("longer than 2048 bytes")]
    TooLong,
    /// It holds something that URL parsers read in different ways, or mend without a word.
    #[error("holds a space, a control character or a backslash")]
    Character,
    /// Its host is no name that DNS knows.
    #[error("host is not a name of letters, digits, - and _ in labels of 1 to 63, 253 in all")]
    Host,
}

const LENGTH: usize = 2048;

impl BaseUrl {
    /// `http` or `https`.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// A name in lower case, or an address.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The port, said or implied.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Starts with a slash, does not end with one; empty when there is no base path.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The value of `Host` for it: the port is there only when it is not the scheme's own.
    pub fn authority(&self) -> String {
        if self.port == self.scheme.default_port() {
            self.host.to_string()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for BaseUrl {
    type Err = InvalidBaseUrl;

    fn from_str(text: &str) -> Result<Self, InvalidBaseUrl> {
        if text.len() > LENGTH {
            return Err(InvalidBaseUrl::TooLong);
        }
        // The parser drops tabs and line ends wherever they are and takes a backslash for a slash, so that
        // a person and a machine would read two different hosts.
        if text.chars().any(|c| c.is_control() || c.is_whitespace() || c == '\\') {
            return Err(InvalidBaseUrl::Character);
        }
        let url = Url::parse(text).map_err(|error| match error {
            url::ParseError::EmptyHost => InvalidBaseUrl::NoHost,
            other => InvalidBaseUrl::Syntax(other),
        })?;
        let scheme = match url.scheme() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            other => return Err(InvalidBaseUrl::Scheme(other.to_owned())),
        };
        // The parser mends "https:///path" by taking "path" for the host; nobody means that.
        let after_scheme = text.get(scheme.as_str().len()..).unwrap_or_default();
        if !after_scheme.starts_with("://") || after_scheme.starts_with(":///") {
            return Err(InvalidBaseUrl::NoHost);
        }
        // By its sign and not by what the parser kept: an empty user leaves no trace.
        let authority = after_scheme[3..].split(['/', '?', '#']).next().unwrap_or_default();
        if authority.contains('@') {
            return Err(InvalidBaseUrl::UserInfo);
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(InvalidBaseUrl::Query);
        }
        let host = url.host().ok_or(InvalidBaseUrl::NoHost)?.to_owned();
        if let Host::Domain(name) = &host
            && !is_dns_name(name)
        {
            return Err(InvalidBaseUrl::Host);
        }
        let port = url.port().unwrap_or(scheme.default_port());
        let path = url.path().trim_end_matches('/').to_owned();
        let base = Self { scheme, host, port, path };
        // What is printed has to be readable again, and escapes make it longer.
        if base.to_string().len() > LENGTH { Err(InvalidBaseUrl::TooLong) } else { Ok(base) }
    }
}

/// The URL parser lets through `*`, quotes, braces and empty labels. A star would be read as a wildcard once
/// the host is printed into an [`Origin`].
fn is_dns_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    name.len() <= 253
        && name.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        })
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme.as_str(), self.authority(), self.path)
    }
}

/// Somewhere that a secret may be sent: scheme, host or `*.suffix`, and port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    scheme: Scheme,
    host: HostPattern,
    port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum HostPattern {
    Exactly(Host),
    /// `.example.com`
    Below(String),
}

/// A text that is not an origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidOrigin {
    /// It is not the URL of an origin.
    #[error(transparent)]
    Url(#[from] InvalidBaseUrl),
    /// It has a path.
    #[error("has a path; an origin is scheme, host and port, like https://api.example.com")]
    Path,
    /// Its wildcard does not stand for the first labels of a name with at least two more.
    #[error("a wildcard stands in front of a suffix of two labels or more, like https://*.example.com")]
    Wildcard,
}

impl Origin {
    /// The origin of a base URL.
    pub fn of(url: &BaseUrl) -> Self {
        Self { scheme: url.scheme, host: HostPattern::Exactly(url.host.clone()), port: url.port }
    }

    /// Whether what is sent there crosses the network in the clear.
    pub fn is_plaintext(&self) -> bool {
        self.scheme == Scheme::Http
    }

    /// Whether a request to `url` goes here.
    pub fn covers(&self, url: &BaseUrl) -> bool {
        let host = match (&self.host, &url.host) {
            (HostPattern::Exactly(mine), theirs) => mine == theirs,
            (HostPattern::Below(suffix), Host::Domain(name)) => {
                name.len() > suffix.len() && name.ends_with(suffix.as_str())
            }
            (HostPattern::Below(_), _) => false,
        };
        host && self.scheme == url.scheme && self.port == url.port
    }
}

impl FromStr for Origin {
    type Err = InvalidOrigin;

    fn from_str(text: &str) -> Result<Self, InvalidOrigin> {
        // Only straight behind the scheme: further on, the sign would be cut out of a path.
        let wild =
            text.split_once("://*.").filter(|(scheme, _)| scheme.bytes().all(|b| b.is_ascii_alphabetic()));
        let plain = match wild {
            Some((scheme, rest)) => format!("{scheme}://{rest}"),
            None if text.contains('*') => return Err(InvalidOrigin::Wildcard),
            None => text.to_owned(),
        };
        let url: BaseUrl = plain.parse()?;
        if !url.path.is_empty() {
            return Err(InvalidOrigin::Path);
        }
        let host = match (wild, url.host) {
            (None, host) => HostPattern::Exactly(host),
            (Some(_), Host::Domain(name)) if name.trim_matches('.').contains('.') => {
                HostPattern::Below(format!(".{name}"))
            }
            (Some(_), _) => return Err(InvalidOrigin::Wildcard),
        };
        Ok(Self { scheme: url.scheme, host, port: url.port })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.scheme.as_str())?;
        match &self.host {
            HostPattern::Exactly(host) => write!(f, "{host}")?,
            HostPattern::Below(suffix) => write!(f, "*{suffix}")?,
        }
        if self.port == self.scheme.default_port() { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

#[cfg(test)]
mod tests;
