//! Runs what hyper starts for a connection on the thread that the connection is on.

use std::future::Future;

/// Spawns on the current thread: hyper's HTTP/2 needs an executor.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LocalExec;

impl<F: Future + 'static> hyper::rt::Executor<F> for LocalExec {
    fn execute(&self, future: F) {
        // Its owner is the connection: hyper ends it with that.
        #[expect(clippy::disallowed_methods, reason = "hyper owns the task, and starts one a stream")]
        tokio::task::spawn_local(async move {
            future.await;
        });
    }
}
