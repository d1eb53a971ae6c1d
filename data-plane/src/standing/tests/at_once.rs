//! What holds when several workers do the same at the same time.

use std::sync::Barrier;
use std::thread;

use super::*;

const WORKERS: usize = 4;
const ROUNDS: usize = 2_000;

/// Has all workers do this in each round, beside one another, and hands over what came of each round.
fn beside<T: Send>(round: impl Fn(usize, usize) -> T + Sync) -> Vec<Vec<T>> {
    let barrier = Barrier::new(WORKERS);
    let worker = |worker: usize| {
        let come: Vec<T> = (0..ROUNDS)
            .map(|n| {
                barrier.wait();
                round(n, worker)
            })
            .collect();
        come
    };
    let mut come: Vec<Vec<T>> = (0..ROUNDS).map(|_| Vec::new()).collect();
    thread::scope(|scope| {
        let worker = &worker;
        let spawn = |n| thread::Builder::new().spawn_scoped(scope, move || worker(n)).expect("a thread");
        let workers: Vec<_> = (0..WORKERS).map(spawn).collect();
        for worker in workers {
            let of_worker = worker.join().expect("no panic");
            come.iter_mut().zip(of_worker).for_each(|(round, one)| round.push(one));
        }
    });
    come
}

#[test]
fn of_workers_that_find_an_open_circuit_over_at_the_same_time_one_finds_out() {
    let start = Instant::now();
    let open = || {
        let standing = with_breaker();
        (0..3).for_each(|_| sends(&standing, Outcome::Failure, start).expect("it is closed"));
        standing
    };
    let standings: Vec<Standing> = (0..ROUNDS).map(|_| open()).collect();
    let half = start + Duration::from_secs(10);
    for round in beside(|n, _| standings[n].admit(half).ok()) {
        assert_eq!(round.iter().flatten().count(), 1);
    }
}

#[test]
fn workers_that_take_retries_at_the_same_time_do_not_take_more_than_there_are() {
    let (now, budgets) =
        (Instant::now(), (0..ROUNDS).map(|_| Budget::new(Arc::default())).collect::<Vec<_>>());
    for round in beside(|n, _| budgets[n].take(20, now)) {
        assert!(round.into_iter().filter(|taken| *taken).count() <= 3);
    }
}

#[test]
fn workers_that_eject_at_the_same_time_leave_a_base_url() {
    let now = Instant::now();
    let standings: Vec<Standing> =
        (0..ROUNDS).map(|_| standing(WORKERS, Balance::RoundRobin, Some(ejection()))).collect();
    beside(|n, worker| fails(&standings[n], worker as u8, 2, now));
    for standing in &standings {
        let out = standing.endpoints().iter().filter(|endpoint| endpoint.is_ejected(millis(now))).count();
        assert_eq!(out, WORKERS - 1);
    }
}

#[test]
fn what_workers_report_at_the_same_time_opens_a_circuit_once() {
    let now = Instant::now();
    let standings: Vec<Standing> = (0..ROUNDS).map(|_| with_breaker()).collect();
    let passes: Vec<Vec<_>> = standings
        .iter()
        .map(|standing| (0..WORKERS).map(|_| Mutex::new(standing.admit(now).ok())).collect())
        .collect();
    beside(|n, worker| {
        let pass = passes[n][worker].lock().expect("no panic").take().expect("it is closed");
        standings[n].ended(0, pass, Outcome::Failure, now, now);
    });
    for standing in &standings {
        assert_eq!(standing.tally().openings.load(Ordering::Relaxed), 1);
    }
}
