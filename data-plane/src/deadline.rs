//! A timer that is set again and again, mostly to a later time, and rarely comes to its end.
//!
//! Knows nothing of what it bounds. Setting it to a later time costs nothing: it wakes once at the time before, and
//! goes on from there. So it is kept where many waits follow one another, rather than made for each of them.

use std::pin::Pin;
use std::task::Context;

use tokio::time::{Instant, Sleep, sleep_until};

/// Nothing is set in the runtime before the first wait.
#[derive(Default)]
pub(crate) struct Deadline(Option<Pin<Box<Sleep>>>);

impl Deadline {
    /// Whether `end` has come. If not, it wakes the task when it does.
    pub(crate) fn is_over(&mut self, end: Instant, cx: &mut Context<'_>) -> bool {
        let timer = self.0.get_or_insert_with(|| Box::pin(sleep_until(end)));
        if timer.deadline() > end {
            timer.as_mut().reset(end);
        }
        while timer.as_mut().poll(cx).is_ready() {
            if timer.deadline() >= end {
                return true;
            }
            // It was set for an earlier wait.
            timer.as_mut().reset(end);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Poll;
    use std::time::Duration;

    use super::*;

    async fn until(deadline: &mut Deadline, end: Instant) {
        poll_fn(|cx| if deadline.is_over(end, cx) { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    #[tokio::test(start_paused = true)]
    async fn each_wait_ends_at_its_own_time_whichever_was_set_before() {
        let (mut deadline, start) = (Deadline::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        for end in [at(2), at(5)] {
            until(&mut deadline, end).await;
            assert_eq!(Instant::now(), end);
        }
        // Given up for a later one, and then for an earlier one.
        for (given_up, end) in [(at(9), at(20)), (at(60), at(30))] {
            assert!(!poll_fn(|cx| Poll::Ready(deadline.is_over(given_up, cx))).await);
            until(&mut deadline, end).await;
            assert_eq!(Instant::now(), end);
        }
        assert!(poll_fn(|cx| Poll::Ready(deadline.is_over(at(30), cx))).await, "it stays over");
    }
}
