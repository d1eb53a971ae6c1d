//! Tokens of streams of the model APIs, in the shapes of their documentation, cut at every byte.

use bytes::Bytes;
use data_encoding::BASE64;
use http::Request;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rr_contract::runtime::Tasks;
use rr_integration::plain::find;
use rr_integration::standalone::{Behind, Standalone};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::{FAILED, next};

/// A stream of a model, and what a meter with the readings for its API comes to.
struct Shape {
    name: &'static str,
    kind: &'static str,
    readings: &'static str,
    tokens: u64,
    stream: Vec<u8>,
}

const OPENAI: &str = "{body_paths: [usage.total_tokens, response.usage.total_tokens]}";
const ANTHROPIC: &str = "{body_paths: [usage.input_tokens, message.usage.input_tokens]}, \
    {body_paths: [usage.cache_creation_input_tokens, message.usage.cache_creation_input_tokens]}, \
    {body_paths: [usage.cache_read_input_tokens, message.usage.cache_read_input_tokens]}, \
    {body_paths: [usage.output_tokens, message.usage.output_tokens]}";
const GEMINI: &str = "{body_paths: [usageMetadata.totalTokenCount]}";
const BEDROCK: &str = "{body_paths: [usage.totalTokens]}";
const EVENTS: &str = "text/event-stream; charset=utf-8";
const MESSAGES: &str = "application/vnd.amazon.eventstream";

fn shapes() -> Vec<Shape> {
    let shape = |name, kind, readings, tokens, stream: &[u8]| Shape {
        name,
        kind,
        readings,
        tokens,
        stream: stream.to_vec(),
    };
    vec![
        shape("openai-chat", EVENTS, OPENAI, 42, include_bytes!("recorded/openai-chat.sse")),
        shape("openai-responses", EVENTS, OPENAI, 123, include_bytes!("recorded/openai-responses.sse")),
        shape("anthropic", EVENTS, ANTHROPIC, 472 + 10 + 5 + 89, include_bytes!("recorded/anthropic.sse")),
        shape("gemini-events", EVENTS, GEMINI, 19, include_bytes!("recorded/gemini.sse")),
        shape("gemini-array", "application/json", GEMINI, 21, include_bytes!("recorded/gemini.json")),
        shape("converse", MESSAGES, BEDROCK, 155, &converse()),
        shape("invoke", MESSAGES, ANTHROPIC, 30, &invoke()),
    ]
}

/// A message of Amazon's event stream, with its checksums.
fn message(kind: &str, payload: &str) -> Vec<u8> {
    let mut headers = Vec::new();
    for (name, value) in
        [(":event-type", kind), (":content-type", "application/json"), (":message-type", "event")]
    {
        headers.push(u8::try_from(name.len()).expect("it is short"));
        headers.extend_from_slice(name.as_bytes());
        headers.push(7);
        headers.extend(u16::try_from(value.len()).expect("it is short").to_be_bytes());
        headers.extend_from_slice(value.as_bytes());
    }
    let number = |length: usize| u32::try_from(length).expect("it is short").to_be_bytes();
    let mut all = number(16 + headers.len() + payload.len()).to_vec();
    all.extend(number(headers.len()));
    all.extend(crc32fast::hash(&all).to_be_bytes());
    all.extend(headers);
    all.extend_from_slice(payload.as_bytes());
    all.extend(crc32fast::hash(&all).to_be_bytes());
    all
}

