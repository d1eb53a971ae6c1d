//! Tokens on disk: there after a start without their issuer, and nobody else's.

use zeroize::Zeroizing;

use crate::shelf::Kept;

use super::super::sources::{KEPT_MAX, LOOK, TIDY};
use super::*;

fn files(disk: &Volatile) -> usize {
    disk.list(Path::new("/state/upstream-tokens")).map_or(0, |files| files.len())
}

#[tokio::test]
async fn a_token_is_there_after_a_start_while_its_issuer_is_away_and_gone_with_its_credential() {
    let endpoint = Endpoint::start().await;
    let disk = Arc::new(Volatile::default());
    let following = Following::with(&disk);
    let source = following.source(&endpoint.url());
    got(&source).await.expect("a token");
    until(|| files(&disk) == 1).await;
    following.end().await;
    drop(source);
    endpoint.says(503, "");

    let following = Following::with(&disk);
    let source = following.source(&endpoint.url());
    assert_eq!(got(&source).await.as_deref(), Some("authorization: Bearer token-1"));
    assert_eq!(endpoint.count(), 1, "nobody was asked for it");
    // Neither another version nor another seal has it by that.
    for other in [name(2), SourceName { seal: [8; 32], ..name(1) }] {
        let source = following.sources.source(other);
        source.opens(by_grant(&endpoint.url(), basic()), Secret::from(SECRET.to_owned()), Slot::bearer());
        assert_eq!(got(&source).await, None);
    }
    drop(source);
    until(|| files(&disk) == 0).await;
    following.end().await;
}

#[tokio::test]
async fn a_token_on_disk_that_was_changed_is_nothing_and_is_asked_for_anew() {
    let endpoint = Endpoint::start().await;
    let disk = Arc::new(Volatile::default());
    let following = Following::with(&disk);
    let source = following.source(&endpoint.url());
    got(&source).await.expect("a token");
    until(|| files(&disk) == 1).await;
    following.end().await;
    let file = disk.list(Path::new("/state/upstream-tokens")).expect("a folder").remove(0);
    let mut bytes = disk.read(&file).expect("a file");
    assert!(!bytes.windows(7).any(|part| part == b"token-1"), "it is sealed");
    *bytes.last_mut().expect("it is not empty") ^= 1;
    disk.replace(&file, &bytes).expect("it writes");
    endpoint.gives("token-2", 60);
    let following = Following::with(&disk);
    let source = following.source(&endpoint.url());
    assert_eq!(got(&source).await.as_deref(), Some("authorization: Bearer token-2"));
    following.end().await;
}

#[tokio::test]
async fn a_token_on_disk_whose_life_is_over_is_asked_for_anew() {
    let endpoint = Endpoint::start().await;
    for (left, got_from_disk) in [(60, true), (0, false)] {
        let disk = Arc::new(Volatile::default());
        let at = SystemTime::now() + Duration::from_secs(left);
        let kept = Kept { content: Zeroizing::new(b"kept".to_vec()), at };
        shelf(&disk).write(&name(1).on_disk(), kept).await;
        let following = Following::with(&disk);
        let source = following.source(&endpoint.url());
        let token = if got_from_disk { "kept" } else { "token-1" };
        assert_eq!(got(&source).await, Some(format!("authorization: Bearer {token}")));
        following.end().await;
    }
}

#[tokio::test]
async fn tokens_of_256_sources_of_an_organization_are_kept_on_disk_and_no_more() {
    let endpoint = Endpoint::start().await;
    let disk = Arc::new(Volatile::default());
    let following = Following::with(&disk);
    let opened = |name: SourceName| {
        let source = following.sources.source(name);
        source.opens(by_grant(&endpoint.url(), basic()), Secret::from(SECRET.to_owned()), Slot::bearer());
        source
    };
    // Named before they are asked, so that each counts for all.
    let many: Vec<_> = (0..=KEPT_MAX).map(|n| following.sources.source(name(n as u64))).collect();
    let other = opened(SourceName { org: OrgId::from_random([4; 16]), ..name(1) });
    let one = opened(name(1));
    until(|| one.has_token(SystemTime::now()) && other.has_token(SystemTime::now())).await;
    until(|| following.tasks.running() == ["tokens"]).await;
    assert_eq!(files(&disk), 1, "that of the other organization");
    drop(many);
    following.end().await;
}

#[tokio::test(start_paused = true)]
async fn tokens_of_sources_that_nobody_names_go_ten_minutes_after_a_start_and_others_stay() {
    let disk = Arc::new(Volatile::default());
    for n in [1, 2] {
        let kept = Kept { content: Zeroizing::new(b"kept".to_vec()), at: SystemTime::now() };
        shelf(&disk).write(&name(n).on_disk(), kept).await;
    }
    let following = Following::with(&disk);
    // Not opened yet: no request has come.
    let named = following.sources.source(name(1));
    sleep(TIDY - LOOK).await;
    assert_eq!(files(&disk), 2, "the configuration may not be there yet");
    sleep(LOOK * 3).await;
    until(|| files(&disk) == 1).await;
    assert!(shelf(&disk).read(&named.name.on_disk()).await.is_some());
    following.end().await;
}
