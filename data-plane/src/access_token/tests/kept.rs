//! Tokens on disk: there after a start without their issuer, and nobody else's.

use zeroize::Zeroizing;

use crate::shelf::Kept;

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
