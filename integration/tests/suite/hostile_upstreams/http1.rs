//! Over HTTP/1.1.

use super::{
    Close, Cut, Flood, GRANTED, Reset, Send, Step, TIMEOUT, Trickle, Whole, case, cut, table, text,
    unreachable, whole,
};

const OK: &str = "HTTP/1.1 200 OK\r\n";

fn ok(rest: &str) -> Step {
    text(&format!("{OK}{rest}"))
}

fn chunked(chunks: &str) -> Step {
    ok(&format!("transfer-encoding: chunked\r\n\r\n{chunks}"))
}

#[tokio::test]
async fn an_upstream_that_breaks_off_before_the_end_of_its_head_is_a_bad_gateway() {
    table(
        vec![
            unreachable("closes at once", vec![Close]),
            unreachable("resets at once", vec![Reset]),
            unreachable("closes in its head", vec![ok("content-le"), Close]),
            unreachable("resets in its head", vec![ok("content-le"), Reset]),
            unreachable(
                "closes behind an interim answer",
                vec![text("HTTP/1.1 100 Continue\r\n\r\n"), Close],
            ),
        ],
        None,
    )
    .await;
}

#[tokio::test]
async fn an_upstream_that_is_too_slow_with_its_head_is_a_gateway_timeout() {
    let late = |name, steps| case(name, steps, Whole(504, ""), TIMEOUT);
    table(
        vec![
            late("says nothing", vec![text("")]),
            late("stalls in its head", vec![ok("content-le")]),
            late("trickles its head", vec![Trickle(format!("{OK}x: {}", "y".repeat(600)).into_bytes())]),
            late("stalls behind an interim answer", vec![text("HTTP/1.1 100 Continue\r\n\r\n")]),
            late("trickles interim answers", vec![Trickle(b"HTTP/1.1 103 Early Hints\r\n\r\n".repeat(20))]),
        ],
        None,
    )
    .await;
}

#[tokio::test]
async fn an_answer_that_breaks_off_in_its_body_breaks_off_for_the_caller() {
    table(
        vec![
            cut("closes behind half of its length", vec![ok("content-length: 4\r\n\r\nok"), Close]),
            cut("resets behind half of its length", vec![ok("content-length: 4\r\n\r\nok"), Reset]),
            cut("closes between chunks", vec![chunked("2\r\nok\r\n"), Close]),
            cut("closes in a chunk", vec![chunked("9\r\nok"), Close]),
            cut("closes in a chunk's size", vec![chunked("2\r\nok\r\n5"), Close]),
            cut("closes before the end of its trailers", vec![chunked("2\r\nok\r\n0\r\nx: y\r\n"), Close]),
            cut("resets without a length", vec![ok("\r\nok"), Reset]),
            whole("closes without a length", vec![ok("\r\nok"), Close]),
        ],
        None,
    )
    .await;
}

#[tokio::test]
async fn an_upstream_that_is_too_slow_with_its_body_breaks_off_for_the_caller() {
    let bytes = |count: usize| Trickle(b"x".repeat(count));
    let idle = |name, steps| case(name, steps, Cut(200), "upstream-idle");
    let late = |name, steps| case(name, steps, Cut(200), "upstream-total-timeout");
    table(
        vec![
            idle("stalls behind its head", vec![ok("content-length: 4\r\n\r\n")]),
            idle("stalls behind half of its length", vec![ok("content-length: 4\r\n\r\nok")]),
            idle("stalls in a chunk's size", vec![chunked("2\r\nok\r\n5")]),
            idle("stalls without a length", vec![ok("\r\nok")]),
            late("trickles its length", vec![ok("content-length: 99\r\n\r\n"), bytes(99)]),
            late("trickles without a length", vec![ok("\r\n"), bytes(99)]),
            // Bytes that are no part of a body are no part of an answer that comes.
            idle("trickles a chunk's extension", vec![chunked("2\r\nok\r\n2;"), bytes(99)]),
            idle("trickles its trailers", vec![chunked("2\r\nok\r\n0\r\nx: "), bytes(99)]),
        ],
        None,
    )
    .await;
}

