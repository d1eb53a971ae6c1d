//! What is kept through changes of configuration, and what is forgotten.

use std::num::NonZeroU64;
use std::time::Duration;

use rr_contract::model::meter::Windows;

use super::*;
use crate::quota::{Caller, Quota as _};

const DAY: u64 = 86_400;
const PROXY: ProxyId = ProxyId::from_random([1; 16]);
const METER: MeterId = MeterId::from_random([2; 16]);
const ONCE: Limits = Limits { minute: None, day: NonZeroU64::new(1) };

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
        for _ in 0..64 {
            assert_eq!(self.quotas.tick(self.wall, self.mono), None);
        }
    }

    fn now(&self) -> Moment {
        self.quotas.clock().moment(self.mono)
    }

    fn known(&self) -> (usize, usize) {
        let named = self.quotas.named();
        (named.proxies.len(), named.meters.len())
    }
}

#[test]
fn a_change_of_configuration_keeps_counts() {
    let mut process = Process::new();
    let windows = Windows { day: NonZeroU64::new(3), ..Windows::default() };
    for round in 0..3 {
        // Each configuration names them anew.
        let (proxy, meter) = (process.quotas.proxy(PROXY), process.quotas.meter(METER));
        proxy.all().charge(1, &windows, &process.now()).expect("below");
        meter.charge(1, &windows, &process.now()).expect("below");
        assert_eq!(proxy.all().used(Window::Day, &process.now()), round + 1);
        drop((proxy, meter));
        process.pass(3600);
    }
    let (proxy, meter) = (process.quotas.proxy(PROXY), process.quotas.meter(METER));
    proxy.all().charge(1, &windows, &process.now()).expect_err("the day is full");
    meter.charge(1, &windows, &process.now()).expect_err("the day is full");
    assert!(Arc::ptr_eq(&proxy, &process.quotas.proxy(PROXY)), "two configurations share one counter");
    assert_ne!(process.quotas.meter(METER).used(Window::Day, &process.now()), 0);
}

#[test]
fn what_nobody_uses_is_forgotten_once_its_windows_are_over() {
    let mut process = Process::new();
    let (proxy, meter) = (process.quotas.proxy(PROXY), process.quotas.meter(METER));
    proxy.all().charge(1, &Windows::default(), &process.now()).expect("no limit");
    meter.charge(1, &Windows::default(), &process.now()).expect("no limit");
    drop((proxy, meter));
    process.pass(DAY - 1);
    assert_eq!(process.known(), (1, 1), "the day goes on");
    process.pass(1);
    assert_eq!(process.known(), (0, 1), "the month of the meter goes on");
    let meter = process.quotas.meter(METER);
    process.pass(30 * DAY);
    assert_eq!(process.known(), (0, 1), "a configuration holds the meter");
    drop(meter);
    process.pass(60);
    assert_eq!(process.known(), (0, 0));
}

#[test]
fn callers_and_addresses_are_counted_apart_and_the_numbers_say_so() {
    let mut process = Process::new();
    let proxy = process.quotas.proxy(PROXY);
    let caller = |n| CredentialId::from_random([n; 16]);
    let address = |n| IpAddr::from([192, 0, 2, n]);
    for n in 1..=2 {
        let charge = proxy.charge_caller(caller(n), &ONCE, &process.now()).expect("the first");
        proxy.charge_caller(caller(n), &ONCE, &process.now()).expect_err("the second");
        proxy.give_back_caller(charge);
        proxy.charge_caller(caller(n), &ONCE, &process.now()).expect("it was given back");
        proxy.charge_address(address(n), &ONCE, &process.now()).expect("the first");
    }
    let shared = proxy.charge_address(address(3), &ONCE, &process.now()).expect("the first of the rest");
    proxy.charge_address(address(4), &ONCE, &process.now()).expect_err("the rest shares");
    proxy.give_back_address(shared);
    proxy.charge_address(address(4), &ONCE, &process.now()).expect("it was given back");
    let Numbers { callers, addresses, overflows, .. } = process.quotas.numbers();
    assert_eq!((callers, addresses, overflows), (2, 2, 3));
    let other = process.quotas.proxy(ProxyId::from_random([9; 16]));
    other.charge_address(address(4), &ONCE, &process.now()).expect("the rest of another proxy");
    process.pass(DAY);
    let Numbers { callers, addresses, .. } = process.quotas.numbers();
    assert_eq!((callers, addresses), (0, 0));
}

