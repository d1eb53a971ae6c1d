//! When keys of an issuer are fetched, for whom it is waited, and when keys become stale.

use std::pin::pin;

use crate::jwt::mint::{Key, document};

use rr_contract::policy::key_set::KeySet;

use super::*;
use crate::fetches::WAITING_MAX;

fn issuer() -> Issuer {
    let url = JwksUrl::try_from("https://issuer.example/keys").expect("a URL");
    Issuer::new(OrgId::from_random([1; 16]), url, Arc::default())
}

fn keys() -> PublicKeys {
    let document = document(&[Key::ed25519().published("k")]);
    PublicKeys::of(KeySet::parse(document.as_bytes()).expect("keys")).expect("keys")
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

const LASTS: Duration = Duration::from_secs(100);

#[tokio::test(start_paused = true)]
async fn however_many_ask_one_fetch_begins_in_its_time() {
    let issuer = issuer();
    assert!(issuer.begins(Instant::now()), "at once, for the first time");
    assert!(!issuer.begins(Instant::now()), "it is under way");
    issuer.succeeded(at(0), None, 1.0);
    for _ in 0..1_000 {
        assert!(!issuer.asked(issuer.ended()).await, "it was just fetched");
    }
    assert!(!issuer.begins(Instant::now()));
    tokio::time::advance(PAUSE - Duration::from_millis(1)).await;
    assert!(!issuer.begins(Instant::now()));
    tokio::time::advance(Duration::from_millis(1)).await;
    assert!(issuer.begins(Instant::now()), "somebody had asked");
    issuer.succeeded(at(0), None, 1.0);
    tokio::time::advance(PAUSE).await;
    assert!(!issuer.begins(Instant::now()), "nobody has asked since");
}

#[tokio::test(start_paused = true)]
async fn who_asks_waits_for_the_fetch_and_no_longer_than_it_may_take() {
    let issuer = Arc::new(issuer());
    let asks = Arc::clone(&issuer);
    let asked =
        rr_contract::runtime::Tasks::new().spawn("asks", async move { asks.asked(asks.ended()).await });
    while issuer.waiting.count() == 0 {
        tokio::task::yield_now().await;
    }
    assert!(issuer.begins(Instant::now()));
    issuer.take(keys(), [1; 32], at(1));
    issuer.succeeded(at(0), None, 0.0);
    assert!(asked.await.expect("it ends"));
    tokio::time::advance(PAUSE).await;
    let began = Instant::now();
    assert!(!issuer.asked(issuer.ended()).await, "nobody fetches");
    assert_eq!(began.elapsed(), WAIT);
    assert_eq!(issuer.waiting.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn who_looked_before_a_fetch_ended_and_asks_afterwards_looks_again() {
    let issuer = issuer();
    let looked_at = issuer.ended();
    assert!(issuer.begins(Instant::now()));
    issuer.take(keys(), [1; 32], at(1));
    issuer.succeeded(at(1), None, 1.0);
    assert!(issuer.asked(looked_at).await);
    assert!(!issuer.asked(issuer.ended()).await, "who has looked since does not");
    tokio::time::advance(PAUSE).await;
    assert!(issuer.begins(Instant::now()));
    // However long the next one takes.
    assert!(futures_util::poll!(pin!(issuer.asked(looked_at))).is_ready());
    assert!(futures_util::poll!(pin!(issuer.asked(issuer.ended()))).is_pending());
}

#[tokio::test(start_paused = true)]
async fn so_many_wait_for_a_fetch_and_no_more() {
    let issuer = issuer();
    let waiting: Vec<_> = (0..WAITING_MAX).map(|_| issuer.ask().expect("there is room")).collect();
    assert!(issuer.ask().is_none() && issuer.ask().is_none(), "they are answered at once");
    drop(waiting);
    assert!(issuer.ask().is_some());
}

#[tokio::test(start_paused = true)]
async fn keys_are_fetched_again_in_five_to_ten_minutes_whatever_the_answer_says() {
    for (says, chance, wanted) in [
        (None, 0.0, 300),
        (None, 1.0, 600),
        (Some(1), 1.0, 300),
        (Some(450), 1.0, 450),
        (Some(86_400), 1.0, 600),
    ] {
        let issuer = issuer();
        assert!(issuer.begins(Instant::now()));
        issuer.succeeded(at(0), says.map(Duration::from_secs), chance);
        tokio::time::advance(Duration::from_secs(wanted - 1)).await;
        assert!(!issuer.begins(Instant::now()), "{says:?} {chance}");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(issuer.begins(Instant::now()), "{says:?} {chance}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_failed_is_tried_again_more_and_more_seldom_and_keys_stay_until_they_are_stale() {
    let issuer = issuer();
    issuer.take(keys(), [1; 32], at(0));
    for pause in [30, 60, 120, 240, 300, 300] {
        assert!(issuer.begins(Instant::now()), "{pause}");
        assert_eq!(issuer.failed(at(100), LASTS), None);
        assert!(issuer.keys().is_some());
        tokio::time::advance(Duration::from_secs(pause - 1)).await;
        assert!(!issuer.begins(Instant::now()), "{pause}");
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    assert!(issuer.begins(Instant::now()));
    let away = Away { since: at(101), never_there: false, back_at: None };
    assert_eq!(issuer.failed(at(101), LASTS), Some(away), "they are stale now");
    assert!(issuer.is_stale() && issuer.keys().is_none());
    assert_eq!(issuer.failed(at(102), LASTS), None, "that is told once");
    issuer.take(keys(), [1; 32], at(103));
    assert_eq!(issuer.away(at(102)), Some(away));
    assert!(issuer.succeeded(at(103), None, 0.0));
    assert!(issuer.keys().is_some());
    // It is told for an hour that it is back.
    let back = Away { back_at: Some(at(103)), ..away };
    assert_eq!((issuer.away(at(103)), issuer.away(at(3702))), (Some(back), Some(back)));
    assert_eq!(issuer.away(at(3703)), None);
    assert!(!issuer.succeeded(at(104), None, 0.0), "that is told once");
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_never_had_keys_is_away_after_some_failures_and_told_of_once() {
    let issuer = issuer();
    assert_eq!((issuer.failed(at(1), LASTS), issuer.failed(at(2), LASTS)), (None, None));
    let away = Away { since: at(3), never_there: true, back_at: None };
    assert_eq!(issuer.failed(at(3), LASTS), Some(away));
    assert_eq!(issuer.failed(at(4), LASTS), None);
    assert_eq!(issuer.away(at(1_000_000)), Some(away));
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps_makes_no_keys_stale_and_a_failure_without_keys_neither() {
    let issuer = issuer();
    assert_eq!(issuer.failed(at(1_000_000), LASTS), None, "there are none");
    issuer.take(keys(), [1; 32], at(1_000_000));
    assert!(issuer.keys().is_some(), "whatever the time is");
    assert_eq!(issuer.failed(at(0), LASTS), None, "they are from later");
}

#[test]
fn the_same_document_leaves_what_was_verified_and_another_does_not() {
    let issuer = issuer();
    issuer.take(keys(), [1; 32], at(0));
    let generation = issuer.generation();
    issuer.take(keys(), [1; 32], at(1));
    assert_eq!(issuer.generation(), generation);
    issuer.take(keys(), [2; 32], at(2));
    assert_ne!(issuer.generation(), generation);
}
