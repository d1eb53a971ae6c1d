//! Who shares work, and when it ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rr_runtime::Tasks;
use tokio::sync::oneshot;
use tokio::task::yield_now;

use super::*;

type Flights = Arc<SingleFlight<&'static str, u32>>;

/// Work that is held until the other end says what its result is.
fn held() -> (oneshot::Sender<u32>, impl Future<Output = u32> + Send + 'static) {
    let (end, ended) = oneshot::channel();
    (end, async move { ended.await.expect("the test ends it") })
}

fn join(flights: &Flights, work: impl Future<Output = u32> + Send + 'static) -> tokio::task::JoinHandle<u32> {
    let flights = Arc::clone(flights);
    Tasks::new().spawn("flight", async move { flights.run("key", move || work).await })
}

async fn settle() {
    for _ in 0..10 {
        yield_now().await;
    }
}

#[tokio::test]
async fn those_who_want_the_same_at_the_same_time_share_the_work() {
    let flights = Flights::default();
    let (end, work) = held();
    let begun = Arc::new(AtomicUsize::default());
    let first = join(&flights, work);
    settle().await;
    let others: Vec<_> = (0..20)
        .map(|_| {
            let begun = Arc::clone(&begun);
            join(&flights, async move {
                begun.fetch_add(1, Ordering::SeqCst);
                0
            })
        })
        .collect();
    let other_key = flights.run("other", || async { 9 }).await;
    settle().await;
    end.send(7).expect("somebody waits");
    assert_eq!((first.await.expect("no panic"), other_key), (7, 9));
    for other in others {
        assert_eq!(other.await.expect("no panic"), 7);
    }
    assert_eq!(begun.load(Ordering::SeqCst), 0);
    // Nothing is kept.
    assert!(flights.is_empty());
    assert_eq!(flights.run("key", || async { 8 }).await, 8);
}

#[tokio::test]
async fn the_work_goes_on_without_whoever_began_it_and_ends_with_the_last() {
    let flights = Flights::default();
    let (end, work) = held();
    let first = join(&flights, work);
    settle().await;
    let second = join(&flights, async { 0 });
    settle().await;
    first.abort();
    settle().await;
    end.send(7).expect("the work goes on");
    assert_eq!(second.await.expect("no panic"), 7);

    let (end, work) = held();
    let only = join(&flights, work);
    settle().await;
    assert_eq!(flights.len(), 1);
    only.abort();
    settle().await;
    assert!(end.is_closed() && flights.is_empty());
}
