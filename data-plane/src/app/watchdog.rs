//! The watchdog: a thread of its own that aborts the process when a watched thread makes no more progress.
//!
//! Counts its own steps, not time: a clock that jumps, a machine that was suspended or a process that was stopped
//! hold up the watchdog as they do what it watches. It frees nothing and repairs nothing: the service manager
//! restarts the process, and the boot counter keeps that from repeating for ever on the same configuration.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::Builder;
use std::time::Duration;

use rr_contract::runtime::observe;
use tracing::error;

/// How long a traffic worker may be silent.
pub(super) const WORKER: Duration = Duration::from_secs(5);
/// How long the control thread may be silent: compiling a large transaction takes time.
pub(super) const CONTROL: Duration = Duration::from_secs(30);
/// A thread that is silent for this long is unhealthy, but not given up.
const UNWELL: Duration = Duration::from_secs(1);
const STEP: Duration = Duration::from_millis(250);

/// What a watched thread reports of itself.
#[derive(Clone)]
pub(super) struct Pulse(Arc<Beats>);

struct Beats {
    name: String,
    limit: Duration,
    count: AtomicU64,
    revision: AtomicU64,
    has_ended: AtomicBool,
}

impl Pulse {
    /// The thread makes progress.
    pub(super) fn beat(&self) {
        self.0.count.fetch_add(1, Ordering::Relaxed);
    }

    /// The thread begins to run on this revision.
    pub(super) fn runs_on(&self, revision: u64) {
        self.0.revision.store(revision, Ordering::Relaxed);
    }

    /// The thread ends in order. Any other end counts as a hang.
    pub(super) fn end(&self) {
        self.0.has_ended.store(true, Ordering::Relaxed);
    }
}

/// A thread that has been silent for too long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Complaint {
    pub(super) thread: String,
    pub(super) revision: u64,
}

/// Whether all watched threads make progress.
#[derive(Clone, Default)]
pub(super) struct Health(Arc<AtomicBool>);

impl Health {
    pub(super) fn is_good(&self) -> bool {
        !self.0.load(Ordering::Relaxed)
    }
}

/// The watched threads.
#[derive(Default)]
pub(super) struct Watchdog {
    watched: Vec<Watched>,
    health: Health,
}

struct Watched {
    beats: Arc<Beats>,
    seen: u64,
    silent: Duration,
}

/// Ends the watch when dropped, but not during a panic: a thread that panicked counts as one that hangs.
pub(super) struct Watch(Option<SyncSender<()>>);

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(sender) = self.0.take()
            && std::thread::panicking()
        {
            std::mem::forget(sender);
        }
    }
}

impl Watchdog {
    /// Watches one more thread.
    pub(super) fn watch(&mut self, name: impl Into<String>, limit: Duration) -> Pulse {
        let beats = Arc::new(Beats {
            name: name.into(),
            limit,
            count: AtomicU64::new(0),
            revision: AtomicU64::new(0),
            has_ended: AtomicBool::new(false),
        });
        self.watched.push(Watched { beats: Arc::clone(&beats), seen: 0, silent: Duration::ZERO });
        Pulse(beats)
    }

    pub(super) fn health(&self) -> Health {
        self.health.clone()
    }

    /// Starts the watch. A complaint ends the process.
    pub(super) fn start(mut self) -> std::io::Result<Watch> {
        let (watch, ended) = sync_channel(1);
        Builder::new().name("watchdog".into()).spawn(move || {
            while ended.recv_timeout(STEP) == Err(RecvTimeoutError::Timeout) {
                if let Some(Complaint { thread, revision }) = self.step(STEP) {
                    error!(thread, revision, "thread does not respond; aborting the process");
                    observe::flush_lines();
                    std::process::abort();
                }
            }
        })?;
        Ok(Watch(Some(watch)))
    }

    fn step(&mut self, step: Duration) -> Option<Complaint> {
        let mut is_unwell = false;
        let mut complaint = None;
        for Watched { beats, seen, silent } in &mut self.watched {
            let count = beats.count.load(Ordering::Relaxed);
            if count != *seen || beats.has_ended.load(Ordering::Relaxed) {
                (*seen, *silent) = (count, Duration::ZERO);
                continue;
            }
            *silent += step;
            is_unwell |= *silent >= UNWELL;
            if *silent >= beats.limit {
                let revision = beats.revision.load(Ordering::Relaxed);
                complaint = complaint.or(Some(Complaint { thread: beats.name.clone(), revision }));
            }
        }
        self.health.0.store(is_unwell, Ordering::Relaxed);
        complaint
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_worker_that_is_silent_for_its_limit_is_named_with_the_revision_that_it_runs_on() {
        let mut watchdog = Watchdog::default();
        let (one, two) = (watchdog.watch("worker-0", WORKER), watchdog.watch("worker-1", WORKER));
        let control = watchdog.watch("control", CONTROL);
        control.beat();
        two.runs_on(812);
        for _ in 0..4 {
            one.beat();
            assert_eq!(watchdog.step(SECOND), None);
        }
        one.beat();
        let complaint = Complaint { thread: "worker-1".to_owned(), revision: 812 };
        assert_eq!(watchdog.step(SECOND), Some(complaint));
    }

    #[test]
    fn a_beat_at_the_last_moment_is_enough_and_an_end_in_order_is_no_silence() {
        let mut watchdog = Watchdog::default();
        let (worker, ended) = (watchdog.watch("worker-0", WORKER), watchdog.watch("worker-1", WORKER));
        ended.end();
        for _ in 0..10 {
            for _ in 0..4 {
                assert_eq!(watchdog.step(SECOND), None);
            }
            worker.beat();
            assert_eq!(watchdog.step(SECOND), None);
        }
    }

    #[test]
    fn a_suspended_machine_is_one_step() {
        let mut watchdog = Watchdog::default();
        let worker = watchdog.watch("worker-0", WORKER);
        let health = watchdog.health();
        worker.beat();
        watchdog.step(STEP);
        // However long it was: the watchdog slept as well, and sees one step.
        assert_eq!(watchdog.step(STEP), None);
        assert!(health.is_good());
        for _ in 0..4 {
            watchdog.step(STEP);
        }
        assert!(!health.is_good(), "a second of silence is no good sign");
        worker.beat();
        watchdog.step(STEP);
        assert!(health.is_good());
    }

    #[test]
    fn a_watch_that_goes_in_a_panic_leaves_the_dog_awake() {
        let (sender, ended) = sync_channel(1);
        let watch = Watch(Some(sender));
        let panicked = std::thread::spawn(move || {
            let _watch = watch;
            std::panic::resume_unwind(Box::new("the control thread dies"));
        });
        assert!(panicked.join().is_err());
        assert_eq!(ended.try_recv(), Err(std::sync::mpsc::TryRecvError::Empty));
        drop(Watch(Some(sync_channel(1).0)));
    }
}
