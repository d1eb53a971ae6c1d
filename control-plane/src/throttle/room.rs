//! Bounds of what callers may hold at once: one for all callers, and a share of it for each.
//!
//! The invariant: no caller can take everything, and a small call is not refused, however full it is.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Refusal;

/// Of bytes that callers send and that are held for them.
const BYTES: Bounds = Bounds {
    all: 768 * 1024 * 1024,
    // One of the largest sets fits.
    each: 512 * 1024 * 1024,
    // The size of an ordinary call.
    free: 64 * 1024,
    full: Refusal::Room,
};

/// How much there is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) all: usize,
    /// Of one caller.
    pub(super) each: usize,
    /// Up to here one call is not counted.
    pub(super) free: usize,
    /// The refusal when it is full.
    pub(super) full: Refusal,
}

/// Clones share the counts.
#[derive(Debug, Clone)]
pub(crate) struct Room(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    bounds: Bounds,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    all: usize,
    by_caller: HashMap<String, usize>,
}

/// The share of one call, given back when its last clone is dropped.
#[derive(Debug, Clone)]
pub(crate) struct Portion(Arc<Taken>);

#[derive(Debug)]
struct Taken {
    room: Room,
    caller: String,
    size: Mutex<usize>,
}

impl Room {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self(Arc::new(Inner { bounds, held: Mutex::default() }))
    }

    /// For the input of callers.
    pub(super) fn of_bytes() -> Self {
        Self::new(BYTES)
    }

    /// For a call of a caller, identified by the id of its token or user, or by its network.
    pub(super) fn portion(&self, caller: &str) -> Portion {
        Portion(Arc::new(Taken { room: self.clone(), caller: caller.to_owned(), size: Mutex::default() }))
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Portion {
    /// Takes so much more, or nothing.
    pub(crate) fn grow(&self, more: usize) -> Result<(), Refusal> {
        let Taken { room, caller, size } = &*self.0;
        let Bounds { all, each, full, .. } = room.0.bounds;
        let mut size = size.lock().unwrap_or_else(PoisonError::into_inner);
        let then = size.saturating_add(more);
        let more = room.counted(then) - room.counted(*size);
        if more > 0 {
            let mut held = room.held();
            let theirs = held.by_caller.get(caller).copied().unwrap_or_default().saturating_add(more);
            let together = held.all.saturating_add(more);
            if together > all || theirs > each {
                return Err(full);
            }
            held.all = together;
            held.by_caller.insert(caller.clone(), theirs);
        }
        *size = then;
        Ok(())
    }
}

impl Room {
    fn counted(&self, size: usize) -> usize {
        if size > self.0.bounds.free { size } else { 0 }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let size = *self.size.get_mut().unwrap_or_else(PoisonError::into_inner);
        let size = self.room.counted(size);
        if size == 0 {
            return;
        }
        let mut held = self.room.held();
        held.all -= size;
        if let Some(theirs) = held.by_caller.get_mut(&self.caller) {
            *theirs -= size;
            if *theirs == 0 {
                held.by_caller.remove(&self.caller);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_has_a_share_and_all_have_a_bound_and_what_is_small_always_fits() {
        const FREE: usize = 64;
        let room = Room::new(Bounds { all: 3 * FREE, each: 2 * FREE, free: FREE, full: Refusal::Room });
        let (first, second) = (room.portion("a"), room.portion("a"));
        assert_eq!(first.grow(2 * FREE), Ok(()));
        assert_eq!(second.grow(FREE + 1), Err(Refusal::Room));
        assert_eq!(second.grow(FREE), Ok(()), "is small");
        let other = room.portion("b");
        assert_eq!(other.grow(FREE + 1), Err(Refusal::Room));
        assert_eq!(other.grow(1), Ok(()), "what was refused took nothing");
        let kept = first.clone();
        drop(first);
        assert_eq!(other.grow(FREE), Err(Refusal::Room), "a clone holds it");
        drop(kept);
        assert_eq!(other.grow(FREE), Ok(()));
        assert_eq!(second.grow(usize::MAX), Err(Refusal::Room));
        drop((second, other));
        let held = room.held();
        assert!(held.all == 0 && held.by_caller.is_empty(), "{held:?}");
    }
}
