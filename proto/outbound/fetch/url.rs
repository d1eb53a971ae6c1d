//! URLs that are fetched from: those that a base URL could begin, with a query.
//!
//! Resolves no name. The invariant: a person and a machine read the same host in it.

use std::str::FromStr;

use ::url::{Host, Position, Url};
use http::HeaderValue;
use http::uri::PathAndQuery;
use rr_domain::model::origin::{BaseUrl, InvalidBaseUrl, Scheme};

/// Where to fetch from.
#[derive(Debug, Clone)]
pub struct FetchUrl {
    base: BaseUrl,
    path_and_query: PathAndQuery,
    host_header: HeaderValue,
}

/// A text that is no such URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidFetchUrl {
    /// What stands before its query is no base URL.
    #[error(transparent)]
    Base(#[from] InvalidBaseUrl),
    /// It has a fragment.
    #[error("has a fragment, which nobody would send")]
    Fragment,
    /// Its query, or what its path became, cannot be sent.
    #[error("path or query holds what cannot be sent")]
    Path,
    /// It is not https.
    #[error("is not https")]
    Plaintext,
}

impl FetchUrl {
    /// `https`, and `http` for a client that takes it.
    pub fn scheme(&self) -> Scheme {
        self.base.scheme()
    }

    /// A name in lower case, or an address.
    pub fn host(&self) -> &Host {
        self.base.host()
    }

    /// The port, said or implied.
    pub fn port(&self) -> u16 {
        self.base.port()
    }

    pub(super) fn path_and_query(&self) -> &PathAndQuery {
        &self.path_and_query
    }

    pub(super) fn host_header(&self) -> &HeaderValue {
        &self.host_header
    }

    /// The origin that a `Location` leads to from here.
    pub(super) fn origin_of(&self, location: &str) -> Option<String> {
        let here = Url::parse(&self.base.to_string()).ok()?;
        let there = here.join(location).ok()?;
        let origin = there.origin();
        origin.is_tuple().then(|| origin.ascii_serialization())
    }
}

impl FromStr for FetchUrl {
    type Err = InvalidFetchUrl;

    fn from_str(text: &str) -> Result<Self, InvalidFetchUrl> {
        if text.contains('#') {
            return Err(InvalidFetchUrl::Fragment);
        }
        let (before, query) =
            text.split_once('?').map_or((text, None), |(before, query)| (before, Some(query)));
        let base: BaseUrl = before.parse()?;
        // The parser would drop tabs and line ends wherever they are.
        if query.is_some_and(|query| query.chars().any(|c| c.is_control() || c.is_whitespace())) {
            return Err(InvalidFetchUrl::Path);
        }
        let url = Url::parse(text).map_err(InvalidBaseUrl::Syntax)?;
        let path = &url[Position::BeforePath..Position::AfterQuery];
        let path_and_query = path.parse().map_err(|_| InvalidFetchUrl::Path)?;
        let host_header = HeaderValue::from_str(&base.authority()).map_err(|_| InvalidFetchUrl::Path)?;
        Ok(Self { base, path_and_query, host_header })
    }
}
