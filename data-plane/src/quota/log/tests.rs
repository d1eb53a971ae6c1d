//! Counts over ends of every kind.

mod kept;

use std::net::IpAddr;
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex};

use rr_contract::model::id::{CredentialId, MeterId, ProxyId};
use rr_contract::model::meter::Windows;
use rr_contract::model::proxy::Limits;
use rr_contract::seam::{Clock, SystemEntropy};

use super::*;
use crate::fixture::{SharedDisk, log_of};
use crate::holder::Holder;
use crate::quota::Quota;
use crate::quota::moment::Window;
use crate::quota::registry::Numbers;

const DAY: u64 = 86_400;
const PROXY: ProxyId = ProxyId::from_random([1; 16]);
const CALLER: CredentialId = CredentialId::from_random([3; 16]);
const HOLDER: Holder = Holder::from_bytes([4; 16]);
const FREE: Windows = Windows { minute: None, hour: None, day: None, month: None };
const DAILY: Limits = Limits { minute: None, day: NonZeroU64::new(1000) };

/// The fifth of a month, at midnight.
const BEGIN: u64 = 1_770_249_600;

#[derive(Clone)]
struct WallClock(Arc<Mutex<SystemTime>>);

impl Clock for WallClock {
    fn now(&self) -> SystemTime {
        *self.0.lock().expect("no test panics with it")
    }
}

/// A machine on which processes start and are killed.
struct Machine {
    disk: SharedDisk,
    wall: WallClock,
    mono: Instant,
}

impl Machine {
    fn new() -> Self {
        let begin = SystemTime::UNIX_EPOCH + Duration::from_secs(BEGIN);
        Self {
            disk: SharedDisk::default(),
            wall: WallClock(Arc::new(Mutex::new(begin))),
            mono: Instant::now(),
        }
    }

    fn start(&self) -> Process {
        let seams = Seams {
            clock: Arc::new(self.wall.clone()),
            entropy: Arc::new(SystemEntropy),
            disk: Arc::new(self.disk.clone()),
        };
        let (quotas, log) = QuotaLog::open(Path::new("state"), seams, self.mono);
        Process { quotas, log, mono: self.mono }
    }

    fn pass(&mut self, seconds: u64) {
        *self.wall.0.lock().expect("no test panics with it") += Duration::from_secs(seconds);
        self.mono += Duration::from_secs(seconds);
    }

    fn file(&self) -> Vec<u8> {
        self.disk.0.files().get(Path::new("state/quota/counts")).cloned().unwrap_or_default()
    }

    fn put(&self, bytes: &[u8]) {
        self.disk.0.files().insert("state/quota/counts".into(), bytes.to_vec());
    }

    fn is_full(&self, is_full: bool) {
        self.disk.0.is_full.store(is_full, Relaxed);
    }
}

struct Process {
    quotas: Quotas,
    log: QuotaLog,
    mono: Instant,
}

fn meter(n: u8) -> MeterId {
    MeterId::from_random([n; 16])
}

impl Process {
    fn at(&self) -> Moment {
        self.quotas.clock().moment(self.mono)
    }

    fn save(&mut self) {
        self.log.save(self.mono);
    }

    fn count(&self, n: u8, amount: u64) {
        self.quotas.meter(meter(n)).charge(amount, &FREE, &self.at()).expect("no limit");
    }

    /// Of the day and of the month.
    fn counted(&self, n: u8) -> [u64; 2] {
        let meter = self.quotas.meter(meter(n));
        [Window::Day, Window::Month].map(|window| meter.used(window, &self.at()))
    }

    fn numbers(&self) -> Numbers {
        self.quotas.numbers()
    }
}

#[test]
fn after_a_kill_days_and_months_go_on_and_minutes_and_hours_begin_anew() {
    let mut machine = Machine::new();
    let mut first = machine.start();
    let quota = first.quotas.proxy(PROXY);
    let address = IpAddr::from([192, 0, 2, 1]);
    quota.all().charge(7, &FREE, &first.at()).expect("no limit");
    let open = first.quotas.meter(meter(2)).charge(100, &FREE, &first.at()).expect("no limit");
    quota.charge_caller(CALLER, &DAILY, &first.at()).expect("below");
    quota.charge_holder(HOLDER, &DAILY, &first.at()).expect("below");
    quota.charge_address(address, &DAILY, &first.at()).expect("below");
    first.save();
    quota.all().charge(1, &FREE, &first.at()).expect("no limit");
    first.quotas.meter(meter(2)).settle(open, 60);
    quota.charge_caller(CALLER, &DAILY, &first.at()).expect("below");
    first.save();
    // After this save nothing comes to the disk.
    quota.all().charge(100, &FREE, &first.at()).expect("no limit");
    drop((first, quota));
    machine.pass(5);
    let again = machine.start();
    let (quota, meter) = (again.quotas.proxy(PROXY), again.quotas.meter(meter(2)));
    let used = |counter: &dyn Quota| Window::ALL.map(|window| counter.used(window, &again.at()));
    assert_eq!(used(quota.all()), [0, 0, 8, 0], "a proxy has no month");
    assert_eq!(used(&*meter), [0, 0, 60, 60]);
    let next = quota.charge_caller(CALLER, &DAILY, &again.at()).expect("below");
    assert_eq!(next.used(Window::Day), 3);
    let next = quota.charge_holder(HOLDER, &DAILY, &again.at()).expect("below");
    assert_eq!(next.used(Window::Day), 2);
    let next = quota.charge_address(address, &DAILY, &again.at()).expect("below");
    assert_eq!(next.used(Window::Day), 2);
    let Numbers { callers, holders, addresses, damaged, .. } = again.numbers();
    assert_eq!((callers, holders, addresses, damaged), (1, 1, 1, 0));
}

