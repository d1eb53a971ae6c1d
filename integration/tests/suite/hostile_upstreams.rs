//! Upstreams that break off, stall, lie, flood: what the caller gets, what the record says, and whether their connection
//! is used again. `docs/security.md` has a row for each test here.
//!
//! Each case has a target and a connection of its own. It reads a request, does what the case says, and answers any other
//! request as it should.

mod floods;
mod http1;
mod http2;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rr_contract::runtime::Tasks;
use rr_integration::frames::{self, HEADERS, PREFACE, read_frame};
use rr_integration::plain::{find, listen};
use rr_integration::secure::Secure;
use rr_integration::standalone::{Behind, Standalone};
use rr_integration::wait::DEADLINE;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{interval, timeout};

/// What an upstream does, one after the other.
#[derive(Debug, Clone)]
enum Step {
    Send(Vec<u8>),
    /// The bytes one by one, ten a second.
    Trickle(Vec<u8>),
    /// The same again and again, until the edge lets go.
    Flood(Vec<u8>),
    Close,
    Reset,
}

/// What a caller gets.
#[derive(Debug, Clone, PartialEq)]
enum Gets {
    /// An answer that is whole, with this body unless it is a problem of the node's.
    Whole(u16, &'static str),
    /// The beginning of an answer, and the connection breaks off.
    Cut(u16),
}

use Gets::{Cut, Whole};
use Step::{Close, Flood, Reset, Send, Trickle};

const GRANTED: &str = "proxy-access-granted";
const UNREACHABLE: &str = "upstream-unreachable";
const TIMEOUT: &str = "upstream-timeout";

struct Case {
    name: &'static str,
    method: &'static str,
    /// Lines of the request's head, and what follows it.
    more: &'static str,
    steps: Vec<Step>,
    gets: Gets,
    code: &'static str,
    /// Whether the next request goes out on the same connection.
    reused: bool,
    /// How long its target has for the head of an answer, in seconds.
    patience: u64,
}

/// A case whose connection is not used again, of a GET.
fn case(name: &'static str, steps: Vec<Step>, gets: Gets, code: &'static str) -> Case {
    Case { name, method: "GET", more: "\r\n", steps, gets, code, reused: false, patience: 1 }
}

fn unreachable(name: &'static str, steps: Vec<Step>) -> Case {
    case(name, steps, Whole(502, ""), UNREACHABLE)
}

fn cut(name: &'static str, steps: Vec<Step>) -> Case {
    case(name, steps, Cut(200), GRANTED)
}

fn whole(name: &'static str, steps: Vec<Step>) -> Case {
    case(name, steps, Whole(200, "ok"), GRANTED)
}

impl Case {
    fn reused(self) -> Self {
        Self { reused: true, ..self }
    }

    /// However slow the machine is, no clock ends it.
    fn patiently(self) -> Self {
        Self { patience: 60, ..self }
    }

    fn asking(self, method: &'static str, more: &'static str) -> Self {
        Self { method, more, ..self }
    }
}

fn text(text: &str) -> Step {
    Send(text.as_bytes().to_vec())
}

/// What came to an upstream: how many connections, and how many requests on the first of them.
#[derive(Default)]
struct Log {
    connections: AtomicUsize,
    on_first: AtomicUsize,
}

/// Runs all cases of a table at once, and tells of all that failed.
async fn table(cases: Vec<Case>, secure: Option<&'static str>) {
    let (tls, tasks) = (Secure::new(), Tasks::new());
    let (mut behind, mut logs) = (Vec::new(), Vec::new());
    for (at, case) in cases.iter().enumerate() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let scheme = if secure.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://localhost:{port}");
        let target = Behind::new(&format!("c{at}"), &url).target("idle_timeout: 1s");
        let target = target.target(&format!("response_timeout: {}s", case.patience));
        behind.push(target.target(&format!("total_timeout: {}s", 3 * case.patience)));
        let (log, steps) = (Arc::<Log>::default(), case.steps.clone());
        logs.push(Arc::clone(&log));
        let acceptor = secure.map(|protocol| (tls.acceptor(&[protocol]), protocol == "h2"));
        tasks.spawn("hostile upstream", serve(listener, acceptor, steps, log, tasks.clone()));
    }
    let node = Standalone::start(&behind, &["--upstream-ca", &tls.file("ca.pem")]).await;
    let node = Arc::new(node);
    let running: Vec<_> = cases
        .into_iter()
        .zip(logs)
        .enumerate()
        .map(|(at, (case, log))| {
            let node = Arc::clone(&node);
            tasks.spawn("case", async move { judge(&node, at, &case, &log).await })
        })
        .collect();
    let count = running.len();
    let mut failed = Vec::new();
    for case in running {
        failed.extend(case.await.expect("no case panics").err());
    }
    assert!(failed.is_empty(), "{} of {count}:\n{}", failed.len(), failed.join("\n"));
}

