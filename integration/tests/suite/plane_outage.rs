//! Real processes, killed with a real `kill -9`.

use std::path::Path;

use rr_contract::seal::region_key::RegionKeys;
use rr_integration::api::Api;
use rr_integration::caller::Caller;
use rr_integration::process::{Control, Edge, admin};
use rr_integration::upstream::Upstream;
use rr_integration::wait::eventually;

struct Installation {
    control: Control,
    edge: Edge,
    upstream: Upstream,
    api: Api,
    keys: RegionKeys,
    caller: Caller,
    _folder: tempfile::TempDir,
}

async fn installation() -> Installation {
    let folder = tempfile::tempdir().expect("a folder");
    let upstream = Upstream::start().await;
    let control = Control::start(&folder.path().join("control")).await;
    let api = control.bootstrap().await;
    let keys = sample(&api, &upstream.url()).await;
    let key = api.caller("acme", "app").await.expect("caller");
    api.proxy("acme", "echo", "app", "echo", "secret", "eu").await.expect("proxy");
    let edge = join(&api, &keys, &folder.path().join("edge"), &control).await;
    let caller = Caller::new(edge.listen, "acme.echo", &key);
    eventually("the first call is answered", || async {
        (caller.try_get("/").await.ok()?.status == 200).then_some(())
    })
    .await;
    Installation { control, edge, upstream, api, keys, caller, _folder: folder }
}

async fn sample(api: &Api, origin: &str) -> RegionKeys {
    api.org("acme").await.expect("org");
    let keys = api.region("eu", "").await.expect("region");
    api.target("acme", "echo", origin).await.expect("target");
    api.upstream("acme", "secret", &keys, origin, "s3cret").await.expect("secret");
    keys
}

async fn join(api: &Api, keys: &RegionKeys, folder: &Path, control: &Control) -> Edge {
    let token = api.node_token("eu", keys, 1).await.expect("token");
    let edge = Edge::start(folder, control.fleet, token.to_secret().expose());
    edge.ready().await;
    edge
}

#[tokio::test]
async fn callers_are_served_while_the_control_plane_is_dead_and_after_the_node_restarts_alone() {
    let mut world = installation().await;
    world.control.kill();
    assert_eq!(world.caller.get("/while-dead").await.status, 200);
    world.edge.kill();
    let edge = world.edge.restart();
    edge.ready().await;
    assert_eq!(world.caller.get("/after-restart").await.status, 200);
    let seen = world.upstream.seen();
    assert_eq!(seen.last().expect("seen").uri.path(), "/after-restart");
    assert_eq!(seen.last().expect("seen").headers["authorization"], "Bearer s3cret");
}

#[tokio::test]
async fn a_node_catches_up_with_what_it_missed_once_the_control_plane_is_back() {
    let mut world = installation().await;
    world.control.kill();
    let control = world.control.restart().await;
    let second = world.api.caller("acme", "second").await.expect("the store survived");
    world.api.proxy("acme", "again", "second", "echo", "secret", "eu").await.expect("proxy");
    let caller = Caller::new(world.edge.listen, "acme.again", &second);
    eventually("the proxy made after the outage answers", || async {
        (caller.try_get("/").await.ok()?.status == 200).then_some(())
    })
    .await;
    drop(control);
}

#[tokio::test]
async fn records_made_while_the_control_plane_is_dead_arrive_later_and_once() {
    let mut world = installation().await;
    world.control.kill();
    for n in 0..20 {
        assert_eq!(world.caller.get(&format!("/offline-{n}")).await.status, 200);
    }
    let _control = world.control.restart().await;
    arrived(&world.api, "/offline-19").await;
    // Killed, the node sends once more whatever it still has.
    world.edge.kill();
    world.edge = world.edge.restart();
    world.edge.ready().await;
    assert_eq!(world.caller.get("/last").await.status, 200);
    // Records arrive in the order of their batches: behind this one, nothing of before is under way.
    arrived(&world.api, "/last").await;
    eventually("nothing waits on the node", || async {
        let metrics = admin(world.edge.admin, "/metrics").await.ok()?;
        let waiting = metrics.text().lines().find(|line| line.starts_with("requestrocket_edge_spool_bytes"));
        waiting.is_some_and(|line| line.ends_with(" 0")).then_some(())
    })
    .await;
    let mut paths = paths(&world.api).await.expect("it answers");
    paths.retain(|path| path.starts_with("/offline-") || path == "/last");
    paths.sort();
    let mut expected: Vec<String> = (0..20).map(|n| format!("/offline-{n}")).collect();
    expected.push("/last".to_owned());
    expected.sort();
    assert_eq!(paths, expected, "each once");
}

async fn paths(api: &Api) -> Option<Vec<String>> {
    let records = api.requests("acme").await.ok()?;
    Some(records.into_iter().filter_map(|request| Some(request.record?.path)).collect())
}

async fn arrived(api: &Api, path: &str) {
    eventually(&format!("the record of {path} arrived"), || async {
        paths(api).await?.iter().any(|one| one == path).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_control_plane_that_takes_connections_and_is_silent_holds_up_no_caller_and_no_start() {
    let mut world = installation().await;
    // The stream that is open hears nothing more; neither does one that is opened.
    world.control.process.freeze();
    let begun = std::time::Instant::now();
    for n in 0..20 {
        assert_eq!(world.caller.get(&format!("/silent-{n}")).await.status, 200);
    }
    world.edge.kill();
    world.edge = world.edge.restart();
    world.edge.ready().await;
    for n in 20..40 {
        assert_eq!(world.caller.get(&format!("/silent-{n}")).await.status, 200);
    }
    // A frozen process that nobody lets go on would be noticed by a timeout of a minute.
    assert!(begun.elapsed() < std::time::Duration::from_secs(20), "{:?}", begun.elapsed());
    world.control.process.thaw();
    arrived(&world.api, "/silent-39").await;
}

#[tokio::test]
async fn a_one_use_token_admits_one_node() {
    let world = installation().await;
    let token = world.api.node_token("eu", &world.keys, 1).await.expect("token");
    let folder = tempfile::tempdir().expect("a folder");
    let text = token.to_secret();
    let first = Edge::start(&folder.path().join("first"), world.control.fleet, text.expose());
    first.ready().await;
    let mut second = Edge::start(&folder.path().join("second"), world.control.fleet, text.expose());
    let ended = eventually("the second node gives up", || {
        let ended = second.process.ended();
        async move { ended }
    })
    .await;
    assert_eq!(ended.code(), Some(1), "{}", second.process.log());
    assert!(second.process.log().contains("token"), "{}", second.process.log());
}

#[tokio::test]
async fn sigterm_drains_and_ends_with_0() {
    let mut world = installation().await;
    assert_eq!(world.edge.process.terminate().await.code(), Some(0), "{}", world.edge.process.log());
    assert_eq!(world.control.process.terminate().await.code(), Some(0), "{}", world.control.process.log());
}
