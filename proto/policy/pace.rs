//! How much work a request may make, and when the one who does it lets others work.
//!
//! What a peer sends is multiplied by the rules, meters and filters that look at it: without a bound, a few bytes that
//! decode into a million values keep a worker for seconds. What is counted depends on what is looked at and on what
//! looks alone, never on time or on earlier requests: a request that is too much once is too much always.
//!
//! The engine of regular expressions cannot rest, and may take a time that grows with the weight of a pattern times the
//! length of a text. It is asked while the sum of those is small; then patterns are walked, which is slower, and counts
//! what it does.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::json::JsonError;

/// How much one request may make rules and meters do with its body: a look at a value is one, and so are 16 bytes of
/// its text, or [`STEPS`] steps of a walk.
pub(super) const LOOKS_MAX: u64 = 16_000_000;
/// How much is done without a rest: about a tenth of a millisecond.
const SLICE: u64 = 10_000;
/// How many steps of a walk are one look.
const STEPS: u64 = 4;
/// How many steps are walked without a rest.
pub(super) const PIECE: i64 = (SLICE * STEPS) as i64;
/// How many steps of walks a head may take: about ten milliseconds.
const HEAD_STEPS: i64 = 4_000_000;
/// How much the engine may be asked for at once, as weight times bytes: at the worst, less than ten milliseconds.
const ENGINE_ONCE: u64 = 500_000;
/// How much it may be asked for a head.
const ENGINE_HEAD: u64 = 1_000_000;
/// How much it may be asked for a body.
const ENGINE_BODY: u64 = 16_000_000;
/// How much of that is one look where a rest is due. At the worst it takes as long as two; mostly far less than one.
const ENGINE_LOOK: u64 = 2;

/// What the engine may still be asked for.
#[derive(Debug)]
pub(super) struct Credit {
    left: u64,
    /// Taken since work was counted.
    fresh: u64,
}

/// Counts work on a body, and rests between slices of it.
#[derive(Debug)]
pub struct Pace<R> {
    left: u64,
    slice: u64,
    credit: Credit,
    rest: R,
}

/// Counts work on a head, which is done in one go.
#[derive(Debug)]
pub struct HeadWork {
    /// Steps. A walk that uses them up does its last character.
    left: i64,
    credit: Credit,
    is_over: bool,
}

impl Credit {
    fn new(left: u64) -> Self {
        Self { left, fresh: 0 }
    }

    /// Whether the engine may look for patterns of this weight in so many bytes.
    pub(super) fn take(&mut self, weight: u64, bytes: usize) -> bool {
        let asked = weight.saturating_mul(bytes as u64);
        if asked > ENGINE_ONCE || asked > self.left {
            return false;
        }
        self.left -= asked;
        self.fresh += asked;
        true
    }
}

impl<R: AsyncFnMut()> Pace<R> {
    /// For one request. `rest` is waited for between slices of work.
    pub fn new(rest: R) -> Self {
        Self { left: LOOKS_MAX, slice: SLICE, credit: Credit::new(ENGINE_BODY), rest }
    }

    /// Counts work that was done or is about to be.
    #[inline]
    pub(super) async fn spend(&mut self, work: u64) -> Result<(), JsonError> {
        self.left = self.left.checked_sub(work).ok_or(JsonError::TooMuch)?;
        let work = work + std::mem::take(&mut self.credit.fresh) / ENGINE_LOOK;
        match self.slice.checked_sub(work) {
            Some(left) => self.slice = left,
            None => {
                self.slice = SLICE;
                (self.rest)().await;
            }
        }
        Ok(())
    }

    /// What the engine may still be asked for.
    pub(super) fn credit(&mut self) -> &mut Credit {
        &mut self.credit
    }

    /// Walks in pieces of about a slice, until something comes of it.
    pub(super) async fn walk<T>(
        &mut self,
        mut piece: impl FnMut(&mut i64) -> Option<T>,
    ) -> Result<T, JsonError> {
        loop {
            let mut left = PIECE;
            let came = piece(&mut left);
            self.spend((PIECE - left).unsigned_abs().div_ceil(STEPS)).await?;
            if let Some(came) = came {
                return Ok(came);
            }
        }
    }
}

impl HeadWork {
    /// What the engine may still be asked for.
    pub(super) fn credit(&mut self) -> &mut Credit {
        &mut self.credit
    }

    /// Walks until something comes of it or no steps are left.
    pub(super) fn walk<T>(&mut self, piece: impl FnOnce(&mut i64) -> Option<T>) -> Option<T> {
        let came = piece(&mut self.left);
        self.is_over |= came.is_none();
        came
    }

    /// Whether there was more to do than may be. What was said since then is void.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }
}

impl Default for HeadWork {
    fn default() -> Self {
        Self { left: HEAD_STEPS, credit: Credit::new(ENGINE_HEAD), is_over: false }
    }
}

/// What comes of work that never rests.
pub(super) fn at_once<T>(work: impl AsyncFnOnce(&mut Pace<fn() -> std::future::Ready<()>>) -> T) -> T {
    let mut pace = Pace::new(no_rest as fn() -> _);
    match pin!(work(&mut pace)).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done,
        Poll::Pending => unreachable!("nothing is waited for but rests, and there are none"),
    }
}

fn no_rest() -> std::future::Ready<()> {
    std::future::ready(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engine_is_asked_for_no_more_than_a_look_and_a_request_may_take() {
        let once = ENGINE_ONCE as usize;
        for (weight, bytes) in [(1, once + 1), (80_000, 7), (u64::MAX, 2), (1, usize::MAX)] {
            assert!(!Credit::new(u64::MAX).take(weight, bytes), "{weight}, {bytes}");
        }
        let mut of_head = HeadWork::default();
        let looks = (0..).take_while(|_| of_head.credit().take(1, once)).count();
        assert_eq!(looks as u64, ENGINE_HEAD / ENGINE_ONCE);
        // Too much is not taken, and leaves what is left to others.
        let mut credit = Credit::new(100);
        assert!(!credit.take(101, 1) && credit.take(100, 1) && !credit.take(1, 1) && credit.take(1, 0));
    }

    #[test]
    fn a_head_has_an_end_of_steps_and_nothing_comes_of_more() {
        let mut work = HeadWork::default();
        assert_eq!(work.walk(|left| Some(*left)), Some(HEAD_STEPS));
        work.walk(|left| {
            *left = -3;
            Some(())
        });
        assert!(!work.is_over(), "its last character was done");
        assert_eq!(work.walk(|left| (*left > 0).then_some(())), None);
        assert!(work.is_over());
    }
}
