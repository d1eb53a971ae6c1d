//! Marks of notifications, on both engines.

use sea_orm::{EntityTrait as _, QueryOrder as _};

use crate::store::Reader as _;
use crate::store::entity::notification_seen as seen;
use crate::store::notification::{self, NotificationRow};
use crate::store::notification_seen::{self, Feed};
use crate::tests::stores::on_both;

/// So many notifications of an organization, one a microsecond.
fn some(org: &str, count: i64) -> Vec<NotificationRow> {
    let row = |n: i64| NotificationRow {
        id: format!("no_{org}{n:06}"),
        org: org.to_owned(),
        kind: 1,
        subject: "px_1".to_owned(),
        window: n.to_string(),
        title: String::new(),
        message: String::new(),
        created_at: n,
        read_at: None,
    };
    (1..=count).map(row).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn all_up_to_a_time_are_marked_however_many_they_are() {
    on_both("marks", async |store, _clock| {
        notification::add(&store, some("og_a", 10_010)).await.expect("writes");
        notification::add(&store, some("og_b", 3)).await.expect("writes");
        assert_eq!(notification::mark_through(&store, "og_a", 10_005).await.expect("marks"), 10_005);
        assert_eq!(notification::mark_through(&store, "og_a", 10_005).await.expect("marks"), 0);
        let left = notification::list(&store, "og_a", true, None, 100).await.expect("reads");
        assert_eq!(left.last().map(|row| row.created_at), Some(10_006));
        assert_eq!(left.len(), 5);
        assert_eq!(notification::list(&store, "og_b", true, None, 100).await.expect("reads").len(), 3);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn marks_of_one_person_are_a_time_for_each_organization_and_single_ones_behind_it() {
    on_both("seen", async |store, _clock| {
        for org in ["og_a", "og_b", "og_c"] {
            notification::add(&store, some(org, 4)).await.expect("writes");
        }
        let feed = |who: &str, orgs: &[&str]| Feed {
            who: who.to_owned(),
            orgs: orgs.iter().map(|org| (*org).to_owned()).collect(),
        };
        let unread = async |feed: &Feed| {
            let rows = notification_seen::list(&store, feed, true, None, 100).await.expect("reads");
            assert!(rows.iter().all(|(_, seen)| !seen), "{rows:?}");
            rows.into_iter().map(|(row, _)| (row.created_at, row.org)).collect::<Vec<_>>()
        };
        let (alice, bob) = (feed("us_a", &["og_a", "og_b"]), feed("us_b", &["og_a"]));
        let ids = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let three = ids(&["no_og_a000004", "no_og_b000001", "no_og_c000001"]);
        assert_eq!(notification_seen::mark(&store, alice.clone(), three.clone()).await.expect("marks"), 2);
        assert_eq!(notification_seen::mark(&store, alice.clone(), three).await.expect("marks"), 0);
        assert_eq!(unread(&alice).await.len(), 6);
        assert_eq!(notification_seen::mark_through(&store, alice.clone(), 3).await.expect("marks"), 5);
        assert_eq!(unread(&alice).await, [(4, "og_b".to_owned())]);
        assert_eq!(notification_seen::mark_through(&store, alice.clone(), 1).await.expect("marks"), 0);
        assert_eq!(unread(&alice).await, [(4, "og_b".to_owned())], "the time does not go back");
        let all =
            notification_seen::list(&store, &alice, false, Some((4, "no_og_b000004".to_owned())), 2).await;
        let all: Vec<_> = all.expect("reads").into_iter().map(|(row, seen)| (row.id, seen)).collect();
        let wanted = [("no_og_a000004".to_owned(), true), ("no_og_b000003".to_owned(), true)];
        assert_eq!(all, wanted, "behind a row of the same time");
        assert_eq!(unread(&bob).await.len(), 4, "these are hers");
        // A time that passes single marks takes their place, and leaves those of others.
        let singles = async || {
            let rows = seen::Entity::find().order_by_asc(seen::Column::Who).all(store.conn()).await;
            rows.expect("reads").into_iter().map(|row| (row.who, row.notification)).collect::<Vec<_>>()
        };
        let pair = |who: &str, id: &str| (who.to_owned(), id.to_owned());
        notification_seen::mark(&store, bob.clone(), ids(&["no_og_a000002"])).await.expect("marks");
        assert_eq!(singles().await, [pair("us_a", "no_og_a000004"), pair("us_b", "no_og_a000002")]);
        notification_seen::mark_through(&store, alice.clone(), 4).await.expect("marks");
        assert_eq!(singles().await, [pair("us_b", "no_og_a000002")]);
        assert_eq!(unread(&bob).await.len(), 3);
        assert_eq!(unread(&feed("us_a", &["og_c"])).await.len(), 4, "she was not there");
        assert!(unread(&feed("us_a", &[])).await.is_empty());
        assert_eq!(notification_seen::mark_through(&store, feed("us_a", &[]), 9).await.expect("marks"), 0);
        // Neither is a user that there is.
        notification_seen::sweep(&store).await.expect("sweeps");
        assert_eq!(unread(&alice).await.len(), 8);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_of_more_organizations_than_a_statement_takes_is_listed_and_marked_whole() {
    on_both("wide", async |store, _clock| {
        let orgs: Vec<String> = (0..1_201).map(|n| format!("og_{n:04}")).collect();
        let rows = orgs.iter().flat_map(|org| some(org, 1)).collect();
        notification::add(&store, rows).await.expect("writes");
        let feed = Feed { who: "us_a".to_owned(), orgs };
        let mut behind = None;
        let mut found = Vec::new();
        loop {
            let rows = notification_seen::list(&store, &feed, true, behind, 500).await.expect("reads");
            let Some((last, _)) = rows.last() else { break };
            behind = Some((last.created_at, last.id.clone()));
            found.extend(rows.into_iter().map(|(row, _)| row.id));
        }
        assert_eq!(found.len(), 1_201);
        assert!(found.is_sorted_by(|a, b| a > b), "newest first, and each once");
        assert_eq!(notification_seen::mark_through(&store, feed.clone(), 1).await.expect("marks"), 1_201);
        assert!(notification_seen::list(&store, &feed, true, None, 500).await.expect("reads").is_empty());
    })
    .await;
}
