//! A disk under the edge that does not come to an end with anything, for longer than any watch: callers notice nothing,
//! changes come into force, and all of it is on disk afterwards.

use std::process::Command;
use std::time::{Duration, Instant};

use rr_integration::caller::Caller;
use rr_integration::process::{Control, Edge, Process, admin};
use rr_integration::sample;
use rr_integration::upstream::Upstream;
use rr_integration::wait::eventually;
use serde_json::Value;

/// Each call for the disk takes so long: longer than the watchdog lets the control thread be silent.
const STALL: Duration = Duration::from_secs(38);

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_hangs_takes_no_traffic_down_and_all_is_written_afterwards() {
    if Command::new("strace").arg("-V").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "strace is not installed: apt-get install strace");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let upstream = Upstream::start().await;
    let control = Control::start(&folder.path().join("control")).await;
    let api = control.bootstrap().await;
    api.org("acme").await.expect("org");
    let keys = api.region("eu", "").await.expect("region");
    api.target("acme", "echo", &upstream.url()).await.expect("target");
    api.upstream("acme", "secret", &keys, &upstream.url(), "s3cret").await.expect("secret");
    let key = api.caller("acme", "app").await.expect("caller");
    for name in ["echo", "other"] {
        api.proxy("acme", name, "app", "echo", "secret", "eu").await.expect("proxy");
    }
    let token = api.node_token("eu", &keys, 1).await.expect("token");
    let mut edge = Edge::start(&folder.path().join("edge"), control.fleet, token.to_secret().expose());
    edge.ready().await;
    let caller = Caller::new(edge.listen, "acme.echo", &key);
    let other = Caller::new(edge.listen, "acme.other", &key);
    assert_eq!(other.get("/").await.status, 200);

    let mut strace = Command::new("strace");
    let delay = format!("inject=fsync,fdatasync:delay_enter={}", STALL.as_micros());
    strace.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=fsync,fdatasync", "-e", &delay]);
    strace.args(["-p", &edge.process.id().to_string()]);
    let mut strace = Process::start(&mut strace, &folder.path().join("strace"));
    let status = format!("/proc/{}/status", edge.process.id());
    eventually("strace is there", || async {
        let status = std::fs::read_to_string(&status).ok()?;
        (!status.contains("TracerPid:\t0\n")).then_some(())
    })
    .await;
    let began = Instant::now();
    sample::set_active(&api, "acme", "other", false).await.expect("switched off");
    eventually("it is off although the disk hangs", || async {
        (other.get("/").await.status == 403).then_some(())
    })
    .await;
    assert!(began.elapsed() < STALL, "nobody waited for the disk");
    eventually("the admin port says why", || async {
        let body = admin(edge.admin, "/readyz").await.ok()?;
        (body.status == 200 && body.text().contains("disk-stalled")).then_some(())
    })
    .await;
    eventually("the control plane says why", || async {
        let nodes = api.nodes().await.ok()?;
        nodes.first().filter(|node| node.disk_stalled && node.why.contains("disk-stalled")).map(drop)
    })
    .await;
    let mut calls = 0;
    while began.elapsed() < STALL + Duration::from_secs(2) {
        assert_eq!(caller.get("/").await.status, 200);
        assert_eq!(admin(edge.admin, "/healthz").await.expect("it answers").status, 200);
        assert!(edge.process.ended().is_none());
        calls += 1;
        // A caller that calls again and again, but not as often as it can.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(calls > 0);
    strace.terminate().await;

    let head = api.revision().await.expect("a revision");
    eventually("all of it is on disk", || async {
        let reply = admin(edge.admin, "/config").await.ok()?;
        let config: Value = serde_json::from_slice(&reply.body).ok()?;
        let is_there = |what: &str| config[what]["revision"].as_u64() == Some(head);
        (is_there("running") && is_there("on_disk") && config["disk_stalled"] == false).then_some(())
    })
    .await;
    eventually("records of the time are stored", || async {
        (api.requests("acme").await.ok()?.len() > 1).then_some(())
    })
    .await;
    edge.kill();
    edge = edge.restart();
    edge.ready().await;
    assert_eq!(other.at(edge.listen).get("/").await.status, 403);
}
