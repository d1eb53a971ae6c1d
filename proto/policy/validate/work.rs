//! How much a validation may do, and how it ends where it would do more.
//!
//! The validator cannot be told to stop, but it asks for each value that it looks at: whoever answers counts, and unwinds
//! through it when nothing is left. What is counted hangs on the schema and the body alone, never on time.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// How much one validation may do.
#[derive(Debug, Clone, Copy)]
pub(super) struct Effort {
    /// Looks at values.
    pub(super) looks: u64,
    /// What the engine of patterns may be asked for, as weight times bytes.
    pub(super) engine: u64,
    /// How deep schemas and values may be nested in each other: about the frames of a stack.
    pub(super) levels: u32,
    /// Values of a body.
    pub(super) values: u32,
}

/// Where other requests wait: a few milliseconds at the worst.
pub(super) const AT_ONCE: Effort = Effort { looks: 200_000, engine: 500_000, levels: 96, values: 40_000 };
/// On a thread of its own: about a second at the worst.
pub(super) const AT_LENGTH: Effort =
    Effort { looks: 8_000_000, engine: 64_000_000, levels: 4_096, values: 250_000 };

const TELL_LOOKS: u64 = 50_000;
const TELL_LOOKS_MAX: u64 = 1_000_000;
const TELL_ENGINE: u64 = 500_000;

/// What a value of a body costs, whatever is asked of it: it hangs on the schema.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Price {
    /// How often schemas can be applied to one value, in eighths.
    pub(super) value: u64,
    /// The same for a member, which several patterns of names can match.
    pub(super) member: u64,
    /// The weight of the heaviest pattern of texts.
    pub(super) text: u64,
    /// The weight of all patterns that one name can be held against.
    pub(super) name: u64,
}

/// Why a validation was broken off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// Nothing is left to do it with.
    TooMuch,
    /// The number at this address cannot be compared without rounding it.
    Inexact(usize),
}

/// What is left of an effort.
#[derive(Debug)]
pub(super) struct Work {
    looks: Cell<u64>,
    engine: Cell<u64>,
    price: Price,
}

impl Work {
    pub(super) fn new(effort: Effort, price: Price) -> Self {
        Self { looks: Cell::new(effort.looks), engine: Cell::new(effort.engine), price }
    }

    /// Counts looks, or ends the validation.
    #[inline]
    pub(super) fn look(&self, looks: u64) {
        match self.looks.get().checked_sub(looks) {
            Some(left) => self.looks.set(left),
            None => stop(Stop::TooMuch),
        }
    }

    /// Counts a value that schemas are about to be applied to.
    #[inline]
    pub(super) fn value(&self) {
        self.look(1 + self.price.value);
    }

    /// Counts a member that is handed out with its name.
    #[inline]
    pub(super) fn member(&self, name: &str) {
        self.look(1 + self.price.member + name.len() as u64 / 16);
        self.ask(self.price.name, name.len());
    }

    /// Counts a text that is handed out, and may be held against a pattern.
    #[inline]
    pub(super) fn text(&self, text: &str) {
        self.look(1 + text.len() as u64 / 16);
        self.ask(self.price.text, text.len());
    }

    /// What may be done to find the place at which a body does not pass, when so much was done to find that it does not. To
    /// find it nothing is remembered, and what alternatives say is kept: a little for all, and in proportion for what is long.
    pub(super) fn to_tell(&self, begun: Effort) -> Self {
        let looks = (TELL_LOOKS + 2 * (begun.looks - self.looks.get())).min(TELL_LOOKS_MAX);
        let engine = TELL_ENGINE + 2 * (begun.engine - self.engine.get());
        Self::new(Effort { looks, engine, ..begun }, self.price)
    }

    fn ask(&self, weight: u64, bytes: usize) {
        match self.engine.get().checked_sub(weight.saturating_mul(bytes as u64)) {
            Some(left) => self.engine.set(left),
            None => stop(Stop::TooMuch),
        }
    }
}

/// Work of nobody, for what is looked at when a schema is compiled.
impl Default for Work {
    fn default() -> Self {
        Self::new(AT_LENGTH, Price::default())
    }
}

/// Ends the validation that runs. No message is written: nothing is wrong with this program.
pub(super) fn stop(why: Stop) -> ! {
    resume_unwind(Box::new(why))
}

/// Runs a validation that may be ended. Whatever else unwinds goes on.
pub(super) fn until_stopped<T>(validate: impl FnOnce() -> T) -> Result<T, Stop> {
    // The validator has no state that outlives a validation but compiled patterns, which are whole at each look.
    catch_unwind(AssertUnwindSafe(validate)).map_err(|thrown| match thrown.downcast::<Stop>() {
        Ok(why) => *why,
        Err(other) => resume_unwind(other),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_validation_ends_where_nothing_is_left_and_says_why() {
        let work =
            Work::new(Effort { looks: 10, engine: 100, ..AT_ONCE }, Price { text: 10, ..Price::default() });
        assert_eq!(until_stopped(|| work.look(10)), Ok(()));
        assert_eq!((work.looks.get(), until_stopped(|| work.look(1))), (0, Err(Stop::TooMuch)));
        let work =
            Work::new(Effort { looks: 10, engine: 100, ..AT_ONCE }, Price { text: 10, ..Price::default() });
        assert_eq!(until_stopped(|| work.text("0123456789")), Ok(()));
        assert_eq!(until_stopped(|| work.text("0")), Err(Stop::TooMuch), "the engine has had its share");
        assert_eq!(until_stopped::<()>(|| stop(Stop::Inexact(7))), Err(Stop::Inexact(7)));
    }

    #[test]
    fn another_panic_is_no_end_of_a_validation() {
        let thrown = catch_unwind(|| until_stopped(|| resume_unwind(Box::new("another"))));
        assert_eq!(thrown.expect_err("it goes on").downcast_ref::<&str>(), Some(&"another"));
    }
}
