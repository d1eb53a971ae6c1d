//! Streams in their states, header blocks in their order, and compression (RFC 9113, section 5 and 6.10; RFC 7541).

use rr_integration::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PRIORITY, RST_STREAM, block, frame, number,
    window_update,
};

use super::Fate::{Answered, Connection, Either, Ignored, Stream};
use super::{Bench, CASE};

#[tokio::test]
async fn streams_take_the_frames_of_their_states() {
    let bench = Bench::start().await;
    let (get, open) = (bench.get(CASE), bench.post(CASE, &[]));
    let reset = frame(RST_STREAM, 0, CASE, &[0, 0, 0, 8]);
    let data = frame(DATA, END_STREAM, CASE, b"hello");
    let more = frame(CONTINUATION, END_HEADERS, CASE, &block(&[("x", "y")]));
    let row = |parts: &[&[u8]]| parts.concat();
    bench
        .table(&[
            ("5.1 idle: DATA", data.clone(), Connection),
            ("5.1 idle: RST_STREAM", reset.clone(), Connection),
            ("5.1 idle: WINDOW_UPDATE", window_update(CASE, 100), Connection),
            ("5.1 idle: CONTINUATION", more.clone(), Connection),
            ("5.1 half closed: DATA", row(&[&get, &data]), Either),
            ("5.1 half closed: HEADERS", row(&[&get, &get]), Either),
            ("5.1 half closed: CONTINUATION", row(&[&get, &more]), Connection),
            ("5.1 reset: CONTINUATION", row(&[&open, &reset, &more]), Connection),
            ("5.1 reset: WINDOW_UPDATE", row(&[&open, &reset, &window_update(CASE, 100)]), Ignored),
            ("5.1 reset: PRIORITY", row(&[&open, &reset, &frame(PRIORITY, 0, CASE, &[0; 5])]), Ignored),
            ("5.1.1 an even stream", bench.get(2), Connection),
            ("5.1.1 a stream below another", row(&[&bench.get(5), &bench.get(3)]), Connection),
            ("5.1.1 a stream a second time", row(&[&open, &reset, &bench.get(CASE)]), Either),
            ("8.1 a body", row(&[&open, &data]), Answered(200)),
            ("8.1 a second head", row(&[&open, &open]), Either),
        ])
        .await;
}

#[tokio::test]
async fn a_header_block_is_whole_before_anything_else_comes() {
    let bench = Bench::start().await;
    let fields = block(&bench.fields());
    let (first, second) = fields.split_at(fields.len() / 2);
    let begun = frame(HEADERS, END_STREAM, CASE, first);
    let row = |parts: &[Vec<u8>]| parts.concat();
    let rest = |flags: u8, stream: u32| frame(CONTINUATION, flags, stream, second);
    let bits: Vec<Vec<u8>> =
        second.chunks(second.len().div_ceil(4)).map(|part| frame(CONTINUATION, 0, CASE, part)).collect();
    bench
        .table(&[
            ("6.10 in two", row(&[begun.clone(), rest(END_HEADERS, CASE)]), Answered(200)),
            (
                "6.10 in six",
                row(&[begun.clone(), bits.concat(), frame(CONTINUATION, END_HEADERS, CASE, &[])]),
                Answered(200),
            ),
            ("6.10 without its end", begun.clone(), Connection),
            ("6.10 on another stream", row(&[begun.clone(), rest(END_HEADERS, 3)]), Connection),
            ("6.10 behind a whole block", row(&[bench.get(CASE), rest(END_HEADERS, CASE)]), Connection),
            (
                "6.10 behind DATA",
                row(&[bench.post(CASE, &[]), frame(DATA, 0, CASE, b"x"), rest(END_HEADERS, CASE)]),
                Connection,
            ),
            (
                "6.2 PRIORITY between",
                row(&[begun.clone(), frame(PRIORITY, 0, CASE, &[0; 5]), rest(END_HEADERS, CASE)]),
                Connection,
            ),
            ("6.2 another's HEADERS between", row(&[begun.clone(), bench.get(3)]), Connection),
            ("6.2 DATA between", row(&[begun.clone(), frame(DATA, END_STREAM, CASE, b"x")]), Connection),
            (
                "5.5 an unknown type between",
                row(&[begun.clone(), frame(0x63, 0, CASE, b"x"), rest(END_HEADERS, CASE)]),
                Connection,
            ),
        ])
        .await;
}

#[tokio::test]
async fn compression_that_cannot_be_undone_ends_the_connection() {
    let bench = Bench::start().await;
    let fields = block(&bench.fields());
    let with = |more: &[u8]| frame(HEADERS, END_STREAM | END_HEADERS, CASE, &[&fields[..], more].concat());
    let led = |first: &[u8]| frame(HEADERS, END_STREAM | END_HEADERS, CASE, &[first, &fields[..]].concat());
    let mut far = Vec::new();
    number(&mut far, 5, 0x20, 4097);
    bench
        .table(&[
            ("4.3 a block that breaks off", with(&[0, 5, b'x']), Connection),
            ("2.3.3 index 0", with(&[0x80]), Connection),
            ("2.3.3 an index beyond the table", with(&[0xff, 0x00]), Connection),
            ("2.3.3 a name beyond the table", with(&[0x7f, 0x20, 1, b'x']), Connection),
            ("4.2 a size beyond the limit", led(&far), Connection),
            ("4.2 a size of nothing first", led(&[0x20]), Answered(200)),
            ("4.2 a size behind a field", with(&[0x20]), Connection),
            ("5.1 a number without end", with(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), Connection),
            (
                "5.2 padding of eight bits, which stands for nothing",
                with(&[0, 0x85, 0xf2, 0xb2, 0x4a, 0x84, 0xff, 1, b'x']),
                Answered(200),
            ),
            ("5.2 padding of zeros", with(&[0, 0x83, 0x49, 0x50, 0x90, 1, b'x']), Connection),
            (
                "5.2 the end of a text inside it",
                with(&[0, 0x84, 0xff, 0xff, 0xff, 0xff, 1, b'x']),
                Connection,
            ),
        ])
        .await;
}

#[tokio::test]
async fn more_streams_than_the_node_takes_are_refused_alone() {
    let bench = Bench::start().await;
    let open: Vec<u8> = (0..300).flat_map(|n| bench.post(1 + 2 * n, &[])).collect();
    let outcome = bench.run(&open).await;
    // All streams are taken, so the request behind them is refused with the others.
    assert!(outcome.ended.is_none() && outcome.next.is_none(), "{outcome:?}");
    assert!(outcome.reset.is_some(), "{outcome:?}");
    assert_eq!(bench.run(&bench.get(CASE)).await.next, Some(200));
    assert!(bench.run(&bench.get(CASE)).await.is(Answered(200)) && !bench.run(&[]).await.is(Stream));
}
