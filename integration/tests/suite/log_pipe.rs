//! A log that nobody reads: a pipe that is full, and one that is closed.

use std::io::{BufRead as _, BufReader};
use std::time::Duration;

use rr_integration::caller::Caller;
use rr_integration::process::{Control, Edge, admin};
use rr_integration::sample::set_active;
use rr_integration::upstream::Upstream;
use rr_integration::wait::eventually;

/// Lines that a program lost so far, by its own metrics.
async fn lost(address: std::net::SocketAddr, plane: &str) -> Option<u64> {
    let metrics = admin(address, "/metrics").await.ok()?;
    let name = format!("requestrocket_{plane}_log_lines_lost_total");
    metrics.text().lines().find(|line| line.starts_with(&name))?.rsplit(' ').next()?.parse().ok()
}

// A switched-off proxy was once served for 98 seconds, because the thread that takes configuration waited for a reader.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_nobody_reads_holds_up_no_configuration_and_says_afterwards_how_much_is_missing() {
    let folder = tempfile::tempdir().expect("a folder");
    let upstream = Upstream::start().await;
    let loud = [("RR_LOG_LEVEL", "trace".to_owned()), ("RR_CONTROL_TOKEN_RATE", "0".to_owned())];
    let mut control = Control::start_unread(&folder.path().join("control"), &loud).await;
    let api = control.bootstrap().await;
    api.org("acme").await.expect("org");
    let keys = api.region("eu", "").await.expect("region");
    api.target("acme", "echo", &upstream.url()).await.expect("target");
    api.upstream("acme", "secret", &keys, &upstream.url(), "s3cret").await.expect("secret");
    let key = api.caller("acme", "app").await.expect("caller");
    api.proxy("acme", "echo", "app", "echo", "secret", "eu").await.expect("proxy");
    let token = api.node_token("eu", &keys, 1).await.expect("token");
    let mut edge =
        Edge::start_unread(&folder.path().join("edge"), control.fleet, token.to_secret().expose(), &loud);
    edge.ready().await;
    let caller = Caller::new(edge.listen, "acme.echo", &key);
    eventually("the first call is answered", || async {
        (caller.try_get("/").await.ok()?.status == 200).then_some(())
    })
    .await;
    // Until both have lost lines: pipes and queues are full.
    eventually("both planes lose lines", || async {
        for _ in 0..50 {
            caller.try_get("/").await.ok()?;
            api.revision().await.ok()?;
        }
        (lost(edge.admin, "edge").await? > 0 && lost(control.admin, "control").await? > 0).then_some(())
    })
    .await;
    for active in [false, true, false] {
        set_active(&api, "acme", "echo", active).await.expect("the control plane answers");
        let expected = if active { 200 } else { 403 };
        let begun = std::time::Instant::now();
        eventually("the change is in force", || async {
            (caller.try_get("/").await.ok()?.status == expected).then_some(())
        })
        .await;
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    }
    assert_eq!((edge.process.ended(), control.process.ended()), (None, None));
    for process in [&mut edge.process, &mut control.process] {
        let lines = BufReader::new(process.take_pipe()).lines();
        let note = tokio::task::spawn_blocking(move || {
            let mut lines = lines.map_while(Result::ok);
            let note = lines.find(|line| line.contains(" lines lost"));
            // Whoever reads goes on reading, or the pipe is full again.
            (note, lines)
        });
        let (note, _lines) = tokio::time::timeout(Duration::from_secs(30), note)
            .await
            .expect("the loss is told once somebody reads")
            .expect("it reads");
        let note: serde_json::Value = serde_json::from_str(&note.expect("a line")).expect("a JSON line");
        assert_eq!(note["level"], "WARN", "{note}");
        assert!(note["lines"].as_u64() > Some(0), "{note}");
    }
    // Both pipes are closed now, which ends neither.
    set_active(&api, "acme", "echo", true).await.expect("the control plane answers");
    eventually("a change is in force while nobody can read", || async {
        (caller.try_get("/").await.ok()?.status == 200).then_some(())
    })
    .await;
    assert_eq!(edge.process.terminate().await.code(), Some(0));
    assert_eq!(control.process.terminate().await.code(), Some(0));
}
