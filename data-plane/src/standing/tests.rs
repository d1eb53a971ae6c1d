//! What gets requests, and what does not, by a clock that the test moves.

mod at_once;

use std::time::Duration;

use rr_contract::model::id::TargetId;
use rr_contract::model::resilience::HealthCheck;

use crate::fixture::log_of;

use super::*;

/// A secret may go to all of them.
const ANY: u32 = u32::MAX;
const TARGET: TargetId = TargetId::from_random([1; 16]);

fn ejection() -> OutlierEjection {
    OutlierEjection {
        consecutive_failures: 2,
        ejection_time: Duration::from_secs(10),
        max_ejected_percent: 100,
    }
}

fn breaker() -> CircuitBreaker {
    CircuitBreaker { consecutive_failures: 3, open_for: Duration::from_secs(10) }
}

fn standing(count: usize, balance: Balance, ejection: Option<OutlierEjection>) -> Standing {
    let endpoint = |n: usize| Arc::new(Endpoint::new(TARGET, format!("{n}:80").into()));
    Standing::new((0..count).map(endpoint).collect(), balance, ejection, None, Arc::default())
}

fn draws() -> impl FnMut() -> u32 {
    let mut n = 7_u32;
    move || {
        n = n.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        n >> 8
    }
}

fn chosen(standing: &Standing, now: Instant, times: usize) -> Vec<u8> {
    let mut draw = draws();
    (0..times).map(|_| standing.choose(now, 0, ANY, &mut draw)).collect()
}

fn fails(standing: &Standing, index: u8, times: usize, now: Instant) {
    for _ in 0..times {
        standing.ended(index, None, Outcome::Failure, now, now);
    }
}

#[test]
fn base_urls_take_turns() {
    let standing = standing(3, Balance::RoundRobin, None);
    assert_eq!(chosen(&standing, Instant::now(), 6), [0, 1, 2, 0, 1, 2]);
}

#[test]
fn of_two_that_are_drawn_the_one_with_fewer_requests_takes_the_next() {
    let standing = standing(4, Balance::LeastRequests, None);
    // The first has more to do than all others.
    let _busy: Vec<_> = (0..10).map(|_| standing.endpoint(0).begin()).collect();
    let seen = chosen(&standing, Instant::now(), 300);
    assert!(!seen.contains(&0), "it was always the worse of two");
    for index in 1..4 {
        assert!(seen.iter().filter(|seen| **seen == index).count() > 50, "{index}");
    }
    drop(_busy);
    assert!(chosen(&standing, Instant::now(), 300).contains(&0), "requests that ended do not count");
}

#[test]
fn a_retry_goes_elsewhere_while_there_is_an_elsewhere() {
    let standing = standing(3, Balance::RoundRobin, None);
    let (now, mut draw) = (Instant::now(), draws());
    for _ in 0..6 {
        assert_eq!(standing.choose(now, 0b011, ANY, &mut draw), 2);
    }
    assert!((0..6).map(|_| standing.choose(now, 0b111, ANY, &mut draw)).any(|index| index == 0));
}

#[test]
fn a_base_url_that_the_secret_is_not_sealed_for_is_chosen_where_no_other_is_left_and_not_before() {
    let standing = standing(3, Balance::RoundRobin, Some(ejection()));
    let (now, mut draw) = (Instant::now(), draws());
    let mut chosen = |tried, sealed| -> Vec<u8> {
        (0..4).map(|_| standing.choose(now, tried, sealed, &mut draw)).collect()
    };
    assert_eq!(chosen(0, 0b101), [0, 2, 0, 2], "they take turns without it");
    assert_eq!(chosen(0b001, 0b101), [2; 4]);
    assert!(!chosen(0b101, 0b101).contains(&1), "a retry does not go there either");
    fails(&standing, 0, 2, now);
    assert_eq!(chosen(0, 0b101), [2; 4]);
    fails(&standing, 2, 2, now);
    assert_eq!(chosen(0, 0b101), [0, 2, 0, 2], "both are out, and the one that works is neither");
    assert_eq!(chosen(0, 0b1000), [1; 4], "one that is sealed for none is refused at any");
}

