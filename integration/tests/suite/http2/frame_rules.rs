//! Frames by themselves: sizes, streams, flags and values (RFC 9113, sections 3, 4 and 6).

use rr_integration::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PADDED, PING, PREFACE, PRIORITY,
    PUSH_PROMISE, RST_STREAM, SETTINGS, WINDOW_UPDATE, WITH_PRIORITY, block, frame, settings, window_update,
};

use super::Fate::{Answered, Connection, Either, Ignored, Stream};
use super::{Bench, CASE};

#[tokio::test]
async fn what_opens_a_connection_is_as_it_has_to_be() {
    let bench = Bench::start().await;
    for opening in [
        &b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"[..],
        b"PRI * HTTP/1.1\r\n\r\nSM\r\n\r\n",
        &[&PREFACE[..], &frame(PING, 0, 0, &[0; 8])].concat(),
        &[&PREFACE[..], &frame(DATA, 0, 1, b"hello")].concat(),
        &[&PREFACE[..], b"GET /api/local.strict/case HTTP/1.1\r\nhost: edge\r\n\r\n"].concat(),
    ] {
        let said = rr_integration::plain::converse(bench.node.listen(), &[opening, &[0; 64]]).await;
        assert!(!said.text().contains("HTTP/1.1 2"), "{opening:?}");
    }
    assert!(bench.upstream.take().is_empty());
}

#[tokio::test]
async fn frames_have_the_sizes_that_their_types_have() {
    let bench = Bench::start().await;
    let open = bench.post(CASE, &[]);
    let after = |bytes: Vec<u8>| [open.clone(), bytes].concat();
    let large = block(&[("x-large", &"x".repeat(16_400))]);
    bench
        .table(&[
            ("4.1 an unknown type", frame(0x63, 0xff, 0, &[0; 8]), Ignored),
            ("4.1 an unknown type on a stream", frame(0x63, 0, 77, &[0; 8]), Ignored),
            ("4.1 flags that PING does not have", frame(PING, 0xfe, 0, &[0; 8]), Ignored),
            ("4.1 the reserved bit of the stream", frame(PING, 0, 0x8000_0000, &[0; 8]), Ignored),
            ("4.2 DATA that is too long", after(frame(DATA, END_STREAM, CASE, &[0; 16_385])), Connection),
            (
                "4.2 HEADERS that are too long",
                frame(HEADERS, END_STREAM | END_HEADERS, CASE, &large),
                Connection,
            ),
            ("6.3 PRIORITY of 4 bytes", after(frame(PRIORITY, 0, CASE, &[0; 4])), Either),
            ("6.4 RST_STREAM of 3 bytes", after(frame(RST_STREAM, 0, CASE, &[0; 3])), Connection),
            ("6.4 RST_STREAM of 5 bytes", after(frame(RST_STREAM, 0, CASE, &[0; 5])), Connection),
            ("6.5 SETTINGS of 5 bytes", frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0]), Connection),
            ("6.5 an ACK with SETTINGS", frame(SETTINGS, ACK, 0, &[0, 3, 0, 0, 0, 9]), Connection),
            ("6.7 PING of 6 bytes", frame(PING, 0, 0, &[0; 6]), Connection),
            ("6.7 PING of 9 bytes", frame(PING, 0, 0, &[0; 9]), Connection),
            ("6.8 GOAWAY of 7 bytes", frame(GOAWAY, 0, 0, &[0; 7]), Connection),
            ("6.9 WINDOW_UPDATE of 3 bytes", frame(WINDOW_UPDATE, 0, 0, &[0, 0, 1]), Connection),
            ("6.9 WINDOW_UPDATE of 5 bytes", frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 0, 1]), Connection),
        ])
        .await;
}

#[tokio::test]
async fn frames_of_the_connection_are_on_no_stream_and_those_of_streams_on_one() {
    let bench = Bench::start().await;
    let fields = block(&bench.fields());
    bench
        .table(&[
            ("6.1 DATA", frame(DATA, 0, 0, b"hello"), Connection),
            ("6.2 HEADERS", frame(HEADERS, END_STREAM | END_HEADERS, 0, &fields), Connection),
            ("6.3 PRIORITY", frame(PRIORITY, 0, 0, &[0; 5]), Connection),
            ("6.4 RST_STREAM", frame(RST_STREAM, 0, 0, &[0, 0, 0, 8]), Connection),
            ("6.5 SETTINGS", frame(SETTINGS, 0, CASE, &[]), Connection),
            ("6.6 PUSH_PROMISE", frame(PUSH_PROMISE, END_HEADERS, 0, &[0, 0, 0, 2]), Connection),
            ("6.7 PING", frame(PING, 0, CASE, &[0; 8]), Connection),
            ("6.8 GOAWAY", frame(GOAWAY, 0, CASE, &[0; 8]), Connection),
            ("6.10 CONTINUATION", frame(CONTINUATION, END_HEADERS, 0, &[]), Connection),
            (
                "8.4 PUSH_PROMISE of a client",
                frame(PUSH_PROMISE, END_HEADERS, CASE, &[0, 0, 0, 2]),
                Connection,
            ),
        ])
        .await;
}