fn converse() -> Vec<u8> {
    [
        message("messageStart", r#"{"p":"abcd","role":"assistant"}"#),
        message("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"text":"Hi"},"p":"ab"}"#),
        message("messageStop", r#"{"p":"abcdefg","stopReason":"end_turn"}"#),
        message(
            "metadata",
            r#"{"metrics":{"latencyMs":1275},"p":"ab","usage":{"inputTokens":30,"outputTokens":125,"totalTokens":155}}"#,
        ),
    ]
    .concat()
}

fn invoke() -> Vec<u8> {
    let chunk = |json: &str| {
        message("chunk", &format!(r#"{{"bytes":"{}","p":"abc"}}"#, BASE64.encode(json.as_bytes())))
    };
    [
        chunk(r#"{"type":"message_start","message":{"usage":{"input_tokens":21,"output_tokens":1}}}"#),
        chunk(r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hi"}}"#),
        chunk(r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":9}}"#),
        chunk(r#"{"type":"message_stop","amazon-bedrock-invocationMetrics":{"inputTokenCount":21,"outputTokenCount":9}}"#),
    ]
    .concat()
}

/// A meter of a proxy by this name.
fn meter(shape: &Shape) -> String {
    let Shape { name, readings, .. } = shape;
    format!(
        "---\nkind: meter\nname: {name}\nproxy: {name}\n\
         value: {{readings: [{readings}], reserve: 7, on_missing: 9}}\n"
    )
}

/// An upstream that takes one connection, and what it is to answer next.
async fn answer_in_two(listener: &TcpListener, mut answers: tokio::sync::mpsc::Receiver<Answer>) {
    let mut stream = timeout(FAILED, listener.accept()).await.expect("in time").expect("it listens").0;
    stream.set_nodelay(true).expect("a socket takes it");
    while let Some(Answer { kind, first, seen, second }) = answers.recv().await {
        let mut head = Vec::new();
        while find(&head, b"\r\n\r\n").is_none() {
            assert_ne!(stream.read_buf(&mut head).await.expect("the node sends"), 0);
        }
        let chunk = |piece: &[u8]| [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat();
        let mut out =
            format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n")
                .into_bytes();
        if !first.is_empty() {
            out.extend(chunk(&first));
        }
        stream.write_all(&out).await.expect("the node reads");
        if seen.await.is_err() {
            // The caller has left, and so does this.
            return;
        }
        let mut out = Vec::new();
        if !second.is_empty() {
            out.extend(chunk(&second));
        }
        out.extend_from_slice(b"0\r\n\r\n");
        stream.write_all(&out).await.expect("the node reads");
    }
}

struct Answer {
    kind: &'static str,
    first: Vec<u8>,
    /// The caller has all of that.
    seen: tokio::sync::oneshot::Receiver<()>,
    second: Vec<u8>,
}

fn ask(node: &Standalone, shape: &Shape) -> Request<http_body_util::Empty<Bytes>> {
    Request::get(format!("/api/local.{}/", shape.name))
        .header("host", "edge")
        .header("authorization", node.key())
        .body(http_body_util::Empty::new())
        .expect("a request")
}

#[tokio::test]
async fn streams_of_four_model_apis_cut_at_every_byte_have_exact_sums_and_pass_byte_for_byte() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let shapes = shapes();
    let behind: Vec<Behind> = shapes.iter().map(|shape| Behind::new(shape.name, &url)).collect();
    let meters: String = shapes.iter().map(meter).collect();
    let node = Standalone::start_with(&behind, &meters, &[]).await;
    let tasks = Tasks::new();
    let mut wanted = Vec::new();
    for shape in &shapes {
        let (answers, to_give) = tokio::sync::mpsc::channel(1);
        let io = TokioIo::new(node.connect().await);
        let (mut sender, connection) = http1::handshake(io).await.expect("it speaks HTTP/1.1");
        tasks.spawn("caller", connection);
        let upstream = answer_in_two(&listener, to_give);
        let calling = async {
            for cut in 0..=shape.stream.len() {
                let (first, second) = shape.stream.split_at(cut);
                let (see, seen) = tokio::sync::oneshot::channel();
                let answer =
                    Answer { kind: shape.kind, first: first.to_vec(), seen, second: second.to_vec() };
                answers.send(answer).await.expect("it answers");
                let got = sender.send_request(ask(&node, shape)).await.expect("an answer");
                let (mut body, mut all) = (got.into_body(), Vec::new());
                while all.len() < cut {
                    all.extend_from_slice(&next(&mut body).await.expect("the first part"));
                }
                assert_eq!(all, first, "{} passes at once", shape.name);
                see.send(()).expect("it waits");
                while let Some(part) = next(&mut body).await {
                    all.extend_from_slice(&part);
                }
                assert_eq!(all, shape.stream, "{} cut at {cut}", shape.name);
                wanted.push((shape.name, cut, shape.tokens));
            }
            drop(answers);
        };
        tokio::join!(upstream, calling);
    }
    let records = node.records(wanted.len()).await;
    assert_eq!(records.len(), wanted.len());
    for (record, (name, cut, tokens)) in records.iter().zip(wanted) {
        let meter = &record["meters"][0];
        let said =
            (meter["charged_millionths"].as_u64(), meter["missing"].as_bool(), meter["partial"].as_bool());
        let exact = (Some(tokens * 1_000_000), Some(false), Some(false));
        assert_eq!(said, exact, "{name} cut at {cut}: {record}");
    }
}

#[tokio::test]
async fn what_a_stream_had_told_before_it_broke_off_is_charged_and_marked() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let shape = shapes().into_iter().find(|shape| shape.name == "anthropic").expect("it is there");
    let node = Standalone::start_with(&[Behind::new(shape.name, &url)], &meter(&shape), &[]).await;
    let tasks = Tasks::new();
    let told = find(&shape.stream, b"\n\n").expect("an event") + 2;
    // What is reserved, where nothing was told; and what was told.
    for (at, (cut, charged, missing)) in [(told - 20, 9, true), (told, 489, false)].into_iter().enumerate() {
        let (answers, to_give) = tokio::sync::mpsc::channel(1);
        let io = TokioIo::new(node.connect().await);
        let (mut sender, connection) = http1::handshake(io).await.expect("it speaks HTTP/1.1");
        let caller = tasks.spawn("caller", connection);
        let calling = async {
            let (see, seen) = tokio::sync::oneshot::channel();
            let first = shape.stream[..cut].to_vec();
            let answer = Answer { kind: shape.kind, first, seen, second: Vec::new() };
            answers.send(answer).await.expect("it answers");
            let mut body = sender.send_request(ask(&node, &shape)).await.expect("an answer").into_body();
            let mut came = 0;
            while came < cut {
                came += next(&mut body).await.expect("the first part").len();
            }
            drop((body, sender, see));
        };
        tokio::join!(answer_in_two(&listener, to_give), calling);
        drop(caller);
        let record = &node.records(at + 1).await[at];
        let meter = &record["meters"][0];
        assert_eq!(meter["charged_millionths"], charged * 1_000_000, "{record}");
        assert_eq!((&meter["missing"], &meter["partial"]), (&missing.into(), &(!missing).into()), "{record}");
    }
}