#[test]
fn a_base_url_that_the_guard_refuses_is_ejected_and_opens_no_circuit() {
    let endpoint = |n: usize| Arc::new(Endpoint::new(TARGET, format!("{n}:80").into()));
    let circuit = Some((breaker(), Arc::new(Circuit::new(TARGET))));
    let endpoints = (0..2).map(endpoint).collect();
    let standing = Standing::new(endpoints, Balance::RoundRobin, Some(ejection()), circuit, Arc::default());
    let now = Instant::now();
    for _ in 0..9 {
        let _pass = standing.admit(now).expect("it stays closed");
        standing.guarded(0, now, now);
    }
    assert_eq!(chosen(&standing, now, 4), [1; 4]);
    assert!(standing.admit(now).is_ok());
}

/// Each request whose first attempt had failed led the next one to the same base URL.
#[test]
fn a_retry_takes_no_turn() {
    let standing = standing(2, Balance::RoundRobin, None);
    let (now, mut draw) = (Instant::now(), draws());
    let mut firsts = Vec::new();
    for _ in 0..6 {
        let first = standing.choose(now, 0, ANY, &mut draw);
        firsts.push(first);
        if first == 1 {
            assert_eq!(standing.choose(now, 0b10, ANY, &mut draw), 0);
        }
    }
    assert_eq!(firsts, [0, 1, 0, 1, 0, 1]);
}

#[test]
fn what_fails_in_a_row_is_out_for_a_time_that_grows_and_a_success_ends_the_row() {
    let standing = standing(2, Balance::RoundRobin, Some(ejection()));
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    fails(&standing, 0, 1, start);
    standing.ended(0, None, Outcome::Success, start, start);
    fails(&standing, 0, 1, start);
    assert!(chosen(&standing, start, 4).contains(&0), "not in a row");
    fails(&standing, 0, 1, start);
    assert_eq!(chosen(&standing, at(9), 4), [1; 4]);
    assert!(chosen(&standing, at(10), 4).contains(&0), "its time is over");
    // The second time is twice as long.
    fails(&standing, 0, 2, at(10));
    assert_eq!(chosen(&standing, at(29), 4), [1; 4]);
    assert!(chosen(&standing, at(30), 4).contains(&0));
    // After a success the first time comes again.
    standing.ended(0, None, Outcome::Success, at(30), at(30));
    fails(&standing, 0, 2, at(30));
    assert!(chosen(&standing, at(40), 4).contains(&0));
    assert_eq!(standing.tally().ejections.load(Ordering::Relaxed), 3);
}

#[test]
fn the_time_out_grows_ten_times_at_the_most() {
    let standing = standing(2, Balance::RoundRobin, Some(ejection()));
    let mut now = Instant::now();
    for _ in 0..15 {
        fails(&standing, 0, 2, now);
        now += Duration::from_secs(100);
        assert!(chosen(&standing, now, 4).contains(&0));
    }
}

#[test]
fn once_its_time_is_over_failures_are_counted_from_the_beginning() {
    let standing = standing(2, Balance::RoundRobin, Some(ejection()));
    let start = Instant::now();
    fails(&standing, 0, 2, start);
    let again = start + Duration::from_secs(10);
    fails(&standing, 0, 1, again);
    assert!(chosen(&standing, again, 4).contains(&0));
}

#[test]
fn an_ejection_ends_with_the_wish_for_ejections() {
    let standing = standing(2, Balance::RoundRobin, Some(ejection()));
    let now = Instant::now();
    fails(&standing, 0, 2, now);
    let ejected = standing.endpoint(0);
    ejected.forget(false, true);
    assert!(ejected.is_ejected(millis(now)), "checks are not wished for, and ejections are");
    ejected.forget(true, false);
    assert!(!ejected.is_ejected(millis(now)));
    // Nor does it begin with what was counted before.
    fails(&standing, 0, 1, now);
    assert!(!ejected.is_ejected(millis(now)));
}

