//! What a record says of a request, and what it does not.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use rr_contract::seam::Clock;
use tokio::time::timeout;

use crate::fixture::Region;

use super::edge::Edge;
use super::origin::Upstream;
use super::{edge_to, get, resources, with_key};

const PATH: &str = "/api/acme.proxy-1/";
/// No test waits for longer than this.
const SOON: Duration = Duration::from_secs(20);

/// So many seconds after 1970.
#[derive(Clone, Default)]
pub(super) struct Wall(pub(super) Arc<AtomicU64>);

impl Clock for Wall {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(self.0.load(Ordering::Relaxed))
    }
}

#[tokio::test]
async fn a_path_is_cut_at_1024_bytes_between_two_characters_and_holds_no_query() {
    let upstream = Upstream::echo().await;
    let edge = edge_to(&upstream.url("")).await;
    for (path, wanted) in [
        ("a".repeat(1023), format!("/{}", "a".repeat(1023))),
        ("a".repeat(1024), format!("/{}", "a".repeat(1023))),
        ("a".repeat(3000), format!("/{}", "a".repeat(1023))),
        ("\u{e4}".repeat(1000), format!("/{}", "\u{e4}".repeat(511))),
    ] {
        let answer = edge.send(&get(&format!("{PATH}{path}?q=private"), &with_key(1))).await;
        assert_eq!(answer.status, 200);
        assert_eq!(edge.record().await.path, wanted);
        assert_eq!(upstream.last().target.len(), 1 + path.len() + "?q=private".len());
    }
}

#[tokio::test]
async fn refused_credentials_beyond_the_rate_share_a_record_that_counts_them() {
    let upstream = Upstream::echo().await;
    let edge = edge_to(&upstream.url("")).await;
    for _ in 0..40 {
        assert_eq!(edge.send(&get(PATH, "")).await.status, 401);
    }
    let counted = edge.counted().await;
    let records = edge.end().await;
    // Each of the others goes into the sums with its record.
    assert_eq!(counted + records.len() as u64, 40);
    // A minute may have ended meanwhile.
    assert!((11..=22).contains(&records.len()), "{}", records.len());
    assert!(
        records.iter().all(|record| (&*record.code, &*record.reason) == ("proxy-access-denied", "missing"))
    );
    // Unset means one.
    assert_eq!(records.iter().map(|record| record.count.max(1)).sum::<u64>(), 40);
}

#[tokio::test]
async fn what_refusals_share_is_recorded_when_their_minute_ends_though_nobody_asks_again() {
    let upstream = Upstream::echo().await;
    let (region, wall) = (Region::new(), Wall::default());
    let snapshot = region.snapshot(&resources(&region, &upstream.url("")));
    let edge = Edge::start_at(snapshot, &["127.0.0.0/8"], Arc::new(wall.clone()));
    for _ in 0..13 {
        assert_eq!(edge.send(&get(PATH, &with_key(9))).await.status, 401);
    }
    for _ in 0..10 {
        assert_eq!(edge.record().await.count, 0);
    }
    wall.0.store(60, Ordering::Relaxed);
    let rest = timeout(SOON, edge.record()).await.expect("the minute is over");
    assert_eq!((rest.count, &*rest.reason), (3, "unknown"));
}
