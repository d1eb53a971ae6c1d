//! A database that lost what was acknowledged: every door says so, and no write is taken.

use std::time::Duration;

use serde_json::json;

use super::rest::get;
use super::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_control_plane_whose_database_lost_what_was_acknowledged_is_not_ready_and_takes_no_writes() {
    let world = World::start().await;
    world.org("acme").await;
    let operator = world.operator();
    let admin = world.running.admin();
    assert_eq!(get(admin, "/readyz", "").await.status, 200);
    world.tamper(r#"UPDATE "head" SET "head" = "head" - 1"#).await;
    let target = json!({"name": "echo", "baseUrl": "https://a.example.com"});
    let refused = operator.post("/v1/orgs/acme/targets", target).await.refused(503, "unavailable");
    let said = refused["detail"].as_str().expect("a text");
    assert!(said.contains("control.db lost revisions that were acknowledged"), "{said}");
    assert!(said.contains("docs/operations.md"), "{said}");
    // Nobody is told of the revision after all.
    operator.get("/v1/orgs/acme/targets/echo").await.refused(404, "not-found");
    let unready = async {
        while world.running.readiness().is_ready() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), unready).await.expect("it says so");
    let ready = get(admin, "/readyz", "").await;
    assert_eq!(ready.status, 503);
    assert!(ready.text.contains("a database that keeps what it acknowledged"), "{}", ready.text);
    assert_eq!(get(admin, "/healthz", "").await.status, 200);
    world.running.stop().await;
}
