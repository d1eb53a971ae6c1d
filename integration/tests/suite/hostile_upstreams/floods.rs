//! Frames without end over HTTP/2: what they cost, and that others are served meanwhile.

use std::sync::Arc;
use std::time::Duration;

use rr_contract::runtime::Tasks;
use rr_integration::caller::Caller;
use rr_integration::frames::{
    DATA, END_HEADERS, HEADERS, PING, PREFACE, block, frame, headers, read_frame, settings, window_update,
};
use rr_integration::secure::Secure;
use rr_integration::standalone::{Behind, Standalone};
use rr_integration::strict::Strict;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy, sink, split};
use tokio::net::TcpListener;
use tokio::time::timeout;

/// Long for whatever has to happen; a test that waits for it has failed.
const FAILED: Duration = Duration::from_secs(60);
/// How many requests each flood is the answer to.
const REQUESTS: usize = 8;
/// What a flood may add to the memory of the node.
const MEMORY: u64 = 24 * 1024 * 1024;
const STREAM: u32 = 1;

/// An upstream that takes one request a connection, answers so, and reads on.
async fn hostile(tls: &Secure, tasks: &Tasks, first: &[u8], again: &[u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    let (acceptor, first, again) = (tls.acceptor(&["h2"]), first.to_vec(), again.repeat(100));
    let connections = tasks.clone();
    tasks.spawn("hostile upstream", async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, first, again) = (acceptor.clone(), first.clone(), again.clone());
            connections.spawn("hostile connection", async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                answer(stream, &first, &again).await;
            });
        }
    });
    format!("https://localhost:{port}")
}

async fn answer<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, first: &[u8], again: &[u8]) {
    let mut preface = [0; PREFACE.len()];
    if stream.read_exact(&mut preface).await.is_err() || stream.write_all(&settings(&[(3, 1)])).await.is_err()
    {
        return;
    }
    loop {
        match read_frame(&mut stream).await {
            None => return,
            Some(asked) if asked.kind == HEADERS => break,
            Some(_) => {}
        }
    }
    let (mut reader, mut writer) = split(stream);
    let flood = async {
        let mut goes_on = writer.write_all(first).await.is_ok();
        while goes_on {
            goes_on = writer.write_all(again).await.is_ok();
        }
    };
    let mut away = sink();
    // Both end with the connection.
    drop(tokio::join!(flood, copy(&mut reader, &mut away)));
}

#[tokio::test]
async fn frames_without_end_cost_neither_memory_nor_other_callers() {
    let (tls, tasks, honest) = (Secure::new(), Tasks::new(), Strict::start().await);
    let head = headers(STREAM, false, &[(":status", "200")]);
    let interim = [(":status", "103"), ("link", "</a>")];
    let unfolding = {
        // One field of 33 bytes, as they are counted, into the table, and then it again and again.
        let mut fields = block(&[(":status", "103")]);
        fields.extend([0x40, 1, b'x', 0]);
        fields.extend([0xbe; 1_900]);
        frame(HEADERS, END_HEADERS, STREAM, &fields)
    };
    let floods = [
        ("PING", vec![], frame(PING, 0, 0, &[1; 8])),
        ("SETTINGS", vec![], settings(&[(3, 1)])),
        ("WINDOW_UPDATE", vec![], window_update(0, 1)),
        ("an unknown type", vec![], frame(0x63, 0, 0, &[0; 64])),
        // The library ends this one itself.
        ("DATA of nothing", head, frame(DATA, 0, STREAM, &[])),
        ("interim answers", vec![], headers(STREAM, false, &interim)),
        ("interim answers that unfold", vec![], unfolding),
    ];
    let mut behind = vec![Behind::new("honest", &honest.url())];
    for (at, (_, first, again)) in floods.iter().enumerate() {
        let url = hostile(&tls, &tasks, first, again).await;
        behind.push(Behind::new(&format!("f{at}"), &url).target("response_timeout: 5s"));
    }
    let node = Arc::new(Standalone::start(&behind, &["--upstream-ca", &tls.file("ca.pem")]).await);
    for (at, (name, ..)) in floods.iter().enumerate() {
        let before = node.process.resident().expect("it runs");
        let asking: Vec<_> = (0..REQUESTS)
            .map(|_| {
                let caller = Caller::new(node.listen(), &format!("local.f{at}"), node.key());
                // Whichever way it ends.
                tasks
                    .spawn("caller", async move { caller.try_get("/flood").await.map(|got| got.status).ok() })
            })
            .collect();
        let others = Caller::new(node.listen(), "local.honest", node.key());
        let all = async {
            for _ in 0..30 {
                assert_eq!(others.get("/other").await.status, 200, "{name}");
            }
            for asked in asking {
                let status = asked.await.expect("no panic");
                assert!(status.is_none_or(|status| status.as_u16() >= 500), "{name}: {status:?}");
            }
        };
        timeout(FAILED, all).await.unwrap_or_else(|_| panic!("{name}: others wait"));
        let grown = node.process.peak().expect("it runs").saturating_sub(before);
        assert!(grown < MEMORY, "{name}: {grown} bytes more");
    }
}
