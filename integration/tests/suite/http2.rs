//! HTTP/2 from callers that break its rules, section by section as h2spec asks it, and what a flood of frames costs.
//!
//! Each case is sent on a connection of its own, and behind it an ordinary request, which tells whether the connection
//! outlived it. Of an error only its reach is asked for, the stream or the connection: the names of errors are for
//! people.

mod floods;
mod frame_rules;
mod messages;
mod states;

use std::collections::BTreeSet;
use std::time::Duration;

use rr_integration::frames::{self, END_STREAM, Frame, GOAWAY, HEADERS, PREFACE, RST_STREAM};
use rr_integration::standalone::{Behind, Standalone};
use rr_integration::strict::Strict;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Long for whatever has to happen; a test that waits for it has failed.
const FAILED: Duration = Duration::from_secs(20);
/// The stream of the case itself.
const CASE: u32 = 1;
/// The stream of the ordinary request behind it.
const NEXT: u32 = 1001;

/// What becomes of a case.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    /// The connection ends with an error, and nothing goes upstream.
    Connection,
    /// The stream ends with an error, and the connection goes on.
    Stream,
    /// One or the other: the rules allow both.
    Either,
    /// It is answered with this status.
    Answered(u16),
    /// Nothing follows from it.
    Ignored,
}

use Fate::{Answered, Connection, Either, Ignored, Stream};

/// How a connection went.
#[derive(Debug, Default)]
struct Outcome {
    /// The error of GOAWAY, or none where it just closed.
    ended: Option<Option<u32>>,
    reset: Option<u32>,
    status: Option<u16>,
    next: Option<u16>,
}

impl Outcome {
    fn is(&self, fate: Fate) -> bool {
        let goes_on = self.ended.is_none() && self.next == Some(200);
        let broken = self.ended.is_some() && self.next.is_none();
        match fate {
            Connection => broken,
            Stream => goes_on && self.reset.is_some(),
            Either => broken || goes_on && self.reset.is_some(),
            Answered(status) => goes_on && self.status == Some(status),
            Ignored => goes_on && self.reset.is_none() && self.status.is_none(),
        }
    }
}

struct Bench {
    upstream: Strict,
    node: Standalone,
}

impl Bench {
    async fn start() -> Self {
        let upstream = Strict::start().await;
        let node = Standalone::start(&[Behind::new("strict", &upstream.url())], &[]).await;
        Self { upstream, node }
    }

    /// The fields of an ordinary request.
    fn fields(&self) -> Vec<(&str, &str)> {
        self.fields_of("GET", "/api/local.strict/case")
    }

    fn fields_of<'a>(&'a self, method: &'a str, path: &'a str) -> Vec<(&'a str, &'a str)> {
        vec![
            (":method", method),
            (":scheme", "http"),
            (":path", path),
            (":authority", "edge"),
            ("authorization", self.node.key()),
        ]
    }

    /// An ordinary request without a body.
    fn get(&self, stream: u32) -> Vec<u8> {
        frames::headers(stream, true, &self.fields())
    }

    /// The beginning of an ordinary request with a body.
    fn post(&self, stream: u32, more: &[(&str, &str)]) -> Vec<u8> {
        let fields = [&self.fields_of("POST", "/api/local.strict/case")[..], more].concat();
        frames::headers(stream, false, &fields)
    }

    async fn connect(&self) -> TcpStream {
        let mut stream = self.node.connect().await;
        let opening = [&PREFACE[..], &frames::settings(&[])].concat();
        stream.write_all(&opening).await.expect("the node reads");
        stream
    }

    /// Sends a case and an ordinary request behind it.
    async fn run(&self, case: &[u8]) -> Outcome {
        let mut stream = self.connect().await;
        let next = frames::headers(NEXT, true, &self.fields_of("GET", "/api/local.strict/next"));
        // It may be closed in the middle of it, which is an outcome, too.
        if stream.write_all(case).await.is_ok() {
            drop(stream.write_all(&next).await);
        }
        let mut outcome = Outcome::default();
        let read = async {
            loop {
                let Some(frame) = frames::next_frame(&mut stream).await else {
                    outcome.ended.get_or_insert(None);
                    return;
                };
                match &frame {
                    Frame { kind: GOAWAY, .. } => outcome.ended = Some(frame.error()),
                    Frame { kind: RST_STREAM, stream: NEXT, .. } => return,
                    Frame { kind: RST_STREAM, .. } => outcome.reset = frame.error(),
                    Frame { kind: HEADERS, stream: NEXT, .. } => outcome.next = next_status(&frame, &outcome),
                    Frame { kind: HEADERS, .. } => outcome.status = frame.status(),
                    _ => {}
                }
                if frame.stream == NEXT && frame.flags & END_STREAM != 0 {
                    return;
                }
            }
        };
        timeout(FAILED, read).await.unwrap_or_else(|_| panic!("neither answered nor closed: {case:?}"));
        outcome
    }

    /// Runs all cases of a table, and tells of all that failed.
    async fn table(&self, cases: &[(&str, Vec<u8>, Fate)]) {
        let names: BTreeSet<&str> = cases.iter().map(|(name, ..)| *name).collect();
        assert_eq!(names.len(), cases.len(), "each case has a name of its own");
        let mut failed = Vec::new();
        for (name, case, fate) in cases {
            let outcome = self.run(case).await;
            let broken = self.upstream.take_broken();
            let asked: Vec<String> =
                self.upstream.take().iter().map(|counted| counted.asked().to_owned()).collect();
            let cases = asked.iter().filter(|asked| !asked.ends_with("/next")).count();
            // What was answered was one request upstream; what was refused may have been one that broke off.
            let is_counted = match fate {
                Answered(200) => cases == 1,
                Answered(_) | Ignored | Stream => cases == 0,
                Connection | Either => cases <= 1,
            };
            if !outcome.is(*fate) || !is_counted || !broken.is_empty() {
                failed.push(format!("{name}: wanted {fate:?}, found {outcome:?}, {asked:?}, {broken:?}"));
            }
        }
        assert!(failed.is_empty(), "{} of {}:\n{}", failed.len(), cases.len(), failed.join("\n"));
    }
}

/// The status of a second answer may stand in the table that the first one filled.
fn next_status(frame: &Frame, outcome: &Outcome) -> Option<u16> {
    frame.status().or_else(|| outcome.status.map(|_| 200))
}