#[test]
fn a_node_counts_100_000_addresses_apart_and_more_callers_than_that() {
    let process = Process { quotas: Quotas::fleeting(), ..Process::new() };
    let proxy = process.quotas.proxy(PROXY);
    for n in 0..100_002_u32 {
        let (address, mut id) = (IpAddr::from(n.to_be_bytes()), [0; 16]);
        id[..4].copy_from_slice(&n.to_be_bytes());
        let is_apart = n < 100_001;
        assert_eq!(proxy.charge_address(address, &ONCE, &process.now()).is_ok(), is_apart, "{n}");
        proxy.charge_caller(CredentialId::from_random(id), &ONCE, &process.now()).expect("the first");
    }
    let Numbers { callers, addresses, overflows, .. } = process.quotas.numbers();
    assert_eq!((callers, addresses, overflows), (100_002, 100_000, 2));
}

fn holder(n: u32) -> Holder {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&n.to_be_bytes());
    Holder::from_bytes(bytes)
}

#[test]
fn a_node_counts_100_000_holders_of_tokens_apart_and_they_take_no_place_of_callers_or_addresses() {
    let process = Process { quotas: Quotas::fleeting(), ..Process::new() };
    let proxy = process.quotas.proxy(PROXY);
    for n in 0..100_002 {
        let is_apart = n < 100_001;
        assert_eq!(proxy.charge_holder(holder(n), &ONCE, &process.now()).is_ok(), is_apart, "{n}");
    }
    proxy.charge_holder(holder(7), &ONCE, &process.now()).expect_err("it has its own");
    proxy.charge_caller(CredentialId::from_random([1; 16]), &ONCE, &process.now()).expect("its own");
    proxy.charge_address(IpAddr::from([192, 0, 2, 1]), &ONCE, &process.now()).expect("its own");
    let Numbers { callers, holders, addresses, overflows, .. } = process.quotas.numbers();
    assert_eq!((callers, holders, addresses, overflows), (1, 100_000, 1, 2));
    let other = process.quotas.proxy(ProxyId::from_random([9; 16]));
    other.charge_holder(holder(100_001), &ONCE, &process.now()).expect("the rest of another proxy");
}

#[test]
fn each_proxy_counts_the_same_caller_holder_and_address_by_itself() {
    let process = Process::new();
    let (caller, address) = (CredentialId::from_random([3; 16]), IpAddr::from([192, 0, 2, 1]));
    for n in [1, 9] {
        let (proxy, now) = (process.quotas.proxy(ProxyId::from_random([n; 16])), process.now());
        let charge = || {
            let charges = [
                proxy.charge_caller(caller, &ONCE, &now),
                proxy.charge_holder(holder(1), &ONCE, &now),
                proxy.charge_address(address, &ONCE, &now),
            ];
            charges.map(|charge| charge.is_ok())
        };
        assert_eq!((charge(), charge()), ([true; 3], [false; 3]), "{n}");
    }
    let Numbers { callers, holders, addresses, .. } = process.quotas.numbers();
    assert_eq!((callers, holders, addresses), (2, 2, 2));
}

