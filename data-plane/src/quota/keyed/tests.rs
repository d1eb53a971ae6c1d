//! Keys: which of them are one, how many there may be, and when they go.

use std::num::NonZeroU64;
use std::rc::Rc;
use std::time::Duration;

use rr_contract::model::id::{CredentialId, ProxyId};

use super::*;
use crate::quota::cell::Counted;
use crate::quota::cell::tests::{all_interrupted, interrupt};

const PROXY: ProxyId = ProxyId::from_random([1; 16]);

fn at(seconds: u64) -> Moment {
    Moment::at(Duration::from_secs(seconds), 0)
}

fn limits(minute: u64, day: u64) -> Windows {
    Windows { minute: NonZeroU64::new(minute), day: NonZeroU64::new(day), ..Windows::default() }
}

fn address(text: &str) -> Id {
    Id::Address(PROXY, Address::of(text.parse().expect("an address")))
}

fn number(n: u32) -> Id {
    Id::Address(PROXY, Address::of(IpAddr::from(n.to_be_bytes())))
}

fn keyed(most: usize) -> (Keyed, Counter<2>) {
    (Keyed::new(most, &Arc::default()), Counter::fleeting())
}

/// One pass over all shards.
fn sweep(keyed: &Keyed, at: &Moment) {
    for _ in 0..SHARDS {
        keyed.sweep(at);
    }
}

#[test]
fn each_key_has_its_own_count_and_comes_back_to_it() {
    let (keyed, others) = keyed(10);
    let once = limits(1, 0);
    for id in
        [address("192.0.2.1"), address("192.0.2.2"), Id::Caller(PROXY, CredentialId::from_random([2; 16]))]
    {
        let charge = keyed.charge(id, 1, &once, &others, &at(0)).expect("the first");
        assert_eq!(charge.used(Window::Minute), 1);
        let refused = keyed.charge(id, 1, &once, &others, &at(1)).expect_err("the second");
        assert_eq!(
            (refused.window, refused.limit, refused.used, refused.retry_after),
            (Window::Minute, 1, 1, 59)
        );
        keyed.charge(id, 1, &once, &others, &at(60)).expect("a new minute");
    }
    assert_eq!((keyed.held(), keyed.overflows()), (3, 0));
}

#[test]
fn the_addresses_that_one_caller_is_given_whole_are_one_key() {
    let same = |one, other| address(one) == address(other);
    assert!(same("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff"));
    assert!(!same("2001:db8:1:2::1", "2001:db8:1:3::1"));
    assert!(same("192.0.2.7", "::ffff:192.0.2.7"), "one address in two spellings");
    assert!(!same("192.0.2.7", "192.0.2.8"));
    assert!(!same("0.0.0.0", "::"));
    let other = Id::Address(ProxyId::from_random([2; 16]), Address::of(IpAddr::from([192, 0, 2, 7])));
    assert_ne!(address("192.0.2.7"), other, "proxies do not share keys");
}

#[test]
fn of_100_001_addresses_the_last_one_shares_and_none_is_refused_alone() {
    let (keyed, others) = keyed(100_000);
    let once = limits(1, 1);
    for n in 0..100_000 {
        keyed.charge(number(n), 1, &once, &others, &at(0)).expect("its own");
    }
    assert_eq!((keyed.held(), keyed.overflows()), (100_000, 0));
    keyed.charge(number(100_000), 1, &once, &others, &at(0)).expect("the first of those that share");
    keyed.charge(number(100_001), 1, &once, &others, &at(0)).expect_err("they share one counter");
    keyed.charge(number(5), 1, &once, &others, &at(0)).expect_err("a key that is there has its own");
    assert_eq!((keyed.held(), keyed.overflows()), (100_000, 2));
    // The next day they go, and those that shared get their own.
    let tomorrow = at(86_400);
    sweep(&keyed, &tomorrow);
    assert_eq!(keyed.held(), 0);
    keyed.charge(number(100_001), 1, &once, &others, &tomorrow).expect("its own");
    assert_eq!((keyed.held(), keyed.overflows()), (1, 2));
}

#[test]
fn a_key_goes_when_the_windows_of_its_limits_are_over_and_not_before() {
    let (keyed, others) = keyed(10);
    keyed.charge(number(1), 1, &limits(5, 0), &others, &at(0)).expect("below");
    keyed.charge(number(2), 1, &limits(5, 5), &others, &at(0)).expect("below");
    sweep(&keyed, &at(59));
    assert_eq!(keyed.held(), 2);
    sweep(&keyed, &at(60));
    assert_eq!(keyed.held(), 1, "a limit for the minute alone does not hold a key for a day");
    sweep(&keyed, &at(86_399));
    assert_eq!(keyed.held(), 1);
    keyed.charge(number(2), 1, &limits(0, 2), &others, &at(86_399)).expect("the day goes on");
    keyed.charge(number(2), 1, &limits(0, 2), &others, &at(86_399)).expect_err("the day goes on");
    sweep(&keyed, &at(86_400));
    assert_eq!(keyed.held(), 0);
}

