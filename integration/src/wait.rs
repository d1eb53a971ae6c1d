//! Waiting for something to become true, instead of sleeping and hoping.

use std::time::Duration;

use tokio::time::Instant;

/// The longest that anything here takes on a slow machine.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Asks until the answer is there; panics with `what` when it does not come.
pub async fn eventually<T, F>(what: &str, mut ask: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let until = Instant::now() + DEADLINE;
    let mut pause = Duration::from_millis(2);
    loop {
        // Whoever is asked may hang as well.
        let asked = tokio::time::timeout_at(until, ask()).await;
        if let Ok(Some(answer)) = asked {
            return answer;
        }
        assert!(Instant::now() < until, "never came true: {what}");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}
