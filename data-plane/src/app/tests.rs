//! A whole edge against a control plane that does as the test says, over real TLS on loopback.

mod control_plane;
mod fleet_stream;
mod panics;
mod uploads;

use std::path::Path;
use std::time::Duration;

use rr_contract::runtime::{Tasks, chain};
use rr_contract::wire::fleet;
use rr_contract::wire::fleet::{BatchCodec, Mode, Outcome, Why};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::config::Callers;
use crate::fixture::{self, Region, caller, caller_key, org, proxy, target};

use super::*;

use self::control_plane::{ControlPlane, Said};

const SECRET: &str = "sk-live-secret";
const LONG: Duration = Duration::from_secs(20);

fn config(folder: &Path, control: &ControlPlane, token: bool) -> Config {
    Config {
        state_dir: folder.to_owned(),
        control_plane: vec![control.address().parse().expect("an address")],
        node_token: token.then(|| control.token()),
        node_key_file: None,
        listen: ([127, 0, 0, 1], 0).into(),
        admin: ([127, 0, 0, 1], 0).into(),
        admin_token_file: None,
        workers: 2,
        connections: Some(100),
        gathered_bodies: 32 * 1024 * 1024,
        callers: Callers::default(),
        allow_upstream: vec!["127.0.0.0/8".parse().expect("a network")],
        upstream_ca: None,
        issuer_keys_last: Duration::from_secs(60),
        next_hop: None,
        drain: Duration::from_millis(200),
        spool_quota: u64::MAX,
        records: None,
        traces: crate::TraceSettings { share: crate::TraceShare::ALL, per_second: 100, paths: false },
        standalone: None,
    }
}

async fn start_edge(config: Config) -> Result<Running, StartError> {
    start(config, Seams::real(), Observability::quiet("rr-edge")).await
}

async fn started(config: Config) -> Running {
    start_edge(config).await.unwrap_or_else(|error| panic!("{}", chain(&error)))
}

async fn ready(edge: &Running) {
    timeout(LONG, edge.readiness().wait()).await.expect("it becomes ready");
}

/// Accepts connections, reads a head, and answers with it.
async fn echo() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    Tasks::new().spawn("echo", async move {
        loop {
            let (mut stream, _) = listener.accept().await.expect("it listens");
            let mut head = vec![0; 4096];
            let count = stream.read(&mut head).await.expect("the edge sends");
            let text = String::from_utf8_lossy(&head[..count]).into_owned();
            let answer = format!(
                "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{text}",
                text.len()
            );
            stream.write_all(answer.as_bytes()).await.expect("the edge reads");
        }
    });
    format!("http://{address}")
}

async fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("it reads");
    let mut text = String::new();
    stream.read_to_string(&mut text).await.expect("it answers");
    text
}

async fn call(edge: &Running) -> String {
    get(edge.listen(), &format!("/api/acme.proxy-1/x?Authorization={}", caller_key(1))).await
}

fn resources(region: &Region, upstream: &str) -> Vec<fleet::Resource> {
    vec![
        org(false),
        target(1, upstream),
        caller(1, 1, &[1]),
        region.upstream(2, 1, SECRET, "x-api-key", &[upstream]),
        proxy(1, &[1], 1, 2),
    ]
}

#[tokio::test]
async fn a_machine_with_a_token_joins_is_configured_and_serves() {
    let upstream = echo().await;
    let mut control = ControlPlane::start().await;
    control.publish(Mode::Snapshot, &resources(&control.region, &upstream));
    let folder = tempfile::tempdir().expect("a folder");
    let mut edge = started(config(folder.path(), &control, true)).await;
    ready(&edge).await;
    let answer = call(&edge).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(SECRET), "{answer}");

    let verdict = control.verdict().await;
    assert_eq!((verdict.outcome(), verdict.durable), (Outcome::Active, true));
    // Every worker runs on it, and the control plane hears of that by itself.
    let wanted = verdict.running.expect("it runs");
    let served =
        |said: &Said| matches!(said, Said::Status(status) if status.serving.as_ref() == Some(&wanted));
    control.hears(served).await;
    // The record comes over a connection of its own.
    let record = control.record().await;
    assert_eq!((record.status, &*record.code), (200, "proxy-access-granted"));
    assert_eq!(record.revision, 1);

    let statement = get(edge.listen(), "/.well-known/requestrocket").await;
    assert!(statement.contains(&control.region.fingerprint()), "{statement}");
    assert!(get(edge.admin(), "/readyz").await.ends_with("ready\n"));
    assert!(get(edge.admin(), "/config").await.contains("\"connected\":true"));
    let metrics = get(edge.admin(), "/metrics").await;
    assert!(metrics.contains("requestrocket_edge_requests_total{code=\"proxy-access-granted\""), "{metrics}");
    assert!(timeout(Duration::ZERO, edge.failed()).await.is_err());
    edge.stop().await;
}

