//! Idle connections to one origin, on one worker.
//!
//! HTTP/1.1 connections lie on a stack, so that a burst leaves the oldest to age out; an HTTP/2 connection
//! is one sender that is cloned. A connection whose response was not read to its end is never given back.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use http::Request;
use hyper::client::conn::{http1, http2};
use tokio::time::Instant;

use crate::pipeline::RequestBody;

use super::Reply;

/// Shorter than what servers commonly allow, so that we let go first.
const IDLE_MAX: Duration = Duration::from_secs(50);
/// What one worker keeps to one origin.
const IDLE_COUNT: usize = 256;

/// What is open to one scheme, host and port.
#[derive(Default)]
pub(crate) struct Origin {
    idle: RefCell<Vec<Idle>>,
    shared: RefCell<Option<http2::SendRequest<RequestBody>>>,
}

struct Idle {
    sender: http1::SendRequest<RequestBody>,
    since: Instant,
}

/// A connection that can take a request.
pub(super) enum Connection {
    Http1(http1::SendRequest<RequestBody>),
    Http2(http2::SendRequest<RequestBody>),
}

/// A request that was not answered.
pub(super) struct Unanswered {
    pub(super) error: hyper::Error,
    /// The request itself, when not a byte of it has gone out.
    pub(super) unsent: Option<Box<Request<RequestBody>>>,
}

impl Origin {
    /// A connection that is open and free.
    pub(super) fn checkout(&self) -> Option<Connection> {
        if let Some(sender) = self.shared.borrow().as_ref().filter(|sender| sender.is_ready()) {
            return Some(Connection::Http2(sender.clone()));
        }
        let mut idle = self.idle.borrow_mut();
        // One that was just given back may not have come to rest; it stays for the next.
        let at = idle.iter().rposition(|idle| idle.sender.is_ready())?;
        Some(Connection::Http1(idle.swap_remove(at).sender))
    }

    /// Shares a new connection if its protocol allows that.
    pub(super) fn adopt(&self, connection: &Connection) {
        if let Connection::Http2(sender) = connection {
            self.shared.replace(Some(sender.clone()));
        }
    }

    fn give_back(&self, sender: http1::SendRequest<RequestBody>) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() < IDLE_COUNT && !sender.is_closed() {
            idle.push(Idle { sender, since: Instant::now() });
        }
    }

    /// How many connections lie idle.
    #[cfg(test)]
    pub(super) fn idle(&self) -> usize {
        self.idle.borrow().len()
    }

    /// Drops what is closed or was idle too long; says whether anything is left.
    pub(super) fn sweep(&self) -> bool {
        let mut idle = self.idle.borrow_mut();
        idle.retain(|idle| !idle.sender.is_closed() && idle.since.elapsed() < IDLE_MAX);
        let mut shared = self.shared.borrow_mut();
        if shared.as_ref().is_some_and(http2::SendRequest::is_closed) {
            *shared = None;
        }
        !idle.is_empty() || shared.is_some()
    }
}

impl Connection {
    pub(super) async fn send(
        self,
        request: Request<RequestBody>,
        origin: &Rc<Origin>,
    ) -> Result<Reply, Unanswered> {
        let (result, lease) = match self {
            Self::Http1(mut sender) => {
                let result = sender.try_send_request(request).await;
                (result, Lease(Some((sender, Rc::clone(origin)))))
            }
            Self::Http2(mut sender) => (sender.try_send_request(request).await, Lease(None)),
        };
        match result {
            Ok(response) => Ok(Reply { response, lease }),
            Err(mut failed) => {
                let unsent = failed.take_message().map(Box::new);
                Err(Unanswered { error: failed.into_error(), unsent })
            }
        }
    }
}

/// Holds a connection while its response is read. Dropped instead of given back, it closes it.
pub(crate) struct Lease(Option<(http1::SendRequest<RequestBody>, Rc<Origin>)>);

impl Lease {
    /// The response was read to its end: the connection may take another request.
    pub(crate) fn give_back(self) {
        if let Some((sender, origin)) = self.0 {
            origin.give_back(sender);
        }
    }
}