#[test]
fn what_nobody_named_after_a_restart_is_still_there_after_the_next() {
    let mut machine = Machine::new();
    let mut process = machine.start();
    process.count(1, 5);
    process.save();
    for _ in 0..3 {
        machine.pass(60);
        process = machine.start();
        process.save();
    }
    assert_eq!(process.counted(1), [5, 5]);
    machine.pass(DAY);
    assert_eq!(machine.start().counted(1), [0, 5]);
    machine.pass(31 * DAY);
    assert_eq!(machine.start().counted(1), [0, 0]);
}

#[test]
fn a_save_writes_what_has_changed_and_nothing_else() {
    let machine = Machine::new();
    let mut process = machine.start();
    for n in 0..200 {
        process.count(n, 1);
    }
    process.save();
    let before = machine.file().len();
    process.save();
    assert_eq!(machine.file().len(), before, "nothing has changed");
    process.count(7, 1);
    process.count(7, 1);
    process.save();
    assert_eq!(machine.file().len() - before, 8 + 8 + 1 + 16 + 24, "one entry");
    process.save();
    assert_eq!(machine.file().len() - before, 57);
    assert_eq!(process.numbers().saves, 2);
}

#[test]
fn a_key_with_a_limit_for_the_minute_alone_never_goes_to_disk() {
    let machine = Machine::new();
    let mut process = machine.start();
    process.save();
    let before = machine.file().len();
    let minutely = Limits { minute: NonZeroU64::new(5), day: None };
    let quota = process.quotas.proxy(PROXY);
    quota.charge_address(IpAddr::from([192, 0, 2, 1]), &minutely, &process.at()).expect("below");
    process.save();
    assert_eq!(machine.file().len(), before);
}

#[test]
fn the_file_is_written_anew_before_it_outgrows_what_it_holds() {
    let machine = Machine::new();
    let mut process = machine.start();
    let mut longest = 0;
    for round in 0..400 {
        for n in 0..100 {
            process.count(n, 1);
        }
        process.save();
        longest = longest.max(machine.file().len());
        assert_eq!(process.numbers().saves, round + 1);
    }
    assert!(longest > 1_000_000, "{longest}");
    assert!(longest < 1_000_000 + 200_000, "{longest}");
    assert_eq!(machine.start().counted(99), [400, 400]);
}

/// A file with a first part and three saves behind it, and what a node has after each of them.
fn history(machine: &Machine) -> (Vec<usize>, Vec<[u64; 2]>) {
    let mut process = machine.start();
    process.count(1, 1);
    process.count(2, 1);
    process.save();
    let (mut ends, mut counts) = (vec![machine.file().len()], vec![[1, 1]]);
    for _ in 0..3 {
        process.count(1, 1);
        process.count(2, 2);
        process.save();
        ends.push(machine.file().len());
        counts.push([process.counted(1)[0], process.counted(2)[0]]);
    }
    (ends, counts)
}

#[test]
fn a_file_that_is_cut_anywhere_gives_the_counts_of_the_last_whole_save() {
    let machine = Machine::new();
    let (ends, counts) = history(&machine);
    let whole = machine.file();
    for length in 0..=whole.len() {
        machine.put(&whole[..length]);
        let mut process = machine.start();
        let saves = ends.iter().filter(|end| **end <= length).count();
        let expected = saves.checked_sub(1).map_or([0, 0], |last| counts[last]);
        assert_eq!([process.counted(1)[0], process.counted(2)[0]], expected, "cut at {length}");
        let is_torn = length != 8 && !ends.contains(&length);
        assert_eq!(process.numbers().damaged, u64::from(is_torn), "cut at {length}");
        // What comes next stands behind nothing torn.
        process.count(1, 10);
        process.save();
        let again = machine.start();
        assert_eq!(again.counted(1)[0], expected[0] + 10, "cut at {length}");
        assert_eq!(again.numbers().damaged, 0);
    }
}

