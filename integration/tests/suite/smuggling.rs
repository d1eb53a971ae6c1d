//! Requests that two readers could see differently: refused, or forwarded as exactly one, as an upstream counts them
//! that reads nothing generously; and no further request is taken behind an end that could lie elsewhere.

mod framing;
mod lines;

use std::collections::BTreeSet;

use rr_integration::plain::{Said, converse};
use rr_integration::standalone::{Behind, Standalone};
use rr_integration::strict::{Counted, Strict};

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq)]
enum Fate {
    /// The caller gets this status, the upstream gets nothing, and the connection ends.
    Refused(u16),
    /// The same, but the connection goes on: where the request ended was never in doubt.
    RefusedAlone(u16),
    /// The upstream counts one request with this body, and the next on the connection is another one.
    Once(&'static str),
    /// The same, and the connection ends: a next request could be meant as a part of this one.
    OnceAndClosed(&'static str),
}

use Fate::{Once, OnceAndClosed, Refused, RefusedAlone};

struct Bench {
    upstream: Strict,
    node: Standalone,
}

/// Whatever is behind a request must not be taken for one.
const HIDDEN: &str = "GET /api/local.strict/hidden HTTP/1.1\r\nhost: edge\r\nx: ";

impl Bench {
    async fn start() -> Self {
        let upstream = Strict::start().await;
        let node = Standalone::start(&[Behind::new("strict", &upstream.url())], &[]).await;
        Self { upstream, node }
    }

    /// A head whose lines are those of an ordinary request and these.
    fn head(&self, first: &str, lines: &str) -> String {
        format!("{first}\r\nhost: edge\r\nauthorization: {}\r\n{lines}\r\n", self.node.key())
    }

    fn get(&self, path: &str, lines: &str) -> String {
        self.head(&format!("GET /api/local.strict{path} HTTP/1.1"), lines)
    }

    fn post(&self, lines: &str) -> String {
        self.head("POST /api/local.strict/case HTTP/1.1", lines)
    }

    /// Sends a request, and another behind it; and says what both sides saw.
    async fn ask(&self, request: &[u8]) -> (Said, Vec<Counted>) {
        let next = self.get("/next", "connection: close\r\n");
        let said = converse(self.node.listen(), &[request, next.as_bytes()]).await;
        // What came before it on the node's one worker has been there when this is answered.
        let last = self.get("/last", "connection: close\r\n");
        assert_eq!(converse(self.node.listen(), &[last.as_bytes()]).await.statuses(), [200]);
        let mut seen = self.upstream.take();
        assert_eq!(seen.pop().expect("it was asked").asked(), "GET /last");
        let broken = self.upstream.take_broken();
        assert!(broken.is_empty(), "the upstream could read it otherwise: {broken:?}");
        (said, seen)
    }

    async fn judge(&self, name: &str, request: &[u8], fate: &Fate) -> Result<(), String> {
        let (said, seen) = self.ask(request).await;
        let found = (said.statuses(), seen.iter().map(|seen| seen.asked().to_owned()).collect::<Vec<_>>());
        let asked = seen.first().map(|seen| seen.asked().to_owned()).unwrap_or_default();
        let wanted = match fate {
            Refused(status) => (vec![*status], vec![]),
            RefusedAlone(status) => (vec![*status, 200], vec!["GET /next".to_owned()]),
            Once(_) => (vec![200, 200], vec![asked, "GET /next".to_owned()]),
            OnceAndClosed(_) => (vec![200], vec![asked]),
        };
        if found != wanted {
            return Err(format!("{name}: wanted {fate:?}, found {found:?}"));
        }
        let body = seen.first().map(|seen| String::from_utf8_lossy(&seen.body).into_owned());
        match fate {
            Once(wanted) | OnceAndClosed(wanted) if body.as_deref() != Some(*wanted) => {
                Err(format!("{name}: wanted the body {wanted:?}, found {body:?}"))
            }
            _ => Ok(()),
        }
    }

    /// Judges all cases of a table, and tells of all that failed.
    async fn table(&self, cases: &[(&str, Vec<u8>, Fate)]) {
        let names: BTreeSet<&str> = cases.iter().map(|(name, ..)| *name).collect();
        assert_eq!(names.len(), cases.len(), "each case has a name of its own");
        let mut failed = Vec::new();
        for (name, request, fate) in cases {
            failed.extend(self.judge(name, request, fate).await.err());
        }
        assert!(failed.is_empty(), "{} of {}:\n{}", failed.len(), cases.len(), failed.join("\n"));
    }
}

#[tokio::test]
async fn an_upgrade_that_nobody_serves_is_passed_over_and_not_passed_on() {
    let bench = Bench::start().await;
    let h2c =
        "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAARAAAAAAAIAAAAA\r\n";
    for (lines, body) in [
        (h2c, ""),
        ("connection: upgrade\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAARAAAAAAAIAAAAA\r\n", ""),
        ("upgrade: h2c\r\ncontent-length: 5\r\nhttp2-settings: AAMAAABkAARAAAAAAAIAAAAA\r\n", "hello"),
        ("connection: upgrade\r\nupgrade: TLS/1.0\r\n", ""),
        ("connection: upgrade\r\nupgrade: websocket, h2c\r\n", ""),
    ] {
        let request = format!("{}{body}", bench.post(lines));
        let (said, seen) = bench.ask(request.as_bytes()).await;
        assert_eq!(said.statuses(), [200, 200], "{lines}: {}", said.text());
        assert_eq!(seen.len(), 2, "{lines}: {seen:?}");
        for name in ["upgrade", "connection", "http2-settings"] {
            assert!(seen[0].all(name).is_empty(), "{lines}: {:?}", seen[0].lines);
        }
        assert_eq!(seen[0].body, body.as_bytes());
    }
}

#[tokio::test]
async fn requests_that_come_at_once_are_as_many_upstream_in_their_order() {
    let bench = Bench::start().await;
    let three: String = ["/1", "/2", "/3"].iter().map(|path| bench.get(path, "")).collect();
    let upload = format!("{}hello", bench.post("content-length: 5\r\n"));
    let (said, seen) = bench.ask(format!("{three}{upload}").as_bytes()).await;
    assert_eq!(said.statuses(), [200; 5]);
    let asked: Vec<&str> = seen.iter().map(Counted::asked).collect();
    assert_eq!(asked, ["GET /1", "GET /2", "GET /3", "POST /case", "GET /next"]);
    // Behind one that is refused without its body being read, what follows would be that body.
    let denied = upload.replace(bench.node.key(), "nobody");
    let (said, seen) = bench.ask(denied.as_bytes()).await;
    let asked: Vec<&str> = seen.iter().map(Counted::asked).collect();
    match said.statuses()[..] {
        [401] => assert!(asked.is_empty(), "{asked:?}"),
        [401, 200] => assert_eq!(asked, ["GET /next"]),
        _ => panic!("{}", said.text()),
    }
}
