//! How often: the generic cell rate algorithm, one cell a caller, in a map with a bound.
//!
//! A cell is one instant, the time at which the caller's burst would be whole again. A cell whose time has
//! passed says nothing and is the first to go when room is needed.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How many callers are told apart.
const CELLS: usize = 65_536;

/// Cells of one kind of caller.
#[derive(Debug)]
pub(super) struct Rates<K> {
    /// Between two calls. Zero means no bound.
    every: Duration,
    /// What a whole burst is ahead of its time.
    ahead: Duration,
    most: usize,
    cells: Mutex<Cells<K>>,
}

#[derive(Debug)]
struct Cells<K> {
    by_caller: HashMap<K, Instant>,
    /// Of all callers for whom there was no room.
    rest: Option<Instant>,
    /// When room was last looked for: looking is work, and an attacker would have us do it at every call.
    swept: Option<Instant>,
}

impl<K: Eq + Hash> Rates<K> {
    /// Calls a second, and how many at once.
    pub(super) fn new((rate, burst): (u32, u32)) -> Self {
        Self::bounded(rate, burst, CELLS)
    }

    fn bounded(rate: u32, burst: u32, most: usize) -> Self {
        let every = if rate == 0 { Duration::ZERO } else { Duration::from_secs(1) / rate };
        let cells = Cells { by_caller: HashMap::new(), rest: None, swept: None };
        Self { every, ahead: every * burst.saturating_sub(1), most, cells: Mutex::new(cells) }
    }

    /// Counts a call, or says how long to wait.
    pub(super) fn take(&self, caller: K, now: Instant) -> Result<(), Duration> {
        if self.every.is_zero() {
            // Nobody needs a cell.
            return Ok(());
        }
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cell) = cells.by_caller.get_mut(&caller) {
            return self.step(cell, now);
        }
        if cells.make_room(self.most, now) {
            return self.step(cells.by_caller.entry(caller).or_insert(now), now);
        }
        self.step(cells.rest.get_or_insert(now), now)
    }

    /// The same for a caller that is known, and nothing for another.
    pub(super) fn take_known(&self, caller: &K, now: Instant) -> Option<Result<(), Duration>> {
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        cells.by_caller.get_mut(caller).map(|cell| self.step(cell, now))
    }

    /// From now on a caller has a cell of its own, while there is room.
    pub(super) fn know(&self, caller: K, now: Instant) {
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        if !cells.by_caller.contains_key(&caller) && cells.make_room(self.most, now) {
            cells.by_caller.insert(caller, now);
        }
    }

    pub(super) fn forget(&self, caller: &K) {
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        cells.by_caller.remove(caller);
    }

    fn step(&self, cell: &mut Instant, now: Instant) -> Result<(), Duration> {
        // Two calls at once may come here the later one first.
        if self.every.is_zero() {
            return Ok(());
        }
        let whole = (*cell).max(now);
        let ahead = whole - now;
        if ahead > self.ahead {
            return Err(ahead - self.ahead);
        }
        *cell = whole + self.every;
        Ok(())
    }
}

impl<K: Eq + Hash> Cells<K> {
    fn make_room(&mut self, most: usize, now: Instant) -> bool {
        let due = self.swept.is_none_or(|swept| now >= swept + Duration::from_secs(1));
        if self.by_caller.len() >= most && due {
            self.swept = Some(now);
            self.by_caller.retain(|_, cell| *cell > now);
        }
        self.by_caller.len() < most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(rates: &Rates<u32>, caller: u32, now: Instant) -> usize {
        (0..1000).take_while(|_| rates.take(caller, now).is_ok()).count()
    }

    #[test]
    fn without_a_bound_no_call_is_refused_in_whatever_order_calls_are_counted() {
        let rates = Rates::bounded(0, 1, 10);
        let now = Instant::now();
        rates.know(1, now);
        let orders = [Duration::from_millis(5), Duration::ZERO];
        assert!(orders.iter().all(|later| rates.take_known(&1, now + *later) == Some(Ok(()))));
        assert!(orders.iter().all(|later| rates.take(2, now + *later).is_ok()));
    }

    #[test]
    fn a_burst_passes_at_once_and_the_rate_after_it() {
        let (rates, start) = (Rates::new((50, 200)), Instant::now());
        assert_eq!(passed(&rates, 1, start), 200);
        assert_eq!(rates.take(1, start), Err(Duration::from_millis(20)));
        assert_eq!(passed(&rates, 1, start + Duration::from_millis(20)), 1);
        assert_eq!(passed(&rates, 1, start + Duration::from_millis(1020)), 50);
        assert_eq!(passed(&rates, 1, start + Duration::from_secs(600)), 200, "no more than a burst is saved");
        assert_eq!(passed(&rates, 2, start), 200, "another caller has its own");
    }

    #[test]
    fn no_rate_is_no_bound() {
        let (rates, now) = (Rates::new((0, 1)), Instant::now());
        assert_eq!(passed(&rates, 1, now), 1000);
    }

    #[test]
    fn callers_beyond_the_bound_share_one_cell_until_others_are_at_rest() {
        let (rates, now) = (Rates::bounded(1, 1, 2), Instant::now());
        assert!(rates.take(1, now).is_ok() && rates.take(2, now).is_ok());
        assert!(rates.take(3, now).is_ok());
        assert!(rates.take(4, now).is_err(), "shares with 3");
        let later = now + Duration::from_secs(2);
        assert!(rates.take(5, later).is_ok() && rates.take(6, later).is_ok());
        assert_eq!(rates.cells.lock().expect("whole").by_caller.len(), 2);
    }
}
