//! The memory of this process, kept out of core dumps, debuggers and swap.
//!
//! Wipes nothing: allocators and types do that. What the system does not allow is told, once, and is no reason not to start.

use std::io;

use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, dumpable_behavior, getrlimit, set_dumpable_behavior, setrlimit,
};
use rustix::thread::{CapabilitySet, capabilities};
use tracing::{info, warn};

/// What was done about the memory of this process.
#[derive(Debug)]
pub struct Guarded {
    is_debuggable: bool,
    dumps: io::Result<()>,
    /// `None`: that was not wanted.
    swap: Option<Result<(), Swapped>>,
}

/// Memory that can be swapped.
#[derive(Debug)]
enum Swapped {
    /// Of what may be locked, this process would need more.
    Limit(u64),
    /// The system says no.
    Refused(io::Error),
}

/// Takes core dumps of this process away, and debuggers of other users than root. To be called before a secret is read.
///
/// `is_locked`: nothing of it is swapped either. A process that is `is_debuggable` is left as it is.
pub fn guard(is_debuggable: bool, is_locked: bool) -> Guarded {
    if is_debuggable {
        return Guarded { is_debuggable, dumps: Ok(()), swap: None };
    }
    Guarded { is_debuggable, dumps: undumped(), swap: is_locked.then(locked) }
}

impl Guarded {
    /// Says in the log what was not done.
    pub fn tell(&self) {
        if self.is_debuggable {
            warn!(
                "memory is open to debuggers, core dumps and swap (--debuggable): whoever reads these reads every open secret and key"
            );
        }
        if let Err(error) = &self.dumps {
            warn!(%error, "core dumps of this process cannot be switched off: one would hold open secrets");
        }
        match &self.swap {
            Some(Err(Swapped::Limit(bytes))) => warn!(
                limit_bytes = bytes,
                "memory can be swapped, open secrets too: allow it to be locked (LimitMEMLOCK=infinity, ulimit -l unlimited), or use no swap"
            ),
            Some(Err(Swapped::Refused(error))) => {
                warn!(%error, "memory can be swapped, open secrets too: the system does not lock it; use no swap");
            }
            Some(Ok(())) => info!("memory is not swapped and not dumped"),
            None => {}
        }
    }
}

fn undumped() -> io::Result<()> {
    // Both: whoever sets the one may set it back, and a handler of dumps may not ask for the limit.
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    match dumpable_behavior()? {
        DumpableBehavior::NotDumpable => Ok(()),
        _ => Err(io::Error::other("it is dumpable still")),
    }
}

/// Pages are locked when they are touched first, so that no more memory is taken than without.
fn locked() -> Result<(), Swapped> {
    // A limit that all of today fits into would fail an allocation tomorrow, and end the process. Who has the capability has
    // no limit.
    let is_free = capabilities(None).is_ok_and(|own| own.effective.contains(CapabilitySet::IPC_LOCK));
    if let Some(limit) = getrlimit(Resource::Memlock).current.filter(|_| !is_free) {
        let unlimited = Rlimit { current: None, maximum: None };
        setrlimit(Resource::Memlock, unlimited).map_err(|_| Swapped::Limit(limit))?;
    }
    let all = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE;
    match mlockall(all | MlockAllFlags::ONFAULT) {
        // An old kernel knows no such flag.
        Err(rustix::io::Errno::INVAL) => mlockall(all),
        locked => locked,
    }
    .map_err(|error| Swapped::Refused(error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_dumped_no_more_unless_it_is_to_be_debugged() {
        let before = dumpable_behavior().expect("Linux knows");
        let open = guard(true, true);
        assert!(open.swap.is_none() && dumpable_behavior().expect("Linux knows") == before);
        let guarded = guard(false, false);
        assert!(guarded.dumps.is_ok() && guarded.swap.is_none());
        assert!(dumpable_behavior().expect("Linux knows") == DumpableBehavior::NotDumpable);
        let Rlimit { current, maximum } = getrlimit(Resource::Core);
        assert_eq!((current, maximum), (Some(0), Some(0)));
    }
}
