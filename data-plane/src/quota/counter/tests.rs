//! Counters against a model that is slow and plain.

use std::num::NonZeroU64;
use std::rc::Rc;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::quota::cell::tests::{all_interrupted, interrupt};

fn at(seconds: u64) -> Moment {
    Moment::at(Duration::from_secs(seconds), 0)
}

fn limits(limits: [u64; 4]) -> Windows {
    let [minute, hour, day, month] = limits.map(NonZeroU64::new);
    Windows { minute, hour, day, month }
}

const NONE: Windows = Windows { minute: None, hour: None, day: None, month: None };

#[test]
fn a_charge_is_in_all_windows_or_in_none() {
    let counter = Counter::<4>::fleeting();
    let limits = limits([10, 8, 0, 6]);
    let charge = counter.charge(5, &limits, &at(0)).expect("below");
    assert_eq!(Window::ALL.map(|window| counter.used(window, &at(0))), [5; 4]);
    assert_eq!(Window::ALL.map(|window| charge.used(window)), [5; 4]);
    let refused = counter.charge(2, &limits, &at(0)).expect_err("the month is full");
    assert_eq!(refused, Exceeded { window: Window::Month, limit: 6, used: 5, retry_after: 31 * 86_400 });
    assert_eq!(Window::ALL.map(|window| counter.used(window, &at(0))), [5; 4]);
    counter.charge(1, &limits, &at(0)).expect("exactly the limit");
}

#[test]
fn of_several_limits_the_one_that_ends_last_is_told() {
    let counter = Counter::<4>::fleeting();
    let limits = limits([1, 1, 5, 0]);
    counter.charge(1, &limits, &at(3599)).expect("below");
    let refused = counter.charge(1, &limits, &at(3599)).expect_err("minute and hour are full");
    assert_eq!(refused.retry_after, 1);
    let refused = counter.charge(1, &limits, &at(3540)).expect_err("minute and hour are full");
    assert_eq!((refused.window, refused.retry_after), (Window::Hour, 60));
    let refused = counter.charge(9, &limits, &at(3540)).expect_err("more than a day allows");
    assert_eq!((refused.window, refused.retry_after), (Window::Day, 86_400 - 3540));
}

#[test]
fn who_waits_as_long_as_is_said_is_admitted() {
    let counter = Counter::<4>::fleeting();
    let limits = limits([1, 0, 0, 0]);
    counter.charge(1, &limits, &at(60)).expect("below");
    // A moment of the minute before: it was made before the other request's.
    let refused = counter.charge(1, &limits, &at(59)).expect_err("the minute is full");
    assert_eq!(refused.retry_after, 1 + 60);
    counter.charge(1, &limits, &at(59 + refused.retry_after)).expect("a new minute");
}

#[test]
fn what_is_settled_after_its_minute_stays_in_its_hour() {
    let counter = Counter::<4>::fleeting();
    let charge = counter.charge(100, &limits([100, 200, 0, 0]), &at(59)).expect("below");
    counter.charge(7, &NONE, &at(60)).expect("no limit");
    counter.settle(charge, 300);
    assert_eq!(counter.used(Window::Minute, &at(60)), 7);
    assert_eq!(counter.used(Window::Hour, &at(60)), 307, "what it came to counts, above the limit too");
    let refused = counter.charge(1, &limits([0, 200, 0, 0]), &at(60)).expect_err("the hour is full");
    assert_eq!((refused.window, refused.used), (Window::Hour, 307));
}

#[test]
fn a_charge_that_is_given_back_leaves_nothing() {
    let counter = Counter::<4>::fleeting();
    let limits = limits([1, 1, 1, 1]);
    for _ in 0..3 {
        let charge = counter.charge(1, &limits, &at(5)).expect("it was given back");
        counter.give_back(charge);
    }
    assert_eq!(Window::ALL.map(|window| counter.used(window, &at(5))), [0; 4]);
}

#[test]
fn a_jump_to_next_month_and_back_freezes_nothing() {
    let counter = Counter::<4>::fleeting();
    let limits = limits([5, 0, 0, 20]);
    const MONTH: u64 = 40 * 86_400;
    counter.charge(5, &limits, &at(MONTH)).expect("a clock that is ahead");
    let back = |seconds| Moment::at(Duration::from_secs(seconds), 1);
    counter.charge(1, &limits, &back(30)).expect_err("the minute goes on");
    for minute in 1..4 {
        counter.charge(5, &limits, &back(60 * minute)).expect("the next minute");
    }
    let refused = counter.charge(1, &limits, &back(600)).expect_err("what was used counts in the month");
    assert_eq!((refused.window, refused.used), (Window::Month, 20));
}

