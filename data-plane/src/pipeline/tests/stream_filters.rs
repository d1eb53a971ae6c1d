//! Filters on streams: each event and each line as it comes, and a stream that is cut where one cannot be read.

use rr_contract::wire::fleet::{self, Detector, FilterAction, FilterDirection};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::fixture::{Region, filter, proxy_key, redacts};

use super::edge::Edge;
use super::limits::by_body;
use super::origin::Upstream;
use super::{get, resources, with_key};

const EVENTS: &str = "content-type: text/event-stream\r\n";
const LINES: &str = "content-type: application/x-ndjson\r\n";

/// An edge that takes the secret out of what this upstream sends.
fn edge_with(upstream: &Upstream, more: impl IntoIterator<Item = fleet::Resource>) -> Edge {
    let region = Region::new();
    let mut all = resources(&region, &upstream.url(""));
    all.push(filter(1, proxy_key(1), FilterAction::Destroy, &["secret"]));
    all.extend(more);
    Edge::start(region.snapshot(&all), &["127.0.0.0/8"])
}

/// What came of an answer, and whether it came whole.
#[derive(Debug, PartialEq, Eq)]
struct Got {
    status: String,
    body: String,
    is_whole: bool,
}

impl Got {
    fn whole(body: &str) -> Self {
        Self { status: "200".to_owned(), body: body.to_owned(), is_whole: true }
    }
}

/// Has the upstream answer with this body under these headers.
async fn answer(edge: &Edge, headers: &str, body: &[u8]) -> Got {
    let headers = format!("{}{headers}transfer-encoding: chunked\r\n", with_key(1));
    let head = get("/api/acme.proxy-1/", &headers).replace("GET", "POST");
    let mut stream = edge.connect().await;
    let length = format!("{:x}\r\n", body.len());
    stream
        .write_all(&[head.as_bytes(), length.as_bytes(), body, b"\r\n0\r\n\r\n"].concat())
        .await
        .expect("the edge reads");
    let mut bytes = Vec::new();
    // One that is broken off may be reset.
    let ended = stream.read_to_end(&mut bytes).await;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, mut rest) = text.split_once("\r\n\r\n").expect("a head");
    assert!(!head.contains("content-length") && !head.contains("content-encoding"), "{head}");
    let status = head.split(' ').nth(1).expect("a status").to_owned();
    let (mut body, mut is_whole) = (String::new(), false);
    while let Some((length, more)) = rest.split_once("\r\n") {
        let length = usize::from_str_radix(length, 16).expect("a length");
        is_whole = length == 0 && ended.is_ok();
        body.push_str(&more[..length]);
        rest = &more[(length + 2).min(more.len())..];
    }
    Got { status, body, is_whole }
}

#[tokio::test]
async fn the_data_of_each_event_and_each_line_is_filtered_and_all_else_stays() {
    let upstream = Upstream::mirror().await;
    let edge = edge_with(&upstream, []);
    let events = ": hi\n\nid: 7\nevent: x\ndata: {\"secret\":1,\"a\": 2}\n\ndata: {\"a\":\ndata: 1}\r\n\r\ndata: [DONE]\n\n";
    let wanted = events.replace("\"secret\":1,", "");
    assert_eq!(answer(&edge, EVENTS, events.as_bytes()).await, Got::whole(&wanted));
    let effect = edge.record().await.filters.expect("they ran");
    assert_eq!((effect.filters, effect.values, effect.bytes_before), (1, 1, events.len() as u64));
    let lines = "{\"secret\":1,\"a\":2}\r\n\n[{\"secret\":3}]\n7\n{\"a\":1,\"secret\":[2]}";
    let wanted = "{\"a\":2}\r\n\n[{}]\n7\n{\"a\":1}";
    assert_eq!(answer(&edge, LINES, lines.as_bytes()).await, Got::whole(wanted));
    let record = edge.record().await;
    assert_eq!((record.filters.expect("they ran").values, record.aborted), (3, false));
}

#[tokio::test]
async fn a_stream_in_a_coding_is_filtered_and_goes_out_in_none() {
    let upstream = Upstream::mirror().await;
    let edge = edge_with(&upstream, []);
    let events = "data: {\"secret\":1,\"a\":2}\n\n".repeat(50_000);
    let headers = format!("{EVENTS}content-encoding: gzip\r\n");
    let got = answer(&edge, &headers, &crate::body::gzipped(events.as_bytes())).await;
    assert!(got == Got::whole(&"data: {\"a\":2}\n\n".repeat(50_000)), "{} bytes", got.body.len());
    edge.holds_at_most(0).await;
}

