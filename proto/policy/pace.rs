//! How much work a body may make, and when the one who does it lets others work.
//!
//! What a peer sends is multiplied by the rules, meters and filters that look at it: without a bound, a few bytes that
//! decode into a million values keep a worker for seconds.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::json::JsonError;

/// How much one request may make rules and meters do: a look at a value is one, and so are 16 bytes of its text.
pub(super) const LOOKS_MAX: u64 = 16_000_000;
/// How much is done without a rest: about a tenth of a millisecond.
const SLICE: u64 = 10_000;

/// Counts work, and rests between slices of it.
#[derive(Debug)]
pub struct Pace<R> {
    left: u64,
    slice: u64,
    rest: R,
}

impl<R: AsyncFnMut()> Pace<R> {
    /// For one request. `rest` is waited for between slices of work.
    pub fn new(rest: R) -> Self {
        Self { left: LOOKS_MAX, slice: SLICE, rest }
    }

    /// Counts work that was done or is about to be.
    #[inline]
    pub(super) async fn spend(&mut self, work: u64) -> Result<(), JsonError> {
        self.left = self.left.checked_sub(work).ok_or(JsonError::TooMuch)?;
        match self.slice.checked_sub(work) {
            Some(left) => self.slice = left,
            None => {
                self.slice = SLICE;
                (self.rest)().await;
            }
        }
        Ok(())
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
