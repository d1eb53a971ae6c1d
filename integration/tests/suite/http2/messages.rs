//! Requests as HTTP/2 carries them: their fields, their lengths, and what could be smuggled into HTTP/1.1 with them
//! (RFC 9113, section 8).

use rr_integration::frames::{DATA, END_STREAM, frame, headers};

use super::Fate::{Answered, Either, Stream};
use super::{Bench, CASE};

#[tokio::test]
async fn pseudo_fields_are_those_of_a_request_once_and_first() {
    let bench = Bench::start().await;
    let fields = bench.fields();
    let case = |fields: &[(&str, &str)]| headers(CASE, true, fields);
    let without = |name: &str| -> Vec<u8> {
        case(&fields.iter().filter(|field| field.0 != name).copied().collect::<Vec<_>>())
    };
    let with = |name: &str, value: &str| -> Vec<u8> {
        let put = |field: &(&str, &str)| {
            if field.0 == name {
                (name.to_owned(), value.to_owned())
            } else {
                (field.0.to_owned(), field.1.to_owned())
            }
        };
        let fields: Vec<(String, String)> = fields.iter().map(put).collect();
        let fields: Vec<(&str, &str)> =
            fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        case(&fields)
    };
    let first = |field: (&str, &str)| case(&[&[field], &fields[..]].concat());
    let last = |field: (&str, &str)| case(&[&fields[..], &[field]].concat());
    bench
        .table(&[
            ("8.3 an ordinary request", case(&fields), Answered(200)),
            ("8.3 one that nobody knows", first((":protocol-of-mine", "x")), Either),
            ("8.3 that of an answer", first((":status", "200")), Either),
            ("8.3 behind a field", last((":path", "/api/local.strict/other")), Either),
            ("8.3 :method twice", first((":method", "GET")), Either),
            ("8.3 :scheme twice", first((":scheme", "http")), Either),
            ("8.3 :path twice", first((":path", "/api/local.strict/other")), Either),
            ("8.3 :authority twice", first((":authority", "other")), Either),
            ("8.3.1 no :method", without(":method"), Either),
            ("8.3.1 no :scheme", without(":scheme"), Either),
            ("8.3.1 no :path", without(":path"), Either),
            ("8.3.1 an empty :path", with(":path", ""), Either),
            ("8.3.1 an empty :method", with(":method", ""), Either),
            ("8.3.1 a :path without its slash", with(":path", "api/local.strict/case"), Either),
            ("8.3.1 a :path with a space", with(":path", "/api/local.strict/a b"), Either),
            (
                "8.3.1 a :path that is a request",
                with(":path", "/api/local.strict/a HTTP/1.1\r\nhost: x\r\n\r\n"),
                Either,
            ),
            ("8.3.1 a :path with a tab", with(":path", "/api/local.strict/a\tb"), Either),
            ("8.3.1 a :path with a NUL", with(":path", "/api/local.strict/a\0b"), Either),
            ("8.3.1 a :method with a space", with(":method", "GET /x HTTP/1.1"), Either),
            ("8.3.1 a :method with CR LF", with(":method", "GET\r\nx: y"), Either),
            ("8.3.1 a :scheme with a line", with(":scheme", "http\r\nx: y"), Either),
            ("8.3.1 an :authority with CR LF", with(":authority", "edge\r\nx: y"), Either),
            ("8.3.1 an :authority with a user", with(":authority", "user@edge"), Answered(400)),
            ("8.3.1 an :authority with a path", with(":authority", "edge/path"), Either),
            ("8.3.1 a Host beside it that differs", last(("host", "other")), Answered(400)),
            ("8.3.1 a Host beside it that is the same", last(("host", "edge")), Answered(200)),
            ("8.5 CONNECT", case(&[(":method", "CONNECT"), (":authority", "edge:80")]), Answered(404)),
        ])
        .await;
}

