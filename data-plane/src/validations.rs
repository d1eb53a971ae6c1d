//! Where bodies are validated that take long: beside the workers, on threads whose stacks are deep enough for any.
//!
//! Judges nothing itself. The invariant: no more run at a time than may; whoever waits is told, or learns that nobody will tell.

use std::sync::Arc;
use std::thread::Builder;

use bytes::Bytes;
use rr_contract::policy::validate::{Effort, STACK, Stopped, Validator};
use rr_contract::runtime::logging_alike;
use tokio::sync::Semaphore;
use tokio::sync::oneshot::channel;
use tracing::error;

/// How many validations run beside the workers at a time. Others wait for their turn.
#[derive(Clone)]
pub(crate) struct ValidationThreads(Arc<Semaphore>);

/// No thread said what it found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoThread;

impl Default for ValidationThreads {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(2)))
    }
}

impl ValidationThreads {
    /// Validates a body on a thread of its own.
    pub(crate) async fn run(
        &self,
        validator: Arc<Validator>,
        body: Bytes,
    ) -> Result<Result<(), Stopped>, NoThread> {
        let turn = Arc::clone(&self.0).acquire_owned().await.map_err(|_| NoThread)?;
        let (tell, told) = channel();
        let work = move || {
            // Whoever waited may have gone.
            tell.send(validator.body(&body, Effort::AtLength)).ok();
            drop((turn, body));
        };
        let thread = Builder::new().name("validation".into()).stack_size(STACK).spawn(logging_alike(work));
        thread.map_err(|cause| {
            error!(%cause, "no thread to validate a body on");
            NoThread
        })?;
        told.await.map_err(|_| NoThread)
    }
}
