//! Where what takes long is validated: beside the workers, on threads whose stacks are deep enough for any.
//!
//! Judges nothing itself. The invariant: no more run at a time than may; whoever waits is told, or learns that nobody will tell.

use std::sync::Arc;
use std::thread::Builder;

use rr_contract::policy::validate::STACK;
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
    /// Validates on a thread of its own.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        validate: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NoThread> {
        let turn = Arc::clone(&self.0).acquire_owned().await.map_err(|_| NoThread)?;
        let (tell, told) = channel();
        let work = move || {
            // Whoever waited may have gone. What was validated is gone by now.
            tell.send(validate()).ok();
            drop(turn);
        };
        let thread = Builder::new().name("validation".into()).stack_size(STACK).spawn(logging_alike(work));
        thread.map_err(|cause| {
            error!(%cause, "no thread to validate on");
            NoThread
        })?;
        told.await.map_err(|_| NoThread)
    }
}
