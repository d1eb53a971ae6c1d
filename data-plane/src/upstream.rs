//! Connections to upstreams: each worker has its own, and shares none.
//!
//! Speaks HTTP/1.1, or HTTP/2 where TLS agrees on it; knows nothing of proxies and credentials. The
//! invariants: an address is connected to only after the guard has judged that very address, and a request
//! is sent again only when it certainly was not sent.

mod dial;
pub(crate) mod guard;
mod pool;
mod tls;

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::header::{HOST, TE};
use http::{Request, Response, Uri, Version};
use hyper::body::Incoming;
use tokio::time::{Instant, timeout, timeout_at};

use rr_contract::runtime::Tasks;

use crate::listen::Counters;
use crate::pipeline::{CALLER_IDLE, CallerFault, Passage, RequestBody, Turn};
use crate::snapshot::CompiledTarget;

use self::guard::Guard;
use self::pool::{Connection, Origin};

pub(crate) use self::pool::Lease;
pub(crate) use self::tls::{Trust, TrustError, certificates};

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    #[error("no address of the upstream may be connected to")]
    Guarded,
    #[error("resolve the upstream's name")]
    Resolve(#[source] io::Error),
    #[error("connect to the upstream")]
    Connect(#[source] io::Error),
    #[error("agree on TLS with the upstream")]
    Tls(#[source] io::Error),
    #[error("load the roots that upstreams are checked against")]
    Trust(#[source] Arc<TrustError>),
    #[error("connection did not come up in time")]
    ConnectTimeout,
    #[error("response did not begin in time")]
    ResponseTimeout,
    #[error("connection broke before a response")]
    Broken(#[source] hyper::Error),
    #[error("caller did not send its request whole")]
    Caller(#[source] CallerFault),
    #[error("upstream switched protocols without being asked")]
    Switched,
}

/// An answer, and what gives its connection back.
pub(crate) struct Reply {
    pub(crate) response: Response<Incoming>,
    pub(crate) lease: Lease,
}

/// The connections of one worker.
pub(crate) struct Connections {
    origins: RefCell<HashMap<Arc<str>, Rc<Origin>>>,
    dialer: dial::Dialer,
    counters: Arc<Counters>,
}

impl Connections {
    pub(crate) fn new(guard: Arc<Guard>, trust: Arc<Trust>, counters: Arc<Counters>, tasks: Tasks) -> Self {
        Self { origins: RefCell::default(), dialer: dial::Dialer::new(guard, trust, tasks), counters }
    }

    /// Sends to a target and waits for the head of its answer.
    pub(crate) async fn send(
        &self,
        target: &CompiledTarget,
        mut request: Request<RequestBody>,
    ) -> Result<Reply, SendError> {
        let origin = self.origin(target);
        loop {
            let (connection, fresh) = match origin.checkout() {
                Some(connection) => {
                    self.counters.connection_reused();
                    (connection, false)
                }
                None => {
                    self.counters.connection_opened();
                    let dialed = timeout(target.connect_timeout, self.dialer.dial(target)).await;
                    let connection = dialed.map_err(|_| SendError::ConnectTimeout)??;
                    origin.adopt(&connection);
                    (connection, true)
                }
            };
            fit(&mut request, &connection, target);
            let passage = request.body().passage();
            passage.begin();
            let attempt =
                in_turn(&passage, target.response_timeout, connection.send(request, &origin)).await?;
            match attempt {
                Ok(reply) => return Ok(reply),
                // Hyper ends the connection for it, so it looks like the upstream's doing.
                Err(_) if let Some(fault) = passage.fault() => return Err(SendError::Caller(fault)),
                // An idle connection that closed under our hands gives the request back untouched. A new
                // one that does so is the upstream's fault.
                Err(failed) => match failed.unsent {
                    Some(unsent) if !fresh => request = *unsent,
                    _ => return Err(SendError::Broken(failed.error)),
                },
            }
        }
    }

    /// Lets go of connections that are closed or were idle too long.
    pub(crate) fn sweep(&self) {
        self.origins.borrow_mut().retain(|_, origin| origin.sweep() || Rc::strong_count(origin) > 1);
    }

    /// How many connections lie idle.
    #[cfg(test)]
    pub(crate) fn idle(&self) -> usize {
        self.origins.borrow().values().map(|origin| origin.idle()).sum()
    }

    fn origin(&self, target: &CompiledTarget) -> Rc<Origin> {
        if let Some(origin) = self.origins.borrow().get(&*target.origin) {
            return Rc::clone(origin);
        }
        let origin = Rc::new(Origin::default());
        self.origins.borrow_mut().insert(Arc::clone(&target.origin), Rc::clone(&origin));
        origin
    }
}

/// Waits for an answer for as long as somebody makes progress: `response_timeout` once the upstream has all
/// that it takes, [`CALLER_IDLE`] for more of the body.
async fn in_turn<T>(
    passage: &Passage,
    response_timeout: Duration,
    answer: impl Future<Output = T>,
) -> Result<T, SendError> {
    let mut answer = pin!(answer);
    loop {
        let (turn, since) = passage.turn();
        let (limit, error) = match turn {
            Turn::Caller => (CALLER_IDLE, SendError::Caller(CallerFault::Stalled)),
            Turn::Upstream => (response_timeout, SendError::ResponseTimeout),
        };
        let now = Instant::now();
        let deadline = since + limit;
        if deadline <= now {
            return Err(error);
        }
        // The turn may change while this sleeps, but then the other has no less than this from then on.
        let look = deadline.min(now + response_timeout.min(CALLER_IDLE));
        if let Ok(answer) = timeout_at(look, &mut answer).await {
            return Ok(answer);
        }
    }
}

/// Gives a request the form that the connection's protocol wants.
fn fit(request: &mut Request<RequestBody>, connection: &Connection, target: &CompiledTarget) {
    match connection {
        Connection::Http1(_) => {
            *request.version_mut() = Version::HTTP_11;
            if let Some(path) = request.uri().path_and_query().cloned() {
                *request.uri_mut() = Uri::from(path);
            }
            request.headers_mut().insert(HOST, target.host.clone());
            // Here it would have to be named in `Connection`, and nobody asks for it.
            request.headers_mut().remove(TE);
        }
        Connection::Http2(_) => {
            *request.version_mut() = Version::HTTP_2;
            request.headers_mut().remove(HOST);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test]
    async fn a_caller_that_stops_in_the_middle_has_a_limit_of_its_own_and_the_blame() {
        let wait = async |turn, ago| {
            let passage = Passage::since(turn, ago);
            in_turn(&passage, Duration::from_millis(10), pending::<()>()).await
        };
        let stalled = wait(Turn::Caller, CALLER_IDLE).await;
        assert!(matches!(stalled, Err(SendError::Caller(CallerFault::Stalled))));
        let late = wait(Turn::Upstream, Duration::ZERO).await;
        assert!(matches!(late, Err(SendError::ResponseTimeout)));
    }
}
