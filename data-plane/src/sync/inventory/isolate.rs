//! One resource's share of the control thread: a panic ends its own compiling and no other's, and so does its size.
//!
//! Knows nothing of what is compiled. How much work that is, is bounded by what was sent: by its bytes here, and by the
//! weight and number of its patterns in the model, with the same numbers on each node and where it was written. The
//! invariant: no clock decides. A node that waits for a processor takes longer and refuses nothing; what it refused, two of
//! them together would have the control plane withdraw for everybody.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rr_contract::model::resource::{Key, PAYLOAD_MAX};
use rr_contract::wire::fleet::Why;

use super::super::transaction::Offered;
use super::Reason;

#[derive(Clone, Default)]
pub(in crate::sync) struct Isolation {
    /// What a test does instead of a fault in a compiler.
    #[cfg(test)]
    trap: Option<fn(&Key, &Offered)>,
}

impl Isolation {
    /// Runs `work`, which parses and compiles one resource.
    pub(super) fn run<T>(
        &self,
        key: &Key,
        offered: &Offered,
        work: impl FnOnce() -> Result<T, Reason>,
    ) -> Result<T, Reason> {
        if offered.payload.len() > PAYLOAD_MAX {
            return Err(limit(format!(
                "payload has {} bytes, more than {PAYLOAD_MAX}",
                offered.payload.len()
            )));
        }
        let done = catch_unwind(AssertUnwindSafe(|| {
            self.spring(key, offered);
            work()
        }));
        done.unwrap_or_else(|_| Err(crashed()))
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
}

/// Looks into bytes without trusting them; `None` where that ends in a panic.
pub(super) fn look<T>(work: impl FnOnce() -> Option<T>) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).ok()?
}

/// A panic says where in the log, and may quote what it broke on: not sent.
fn crashed() -> Reason {
    Reason::new(Why::Crashed, "compiler panicked".to_owned())
}

fn limit(detail: String) -> Reason {
    Reason::new(Why::Limit, detail)
}
