//! An upstream that answers each request with the bytes that the test says.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rr_contract::runtime::Tasks;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

type Answer = dyn Fn(usize) -> String + Send + Sync;

/// It ends with the test's runtime.
pub(super) struct Script {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Script {
    /// Answers the nth request, counted from 0, with these bytes; with nothing but the end, where they are none.
    pub(super) async fn start(answer: impl Fn(usize) -> String + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let (noted, answer): (_, Arc<Answer>) = (Arc::clone(&seen), Arc::new(answer));
        let tasks = Tasks::new();
        tasks.clone().spawn("upstream", async move {
            loop {
                let (stream, _) = listener.accept().await.expect("it listens");
                tasks.spawn("connection", serve(stream, Arc::clone(&noted), Arc::clone(&answer)));
            }
        });
        Self { address, seen }
    }

    /// Answers all of them with this status and a few words.
    pub(super) async fn always(status: u16) -> Self {
        Self::start(move |_| says(status, "")).await
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) fn authority(&self) -> String {
        self.address.to_string()
    }

    /// The requests, whole.
    pub(super) fn seen(&self) -> Vec<String> {
        self.seen.lock().expect("no test panics with it").clone()
    }

    pub(super) fn count(&self) -> usize {
        self.seen().len()
    }
}

/// An answer with further headers.
pub(super) fn says(status: u16, headers: &str) -> String {
    format!("HTTP/1.1 {status} Told\r\n{headers}content-length: 3\r\n\r\n{status}")
}

async fn serve(mut stream: TcpStream, seen: Arc<Mutex<Vec<String>>>, answer: Arc<Answer>) {
    while let Some(request) = read(&mut stream).await {
        let number = {
            let mut seen = seen.lock().expect("no test panics with it");
            seen.push(request);
            seen.len() - 1
        };
        let answer = answer(number);
        if answer.is_empty() || stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn read(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(bytes).expect("text");
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().expect("a length"))];
    stream.read_exact(&mut body).await.ok()?;
    Some(head + &String::from_utf8(body).expect("text"))
}
