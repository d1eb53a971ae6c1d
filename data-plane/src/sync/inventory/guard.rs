//! One resource's share of the control thread: a panic ends its own compiling and no other's, and so does time.
//!
//! Knows nothing of what is compiled. Time is looked at afterwards: nothing that is compiled here can run for ever.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use rr_contract::model::resource::{Key, PAYLOAD_MAX};
use rr_contract::wire::fleet::Why;

use super::super::transaction::Offered;
use super::Reason;

/// What compiling one resource may take.
const TIME_MAX: Duration = Duration::from_millis(50);
/// On a busy machine one try may have waited for a processor; it is not the resource's fault.
const TRIES: usize = 3;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

#[derive(Clone)]
pub(in crate::sync) struct Guard {
    stopwatch: fn() -> Duration,
    /// What a test does instead of a fault in a compiler.
    #[cfg(test)]
    trap: Option<fn(&Key, &Offered)>,
}

impl Default for Guard {
    fn default() -> Self {
        Self {
            stopwatch: || START.elapsed(),
            #[cfg(test)]
            trap: None,
        }
    }
}

impl Guard {
    /// Runs `work`, which parses and compiles one resource.
    pub(super) fn run<T>(
        &self,
        key: &Key,
        offered: &Offered,
        work: impl Fn() -> Result<T, Reason>,
    ) -> Result<T, Reason> {
        if offered.payload.len() > PAYLOAD_MAX {
            return Err(limit(format!("{} bytes are over {PAYLOAD_MAX}", offered.payload.len())));
        }
        for _ in 0..TRIES {
            let since = (self.stopwatch)();
            let done = catch_unwind(AssertUnwindSafe(|| {
                self.spring(key, offered);
                work()
            }));
            let Ok(done) = done else { return Err(crashed()) };
            if (self.stopwatch)().saturating_sub(since) <= TIME_MAX {
                return done;
            }
        }
        Err(limit(format!("takes longer than {} ms", TIME_MAX.as_millis())))
    }

    #[cfg(test)]
    fn spring(&self, key: &Key, offered: &Offered) {
        if let Some(trap) = self.trap {
            trap(key, offered);
        }
    }

    #[cfg(not(test))]
    fn spring(&self, _: &Key, _: &Offered) {}

    #[cfg(test)]
    pub(in crate::sync) fn set_trap(&mut self, trap: fn(&Key, &Offered)) {
        self.trap = Some(trap);
    }

    #[cfg(test)]
    pub(in crate::sync) fn set_stopwatch(&mut self, stopwatch: fn() -> Duration) {
        self.stopwatch = stopwatch;
    }
}

/// Looks into bytes without trusting them; `None` where that ends in a panic.
pub(super) fn look<T>(work: impl FnOnce() -> Option<T>) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).ok()?
}

/// A panic says where in the log, and may quote what it broke on: not sent.
fn crashed() -> Reason {
    Reason::new(Why::Crashed, "compiling it ended in a panic".to_owned())
}

fn limit(detail: String) -> Reason {
    Reason::new(Why::Limit, detail)
}
