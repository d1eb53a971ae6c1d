//! One window: what ends it, what does not, and threads that come to its end at once.

use std::sync::atomic::AtomicU32;
use std::thread;

use super::*;

fn term(index: u32) -> Term {
    Term::new(0, index)
}

fn counted(term: Term, count: u64) -> Counted {
    Counted { term, count }
}

#[test]
fn a_later_term_begins_at_zero_and_an_earlier_one_counts_in_the_present() {
    let cell = Cell::default();
    assert_eq!(cell.charge(3, Some(4), term(7)), Ok(counted(term(7), 3)));
    assert_eq!(cell.charge(1, Some(4), term(6)), Ok(counted(term(7), 4)), "windows never go back");
    assert_eq!(cell.charge(1, Some(4), term(6)), Err(counted(term(7), 4)));
    assert_eq!(cell.count(term(8)), counted(term(8), 0), "looking at a term does not enter it");
    assert_eq!(cell.read(), counted(term(7), 4));
    assert_eq!(cell.charge(1, Some(4), term(8)), Ok(counted(term(8), 1)));
}

#[test]
fn a_term_that_is_over_is_not_settled() {
    let cell = Cell::default();
    let first = cell.charge(5, None, term(1)).expect("no limit");
    cell.replace(first.term, 5, 2);
    assert_eq!(cell.read().count, 2);
    cell.charge(1, None, term(2)).expect("no limit");
    cell.replace(first.term, 2, 100);
    assert_eq!(cell.read(), counted(term(2), 1));
}

#[test]
fn after_a_clock_was_set_back_the_count_goes_on_in_the_new_time_and_ends_with_its_window() {
    let cell = Cell::default();
    cell.charge(5, Some(5), term(900)).expect("below");
    let back = Term::new(1, 100);
    assert_eq!(cell.count(back), counted(back, 5));
    assert_eq!(cell.charge(1, Some(5), back), Err(counted(back, 5)), "nothing is granted anew");
    assert_eq!(cell.charge(1, Some(5), term(901)), Err(counted(back, 5)), "the old time does not come back");
    let next = Term::new(1, 101);
    assert_eq!(cell.charge(1, Some(5), next), Ok(counted(next, 1)), "the window is not longer than its kind");
    let later = Term::new(2, 500);
    assert_eq!(cell.charge(1, Some(5), later), Ok(counted(later, 1)));
}

#[test]
fn a_count_stays_at_its_highest_and_below_a_limit_no_sum_overflows() {
    let cell = Cell::new(counted(term(1), u64::MAX));
    assert_eq!(cell.read().count, COUNT_MAX);
    assert_eq!(cell.charge(u64::MAX, None, term(1)), Ok(counted(term(1), COUNT_MAX)));
    assert_eq!(cell.charge(u64::MAX, Some(u64::MAX - 1), term(1)), Err(counted(term(1), COUNT_MAX)));
    cell.replace(term(1), u64::MAX, 3);
    assert_eq!(cell.read().count, 3);
}

/// Each thread goes to the next term when it was refused in this one, so that at each end some threads are still in
/// the term that others leave.
#[test]
fn threads_that_come_to_the_end_of_a_term_at_once_admit_exactly_the_limit_in_each() {
    const TERMS: u32 = 100;
    const LIMIT: u64 = 1000;
    let cell = Cell::default();
    let admit = || {
        let mut admitted = vec![0; TERMS as usize + 1];
        for index in 1..=TERMS {
            while let Ok(counted) = cell.charge(1, Some(LIMIT), term(index)) {
                admitted[counted.term.index() as usize] += 1;
            }
        }
        admitted
    };
    let admitted: Vec<Vec<u64>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(admit)).collect();
        threads.into_iter().map(|thread| thread.join().expect("it counts")).collect()
    });
    for index in 1..=TERMS as usize {
        let sum: u64 = admitted.iter().map(|of| of[index]).sum();
        assert_eq!(sum, LIMIT, "term {index}");
    }
}

/// Charges without a limit at moments before and behind the end of a term, settled to something else, and what is
/// left in the last term is exactly what was settled in it.
#[test]
fn no_charge_and_no_settlement_is_lost_or_counted_in_another_term() {
    const TERMS: u32 = 60;
    let cell = Cell::default();
    let now = AtomicU32::new(1);
    let work = |seed: u64| {
        let mut last = 0;
        let mut random = seed;
        loop {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let draw = random >> 33;
            let at = now.load(SeqCst);
            if at == TERMS && draw % 4096 == 0 {
                return last;
            }
            let moment = at.saturating_sub((draw % 2) as u32).max(1);
            let counted = cell.charge(draw % 7, None, term(moment)).expect("no limit");
            let amount = draw % 5;
            cell.replace(counted.term, draw % 7, amount);
            if counted.term.index() == TERMS {
                last += amount;
            }
            if draw % 512 == 0 && at < TERMS {
                now.compare_exchange(at, at + 1, SeqCst, SeqCst).ok();
            }
        }
    };
    let last: u64 = thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|seed| scope.spawn(move || work(seed))).collect();
        threads.into_iter().map(|thread| thread.join().expect("it counts")).sum()
    });
    assert_eq!(cell.read(), counted(term(TERMS), last));
}
