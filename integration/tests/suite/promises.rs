//! The five promises of the README, as far as this version keeps them; each test is named after one.

use std::path::Path;
use std::time::Duration;

use prost::Message as _;
use rr_contract::runtime::Tasks;
use rr_integration::wait::eventually;
use rr_integration::world::{ORG, UPSTREAM_SECRET, World};
use tokio::net::TcpListener;

/// What a node says while its control plane is away.
fn announce_outage(world: &World) {
    world.log.announce("control plane cannot be reached");
    world.log.announce("stream to the control plane lost");
}

/// Takes connections on an address, keeps them, and says nothing.
fn silence(address: std::net::SocketAddr) -> tokio::task::JoinHandle<()> {
    Tasks::new().spawn("silence", async move {
        let listener = TcpListener::bind(address).await.expect("nobody listens there");
        let mut kept = Vec::new();
        while let Ok(accepted) = listener.accept().await {
            kept.push(accepted);
        }
    })
}

#[tokio::test]
async fn a_request_never_waits_for_the_control_plane() {
    let mut world = World::start().await;
    let caller = world.caller_of("echo");
    announce_outage(&world);
    world.control_plane.stop().await;
    for n in 0..50 {
        if n == 25 {
            // Gone is told at once; one that takes the connection and is silent is waited for, by whoever waits.
            drop(silence(world.control_plane.fleet));
            world.node.restart().await;
            world.node.ready().await;
        }
        let started = std::time::Instant::now();
        assert_eq!(caller.get(&format!("/{n}")).await.status, 200);
        // Far below every timeout of a connection to the control plane.
        assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    }
    world.end().await;
}

#[tokio::test]
async fn a_node_that_has_ever_worked_keeps_working() {
    let mut world = World::start().await;
    let caller = world.caller_of("echo");
    announce_outage(&world);
    world.control_plane.stop().await;
    let silence = silence(world.control_plane.fleet);
    world.node.restart().await;
    world.node.ready().await;
    assert_eq!(caller.get("/").await.status, 200);
    silence.abort();
    // Ended, it has given the port back.
    drop(silence.await);
    world.control_plane.restart().await;
    world.in_step().await;
    assert_eq!(caller.get("/").await.status, 200);
    world.end().await;
}

#[tokio::test]
async fn the_control_plane_cannot_read_an_upstream_secret_that_was_sealed() {
    let world = World::start().await;
    assert_eq!(world.caller_of("echo").get("/").await.status, 200);
    let records = eventually("the record arrived", || async {
        let records = world.api.requests(ORG).await.ok()?;
        (!records.is_empty()).then_some(records)
    })
    .await;
    let answers = world.api.everything(ORG).await.expect("it answers");
    assert!(answers.len() > 5 && answers.iter().all(|answer| !answer.is_empty()), "{answers:?}");
    let records = records.iter().map(|record| record.encode_to_vec()).collect::<Vec<_>>();
    let answers = [answers, records].concat();
    let region_private = world.keys.opening_key().key().to_secret();
    let caller_key = world.caller_key.clone();
    let folder = world.end_keeping_files().await;
    for needle in [UPSTREAM_SECRET.as_bytes(), caller_key.as_bytes(), region_private.expose()] {
        for answer in &answers {
            assert!(!holds(answer, needle), "found in {:?}", String::from_utf8_lossy(answer));
        }
        let mut files = 0;
        scan(folder.path(), needle, &mut files);
        assert!(files > 5, "only {files} files were looked at");
    }
}

/// The bytes themselves, or a text of them that somebody may have made: hexadecimal, or a list of numbers.
pub(crate) fn holds(bytes: &[u8], needle: &[u8]) -> bool {
    let hex: String = needle.iter().map(|byte| format!("{byte:02x}")).collect();
    let texts = [hex, format!("{needle:?}")];
    let forms = texts.iter().map(String::as_bytes).chain([needle]);
    forms.into_iter().any(|form| bytes.windows(form.len()).any(|part| part == form))
}

#[test]
fn a_secret_is_found_in_whatever_form_it_is_written() {
    let secret = b"\x00\xfesecret";
    for text in ["x00fe736563726574x", "[0, 254, 115, 101, 99, 114, 101, 116]"] {
        assert!(holds(text.as_bytes(), secret), "{text}");
    }
    assert!(holds(b"-\x00\xfesecret-", secret) && !holds(b"\x00\xfesecre", secret));
}

/// No file of either plane holds `needle`.
pub(crate) fn scan(folder: &Path, needle: &[u8], files: &mut usize) {
    for entry in std::fs::read_dir(folder).expect("a folder of ours") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            scan(&path, needle, files);
        } else {
            *files += 1;
            let bytes = std::fs::read(&path).expect("a file of ours");
            assert!(!holds(&bytes, needle), "found in {}", path.display());
        }
    }
}

#[tokio::test]
async fn you_can_see_what_every_node_runs() {
    let world = World::start().await;
    let head = world.api.revision().await.expect("a revision");
    let node = eventually("the node reports its position", || async {
        let node = world.api.nodes().await.ok()?.pop()?;
        (node.serving.as_ref()?.revision == head && node.on_disk.as_ref()?.revision == head).then_some(node)
    })
    .await;
    assert!(node.connected && node.standing.is_empty(), "{node:?}");
    let (desired, running) = (node.desired.expect("desired"), node.running.expect("running"));
    assert_eq!((desired.digest.clone(), desired.count), (running.digest, running.count));
    assert_eq!(desired.digest.len(), 32);
    world.end().await;
}

#[tokio::test]
async fn no_record_is_lost_silently() {
    let mut world = World::start().await;
    let caller = world.caller_of("echo");
    announce_outage(&world);
    let mut ids = Vec::new();
    for n in 0..10 {
        ids.push(caller.get(&format!("/before-{n}")).await.header("requestrocket-request-id").to_owned());
    }
    world.control_plane.stop().await;
    for n in 0..10 {
        ids.push(caller.get(&format!("/meanwhile-{n}")).await.header("requestrocket-request-id").to_owned());
    }
    // The node is stopped in order, so what it has not uploaded is on its disk.
    world.node.stop().await;
    world.control_plane.restart().await;
    world.node.restart().await;
    ids.sort();
    eventually("every record arrived, once", || async {
        let records = world.api.requests(ORG).await.ok()?;
        let mut stored: Vec<String> =
            records.into_iter().filter_map(|request| Some(request.record?.id)).collect();
        stored.sort();
        assert!(stored.len() <= ids.len(), "more records than requests");
        (stored == ids).then_some(())
    })
    .await;
    world.end().await;
}
