//! Tells every part of a program that it should stop.
//!
//! Ends nothing by itself: each part that holds a [`Stop`] ends in its own order, and
//! [`Tasks`](super::Tasks) knows who has not. The invariant: a stop, once asked for, is never taken back.

use std::{io, process};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::Tasks;

/// What a shell reports of a program that Ctrl-C ended.
const EXIT_INTERRUPTED: i32 = 130;

/// The side that asks for the stop. Dropping it asks for nothing.
#[derive(Debug, Default)]
pub struct Shutdown(CancellationToken);

impl Shutdown {
    /// A shutdown that only [`begin`](Self::begin) starts.
    pub fn new() -> Self {
        Self::default()
    }

    /// A shutdown that SIGTERM and Ctrl-C start too. A second signal ends the process at once, for a
    /// person who will not wait for the drain.
    ///
    /// The handlers stay in place for the life of the process. Must be called inside a runtime, which
    /// has to keep running for signals to be heard.
    pub fn on_signals() -> io::Result<Self> {
        let signals =
            Signals { term: signal(SignalKind::terminate())?, int: signal(SignalKind::interrupt())? };
        let token = CancellationToken::new();
        // Not on a list that anybody waits for: it has to hear the second signal during that wait.
        Tasks::new().spawn("signals", signals.serve(token.clone()));
        Ok(Self(token))
    }

    /// A token for a part that has to stop with the program.
    pub fn stop(&self) -> Stop {
        Stop(self.0.clone())
    }

    /// Asks every holder of a [`Stop`] to stop. Asking again changes nothing.
    pub fn begin(&self) {
        self.0.cancel();
    }
}

/// The side that is asked to stop. Clones are alike.
#[derive(Debug, Clone)]
pub struct Stop(CancellationToken);

impl Stop {
    /// Waits until the stop is asked for; at once if it was already. Safe to drop and to call again.
    pub async fn requested(&self) {
        self.0.cancelled().await;
    }

    /// Whether the stop was asked for.
    pub fn is_requested(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Runs `work` until it ends or the stop is asked for, whichever is first; `None` if it was cut off.
    pub async fn cut<F: Future>(&self, work: F) -> Option<F::Output> {
        self.0.run_until_cancelled(work).await
    }

    /// A shutdown for one part alone, which this stop starts as well.
    pub fn child(&self) -> Shutdown {
        Shutdown(self.0.child_token())
    }
}

struct Signals {
    term: Signal,
    int: Signal,
}

impl Signals {
    async fn serve(mut self, token: CancellationToken) {
        let signal = self.next().await;
        info!(signal, "stopping");
        token.cancel();
        let signal = self.next().await;
        warn!(signal, "second signal, not waiting for the drain");
        #[expect(clippy::disallowed_methods, reason = "whoever asks twice does not want destructors")]
        process::exit(EXIT_INTERRUPTED);
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.term.recv() => "SIGTERM",
            _ = self.int.recv() => "SIGINT",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future;
    use std::process::Command;

    use super::*;

    #[tokio::test]
    async fn a_signal_from_outside_begins_the_stop() {
        let shutdown = Shutdown::on_signals().expect("signals can be listened for");
        let kill = Command::new("sh").args(["-c", "kill -TERM $PPID"]).status().expect("there is a shell");
        assert!(kill.success());
        shutdown.stop().requested().await;
    }

    #[tokio::test]
    async fn every_holder_hears_of_the_stop_before_and_after_it_began() {
        let shutdown = Shutdown::new();
        let (early, late) = (shutdown.stop(), shutdown.stop());
        assert!(!early.is_requested());
        let ((), ()) = tokio::join!(early.requested(), async { shutdown.begin() });
        late.requested().await;
        assert!(late.clone().is_requested());
    }

    #[tokio::test]
    async fn work_is_cut_off_by_the_stop_and_only_by_it() {
        let shutdown = Shutdown::new();
        let stop = shutdown.stop();
        assert_eq!(stop.cut(future::ready(7)).await, Some(7));
        shutdown.begin();
        assert_eq!(stop.cut(future::pending::<()>()).await, None);
    }

    #[test]
    fn a_part_can_stop_alone_but_not_outlive_the_whole() {
        let whole = Shutdown::new();
        let (first, second) = (whole.stop().child(), whole.stop().child());
        first.begin();
        assert!(first.stop().is_requested() && !whole.stop().is_requested());
        whole.begin();
        assert!(second.stop().is_requested());
    }

    #[test]
    fn dropping_the_asking_side_stops_nothing() {
        let shutdown = Shutdown::new();
        let stop = shutdown.stop();
        drop(shutdown);
        assert!(!stop.is_requested());
    }
}
