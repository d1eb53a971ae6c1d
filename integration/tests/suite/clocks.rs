//! A node whose clock is wrong says so, and people see it.

use std::time::Duration;

use rr_integration::process::admin;
use rr_integration::wait::eventually;
use rr_integration::world::World;

const DAY: Duration = Duration::from_secs(86_400);
const DAY_MS: i64 = 86_400_000;

async fn skew(world: &World) -> Option<i64> {
    let reply = admin(world.node.admin, "/config").await.ok()?;
    let config: serde_json::Value = serde_json::from_slice(&reply.body).ok()?;
    config["clock_skew_ms"].as_i64()
}

#[tokio::test]
async fn a_clock_that_is_off_shows_at_the_node_and_in_the_node_list() {
    let mut world = World::start().await;
    // The counts of limits on disk are from a later time than the second clock.
    world.log.announce("wall clock jumped against the monotonic clock");
    // Further behind than five minutes, the certificate of a control plane that was just started does not hold.
    for (is_ahead, off, words) in [(true, DAY * 30, "ahead of"), (false, Duration::from_secs(150), "behind")]
    {
        world.node.clock = (off, is_ahead);
        world.node.restart().await;
        let wanted = i64::try_from(off.as_millis()).expect("small") * if is_ahead { 1 } else { -1 };
        // The two clocks are not read at once.
        let near = |ms: i64| (ms - wanted).abs() < 30_000;
        let world = &world;
        eventually("the node says it", || async move { near(skew(world).await?).then_some(()) }).await;
        eventually("the node list says it", || async move {
            let node = world.api.nodes().await.ok()?.pop()?;
            (near(node.clock_skew_ms) && node.why.contains(words)).then_some(())
        })
        .await;
    }
    world.end().await;
}

/// The certificates of the control plane do not hold there: no stream comes about, so that nobody else can say it.
#[tokio::test]
async fn a_clock_that_is_four_hundred_days_off_shows_at_the_node_although_it_cannot_connect() {
    let mut world = World::start().await;
    world.log.announce("clocks of this machine and of the control plane differ");
    world.log.announce("wall clock jumped against the monotonic clock");
    for is_ahead in [true, false] {
        world.node.clock = (DAY * 400, is_ahead);
        world.node.restart().await;
        let world = &world;
        eventually("the node says it", || async move {
            let ms = skew(world).await?;
            // At the least: what the certificate tells.
            (if is_ahead { ms >= 2 * DAY_MS } else { ms <= -399 * DAY_MS }).then_some(())
        })
        .await;
    }
    world.end().await;
}
