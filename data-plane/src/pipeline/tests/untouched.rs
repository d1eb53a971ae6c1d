//! What is sent again over HTTP/2 without a policy: what the upstream certainly did not process, and nothing else.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rr_contract::runtime::Tasks;
use rr_contract::wire::fleet;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::fixture::{self, Region};

use super::edge::Edge;
use super::{get, resources, with_key};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const GO_AWAY: u8 = 7;
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What the upstream does with a request.
#[derive(Debug, Clone, Copy)]
enum Does {
    Answers,
    /// Ends its stream for this reason.
    Resets(u32),
    /// The same once a part of its body has come.
    ResetsBody(u32),
    /// Goes away, and says that the request is none of those that it took.
    Leaves,
    /// Goes away, and says that it took the request.
    LeavesWithIt,
    /// Breaks the rules, so that this node goes away.
    Breaks,
}

use Does::{Answers, Breaks, Leaves, LeavesWithIt, Resets, ResetsBody};

const REFUSED: u32 = 7;
const CANCEL: u32 = 8;
const INTERNAL: u32 = 2;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("it is short").to_be_bytes();
    let mut frame = [&length[1..], &[kind, flags]].concat();
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Serves one connection; `None` once it is over.
async fn serve(mut stream: TcpStream, todo: Arc<Mutex<Vec<Does>>>, asked: Arc<AtomicUsize>) -> Option<()> {
    let mut preface = [0; PREFACE.len()];
    stream.read_exact(&mut preface).await.ok()?;
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).await.ok()?;
    let mut waits = None;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.ok()?;
        let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
        stream.read_exact(&mut payload).await.ok()?;
        let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let does = match head[3] {
            HEADERS => {
                asked.fetch_add(1, Ordering::SeqCst);
                todo.lock().expect("no panic").remove(0)
            }
            DATA => waits.take()?,
            _ => continue,
        };
        let away = |last: u32| frame(GO_AWAY, 0, 0, &[last.to_be_bytes(), [0; 4]].concat());
        let says = match does {
            // `:status: 200`, which is the end of the answer.
            Answers => frame(HEADERS, 5, id, &[0x88]),
            ResetsBody(_) if head[3] == HEADERS => {
                waits = Some(does);
                continue;
            }
            Resets(reason) | ResetsBody(reason) => frame(RESET, 0, id, &reason.to_be_bytes()),
            Leaves => away(0),
            LeavesWithIt => away(id),
            Breaks => frame(SETTINGS, 0, 0, &[0]),
        };
        stream.write_all(&says).await.ok()?;
        if matches!(does, Leaves | LeavesWithIt) {
            return None;
        }
    }
}

/// The status of such a request, and how often the upstream was asked.
async fn sent(request: &str, does: &[Does]) -> (u16, usize) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let (todo, asked) = (Arc::new(Mutex::new(does.to_vec())), Arc::<AtomicUsize>::default());
    let (tasks, counted) = (Tasks::new(), Arc::clone(&asked));
    tasks.clone().spawn("upstream", async move {
        loop {
            let (stream, _) = listener.accept().await.expect("it listens");
            tasks.spawn("connection", serve(stream, Arc::clone(&todo), Arc::clone(&counted)));
        }
    });
    let region = Region::new();
    let mut all = resources(&region, &url);
    let http_version = "2".to_owned();
    all.push(fixture::target_of(
        1,
        &fleet::TargetResource { http_version, ..fixture::target_message(1, &url) },
    ));
    let edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
    let answer = edge.send(request).await;
    (answer.status, asked.load(Ordering::SeqCst))
}

#[tokio::test]
async fn what_a_peer_says_that_it_did_not_process_is_sent_again_and_nothing_else() {
    let bare = get("/api/acme.proxy-1/", &with_key(1)).replace("GET", "POST");
    let upload = bare.replacen("\r\n\r\n", "\r\ncontent-length: 4\r\n\r\nbody", 1);
    for (request, does, seen) in [
        (&bare, &[Resets(REFUSED), Answers][..], (200, 2)),
        (&bare, &[Resets(REFUSED), Resets(REFUSED), Answers], (200, 3)),
        (&bare, &[Resets(REFUSED), Resets(REFUSED), Resets(REFUSED), Answers], (502, 3)),
        (&bare, &[Leaves, Answers], (200, 2)),
        (&bare, &[Resets(CANCEL), Answers], (502, 1)),
        (&bare, &[Resets(INTERNAL), Answers], (502, 1)),
        (&bare, &[LeavesWithIt, Answers], (502, 1)),
        (&bare, &[Breaks, Answers], (502, 1)),
        // The upstream has a part of the body, and nobody has kept that.
        (&upload, &[ResetsBody(REFUSED), Answers], (502, 1)),
    ] {
        assert_eq!(sent(request, does).await, seen, "{does:?}");
    }
}
