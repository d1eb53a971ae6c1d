//! Over HTTP/2.

use rr_integration::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PUSH_PROMISE, RST_STREAM, block,
    frame, headers, settings, window_update,
};

use super::{Close, Flood, Send, Step, TIMEOUT, Whole, case, cut, table, unreachable, whole};

/// The stream of the first request of a connection.
const CASE: u32 = 1;

fn head(more: &[(&str, &str)]) -> Vec<u8> {
    headers(CASE, false, &[&[(":status", "200")], more].concat())
}

fn data(end: bool, bytes: &[u8]) -> Vec<u8> {
    frame(DATA, if end { END_STREAM } else { 0 }, CASE, bytes)
}

fn reset(code: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, CASE, &code.to_be_bytes())
}

fn go_away(last: u32, code: u32) -> Vec<u8> {
    frame(GOAWAY, 0, 0, &[last.to_be_bytes(), code.to_be_bytes()].concat())
}

fn row(frames: &[Vec<u8>]) -> Vec<Step> {
    vec![Send(frames.concat())]
}

#[tokio::test]
async fn streams_and_connections_that_break_off_do_so_for_their_callers() {
    let ok = || row(&[head(&[]), data(true, b"ok")]);
    table(
        vec![
            whole("an answer", ok()).reused(),
            unreachable("closes", vec![Close]),
            unreachable("resets the stream", row(&[reset(2)])).reused(),
            cut("resets the stream behind its head", row(&[head(&[]), data(false, b"ok"), reset(2)]))
                .reused(),
            cut("closes behind its head", [row(&[head(&[]), data(false, b"ok")]), vec![Close]].concat()),
            whole("goes away behind the request", row(&[go_away(CASE, 0), head(&[]), data(true, b"ok")])),
            unreachable("goes away with an error", [row(&[go_away(CASE, 2)]), vec![Close]].concat()),
            cut(
                "goes away with an error behind its head",
                [row(&[head(&[]), go_away(CASE, 2)]), vec![Close]].concat(),
            ),
            case("says nothing", row(&[]), Whole(504, ""), TIMEOUT),
        ],
        Some("h2"),
    )
    .await;
}

#[tokio::test]
async fn answers_that_break_the_rules_of_http2_are_a_bad_gateway_or_break_off() {
    let evil = [(":status", "200"), ("Upper", "case")];
    let long = |length: &'static str| vec![("content-length", length)];
    table(
        vec![
            cut("shorter than it says", row(&[head(&long("4")), data(true, b"ok")])).reused(),
            cut("longer than it says", row(&[head(&long("1")), data(true, b"ok")])).reused(),
            unreachable("DATA before its head", row(&[data(true, b"ok")])),
            unreachable("no status", row(&[headers(CASE, true, &[("x", "y")])])).reused(),
            unreachable("a status of letters", row(&[headers(CASE, true, &[(":status", "abc")])])),
            unreachable("upper case", row(&[headers(CASE, true, &evil)])),
            unreachable(
                "a field of the connection",
                row(&[headers(CASE, true, &[(":status", "200"), ("connection", "x")])]),
            )
            .reused(),
            unreachable(
                "a line end in a value",
                row(&[headers(CASE, true, &[(":status", "200"), ("x", "a\r\nb")])]),
            ),
            unreachable("a stream that nobody opened", row(&[frame(DATA, END_STREAM, 33, b"ok")])),
            unreachable("PUSH_PROMISE", row(&[frame(PUSH_PROMISE, END_HEADERS, CASE, &[0, 0, 0, 2, 0x82])])),
            unreachable("SETTINGS that may not be", row(&[settings(&[(4, u32::MAX)])])),
            unreachable(
                "compression that cannot be undone",
                row(&[frame(HEADERS, END_STREAM | END_HEADERS, CASE, &[0x88, 0x80])]),
            ),
            unreachable(
                "a window beyond its end",
                row(&[window_update(0, 0x7fff_ffff), window_update(0, 0x7fff_ffff)]),
            ),
        ],
        Some("h2"),
    )
    .await;
}

#[tokio::test]
async fn floods_of_http2_frames_end_however_long_an_answer_may_take() {
    let name = [(":status", "103"), ("link", "</a>")];
    let large = block(&[("x", &"y".repeat(16_000))]);
    let begun = [block(&[(":status", "200")]), large.clone()].concat();
    let more = |flags| frame(CONTINUATION, flags, CASE, &large);
    let head_of = |end| {
        [
            frame(HEADERS, END_STREAM, CASE, &begun[..16_000]),
            more(0),
            more(0),
            more(0),
            more(0),
            more(0),
            more(end),
        ]
        .concat()
    };
    table(
        vec![
            unreachable("a head of 100 KB", vec![Send(head_of(END_HEADERS))]),
            unreachable("a head without end", vec![Send(head_of(0)), Flood(more(0))]),
            cut(
                "trailers without end",
                vec![
                    Send([head(&[]), data(false, b"ok"), frame(HEADERS, END_STREAM, CASE, &large)].concat()),
                    Flood(more(0)),
                ],
            ),
            // Answered or not, nothing of an answer moves meanwhile.
            unreachable("SETTINGS without end", vec![Flood(settings(&[(3, 100)]).repeat(100))]).patiently(),
            unreachable("PING without end", vec![Flood(frame(PING, 0, 0, &[1; 8]).repeat(100))]).patiently(),
            unreachable("interim answers without end", vec![Flood(headers(CASE, false, &name).repeat(100))])
                .patiently(),
        ],
        Some("h2"),
    )
    .await;
}

#[tokio::test]
async fn an_upstream_that_opens_no_window_does_not_hold_a_request_with_a_body() {
    // The window of each stream is empty from the start.
    let upload = "content-length: 5\r\n\r\nhello";
    table(
        vec![
            case("never reads", row(&[]), Whole(504, ""), TIMEOUT).asking("POST", upload),
            whole("answers without reading", row(&[head(&[]), data(true, b"ok")]))
                .asking("POST", upload)
                .reused(),
        ],
        Some("h2"),
    )
    .await;
}
