//! Handshakes that are cut off, or come in pieces, at each of their bytes.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::edge::Answer;
use super::websockets::{Came, Raw, edge_of, read_head, read_rest, read_text, upgrade};
use super::with_key;

const SOON: Duration = Duration::from_secs(20);

fn request(path: &str) -> String {
    upgrade(&format!("/api/acme.proxy-1{path}"), &with_key(1))
}

fn switching(came: &Came) -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\n",
        came.accept()
    )
}

async fn write(stream: &mut TcpStream, text: &str) {
    // Each piece goes out by itself.
    stream.set_nodelay(true).expect("it is a socket");
    stream.write_all(text.as_bytes()).await.expect("the edge reads");
    tokio::task::yield_now().await;
}

#[tokio::test]
async fn a_request_that_is_cut_off_anywhere_reaches_no_upstream() {
    let upstream = Raw::new().await;
    let edge = edge_of(&upstream.url(), []);
    let whole = request("/cut");
    for at in 0..whole.len() {
        let mut caller = edge.connect().await;
        caller.write_all(&whole.as_bytes()[..at]).await.expect("the edge reads");
        caller.shutdown().await.expect("it is ours");
        let answer = read_rest(&mut caller).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{at}: {answer}");
    }
    let mut caller = edge.connect().await;
    write(&mut caller, &request("/whole")).await;
    let mut came = upstream.next().await;
    assert!(came.head.text.contains(" GET /whole HTTP/1.1\r\n"), "{}", came.head.text);
    came.switch("", "").await;
    assert!(read_head(&mut caller).await.starts_with("HTTP/1.1 101 "));
}

#[tokio::test]
async fn an_answer_that_is_cut_off_anywhere_opens_nothing() {
    let upstream = Raw::new().await;
    let edge = edge_of(&upstream.url(), []);
    let mut at = 0;
    loop {
        let mut caller = edge.connect().await;
        write(&mut caller, &format!("{}early", request("/"))).await;
        let mut came = upstream.next().await;
        let answer = switching(&came);
        if at == answer.len() {
            break;
        }
        came.stream.write_all(&answer.as_bytes()[..at]).await.expect("the edge reads");
        came.stream.shutdown().await.expect("it is ours");
        let answer = Answer::read_one(&mut caller).await;
        let code = answer.json()["code"].clone();
        assert_eq!((answer.status, code), (502, "upstream-unreachable".into()), "{at}");
        assert_eq!(came.rest().await, "", "{at}: nothing of the caller went out");
        at += 1;
    }
    assert_eq!(edge.tunnels(), 0);
}

#[tokio::test]
async fn a_handshake_that_comes_in_two_pieces_loses_no_byte_behind_it() {
    let upstream = Raw::new().await;
    let edge = edge_of(&upstream.url(), []);
    // Behind the answer an upstream can say what it likes: it is a byte like any other.
    let (ours, theirs) = ("frames of the caller", "HTTP/1.1 101 Switching Protocols\r\n\r\nframes");
    let asked = format!("{}{ours}", request("/"));
    let mut at = 0;
    loop {
        let mut caller = edge.connect().await;
        let cut = at.min(asked.len());
        write(&mut caller, &asked[..cut]).await;
        write(&mut caller, &asked[cut..]).await;
        let mut came = upstream.next().await;
        let answer = format!("{}{theirs}", switching(&came));
        let cut = at.min(answer.len());
        write(&mut came.stream, &answer[..cut]).await;
        write(&mut came.stream, &answer[cut..]).await;
        let head = read_head(&mut caller).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{at}: {head}");
        read_text(&mut caller, theirs).await;
        read_text(&mut came.stream, ours).await;
        if at >= asked.len().max(answer.len()) {
            break;
        }
        at += 1;
    }
}

#[tokio::test]
async fn however_much_a_caller_sends_early_it_waits_and_arrives_whole() {
    const LENGTH: usize = 4 * 1024 * 1024;
    let upstream = Raw::new().await;
    let edge = edge_of(&upstream.url(), []);
    let caller = edge.connect().await;
    let (mut from, mut to) = caller.into_split();
    let early: Vec<u8> = (0..LENGTH).map(|n| (n % 251) as u8).collect();
    let sends = async {
        to.write_all(request("/").as_bytes()).await.expect("the edge reads");
        to.write_all(&early).await.expect("it is open");
    };
    let takes = async {
        let mut came = upstream.next().await;
        // What comes before does not count as an answer.
        let interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
        came.stream.write_all(interim).await.expect("the edge reads");
        came.switch("", "").await;
        let mut seen = vec![0; LENGTH];
        came.stream.read_exact(&mut seen).await.expect("it is open");
        assert!(seen == early, "in its order");
        came
    };
    let reads = async {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(from.read_u8().await.expect("the head is whole"));
        }
        assert!(head.starts_with(b"HTTP/1.1 101 "));
    };
    timeout(SOON, async { tokio::join!(sends, takes, reads) }).await.expect("it goes on");
}
