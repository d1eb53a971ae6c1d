//! Whether the body of a call held a secret in the clear: then the connection that brought it ends with the answer.
//!
//! Knows no secret. The invariant: a connection whose call could bring one is kept only if its handler has looked and there was
//! none; one that was refused before is closed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::response::Response;
use http::header::CONNECTION;
use http::{HeaderValue, Version};

use super::route::Operation;
use crate::listen::Hangup;
use crate::service::Plain;

tokio::task_local! {
    /// What is known of the call that runs.
    static SIGHT: Sight;
}

/// What is known of a call. Clones know the same.
#[derive(Debug, Clone)]
pub(super) struct Sight {
    has_secret: Arc<AtomicBool>,
    version: Version,
    hangup: Option<Hangup>,
}

impl Sight {
    /// Of a request whose body was not read yet.
    pub(super) fn of<B>(request: &http::Request<B>, operation: Option<Operation>) -> Self {
        let may_hold = operation.is_some_and(Operation::may_hold_secret);
        Self {
            has_secret: Arc::new(AtomicBool::new(may_hold)),
            version: request.version(),
            hangup: request.extensions().get::<Hangup>().cloned(),
        }
    }

    /// Runs a call, whose handler [tells](is_seen) what it saw.
    pub(super) async fn over(self, call: impl Future<Output = Response>) -> Response {
        let answer = SIGHT.scope(self.clone(), call).await;
        self.close(answer)
    }

    fn close(self, mut answer: Response) -> Response {
        if !self.has_secret.load(Ordering::Relaxed) {
            return answer;
        }
        // HTTP/2 has no such header: its connections are told to go away.
        if self.version < Version::HTTP_2 {
            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if let Some(hangup) = self.hangup {
            hangup.ask();
        }
        answer
    }
}

/// Notes whether the call that runs has brought a secret, and says it again.
pub(super) fn is_seen(plain: Option<&Plain>) -> bool {
    let is_there = plain.is_some();
    // Outside of a call, as in a test of a handler, there is no connection.
    SIGHT.try_with(|sight| sight.has_secret.store(is_there, Ordering::Relaxed)).unwrap_or_default();
    is_there
}
