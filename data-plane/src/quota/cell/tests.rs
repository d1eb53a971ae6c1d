//! One window: what ends it, what does not, and threads that come to its end at once.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::AtomicU32;
use std::thread;

use super::*;

/// Work that comes between, and how many steps from now.
type Interruption = (usize, Box<dyn FnOnce()>);

thread_local! {
    /// The next is the last one.
    static INTERRUPTIONS: RefCell<Vec<Interruption>> = const { RefCell::new(Vec::new()) };
    /// Steps since the last interruption was said, so that a test of what never ends fails and does not hang.
    static STEPS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

const STEPS_MAX: usize = 10_000_000;

/// Counts a step of what is under way, and does the work of another thread if that is due.
pub(in crate::quota) fn between() {
    STEPS.set(STEPS.get() + 1);
    assert!(STEPS.get() < STEPS_MAX, "this does not come to an end");
    let due = INTERRUPTIONS.with_borrow_mut(|interruptions| match interruptions.last_mut() {
        Some((0, _)) => interruptions.pop(),
        Some((steps, _)) => {
            *steps -= 1;
            None
        }
        None => None,
    });
    if let Some((_, work)) = due {
        work();
    }
}

/// Has `work` done after so many steps of what this thread does next. Of several, the last one said comes first, and
/// the others count their steps within it.
pub(in crate::quota) fn interrupt(steps: usize, work: impl FnOnce() + 'static) {
    STEPS.set(0);
    INTERRUPTIONS.with_borrow_mut(|interruptions| interruptions.push((steps, Box::new(work))));
}

/// Whether all were done; the rest is dropped.
pub(in crate::quota) fn all_interrupted() -> bool {
    INTERRUPTIONS.with_borrow_mut(|interruptions| std::mem::take(interruptions).is_empty())
}

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
    assert_eq!(Cell::new(counted(term(1), COUNT_MAX + 1)).read().count, COUNT_MAX);
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
            // With a bound, so that a limit that does not hold fails and does not hang.
            for _ in 0..=LIMIT {
                let Ok(counted) = cell.charge(1, Some(LIMIT), term(index)) else { break };
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
            if at == TERMS && draw.is_multiple_of(4096) {
                return last;
            }
            let moment = at.saturating_sub((draw % 2) as u32).max(1);
            let counted = cell.charge(draw % 7, None, term(moment)).expect("no limit");
            let amount = draw % 5;
            cell.replace(counted.term, draw % 7, amount);
            if counted.term.index() == TERMS {
                last += amount;
            }
            if draw.is_multiple_of(512) && at < TERMS {
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

/// What a thread does to a cell in [`in_whatever_steps_threads_meet_the_outcome_is_that_of_some_order`].
#[derive(Debug, Clone, Copy)]
enum Work {
    Charge(u64, u32),
    /// Of what was charged before.
    Settle(u64),
}

const WORKS: [Work; 6] = [
    Work::Charge(1, 10),
    Work::Charge(2, 11),
    Work::Charge(3, 11),
    Work::Charge(4, 12),
    Work::Settle(5),
    Work::Settle(0),
];

/// What it gave.
type Gave = Option<Result<Counted, Counted>>;

/// A cell in which something is charged.
fn worn(generations: u32) -> (Cell, Counted) {
    let cell = Cell::default();
    (11 - generations..10).for_each(|index| {
        cell.charge(4, None, term(index)).expect("no limit");
    });
    let charged = cell.charge(1, None, term(10)).expect("no limit");
    (cell, charged)
}

fn work(cell: &Cell, charged: Counted, work: Work) -> Gave {
    match work {
        Work::Charge(amount, index) => Some(cell.charge(amount, Some(4), term(index))),
        Work::Settle(amount) => {
            cell.replace(charged.term, 1, amount);
            None
        }
    }
}

/// All orders of three works, each of which enters its term some time before it charges.
fn orders(done: &[usize], out: &mut Vec<Vec<usize>>) {
    let times = |of| done.iter().filter(|one| **one == of).count();
    if done.len() == 6 {
        out.push(done.to_vec());
    }
    for of in (0..3).filter(|of| times(*of) < 2) {
        orders(&[done, &[of]].concat(), out);
    }
}

/// What three works give and leave in an order.
fn outcome(works: [Work; 3], order: &[usize]) -> ([Gave; 3], Counted) {
    let (cell, charged) = worn(1);
    let (mut gave, mut is_entered) = ([None; 3], [false; 3]);
    for of in order {
        match works[*of] {
            Work::Charge(_, index) if !is_entered[*of] => {
                cell.enter(term(index));
            }
            one if is_entered[*of] => gave[*of] = work(&cell, charged, one),
            _ => {}
        }
        is_entered[*of] = true;
    }
    (gave, cell.read())
}

/// Three works, one in the midst of another, at each step: what they give and what is left is what they would give
/// and leave one after the other, in some order.
#[test]
fn in_whatever_steps_threads_meet_the_outcome_is_that_of_some_order() {
    let mut all = Vec::new();
    orders(&[], &mut all);
    assert_eq!(all.len(), 90);
    let mut met = 0;
    for number in 0..WORKS.len().pow(3) {
        let works = [number % 6, number / 6 % 6, number / 36].map(|of| WORKS[of]);
        let outcomes: Vec<_> = all.iter().map(|order| outcome(works, order)).collect();
        for (outer, inner) in (0..18).flat_map(|outer| (0..9).map(move |inner| (outer, inner))) {
            // With an even and an odd generation.
            let (cell, charged) = worn(1 + outer % 2);
            let (cell, gave) = (Rc::new(cell), Rc::<RefCell<[Gave; 3]>>::default());
            for (of, steps) in [(2, inner), (1, outer as usize / 2)] {
                let (cell, gave) = (Rc::clone(&cell), Rc::clone(&gave));
                interrupt(steps, move || {
                    let one = work(&cell, charged, works[of]);
                    gave.borrow_mut()[of] = one;
                });
            }
            let first = work(&cell, charged, works[0]);
            gave.borrow_mut()[0] = first;
            if !all_interrupted() {
                continue;
            }
            met += 1;
            let outcome = (*gave.borrow(), cell.read());
            assert!(
                outcomes.contains(&outcome),
                "{works:?} interrupted after {} and {inner} steps: {outcome:?}",
                outer / 2
            );
        }
    }
    assert!(met > 3000, "{met}");
}
