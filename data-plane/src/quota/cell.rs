//! The count of one window, exact across threads without a lock.
//!
//! One word holds the count and a generation of 8 bits; beside it stand the terms of this generation and of the next.
//! A new term is entered in two steps, each of which any thread may do for another: the term of the next generation
//! is written, once, and then the word goes over to that generation. A count is only ever changed by exchanging the
//! word, so a thread whose view of the term is out of date fails and looks again. The invariants: what is charged in
//! a term is in the count of that very term; a charge under a limit never leads above it; terms never go back.
//!
//! A thread would have to stand still between two instructions for 256 terms, and find the same count again, to be
//! deceived by a generation: four hours at the least.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;

use super::moment::Term;

/// The highest count: 72,057,594,037,927,935. Counts stay there.
pub(super) const COUNT_MAX: u64 = (1 << Term::BITS) - 1;

/// The count of one window.
#[derive(Debug)]
pub(super) struct Cell {
    /// Generation and count.
    word: AtomicU64,
    /// Generation and term, of even and of odd generations.
    terms: [AtomicU64; 2],
}

/// A count, and the term that it is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) term: Term,
    pub(super) count: u64,
}

/// A word as it was read, with the term of its generation.
#[derive(Clone, Copy)]
struct Seen {
    word: u64,
    term: Term,
}

const fn pack(generation: u8, rest: u64) -> u64 {
    ((generation as u64) << Term::BITS) | rest
}

const fn generation(word: u64) -> u8 {
    (word >> Term::BITS) as u8
}

/// What the count becomes when one term follows another. A term that is not later by the calendar follows where a
/// clock was set back: what is counted there was used just now, and goes on to count.
fn carried(count: u64, from: Term, to: Term) -> u64 {
    if to.index() <= from.index() { count } else { 0 }
}

/// Between two looks at shared memory. There a test has another thread's work done.
#[cfg(not(test))]
pub(super) const fn between() {}

#[cfg(test)]
pub(super) use tests::between;

impl Cell {
    /// Goes on with a count.
    pub(super) fn new(Counted { term, count }: Counted) -> Self {
        Self {
            word: AtomicU64::new(count.min(COUNT_MAX)),
            terms: [AtomicU64::new(term.bits()), AtomicU64::new(pack(u8::MAX, 0))],
        }
    }

    /// What is counted, of whatever term.
    pub(super) fn read(&self) -> Counted {
        let seen = self.look();
        Counted { term: seen.term, count: seen.word & COUNT_MAX }
    }

    /// What is counted at a term. One that is over counts as the present one.
    pub(super) fn count(&self, at: Term) -> Counted {
        let Counted { term, count } = self.read();
        if at <= term {
            return Counted { term, count };
        }
        Counted { term: at, count: carried(count, term, at) }
    }

    /// Enters the era of a term, so that what is carried into it ends with its window even where no charge is admitted.
    pub(super) fn follow(&self, at: Term) {
        if at.era() > self.look().term.era() {
            self.enter(at);
        }
    }

    /// Adds an amount if there is room for it, and for anything at all, below `limit`. Otherwise says what is counted.
    pub(super) fn charge(&self, amount: u64, limit: Option<u64>, at: Term) -> Result<Counted, Counted> {
        loop {
            let seen = self.enter(at);
            let count = seen.word & COUNT_MAX;
            let sum = count.saturating_add(amount);
            if limit.is_some_and(|limit| sum.max(count.saturating_add(1)) > limit) {
                return Err(Counted { term: seen.term, count });
            }
            if self.exchange(seen.word, sum) {
                return Ok(Counted { term: seen.term, count: sum.min(COUNT_MAX) });
            }
        }
    }

    /// Puts an amount in the place of one that was charged, if the term is still the same. Limits have no say.
    pub(super) fn replace(&self, term: Term, charged: u64, amount: u64) {
        loop {
            let seen = self.look();
            if seen.term != term {
                return;
            }
            let count = (seen.word & COUNT_MAX).saturating_sub(charged).saturating_add(amount);
            if self.exchange(seen.word, count) {
                return;
            }
        }
    }

    fn exchange(&self, word: u64, count: u64) -> bool {
        between();
        let next = pack(generation(word), count.min(COUNT_MAX));
        self.word.compare_exchange(word, next, SeqCst, SeqCst).is_ok()
    }

    fn look(&self) -> Seen {
        loop {
            let word = self.word.load(SeqCst);
            between();
            let term = self.terms[usize::from(generation(word) & 1)].load(SeqCst);
            // It is another one's where the word has gone on meanwhile.
            if generation(term) == generation(word) {
                return Seen { word, term: Term::from_bits(term) };
            }
        }
    }

    /// Enters a term unless this one or a later one was entered before.
    fn enter(&self, at: Term) -> Seen {
        loop {
            let seen = self.look();
            if at <= seen.term {
                return seen;
            }
            self.go_over(seen, at);
        }
    }

    /// Helps the cell into its next generation, whichever term that is for.
    fn go_over(&self, seen: Seen, at: Term) {
        let next = generation(seen.word).wrapping_add(1);
        let slot = &self.terms[usize::from(next & 1)];
        let before = slot.load(SeqCst);
        between();
        let to = if generation(before) == next {
            Term::from_bits(before)
        } else if generation(before) == next.wrapping_sub(2)
            && slot.compare_exchange(before, pack(next, at.bits()), SeqCst, SeqCst).is_ok()
        {
            at
        } else {
            return;
        };
        let mut word = seen.word;
        while generation(word) == generation(seen.word) {
            let count = carried(word & COUNT_MAX, seen.term, to);
            between();
            match self.word.compare_exchange(word, pack(next, count), SeqCst, SeqCst) {
                Ok(_) => return,
                Err(now) => word = now,
            }
        }
    }
}

impl Default for Cell {
    fn default() -> Self {
        Self::new(Counted { term: Term::new(0, 0), count: 0 })
    }
}

#[cfg(test)]
pub(super) mod tests;