#[tokio::test]
async fn batches_are_compressed_once_the_control_plane_has_said_that_it_unpacks_them() {
    let upstream = echo().await;
    let mut control = ControlPlane::start().await;
    control.publish(Mode::Snapshot, &resources(&control.region, &upstream));
    let folder = tempfile::tempdir().expect("a folder");
    let edge = started(config(folder.path(), &control, true)).await;
    ready(&edge).await;
    call(&edge).await;
    assert_eq!(control.upload().await.codec(), BatchCodec::Unspecified, "nobody has said it yet");
    let packed = async {
        loop {
            call(&edge).await;
            let upload = control.upload().await;
            if upload.codec() == BatchCodec::Zstd {
                return upload;
            }
        }
    };
    let packed = timeout(LONG, packed).await.expect("it is said with the first answer");
    assert!(packed.body.len() < packed.length as usize, "{} of {}", packed.body.len(), packed.length);
    // Read as it was written.
    call(&edge).await;
    assert_eq!(control.record().await.status, 200);
    edge.stop().await;
}

#[tokio::test]
async fn a_node_that_has_worked_works_again_without_the_control_plane() {
    let upstream = echo().await;
    let mut control = ControlPlane::start().await;
    control.publish(Mode::Snapshot, &resources(&control.region, &upstream));
    let folder = tempfile::tempdir().expect("a folder");
    let edge = started(config(folder.path(), &control, true)).await;
    ready(&edge).await;
    let node = edge.node_id();
    let position = edge.position();
    edge.stop().await;

    let again = config(folder.path(), &control, false);
    control.stop();
    let edge = started(again).await;
    ready(&edge).await;
    assert!(call(&edge).await.contains(SECRET));
    assert_eq!((edge.node_id(), edge.position()), (node, position));
    edge.stop().await;
}

#[tokio::test]
async fn a_change_is_taken_while_requests_run_and_a_bad_one_changes_nothing() {
    let (one, two) = (echo().await, echo().await);
    let mut control = ControlPlane::start().await;
    control.publish(Mode::Snapshot, &resources(&control.region, &one));
    let folder = tempfile::tempdir().expect("a folder");
    let edge = started(config(folder.path(), &control, true)).await;
    ready(&edge).await;
    assert_eq!(control.verdict().await.outcome(), Outcome::Active);

    let moved = [target(1, &two), control.region.upstream(2, 2, "sk-2", "x-api-key", &[&two])];
    control.publish(Mode::Delta, &moved);
    let verdict = control.verdict().await;
    assert_eq!((verdict.outcome(), verdict.running.expect("it runs").revision), (Outcome::Active, 2));
    assert!(call(&edge).await.contains("sk-2"));

    control.publish_with_wrong_digest(&[target(1, &one)]);
    let verdict = control.verdict().await;
    assert_eq!((verdict.outcome(), verdict.refusals[0].why()), (Outcome::Refused, Why::Digest));
    control.publish_from_elsewhere(&[target(1, &one)]);
    assert_eq!(control.verdict().await.refusals[0].why(), Why::BaseMismatch);
    control.publish_damaged(&[target(1, &one)]);
    assert_eq!(control.verdict().await.refusals[0].why(), Why::Transport);
    assert!(call(&edge).await.contains("sk-2"));

    control.publish(Mode::Delta, &[fixture::future_rule(1, fixture::target_key(9)), target(5, &one)]);
    let verdict = control.verdict().await;
    assert_eq!((verdict.outcome(), verdict.refusals[0].why()), (Outcome::ActivePartial, Why::UnknownFeature));
    assert!(call(&edge).await.contains("sk-2"));
    edge.stop().await;
}