#[test]
fn a_byte_that_is_bent_costs_its_own_frame_and_is_counted() {
    let machine = Machine::new();
    let (ends, counts) = history(&machine);
    let whole = machine.file();
    for at in 0..whole.len() {
        let mut bent = whole.clone();
        bent[at] ^= 0x10;
        machine.put(&bent);
        let process = machine.start();
        assert_eq!(process.numbers().damaged, 1, "bent at {at}");
        let found = [process.counted(1)[0], process.counted(2)[0]];
        let is_last = at >= ends[ends.len() - 2];
        let expected = counts[if is_last { counts.len() - 2 } else { counts.len() - 1 }];
        assert_eq!(found, expected, "bent at {at}");
    }
}

#[test]
fn a_disk_that_fails_is_told_once_counted_and_caught_up_with() {
    let machine = Machine::new();
    let mut process = machine.start();
    process.count(1, 1);
    process.save();
    let log = log_of(|| {
        machine.is_full(true);
        for _ in 0..20 {
            process.count(1, 1);
            process.save();
        }
        machine.is_full(false);
        for _ in 0..40 {
            process.save();
        }
    });
    // After one, two, four, eight saves left out.
    assert_eq!(process.numbers().saves_failed, 5);
    assert_eq!(log.matches("cannot be saved").count(), 1, "{log}");
    assert_eq!(log.matches("on disk again").count(), 1, "{log}");
    assert_eq!(machine.start().counted(1), [21, 21]);
}

#[test]
fn a_node_that_starts_on_a_disk_that_fails_counts_all_the_same() {
    let machine = Machine::new();
    machine.is_full(true);
    let mut process = machine.start();
    process.count(1, 1);
    process.save();
    assert_eq!((process.counted(1), process.numbers().saves_failed), ([1, 1], 1));
    machine.is_full(false);
    process.save();
    process.save();
    assert_eq!(machine.start().counted(1), [1, 1]);
}

#[test]
fn a_restart_with_a_clock_that_is_behind_grants_nothing_anew() {
    let mut machine = Machine::new();
    let mut process = machine.start();
    process.count(1, 5);
    process.save();
    // A machine that forgot the time, and is told it a minute later.
    machine.wall = WallClock(Arc::new(Mutex::new(SystemTime::UNIX_EPOCH)));
    process = machine.start();
    assert_eq!(process.counted(1), [5, 5]);
    process.count(1, 1);
    process.save();
    machine.wall = WallClock(Arc::new(Mutex::new(SystemTime::UNIX_EPOCH + Duration::from_secs(BEGIN + 60))));
    machine.pass(0);
    assert_eq!(machine.start().counted(1), [6, 6]);
}

#[test]
fn a_restart_with_a_clock_that_was_put_back_freezes_no_window() {
    let mut machine = Machine::new();
    machine.pass(40 * DAY);
    let daily = Windows { day: NonZeroU64::new(5), ..FREE };
    let mut process = machine.start();
    process.quotas.meter(meter(1)).charge(5, &daily, &process.at()).expect("below");
    process.save();
    machine.wall = WallClock(Arc::new(Mutex::new(SystemTime::UNIX_EPOCH + Duration::from_secs(BEGIN))));
    process = machine.start();
    for _ in 0..302 {
        machine.pass(1);
        process.quotas.tick(machine.wall.now(), machine.mono);
    }
    process.mono = machine.mono;
    assert_eq!(process.at().seconds(), BEGIN + 302);
    let charge = |process: &Process| process.quotas.meter(meter(1)).charge(1, &daily, &process.at());
    charge(&process).expect_err("what was used just now counts in the day that it is now");
    machine.pass(DAY);
    process.mono = machine.mono;
    charge(&process).expect("the next day");
}

#[test]
fn whatever_a_file_says_a_node_starts() {
    let machine = Machine::new();
    let mut random = 1_u64;
    for length in 0..300 {
        let byte = |_| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 56) as u8
        };
        let junk: Vec<u8> = (0..length).map(byte).collect();
        machine.put(&junk);
        assert_eq!(machine.start().counted(1), [0, 0]);
        machine.put(&[&frame::MAGIC[..], &junk].concat());
        assert_eq!(machine.start().counted(1), [0, 0]);
    }
}

/// Requests go on while counts are saved: what is saved last is what was counted.
#[test]
fn no_change_is_missed_by_the_saves_that_run_beside_it() {
    let machine = Machine::new();
    let mut process = machine.start();
    let meter_quota = process.quotas.meter(meter(2));
    let quota = process.quotas.proxy(PROXY);
    let (at, address) = (process.at(), IpAddr::from([192, 0, 2, 1]));
    let many = Limits { minute: None, day: NonZeroU64::new(1_000_000) };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        meter_quota.charge(1, &FREE, &at).expect("no limit");
                        quota.charge_address(address, &many, &at).expect("below");
                    }
                })
            })
            .collect();
        while threads.iter().any(|thread| !thread.is_finished()) {
            process.save();
        }
    });
    process.save();
    let again = machine.start();
    assert_eq!(again.quotas.meter(meter(2)).used(Window::Day, &again.at()), 20_000);
    let next = again.quotas.proxy(PROXY).charge_address(address, &many, &again.at()).expect("below");
    assert_eq!(next.used(Window::Day), 20_001);
}
