//! Where a request's body ends: lengths, transfer codings, chunks.

use super::Fate::{Once, OnceAndClosed, Refused};
use super::{Bench, HIDDEN};

#[tokio::test]
async fn lengths_that_disagree_or_are_no_numbers_are_refused() {
    let bench = Bench::start().await;
    let post = |lines: &str| bench.post(lines);
    let hidden = |lines: &str| format!("{}{HIDDEN}", post(lines)).into_bytes();
    let five = |lines: &str| format!("{}hello", post(lines)).into_bytes();
    bench
        .table(&[
            ("one length", five("content-length: 5\r\n"), Once("hello")),
            ("leading zeros", five("content-length: 0005\r\n"), Once("hello")),
            ("two equal lengths", five("content-length: 5\r\ncontent-length: 5\r\n"), Once("hello")),
            (
                "two lengths, the longer first",
                hidden("content-length: 44\r\ncontent-length: 5\r\n"),
                Refused(400),
            ),
            (
                "two lengths, the shorter first",
                hidden("content-length: 5\r\ncontent-length: 44\r\n"),
                Refused(400),
            ),
            ("a list of equal lengths", five("content-length: 5, 5\r\n"), Refused(400)),
            ("a list of lengths", hidden("content-length: 5, 44\r\n"), Refused(400)),
            ("a plus", five("content-length: +5\r\n"), Refused(400)),
            ("a minus", five("content-length: -5\r\n"), Refused(400)),
            ("a space in it", hidden("content-length: 4 4\r\n"), Refused(400)),
            ("spaces around it", five("content-length:   5  \r\n"), Once("hello")),
            ("tabs around it", five("content-length:\t5\t\r\n"), Once("hello")),
            ("hexadecimal", hidden("content-length: 0x2c\r\n"), Refused(400)),
            ("an exponent", hidden("content-length: 1e1\r\n"), Refused(400)),
            ("a fraction", five("content-length: 5.0\r\n"), Refused(400)),
            ("an underscore", hidden("content-length: 4_4\r\n"), Refused(400)),
            ("other digits", hidden("content-length: \u{0664}\u{0664}\r\n"), Refused(400)),
            ("nothing", hidden("content-length:\r\n"), Refused(400)),
            ("quotes", five("content-length: \"5\"\r\n"), Refused(400)),
            ("beyond 64 bits", hidden("content-length: 18446744073709551621\r\n"), Refused(400)),
            ("at the end of 64 bits", hidden("content-length: 18446744073709551615\r\n"), Refused(431)),
            ("a vertical tab", five("content-length: \x0b5\r\n"), Refused(400)),
            ("a form feed", five("content-length: \x0c5\r\n"), Refused(400)),
            ("an underscore in the name", five("content_length: 44\r\ncontent-length: 5\r\n"), Once("hello")),
            (
                "a length that Connection names",
                five("connection: content-length\r\ncontent-length: 5\r\n"),
                Once("hello"),
            ),
            ("no length", post("").into_bytes(), Once("")),
            ("a length of nothing", post("content-length: 0\r\n").into_bytes(), Once("")),
            (
                "a GET with a body",
                format!("{}hello", bench.get("/case", "content-length: 5\r\n")).into_bytes(),
                Once("hello"),
            ),
            (
                "a HEAD with a body",
                format!(
                    "{}hello",
                    bench.head("HEAD /api/local.strict/case HTTP/1.1", "content-length: 5\r\n")
                )
                .into_bytes(),
                Once("hello"),
            ),
        ])
        .await;
}