/// Another request takes the last unit of the hour at each step of this one.
#[test]
fn whichever_request_comes_between_a_charge_that_is_refused_late_leaves_nothing() {
    let limits = limits([9, 3, 9, 9]);
    let mut refused_late = 0;
    for steps in 0..32 {
        let counter = Rc::new(Counter::<4>::fleeting());
        counter.charge(2, &limits, &at(0)).expect("below");
        let other = Rc::clone(&counter);
        interrupt(steps, move || {
            other.charge(1, &limits, &at(0)).ok();
        });
        let is_admitted = counter.charge(1, &limits, &at(0)).is_ok();
        if !all_interrupted() {
            assert!(steps > 8);
            break;
        }
        refused_late += u32::from(!is_admitted);
        assert_eq!(Window::ALL.map(|window| counter.used(window, &at(0))), [3; 4], "after {steps} steps");
    }
    assert!(refused_late > 0);
}

/// A change at each step of a save is in that save or told for the next.
#[test]
fn whichever_request_comes_between_a_save_misses_no_change() {
    let changed = Arc::<Changed>::default();
    for steps in 0.. {
        let id = Id::Meter(rr_contract::model::id::MeterId::from_random([1; 16]));
        let counter = Rc::new(Counter::<4>::new(id, None, &changed));
        counter.charge(1, &NONE, &at(0)).expect("no limit");
        let mut ids = Vec::new();
        changed.take(&mut ids);
        let other = Rc::clone(&counter);
        interrupt(steps, move || {
            other.charge(1, &NONE, &at(0)).ok();
        });
        let mut saved = counter.save();
        if !all_interrupted() {
            assert!(steps > 0);
            break;
        }
        ids.clear();
        changed.take(&mut ids);
        if !ids.is_empty() {
            saved = counter.save();
        }
        assert_eq!(saved.day.count, 2, "after {steps} steps");
    }
}

/// One window of the model.
#[derive(Debug, Clone, Copy, Default)]
struct Slow {
    era: u32,
    index: u64,
    count: u64,
}

impl Slow {
    fn seen(&self, (era, index): (u32, u64)) -> Self {
        if era > self.era {
            Self { era, index, count: if index > self.index { 0 } else { self.count } }
        } else if era == self.era && index > self.index {
            Self { era, index, count: 0 }
        } else {
            *self
        }
    }
}

#[derive(Debug, Default)]
struct Model([Slow; 4]);

/// A charge of the model: the amount, and where it stands in each window.
type SlowCharge = (u64, [(u32, u64); 4]);

fn place(seconds: u64, era: u32) -> [(u32, u64); 4] {
    // Counted in steps, not by the formula.
    let (mut month, mut day) = (1970 * 12_u64, seconds / 86_400);
    loop {
        let (year, of_year) = (month / 12, month % 12);
        let leap =
            u64::from(year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)));
        let days = [31, 28 + leap, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][of_year as usize];
        if day < days {
            break;
        }
        (day, month) = (day - days, month + 1);
    }
    [(era, seconds / 60), (era, seconds / 3600), (era, seconds / 86_400), (era, month)]
}

impl Model {
    fn charge(&mut self, amount: u64, limits: [u64; 4], at: [(u32, u64); 4]) -> Option<SlowCharge> {
        let (before, mut next) = (self.0, self.0);
        let mut is_refused = false;
        for window in 0..4 {
            let seen = before[window].seen(at[window]);
            next[window] = Slow { count: seen.count + amount, ..seen };
            if limits[window] > 0 && seen.count + amount.max(1) > limits[window] {
                is_refused = true;
                // Refusals do not last longer than the window in which a clock was set back.
                if seen.era > before[window].era {
                    self.0[window] = seen;
                }
            }
        }
        if is_refused {
            return None;
        }
        self.0 = next;
        Some((amount, next.map(|slow| (slow.era, slow.index))))
    }