#[tokio::test]
async fn a_part_that_cannot_be_read_cuts_the_stream_and_nothing_of_it_or_behind_it_goes_out() {
    let upstream = Upstream::mirror().await;
    let edge = edge_with(&upstream, []);
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(300_000));
    for (bad, code) in [
        ("not JSON, secret", "response-not-json"),
        ("{\"secret\":1", "response-not-json"),
        (&*long, "response-too-large"),
    ] {
        for (headers, before, after) in [(EVENTS, "data: ", "\n\n"), (LINES, "", "\n")] {
            let part = |text: &str| format!("{before}{text}{after}");
            let stream = [part("{\"a\":1}"), part(bad), part("{\"a\":2}")].concat();
            let got = answer(&edge, headers, stream.as_bytes()).await;
            let wanted = Got { is_whole: false, ..Got::whole(&part("{\"a\":1}")) };
            assert_eq!(got, wanted, "{:.40}", bad);
            let record = edge.record().await;
            assert_eq!((&*record.code, record.aborted, record.status), (code, true, 200));
        }
    }
    // What a coding does not undo ends in the same way.
    let got = answer(&edge, &format!("{EVENTS}content-encoding: gzip\r\n"), b"data: 1\n\n").await;
    assert_eq!((got.is_whole, &*got.body, &*edge.record().await.code), (false, "", "response-not-json"));
}

#[tokio::test]
async fn meters_read_numbers_that_filters_take_away() {
    let upstream = Upstream::mirror().await;
    let taken = filter(2, proxy_key(1), FilterAction::Destroy, &["usage"]);
    let edge = edge_with(&upstream, [taken, by_body(9, 7, 1_000)]);
    let events = "data: {\"usage\":{\"total\":5}}\n\ndata: {\"usage\":{\"total\":8}}\n\n";
    assert_eq!(answer(&edge, EVENTS, events.as_bytes()).await, Got::whole("data: {}\n\ndata: {}\n\n"));
    let meter = &edge.record().await.meters[0];
    assert_eq!((meter.charged_millionths, meter.missing, meter.partial), (8_000_000, false, false));
    // Where it breaks off no less than was reserved is charged, which is 9.
    for (told, charged) in [(12, 12_000_000), (5, 9_000_000)] {
        let cut = format!("data: {{\"usage\":{{\"total\":{told}}}}}\n\ndata: no\n\n");
        assert!(!answer(&edge, EVENTS, cut.as_bytes()).await.is_whole);
        let meter = &edge.record().await.meters[0];
        assert_eq!((meter.charged_millionths, meter.missing, meter.partial), (charged, false, true));
    }
}

#[tokio::test]
async fn a_stream_that_filters_go_over_may_be_longer_than_what_is_held_whole() {
    let upstream = Upstream::mirror().await;
    let events =
        "data: {\"a\":\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"}\n\n".repeat(150_000);
    let edge = edge_with(&upstream, []);
    let got = answer(&edge, EVENTS, events.as_bytes()).await;
    assert!(got == Got::whole(&events), "{} of {} bytes", got.body.len(), events.len());
}

#[tokio::test]
async fn of_a_stream_that_is_no_success_only_what_is_redacted_goes_and_a_part_of_one_does_not_go_out() {
    let upstream = Upstream::told().await;
    let redacts = redacts(2, proxy_key(1), FilterDirection::Response, &[Detector::Email]);
    let edge = edge_with(&upstream, [redacts]);
    let events = "data: {\"secret\":1,\"to\":\"ann@example.com\"}\n\n";
    let status = |status: u16| format!("x-status: {status}\r\nx-answer-content-type: text/event-stream\r\n");
    for (said, wanted) in
        [(200, "data: {\"to\":\"***\"}\n\n"), (500, "data: {\"secret\":1,\"to\":\"***\"}\n\n")]
    {
        let got = answer(&edge, &status(said), events.as_bytes()).await;
        assert_eq!(got, Got { status: said.to_string(), ..Got::whole(wanted) });
    }
    let headers =
        format!("{}{}connection: close\r\ncontent-length: {}\r\n", with_key(1), status(206), events.len());
    let part = get("/api/acme.proxy-1/", &headers).replace("GET", "POST");
    assert_eq!(edge.send(&format!("{part}{events}")).await.status, 422);
}
