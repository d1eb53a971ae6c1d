//! Sums of days for Prometheus: bounded, of proxies that are there, and never less than before within a month.

use rr_contract::wire::management as wire;

use super::on_both;
use super::sums::{THEN, fold, send, sum, sums};
use crate::store::Store;
use crate::store::level::Level;
use crate::store::metrics::exposition::{exposed, largest};
use crate::tests::stores::{put, write};

const DAY: i64 = Level::Day.length();

/// By proxy and class, with so many proxies apart.
async fn counts(store: &Store, after: i64, today: i64, most: u64) -> Vec<(String, i32, u64)> {
    let apart = largest(store, "og_a", (after, today), most).await.expect("reads");
    let rows = exposed(store, "og_a", after, Some(&apart)).await.expect("reads").expect("few");
    let mut all: Vec<_> = rows
        .into_iter()
        .map(|row| {
            assert_eq!((&*row.region, row.latencies.count()), ("rg", row.requests));
            assert_eq!((row.request_bytes, row.micros), (row.requests * 10, row.requests * 1_000));
            (row.proxy.unwrap_or_default(), row.class, row.requests)
        })
        .collect();
    all.sort();
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_proxies_by_the_days_that_are_over_stand_apart_and_the_rest_together() {
    on_both("exposition", async |store| {
        let proxy = |id: &str| put("og_a", id, &id[3..], wire::Proxy::default(), None);
        write(&store, ["px_a", "px_b", "px_c"].map(proxy).into()).await;
        for proxy in ["px_a", "px_b", "px_c", "px_gone"] {
            let values = format!("('{proxy}', 'rg', 'og_a')");
            let statement = format!(r#"INSERT INTO "proxy_home" ("proxy", "region", "org") VALUES {values}"#);
            sea_orm::ConnectionTrait::execute_unprepared(&store.0.write, &statement).await.expect("inserts");
        }
        let of = |proxy: &str, minute, status, requests| {
            let caller_credential = format!("cr_{requests}");
            rr_contract::wire::fleet::Sum {
                proxy: proxy.to_owned(),
                caller_credential,
                ..sum(minute, status, requests)
            }
        };
        let first = vec![
            of("px_a", THEN, 200, 5),
            of("px_b", THEN, 200, 4),
            of("px_b", THEN, 201, 3),
            of("px_b", THEN, 503, 2),
            of("px_c", THEN, 404, 1),
            of("px_gone", THEN, 200, 100),
        ];
        send(&store, sums(1, first)).await;
        fold(&store, 9).await;
        let begin = i64::try_from(THEN).expect("a number") * 60_000_000;
        let begin = begin - begin % DAY;
        let row = |proxy: &str, class, requests| (proxy.to_owned(), class, requests);
        let (a, c) = (row("px_a", 2, 5), row("px_c", 4, 1));
        let b = [row("px_b", 2, 7), row("px_b", 5, 2)];
        let whole = [a.clone(), b[0].clone(), b[1].clone(), c];
        assert_eq!(counts(&store, begin, begin + DAY, 1000).await, whole);
        assert_eq!(
            counts(&store, begin, begin + DAY, 1).await,
            [row("", 2, 5), row("", 4, 1), b[0].clone(), b[1].clone()]
        );
        // Another day: what was counted before stays, and does not change the order before it is over.
        send(&store, sums(2, vec![of("px_c", THEN + 1440, 404, 50)])).await;
        fold(&store, 9).await;
        let next = counts(&store, begin, begin + DAY, 2).await;
        assert_eq!(next, [row("", 4, 51), a, b[0].clone(), b[1].clone()]);
        let later = counts(&store, begin, begin + 2 * DAY, 1).await;
        assert_eq!(later, [row("", 2, 12), row("", 5, 2), row("px_c", 4, 51)]);
        assert_eq!(counts(&store, begin + DAY, begin + DAY, 1).await, [row("px_c", 4, 50)]);
        let foreign = largest(&store, "og_b", (0, i64::MAX), 9).await.expect("reads");
        assert!(foreign.is_empty(), "{foreign:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_knows_nothing_of_what_is_added_up_after_its_first_query() {
    on_both("exposition-snapshot", async |store| {
        let proxy = put("og_a", "px_a", "a", wire::Proxy::default(), None);
        write(&store, vec![proxy]).await;
        let statement =
            r#"INSERT INTO "proxy_home" ("proxy", "region", "org") VALUES ('px_a', 'rg', 'og_a')"#;
        sea_orm::ConnectionTrait::execute_unprepared(&store.0.write, statement).await.expect("inserts");
        let before = store.snapshot().await.expect("begins");
        let none = largest(&before, "og_a", (0, i64::MAX), 9).await.expect("reads");
        send(&store, sums(1, vec![sum(THEN, 200, 5)])).await;
        fold(&store, 9).await;
        let then = exposed(&before, "og_a", 0, Some(&none)).await.expect("reads").expect("few");
        before.end().await.expect("ends");
        let after = store.snapshot().await.expect("begins");
        let one = largest(&after, "og_a", (0, i64::MAX), 9).await.expect("reads");
        let now = exposed(&after, "og_a", 0, Some(&one)).await.expect("reads").expect("few");
        assert_eq!((none.len(), then.len(), one.len(), now.len()), (0, 0, 1, 1));
    })
    .await;
}