#[tokio::test]
async fn transfer_codings_are_one_chunked_or_refused() {
    let bench = Bench::start().await;
    let chunks = "5\r\nhello\r\n0\r\n\r\n";
    let chunked = |lines: &str| format!("{}{chunks}", bench.post(lines)).into_bytes();
    let both = |lines: &str| format!("{}{chunks}{HIDDEN}", bench.post(lines)).into_bytes();
    let http10 = bench.head("POST /api/local.strict/case HTTP/1.0", "transfer-encoding: chunked\r\n");
    bench
        .table(&[
            ("chunked", chunked("transfer-encoding: chunked\r\n"), Once("hello")),
            ("another case", chunked("Transfer-Encoding: Chunked\r\n"), Once("hello")),
            ("upper case", chunked("TRANSFER-ENCODING: CHUNKED\r\n"), Once("hello")),
            ("spaces around it", chunked("transfer-encoding:  chunked \r\n"), Once("hello")),
            ("a tab before it", chunked("transfer-encoding:\tchunked\r\n"), Once("hello")),
            (
                "chunked, then a length",
                both("transfer-encoding: chunked\r\ncontent-length: 5\r\n"),
                OnceAndClosed("hello"),
            ),
            (
                "a length, then chunked",
                both("content-length: 5\r\ntransfer-encoding: chunked\r\n"),
                OnceAndClosed("hello"),
            ),
            (
                "chunked between two lengths",
                both("content-length: 5\r\ntransfer-encoding: chunked\r\ncontent-length: 6\r\n"),
                OnceAndClosed("hello"),
            ),
            (
                "chunked, and a length that is no number",
                both("transfer-encoding: chunked\r\ncontent-length: x\r\n"),
                OnceAndClosed("hello"),
            ),
            ("xchunked", both("transfer-encoding: xchunked\r\n"), Refused(400)),
            (
                "xchunked with a length",
                both("transfer-encoding: xchunked\r\ncontent-length: 5\r\n"),
                Refused(400),
            ),
            ("chunkedx", both("transfer-encoding: chunkedx\r\n"), Refused(400)),
            ("identity", both("transfer-encoding: identity\r\n"), Refused(400)),
            (
                "identity with a length",
                both("transfer-encoding: identity\r\ncontent-length: 5\r\n"),
                Refused(400),
            ),
            ("chunked, identity", both("transfer-encoding: chunked, identity\r\n"), Refused(400)),
            ("identity, chunked", both("transfer-encoding: identity, chunked\r\n"), Refused(400)),
            ("gzip, chunked", both("transfer-encoding: gzip, chunked\r\n"), Refused(400)),
            ("chunked, chunked", both("transfer-encoding: chunked, chunked\r\n"), Refused(400)),
            ("chunked and a comma", both("transfer-encoding: chunked,\r\n"), Refused(400)),
            ("a comma and chunked", both("transfer-encoding: ,chunked\r\n"), Refused(400)),
            ("a parameter", both("transfer-encoding: chunked;q=1\r\n"), Refused(400)),
            ("quotes", both("transfer-encoding: \"chunked\"\r\n"), Refused(400)),
            ("nothing", both("transfer-encoding:\r\n"), Refused(400)),
            ("a vertical tab before it", both("transfer-encoding: \x0bchunked\r\n"), Refused(400)),
            ("a form feed behind it", both("transfer-encoding: chunked\x0c\r\n"), Refused(400)),
            ("a NUL behind it", both("transfer-encoding: chunked\0\r\n"), Refused(400)),
            ("a space before the colon", both("transfer-encoding : chunked\r\n"), Refused(400)),
            ("a line before it that goes on", both("x: y\r\n transfer-encoding: chunked\r\n"), Refused(400)),
            ("on a line that goes on", both("transfer-encoding:\r\n chunked\r\n"), Refused(400)),
            (
                "two lines, both chunked",
                both("transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n"),
                Refused(400),
            ),
            (
                "two lines, identity first",
                both("transfer-encoding: identity\r\ntransfer-encoding: chunked\r\n"),
                Refused(400),
            ),
            (
                "two lines, identity last",
                both("transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n"),
                Refused(400),
            ),
            (
                "an underscore in the name",
                format!("{}{chunks}", bench.post("transfer_encoding: chunked\r\ncontent-length: 15\r\n"))
                    .into_bytes(),
                Once(chunks),
            ),
            ("on HTTP/1.0", format!("{http10}{chunks}").into_bytes(), Refused(400)),
            (
                "that Connection names",
                chunked("connection: transfer-encoding\r\ntransfer-encoding: chunked\r\n"),
                Once("hello"),
            ),
        ])
        .await;
}

