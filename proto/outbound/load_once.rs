//! Something that is loaded when it is first needed, and again where that failed.
//!
//! Loads nothing itself. The invariant: what was loaded stays; a failure is told to all who ask within a second of it, and
//! then it is tried anew.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::OnceCell;
use tokio::time::Instant;

/// How long nobody tries again.
const PAUSE: Duration = Duration::from_secs(1);

/// What is loaded, and why it was not.
pub struct LoadOnce<T, E> {
    loaded: OnceCell<T>,
    failed: Mutex<Option<(Arc<E>, Instant)>>,
}

impl<T, E> Default for LoadOnce<T, E> {
    fn default() -> Self {
        Self { loaded: OnceCell::new(), failed: Mutex::default() }
    }
}

impl<T, E> LoadOnce<T, E> {
    /// What was loaded, now or before. One at a time loads.
    pub async fn get<F>(&self, load: impl FnOnce() -> F) -> Result<&T, Arc<E>>
    where
        F: Future<Output = Result<T, E>>,
    {
        let load = || async {
            if let Some(error) = self.just_failed() {
                return Err(error);
            }
            load().await.map_err(|error| {
                let error = Arc::new(error);
                *self.failed.lock().unwrap_or_else(PoisonError::into_inner) =
                    Some((Arc::clone(&error), Instant::now()));
                error
            })
        };
        self.loaded.get_or_try_init(load).await
    }

    fn just_failed(&self) -> Option<Arc<E>> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.as_ref().filter(|(_, since)| since.elapsed() < PAUSE).map(|(error, _)| Arc::clone(error))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_told_for_a_second_and_then_it_is_tried_again_until_it_succeeds() {
        let (once, tries) = (LoadOnce::<usize, &str>::default(), Cell::new(0));
        let load = |outcome| {
            let tries = &tries;
            move || async move {
                tries.set(tries.get() + 1);
                outcome
            }
        };
        assert_eq!(once.get(load(Err("no file"))).await, Err(Arc::new("no file")));
        assert_eq!(once.get(load(Ok(1))).await, Err(Arc::new("no file")));
        assert_eq!(tries.get(), 1);
        tokio::time::advance(PAUSE).await;
        assert_eq!(once.get(load(Ok(2))).await, Ok(&2));
        assert_eq!(once.get(load(Err("no file"))).await, Ok(&2));
        assert_eq!(tries.get(), 2);
    }
}
