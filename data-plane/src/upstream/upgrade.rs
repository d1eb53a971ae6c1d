//! A request that asks an upstream to leave HTTP, on a connection of its own.
//!
//! The connection comes from no pool and goes back to none. Speaks HTTP/1.1 alone, and does not judge the answer. The
//! invariant: behind the request's head nothing is sent before the caller of this module sends it.

use std::pin::{Pin, pin};
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, timeout, timeout_at};

use crate::deadline::Deadline;
use crate::snapshot::{CompiledTarget, OwnCertificate};

use super::dial::{HEAD_BYTES_MAX, HEADERS_MAX, READ_AHEAD};
use super::pool::Http1;
use super::request_body::RequestBody;
use super::socket::Duplex;
use super::{Connections, Lease, Reply, SendError, fit};

/// A connection that an upstream says it has switched.
pub(crate) struct Switched {
    pub(crate) stream: Box<dyn Duplex>,
    /// What came behind the head.
    pub(crate) early: Bytes,
}

/// What an upstream says to such a request.
pub(crate) enum Switch {
    Done(Response<()>, Switched),
    /// An ordinary response.
    Answered(Reply),
}

impl Switch {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Done(answer, _) => answer.status(),
            Self::Answered(reply) => reply.response.status(),
        }
    }
}

impl Connections {
    /// Sends a request that asks for another protocol, on a connection on which this certificate is shown, and waits for the
    /// head of the answer, until that time at the most. It has no body.
    pub(crate) async fn switch(
        &self,
        target: &CompiledTarget,
        shown: Option<&Arc<OwnCertificate>>,
        request: Request<RequestBody>,
        until: Option<Instant>,
    ) -> Result<Switch, SendError> {
        let switching = self.switch_unbounded(target, shown, request);
        let Some(until) = until else { return switching.await };
        let bounded = timeout_at(until, switching).await;
        bounded.unwrap_or(Err(SendError::TotalTimeout { is_asked: true }))
    }

    async fn switch_unbounded(
        &self,
        target: &CompiledTarget,
        shown: Option<&Arc<OwnCertificate>>,
        mut request: Request<RequestBody>,
    ) -> Result<Switch, SendError> {
        self.counters.connection_opened();
        self.make_room();
        let end = Instant::now() + target.connect_timeout;
        let turn = timeout_at(end, self.dialer.turn(target.org)).await.map_err(|_| SendError::Busy)?;
        let dialing = timeout_at(end, self.dialer.dial_http1(target, shown, turn));
        let (stream, watch) = dialing.await.map_err(|_| SendError::ConnectTimeout)??;
        let (mut sender, mut connection) = http1::Builder::new()
            .max_buf_size(READ_AHEAD)
            .max_headers(HEADERS_MAX)
            .max_header_size(HEAD_BYTES_MAX as usize)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(SendError::broken)?;
        fit(&mut request, false, target, true);
        watch.waits_for_head(&request.body().passage());
        let mut is_over = false;
        let mut answer = pin!(sender.send_request(request));
        let answering = async {
            let response = loop {
                tokio::select! {
                    biased;
                    response = &mut answer => break response,
                    // Its error is the answer's.
                    _ = &mut connection, if !is_over => is_over = true,
                }
            };
            let response = response.map_err(SendError::broken)?;
            let is_switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
            if is_switched && !is_over {
                // The library is done with it after the head.
                Pin::new(&mut connection).await.map_err(SendError::broken)?;
            }
            Ok::<_, SendError>(response)
        };
        let answered = timeout(target.response_timeout, answering).await;
        let response = answered.map_err(|_| SendError::ResponseTimeout)??;
        watch.has_head();
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let parts = connection.into_parts();
            let switched = Switched { stream: parts.io.into_inner(), early: parts.read_buf };
            return Ok(Switch::Done(response.map(drop), switched));
        }
        if !is_over {
            self.dialer.drive("upstream h1", &watch, connection);
        }
        let lease = Lease::last(Http1 { sender, watch, deadline: Deadline::default() });
        Ok(Switch::Answered(Reply { response, lease }))
    }
}
