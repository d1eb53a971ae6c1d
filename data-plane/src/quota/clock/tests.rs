//! Clocks that jump, sleep and come back.

use super::*;
use crate::quota::moment::Window;

const WALL: Duration = Duration::from_secs(1_800_000_000);
const MONTH: Duration = Duration::from_secs(31 * 86_400);
const TICK: Duration = Duration::from_millis(500);

/// A machine with both clocks.
struct Machine {
    wall: SystemTime,
    mono: Instant,
    clock: QuotaClock,
}

impl Machine {
    fn start(known: SystemTime) -> Self {
        let (wall, mono) = (SystemTime::UNIX_EPOCH + WALL, Instant::now());
        Self { wall, mono, clock: QuotaClock::start(wall, mono, known) }
    }

    fn new() -> Self {
        Self::start(SystemTime::UNIX_EPOCH)
    }

    fn pass(&mut self, time: Duration) -> Vec<ClockEvent> {
        let mut events = Vec::new();
        for _ in 0..time.as_millis() / TICK.as_millis() {
            self.wall += TICK;
            self.mono += TICK;
            events.extend(self.clock.watch(self.wall, self.mono));
        }
        events
    }

    /// Seconds by the clock of limits, from where the wall clock began, and the era.
    fn now(&self) -> (i64, u32) {
        let moment = self.clock.moment(self.mono);
        let era = moment.term(Window::Day).era();
        (moment.seconds().cast_signed() - WALL.as_secs().cast_signed(), era)
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn small_steps_are_followed_at_once_and_not_told() {
    let mut machine = Machine::new();
    assert_eq!(machine.pass(seconds(60)), []);
    assert_eq!(machine.now(), (60, 0));
    machine.wall += seconds(2);
    assert_eq!(machine.pass(seconds(1)), []);
    assert_eq!(machine.now(), (63, 0));
    machine.wall -= seconds(2);
    assert_eq!(machine.pass(seconds(1)), []);
    assert_eq!((machine.now(), machine.clock.jumps()), ((62, 0), 0));
}

#[test]
fn a_jump_by_a_month_and_back_within_five_minutes_changes_no_moment() {
    let mut machine = Machine::new();
    machine.wall += MONTH;
    assert_eq!(machine.pass(seconds(200)), [ClockEvent::Jumped(31 * 86_400_000)], "it is told once");
    assert_eq!(machine.now(), (200, 0));
    machine.wall -= MONTH;
    assert_eq!(machine.pass(seconds(200)), [ClockEvent::Returned]);
    assert_eq!((machine.now(), machine.clock.jumps()), ((400, 0), 1));
}

#[test]
fn a_clock_that_holds_is_followed_forwards_in_the_same_era_and_backwards_in_the_next() {
    let mut machine = Machine::new();
    machine.wall += MONTH;
    let by = 31 * 86_400_000;
    assert_eq!(machine.pass(seconds(299)), [ClockEvent::Jumped(by)]);
    assert_eq!(machine.pass(seconds(2)), [ClockEvent::Followed(by)]);
    assert_eq!(machine.now(), (301 + 31 * 86_400, 0));
    machine.wall -= MONTH;
    assert_eq!(machine.pass(seconds(301)), [ClockEvent::Jumped(-by), ClockEvent::Followed(-by)]);
    assert_eq!(machine.now(), (602, 1));
    assert_eq!(machine.pass(seconds(3600)), []);
}

#[test]
fn a_second_jump_is_told_by_its_own_size_and_waits_anew() {
    let mut machine = Machine::new();
    machine.wall += seconds(100);
    assert_eq!(machine.pass(seconds(200)), [ClockEvent::Jumped(100_000)]);
    machine.wall += seconds(50);
    assert_eq!(machine.pass(seconds(200)), [ClockEvent::Jumped(50_000)]);
    assert_eq!(machine.now(), (400, 0));
    assert_eq!(machine.pass(seconds(110)), [ClockEvent::Followed(150_000)]);
}

#[test]
fn a_clock_that_is_brought_back_slowly_jumped_once() {
    let mut machine = Machine::new();
    machine.wall += seconds(60);
    let mut events = machine.pass(TICK);
    for _ in 0..590 {
        machine.wall -= Duration::from_millis(100);
        events.extend(machine.pass(TICK));
    }
    assert_eq!(events, [ClockEvent::Jumped(60_000), ClockEvent::Returned]);
}

#[test]
fn a_node_that_starts_behind_its_own_files_takes_their_time_and_then_follows_the_clock() {
    // A machine without a clock of its own, before it has asked the network.
    let mut machine = Machine::start(SystemTime::UNIX_EPOCH + WALL + MONTH);
    assert_eq!(machine.pass(seconds(10)), [ClockEvent::Jumped(-31 * 86_400_000)]);
    assert_eq!(machine.now(), (31 * 86_400 + 10, 0));
    // The network says that an hour has passed since the files were written.
    machine.wall += MONTH + seconds(3600);
    assert_eq!(machine.pass(seconds(10)), [ClockEvent::Jumped((31 * 86_400 + 3600) * 1000)]);
    assert_eq!(machine.pass(seconds(300)), [ClockEvent::Followed(3_600_000)]);
    assert_eq!(machine.now(), (31 * 86_400 + 3600 + 320, 0));
}
