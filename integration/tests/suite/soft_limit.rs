//! The limit of open files of a real program: what it makes of the limit that it is started with.

use std::process::Command;

use rr_integration::process::program;
use rr_integration::wait::eventually;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::standalone::Place;

/// Soft and hard.
const LIMITS: [usize; 2] = [256, 3000];
/// More than the soft limit has room for.
const CALLERS: usize = 300;

/// Sends a request on a connection that stays open, and reads the head of the answer.
async fn ask(stream: &mut TcpStream, key: &str) -> String {
    let request = format!("GET /api/local.echo/hello HTTP/1.1\r\nhost: edge\r\nauthorization: {key}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("the node reads");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.expect("the node answers"));
    }
    let head = String::from_utf8(answer).expect("text");
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().expect("a number"))];
    stream.read_exact(&mut body).await.expect("the node answers");
    head
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_takes_the_whole_hard_limit_of_open_files_and_says_what_it_has_and_needs() {
    let place = Place::new().await;
    let [soft, hard] = LIMITS;
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("ulimit -Sn {soft} && ulimit -Hn {hard} && exec \"$0\" \"$@\""));
    command.arg(program("rr-edge"));
    let mut edge = place.start_as(command, &["--workers", "1"]).await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", edge.id())).expect("it runs");
    let limit = limits.lines().find_map(|line| line.strip_prefix("Max open files")).expect("there is one");
    let limit: Vec<&str> = limit.split_whitespace().take(2).collect();
    assert_eq!(limit, [hard.to_string(), hard.to_string()]);
    // 2 x 20,000 connections, and what a node of one worker keeps for itself.
    eventually("it says so", || async {
        let log = edge.log();
        let says = |name: &str, number: usize| log.contains(&format!("\"{name}\":{number}"));
        (says("open_files", hard) && says("needed", 42_704) && says("connections", 375)).then_some(())
    })
    .await;

    let mut open = Vec::new();
    for _ in 0..CALLERS {
        let mut stream = TcpStream::connect(place.listen()).await.expect("it listens");
        assert!(ask(&mut stream, &place.key()).await.starts_with("HTTP/1.1 200"));
        open.push(stream);
    }
    for stream in &mut open {
        assert!(ask(stream, &place.key()).await.starts_with("HTTP/1.1 200"), "it was kept");
    }
    assert_eq!(edge.terminate().await.code(), Some(0));
}