/// Asks for a case, and then for an honest answer.
async fn judge(node: &Standalone, at: usize, case: &Case, log: &Log) -> Result<(), String> {
    let head = |method: &str, path: &str| {
        format!(
            "{method} /api/local.c{at}{path} HTTP/1.1\r\nhost: edge\r\nconnection: close\r\nauthorization: {}\r\n",
            node.key()
        )
    };
    let ask = format!("{}{}", head(case.method, &format!("/case-{at}")), case.more);
    let bytes = ask_once(node, &ask).await;
    let mut wrong = Vec::new();
    let found = gets(&bytes, case.method == "HEAD");
    let is_wanted = match (&found, &case.gets) {
        (Some((status, Some(body))), Whole(wanted, text)) => {
            status == wanted && (case.code != GRANTED || body == text.as_bytes())
        }
        (Some((status, None)), Cut(wanted)) => status == wanted,
        // What broke off before the node's buffer went out left nothing of its head.
        (None, Cut(_)) => true,
        _ => false,
    };
    if !is_wanted {
        wrong.push(format!("wanted {:?}, found {found:?}", case.gets));
    }
    let record = record(node, &format!("/case-{at}")).await;
    let (status, aborted) = match case.gets {
        Whole(status, _) => (status, false),
        Cut(status) => (status, true),
    };
    let said = (record["status"].as_u64(), record["code"].as_str(), record["aborted"].as_bool());
    let wanted = (Some(u64::from(status)), Some(case.code), Some(aborted));
    if said != wanted {
        wrong.push(format!("the record says {said:?}"));
    }
    let on_first = log.on_first.load(Ordering::Relaxed);
    let next = gets(&ask_once(node, &format!("{}\r\n", head("GET", "/next"))).await, false);
    if next != Some((200, Some(b"honest".to_vec()))) {
        wrong.push(format!("the next request got {next:?}"));
    }
    let reused = log.on_first.load(Ordering::Relaxed) > on_first;
    if reused != case.reused {
        wrong.push(format!("its connection was used again: {reused}"));
    }
    if wrong.is_empty() { Ok(()) } else { Err(format!("{}: {}", case.name, wrong.join("; "))) }
}

async fn ask_once(node: &Standalone, ask: &str) -> Vec<u8> {
    let mut caller = node.connect().await;
    // It may be answered before all has gone.
    drop(caller.write_all(ask.as_bytes()).await);
    let said = listen(&mut caller, DEADLINE).await;
    assert!(said.ended, "it is still open: {}", said.text());
    said.bytes
}

