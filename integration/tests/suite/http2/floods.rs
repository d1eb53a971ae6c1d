//! Frames without end: what they cost, and that others are served meanwhile.

use std::pin::pin;

use rr_integration::caller::Caller;
use rr_integration::frames::{
    self, CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, PRIORITY, RST_STREAM, block, frame,
    settings, window_update,
};
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;

use super::{Bench, CASE, FAILED};

/// More than what the buffers of both systems take unread.
const UNREAD: usize = 16 * 1024 * 1024;
/// What a flood may add to the memory of the node, of which each connection may hold some hundred KiB.
const MEMORY: u64 = 24 * 1024 * 1024;

/// Its name, what goes first, and what goes on and on: the number of each differs.
type Flood<'a> = (&'a str, &'a [u8], &'a dyn Fn(u32) -> Vec<u8>);

/// Sends the same again and again without reading, until the node has had enough or this much has gone.
async fn flood(bench: &Bench, name: &str, first: &[u8], again: &dyn Fn(u32) -> Vec<u8>) {
    let before = bench.node.process.resident().expect("it runs");
    let mut stream = bench.connect().await;
    let caller = Caller::new(bench.node.listen(), "local.strict", bench.node.key());
    let sending = async {
        let mut sent = first.len();
        if stream.write_all(first).await.is_err() {
            return sent;
        }
        let mut n = 0;
        while sent < UNREAD {
            let some: Vec<u8> = (n..n + 64).flat_map(again).collect();
            n += 64;
            if stream.write_all(&some).await.is_err() {
                break;
            }
            sent += some.len();
        }
        sent
    };
    let mut others = pin!(async {
        for _ in 0..30 {
            assert_eq!(caller.get("/other").await.status, 200, "{name}");
        }
    });
    let both = async {
        let sent = tokio::select! { sent = sending => Some(sent), () = &mut others => None };
        if sent.is_some() {
            others.await;
        }
        sent
    };
    let sent = timeout(FAILED, both).await.unwrap_or_else(|_| panic!("{name}: others wait"));
    let grown = bench.node.process.peak().expect("it runs").saturating_sub(before);
    assert!(grown < MEMORY, "{name}: {grown} bytes more, {sent:?}");
    bench.upstream.take();
}

#[tokio::test]
async fn frames_without_end_cost_neither_memory_nor_other_callers() {
    let bench = Bench::start().await;
    let open = bench.post(CASE, &[]);
    let empty = Vec::new();
    let bomb = {
        // One field of 4,000 bytes into the table, and then it again and again.
        let mut fields = block(&bench.fields());
        fields.extend([0x40, 1, b'x']);
        frames::number(&mut fields, 7, 0, 4_000);
        fields.extend([b'y'; 4_000]);
        fields.extend([0xbe; 10_000]);
        fields
    };
    let get = block(&bench.fields());
    let head = |n: u32, fields: &[u8]| frame(HEADERS, END_STREAM | END_HEADERS, 2 * n + 3, fields);
    let floods: [Flood<'_>; 11] = [
        ("rapid reset", &empty, &|n| {
            [head(n, &get), frame(RST_STREAM, 0, 2 * n + 3, &[0, 0, 0, 8])].concat()
        }),
        ("requests that nobody reads", &empty, &|n| head(n, &get)),
        ("CONTINUATION", &frame(HEADERS, 0, CASE, &block(&[("x", "y")])), &|_| {
            frame(CONTINUATION, 0, CASE, &block(&[("x", "y")]))
        }),
        ("CONTINUATION of nothing", &frame(HEADERS, 0, CASE, &[]), &|_| frame(CONTINUATION, 0, CASE, &[])),
        ("PING", &empty, &|_| frame(PING, 0, 0, &[1; 8])),
        ("SETTINGS", &empty, &|_| settings(&[(4, 65_535)])),
        ("PRIORITY", &empty, &|n| frame(PRIORITY, 0, 2 * n + 3, &[0; 5])),
        ("DATA of nothing", &open, &|_| frame(DATA, 0, CASE, &[])),
        ("WINDOW_UPDATE", &open, &|_| window_update(CASE, 1)),
        ("an unknown type", &empty, &|_| frame(0x63, 0, 0, &[0; 64])),
        ("a bomb of compressed fields", &empty, &|n| head(n, &bomb)),
    ];
    for (name, first, again) in floods {
        flood(&bench, name, first, again).await;
    }
}

#[tokio::test]
async fn a_head_that_unfolds_beyond_its_limit_is_refused_alone_or_with_its_connection() {
    let bench = Bench::start().await;
    let mut fields = block(&bench.fields());
    fields.extend([0x40, 1, b'x']);
    frames::number(&mut fields, 7, 0, 4_000);
    fields.extend([b'y'; 4_000]);
    fields.extend([0xbe; 10_000]);
    let outcome = bench.run(&frame(HEADERS, END_STREAM | END_HEADERS, CASE, &fields)).await;
    assert!(outcome.status != Some(200), "{outcome:?}");
    let asked = bench.upstream.take();
    assert!(asked.iter().all(|counted| counted.asked() == "GET /next"), "{asked:?}");
}
