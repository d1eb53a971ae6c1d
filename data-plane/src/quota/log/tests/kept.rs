//! What comes to the disk, when, and what goes from it.

use std::time::Instant as StdInstant;

use crate::fixture::disk::FaultyDisk;
use crate::quota::{Caller, QuotaSaver};

use super::*;

/// The file of a process that has counted nothing.
const EMPTY: usize = 8 + 8 + 8;

#[test]
fn a_save_is_synced_when_it_returns() {
    let disk = FaultyDisk::default();
    let machine = Machine::new();
    let seams = Seams {
        clock: Arc::new(machine.wall.clone()),
        entropy: Arc::new(SystemEntropy),
        disk: Arc::new(disk.clone()),
    };
    let (quotas, mut log) = QuotaLog::open(Path::new("state"), seams, machine.mono);
    for _ in 0..3 {
        let at = quotas.clock().moment(machine.mono);
        quotas.meter(meter(1)).charge(1, &FREE, &at).expect("no limit");
        log.save(machine.mono);
        let file = disk.lock().files.get(Path::new("state/quota/counts")).cloned().expect("it is there");
        assert!(file.bytes.len() > EMPTY && file.synced == file.bytes.len(), "{file:?}");
    }
}

#[test]
fn keys_that_were_read_back_are_in_the_file_that_is_written_anew() {
    let mut machine = Machine::new();
    let mut process = machine.start();
    let address = IpAddr::from([192, 0, 2, 1]);
    let charge = |process: &Process| {
        let quota = process.quotas.proxy(PROXY);
        let caller = quota.charge_caller(CALLER, &DAILY, &process.at()).expect("below");
        let holder = quota.charge_holder(HOLDER, &DAILY, &process.at()).expect("below");
        let address = quota.charge_address(address, &DAILY, &process.at()).expect("below");
        [caller, holder, address].map(|charge| charge.used(Window::Day))
    };
    assert_eq!(charge(&process), [1, 1, 1]);
    process.save();
    for _ in 0..2 {
        // Each writes the file anew, and counts nothing.
        machine.pass(60);
        process = machine.start();
        process.save();
    }
    assert_eq!(charge(&machine.start()), [2, 2, 2]);
}

#[test]
fn what_is_counted_of_each_kind_of_key_behind_a_save_is_in_the_next() {
    let machine = Machine::new();
    let mut process = machine.start();
    // The first one writes the whole file, and those behind it what has changed.
    process.save();
    let address = IpAddr::from([192, 0, 2, 1]);
    let limits = Windows { day: NonZeroU64::new(9), ..FREE };
    let credential = Caller { credential: CALLER, holder: None };
    let holder = Caller { holder: Some(HOLDER), ..credential };
    let charge = |process: &Process| {
        let (quota, at) = (process.quotas.proxy(PROXY), process.at());
        let metered = |caller| process.quotas.metered(meter(7), true).charge(caller, 1, &limits, &at);
        let charges = [
            quota.charge_caller(CALLER, &DAILY, &at),
            quota.charge_holder(HOLDER, &DAILY, &at),
            quota.charge_address(address, &DAILY, &at),
        ];
        let of_proxy = charges.map(|charge| charge.expect("below").used(Window::Day));
        (of_proxy, [credential, holder].map(|caller| metered(caller).expect("below").used(Window::Day)))
    };
    assert_eq!(charge(&process), ([1; 3], [1; 2]));
    process.save();
    assert_eq!(charge(&machine.start()), ([2; 3], [2; 2]));
}

#[test]
fn what_meters_count_of_callers_goes_on_after_a_kill_in_the_windows_that_have_a_limit() {
    const THREE: Option<NonZeroU64> = NonZeroU64::new(3);
    let credential = Caller { credential: CALLER, holder: None };
    let [first, second] = [1, 2].map(|n| Caller { holder: Some(Holder::from_bytes([n; 16])), ..credential });
    for limits in [Windows { day: THREE, ..FREE }, Windows { month: THREE, ..FREE }] {
        let mut machine = Machine::new();
        let mut process = machine.start();
        let charge = |process: &Process, caller| {
            process.quotas.metered(meter(7), true).charge(caller, 1, &limits, &process.at())
        };
        for caller in [credential, first, second, first] {
            charge(&process, caller).expect("below");
        }
        process.save();
        for _ in 0..2 {
            machine.pass(60);
            process = machine.start();
            process.save();
        }
        let used = |caller| charge(&process, caller).expect("below");
        let used = [used(credential), used(first), used(second)];
        let window = if limits.day.is_some() { Window::Day } else { Window::Month };
        assert_eq!(used.map(|charge| charge.used(window)), [2, 3, 2]);
        charge(&process, first).expect_err("it is full");
        drop(process);
        // A day without a limit is not saved, and a month without one keeps no place until its end.
        machine.pass(DAY);
        let Numbers { callers, holders, .. } = machine.start().numbers();
        assert_eq!((callers, holders), if window == Window::Day { (0, 0) } else { (1, 2) });
    }
}

