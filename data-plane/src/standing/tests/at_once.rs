//! What holds when several workers do the same at the same time.

use std::hint::spin_loop;
use std::thread;

use super::*;

const WORKERS: usize = 2;
const ROUNDS: usize = 20_000;
/// How often a worker looks for the other one before it lets others go first.
const LOOKS: usize = 1_000;

/// Has both workers do this in each round, as near to the same time as can be, and hands over what came of each round.
fn beside<T: Send>(round: impl Fn(usize, usize) -> T + Sync) -> Vec<[T; WORKERS]> {
    let arrived = AtomicUsize::new(0);
    let worker = |worker: usize| -> Vec<T> {
        let meet = |n: usize| {
            arrived.fetch_add(1, Ordering::AcqRel);
            let mut looks = 0;
            while arrived.load(Ordering::Acquire) < (n + 1) * WORKERS {
                looks += 1;
                if looks % LOOKS == 0 { thread::yield_now() } else { spin_loop() }
            }
        };
        let one = |n| {
            meet(n);
            round(n, worker)
        };
        (0..ROUNDS).map(one).collect()
    };
    thread::scope(|scope| {
        let worker = &worker;
        let spawn = |n| thread::Builder::new().spawn_scoped(scope, move || worker(n)).expect("a thread");
        let [one, other] = [spawn(0), spawn(1)].map(|worker| worker.join().expect("no panic"));
        one.into_iter().zip(other).map(|(one, other)| [one, other]).collect()
    })
}

/// One for each round.
fn all<T>(make: impl Fn() -> T) -> Vec<T> {
    (0..ROUNDS).map(|_| make()).collect()
}

#[test]
fn of_workers_that_find_an_open_circuit_over_at_the_same_time_one_finds_out() {
    let (standings, start) = (all(with_breaker), Instant::now());
    for standing in &standings {
        (0..3).for_each(|_| sends(standing, Outcome::Failure, start).expect("it is closed"));
    }
    let half = start + Duration::from_secs(10);
    // What it finds out opens it again, so it does not matter how soon that is.
    for round in beside(|n, _| sends(&standings[n], Outcome::Failure, half).is_ok()) {
        assert_ne!(round[0], round[1]);
    }
}

#[test]
fn workers_that_take_the_last_retry_at_the_same_time_do_not_both_have_it() {
    let now = Instant::now();
    let budgets = all(|| {
        let budget = Budget::new(Arc::default());
        assert!(budget.take(20, now) && budget.take(20, now));
        budget
    });
    for round in beside(|n, _| budgets[n].take(20, now)) {
        assert!(!(round[0] && round[1]));
    }
}

#[test]
fn workers_that_eject_at_the_same_time_leave_a_base_url() {
    let now = Instant::now();
    let standings = all(|| {
        let standing = standing_of_two();
        (0..2).for_each(|index| fails(&standing, index, 1, now));
        standing
    });
    beside(|n, worker| fails(&standings[n], worker as u8, 1, now));
    for standing in &standings {
        let out = standing.endpoints().iter().filter(|endpoint| endpoint.is_ejected(millis(now))).count();
        assert_eq!(out, 1);
    }
}

#[test]
fn what_workers_report_at_the_same_time_opens_a_circuit_once() {
    let now = Instant::now();
    let standings = all(|| {
        let standing = with_breaker();
        (0..2).for_each(|_| sends(&standing, Outcome::Failure, now).expect("it is closed"));
        standing
    });
    let passes: Vec<_> = standings
        .iter()
        .map(|standing| [(); WORKERS].map(|()| Mutex::new(standing.admit(now).ok())))
        .collect();
    beside(|n, worker| {
        let pass = passes[n][worker].lock().expect("no panic").take().expect("it is closed");
        standings[n].ended(0, pass, Outcome::Failure, now, now);
    });
    for standing in &standings {
        assert_eq!(standing.tally().openings.load(Ordering::Relaxed), 1);
    }
}
