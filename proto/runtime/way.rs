//! Letting others go first, from inside of a poll.
//!
//! Bounds nothing itself: whoever polls counts. The invariant: behind each time that a task gives way, the runtime looks
//! at its sockets and timers before that task runs again.

use std::pin::pin;
use std::task::Context;

use tokio::task::yield_now;

/// Has the task that is polled run again behind all others. It returns `Pending` after this.
///
/// A task that wakes itself is queued like any other, and the runtime looks at sockets and timers only once in 61
/// turns: behind one greedy task, everybody else's readiness and time would be found late.
pub fn give_way(context: &mut Context<'_>) {
    let deferred = pin!(yield_now()).poll(context);
    debug_assert!(deferred.is_pending(), "a fresh one yields once");
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::poll_fn;
    use std::rc::Rc;
    use std::task::Poll;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use crate::Tasks;

    use super::*;

    /// How often a task that is never done runs until another one has found a byte at its socket.
    async fn turns(give_way: fn(&mut Context<'_>)) -> u32 {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let mut ours =
            TcpStream::connect(listener.local_addr().expect("it is bound")).await.expect("it listens");
        let (mut theirs, _) = listener.accept().await.expect("it connects");
        let (tasks, turns) = (Tasks::new(), Rc::new(Cell::new(0_u32)));
        let seen = Rc::clone(&turns);
        let reading = tasks.spawn_local("reads", async move {
            ours.read_u8().await.expect("it is open");
            seen.get()
        });
        // It waits for the byte by now.
        yield_now().await;
        theirs.write_all(b"x").await.expect("it is open");
        let counted = Rc::clone(&turns);
        tasks.spawn_local("greedy", async move {
            poll_fn(|context| {
                counted.set(counted.get() + 1);
                give_way(context);
                Poll::<()>::Pending
            })
            .await;
        });
        let turns = reading.await.expect("it reads");
        tasks.abort();
        turns
    }

    #[test]
    fn sockets_are_looked_at_before_a_task_that_gave_way_runs_again() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build_local(tokio::runtime::LocalOptions::default())
            .expect("a runtime");
        let (given, woken) = runtime.block_on(async {
            (turns(give_way).await, turns(|context| context.waker().wake_by_ref()).await)
        });
        assert!(given <= 3, "{given}");
        // What it is for.
        assert!(woken > 10, "{woken}");
    }
}