#[test]
fn a_base_url_stays_out_for_no_longer_than_its_target_says_by_now() {
    let standing = standing(2, Balance::RoundRobin, Some(ejection()));
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    fails(&standing, 0, 2, start);
    // Not at its very end: the milliseconds of a process begin when they are first asked for, perhaps after `start`.
    fails(&standing, 0, 2, at(11));
    // Twice in a row; by now that is four seconds, and no longer time takes the place of what is left of this one.
    standing.endpoint(0).is_ejected_for(Duration::from_secs(60), millis(at(12)));
    standing.endpoint(0).is_ejected_for(Duration::from_secs(2), millis(at(12)));
    assert_eq!(chosen(&standing, at(15), 4), [1; 4]);
    assert!(chosen(&standing, at(16), 4).contains(&0));
}

#[test]
fn what_fails_while_it_is_out_does_not_stay_out_for_longer() {
    let standing = standing(2, Balance::RoundRobin, Some(ejection()));
    let start = Instant::now();
    // Some were under way to it already.
    fails(&standing, 0, 2, start);
    fails(&standing, 0, 9, start + Duration::from_secs(9));
    assert!(chosen(&standing, start + Duration::from_secs(10), 4).contains(&0));
    assert_eq!(standing.tally().ejections.load(Ordering::Relaxed), 1);
}

#[test]
fn one_base_url_always_stays_and_no_more_are_out_than_may_be() {
    let now = Instant::now();
    let all = standing(3, Balance::RoundRobin, Some(ejection()));
    for index in 0..3 {
        fails(&all, index, 5, now);
    }
    assert_eq!(chosen(&all, now, 4), [2; 4], "the last one stays, whatever it does");
    let one = standing(1, Balance::RoundRobin, Some(ejection()));
    fails(&one, 0, 5, now);
    assert!(!one.endpoint(0).is_ejected(millis(now)));
    let half = OutlierEjection { max_ejected_percent: 50, ..ejection() };
    let half = standing(4, Balance::RoundRobin, Some(half));
    for index in 0..4 {
        fails(&half, index, 5, now);
    }
    let out = half.endpoints().iter().filter(|endpoint| endpoint.is_ejected(millis(now))).count();
    assert_eq!(out, 2);
    // One may be out, however small the share is.
    let little = OutlierEjection { max_ejected_percent: 1, ..ejection() };
    let little = standing(4, Balance::RoundRobin, Some(little));
    for index in 0..4 {
        fails(&little, index, 5, now);
    }
    assert!(!chosen(&little, now, 8).contains(&0) && chosen(&little, now, 8).contains(&1));
}

#[test]
fn where_none_is_left_all_are_tried() {
    let standing = standing(2, Balance::RoundRobin, None);
    let check = check();
    for endpoint in standing.endpoints() {
        endpoint.is_due(1, Duration::ZERO, Duration::ZERO);
        (0..3).for_each(|_| endpoint.checked(false, &check));
        assert!(endpoint.is_unhealthy());
    }
    assert_eq!(chosen(&standing, Instant::now(), 4), [0, 1, 0, 1]);
}

fn check() -> HealthCheck {
    HealthCheck {
        path: "/up".into(),
        interval: Duration::from_secs(10),
        timeout: Duration::from_secs(1),
        unhealthy_after: 3,
        healthy_after: 2,
        max_status: 499,
    }
}

#[test]
fn health_changes_after_so_many_results_in_a_row() {
    let (endpoint, check) = (Endpoint::new(TARGET, "a:80".into()), check());
    endpoint.checked(false, &check);
    endpoint.is_due(1, Duration::ZERO, Duration::ZERO);
    for (passed, unhealthy) in [
        (false, false),
        (false, false),
        (true, false),
        (false, false),
        (false, false),
        (false, true),
        (true, true),
        (false, true),
        (true, true),
        (true, false),
    ] {
        endpoint.checked(passed, &check);
        assert_eq!(endpoint.is_unhealthy(), unhealthy);
    }
}

#[test]
fn a_check_is_due_once_in_an_interval_and_never_twice_at_a_time() {
    let (endpoint, check) = (Endpoint::new(TARGET, "a:80".into()), check());
    let (first, next) = (Duration::from_millis(100), Duration::from_millis(1000));
    let due = |now| endpoint.is_due(now, first, next);
    assert!(!due(1) && !due(100) && due(101));
    assert!(!due(5000), "the one before has not ended");
    endpoint.checked(true, &check);
    assert!(due(5000) && !due(5000));
    endpoint.checked(true, &check);
    assert!(!due(5999) && due(6000));
}