#[test]
fn what_those_share_whom_a_meter_does_not_count_apart_is_kept_as_long_as_somebody_uses_it_or_its_month_goes_on()
 {
    let mut process = Process::new();
    let limits = Windows { month: NonZeroU64::new(9), ..Windows::default() };
    let charge = |process: &Process, n| {
        let caller = Caller { credential: CredentialId::from_random([3; 16]), holder: Some(holder(n)) };
        let charge = process.quotas.metered(METER, true).charge(caller, 1, &limits, &process.now());
        charge.expect("below").used(Window::Month)
    };
    let kept = |process: &Process| process.quotas.named().by_caller.len();
    assert_eq!([1, 2, 3].map(|n| charge(&process, n)), [1, 1, 1]);
    process.pass(60);
    assert_eq!((kept(&process), charge(&process, 4)), (1, 2), "the month goes on");
    let held = process.quotas.metered(METER, true);
    process.pass(30 * DAY);
    assert_eq!(kept(&process), 1, "a configuration holds it");
    drop(held);
    process.pass(60);
    assert_eq!(kept(&process), 0);
}

#[test]
fn what_is_given_back_of_holders_is_there_for_them_again_and_their_places_are_free_the_next_day() {
    let mut process = Process::new();
    let proxy = process.quotas.proxy(PROXY);
    for n in 1..=2 {
        let charge = proxy.charge_holder(holder(n), &ONCE, &process.now()).expect("the first");
        proxy.charge_holder(holder(n), &ONCE, &process.now()).expect_err("the second");
        proxy.give_back_holder(charge);
        proxy.charge_holder(holder(n), &ONCE, &process.now()).expect("it was given back");
    }
    let shared = proxy.charge_holder(holder(3), &ONCE, &process.now()).expect("the first of the rest");
    proxy.charge_holder(holder(4), &ONCE, &process.now()).expect_err("the rest shares");
    proxy.give_back_holder(shared);
    proxy.charge_holder(holder(4), &ONCE, &process.now()).expect("it was given back");
    process.pass(DAY);
    assert_eq!(process.quotas.numbers().holders, 0);
}

#[test]
fn what_those_share_that_are_not_counted_apart_is_told_for_the_disk() {
    let process = Process::new();
    let proxy = process.quotas.proxy(PROXY);
    for n in 0..=100 {
        proxy.charge_caller(CredentialId::from_random([n; 16]), &ONCE, &process.now()).expect("the first");
    }
    for n in 0..=2 {
        proxy.charge_address(IpAddr::from([192, 0, 2, n]), &ONCE, &process.now()).expect("the first");
        proxy.charge_holder(holder(n.into()), &ONCE, &process.now()).expect("the first");
    }
    let mut told = Vec::new();
    process.quotas.take_changed(&mut told);
    for id in [Id::OtherCallers(PROXY), Id::OtherHolders(PROXY), Id::OtherAddresses(PROXY)] {
        assert!(told.contains(&id), "{id:?}");
        assert_eq!(process.quotas.save(id).map(|saved| saved.day.count), Some(1), "{id:?}");
    }
}

#[test]
fn what_was_saved_and_nobody_names_is_forgotten_once_its_windows_are_over() {
    let mut process = Process::new();
    let saved = Counter::<4>::new(Id::Meter(METER), None, &Arc::default());
    let begin = process.now();
    saved.charge(1, &Windows::default(), &begin).expect("no limit");
    process.quotas.load(Id::Meter(METER), saved.save(), &begin);
    let kept = |process: &Process| process.quotas.named().saved.len();
    process.pass(23 * DAY);
    assert_eq!(kept(&process), 1, "the month goes on");
    process.pass(DAY);
    assert_eq!(kept(&process), 0, "a month of 28 days is over");
}

#[test]
fn a_jump_of_the_clock_is_told_once_and_counted() {
    let mut process = Process::new();
    process.wall += Duration::from_secs(31 * DAY);
    let mut events = Vec::new();
    let log = crate::fixture::log_of(|| {
        for _ in 0..10 {
            process.mono += Duration::from_millis(500);
            process.wall += Duration::from_millis(500);
            events.extend(process.quotas.tick(process.wall, process.mono));
        }
    });
    assert_eq!(events, [ClockEvent::Jumped(31 * 86_400_000)]);
    assert_eq!(log.matches("wall clock jumped").count(), 1, "{log}");
    assert_eq!(process.quotas.numbers().clock_jumps, 1);
}
