//! The lines of a request's head: names and values, the request line, the host.

use super::Bench;
use super::Fate::{Once, OnceAndClosed, Refused, RefusedAlone};

#[tokio::test]
async fn lines_and_names_are_read_in_one_way_or_refused() {
    let bench = Bench::start().await;
    let get = |lines: &str| bench.get("/case", lines).into_bytes();
    let raw = |from: &str, to: &str| bench.get("/case", "x-a: b\r\n").replace(from, to).into_bytes();
    let smuggled = "x-a: b\r\n\r\nGET /api/local.strict/hidden HTTP/1.1\r\nx:";
    bench
        .table(&[
            ("an ordinary one", get(""), Once("")),
            ("all lines with LF alone", raw("\r\n", "\n"), Once("")),
            ("one line with LF alone", raw("x-a: b\r\n", "x-a: b\n"), Once("")),
            ("an end of LF alone", raw("x-a: b\r\n\r\n", "x-a: b\r\n\n"), Once("")),
            ("a bare CR in a value", raw("x-a: b", "x-a: b\rx-b: c"), Refused(400)),
            ("a bare CR for a line's end", raw("x-a: b\r\n", "x-a: b\r"), Refused(400)),
            ("two CR", raw("x-a: b\r\n", "x-a: b\r\r\n"), Refused(400)),
            ("LF CR", raw("x-a: b\r\n", "x-a: b\n\r"), Refused(400)),
            ("a NUL in a value", raw("x-a: b", "x-a: b\0c"), Refused(400)),
            ("another control character in a value", raw("x-a: b", "x-a: b\x01c"), Refused(400)),
            ("DEL in a value", raw("x-a: b", "x-a: b\x7fc"), Refused(400)),
            ("a NUL in a name", raw("x-a: b", "x-\0a: b"), Refused(400)),
            ("a line that goes on with a space", raw("x-a: b\r\n", "x-a: b\r\n c\r\n"), Refused(400)),
            ("a line that goes on with a tab", raw("x-a: b\r\n", "x-a: b\r\n\tc\r\n"), Refused(400)),
            (
                "a first line that is a space",
                raw("host: edge\r\n", " host: edge\r\nhost: edge\r\n"),
                Refused(400),
            ),
            ("a space before a colon", raw("x-a: b", "x-a : b"), Refused(400)),
            ("a tab before a colon", raw("x-a: b", "x-a\t: b"), Refused(400)),
            ("a space in a name", raw("x-a: b", "x a: b"), Refused(400)),
            ("no name", raw("x-a: b", ": b"), Refused(400)),
            ("no colon", raw("x-a: b", "x-a"), Refused(400)),
            ("brackets in a name", raw("x-a: b", "x[a]: b"), Refused(400)),
            ("a name that is not ASCII", raw("x-a: b", "x-\u{e4}: b"), Refused(400)),
            ("a value that is not ASCII", raw("x-a: b", "x-a: \u{e4}"), Once("")),
            ("an empty value", raw("x-a: b", "x-a:"), Once("")),
            ("an empty line before it", [b"\r\n", &get("")[..]].concat(), Once("")),
            ("two empty lines before it", [b"\r\n\r\n", &get("")[..]].concat(), Once("")),
            ("a space before it", [b" ", &get("")[..]].concat(), Refused(400)),
            ("a line of a space before it", [b" \r\n", &get("")[..]].concat(), Refused(400)),
            ("a tab before it", [b"\t", &get("")[..]].concat(), Refused(400)),
            (
                "a request in a value",
                raw("x-a: b", &format!("x-a: {}", smuggled.replace("\r\n", " "))),
                Once(""),
            ),
        ])
        .await;
}