fn with_breaker() -> Standing {
    let endpoints = [Arc::new(Endpoint::new(TARGET, "a:80".into()))];
    let circuit = Some((breaker(), Arc::new(Circuit::new(TARGET))));
    Standing::new(endpoints.into(), Balance::RoundRobin, None, circuit, Arc::default())
}

/// Sends a request that comes to this.
fn sends(standing: &Standing, outcome: Outcome, now: Instant) -> Result<(), StillOpen> {
    let pass = standing.admit(now)?;
    standing.ended(0, pass, outcome, now, now);
    Ok(())
}

#[test]
fn a_circuit_opens_after_failures_in_a_row_and_says_for_how_long() {
    let (standing, start) = (with_breaker(), Instant::now());
    for outcome in [Outcome::Failure, Outcome::Failure, Outcome::Success, Outcome::Failure, Outcome::Failure]
    {
        assert_eq!(sends(&standing, outcome, start), Ok(()));
    }
    assert_eq!(sends(&standing, Outcome::Failure, start), Ok(()));
    assert_eq!(sends(&standing, Outcome::Success, start), Err(StillOpen(Duration::from_secs(10))));
    let later = start + Duration::from_secs(9);
    assert_eq!(sends(&standing, Outcome::Success, later), Err(StillOpen(Duration::from_secs(1))));
    assert_eq!(standing.tally().openings.load(Ordering::Relaxed), 1);
}

#[test]
fn what_was_under_way_when_it_opened_does_not_keep_it_open_for_longer() {
    let (standing, start) = (with_breaker(), Instant::now());
    let late = standing.admit(start).expect("it is closed");
    (0..3).for_each(|_| sends(&standing, Outcome::Failure, start).expect("it is closed"));
    standing.ended(0, late, Outcome::Failure, start, start + Duration::from_secs(9));
    assert_eq!(sends(&standing, Outcome::Success, start + Duration::from_secs(10)), Ok(()));
    assert_eq!(standing.tally().openings.load(Ordering::Relaxed), 1);
}

#[test]
fn once_its_time_is_over_one_request_at_a_time_finds_out() {
    let (standing, start) = (with_breaker(), Instant::now());
    (0..3).for_each(|_| sends(&standing, Outcome::Failure, start).expect("it is closed"));
    let half = start + Duration::from_secs(10);
    let first = standing.admit(half).ok().flatten().expect("one is let through");
    assert!(standing.admit(half).is_err(), "and no second one");
    // Its caller went away: another one finds out.
    drop(first);
    assert_eq!(sends(&standing, Outcome::Failure, half), Ok(()));
    assert_eq!(sends(&standing, Outcome::Success, half), Err(StillOpen(Duration::from_secs(10))));
    let again = half + Duration::from_secs(10);
    assert_eq!(sends(&standing, Outcome::Success, again), Ok(()));
    for _ in 0..2 {
        assert_eq!(
            sends(&standing, Outcome::Failure, again),
            Ok(()),
            "failures are counted from the beginning"
        );
    }
    assert_eq!(sends(&standing, Outcome::Success, again), Ok(()));
}

#[test]
fn a_late_answer_from_before_it_opened_does_not_close_it() {
    let (standing, start) = (with_breaker(), Instant::now());
    let early = standing.admit(start).expect("it is closed");
    (0..3).for_each(|_| sends(&standing, Outcome::Failure, start).expect("it is closed"));
    standing.ended(0, early, Outcome::Success, start, start);
    assert!(standing.admit(start).is_err());
}

#[test]
fn a_request_that_finds_out_for_too_long_does_not_keep_others_from_it() {
    let (standing, start) = (with_breaker(), Instant::now());
    (0..3).for_each(|_| sends(&standing, Outcome::Failure, start).expect("it is closed"));
    let half = start + Duration::from_secs(10);
    let slow = standing.admit(half).expect("one is let through");
    let later = half + Duration::from_secs(9);
    assert!(standing.admit(later).is_err(), "it has its time");
    let next = standing.admit(half + Duration::from_secs(10)).expect("another one finds out");
    // Going away late makes no room: somebody else is at it.
    drop(slow);
    assert!(standing.admit(half + Duration::from_secs(11)).is_err());
    drop(next);
    assert!(standing.admit(half + Duration::from_secs(11)).is_ok());
}

