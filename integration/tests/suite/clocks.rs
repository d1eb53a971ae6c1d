//! A node whose clock is wrong says so, and people see it.

use std::time::Duration;

use rr_integration::logs::announce;
use rr_integration::process::admin;
use rr_integration::wait::eventually;
use rr_integration::world::World;

const DAY: Duration = Duration::from_secs(86_400);

async fn skew_days(world: &World) -> Option<i64> {
    let reply = admin(world.node.admin, "/config").await.ok()?;
    let config: serde_json::Value = serde_json::from_slice(&reply.body).ok()?;
    config["clock_skew_ms"].as_f64().map(days_of)
}

/// Rounded: the two clocks are not read at once.
fn days_of(ms: f64) -> i64 {
    (ms / 86_400_000.0).round() as i64
}

#[tokio::test]
async fn a_clock_that_is_thirty_days_off_shows_at_the_node_and_in_the_node_list() {
    let mut world = World::start().await;
    for (is_ahead, days, words) in [(true, 30, "ahead of"), (false, -3, "behind")] {
        world.node.clock = (if is_ahead { DAY * 30 } else { DAY * 3 }, is_ahead);
        world.node.restart().await;
        let world = &world;
        eventually("the node says it", || async move { (skew_days(world).await? == days).then_some(()) })
            .await;
        eventually("the node list says it", || async move {
            let node = world.api.nodes().await.ok()?.pop()?;
            (days_of(node.clock_skew_ms as f64) == days && node.why.contains(words)).then_some(())
        })
        .await;
    }
    world.end().await;
}

/// The certificates of the control plane do not hold there: no stream comes about, so that nobody else can say it.
#[tokio::test]
async fn a_clock_that_is_four_hundred_days_off_shows_at_the_node_although_it_cannot_connect() {
    announce("clock and the control plane's are further apart");
    let mut world = World::start().await;
    for is_ahead in [true, false] {
        world.node.clock = (DAY * 400, is_ahead);
        world.node.restart().await;
        let world = &world;
        eventually("the node says it", || async move {
            let days = skew_days(world).await?;
            // At the least: what the certificate tells.
            (if is_ahead { days >= 2 } else { days <= -399 }).then_some(())
        })
        .await;
    }
    world.end().await;
}