#[tokio::test]
async fn an_answer_over_tls_that_only_a_closed_connection_ends_breaks_off_unless_tls_was_closed_too() {
    table(
        vec![
            cut("closes without a word of TLS", vec![ok("\r\nok"), Close]),
            cut("closes behind half of its length", vec![ok("content-length: 4\r\n\r\nok"), Close]),
            whole("is whole by its length", vec![ok("content-length: 2\r\n\r\nok")]).reused(),
        ],
        Some("http/1.1"),
    )
    .await;
}

#[tokio::test]
async fn an_answer_with_two_ends_has_one_for_the_caller_or_is_a_bad_gateway() {
    let both = "transfer-encoding: chunked\r\ncontent-length: 9\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    table(
        vec![
            whole("one length", vec![ok("content-length: 2\r\n\r\nok")]).reused(),
            whole("chunks", vec![chunked("2\r\nok\r\n0\r\n\r\n")]).reused(),
            whole("two equal lengths", vec![ok("content-length: 2\r\ncontent-length: 2\r\n\r\nok")]),
            whole("a list of equal lengths", vec![ok("content-length: 2, 2\r\n\r\nok")]),
            whole("a length and chunks", vec![ok(both)]),
            unreachable("two lengths", vec![ok("content-length: 2\r\ncontent-length: 4\r\n\r\nokok")]),
            unreachable("a list of lengths", vec![ok("content-length: 2, 4\r\n\r\nokok")]),
            unreachable("a length that is no number", vec![ok("content-length: two\r\n\r\nok")]),
            unreachable("a length with a sign", vec![ok("content-length: +2\r\n\r\nok")]),
            unreachable(
                "a length beyond 64 bits",
                vec![ok("content-length: 18446744073709551618\r\n\r\nok")],
            ),
            unreachable(
                "another coding",
                vec![ok("transfer-encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")],
            ),
            unreachable(
                "chunks in chunks",
                vec![ok("transfer-encoding: chunked, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")],
            ),
            unreachable(
                "two lines of codings",
                vec![ok(
                    "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n2\r\nok\r\n0\r\n\r\n",
                )],
            ),
        ],
        None,
    )
    .await;
}

#[tokio::test]
async fn chunks_that_cannot_be_read_break_off_for_the_caller() {
    table(
        vec![
            cut("no size", vec![chunked("2\r\nok\r\nzz\r\nok\r\n0\r\n\r\n")]),
            cut("a size with a sign", vec![chunked("2\r\nok\r\n+2\r\nok\r\n0\r\n\r\n")]),
            cut("a size beyond 64 bits", vec![chunked("2\r\nok\r\n10000000000000002\r\nok\r\n0\r\n\r\n")]),
            cut("a chunk without its end", vec![chunked("2\r\nok0\r\n\r\n")]),
            cut("a chunk that is longer than it says", vec![chunked("2\r\nokok\r\n0\r\n\r\n")]),
            cut("a size with LF alone", vec![chunked("2\r\nok\r\n2\nok\r\n0\r\n\r\n")]),
            cut("an extension without end", vec![chunked("2\r\nok\r\n2;"), Flood(vec![b'x'; 4096])]),
            cut("trailers without end", vec![chunked("2\r\nok\r\n0\r\n"), Flood(b"x: y\r\n".repeat(512))]),
        ],
        None,
    )
    .await;
}

#[tokio::test]
async fn what_is_no_http_is_a_bad_gateway() {
    let whole = "content-length: 2\r\n\r\nok";
    table(
        vec![
            unreachable("HTTP/0.9", vec![text("<html>ok</html>\r\n\r\n")]),
            unreachable("HTTP/2.0", vec![text(&format!("HTTP/2.0 200 OK\r\n{whole}"))]),
            unreachable("another protocol", vec![text(&format!("ICY 200 OK\r\n{whole}"))]),
            unreachable("a status of four digits", vec![text(&format!("HTTP/1.1 2000 OK\r\n{whole}"))]),
            unreachable("a status of letters", vec![text(&format!("HTTP/1.1 abc OK\r\n{whole}"))]),
            unreachable("a status below 100", vec![text(&format!("HTTP/1.1 099 OK\r\n{whole}"))]),
            unreachable("a NUL in a value", vec![ok(&format!("x: a\0b\r\n{whole}"))]),
            unreachable("a bare CR in a value", vec![ok(&format!("x: a\rb\r\n{whole}"))]),
            unreachable("a line that goes on", vec![ok(&format!("x: a\r\n b\r\n{whole}"))]),
            unreachable("a space before a colon", vec![ok(&format!("content-length : 9\r\n{whole}"))]),
            unreachable("no name", vec![ok(&format!(": a\r\n{whole}"))]),
            unreachable(
                "a switch that nobody asked for",
                vec![text(
                    "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
                )],
            ),
        ],
        None,
    )
    .await;
}