#[test]
fn what_those_share_who_are_not_counted_apart_goes_on_after_a_kill_whichever_save_it_was_in() {
    let machine = Machine::new();
    let (limits, daily) =
        (Windows { day: NonZeroU64::new(3), ..FREE }, Limits { day: NonZeroU64::new(3), ..DAILY });
    let charge = |process: &Process, n: u32| {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&n.to_be_bytes());
        let (holder, at) = (Holder::from_bytes(bytes), process.at());
        let caller = Caller { credential: CALLER, holder: Some(holder) };
        let of_meter = process.quotas.metered(meter(7), true).charge(caller, 1, &limits, &at).ok();
        let of_proxy = process.quotas.proxy(PROXY).charge_holder(holder, &daily, &at).ok();
        [of_meter.map(|charge| charge.used(Window::Day)), of_proxy.map(|charge| charge.used(Window::Day))]
    };
    let mut process = machine.start();
    for n in 0..=100_000 {
        assert_eq!(charge(&process, n), [Some(1); 2]);
    }
    // The whole file.
    process.save();
    let mut process = machine.start();
    process.save();
    assert_eq!(charge(&process, 100_001), [Some(2); 2]);
    // What has changed.
    process.save();
    let again = machine.start();
    assert_eq!(charge(&again, 100_002), [Some(3); 2]);
    assert_eq!(charge(&again, 100_003), [None; 2], "it is full");
    assert_eq!(again.numbers().holders, 200_000);
}

#[test]
fn what_is_given_back_after_a_save_is_in_the_next() {
    let machine = Machine::new();
    let mut process = machine.start();
    let quota = process.quotas.proxy(PROXY);
    let charge = || {
        let caller = quota.charge_caller(CALLER, &DAILY, &process.at()).expect("below");
        (caller, quota.all().charge(1, &FREE, &process.at()).expect("no limit"))
    };
    let (_, (caller, all)) = (charge(), charge());
    process.save();
    quota.give_back_caller(caller);
    quota.all().give_back(all);
    process.save();
    let again = machine.start();
    let quota = again.quotas.proxy(PROXY);
    let next = quota.charge_caller(CALLER, &DAILY, &again.at()).expect("below");
    assert_eq!((next.used(Window::Day), quota.all().used(Window::Day, &again.at())), (2, 1));
}

#[test]
fn what_is_over_goes_from_the_disk_and_takes_no_place_in_memory() {
    let mut machine = Machine::new();
    let mut process = machine.start();
    process.count(1, 5);
    let quota = process.quotas.proxy(PROXY);
    quota.all().charge(1, &FREE, &process.at()).expect("no limit");
    for n in 0..9 {
        quota.charge_address(IpAddr::from([192, 0, 2, n]), &DAILY, &process.at()).expect("below");
    }
    process.save();
    assert!(machine.file().len() > EMPTY);
    machine.pass(DAY);
    assert_eq!(machine.start().numbers().addresses, 0, "their day is over");
    machine.pass(31 * DAY);
    machine.start().save();
    assert_eq!(machine.file().len(), EMPTY);
}

#[test]
fn what_was_given_back_to_nothing_takes_no_place_on_disk() {
    let machine = Machine::new();
    let mut process = machine.start();
    let charge = process.quotas.meter(meter(1)).charge(5, &FREE, &process.at()).expect("no limit");
    process.quotas.meter(meter(1)).give_back(charge);
    process.save();
    assert_eq!(machine.file().len(), EMPTY);
}

#[test]
fn a_change_comes_to_the_disk_by_itself_and_the_last_ones_at_the_end() {
    let machine = Machine::new();
    let Process { quotas, log, mono } = machine.start();
    let saver = QuotaSaver::start(log).expect("a thread");
    let count = |n| quotas.meter(meter(n)).charge(1, &FREE, &quotas.clock().moment(mono)).expect("no limit");
    count(1);
    let begun = StdInstant::now();
    while machine.start().counted(1) != [1, 1] {
        assert!(begun.elapsed() < Duration::from_secs(20), "nobody saves");
        std::thread::yield_now();
    }
    count(2);
    saver.close();
    assert_eq!(machine.start().counted(2), [1, 1]);
}

#[test]
fn a_count_that_was_given_back_to_zero_does_not_come_back() {
    let machine = Machine::new();
    let mut process = machine.start();
    let quota = process.quotas.proxy(PROXY);
    let caller = quota.charge_caller(CALLER, &DAILY, &process.at()).expect("below");
    let all = quota.all().charge(1, &FREE, &process.at()).expect("no limit");
    process.save();
    quota.give_back_caller(caller);
    quota.all().give_back(all);
    process.save();
    let again = machine.start();
    let quota = again.quotas.proxy(PROXY);
    let next = quota.charge_caller(CALLER, &DAILY, &again.at()).expect("below");
    assert_eq!((next.used(Window::Day), quota.all().used(Window::Day, &again.at())), (1, 0));
}