#[tokio::test]
async fn chunks_are_read_in_one_way_or_refused() {
    let bench = Bench::start().await;
    let chunks =
        |chunks: &str| format!("{}{chunks}", bench.post("transfer-encoding: chunked\r\n")).into_bytes();
    let end = "\r\n0\r\n\r\n";
    bench
        .table(&[
            ("two chunks", chunks("2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"), Once("hello")),
            ("leading zeros", chunks(&format!("0005\r\nhello{end}")), Once("hello")),
            ("an extension", chunks(&format!("5;a=b\r\nhello{end}")), Once("hello")),
            ("an extension in quotes", chunks(&format!("5;a=\"\t;0\"\r\nhello{end}")), Once("hello")),
            ("trailers", chunks("5\r\nhello\r\n0\r\nx-trailer: 1\r\n\r\n"), Once("hello")),
            (
                "a length among the trailers",
                chunks("5\r\nhello\r\n0\r\ncontent-length: 44\r\n\r\n"),
                Once("hello"),
            ),
            ("no chunk", chunks("0\r\n\r\n"), Once("")),
            (
                "chunks of a GET",
                format!("{}5\r\nhello{end}", bench.get("/case", "transfer-encoding: chunked\r\n"))
                    .into_bytes(),
                Once("hello"),
            ),
            (
                "chunks of a HEAD",
                format!(
                    "{}5\r\nhello{end}",
                    bench.head("HEAD /api/local.strict/case HTTP/1.1", "transfer-encoding: chunked\r\n")
                )
                .into_bytes(),
                Once("hello"),
            ),
            ("several zeros", chunks("000\r\n\r\n"), Once("")),
            ("no size", chunks(&format!("\r\nhello{end}")), Refused(400)),
            ("only an extension", chunks(&format!(";a=b\r\nhello{end}")), Refused(400)),
            ("no hexadecimal number", chunks(&format!("g\r\nhello{end}")), Refused(400)),
            ("a prefix", chunks(&format!("0x5\r\nhello{end}")), Refused(400)),
            ("a plus", chunks(&format!("+5\r\nhello{end}")), Refused(400)),
            ("a minus", chunks(&format!("-5\r\nhello{end}")), Refused(400)),
            ("a space before it", chunks(&format!(" 5\r\nhello{end}")), Refused(400)),
            ("an underscore", chunks(&format!("0_5\r\nhello{end}")), Refused(400)),
            ("beyond 64 bits", chunks("10000000000000005\r\nhello\r\n0\r\n\r\n"), Refused(400)),
            ("far beyond 64 bits", chunks(&format!("{}5\r\nhello{end}", "f".repeat(64))), Refused(400)),
            ("a size that ends with LF", chunks(&format!("5\nhello{end}")), Refused(400)),
            ("a size that ends with CR", chunks(&format!("5\rhello{end}")), Refused(400)),
            ("an extension with LF", chunks(&format!("5;a\n0\r\n\r\n{HIDDEN}")), Refused(400)),
            ("an extension with CR", chunks(&format!("5;a\r0\r\nhello{end}")), Refused(400)),
            ("a chunk without its end", chunks("5\r\nhello0\r\n\r\n"), Refused(400)),
            ("a chunk that ends with LF", chunks("5\r\nhello\n0\r\n\r\n"), Refused(400)),
            ("a chunk that ends with CR", chunks("5\r\nhello\r0\r\n\r\n"), Refused(400)),
            ("a chunk that is longer than it says", chunks("4\r\nhello\r\n0\r\n\r\n"), Refused(400)),
            ("an end with LF", chunks("5\r\nhello\r\n0\n\n"), Refused(400)),
            (
                "extensions without end",
                chunks(&format!("5;{}\r\nhello{end}", "x".repeat(20_000))),
                Refused(400),
            ),
            (
                "trailers without end",
                chunks(&format!("0\r\nx: {}\r\n\r\n", "x".repeat(70_000))),
                Refused(400),
            ),
        ])
        .await;
}
