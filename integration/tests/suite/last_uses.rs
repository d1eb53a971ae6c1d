//! When callers came last, from a request to `rrctl credential list`, and over an outage.

use std::path::Path;
use std::time::SystemTime;

use rr_contract::wire::management as mg;
use rr_integration::api::Api;
use rr_integration::caller::Caller;
use rr_integration::process::{Control, Edge, admin};
use rr_integration::sample::{ORG, REGION, Sample};
use rr_integration::upstream::Upstream;
use rr_integration::wait::eventually;

use crate::own_values::rrctl;

/// What `rrctl` prints.
async fn printed(control: &Control, api: &Api, folder: &Path, args: &[&str]) -> String {
    let mut command = rrctl(control, api, folder, args);
    let run = move || command.output().expect("rrctl runs");
    let output = tokio::task::spawn_blocking(run).await.expect("joins");
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// What a list says of one credential.
async fn listed(control: &Control, api: &Api, folder: &Path, name: &str) -> mg::Credential {
    let list = printed(control, api, folder, &["credential", "list", "-o", "json"]).await;
    let list: Vec<mg::Credential> = serde_json::from_str(&list).expect("JSON");
    list.into_iter().find(|it| it.name == name).expect("it is listed")
}

/// Waits until a last use of a credential is listed. Returns seconds since 1970.
async fn last_used(control: &Control, api: &Api, folder: &Path, name: &str) -> u64 {
    let at = eventually(&format!("a last use of {name} is listed"), || async {
        listed(control, api, folder, name).await.last_used_at
    })
    .await;
    u64::try_from(at.seconds).expect("after 1970")
}

fn minute() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    now.as_secs() / 60 * 60
}

/// Bytes that the control plane has not taken yet.
async fn waiting(edge: &Edge) -> Option<u64> {
    let metrics = admin(edge.admin, "/metrics").await.ok()?;
    let metrics = metrics.text();
    let line = metrics.lines().find(|line| line.starts_with("requestrocket_edge_spool_bytes"))?;
    line.rsplit(' ').next()?.parse().ok()
}

async fn answered(caller: &Caller) {
    eventually("a call is answered", || async {
        (caller.try_get("/").await.ok()?.status == 200).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_minute_in_which_a_caller_came_last_is_listed_and_survives_an_outage_and_kills() {
    let folder = tempfile::tempdir().expect("a folder");
    let upstream = Upstream::start().await;
    let sample = Sample::start(folder.path(), &upstream.url(), &[]).await.expect("a sample");
    let Sample { mut control, api, keys, key, .. } = sample;
    let second = api.caller(ORG, "second").await.expect("a caller");
    api.proxy(ORG, "other", "second", "echo", "secret", REGION).await.expect("a proxy");
    let token = api.node_token(REGION, &keys, 1).await.expect("a token");
    let mut edge = Edge::start(&folder.path().join("edge"), control.fleet, token.to_secret().expose());
    edge.ready().await;
    let app = Caller::new(edge.listen, "acme.echo", &key);
    let other = Caller::new(edge.listen, "acme.other", &second);

    let before = listed(&control, &api, folder.path(), "app").await;
    assert_eq!(before.last_used_at, None);
    let (revision, begun) = (api.revision().await.expect("it answers"), minute());
    answered(&app).await;
    let at = last_used(&control, &api, folder.path(), "app").await;
    assert!((begun..=minute()).contains(&at) && at.is_multiple_of(60), "{begun} {at}");
    let after = listed(&control, &api, folder.path(), "app").await;
    assert_eq!((after.etag, after.updated_at), (before.etag, before.updated_at));
    assert_eq!(api.revision().await.expect("it answers"), revision, "nothing was changed");
    let table = printed(&control, &api, folder.path(), &["credential", "list"]).await;
    let line = |name: &str| {
        let line = table.lines().find(|line| line.trim_start().starts_with(name));
        line.unwrap_or_else(|| panic!("no line of {name}: {table}")).to_owned()
    };
    assert!(table.lines().next().is_some_and(|heading| heading.contains("LAST USED")), "{table}");
    assert!(line("second").contains("never") && !line("app").contains("never"), "{table}");
    assert!(!line("secret").contains("never"), "it is no caller's: {table}");

    // With the control plane away, a caller comes for the first time, and the node is killed.
    eventually("nothing waits on the node", || async { (waiting(&edge).await? == 0).then_some(()) }).await;
    control.kill();
    let begun = minute();
    answered(&other).await;
    eventually("the use is on disk", || async { (waiting(&edge).await? > 0).then_some(()) }).await;
    edge.kill();
    let edge = edge.restart();
    edge.ready().await;
    let control = control.restart().await;
    let at = last_used(&control, &api, folder.path(), "second").await;
    assert!((begun..=minute()).contains(&at), "{begun} {at}");
    let shown = printed(&control, &api, folder.path(), &["credential", "show", "second"]).await;
    assert!(shown.contains("last used") && !shown.contains("never"), "{shown}");
    let past = ["credential", "show", "second", "--at", &revision.to_string()];
    let past = printed(&control, &api, folder.path(), &past).await;
    assert!(!past.contains("last used") && !past.contains("never"), "nothing is said of then: {past}");
}
