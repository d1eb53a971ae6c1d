//! Meters that count each caller apart: whom, until when, and what becomes of a charge.

use std::num::NonZeroU64;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::*;
use crate::quota::{QuotaClock, Quotas};

const METER: MeterId = MeterId::from_random([1; 16]);
const HOUR: u64 = 3600;
/// The fifth of a month, at midnight.
const BEGIN: Duration = Duration::from_secs(1_770_249_600);

struct Process {
    quotas: Quotas,
    mono: Instant,
    wall: SystemTime,
}

impl Process {
    fn new() -> Self {
        let (wall, mono) = (SystemTime::UNIX_EPOCH + BEGIN, Instant::now());
        let clock = QuotaClock::start(wall, mono, SystemTime::UNIX_EPOCH);
        Self { quotas: Quotas::with_room(clock, 100, 2, 2), mono, wall }
    }

    fn pass(&mut self, seconds: u64) {
        self.wall += Duration::from_secs(seconds);
        self.mono += Duration::from_secs(seconds);
        // All of its keys are looked at.
        for _ in 0..64 {
            assert_eq!(self.quotas.tick(self.wall, self.mono), None);
        }
    }

    fn now(&self) -> Moment {
        self.quotas.clock().moment(self.mono)
    }

    /// Callers and holders that are counted apart.
    fn apart(&self) -> (u64, u64) {
        let numbers = self.quotas.numbers();
        (numbers.callers, numbers.holders)
    }
}

fn credential(n: u8) -> Caller {
    Caller { credential: CredentialId::from_random([n; 16]), holder: None }
}

fn holder(n: u8) -> Caller {
    Caller { holder: Some(Holder::from_bytes([n; 16])), ..credential(1) }
}

fn limits(hour: u64, day: u64, month: u64) -> Windows {
    let [hour, day, month] = [hour, day, month].map(NonZeroU64::new);
    Windows { minute: None, hour, day, month }
}

#[test]
fn each_caller_and_each_holder_has_the_limits_for_itself() {
    let process = Process::new();
    let (metered, twice) = (process.quotas.metered(METER, true), limits(0, 2, 0));
    for caller in [credential(1), credential(2), holder(1), holder(2)] {
        for used in 1..=2 {
            let charge = metered.charge(caller, 1, &twice, &process.now()).expect("below");
            assert_eq!(charge.used(Window::Day), used);
        }
        let full = metered.charge(caller, 1, &twice, &process.now()).expect_err("it is full");
        assert_eq!((full.window, full.limit, full.used), (Window::Day, 2, 2));
    }
    assert_eq!(process.apart(), (2, 2));
    let whole = process.quotas.metered(METER, false);
    whole.charge(credential(1), 1, &twice, &process.now()).expect("the whole is another count");
    whole.charge(holder(9), 1, &twice, &process.now()).expect("below");
    whole.charge(credential(3), 1, &twice, &process.now()).expect_err("it is one count");
    let other = process.quotas.metered(MeterId::from_random([2; 16]), true);
    other.charge(credential(1), 1, &twice, &process.now()).expect("another meter");
    // Another configuration names it, too.
    let again = process.quotas.metered(METER, true);
    again.charge(holder(1), 1, &twice, &process.now()).expect_err("it is full");
}

#[test]
fn each_meter_counts_the_same_caller_and_the_same_holder_by_itself() {
    let process = Process::new();
    let once = limits(0, 1, 0);
    for n in [1, 2] {
        let metered = process.quotas.metered(MeterId::from_random([n; 16]), true);
        for caller in [credential(1), holder(1)] {
            metered.charge(caller, 1, &once, &process.now()).expect("the first");
            metered.charge(caller, 1, &once, &process.now()).expect_err("the second");
        }
    }
    assert_eq!((process.apart(), process.quotas.numbers().overflows), ((2, 2), 0));
}

#[test]
fn what_a_charge_came_to_takes_its_place_and_what_is_given_back_is_there_again() {
    let process = Process::new();
    let (metered, most) = (process.quotas.metered(METER, true), limits(0, 100, 0));
    for caller in [credential(1), holder(1), holder(2), holder(3)] {
        let used = |amount| {
            metered.charge(caller, amount, &most, &process.now()).map(|charge| charge.used(Window::Day))
        };
        let charge = metered.charge(caller, 10, &most, &process.now()).expect("below");
        metered.settle(charge, 99);
        let back = metered.charge(caller, 1, &most, &process.now()).expect("one is left");
        assert!(used(1).is_err());
        metered.give_back(back);
        assert_eq!(used(1), Ok(100));
        if caller.holder == holder(3).holder {
            assert_eq!(process.apart(), (1, 2), "it shares");
        }
    }
}

#[test]
fn those_that_are_too_many_share_one_count_of_the_meter() {
    let process = Process::new();
    let (metered, once) = (process.quotas.metered(METER, true), limits(0, 1, 0));
    for n in 1..=3 {
        metered.charge(holder(n), 1, &once, &process.now()).expect("below");
    }
    metered.charge(holder(4), 1, &once, &process.now()).expect_err("it shares with the third");
    for n in 0..100 {
        metered
            .charge(credential(n), 1, &once, &process.now())
            .expect("holders take no place of credentials");
    }
    metered.charge(credential(100), 1, &once, &process.now()).expect_err("it shares with the third holder");
    let other = process.quotas.metered(MeterId::from_random([2; 16]), true);
    other.charge(holder(4), 1, &once, &process.now()).expect("the rest of another meter");
    assert_eq!((process.apart(), process.quotas.numbers().overflows), ((100, 2), 4));
}

#[test]
fn a_key_stays_as_long_as_a_window_of_its_limits_and_no_longer() {
    for (limits, last) in
        [(limits(9, 0, 0), HOUR), (limits(9, 9, 0), 24 * HOUR), (limits(0, 0, 9), 24 * 24 * HOUR)]
    {
        let mut process = Process::new();
        let metered = process.quotas.metered(METER, true);
        for caller in [credential(1), holder(1)] {
            metered.charge(caller, 1, &limits, &process.now()).expect("below");
        }
        process.pass(last - 1);
        assert_eq!(process.apart(), (1, 1), "{limits:?}");
        process.pass(1);
        assert_eq!(process.apart(), (0, 0), "{limits:?}");
    }
    let process = Process::new();
    let metered = process.quotas.metered(METER, true);
    for n in 0..9 {
        metered.charge(holder(n), 1, &Windows::default(), &process.now()).expect("no limit");
    }
    assert_eq!((process.apart(), process.quotas.numbers().overflows), ((0, 0), 0), "nobody asks for it");
}

#[test]
fn a_charge_of_nothing_is_waited_for_until_it_is_known_what_it_comes_to() {
    let mut process = Process::new();
    let (metered, most) = (process.quotas.metered(METER, true), limits(0, 10, 0));
    let open = metered.charge(holder(1), 0, &most, &process.now()).expect("below");
    process.pass(HOUR);
    metered.settle(open, 10);
    metered.charge(holder(1), 0, &most, &process.now()).expect_err("all was used");
    process.pass(23 * HOUR);
    assert_eq!(process.apart(), (0, 0), "the day is over");
}
