//! When an issuer is asked: once for all who wait, before the end of what is used, and not in vain.

use std::pin::pin;

use futures_util::future::join_all;
use futures_util::poll;
use tokio::time::{Instant, advance};

use crate::fetches::{Fetched as _, Next, WAITING_MAX, due};
use crate::values::Values;

use super::*;

fn values(token: &str) -> Values {
    let (token, slot) = (Secret::from(token.to_owned()), Slot::bearer());
    Values::of(std::iter::once((&token, &slot))).expect("a header")
}

/// A source that was opened, and asked its first question.
fn under_way() -> (TokenSources, Arc<TokenSource>) {
    let sources = TokenSources::default();
    let source = sources.source(name(1));
    assert!(due(&[Arc::clone(&source)]).is_empty(), "nobody knows how");
    let asked = by_grant("https://issuer.example/token", basic());
    source.opens(asked, Secret::from(SECRET.to_owned()), Slot::bearer());
    assert_eq!(due(&[Arc::clone(&source)]).len(), 1);
    (sources, source)
}

fn takes(source: &TokenSource, now: SystemTime, seconds: u64, chance: f64) {
    source.take(values("a"), now, Duration::from_secs(seconds), chance);
    source.succeeded();
}

#[tokio::test]
async fn many_requests_wait_for_one_question_and_it_is_one_for_all() {
    let endpoint = Endpoint::start().await;
    let following = Following::start();
    endpoint.holds();
    let source = following.source(&endpoint.url());
    until(|| endpoint.count() == 1).await;
    let waiting = join_all((0..50).map(|_| got(&source)));
    endpoint.gate.add_permits(1);
    assert!(waiting.await.iter().all(|got| got.as_deref() == Some("authorization: Bearer token-1")));
    assert_eq!(endpoint.count(), 1);
    // It is there for those who come later, and no credential of another version has it.
    assert_eq!(got(&source).await.as_deref(), Some("authorization: Bearer token-1"));
    assert!(following.sources.source(name(2)).token(SystemTime::now()).is_none());
    assert_eq!(endpoint.count(), 1);
    endpoint.ends().await;
    following.end().await;
}

#[tokio::test]
async fn an_issuer_that_is_away_is_not_asked_for_each_request_and_gives_a_token_once_it_is_back() {
    let endpoint = Endpoint::start().await;
    endpoint.says(503, "");
    let following = Following::start();
    let source = following.source(&endpoint.url());
    until(|| following.sources.numbers() == (0, 1)).await;
    let refused = join_all((0..50).map(|_| got(&source))).await;
    assert!(refused.iter().all(Option::is_none));
    assert_eq!(endpoint.count(), 1, "within the pause");
    endpoint.gives("token-2", 60);
    until(|| source.turn().begun.is_some_and(|begun| begun.elapsed() >= Duration::from_secs(1))).await;
    assert_eq!(got(&source).await.as_deref(), Some("authorization: Bearer token-2"));
    assert_eq!((endpoint.count(), following.sources.numbers()), (2, (1, 1)));
    following.end().await;
}

#[tokio::test(start_paused = true)]
async fn requests_have_an_issuer_that_gives_no_token_asked_ever_less_often_and_four_times_a_minute_in_the_end()
 {
    let (now, begun) = (SystemTime::UNIX_EPOCH, Instant::now());
    let (_sources, source) = under_way();
    source.failed();
    let mut asked = vec![0];
    while begun.elapsed() < Duration::from_secs(80) {
        advance(Duration::from_millis(100)).await;
        // One that waits ends with the question; those within the pause do not wait.
        let mut waits = pin!(source.wait(now));
        let is_answered = poll!(waits.as_mut()).is_ready();
        let is_asked = due(&[Arc::clone(&source)]).len() == 1;
        assert_ne!(is_answered, is_asked);
        if is_asked {
            asked.push(begun.elapsed().as_secs());
            source.failed();
            assert!(poll!(waits).is_ready());
        }
    }
    assert_eq!(asked, [0, 1, 3, 7, 15, 30, 45, 60, 75]);
    // Behind a token it begins anew.
    advance(Duration::from_secs(15)).await;
    let mut waits = pin!(source.wait(now));
    assert!(poll!(waits.as_mut()).is_pending());
    assert_eq!(due(&[Arc::clone(&source)]).len(), 1);
    takes(&source, now, 1, 0.0);
    assert!(poll!(waits).is_ready());
    advance(Duration::from_secs(1)).await;
    assert!(poll!(pin!(source.wait(now + Duration::from_secs(1)))).is_pending());
}