#[tokio::test]
async fn padding_and_priorities_fit_their_frames() {
    let bench = Bench::start().await;
    let open = bench.post(CASE, &[]);
    let fields = block(&bench.fields());
    let all = END_STREAM | END_HEADERS;
    let padded = |length: u8, rest: &[u8]| [&[length][..], rest].concat();
    let on = |stream: u32| [&stream.to_be_bytes()[..], &[15]].concat();
    bench
        .table(&[
            (
                "6.1 padding",
                [open.clone(), frame(DATA, PADDED | END_STREAM, CASE, &padded(3, b"hello..."))].concat(),
                Answered(200),
            ),
            (
                "6.1 nothing but padding",
                [open.clone(), frame(DATA, PADDED | END_STREAM, CASE, &padded(5, b"....."))].concat(),
                Answered(200),
            ),
            (
                "6.1 padding beyond the frame",
                [open.clone(), frame(DATA, PADDED | END_STREAM, CASE, &padded(9, b"hello"))].concat(),
                Connection,
            ),
            (
                "6.2 padding",
                frame(HEADERS, all | PADDED, CASE, &padded(2, &[&fields[..], b"\0\0"].concat())),
                Answered(200),
            ),
            (
                "6.2 padding beyond the frame",
                frame(HEADERS, all | PADDED, CASE, &padded(255, b"\x82")),
                Connection,
            ),
            (
                "6.2 a priority",
                frame(HEADERS, all | WITH_PRIORITY, CASE, &[&on(0)[..], &fields].concat()),
                Answered(200),
            ),
            (
                "5.3.1 HEADERS that depend on themselves",
                frame(HEADERS, all | WITH_PRIORITY, CASE, &[&on(CASE)[..], &fields].concat()),
                Either,
            ),
            (
                "5.3.1 PRIORITY that depends on itself",
                [open.clone(), frame(PRIORITY, 0, CASE, &on(CASE))].concat(),
                Either,
            ),
            ("5.3 PRIORITY of a stream that nobody opened", frame(PRIORITY, 0, 77, &on(75)), Ignored),
        ])
        .await;
}

#[tokio::test]
async fn settings_have_values_that_they_may_have() {
    let bench = Bench::start().await;
    bench
        .table(&[
            ("6.5 none", settings(&[]), Ignored),
            ("6.5.2 one that nobody knows", settings(&[(0xff, 1)]), Ignored),
            ("6.5.2 ENABLE_PUSH of 2", settings(&[(2, 2)]), Connection),
            ("6.5.2 INITIAL_WINDOW_SIZE beyond 2^31", settings(&[(4, 0x8000_0000)]), Connection),
            ("6.5.2 MAX_FRAME_SIZE below 2^14", settings(&[(5, 16_383)]), Connection),
            ("6.5.2 MAX_FRAME_SIZE beyond 2^24", settings(&[(5, 0x0100_0000)]), Connection),
            ("6.5.2 no header table", settings(&[(1, 0)]), Ignored),
            ("6.5.2 a header table without end", settings(&[(1, u32::MAX)]), Ignored),
            ("6.5.2 header lists of nothing", settings(&[(6, 0)]), Ignored),
            ("6.5.2 no streams", settings(&[(3, 0)]), Ignored),
            ("6.7 an ACK that nobody waits for", frame(PING, ACK, 0, &[7; 8]), Ignored),
        ])
        .await;
}

#[tokio::test]
async fn windows_grow_by_something_and_have_an_end() {
    let bench = Bench::start().await;
    let open = bench.post(CASE, &[]);
    let after = |bytes: &[Vec<u8>]| [open.clone(), bytes.concat()].concat();
    bench
        .table(&[
            ("6.9 by nothing, on the connection", window_update(0, 0), Connection),
            ("6.9 by nothing, on a stream", after(&[window_update(CASE, 0)]), Either),
            (
                "6.9.1 too far, on the connection",
                [window_update(0, 0x7fff_ffff), window_update(0, 0x7fff_ffff)].concat(),
                Connection,
            ),
            (
                "6.9.1 too far, on a stream",
                after(&[window_update(CASE, 0x7fff_ffff), window_update(CASE, 0x7fff_ffff)]),
                Stream,
            ),
            (
                "6.9.2 too far by SETTINGS",
                after(&[window_update(CASE, 0x7fff_0000), settings(&[(4, 0x7fff_ffff)])]),
                Either,
            ),
            (
                "6.9 the reserved bit",
                [bench.post(CASE, &[]), window_update(CASE, 0x8000_0001), frame(DATA, END_STREAM, CASE, b"")]
                    .concat(),
                Answered(200),
            ),
        ])
        .await;
}
