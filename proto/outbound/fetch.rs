//! Documents over https from where an organization says: keys, tokens, the answers of webhooks.
//!
//! No redirect is followed, no coding undone, no cookie kept, nothing tried again. The caller bounds time and size. The
//! invariant: each connection goes through the guard, to a peer that showed a certificate for the host of the URL.

mod bounded_head;
mod tls;
mod url;

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, HOST, HeaderValue, LOCATION, USER_AGENT,
};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rr_domain::model::id::OrgId;
use rr_domain::model::origin::Scheme;
use rustls_pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use super::outbound::{Outbound, OutboundError};

use self::bounded_head::BoundedHead;
use self::tls::Tls;

pub use self::tls::RootsError;
pub use self::url::{FetchUrl, InvalidFetchUrl};

/// Who we say that we are.
const AGENT: &str = concat!("requestrocket/", env!("CARGO_PKG_VERSION"));
const HEADERS: usize = 100;
const HEAD: usize = 64 * 1024;

/// What a fetch may take.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// From the look-up of the name to the last byte.
    pub time: Duration,
    /// Of the answer's body.
    pub bytes: usize,
}

/// An answer, read to its end.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// Anything but a redirect.
    pub status: StatusCode,
    /// As they came.
    pub headers: HeaderMap,
    /// In no coding.
    pub body: Bytes,
}

