//! Each part of a body passes before the next is there.

use bytes::Bytes;
use http::Response;
use rr_integration::plain::find;
use rr_integration::standalone::{Behind, Standalone};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::{Bench, Body, FAILED, next, parts};

/// Events, each of which is read before the next is sent.
const EVENTS: usize = 20;

#[tokio::test]
async fn each_part_passes_in_both_directions_before_the_next_is_there() {
    let bench = Bench::start(|request| async { Response::new(Body::new(request.into_body())) }).await;
    for is_http2 in [false, true] {
        for target in ["plain", "secure"] {
            let (sender, body) = parts();
            sender.send(Bytes::from_static(b"first")).await.expect("it is open");
            let mut answer = bench.ask(target, "/echo", is_http2, body).await.into_body();
            assert_eq!(next(&mut answer).await.expect("a part"), "first", "{target}");
            for n in 0..EVENTS {
                let part = format!("data: {n}\n\n");
                sender.send(Bytes::from(part.clone())).await.expect("it is open");
                let came = next(&mut answer).await.expect("a part");
                assert_eq!(came, part.as_bytes(), "{target}, HTTP/2: {is_http2}");
            }
            drop(sender);
            assert_eq!(next(&mut answer).await, None);
        }
    }
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

#[tokio::test]
async fn server_sent_events_pass_one_by_one_in_whatever_pieces_they_come() {
    let upstream = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", upstream.local_addr().expect("it is bound"));
    let node = Standalone::start(&[Behind::new("events", &url)], &[]).await;
    for framing in ["transfer-encoding: chunked\r\n", "connection: close\r\n"] {
        let mut caller = node.connect().await;
        let ask = format!(
            "GET /api/local.events/ HTTP/1.1\r\nhost: edge\r\naccept: text/event-stream\r\nauthorization: {}\r\n\r\n",
            node.key()
        );
        caller.write_all(ask.as_bytes()).await.expect("the node reads");
        let mut stream = timeout(FAILED, upstream.accept()).await.expect("in time").expect("it listens").0;
        stream.set_nodelay(true).expect("a socket takes it");
        read_until(&mut stream, b"\r\n\r\n").await;
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n{framing}\r\n");
        stream.write_all(head.as_bytes()).await.expect("the node reads");
        // The head alone, before there is any event.
        read_until(&mut caller, b"\r\n\r\n").await;
        for n in 0..EVENTS {
            for piece in [format!("id: {n}\n"), format!("data: event-{n}\n\n")] {
                let sent = match framing.starts_with("transfer") {
                    true => format!("{:x}\r\n{piece}\r\n", piece.len()),
                    false => piece.clone(),
                };
                stream.write_all(sent.as_bytes()).await.expect("the node reads");
                read_until(&mut caller, piece.as_bytes()).await;
            }
        }
        drop(stream);
    }
}