#[tokio::test]
async fn fields_are_in_lower_case_without_line_ends_and_not_of_the_connection() {
    let bench = Bench::start().await;
    let fields = bench.fields();
    let with = |name: &str, value: &str| headers(CASE, true, &[&fields[..], &[(name, value)]].concat());
    bench
        .table(&[
            ("8.2.1 an ordinary one", with("x-name", "value"), Answered(200)),
            ("8.2.1 upper case", with("X-Name", "value"), Either),
            ("8.2.1 an empty name", with("", "value"), Either),
            ("8.2.1 a space in a name", with("x name", "value"), Either),
            ("8.2.1 a colon in a name", with("x:name", "value"), Either),
            ("8.2.1 CR LF in a name", with("x\r\nhost", "value"), Either),
            ("8.2.1 a line in a name", with("transfer-encoding: chunked\r\nx", "value"), Either),
            ("8.2.1 a name that is not ASCII", with("x-\u{e4}", "value"), Either),
            ("8.2.1 CR LF in a value", with("x-name", "a\r\nhost: x"), Either),
            ("8.2.1 a head's end in a value", with("x-name", "a\r\n\r\nGET /hidden HTTP/1.1\r\n"), Either),
            ("8.2.1 a bare CR in a value", with("x-name", "a\rb"), Either),
            ("8.2.1 a bare LF in a value", with("x-name", "a\nb"), Either),
            ("8.2.1 a NUL in a value", with("x-name", "a\0b"), Either),
            ("8.2.1 a space before a value", with("x-name", " value"), Answered(400)),
            ("8.2.1 a space behind a value", with("x-name", "value "), Answered(400)),
            ("8.2.1 a tab behind a value", with("x-name", "value\t"), Answered(400)),
            ("8.2.1 a value that is a space", with("x-name", " "), Answered(400)),
            ("8.2.1 a value that is empty", with("x-name", ""), Answered(200)),
            ("8.2.2 connection", with("connection", "close"), Either),
            ("8.2.2 keep-alive", with("keep-alive", "timeout=5"), Either),
            ("8.2.2 proxy-connection", with("proxy-connection", "close"), Either),
            ("8.2.2 transfer-encoding", with("transfer-encoding", "chunked"), Either),
            ("8.2.2 upgrade", with("upgrade", "h2c"), Either),
            ("8.2.2 te: trailers", with("te", "trailers"), Answered(200)),
            ("8.2.2 te with more", with("te", "trailers, deflate"), Either),
        ])
        .await;
}

#[tokio::test]
async fn a_body_is_as_long_as_it_says() {
    let bench = Bench::start().await;
    let upload = |said: &[(&str, &str)], parts: &[&str]| -> Vec<u8> {
        let last = parts.len().saturating_sub(1);
        let data = parts.iter().enumerate().flat_map(|(at, part)| {
            frame(DATA, if at == last { END_STREAM } else { 0 }, CASE, part.as_bytes())
        });
        [bench.post(CASE, said), data.collect()].concat()
    };
    let length = |value| [("content-length", value)];
    let trailed = |fields: &[(&str, &str)]| {
        [bench.post(CASE, &[]), frame(DATA, 0, CASE, b"hello"), headers(CASE, true, fields)].concat()
    };
    let none = headers(CASE, true, &[&bench.fields()[..], &length("5")].concat());
    bench
        .table(&[
            ("8.1.1 as long", upload(&length("5"), &["he", "llo"]), Answered(200)),
            ("8.1.1 shorter", upload(&length("44"), &["hello"]), Stream),
            ("8.1.1 longer", upload(&length("4"), &["hello"]), Stream),
            ("8.1.1 longer in the second part", upload(&length("4"), &["he", "llo"]), Stream),
            ("8.1.1 of nothing", upload(&length("0"), &["hello"]), Stream),
            ("8.1.1 none at all", none, Either),
            ("8.1.1 no number", upload(&length("x"), &["hello"]), Either),
            ("8.1.1 a sign", upload(&length("+5"), &["hello"]), Either),
            ("8.1.1 beyond 64 bits", upload(&length("18446744073709551621"), &["hello"]), Either),
            ("8.1 trailers", trailed(&[("x-trailer", "1")]), Answered(200)),
            (
                "8.1 a pseudo field among trailers, which go nowhere",
                trailed(&[(":method", "GET")]),
                Answered(200),
            ),
            (
                "8.1 trailers that do not end",
                [bench.post(CASE, &[]), headers(CASE, false, &[("x", "y")])].concat(),
                Either,
            ),
        ])
        .await;
}
