//! Upstreams that send back the secret that they are sent: masked or refused, recorded, told, and not held up.
//!
//! Through the real programs: an installation with a control plane, and nodes with a file.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use bytes::Bytes;
use data_encoding::{BASE64, HEXLOWER};
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderValue, Response};
use http_body_util::Full;
use rr_contract::wire::management::NotificationKind;
use rr_integration::caller::{Caller, Reply};
use rr_integration::plain::find;
use rr_integration::sample::{ORG, REGION};
use rr_integration::standalone::{Behind, Standalone};
use rr_integration::upstream::{Seen, Upstream};
use rr_integration::wait::eventually;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};

use crate::own_values::Installation;
use crate::refusals::told;

const VALUE: &str = "sk-live/9f86d081884c7d65+9a2feaa0c55ad015";
/// Long for whatever has to happen; a test that waits for it has failed.
const FAILED: Duration = Duration::from_secs(20);

fn stars(length: usize) -> String {
    "*".repeat(length)
}

/// What it was sent, in a header and in a body of JSON, as debugging endpoints do.
fn echoes(seen: &Seen) -> Response<Full<Bytes>> {
    let said = seen.headers.get("authorization").cloned();
    let said = said.unwrap_or_else(|| HeaderValue::from_static("none"));
    let text = said.to_str().expect("text").replace('/', "\\/");
    let mut response = Response::new(Full::from(format!("{{\"authorization\":\"{text}\"}}")));
    response.headers_mut().insert("x-said", said);
    response
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_comes_back_is_masked_recorded_told_to_its_organization_and_found_nowhere() {
    let it = Installation::start_before(Upstream::start_with(echoes).await, &[]).await;
    let (origin, fingerprint) = (it.upstream.url(), format!("{REGION}={}", it.sample.keys.fingerprint()));
    let create = ["credential", "create-upstream", "live", "--kind", "bearer", "--value-file", "-"];
    let sealing = ["--origin", &*origin, "--region", REGION, "--fingerprint", &*fingerprint];
    it.done(&[&create[..], &sealing].concat(), VALUE).await;
    it.done(&["proxy", "update", "echo", "--upstream", "live"], "").await;
    let key = format!("Bearer {}", it.sample.key);
    let ask = async || it.get(&[("authorization", &*key)]).await;
    let text = |reply: &Reply| String::from_utf8_lossy(&reply.body).into_owned();
    let masked = format!("{{\"authorization\":\"Bearer {}\"}}", stars(VALUE.len() + 1));
    eventually("the secret is masked", || async { (text(&ask().await) == masked).then_some(()) }).await;
    let reply = ask().await;
    assert_eq!((reply.status.as_u16(), &*text(&reply)), (200, &*masked));
    assert_eq!(reply.headers["x-said"], format!("Bearer {}", stars(VALUE.len())));
    assert!(it.done(&["proxy", "show", "echo"], "").await.contains("mask"));

    it.done(&["proxy", "update", "echo", "--echo-guard", "refuse"], "").await;
    it.answers(&[("authorization", &key)], 502).await;
    let reply = ask().await;
    assert_eq!(reply.headers["requestrocket-proxy-code"], "secret-echoed");

    eventually("records say so", || async {
        let shown = it.done(&["request", "list", "-o", "wide"], "").await;
        let rows = |what: &str| shown.lines().filter(|line| line.contains(what)).count();
        (rows(" masked ") > 0 && rows(" refused ") > 0 && shown.contains("secret-echoed")).then_some(())
    })
    .await;
    // The node says so every ten seconds, and the control plane looks once a minute.
    let mut asks = tokio::time::interval(Duration::from_secs(1));
    let note = timeout(FAILED * 6, async {
        loop {
            asks.tick().await;
            if let Some(note) = told(&it.sample, ORG, NotificationKind::SecretEchoed).await {
                break note;
            }
        }
    });
    let note = note.await.expect("it is told");
    assert_eq!(note.title, "an upstream sends back the secret of credential live");
    assert!(note.message.contains("through proxy echo in region eu"), "{}", note.message);
    let shown = it.done(&["notification", "list"], "").await;
    assert!(shown.contains("secret-echoed") && shown.contains(&note.title), "{shown}");

    // Where somebody wants it, it passes.
    it.done(&["proxy", "update", "echo", "--echo-guard", "off"], "").await;
    it.answers(&[("authorization", &key)], 200).await;
    assert_eq!(ask().await.headers["x-said"], format!("Bearer {VALUE}"));
    let (base64, hex) = (BASE64.encode(VALUE.as_bytes()), HEXLOWER.encode(VALUE.as_bytes()));
    it.forgets(&[VALUE, &base64, &hex]).await;
}

/// A node in front of an upstream whose secret is [`VALUE`]; its proxies mask, refuse, and let pass.
async fn node(url: &str) -> (Standalone, TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("value");
    std::fs::write(&file, VALUE).expect("a file");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("it is ours");
    let behind = [("masks", "mask"), ("refuses", "refuse"), ("passes", "off")]
        .map(|(name, guard)| Behind::new(name, url).upstream("token").proxy(&format!("echo_guard: {guard}")));
    let credential = format!(
        "---\nkind: credential\nname: token\nupstream: {{kind: bearer}}\n\
         value_from: {{file: {}, targets: [masks, refuses, passes]}}\n",
        file.display()
    );
    (Standalone::start_with(&behind, &credential, &[]).await, folder)
}

#[tokio::test]
async fn forms_of_a_secret_are_found_in_bodies_with_and_without_a_coding() {
    let forms = [
        VALUE.to_owned(),
        HEXLOWER.encode(VALUE.as_bytes()),
        BASE64.encode(VALUE.as_bytes()),
        VALUE.replace('/', "%2F").replace('+', "%2B"),
        VALUE.chars().map(|letter| format!("\\u{:04x}", u32::from(letter))).collect(),
        VALUE.chars().map(|letter| format!("&#{};", u32::from(letter))).collect(),
    ];
    let answers = forms.clone();
    let upstream = Upstream::start_with(move |seen| {
        let path = seen.uri.path();
        let form = &answers[usize::from(path.as_bytes()[1] - b'0')];
        let mut response = Response::new(Full::from(form.clone()));
        if path.ends_with("gzip") {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(form.as_bytes()).expect("memory takes every write");
            *response.body_mut() = Full::from(encoder.finish().expect("memory takes every write"));
            response.headers_mut().insert("content-encoding", HeaderValue::from_static("gzip"));
        }
        response
    })
    .await;
    let (node, _folder) = node(&upstream.url()).await;
    let caller = |name: &str| Caller::new(node.listen(), &format!("local.{name}"), node.key());
    for (n, form) in forms.iter().enumerate() {
        for coding in ["", "gzip"] {
            let path = format!("/{n}/{coding}");
            let reply = caller("masks").get(&path).await;
            let text = String::from_utf8_lossy(&reply.body);
            // The last letters of base64 hang on what is behind the value, too.
            let masked = form.len() - if n == 2 { 4 } else { 0 };
            assert!(reply.status == 200 && text.starts_with(&stars(masked)), "{path}: {text}");
            assert_eq!(text.len(), form.len(), "{path}");
            assert!(reply.headers.get("content-encoding").is_none());
        }
        let reply = caller("refuses").get(&format!("/{n}/")).await;
        assert_eq!(
            (reply.status.as_u16(), reply.headers["requestrocket-proxy-code"].as_bytes()),
            (502, &b"secret-echoed"[..])
        );
        let reply = caller("passes").get(&format!("/{n}/")).await;
        assert_eq!((reply.status.as_u16(), &*reply.body), (200, form.as_bytes()));
    }
    let records = node.records(forms.len() * 4).await;
    let echo = |record: &serde_json::Value| record["echo"].as_str().unwrap_or_default().to_owned();
    let count = |wanted: &str| records.iter().filter(|record| echo(record) == wanted).count();
    assert_eq!((count("masked"), count("refused"), count("")), (forms.len() * 2, forms.len(), forms.len()));
}

async fn read_until(stream: &mut TcpStream, part: &[u8]) {
    let mut seen = Vec::new();
    let read = async {
        while find(&seen, part).is_none() {
            seen.push(stream.read_u8().await.expect("more comes"));
        }
    };
    timeout(FAILED, read).await.unwrap_or_else(|_| panic!("no {}", String::from_utf8_lossy(part)));
}

/// A stream of events that the test writes, through the proxy that masks.
async fn events() -> (Standalone, TempDir, TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let (node, folder) = node(&format!("http://{}", listener.local_addr().expect("it is bound"))).await;
    let mut caller = node.connect().await;
    let ask =
        format!("GET /api/local.masks/ HTTP/1.1\r\nhost: edge\r\nauthorization: {}\r\n\r\n", node.key());
    caller.write_all(ask.as_bytes()).await.expect("the node reads");
    let mut upstream = timeout(FAILED, listener.accept()).await.expect("in time").expect("it listens").0;
    upstream.set_nodelay(true).expect("a socket takes it");
    read_until(&mut upstream, b"\r\n\r\n").await;
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    upstream.write_all(head.as_bytes()).await.expect("the node reads");
    read_until(&mut caller, b"\r\n\r\n").await;
    (node, folder, caller, upstream)
}

async fn say(upstream: &mut TcpStream, piece: &str) {
    let chunk = format!("{:x}\r\n{piece}\r\n", piece.len());
    upstream.write_all(chunk.as_bytes()).await.expect("the node reads");
}

/// Where a caller's text is sent back, the time of an answer tells nothing of the secret: fewer than sixteen bytes of it
/// come before anything else is said, however far they match.
#[tokio::test]
async fn events_that_end_with_the_beginning_of_a_secret_come_at_once_up_to_fifteen_bytes() {
    let (_node, _folder, mut caller, mut upstream) = events().await;
    let mut took = Vec::new();
    for round in 0..10 {
        for length in 0..16 {
            let event = format!("data: {round}.{length} {}", &VALUE[..length]);
            let began = Instant::now();
            say(&mut upstream, &event).await;
            read_until(&mut caller, event.as_bytes()).await;
            took.push((length, began.elapsed()));
        }
    }
    // Far below the time for which more of it would wait, whatever else the machine does.
    let slowest = took.iter().max_by_key(|(_, took)| *took).expect("there are some");
    assert!(slowest.1 < Duration::from_secs(3), "{slowest:?}");
}

#[tokio::test]
async fn an_event_that_ends_with_more_of_a_secret_waits_for_the_next_and_not_for_ever() {
    let (node, _folder, mut caller, mut upstream) = events().await;
    say(&mut upstream, &format!("data: {}", &VALUE[..20])).await;
    read_until(&mut caller, b"data: \r\n").await;
    say(&mut upstream, "; no secret\n\n").await;
    read_until(&mut caller, format!("{}; no secret\n\n", &VALUE[..20]).as_bytes()).await;
    // Nothing follows for a while: what waited comes, and its rest is masked.
    say(&mut upstream, &format!("data: {}", &VALUE[..20])).await;
    read_until(&mut caller, &VALUE.as_bytes()[..20]).await;
    say(&mut upstream, &format!("{}\n\n", &VALUE[20..])).await;
    read_until(&mut caller, format!("{}\n\n", stars(VALUE.len() - 20)).as_bytes()).await;
    // One that comes whole, in two pieces.
    say(&mut upstream, &format!("data: {}", &VALUE[..30])).await;
    say(&mut upstream, &VALUE[30..]).await;
    read_until(&mut caller, stars(VALUE.len()).as_bytes()).await;
    upstream.write_all(b"0\r\n\r\n").await.expect("the node reads");
    read_until(&mut caller, b"0\r\n\r\n").await;
    assert_eq!(node.records(1).await[0]["echo"], "masked");
}
