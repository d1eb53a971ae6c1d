//! The thread that puts counts on disk.
//!
//! No request and no other control work waits for its disk.

use std::io;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use rr_contract::runtime::logging_alike;
use tokio::time::Instant;

use super::QuotaLog;

/// A change is on disk within twice this.
const EVERY: Duration = Duration::from_millis(500);
const STACK: usize = 256 * 1024;

/// Saves until it is closed.
pub(crate) struct QuotaSaver {
    stop: SyncSender<()>,
    thread: JoinHandle<()>,
}

impl QuotaSaver {
    pub(crate) fn start(mut log: QuotaLog) -> io::Result<Self> {
        let (stop, stopped) = sync_channel(0);
        let work = logging_alike(move || {
            while stopped.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
                log.save(Instant::now());
            }
            log.save(Instant::now());
        });
        let thread = Builder::new().name("quota".into()).stack_size(STACK).spawn(work)?;
        Ok(Self { stop, thread })
    }

    /// Saves what has changed, and ends. To be called when no request is counted any more.
    pub(crate) fn close(self) {
        drop(self.stop);
        if self.thread.join().is_err() {
            tracing::warn!("the thread that saves counts panicked");
        }
    }
}
