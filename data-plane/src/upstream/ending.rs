//! The end of a task that carries requests to an upstream, once nobody waits for anything of it any more.
//!
//! Knows nothing of what passes. The invariant: from then on the task has [`LINGER`] for what it still sends, whatever its
//! two ends do: neither a caller who does not send the rest of an upload nor an upstream that does not read it holds it,
//! or what hangs on it, for longer.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Poll, Waker};
use std::time::Duration;

use tokio::time::Instant;

use crate::deadline::Deadline;

/// How long an upload goes on behind the end of its answer. In all, since one that trickles is never idle.
pub(super) const LINGER: Duration = Duration::from_secs(30);

/// When a task has to have ended.
#[derive(Default)]
pub(super) struct Ending {
    at: Cell<Option<Instant>>,
    task: RefCell<Option<Waker>>,
}

impl Ending {
    /// Nobody waits for anything more of it.
    pub(super) fn begin(&self) {
        if self.at.get().is_some() {
            return;
        }
        self.at.set(Some(Instant::now() + LINGER));
        if let Some(task) = self.task.take() {
            task.wake();
        }
    }

    /// What the task comes to; `None` where its time was over before. It may be dropped then.
    pub(super) async fn bound<T>(&self, mut task: Pin<&mut impl Future<Output = T>>) -> Option<T> {
        let mut deadline = Deadline::default();
        poll_fn(|cx| {
            if let Poll::Ready(output) = task.as_mut().poll(cx) {
                return Poll::Ready(Some(output));
            }
            match self.at.get() {
                Some(at) if deadline.is_over(at, cx) => return Poll::Ready(None),
                Some(_) => {}
                None => {
                    // The task is the same all along, so its waker is too.
                    self.task.borrow_mut().get_or_insert_with(|| cx.waker().clone());
                }
            }
            Poll::Pending
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::pin::pin;

    use tokio::time::{sleep, timeout};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_task_goes_on_for_as_long_as_it_is_wanted_and_a_while_longer() {
        let (ending, start) = (Ending::default(), Instant::now());
        let unwanted = async {
            sleep(10 * LINGER).await;
            ending.begin();
            // A second time changes nothing.
            sleep(LINGER / 2).await;
            ending.begin();
        };
        let task = pin!(pending::<()>());
        let (ended, ()) = timeout(100 * LINGER, async { tokio::join!(ending.bound(task), unwanted) })
            .await
            .expect("it has a bound");
        assert_eq!((ended, start.elapsed()), (None, 11 * LINGER));
        assert_eq!(ending.bound(pin!(ready(1))).await, Some(1), "what has ended is not cut off");
    }
}