// README quotes this one.
#[tokio::test]
async fn a_node_whose_own_digest_differs_refuses_the_transaction_and_keeps_what_it_had() {
    let (one, two) = (echo().await, echo().await);
    let mut control = ControlPlane::start().await;
    control.publish(Mode::Snapshot, &resources(&control.region, &one));
    let folder = tempfile::tempdir().expect("a folder");
    let edge = started(config(folder.path(), &control, true)).await;
    ready(&edge).await;
    let before = control.verdict().await.running;
    let moved = [target(1, &two), control.region.upstream(2, 2, "sk-2", "x-api-key", &[&two])];
    control.publish_with_wrong_digest(&moved);
    let verdict = control.verdict().await;
    assert_eq!((verdict.outcome(), verdict.refusals[0].why()), (Outcome::Refused, Why::Digest));
    assert_eq!(verdict.running, before);
    assert!(call(&edge).await.contains(SECRET));
    control.fall_silent();
    edge.stop().await;
    // Nor was any of it written down.
    let edge = started(config(folder.path(), &control, false)).await;
    ready(&edge).await;
    assert_eq!(edge.position().map(Position::to_wire), before);
    assert!(call(&edge).await.contains(SECRET));
    edge.stop().await;
}

#[tokio::test]
async fn a_node_that_comes_back_says_at_once_where_it_stands_and_follows_marks() {
    let mut control = ControlPlane::start().await;
    control.ask_for_no_status();
    control.publish(Mode::Snapshot, &[org(false)]);
    let folder = tempfile::tempdir().expect("a folder");
    let edge = started(config(folder.path(), &control, true)).await;
    ready(&edge).await;
    let running = control.verdict().await.running;
    edge.stop().await;
    control.fall_silent();
    let edge = started(config(folder.path(), &control, false)).await;
    control.hears(|said| matches!(said, Said::Hello(_))).await;
    let stands = |said: &Said, at: &Option<fleet::Position>| matches!(said, Said::Status(status) if status.serving == *at && status.on_disk == *at);
    control.hears(|said| stands(said, &running)).await;
    let marked = Some(control.mark().to_wire());
    control.hears(|said| stands(said, &marked)).await;
    edge.stop().await;
    // Alone again, it stands where the mark took it, with the audit head that came with that.
    control.stop();
    let edge = started(config(folder.path(), &control, false)).await;
    ready(&edge).await;
    assert_eq!(edge.position().map(Position::to_wire), marked);
    edge.stop().await;
}

#[tokio::test]
async fn the_admin_port_tells_the_audit_head_and_a_rewritten_history_is_reported_and_not_taken() {
    let mut control = ControlPlane::start().await;
    control.ask_for_no_status();
    let folder = tempfile::tempdir().expect("a folder");
    let edge = started(config(folder.path(), &control, true)).await;
    let reply = get(edge.admin(), "/position").await;
    assert!(reply.starts_with("HTTP/1.1 503"), "{reply}");
    control.publish(Mode::Snapshot, &[org(false)]);
    ready(&edge).await;
    let running = edge.position().expect("it is configured");
    let body = async || -> serde_json::Value {
        let reply = get(edge.admin(), "/position").await;
        let (_, body) = reply.split_once("\r\n\r\n").expect("head and body");
        serde_json::from_str(body).expect("JSON")
    };
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let expected = serde_json::json!({
        "lineage": hex(&running.lineage),
        "revision": 1,
        "region": running.region.to_string(),
        "digest": hex(&running.digest),
        "count": 1,
        "audit": fixture::audit(1).to_string(),
        "durable": true,
        "disk_stalled": false,
    });
    assert_eq!(body().await, expected);
    let told = |said: &Said, rewritten| matches!(said, Said::Status(status) if status.history_rewritten == rewritten && status.running == Some(running.to_wire()));
    control.hears(|said| told(said, false)).await;

    control.mark_rewritten();
    control.hears(|said| told(said, true)).await;
    assert_eq!(body().await, expected, "what it had is the proof");
    assert!(get(edge.admin(), "/config").await.contains("\"history_rewritten\":true"));
    edge.stop().await;
}

