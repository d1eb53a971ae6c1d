//! One request over a connection of its own, for a test: how far it came, and how long each phase took.
//!
//! Goes the way of every request: the same guard, the same names and certificates, the same TLS. The invariant: nothing of
//! a connection is taken from a pool or given to one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, StatusCode};
use rustls::{ClientConnection, ProtocolVersion};
use tokio::time::{Instant, timeout};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::snapshot::{CompiledTarget, OwnCertificate};

use super::pool::Connection;
use super::request_body::RequestBody;
use super::{Connections, Reply, SendError, fit};

/// How much of a name in a certificate is kept.
const NAME_MAX: usize = 300;

/// Where a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Resolve,
    Connect,
    Tls,
    Send,
    Wait,
    Body,
}

/// How long each phase took; `None`: it did not come to its end.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Spans {
    pub(crate) resolve: Option<Duration>,
    pub(crate) connect: Option<Duration>,
    pub(crate) tls: Option<Duration>,
    pub(crate) wait: Option<Duration>,
    pub(crate) body: Option<Duration>,
}

/// What TLS agreed on, and the upstream's certificate.
#[derive(Debug, Clone, Default)]
pub(crate) struct TlsFacts {
    pub(crate) version: &'static str,
    pub(crate) cipher_suite: String,
    pub(crate) alpn: String,
    pub(crate) subject: String,
    pub(crate) issuer: String,
    /// Seconds since 1970.
    pub(crate) not_after: Option<i64>,
}

/// What is noted of a request on its way.
#[derive(Debug)]
pub(crate) struct Course {
    pub(crate) phase: Phase,
    pub(crate) spans: Spans,
    pub(crate) remote: Option<SocketAddr>,
    pub(crate) tls: Option<TlsFacts>,
    began: Instant,
    last: Instant,
}

impl Course {
    pub(crate) fn begin() -> Self {
        let now = Instant::now();
        let (phase, spans) = (Phase::Resolve, Spans::default());
        Self { phase, spans, remote: None, tls: None, began: now, last: now }
    }

    /// Since it began.
    pub(crate) fn total(&self) -> Duration {
        self.began.elapsed()
    }

    /// Time since the end of the phase before.
    fn lap(&mut self) -> Option<Duration> {
        let now = Instant::now();
        Some(now - std::mem::replace(&mut self.last, now))
    }

    pub(super) fn is_resolved(&mut self) {
        self.spans.resolve = self.lap();
        self.phase = Phase::Connect;
    }

    pub(super) fn is_connected(&mut self, remote: Option<SocketAddr>, target: &CompiledTarget) {
        self.spans.connect = self.lap();
        self.remote = remote;
        self.phase = if target.is_tls() { Phase::Tls } else { Phase::Send };
    }

    pub(super) fn is_secure(&mut self, tls: &ClientConnection) {
        self.spans.tls = self.lap();
        self.tls = Some(TlsFacts::of(tls));
        self.phase = Phase::Send;
    }

    /// The body has come to its end, or to where nobody reads on.
    pub(crate) fn is_read(&mut self) {
        self.spans.body = self.lap();
    }
}

impl TlsFacts {
    fn of(tls: &ClientConnection) -> Self {
        let suite = tls.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str());
        let leaf = tls.peer_certificates().and_then(|chain| chain.first());
        let leaf = leaf.and_then(|leaf| X509Certificate::from_der(leaf).ok()).map(|(_, leaf)| leaf);
        let name = |text: String| text.chars().take(NAME_MAX).collect();
        Self {
            version: match tls.protocol_version() {
                Some(ProtocolVersion::TLSv1_3) => "1.3",
                Some(ProtocolVersion::TLSv1_2) => "1.2",
                _ => "",
            },
            cipher_suite: suite.unwrap_or_default().to_owned(),
            alpn: tls
                .alpn_protocol()
                .map(|alpn| String::from_utf8_lossy(alpn).into_owned())
                .unwrap_or_default(),
            subject: leaf.as_ref().map(|leaf| name(leaf.subject().to_string())).unwrap_or_default(),
            issuer: leaf.as_ref().map(|leaf| name(leaf.issuer().to_string())).unwrap_or_default(),
            not_after: leaf.as_ref().map(|leaf| leaf.validity().not_after.timestamp()),
        }
    }
}

impl Connections {
    /// Sends a request without a body over a new connection, and waits for the head of its answer. The connections must
    /// be there for this alone.
    pub(crate) async fn test(
        &self,
        target: &Arc<CompiledTarget>,
        shown: Option<&Arc<OwnCertificate>>,
        mut request: Request<RequestBody>,
        course: &mut Course,
    ) -> Result<Reply, SendError> {
        let origin = self.origin(target, shown);
        let within = target.connect_timeout;
        let turn = timeout(within, self.dialer.turn(target.org)).await.map_err(|_| SendError::Busy)?;
        let dialed = Box::pin(self.dialer.dial(target, &origin, turn, Some(course)));
        let connection = timeout(within, dialed).await.map_err(|_| SendError::ConnectTimeout)??;
        fit(&mut request, matches!(connection, Connection::Http2(_)), target, false);
        let passage = request.body().passage();
        request.body().begin(Instant::now());
        course.lap();
        course.phase = Phase::Wait;
        let sent = timeout(target.response_timeout, connection.send(request, &passage, &origin)).await;
        let reply = match sent.map_err(|_| SendError::ResponseTimeout)? {
            Ok(reply) => reply,
            Err(failed) => {
                if failed.unsent.is_some() {
                    course.phase = Phase::Send;
                }
                return Err(SendError::broken(failed.error));
            }
        };
        course.spans.wait = course.lap();
        if reply.response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(SendError::Switched);
        }
        course.phase = Phase::Body;
        Ok(reply)
    }
}