/// No answer, or one that is not taken.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The URL is not one that is fetched from.
    #[error("URL to fetch from")]
    Url(#[from] InvalidFetchUrl),
    /// There was no connection.
    #[error("reach the host of the URL")]
    Outbound(#[from] OutboundError),
    /// There are no roots to check a certificate against.
    #[error("load the root certificates")]
    Roots(#[source] Arc<RootsError>),
    /// The peer did not show a good certificate.
    #[error("TLS handshake")]
    Tls(#[source] io::Error),
    /// The exchange broke.
    #[error("exchange with the host of the URL")]
    Broken(#[source] hyper::Error),
    /// The answer sends somewhere else.
    #[error("answer is a redirect (status {status}) to {to}, and none is followed")]
    Redirected {
        /// 3xx.
        status: StatusCode,
        /// The origin that it names. The rest may be a secret.
        to: String,
    },
    /// The answer switches protocols.
    #[error("answer switches protocols without a request to do so")]
    Switched,
    /// The answer is in a coding, although it was asked for in none.
    #[error("answer has a content coding, and was asked for without one")]
    Coded,
    /// The answer is longer than the caller takes.
    #[error("answer is longer than {limit} bytes")]
    TooLong {
        /// [`Bounds::bytes`].
        limit: usize,
    },
    /// The time was over.
    #[error("answer was not there within {} ms", .0.as_millis())]
    TimedOut(Duration),
}

/// The client. One for all threads; it keeps no connection.
pub struct Fetch {
    outbound: Arc<Outbound>,
    tls: Tls,
    takes_plaintext: bool,
}

impl Fetch {
    /// A client that trusts the system's roots and these. Nothing is loaded before the first fetch.
    pub fn new(outbound: Arc<Outbound>, roots: Vec<CertificateDer<'static>>) -> Self {
        Self { outbound, tls: Tls::new(roots), takes_plaintext: false }
    }

    /// The same, which also fetches over `http`. For tests on loopback, which the guard has to open.
    #[must_use]
    pub fn in_plaintext_too(self) -> Self {
        Self { takes_plaintext: true, ..self }
    }

    /// Fetches on behalf of an organization.
    pub async fn get(
        &self,
        org: OrgId,
        url: &FetchUrl,
        headers: HeaderMap,
        bounds: Bounds,
    ) -> Result<Fetched, FetchError> {
        self.send(org, Method::GET, url, headers, Bytes::new(), bounds).await
    }

    /// Sends a body on behalf of an organization, and fetches the answer.
    pub async fn post(
        &self,
        org: OrgId,
        url: &FetchUrl,
        headers: HeaderMap,
        body: Bytes,
        bounds: Bounds,
    ) -> Result<Fetched, FetchError> {
        self.send(org, Method::POST, url, headers, body, bounds).await
    }

    async fn send(
        &self,
        org: OrgId,
        method: Method,
        url: &FetchUrl,
        headers: HeaderMap,
        body: Bytes,
        bounds: Bounds,
    ) -> Result<Fetched, FetchError> {
        if url.scheme() == Scheme::Http && !self.takes_plaintext {
            return Err(InvalidFetchUrl::Plaintext.into());
        }
        let request = request(method, url, headers, body);
        // Boxed: few fetch, and their futures should not be made larger for it.
        let fetched = Box::pin(self.exchange(org, url, request, bounds));
        timeout(bounds.time, fetched).await.unwrap_or(Err(FetchError::TimedOut(bounds.time)))
    }

    async fn exchange(
        &self,
        org: OrgId,
        url: &FetchUrl,
        request: Request<Full<Bytes>>,
        bounds: Bounds,
    ) -> Result<Fetched, FetchError> {
        let judged = self.outbound.judge(org, url.host(), url.port()).await?;
        let stream = self.outbound.connect(&judged, bounds.time, || Some(())).await?;
        stream.set_nodelay(true).map_err(OutboundError::Connect)?;
        match url.scheme() {
            Scheme::Http => over(stream, url, request, bounds).await,
            Scheme::Https => over(self.tls.connect(url.host(), stream).await?, url, request, bounds).await,
        }
    }
}

/// The request, with what is ours to say in it.
fn request(method: Method, url: &FetchUrl, headers: HeaderMap, body: Bytes) -> Request<Full<Bytes>> {
    let is_post = method == Method::POST;
    let length = body.len();
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method;
    *request.uri_mut() = url.path_and_query().clone().into();
    *request.headers_mut() = headers;
    let headers = request.headers_mut();
    headers.insert(HOST, url.host_header().clone());
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    headers.remove(CONTENT_LENGTH);
    if is_post {
        headers.insert(CONTENT_LENGTH, length.into());
    }
    request
}

async fn over<S>(
    stream: S,
    url: &FetchUrl,
    request: Request<Full<Bytes>>,
    bounds: Bounds,
) -> Result<Fetched, FetchError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (stream, head) = BoundedHead::new(stream);
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD)
        .max_headers(HEADERS)
        .max_header_size(HEAD)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(FetchError::Broken)?;
    let answer = async move {
        let answer = sender.send_request(request).await.map_err(FetchError::Broken)?;
        head.has_come();
        take(answer, url, bounds.bytes).await
    };
    // Both here: a task of its own would outlive a fetch that is given up.
    let (mut connection, mut answer) = (pin!(connection), pin!(answer));
    let mut is_open = true;
    poll_fn(|cx| {
        if is_open && connection.as_mut().poll(cx).is_ready() {
            // Its error comes by the answer as well.
            is_open = false;
        }
        match answer.as_mut().poll(cx) {
            Poll::Ready(answer) => Poll::Ready(answer),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

async fn take(answer: http::Response<Incoming>, url: &FetchUrl, limit: usize) -> Result<Fetched, FetchError> {
    let (parts, mut body) = answer.into_parts();
    let (status, headers) = (parts.status, parts.headers);
    if status.is_redirection() {
        let to = headers.get(LOCATION).and_then(|to| to.to_str().ok());
        let to = to.and_then(|to| url.origin_of(to)).unwrap_or_else(|| "nowhere".to_owned());
        return Err(FetchError::Redirected { status, to });
    }
    if status.is_informational() {
        return Err(FetchError::Switched);
    }
    let is_plain = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"identity");
    if !headers.get_all(CONTENT_ENCODING).iter().all(is_plain) {
        return Err(FetchError::Coded);
    }
    let too_long = || FetchError::TooLong { limit };
    let length = hyper::body::Body::size_hint(&body).lower();
    if usize::try_from(length).is_ok_and(|length| length > limit) {
        return Err(too_long());
    }
    let mut whole = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(FetchError::Broken)?.into_data() {
            if data.len() > limit - whole.len() {
                return Err(too_long());
            }
            whole.extend_from_slice(&data);
        }
    }
    Ok(Fetched { status, headers, body: whole.into() })
}

#[cfg(test)]
mod tests;