#[test]
fn a_key_that_goes_takes_none_of_its_neighbours_along() {
    // More keys than shards, so that some lie beside one another.
    const KEYS: u32 = 4 * SHARDS as u32;
    let (keyed, others) = keyed(1000);
    for n in 0..KEYS {
        keyed.charge(number(n), 1, &limits(5, 0), &others, &at(0)).expect("below");
        keyed.charge(number(KEYS + n), 1, &limits(0, 1), &others, &at(0)).expect("below");
    }
    sweep(&keyed, &at(60));
    assert_eq!(keyed.held(), KEYS as usize);
    for n in 0..KEYS {
        keyed.charge(number(KEYS + n), 1, &limits(0, 1), &others, &at(60)).expect_err("the day goes on");
    }
}

#[test]
fn what_is_given_back_is_there_for_the_next_wherever_it_was_charged() {
    let (keyed, others) = keyed(1);
    let once = limits(1, 1);
    for n in [1, 2] {
        let charge = keyed.charge(number(n), 1, &once, &others, &at(0)).expect("the first");
        keyed.settle(charge, 0, &others);
        keyed.charge(number(n), 1, &once, &others, &at(0)).expect("it was given back");
        keyed.charge(number(n), 1, &once, &others, &at(0)).expect_err("it was not given back");
    }
    let late = keyed.charge(number(1), 1, &limits(5, 0), &others, &at(60)).expect("below");
    sweep(&keyed, &at(86_400));
    keyed.settle(late, 0, &others);
    assert_eq!(keyed.held(), 0, "a key that is gone does not come back by that");
}

#[test]
fn a_key_is_given_back_in_its_own_day_only() {
    let (keyed, others) = keyed(1);
    let late = keyed.charge(number(1), 1, &limits(0, 9), &others, &at(86_399)).expect("below");
    keyed.charge(number(1), 1, &limits(0, 9), &others, &at(86_400)).expect("below");
    keyed.settle(late, 0, &others);
    let next = keyed.charge(number(1), 1, &limits(0, 9), &others, &at(86_400)).expect("below");
    assert_eq!(next.used(Window::Day), 2);
}

#[test]
fn whoever_chooses_keys_does_not_know_where_they_lie() {
    let (one, other) = (keyed(1).0, keyed(1).0);
    let same = (0..64).filter(|n| one.key(number(*n)).hash == other.key(number(*n)).hash).count();
    assert_eq!(same, 0);
    let mut shards = [0; SHARDS];
    for n in 0..64_000 {
        let key = one.key(number(n));
        let shard = std::ptr::from_ref(one.shard(&key));
        let place = one.shards.iter().position(|other| std::ptr::eq(shard, other)).expect("one of them");
        shards[place] += 1;
    }
    assert!(shards.into_iter().all(|keys| (700..1300).contains(&keys)), "{shards:?}");
}

#[test]
fn of_two_that_want_the_last_place_at_once_one_shares() {
    let keyed = Rc::new(keyed(1).0);
    let (others, once) = (Counter::fleeting(), limits(1, 1));
    let other = Rc::clone(&keyed);
    // It has seen that there is room.
    interrupt(0, move || {
        other.charge(number(2), 1, &once, &Counter::fleeting(), &at(0)).expect("its own");
    });
    keyed.charge(number(1), 1, &once, &others, &at(0)).expect("the first of those that share");
    assert!(all_interrupted());
    assert_eq!((keyed.held(), keyed.overflows()), (1, 1));
}

#[test]
fn of_two_that_bring_the_same_key_at_once_both_are_counted() {
    let keyed = Rc::new(keyed(5).0);
    let (others, twice) = (Counter::fleeting(), limits(2, 2));
    let other = Rc::clone(&keyed);
    interrupt(0, move || {
        other.charge(number(1), 1, &twice, &Counter::fleeting(), &at(0)).expect("below");
    });
    let charge = keyed.charge(number(1), 1, &twice, &others, &at(0)).expect("below");
    assert!(all_interrupted());
    assert_eq!((keyed.held(), charge.used(Window::Minute)), (1, 2));
}

#[test]
fn what_was_saved_comes_back_as_far_as_there_is_room() {
    let (keyed, others) = keyed(2);
    let day = at(0).term(Window::Day);
    let saved = |count| Saved { day: Counted { term: day, count }, month: None };
    for n in [1, 2, 2, 3] {
        keyed.load(number(n), &saved(u64::from(n)), true);
    }
    assert_eq!(keyed.held(), 2);
    let used =
        |n| keyed.charge(number(n), 1, &limits(0, 9), &others, &at(0)).expect("below").used(Window::Day);
    assert_eq!((used(1), used(2), used(3)), (2, 3, 1));
}

/// Keys that come, are counted, and go, on threads that do not wait for one another.
#[test]
fn threads_neither_lose_a_count_nor_pass_the_bound() {
    const MOST: usize = 200;
    let (keyed, others) = keyed(MOST);
    let rounds = 20;
    let work = || {
        let mut admitted = 0;
        for round in 0..rounds {
            let at = at(round * 60);
            for n in 0..400 {
                admitted += u64::from(keyed.charge(number(n), 1, &limits(3, 0), &others, &at).is_ok());
                assert!(keyed.held() <= MOST);
            }
            sweep(&keyed, &at);
        }
        admitted
    };
    let admitted: u64 = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().expect("it counts")).sum()
    });
    // Each key, and the counter that the rest shares, admits three in each of the minutes at the most.
    assert!(admitted <= rounds * 3 * (MOST as u64 + 1), "{admitted}");
    let held: usize = keyed.shards.iter().map(|shard| shard.read().expect("no panic").len()).sum();
    assert_eq!(keyed.held(), held);
}
