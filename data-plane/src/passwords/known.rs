//! What became of attempts, by their keyed hashes: good ones and wrong ones apart.
//!
//! Holds no password and no user. The invariant: both have bounds of their own, so however many wrong passwords come,
//! no good one is forgotten for them.

use std::collections::HashMap;

use super::{Attempt, Outcome};

/// How much is kept of good and of wrong ones.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    good: usize,
    wrong: usize,
}

/// Of one worker: about a quarter of a megabyte.
pub(super) const WORKER: Bounds = Bounds { good: 2_048, wrong: 512 };
/// Of the node: about two megabytes.
pub(super) const NODE: Bounds = Bounds { good: 16_384, wrong: 4_096 };

pub(super) struct Known {
    good: Recent<usize>,
    wrong: Recent<()>,
}

impl Known {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self { good: Recent::of(bounds.good), wrong: Recent::of(bounds.wrong) }
    }

    pub(super) fn get(&mut self, attempt: &Attempt) -> Option<Outcome> {
        let good = self.good.get(attempt).map(Outcome::Good);
        good.or_else(|| self.wrong.get(attempt).map(|()| Outcome::Wrong))
    }

    pub(super) fn put(&mut self, attempt: Attempt, outcome: Outcome) {
        match outcome {
            Outcome::Good(number) => self.good.put(attempt, number),
            Outcome::Wrong => self.wrong.put(attempt, ()),
        }
    }
}

/// What was used lately, in two generations: when the younger one is half of what is kept, the older one goes.
struct Recent<T> {
    young: HashMap<Attempt, T>,
    old: HashMap<Attempt, T>,
    half: usize,
}

impl<T: Copy> Recent<T> {
    fn of(most: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), half: most / 2 }
    }

    fn get(&mut self, attempt: &Attempt) -> Option<T> {
        if let Some(found) = self.young.get(attempt) {
            return Some(*found);
        }
        let found = self.old.remove(attempt)?;
        self.put(*attempt, found);
        Some(found)
    }

    fn put(&mut self, attempt: Attempt, what: T) {
        if self.young.len() >= self.half {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(attempt, what);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(n: u32) -> Attempt {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&n.to_le_bytes());
        Attempt(bytes)
    }

    #[test]
    fn wrong_passwords_without_end_push_out_no_good_one() {
        let mut known = Known::new(Bounds { good: 8, wrong: 8 });
        known.put(attempt(0), Outcome::Good(1));
        for n in 1..10_000 {
            known.put(attempt(n), Outcome::Wrong);
        }
        assert_eq!(known.get(&attempt(0)), Some(Outcome::Good(1)));
        assert_eq!(known.get(&attempt(9_999)), Some(Outcome::Wrong));
        assert_eq!(known.get(&attempt(1)), None);
    }

    #[test]
    fn what_is_used_stays_and_there_is_a_bound() {
        let mut known = Known::new(Bounds { good: 8, wrong: 8 });
        for n in 0..1_000 {
            known.put(attempt(n), Outcome::Good(0));
            assert_eq!(known.get(&attempt(0)), Some(Outcome::Good(0)), "{n}");
            assert!(known.good.young.len() + known.good.old.len() <= 8);
        }
        assert_eq!(known.get(&attempt(500)), None);
    }
}
