//! Last uses of callers: the newest that any node reports, of nothing that its region never served.

use rr_contract::runtime::Tasks;
use rr_contract::wire::management::{Credential, Proxy};

use super::*;
use crate::store::caller_use::{CallerUse, advance, of_all};
use crate::tests::stores;

/// 2026-01-01T00:00Z, where the clock of the tests stands.
const NOW: u64 = 1_767_225_600 / 60;
const MINUTE: i64 = 60_000_000;

fn used(credential: &str, minute: u64) -> CallerUse {
    CallerUse { credential: credential.to_owned(), minute }
}

async fn report(store: &Store, region: &'static str, uses: Vec<CallerUse>) {
    let taken: Result<(), StoreError> =
        store.note(move |txn| Box::pin(async move { advance(txn, region, uses).await })).await;
    taken.expect("is taken");
}

/// The minutes of these credentials; 0 for one that was never used.
async fn minutes(store: &Store, credentials: &[&str]) -> Vec<i64> {
    let found = of_all(store, credentials).await.expect("reads");
    credentials.iter().map(|id| found.get(*id).map_or(0, |at| at / MINUTE)).collect()
}

/// A proxy of these callers that is served in a region.
async fn proxy(store: &Store, id: &str, region: &str, callers: &[&str]) {
    let puts = callers.iter().map(|id| stores::put("og", id, id, Credential::default(), None));
    let mut proxy = stores::put("og", id, id, Proxy::default(), None);
    proxy.links = vec![(Part::Region, Noun::Region, region.to_owned())];
    proxy.links.extend(callers.iter().map(|id| (Part::Caller, Noun::Credential, (*id).to_owned())));
    stores::write(store, puts.chain([proxy]).collect()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_last_use_moves_on_and_never_back_and_never_past_now() {
    stores::on_both("last-use", async |store, clock| {
        proxy(&store, "px_1", "rg_1", &["cr_1", "cr_2"]).await;
        proxy(&store, "px_2", "rg_2", &["cr_1"]).await;
        let both = ["cr_1", "cr_2"];
        let now = i64::try_from(NOW).expect("is small");
        assert_eq!(minutes(&store, &both).await, [0, 0]);
        let many = vec![used("cr_1", NOW - 9), used("cr_1", NOW - 5), used("cr_1", NOW - 7)];
        report(&store, "rg_1", many).await;
        assert_eq!(minutes(&store, &both).await, [now - 5, 0]);
        // Late, twice, and from another region.
        for (region, minute, is) in [
            ("rg_1", NOW - 8, now - 5),
            ("rg_1", NOW - 5, now - 5),
            ("rg_2", NOW - 6, now - 5),
            ("rg_2", NOW - 3, now - 3),
            ("rg_1", 0, now - 3),
            ("rg_1", NOW + 1, now),
            ("rg_1", u64::MAX, now),
        ] {
            report(&store, region, vec![used("cr_1", minute)]).await;
            assert_eq!(minutes(&store, &both).await, [is, 0], "{region} {minute}");
        }
        clock.pass(Duration::from_secs(179));
        report(&store, "rg_1", vec![used("cr_2", NOW + 100)]).await;
        assert_eq!(minutes(&store, &both).await, [now, now + 2], "the minute that it is by now");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_moves_the_last_uses_of_no_caller_that_its_region_never_served() {
    stores::on_both("last-use-foreign", async |store, _| {
        proxy(&store, "px_1", "rg_1", &["cr_here"]).await;
        proxy(&store, "px_2", "rg_2", &["cr_there"]).await;
        let unbound = stores::put("og", "cr_unbound", "unbound", Credential::default(), None);
        // The upstream's, of a proxy that is served there.
        let upstream = stores::put("og", "cr_upstream", "upstream", Credential::default(), None);
        let mut third = stores::put("og", "px_3", "px_3", Proxy::default(), None);
        third.links = vec![
            (Part::Region, Noun::Region, "rg_1".to_owned()),
            (Part::Upstream, Noun::Credential, "cr_upstream".to_owned()),
        ];
        stores::write(&store, vec![unbound, upstream, third]).await;
        let all = ["cr_here", "cr_there", "cr_unbound", "cr_upstream", "cr_none"];
        report(&store, "rg_1", all.iter().map(|id| used(id, NOW)).collect()).await;
        let now = i64::try_from(NOW).expect("is small");
        assert_eq!(minutes(&store, &all).await, [now, 0, 0, 0, 0]);
        // The proxy moves on: late reports of the region that served it count.
        let mut moved = stores::put("og", "px_2", "px_2", Proxy::default(), None);
        moved.links = vec![
            (Part::Region, Noun::Region, "rg_3".to_owned()),
            (Part::Caller, Noun::Credential, "cr_there".to_owned()),
        ];
        stores::write(&store, vec![moved]).await;
        report(&store, "rg_2", vec![used("cr_there", NOW - 1)]).await;
        assert_eq!(minutes(&store, &["cr_there"]).await, [now - 1]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_report_at_once_neither_stop_each_other_nor_turn_time_back() {
    stores::on_both("last-use-at-once", async |store, _| {
        let ids: Vec<String> = (0..1_100).map(|n| format!("cr_{n:04}")).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        proxy(&store, "px_1", "rg_1", &ids).await;
        let tasks = Tasks::new();
        let reports: Vec<_> = (0..8_usize)
            .map(|node| {
                let mut uses: Vec<_> =
                    (0..ids.len()).map(|n| used(ids[n], NOW - 1 - ((n + node) % 8) as u64)).collect();
                uses.rotate_left(node * 137);
                let store = store.clone();
                tasks.spawn("report", async move { report(&store, "rg_1", uses).await })
            })
            .collect();
        for it in reports {
            it.await.expect("no panic");
        }
        let newest = i64::try_from(NOW).expect("is small") - 1;
        assert!(minutes(&store, &ids).await.iter().all(|minute| *minute == newest));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_use_of_a_credential_goes_with_it() {
    stores::on_both("last-use-gone", async |store, _| {
        proxy(&store, "px_1", "rg_1", &["cr_1", "cr_2"]).await;
        report(&store, "rg_1", vec![used("cr_1", NOW), used("cr_2", NOW)]).await;
        let written = store.write(author(), |txn| {
            Box::pin(async move {
                secret::retire(txn, "og", vec!["cr_1".to_owned()]);
                Ok::<_, StoreError>(())
            })
        });
        written.await.expect("writes");
        assert_eq!(minutes(&store, &["cr_1", "cr_2"]).await, [0, i64::try_from(NOW).expect("is small")]);
    })
    .await;
}
