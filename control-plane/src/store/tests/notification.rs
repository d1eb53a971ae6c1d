//! Marks of notifications, on both engines.

use crate::store::notification::{self, NotificationRow};
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
