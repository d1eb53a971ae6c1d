//! Signatures of requests, made of an upstream's secret over what goes out.
//!
//! Sends nothing, reads no body, and changes no request but for the headers that a signature consists of. The invariants: of
//! these headers none is left as a caller wrote it; a signature is over the very bytes that are sent, so whoever signs does
//! it last; no key can be printed.

mod aws;
mod date;
mod hmac;

use std::time::SystemTime;

use data_encoding::HEXLOWER;
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use rr_contract::seal::means::{AwsSignature, HmacSignature};
use rr_contract::secret::Secret;

use self::aws::{Aws, Payload};
use self::hmac::Hmac;

/// What is drawn for each signature.
pub(crate) const NONCE: usize = 16;

/// Signs requests with one secret. Cannot be printed.
pub(crate) struct Signer(Kind);

enum Kind {
    Aws(Box<Aws>),
    Hmac(Box<Hmac>),
}

/// A request that cannot be signed as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unsignable {
    /// A header that is part of the signature is not text.
    #[error("header {0} is part of the signature, and its value is not ASCII")]
    Header(HeaderName),
    /// The query is not text.
    #[error("query is part of the signature, and holds an escape that is not UTF-8")]
    Query,
    /// Its body holds signatures that hang on another one's.
    #[error(
        "body is in chunks that the caller has signed, or that its credential does not sign (`x-amz-content-sha256`)"
    )]
    Chunks,
    /// What is signed has no body yet.
    #[error("body is part of the signature, and is not at hand")]
    Body,
    /// What was made cannot be sent.
    #[error("signature cannot be sent in a header")]
    Value,
}

/// What is known of a request beside its headers.
struct Rest<'a> {
    method: &'a str,
    host: &'a str,
    /// Path and query.
    target: &'a str,
    /// `None`: not at hand.
    body: Option<&'a [u8]>,
    now: SystemTime,
}

impl Rest<'_> {
    fn path(&self) -> &str {
        self.target.split_once('?').map_or(self.target, |(path, _)| path)
    }

    fn query(&self) -> &str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }
}

impl Signer {
    /// Signs as AWS asks for, with a secret access key.
    pub(crate) fn aws(key: &Secret, form: AwsSignature) -> Option<Self> {
        Some(Self(Kind::Aws(Box::new(Aws::new(key, form)?))))
    }

    /// Signs with a keyed hash; `None`: the value is no key.
    pub(crate) fn hmac(value: &Secret, form: HmacSignature) -> Option<Self> {
        Some(Self(Kind::Hmac(Box::new(Hmac::new(value, form)?))))
    }

    /// The headers of a signature.
    pub(crate) fn names(&self) -> Vec<&HeaderName> {
        match &self.0 {
            Kind::Aws(_) => aws::NAMES.iter().collect(),
            Kind::Hmac(hmac) => hmac.names().collect(),
        }
    }

    /// Parameters of a query that are a signature of the same kind.
    pub(crate) fn parameters(&self) -> &'static [&'static str] {
        match &self.0 {
            Kind::Aws(_) => &aws::PARAMETERS,
            Kind::Hmac(_) => &[],
        }
    }

    /// Whether the whole body has to be at hand.
    pub(crate) fn reads_body(&self) -> bool {
        match &self.0 {
            Kind::Aws(aws) => aws.reads_body(),
            Kind::Hmac(hmac) => hmac.reads_body(),
        }
    }

    /// Signs a request that goes out under this `host` with this body, `None` where it is not at hand. One that was signed
    /// before is signed anew.
    pub(crate) fn sign<B>(
        &self,
        request: &mut Request<B>,
        host: &HeaderValue,
        body: impl FnOnce(&B) -> Option<&[u8]>,
        now: SystemTime,
        nonce: [u8; NONCE],
    ) -> Result<(), Unsignable> {
        let payload = match &self.0 {
            Kind::Aws(aws) => aws.payload(request.headers())?,
            Kind::Hmac(_) => Payload::default(),
        };
        let mut headers = std::mem::take(request.headers_mut());
        for name in self.names() {
            headers.remove(name);
        }
        let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
        let rest = Rest {
            method: request.method().as_str(),
            host: host.to_str().map_err(|_| Unsignable::Header(http::header::HOST))?,
            target,
            body: body(request.body()),
            now,
        };
        let signed = match &self.0 {
            Kind::Aws(aws) => aws.sign(&rest, payload, &mut headers),
            Kind::Hmac(hmac) => hmac.sign(&rest, &mut headers, HEXLOWER.encode(&nonce).as_bytes()),
        };
        *request.headers_mut() = headers;
        signed
    }
}

/// Puts a header of a signature in, which is not printed.
fn put(headers: &mut HeaderMap, name: HeaderName, value: &[u8]) -> Result<(), Unsignable> {
    let mut value = HeaderValue::from_bytes(value).map_err(|_| Unsignable::Value)?;
    value.set_sensitive(true);
    headers.insert(name, value);
    Ok(())
}