    fn settle(&mut self, (charged, places): SlowCharge, amount: u64) {
        for (slow, place) in self.0.iter_mut().zip(places) {
            if (slow.era, slow.index) == place {
                slow.count = slow.count - charged + amount;
            }
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Charge {
        amount: u64,
        limits: [u64; 4],
    },
    Settle {
        which: usize,
        amount: u64,
    },
    GiveBack {
        which: usize,
    },
    /// The time of the next requests, from that of the ones before.
    Move {
        seconds: i64,
    },
    /// The clock was set back, and is followed.
    SetBack {
        seconds: u64,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let limit = || prop_oneof![2 => Just(0_u64), 3 => 1..60_u64];
    let step = prop_oneof![
        8 => (0..12_u64, [limit(), limit(), limit(), limit()])
            .prop_map(|(amount, limits)| Step::Charge { amount, limits }),
        3 => (any::<usize>(), 0..30_u64).prop_map(|(which, amount)| Step::Settle { which, amount }),
        2 => any::<usize>().prop_map(|which| Step::GiveBack { which }),
        3 => prop_oneof![-70..130_i64, -4000..8000_i64, -90_000..3_000_000_i64]
            .prop_map(|seconds| Step::Move { seconds }),
        1 => prop_oneof![0..100_u64, 0..3_000_000_u64].prop_map(|seconds| Step::SetBack { seconds }),
    ];
    proptest::collection::vec(step, 1..80)
}

proptest! {
    #[test]
    fn whatever_happens_a_counter_says_what_the_model_says(begin in 0..4_200_000_000_u64, steps in steps()) {
        let counter = Counter::<4>::fleeting();
        let mut model = Model::default();
        let (mut now, mut era) = (begin, 0);
        let mut open: Vec<(Charge, SlowCharge)> = Vec::new();
        for step in steps {
            let moment = Moment::at(Duration::from_secs(now), era);
            match step {
                Step::Charge { amount, limits: of } => {
                    let charge = counter.charge(amount, &limits(of), &moment);
                    let slow = model.charge(amount, of, place(now, era));
                    prop_assert_eq!(charge.is_ok(), slow.is_some(), "{:?}", charge);
                    match (charge, slow) {
                        (Ok(charge), Some(slow)) => open.push((charge, slow)),
                        (Err(exceeded), _) => {
                            prop_assert!(exceeded.used + amount.max(1) > exceeded.limit);
                            prop_assert!(exceeded.retry_after > 0);
                        }
                        _ => {}
                    }
                }
                Step::Settle { which, amount } if !open.is_empty() => {
                    let (charge, slow) = open.swap_remove(which % open.len());
                    counter.settle(charge, amount);
                    model.settle(slow, amount);
                }
                Step::GiveBack { which } if !open.is_empty() => {
                    let (charge, slow) = open.swap_remove(which % open.len());
                    counter.give_back(charge);
                    model.settle(slow, 0);
                }
                Step::Move { seconds } => now = now.saturating_add_signed(seconds),
                Step::SetBack { seconds } => (now, era) = (now.saturating_sub(seconds), era + 1),
                Step::Settle { .. } | Step::GiveBack { .. } => {}
            }
            let moment = Moment::at(Duration::from_secs(now), era);
            for (window, (slow, place)) in Window::ALL.into_iter().zip(model.0.iter().zip(place(now, era))) {
                prop_assert_eq!(counter.used(window, &moment), slow.seen(place).count, "{:?}", window);
            }
        }
    }
}

/// Requests of several threads at both sides of the end of a minute, some given back and some settled.
#[test]
fn threads_never_pass_a_limit_and_leave_exactly_what_they_kept() {
    const LIMIT: u64 = 5000;
    let counter = Counter::<4>::fleeting();
    let limits = limits([LIMIT, 0, 3 * LIMIT, 0]);
    let work = |seed: u64| {
        let mut kept = [0_u64; 2];
        for step in 0..20_000_u64 {
            // Half of the way through, most requests are of the next minute.
            let second = if (step + seed) % 20_000 < 9_990 + step % 20 { 59 } else { 60 };
            let Ok(charge) = counter.charge(3, &limits, &at(second)) else { continue };
            assert!(charge.used(Window::Minute) <= LIMIT);
            let minute = usize::from(charge.terms[0] == at(60).term(Window::Minute));
            match step % 3 {
                0 => counter.give_back(charge),
                1 => {
                    counter.settle(charge, 1);
                    kept[1] += 1;
                    kept[0] += minute as u64;
                }
                _ => {
                    kept[1] += 3;
                    kept[0] += 3 * minute as u64;
                }
            }
        }
        kept
    };
    let kept: Vec<[u64; 2]> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|seed| scope.spawn(move || work(seed))).collect();
        threads.into_iter().map(|thread| thread.join().expect("it counts")).collect()
    });
    let sum = |of: usize| kept.iter().map(|kept| kept[of]).sum::<u64>();
    assert_eq!(counter.used(Window::Minute, &at(60)), sum(0));
    assert_eq!(counter.used(Window::Day, &at(60)), sum(1));
    assert!(sum(0) > LIMIT / 2 && sum(1) > LIMIT, "both minutes were worked through: {kept:?}");
}
