//! A log of requests on a node that has a control plane: the same records as there, and at nobody's expense.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::path::Path;
use std::process::Command;

use rr_integration::process::admin;
use rr_integration::sample::ORG;
use rr_integration::upstream::Upstream;
use rr_integration::wait::eventually;
use serde_json::Value;

use crate::own_values::Installation;

/// A node with a log of requests at this path.
async fn installation(path: &Path) -> Installation {
    let settings = [("RR_EDGE_RECORDS", path.display().to_string())];
    Installation::start_before(Upstream::start().await, &settings).await
}

/// The whole lines of a file.
fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

async fn lost(it: &Installation) -> u64 {
    let metrics = admin(it.edge.admin, "/metrics").await.expect("it answers");
    let name = "requestrocket_edge_record_lines_lost_total ";
    let line = metrics.text().lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|count| count.parse().ok()).expect("it is there")
}

/// So many requests, of which some are refused, too few to share a record; returns how many there were.
async fn call(it: &Installation, count: usize) -> usize {
    let key = format!("Bearer {}", it.sample.key);
    for n in 0..count {
        let (headers, status) =
            if n % 5 == 4 && n < 15 { (vec![], 401) } else { (vec![("authorization", &*key)], 200) };
        assert_eq!(it.get(&headers).await.status, status);
    }
    count
}

/// The records at the control plane, once there are so many.
async fn records(it: &Installation, count: usize) -> BTreeMap<String, (u64, String, String, String)> {
    eventually(&format!("{count} records are at the control plane"), || async {
        let all = it.sample.api.requests(ORG).await.ok()?;
        let all = all.into_iter().filter_map(|it| it.record);
        let all: BTreeMap<_, _> =
            all.map(|it| (it.id, (it.status.into(), it.code, it.path, it.proxy))).collect();
        (all.len() >= count).then_some(all)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_writes_the_records_that_its_control_plane_gets_and_rotates_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, moved) = (folder.path().join("requests"), folder.path().join("requests.1"));
    let it = installation(&path).await;
    let first = call(&it, 15).await;
    let all = records(&it, first).await;
    let written = eventually("each record has a line", || async {
        let lines = lines(&path);
        (lines.len() >= first).then_some(lines)
    })
    .await;
    let text = |line: &Value, name: &str| line[name].as_str().unwrap_or_default().to_owned();
    let written: BTreeMap<_, _> = written
        .iter()
        .map(|line| {
            let status = line["status"].as_u64().expect("a number");
            (text(line, "id"), (status, text(line, "code"), text(line, "path"), text(line, "proxy")))
        })
        .collect();
    assert_eq!(written, all);
    let raw = std::fs::read_to_string(&path).expect("a file");
    assert!(!raw.contains("s3cret") && !raw.contains(&it.sample.key));

    // Moved away, and told so: without that, SIGHUP ends a process.
    std::fs::rename(&path, &moved).expect("it is ours");
    let told =
        Command::new("kill").args(["-HUP", &it.edge.process.id().to_string()]).status().expect("kill runs");
    assert!(told.success());
    eventually("there is a new file", || async { path.exists().then_some(()) }).await;
    call(&it, 5).await;
    eventually("the next lines are in it", || async { (lines(&path).len() == 5).then_some(()) }).await;
    assert_eq!((lines(&moved).len(), lost(&it).await), (first, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_cannot_be_written_or_hangs_holds_up_neither_requests_nor_records() {
    let full = installation(Path::new("/dev/full")).await;
    let count = call(&full, 10).await;
    assert_eq!(records(&full, count).await.len(), count);
    eventually("each lost line is counted", || async { (lost(&full).await == count as u64).then_some(()) })
        .await;
    drop(full);

    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&path).status().expect("mkfifo runs").success());
    // Open, and never read from: it takes 64 KiB.
    let _deaf = OpenOptions::new().read(true).write(true).open(&path).expect("a pipe opens for both at once");
    let mut deaf = installation(&path).await;
    let count = call(&deaf, 300).await;
    let requests = async |it: &Installation| {
        let said = it.done(&["-o", "json", "metrics", "query", "--since", "2h"], "").await;
        let answer: Value = serde_json::from_str(&said).expect("JSON");
        answer["all"]["total"]["requests"].as_str().and_then(|count| count.parse::<usize>().ok())
    };
    eventually("all are at the control plane", || async { (requests(&deaf).await? == count).then_some(()) })
        .await;
    assert_eq!(deaf.edge.process.terminate().await.code(), Some(0), "{}", deaf.edge.process.log());
}