#[tokio::test]
async fn heads_without_end_are_a_bad_gateway() {
    let many = |count: usize| (0..count).map(|n| format!("x-{n}: y\r\n")).collect::<String>();
    let interim = "HTTP/1.1 103 Early Hints\r\n\r\n";
    table(
        vec![
            whole("127 headers", vec![ok(&format!("{}content-length: 2\r\n\r\nok", many(127)))]).reused(),
            unreachable("129 headers", vec![ok(&format!("{}content-length: 2\r\n\r\nok", many(128)))]),
            unreachable(
                "a value of 70,000 bytes",
                vec![ok(&format!("x: {}\r\ncontent-length: 2\r\n\r\nok", "y".repeat(70_000)))],
            ),
            unreachable("headers without end", vec![text(OK), Flood(b"x: y\r\n".repeat(512))]),
            unreachable("a value without end", vec![ok("x: "), Flood(vec![b'y'; 4096])]),
            whole("64 interim answers", vec![text(&interim.repeat(64)), ok("content-length: 2\r\n\r\nok")])
                .reused(),
            unreachable(
                "65 interim answers",
                vec![text(&interim.repeat(65)), ok("content-length: 2\r\n\r\nok")],
            ),
            unreachable("interim answers without end", vec![Flood(interim.repeat(512).into_bytes())]),
        ],
        None,
    )
    .await;
}

#[tokio::test]
async fn what_comes_behind_an_answer_is_nobodys() {
    let evil = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil";
    table(
        vec![
            whole("more than its length", vec![ok("content-length: 2\r\n\r\nokokok")]),
            whole("another answer", vec![ok(&format!("content-length: 2\r\n\r\nok{evil}"))]),
            whole("another answer behind chunks", vec![chunked(&format!("2\r\nok\r\n0\r\n\r\n{evil}"))]),
            case(
                "a body behind 204",
                vec![text(&format!("HTTP/1.1 204 No Content\r\n\r\n{evil}"))],
                Whole(204, ""),
                GRANTED,
            ),
            case(
                "a length of 204",
                vec![text("HTTP/1.1 204 No Content\r\ncontent-length: 2\r\n\r\nok")],
                Whole(204, ""),
                GRANTED,
            ),
            case(
                "a body behind 304",
                vec![text(&format!("HTTP/1.1 304 Not Modified\r\n\r\n{evil}"))],
                Whole(304, ""),
                GRANTED,
            ),
            case("a body behind HEAD", vec![ok("content-length: 2\r\n\r\nok")], Whole(200, ""), GRANTED)
                .asking("HEAD", "\r\n"),
            case("no body behind HEAD", vec![ok("content-length: 2\r\n\r\n")], Whole(200, ""), GRANTED)
                .asking("HEAD", "\r\n")
                .reused(),
            whole("it says that it closes", vec![ok("connection: close\r\ncontent-length: 2\r\n\r\nok")]),
            whole("it is HTTP/1.0", vec![text("HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok")]),
            whole(
                "it is HTTP/1.0, and kept alive",
                vec![text("HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nok")],
            ),
        ],
        None,
    )
    .await;
}

#[tokio::test]
async fn bytes_that_come_on_an_idle_connection_end_it() {
    let late = |bytes: &str| vec![ok("content-length: 2\r\n\r\nok"), Send(bytes.as_bytes().to_vec())];
    table(
        vec![
            whole("an answer", late("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil")),
            whole("a timeout that nobody waits for", late("HTTP/1.1 408 Request Timeout\r\n\r\n")),
            whole("an empty line", late("\r\n")),
        ],
        None,
    )
    .await;
}
