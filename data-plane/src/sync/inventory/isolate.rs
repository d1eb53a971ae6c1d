//! Isolates the compilation of one resource: a panic or an excessive size fails this resource and no other.
//!
//! Knows nothing of what is compiled. The work is bounded by the input: by its bytes here, and by the weight and
//! number of its patterns in the model, with the same limits on each node and in the control plane. The invariant:
//! no clock decides. A slow node takes longer and refuses nothing; if it refused, two such nodes would make the
//! control plane withdraw the resource everywhere.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rr_contract::model::resource::{Key, PAYLOAD_MAX};
use rr_contract::wire::fleet::Why;

use super::super::transaction::Offered;
use super::Reason;

#[derive(Clone, Default)]
pub(in crate::sync) struct Isolation {
    /// A test's stand-in for a fault in the compiler.
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

/// Inspects untrusted bytes; `None` if that panics.
pub(super) fn look<T>(work: impl FnOnce() -> Option<T>) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).ok()?
}

/// The message of a panic is in the log, and may quote its input: not sent.
fn crashed() -> Reason {
    Reason::new(Why::Crashed, "compiler panicked".to_owned())
}

fn limit(detail: String) -> Reason {
    Reason::new(Why::Limit, detail)
}