#[test]
fn a_request_that_finds_out_for_too_long_does_not_open_what_another_has_closed() {
    let (standing, start) = (with_breaker(), Instant::now());
    (0..3).for_each(|_| sends(&standing, Outcome::Failure, start).expect("it is closed"));
    let half = start + Duration::from_secs(10);
    let slow = standing.admit(half).expect("one is let through");
    let later = half + Duration::from_secs(10);
    assert_eq!(sends(&standing, Outcome::Success, later), Ok(()), "another one finds out");
    standing.ended(0, slow, Outcome::Failure, half, later + Duration::from_secs(1));
    assert!(standing.admit(later + Duration::from_secs(1)).is_ok(), "it is closed");
}

#[test]
fn requests_that_fail_while_others_succeed_are_no_failures_of_the_target() {
    let (standing, start) = (with_breaker(), Instant::now());
    let end = start + Duration::from_secs(30);
    let slow: Vec<_> = (0..9).map(|_| standing.admit(start).expect("it is closed")).collect();
    assert_eq!(sends(&standing, Outcome::Success, start + Duration::from_secs(29)), Ok(()));
    for pass in slow {
        standing.ended(0, pass, Outcome::Failure, start, end);
    }
    assert!(standing.admit(end).is_ok(), "it is closed");
    // Those that began behind the last success count.
    (0..3).for_each(|_| sends(&standing, Outcome::Failure, end).expect("it is closed"));
    assert!(standing.admit(end).is_err());

    let standing = standing_of_two();
    standing.ended(0, None, Outcome::Success, start, start + Duration::from_secs(29));
    (0..9).for_each(|_| standing.ended(0, None, Outcome::Failure, start, end));
    assert!(chosen(&standing, end, 4).contains(&0), "it is not ejected");
    fails(&standing, 0, 2, end);
    assert_eq!(chosen(&standing, end, 4), [1; 4]);
}

fn standing_of_two() -> Standing {
    standing(2, Balance::RoundRobin, Some(ejection()))
}

#[test]
fn a_budget_affords_its_share_of_ten_seconds_and_a_few_in_any_case() {
    let (budget, start) = (Budget::new(Arc::default()), Instant::now());
    let taken = |now| (0..50).filter(|_| budget.take(20, now)).count();
    assert_eq!(taken(start), 3);
    (0..100).for_each(|_| budget.request(start));
    assert_eq!(taken(start), 17, "twenty in all");
    assert_eq!(taken(start + Duration::from_secs(8)), 0, "they are still of the last ten seconds");
    assert_eq!(taken(start + Duration::from_secs(11)), 3, "all is forgotten");
}

#[test]
fn what_fails_and_succeeds_again_and_again_is_in_the_log_every_ten_seconds() {
    let check = HealthCheck { unhealthy_after: 1, healthy_after: 1, ..check() };
    let (ejecting, breaking, mut now) = (standing_of_two(), with_breaker(), Instant::now());
    let log = log_of(|| {
        for _ in 0..50 {
            now += Duration::from_secs(500);
            fails(&ejecting, 0, 2, now);
            (0..3).for_each(|_| sends(&breaking, Outcome::Failure, now).expect("it is closed"));
            now += Duration::from_secs(60);
            sends(&breaking, Outcome::Success, now).expect("it finds out");
            // It is watched from now on.
            ejecting.endpoint(1).is_due(millis(now), Duration::ZERO, Duration::ZERO);
            ejecting.endpoint(1).checked(false, &check);
            ejecting.endpoint(1).checked(true, &check);
        }
    });
    for line in ["ejected", "opened", "closed", "unhealthy"] {
        assert_eq!(log.matches(line).count(), 1, "{line}: {log}");
    }
    assert_eq!(log.lines().count(), 4, "{log}");
    let tally = |standing: &Standing| standing.tally().ejections.load(Ordering::Relaxed);
    assert_eq!(tally(&ejecting), 50);
}