/// The status and the body of an answer; no body if it breaks off. `None` if there is no whole head.
fn gets(bytes: &[u8], bodiless: bool) -> Option<(u16, Option<Vec<u8>>)> {
    let end = find(bytes, b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
    let status = head.get(9..12)?.parse().ok()?;
    let mut rest = &bytes[end + 4..];
    let value = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    if bodiless || status == 204 || status == 304 {
        return Some((status, rest.is_empty().then(Vec::new)));
    }
    if let Some(length) = value("content-length") {
        let is_whole = length.parse() == Ok(rest.len());
        return Some((status, is_whole.then(|| rest.to_vec())));
    }
    let mut body = Vec::new();
    while let Some(line) = find(rest, b"\r\n") {
        let size = std::str::from_utf8(&rest[..line]).ok()?;
        let size = usize::from_str_radix(size, 16).ok()?;
        if size == 0 {
            return Some((status, rest.ends_with(b"\r\n\r\n").then_some(body)));
        }
        let Some(chunk) = rest.get(line + 2..line + 2 + size) else { break };
        body.extend_from_slice(chunk);
        rest = rest.get(line + 4 + size..).unwrap_or_default();
    }
    Some((status, None))
}

async fn record(node: &Standalone, path: &str) -> Value {
    rr_integration::wait::eventually(&format!("{path} is recorded"), || async {
        node.records(1).await.into_iter().find(|record| record["path"] == *path)
    })
    .await
}

async fn serve(
    listener: TcpListener,
    secure: Option<(tokio_rustls::TlsAcceptor, bool)>,
    steps: Vec<Step>,
    log: Arc<Log>,
    tasks: Tasks,
) {
    while let Ok((stream, _)) = listener.accept().await {
        let is_first = log.connections.fetch_add(1, Ordering::Relaxed) == 0;
        let (log, secure) = (Arc::clone(&log), secure.clone());
        let steps = if is_first { steps.clone() } else { Vec::new() };
        let noted = move || {
            if is_first {
                log.on_first.fetch_add(1, Ordering::Relaxed);
            }
        };
        tasks.spawn("hostile connection", async move {
            match secure {
                None => answer_plain(stream, steps, noted, |stream| stream.set_zero_linger().is_ok()).await,
                Some((acceptor, is_http2)) => {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let reset = |stream: &tokio_rustls::server::TlsStream<TcpStream>| {
                        stream.get_ref().0.set_zero_linger().is_ok()
                    };
                    if is_http2 {
                        answer_http2(stream, steps, noted).await;
                    } else {
                        answer_plain(stream, steps, noted, reset).await;
                    }
                }
            }
        });
    }
}

/// Reads heads of requests; does with the first what the case says.
async fn answer_plain<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    steps: Vec<Step>,
    noted: impl Fn(),
    reset: impl Fn(&S) -> bool,
) {
    let mut steps = Some(steps).filter(|steps| !steps.is_empty());
    loop {
        let mut seen = Vec::new();
        while find(&seen, b"\r\n\r\n").is_none() {
            let Ok(byte) = stream.read_u8().await else { return };
            seen.push(byte);
        }
        noted();
        let steps =
            steps.take().unwrap_or_else(|| vec![text("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nhonest")]);
        if !run(&mut stream, steps, &reset).await {
            return;
        }
    }
}

/// Reads frames; does with the first request what the case says.
async fn answer_http2<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, steps: Vec<Step>, noted: impl Fn()) {
    let mut steps = Some(steps).filter(|steps| !steps.is_empty());
    let mut preface = [0; PREFACE.len()];
    if stream.read_exact(&mut preface).await.is_err()
        || stream.write_all(&frames::settings(&[(4, 0)])).await.is_err()
    {
        return;
    }
    while let Some(frame) = read_frame(&mut stream).await {
        let answers = match frame.kind {
            frames::SETTINGS if frame.flags & frames::ACK == 0 => {
                vec![Send(frames::frame(frames::SETTINGS, frames::ACK, 0, &[]))]
            }
            frames::PING if frame.flags & frames::ACK == 0 => {
                vec![Send(frames::frame(frames::PING, frames::ACK, 0, &frame.payload))]
            }
            HEADERS => {
                noted();
                steps.take().unwrap_or_else(|| {
                    let body = frames::frame(frames::DATA, frames::END_STREAM, frame.stream, b"honest");
                    vec![Send([frames::headers(frame.stream, false, &[(":status", "200")]), body].concat())]
                })
            }
            _ => continue,
        };
        if !run(&mut stream, answers, &|_| true).await {
            return;
        }
    }
}

/// Whether the connection goes on.
async fn run<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    steps: Vec<Step>,
    reset: &impl Fn(&S) -> bool,
) -> bool {
    for step in steps {
        match step {
            Send(bytes) => {
                if stream.write_all(&bytes).await.is_err() || stream.flush().await.is_err() {
                    return false;
                }
            }
            Trickle(bytes) => {
                let mut pace = interval(Duration::from_millis(100));
                for byte in bytes {
                    pace.tick().await;
                    if stream.write_all(&[byte]).await.is_err() || stream.flush().await.is_err() {
                        return false;
                    }
                }
            }
            Flood(bytes) => {
                let (mut reader, mut writer) = tokio::io::split(stream);
                let flood = async { while writer.write_all(&bytes).await.is_ok() {} };
                // What it is answered with is taken: how much the system buffers of that decides nothing.
                let taken = async {
                    drop(tokio::io::copy(&mut reader, &mut tokio::io::sink()).await);
                    std::future::pending::<()>().await;
                };
                // Where it does not let go, it stops reading.
                let both = async {
                    tokio::select! { () = flood => {}, () = taken => {} }
                };
                drop(timeout(DEADLINE, both).await);
                return false;
            }
            Close => return false,
            Reset => {
                assert!(reset(stream), "a socket takes it");
                return false;
            }
        }
    }
    true
}