#[tokio::test(start_paused = true)]
async fn the_next_token_is_asked_for_in_the_last_third_of_the_life_of_one_that_is_used() {
    let now = SystemTime::UNIX_EPOCH;
    for (chance, part) in [(0.0, 700), (1.0, 850), (0.5, 775)] {
        let (_sources, source) = under_way();
        takes(&source, now, 1000, chance);
        let Next::At(at) = source.turn().next else { panic!("a time") };
        assert_eq!((at - Instant::now()).as_secs(), part, "{chance}");
        assert!(source.token(now).is_some());
        advance(Duration::from_secs(part) - Duration::from_millis(10)).await;
        assert!(due(&[Arc::clone(&source)]).is_empty());
        advance(Duration::from_millis(20)).await;
        assert_eq!(due(&[Arc::clone(&source)]).len(), 1);
        assert!(source.token(now).is_some(), "the one that is there counts meanwhile");
    }
}

#[tokio::test(start_paused = true)]
async fn no_token_is_got_in_the_place_of_one_that_nobody_used_until_somebody_does() {
    let now = SystemTime::UNIX_EPOCH;
    let (_sources, source) = under_way();
    takes(&source, now, 1000, 0.0);
    advance(Duration::from_secs(750)).await;
    assert!(due(&[Arc::clone(&source)]).is_empty());
    assert!(matches!(source.turn().next, Next::Never));
    assert!(source.token(now).is_some());
    assert_eq!(due(&[Arc::clone(&source)]).len(), 1, "it is used again, and near its end");
}

#[tokio::test(start_paused = true)]
async fn a_token_counts_until_shortly_before_its_end_whatever_becomes_of_its_issuer() {
    let now = SystemTime::UNIX_EPOCH;
    let (_sources, source) = under_way();
    takes(&source, now, 100, 0.0);
    assert!(source.token(now).is_some());
    let mut pauses = Vec::new();
    advance(Duration::from_secs(71)).await;
    for _ in 0..8 {
        assert_eq!(due(&[Arc::clone(&source)]).len(), 1);
        source.failed();
        let Next::At(at) = source.turn().next else { panic!("a time") };
        pauses.push((at - Instant::now()).as_secs());
        assert!(source.token(now + Duration::from_secs(94)).is_some());
        advance(at - Instant::now()).await;
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
    assert!(source.token(now + Duration::from_secs(95)).is_none(), "it would end on its way");
}

#[tokio::test]
async fn a_token_that_an_upstream_does_not_take_is_replaced_once_for_all_and_not_again_at_once() {
    let endpoint = Endpoint::start().await;
    let following = Following::start();
    let source = following.source(&endpoint.url());
    got(&source).await.expect("a token");
    let now = SystemTime::now();
    let first = source.token(now).expect("a token");
    endpoint.gives("token-2", 3600);
    assert!(source.another(&first, now).await.is_none(), "it was asked for a moment ago");
    assert_eq!(endpoint.count(), 1);
    source.begun_before(Duration::from_secs(31));
    let others = join_all((0..50).map(|_| source.another(&first, now))).await;
    assert!(others.iter().all(Option::is_some));
    assert_eq!(header(&source).as_deref(), Some("authorization: Bearer token-2"));
    assert_eq!(endpoint.count(), 2);
    // Whoever still holds the first one gets the second one without a question.
    assert!(source.another(&first, now).await.is_some());
    let second = source.token(now).expect("a token");
    assert!(source.another(&second, now).await.is_none());
    assert_eq!(endpoint.count(), 2);
    following.end().await;
}

#[tokio::test]
async fn an_issuer_of_one_organization_that_is_silent_takes_no_turn_of_another() {
    let (silent, endpoint) = (Endpoint::start().await, Endpoint::start().await);
    silent.holds();
    let following = Following::start();
    let theirs: Vec<_> = (0..100)
        .map(|version| {
            let source =
                following.sources.source(SourceName { org: OrgId::from_random([9; 16]), ..name(version) });
            source.opens(by_grant(&silent.url(), basic()), Secret::from(SECRET.to_owned()), Slot::bearer());
            source
        })
        .collect();
    until(|| silent.count() > 0).await;
    let source = following.source(&endpoint.url());
    assert!(got(&source).await.is_some());
    assert!(theirs.iter().all(|source| source.token(SystemTime::now()).is_none()));
    following.end().await;
}

#[tokio::test]
async fn so_many_requests_wait_for_a_token_and_further_ones_are_answered_at_once() {
    let endpoint = Endpoint::start().await;
    endpoint.holds();
    let following = Following::start();
    let source = following.source(&endpoint.url());
    until(|| endpoint.count() == 1).await;
    let tasks = Tasks::new();
    for _ in 0..WAITING_MAX {
        let source = Arc::clone(&source);
        tasks.spawn("waits", async move { source.wait(SystemTime::now()).await });
    }
    until(|| source.waiting() == WAITING_MAX).await;
    source.wait(SystemTime::now()).await;
    assert_eq!(source.waiting(), WAITING_MAX, "the others still wait");
    endpoint.gate.add_permits(1);
    assert!(tasks.wait(SOON).await.is_empty());
    following.end().await;
}
