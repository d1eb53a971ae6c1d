//! Records of requests by `rrctl`: found by what they have, and followed as they come.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use http::Response;
use http_body_util::Full;
use rr_integration::upstream::Upstream;
use rr_integration::wait::eventually;

use crate::own_values::{Installation, rrctl};

const SOON: Duration = Duration::from_secs(30);

/// A command that prints without end.
struct Following {
    child: Child,
    lines: Receiver<String>,
}

impl Following {
    fn start(it: &Installation, args: &[&str]) -> Self {
        let mut command = rrctl(&it.sample.control, &it.sample.api, it.values.path(), args);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("rrctl runs");
        let out = BufReader::new(child.stdout.take().expect("a pipe"));
        let (sender, lines) = sync_channel(1024);
        std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, lines }
    }

    fn next(&self) -> String {
        self.lines.recv_timeout(SOON).expect("a line comes")
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.child.kill().expect("it is ours");
        self.child.wait().expect("it ends");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_found_by_status_path_and_caller_and_come_to_whoever_follows_them() {
    let upstream = Upstream::start_with(|seen| {
        let status = if seen.headers.contains_key("x-fail") { 503 } else { 200 };
        Response::builder().status(status).body(Full::default()).expect("an answer")
    })
    .await;
    let it = Installation::start_before(upstream, &[]).await;
    let key = format!("Bearer {}", it.sample.key);
    let good = async || it.get(&[("authorization", &key)]).await;
    let bad = async || it.get(&[("authorization", &key), ("x-fail", "1")]).await;
    eventually("the node serves", || async { (good().await.status == 200).then_some(()) }).await;
    let list = async |flags: &[&str]| {
        let listed = it.done(&[&["-o", "json", "request", "list"], flags].concat(), "").await;
        let listed: serde_json::Value = serde_json::from_str(&listed).expect("JSON");
        let status = |it: &serde_json::Value| it["record"]["status"].as_u64().expect("a status");
        listed.as_array().expect("a list").iter().map(status).collect::<Vec<_>>()
    };
    assert_eq!(bad().await.status, 503);
    assert_eq!(it.get(&[]).await.status, 401);
    eventually("all records are there", || async { (list(&[]).await.len() >= 3).then_some(()) }).await;
    assert_eq!(list(&["--status", "5xx"]).await, [503]);
    assert_eq!(list(&["--status", "400-499"]).await, [401]);
    assert_eq!(list(&["--path", "/x*", "--caller", "app", "--status", "503"]).await, [503]);
    assert_eq!(list(&["--code", "proxy-access-denied", "--region", "eu", "--since", "1h"]).await, [401]);
    assert!(list(&["--path", "/y*"]).await.is_empty() && list(&["--until", "1h"]).await.is_empty());
    let said = it.fails(&["request", "list", "--filter", "method = GET"], "").await;
    assert!(said.contains("the fields are status, code, path"), "{said}");

    let (tail, follow) = (
        Following::start(&it, &["request", "tail", "--status", "5xx", "-o", "json"]),
        Following::start(&it, &["request", "list", "--follow", "--status", "4xx"]),
    );
    // The headings, what was there, and then what comes.
    assert!(follow.next().starts_with("RECEIVED"));
    assert!(follow.next().contains("  401  "));
    let begun = Instant::now();
    while tail.lines.try_recv().is_err() {
        assert!(begun.elapsed() < SOON, "nothing comes");
        bad().await;
        good().await;
    }
    bad().await;
    let next: serde_json::Value = serde_json::from_str(&tail.next()).expect("JSON");
    assert_eq!((&next["record"]["status"], &next["record"]["path"]), (&503.into(), &"/x".into()));
    assert_eq!(it.get(&[]).await.status, 401);
    assert!(follow.next().contains("  401  "));
}