#[tokio::test]
async fn a_second_node_on_one_state_folder_is_refused_and_the_first_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let control = ControlPlane::start().await;
    let first = started(config(folder.path(), &control, true)).await;
    let refused = start_edge(config(folder.path(), &control, true)).await.err().expect("it is taken");
    let text = chain(&refused).to_string();
    assert!(text.contains("in use by another edge node") && text.contains("--state-dir"), "{text}");
    assert!(text.contains(&folder.path().display().to_string()), "{text}");
    assert!(get(first.listen(), "/api/acme.none/").await.starts_with("HTTP/1.1 "));
    first.stop().await;
    // Whoever comes after it has the folder.
    started(config(folder.path(), &control, false)).await.stop().await;
}

#[tokio::test]
async fn a_token_that_is_refused_ends_the_start_with_one_line_and_leaves_no_identity() {
    let control = ControlPlane::start().await;
    control.refuse_tokens();
    let folder = tempfile::tempdir().expect("a folder");
    let error = start_edge(config(folder.path(), &control, true)).await.err().expect("it is refused");
    let line = chain(&error).to_string();
    assert!(line.contains("rrctl node token") && !line.contains('\n'), "{line}");
    assert!(!folder.path().join("identity").exists());
}

#[tokio::test]
async fn a_control_plane_that_the_token_was_not_made_for_is_not_joined() {
    let (control, another) = (ControlPlane::start().await, ControlPlane::start().await);
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = config(folder.path(), &control, true);
    config.control_plane = vec![another.address().parse().expect("an address")];
    let error = start_edge(config).await.err().expect("it is refused");
    assert!(error.to_string().contains("not the one that the node token was made for"), "{error}");
}

#[tokio::test]
async fn without_identity_and_token_the_way_out_is_named() {
    let control = ControlPlane::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let error = start_edge(config(folder.path(), &control, false)).await.err().expect("it is refused");
    let line = error.to_string();
    assert!(line.contains("--node-token-file") && line.contains("rrctl node token"), "{line}");
    assert_eq!(std::fs::read_dir(folder.path()).expect("it is ours").count(), 0, "nothing was made");
}

#[tokio::test]
async fn a_control_plane_that_is_away_at_the_first_start_is_waited_for() {
    let control = ControlPlane::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let config = config(folder.path(), &control, true);
    control.stop();
    let edge = started(config).await;
    let readiness = get(edge.admin(), "/readyz").await;
    assert!(readiness.contains("503") && readiness.contains("configuration"), "{readiness}");
    let answer = call(&edge).await;
    assert!(answer.contains("503") && answer.contains("not-ready"), "{answer}");
    edge.stop().await;
}

#[tokio::test]
async fn a_node_key_that_others_can_read_or_that_is_gone_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;

    let mut control = ControlPlane::start().await;
    control.publish(Mode::Snapshot, &[org(false)]);
    let folder = tempfile::tempdir().expect("a folder");
    let edge = started(config(folder.path(), &control, true)).await;
    ready(&edge).await;
    edge.stop().await;
    let key = folder.path().join("node.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).expect("it is ours");
    let error = start_edge(config(folder.path(), &control, false)).await.err().expect("it is refused");
    assert!(error.to_string().contains("chmod 600"), "{error}");
    std::fs::remove_file(&key).expect("it is ours");
    let error = start_edge(config(folder.path(), &control, true)).await.err().expect("it is refused");
    assert!(error.to_string().contains("is missing"), "{error}");
}

#[tokio::test]
async fn no_secret_lies_in_the_state_folder_in_the_clear() {
    let upstream = echo().await;
    let mut control = ControlPlane::start().await;
    control.publish(Mode::Snapshot, &resources(&control.region, &upstream));
    let folder = tempfile::tempdir().expect("a folder");
    let edge = started(config(folder.path(), &control, true)).await;
    ready(&edge).await;
    assert!(call(&edge).await.contains(SECRET));
    edge.stop().await;
    let canaries = [SECRET.as_bytes().to_vec(), caller_key(1).into_bytes(), control.region.private_key()];
    let mut folders = vec![folder.path().to_owned()];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("it is ours") {
            let path = entry.expect("it is ours").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let bytes = std::fs::read(&path).expect("it is ours");
            files += 1;
            for canary in &canaries {
                assert!(!bytes.windows(canary.len()).any(|window| window == canary), "{}", path.display());
            }
        }
    }
    assert!(files >= 5, "key, identity, last-known-good, spool and its segment");
}
