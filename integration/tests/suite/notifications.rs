//! Notifications as people read and mark them with `rrctl`: of an organization together, and each for himself.
//!
//! Through the real programs: an installation with a control plane and a node.

use rr_integration::wait::eventually;
use serde_json::Value;

use crate::own_values::Installation;

/// The notifications that a list has, newest first: kinds, and whether the caller has marked them.
async fn listed(it: &Installation, args: &[&str]) -> Vec<(String, bool)> {
    let text = it.done(&[&["notification", "list", "-o", "json"], args].concat(), "").await;
    let rows: Vec<Value> = serde_json::from_str(&text).expect("JSON");
    let text = |row: &Value| row["kind"].as_str().unwrap_or_default().to_owned();
    rows.iter().map(|row| (text(row), row["seen"] == true)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_is_told_when_it_is_near_and_everybody_marks_what_he_has_seen_for_himself() {
    let it = Installation::start().await;
    let key = format!("Bearer {}", it.sample.key);
    it.done(&["proxy", "update", "echo", "--per-day", "5"], "").await;
    it.answers(&[("authorization", &key)], 200).await;
    // Whatever was asked before the limit was there counts too; the last one is refused.
    it.answers(&[("authorization", &key)], 429).await;
    let kinds = ["NOTIFICATION_KIND_LIMIT_NEAR", "NOTIFICATION_KIND_LIMIT_REACHED"];
    eventually("both are told", || async {
        let told = listed(&it, &["--mine"]).await;
        kinds.iter().all(|kind| told.iter().any(|(told, seen)| told == kind && !seen)).then_some(())
    })
    .await;
    let shown = it.done(&["notification", "list", "--mine"], "").await;
    assert!(shown.contains("limit-near") && shown.contains("rrctl proxy update echo --per-day"), "{shown}");

    let count = listed(&it, &["--mine", "--unread"]).await.len();
    let said = it.done(&["notification", "read", "--mine", "--all"], "").await;
    assert_eq!(said, format!("marked {count} as read\n"));
    assert!(listed(&it, &["--mine", "--unread"]).await.is_empty());
    assert!(listed(&it, &["--mine"]).await.iter().all(|(_, seen)| *seen));
    // It is read for nobody else.
    let count = listed(&it, &["--unread"]).await.len();
    assert!(count >= 2);
    let before = it.done(&["notification", "read", "--all", "--through", "1d"], "").await;
    assert_eq!(before, "marked 0 as read\n", "none is so old");
    let said = it.done(&["notification", "read", "--all"], "").await;
    assert_eq!(said, format!("marked {count} as read\n"));
    assert!(listed(&it, &["--unread"]).await.is_empty());
    let said = it.done(&["notification", "read", "--all"], "").await;
    assert_eq!(said, "marked 0 as read\n");
    let said = it.fails(&["notification", "read", "--all", "no_a"], "").await;
    assert!(said.contains("--all"), "{said}");
}