#[tokio::test]
async fn a_request_line_is_read_in_one_way_or_refused() {
    let bench = Bench::start().await;
    let first = |line: &str| bench.head(line, "").into_bytes();
    let path = "/api/local.strict/case";
    bench
        .table(&[
            ("an ordinary one", first(&format!("GET {path} HTTP/1.1")), Once("")),
            ("two spaces behind the method", first(&format!("GET  {path} HTTP/1.1")), Refused(400)),
            ("two spaces behind the target", first(&format!("GET {path}  HTTP/1.1")), Refused(400)),
            ("a space behind the version", first(&format!("GET {path} HTTP/1.1 ")), Refused(400)),
            ("a tab for a space", first(&format!("GET\t{path} HTTP/1.1")), Refused(400)),
            ("a space in the target", first(&format!("GET {path}/a b HTTP/1.1")), Refused(400)),
            ("a tab in the target", first(&format!("GET {path}/a\tb HTTP/1.1")), Refused(400)),
            ("a NUL in the target", first(&format!("GET {path}/a\0b HTTP/1.1")), Refused(400)),
            ("a bare CR in the target", first(&format!("GET {path}/a\rb HTTP/1.1")), Refused(400)),
            ("a bare LF in the target", first(&format!("GET {path}/a\nb HTTP/1.1")), Refused(400)),
            ("no version", first(&format!("GET {path}")), Refused(400)),
            ("HTTP/0.9", format!("GET {path}\r\n").into_bytes(), Refused(400)),
            ("HTTP/1.2", first(&format!("GET {path} HTTP/1.2")), Refused(400)),
            ("HTTP/2.0", first(&format!("GET {path} HTTP/2.0")), Refused(400)),
            ("http/1.1", first(&format!("GET {path} http/1.1")), Refused(400)),
            ("HTTP/1.10", first(&format!("GET {path} HTTP/1.10")), Refused(400)),
            ("HTTP/ 1.1", first(&format!("GET {path} HTTP/ 1.1")), Refused(400)),
            ("no method", first(&format!("{path} HTTP/1.1")), Refused(400)),
            ("a method in lower case", first(&format!("get {path} HTTP/1.1")), RefusedAlone(405)),
            ("a method with a bracket", first(&format!("GE[T {path} HTTP/1.1")), Refused(400)),
            ("a method with a NUL", first(&format!("G\0T {path} HTTP/1.1")), Refused(400)),
            ("a method of its own", first(&format!("PURGE-ALL {path} HTTP/1.1")), Once("")),
            ("CONNECT", first("CONNECT edge:80 HTTP/1.1"), RefusedAlone(404)),
            ("CONNECT with a path", first(&format!("CONNECT {path} HTTP/1.1")), RefusedAlone(405)),
            ("TRACE", first(&format!("TRACE {path} HTTP/1.1")), RefusedAlone(405)),
            ("OPTIONS of everything", first("OPTIONS * HTTP/1.1"), RefusedAlone(404)),
            ("GET of everything", first("GET * HTTP/1.1"), RefusedAlone(404)),
            ("a target without its slash", first("GET api/local.strict/case HTTP/1.1"), Refused(400)),
            ("an authority for a target", first("GET edge:80 HTTP/1.1"), RefusedAlone(404)),
            ("a whole URL", first(&format!("GET http://edge{path} HTTP/1.1")), Once("")),
            ("a fragment, which nobody is sent", first(&format!("GET {path}#part HTTP/1.1")), Once("")),
            ("a slash in another form", first("GET /api/local.strict/a%2fb HTTP/1.1"), RefusedAlone(400)),
            ("a NUL in another form", first("GET /api/local.strict/a%00b HTTP/1.1"), RefusedAlone(400)),
            ("CR LF in another form", first("GET /api/local.strict/a%0d%0aHost:%20x HTTP/1.1"), Once("")),
            (
                "a target beyond 64 KiB",
                first(&format!("GET {path}/{} HTTP/1.1", "a".repeat(66_000))),
                Refused(431),
            ),
        ])
        .await;
}

#[tokio::test]
async fn one_host_is_named_or_the_request_is_refused() {
    let bench = Bench::start().await;
    let path = "/api/local.strict/case";
    let key = bench.node.key();
    let named =
        |first: &str, hosts: &str| format!("{first}\r\n{hosts}authorization: {key}\r\n\r\n").into_bytes();
    let get = format!("GET {path} HTTP/1.1");
    bench
        .table(&[
            ("one", named(&get, "host: edge\r\n"), Once("")),
            ("none", named(&get, ""), RefusedAlone(400)),
            ("none on HTTP/1.0", named(&format!("GET {path} HTTP/1.0"), ""), OnceAndClosed("")),
            ("two alike", named(&get, "host: edge\r\nhost: edge\r\n"), RefusedAlone(400)),
            ("two that differ", named(&get, "host: edge\r\nHost: other\r\n"), RefusedAlone(400)),
            (
                "two on HTTP/1.0",
                named(&format!("GET {path} HTTP/1.0"), "host: a\r\nhost: b\r\n"),
                Refused(400),
            ),
            ("a space before the colon", named(&get, "host : edge\r\n"), Refused(400)),
            ("a user", named(&get, "host: user@edge\r\n"), RefusedAlone(400)),
            ("a path", named(&get, "host: edge/path\r\n"), RefusedAlone(400)),
            ("two in one", named(&get, "host: edge, other\r\n"), RefusedAlone(400)),
            ("nothing", named(&get, "host:\r\n"), Once("")),
            (
                "a URL for a target that names another",
                named(&format!("GET http://other{path} HTTP/1.1"), "host: edge\r\n"),
                RefusedAlone(400),
            ),
            (
                "a URL for a target that names the same",
                named(&format!("GET http://edge{path} HTTP/1.1"), "host: edge\r\n"),
                Once(""),
            ),
            (
                "a URL for a target with a user",
                named(&format!("GET http://user@edge{path} HTTP/1.1"), "host: edge\r\n"),
                RefusedAlone(400),
            ),
        ])
        .await;
}
