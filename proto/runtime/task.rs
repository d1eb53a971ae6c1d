//! Starts tasks that have a name and an owner.
//!
//! The only place that calls `tokio::spawn`. Does not tell a task to stop, which is [`Stop`](super::Stop)'s
//! work, and does not start one again. The invariant: a name is on the list exactly while its task runs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{fmt, thread};

use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::timeout;
use tracing::error;

/// A list of running tasks. Clones share the list; dropping it leaves the tasks running.
///
/// Cheap enough for a task a connection, not for one a request: a start and an end each take a short lock.
#[derive(Clone, Default)]
pub struct Tasks(Arc<List>);

#[derive(Default)]
struct List {
    running: Mutex<Running>,
    ended: Notify,
}

#[derive(Default)]
struct Running {
    next: u64,
    tasks: BTreeMap<u64, Entry>,
}

struct Entry {
    name: &'static str,
    /// Not there yet between listing the task and starting it.
    abort: Option<AbortHandle>,
}

impl Tasks {
    /// An empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts `work` on the current runtime. Its panic is logged with its name.
    pub fn spawn<F>(&self, name: &'static str, work: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        let mark = self.mark(name);
        let id = mark.id;
        #[expect(clippy::disallowed_methods, reason = "this is the tracked spawn that the ban points to")]
        let handle = tokio::spawn(async move {
            let _mark = mark;
            work.await
        });
        self.started(id, handle.abort_handle());
        handle
    }

    /// Starts `work`, which may not leave this thread, on the current local set or local runtime.
    pub fn spawn_local<F>(&self, name: &'static str, work: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: 'static> + 'static,
    {
        let mark = self.mark(name);
        let id = mark.id;
        #[expect(clippy::disallowed_methods, reason = "this is the tracked spawn that the ban points to")]
        let handle = tokio::task::spawn_local(async move {
            let _mark = mark;
            work.await
        });
        self.started(id, handle.abort_handle());
        handle
    }

    /// The names of the tasks that run now, oldest first.
    pub fn running(&self) -> Vec<&'static str> {
        self.0.running().tasks.values().map(|entry| entry.name).collect()
    }

    /// Waits until no task runs, but no longer than `limit`, and returns the names of those that still do,
    /// oldest first. Tasks that are started meanwhile are waited for too.
    pub async fn wait(&self, limit: Duration) -> Vec<&'static str> {
        match timeout(limit, self.idle()).await {
            Ok(()) => Vec::new(),
            Err(_elapsed) => self.running(),
        }
    }

    /// Aborts what still runs: each ends where it next awaits. For what [`wait`](Self::wait) returned.
    pub fn abort(&self) {
        // Collected first: a task that is aborted on this thread takes the lock to leave the list.
        let handles: Vec<_> =
            self.0.running().tasks.values().filter_map(|entry| entry.abort.clone()).collect();
        for handle in handles {
            handle.abort();
        }
    }

    async fn idle(&self) {
        loop {
            let ended = self.0.ended.notified();
            tokio::pin!(ended);
            // Listening must begin before looking, or the last end in between is missed.
            ended.as_mut().enable();
            if self.0.running().tasks.is_empty() {
                return;
            }
            ended.await;
        }
    }

    /// Puts a name on the list, before its task exists: a runtime that is shutting down drops the task,
    /// and with it the mark, inside the call that should start it.
    fn mark(&self, name: &'static str) -> Mark {
        let mut running = self.0.running();
        let id = running.next;
        running.next += 1;
        running.tasks.insert(id, Entry { name, abort: None });
        Mark { list: Arc::clone(&self.0), id }
    }

    fn started(&self, id: u64, abort: AbortHandle) {
        if let Some(entry) = self.0.running().tasks.get_mut(&id) {
            entry.abort = Some(abort);
        }
    }
}

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tasks").field(&self.running()).finish()
    }
}

impl List {
    fn running(&self) -> MutexGuard<'_, Running> {
        // Nothing panics under this lock, and the list would be whole even then.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps a name on the list; it goes when the task ends, panics, is aborted or never starts.
struct Mark {
    list: Arc<List>,
    id: u64,
}

impl Drop for Mark {
    fn drop(&mut self) {
        let (ended, idle) = {
            let mut running = self.list.running();
            (running.tasks.remove(&self.id), running.tasks.is_empty())
        };
        if let Some(entry) = ended
            && thread::panicking()
        {
            error!(task = entry.name, "task panicked");
        }
        if idle {
            self.list.ended.notify_waiters();
        }
    }
}

/// `work` for a thread of its own, which then logs where the thread that calls this does. To a program that is all the
/// same; where several planes share a process, lines stay with whoever started theirs.
pub fn logging_alike<T>(work: impl FnOnce() -> T) -> impl FnOnce() -> T {
    let here = tracing::dispatcher::get_default(Clone::clone);
    move || tracing::dispatcher::with_default(&here, work)
}

#[cfg(test)]
mod tests {
    use std::{future, panic};

    use tokio::sync::oneshot;
    use tokio::task::LocalSet;

    use super::*;

    /// Longer than any test runs: who waits this long was forgotten.
    const LONG: Duration = Duration::from_secs(600);

    #[tokio::test]
    async fn tasks_that_outlive_the_deadline_are_named() {
        let tasks = Tasks::new();
        tasks.spawn("stuck", future::pending::<()>());
        let quick = tasks.spawn("quick", async {});
        quick.await.expect("it returns");
        assert_eq!(tasks.wait(Duration::ZERO).await, ["stuck"]);
    }

    #[tokio::test]
    async fn the_wait_ends_with_the_last_task() {
        let tasks = Tasks::new();
        let (finish, finished) = oneshot::channel::<()>();
        let handle = tasks.spawn("worker", async move { finished.await.is_ok() });
        assert_eq!(tasks.running(), ["worker"]);
        let (left, sent) = tokio::join!(tasks.wait(LONG), async { finish.send(()) });
        assert_eq!((left, sent), (vec![], Ok(())));
        assert!(handle.await.expect("the task returns"));
    }

    #[tokio::test]
    async fn a_panic_takes_the_task_off_the_list_and_reaches_who_joins() {
        let tasks = Tasks::new();
        let handle = tasks.spawn("worker", async { panic::resume_unwind(Box::new("boom")) });
        assert!(tasks.wait(LONG).await.is_empty());
        assert!(handle.await.expect_err("it panicked").is_panic());
    }

    #[tokio::test]
    async fn aborted_tasks_leave_the_list() {
        let tasks = Tasks::new();
        tasks.spawn("stuck", future::pending::<()>());
        tasks.abort();
        assert!(tasks.wait(LONG).await.is_empty());
    }

    #[tokio::test]
    async fn a_task_that_stays_on_its_thread_is_tracked_too() {
        let tasks = Tasks::new();
        let local = LocalSet::new();
        let left = local.run_until(async {
            tasks.spawn_local("local", future::pending::<std::rc::Rc<()>>());
            tasks.wait(Duration::ZERO).await
        });
        assert_eq!(left.await, ["local"]);
    }
}
