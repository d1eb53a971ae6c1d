//! Meters that read a number of each response, where a caller would rather that there were none.

use std::time::Duration;

use prost::Message as _;
use rr_contract::wire::fleet;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::fixture::{self, ORG, Region, filter, meter, meter_message, proxy_key};
use crate::upstream::CALLER_IDLE;

use super::edge::Edge;
use super::limits::{PATH, by_body};
use super::origin::Upstream;
use super::{get, resources, with_key};

/// No test waits for longer than this.
const SOON: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_caller_that_leaves_with_the_whole_document_does_not_leave_its_number() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let region = Region::new();
    let mut all = resources(&region, &format!("http://{}", listener.local_addr().expect("it is bound")));
    all.push(by_body(10, 7, 1_000));
    let edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
    let mut caller = edge.connect().await;
    caller.write_all(get(PATH, &with_key(1)).as_bytes()).await.expect("the edge reads");
    let (mut upstream, _) = listener.accept().await.expect("the edge connects");
    assert_ne!(upstream.read(&mut [0; 4096]).await.expect("the edge sends"), 0);
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    let document = r#"{"usage":{"total":500}}"#;
    let text = format!("{head}{:x}\r\n{document}\r\n", document.len());
    upstream.write_all(text.as_bytes()).await.expect("the edge reads");
    let mut got = Vec::new();
    while !got.ends_with(b"}}\r\n") {
        assert_ne!(caller.read_buf(&mut got).await.expect("the edge answers"), 0);
    }
    drop(caller);
    let record = edge.record().await;
    assert_eq!((record.aborted, record.meters[0].charged_millionths), (true, 500_000_000));
}

#[tokio::test]
async fn a_caller_that_leaves_before_the_answer_is_charged_what_a_missing_number_costs_and_no_less_than_is_reserved()
 {
    for (reserve, on_missing, charged) in [(1, 7, 7_000_000), (9, 7, 9_000_000)] {
        assert_eq!(charged_to_one_that_leaves(reserve, on_missing).await, (charged, true));
    }
}

/// What a meter charges a caller that leaves before the answer, and whether the number is missing.
async fn charged_to_one_that_leaves(reserve: u64, on_missing: u64) -> (u64, bool) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let region = Region::new();
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let mut all = resources(&region, &url);
    all.push(by_body(reserve, on_missing, 20));
    let edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
    let mut caller = edge.connect().await;
    caller.write_all(get(PATH, &with_key(1)).as_bytes()).await.expect("the edge reads");
    let (mut upstream, _) = listener.accept().await.expect("the edge connects");
    let mut head = [0; 4096];
    assert_ne!(upstream.read(&mut head).await.expect("the edge sends"), 0);
    drop(caller);
    let record = edge.record().await;
    (record.meters[0].charged_millionths, record.meters[0].missing)
}

#[tokio::test]
async fn a_caller_that_breaks_off_its_request_is_charged_like_one_that_leaves() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let region = Region::new();
    let mut all = resources(&region, &format!("http://{}", listener.local_addr().expect("it is bound")));
    let bounded = fleet::ProxyResource { max_request_bytes: 40, ..fixture::proxy_message(1, &[1], 1, 2) };
    all.push(fixture::resource(proxy_key(1), bounded.encode_to_vec()));
    all.push(by_body(9, 7, 1_000));
    let edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
    let headers = format!("{}transfer-encoding: chunked\r\n", with_key(1));
    let head = get(PATH, &headers).replace("GET", "POST");
    let part = "a whole line that is imported";
    let begun = format!("{head}{:x}\r\n{part}\r\n", part.len());
    for (rest, code) in
        [("nonsense\r\n", "malformed-request"), ("ff\r\n", "request-too-large"), ("", "request-timeout")]
    {
        let mut caller = edge.connect().await;
        caller.write_all(begun.as_bytes()).await.expect("the edge reads");
        let accepted = timeout(SOON, listener.accept()).await.expect("in time");
        let mut upstream = accepted.expect("it listens").0;
        let mut seen = Vec::new();
        while !seen.windows(part.len()).any(|window| window == part.as_bytes()) {
            assert_ne!(upstream.read_buf(&mut seen).await.expect("the edge sends"), 0);
        }
        // The upstream has had what it works on.
        let rest = if rest == "ff\r\n" { format!("{rest}{}\r\n", "x".repeat(255)) } else { rest.to_owned() };
        caller.write_all(rest.as_bytes()).await.expect("the edge reads");
        if rest.is_empty() {
            edge.skips(CALLER_IDLE).await;
        }
        let record = edge.record().await;
        let charged = (record.meters[0].charged_millionths, record.meters[0].missing);
        assert_eq!((&*record.code, charged), (code, (9_000_000, true)));
    }
}

#[tokio::test]
async fn where_a_number_is_read_from_bodies_no_caller_asks_for_a_part_or_a_coding_that_hides_it() {
    let upstream = Upstream::echo().await;
    let region = Region::new();
    let asked = [("range", "bytes=1-4"), ("if-range", "\"a\""), ("accept-encoding", "compress, gzip;q=0.1")];
    let lines: String = asked.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let request = get(PATH, &format!("{}{lines}", with_key(1)));
    for (is_metered, wanted) in
        [(false, asked.map(|(_, value)| Some(value))), (true, [None, None, Some("gzip")])]
    {
        let mut all = resources(&region, &upstream.url(""));
        all.extend(is_metered.then(|| by_body(9, 1, 1_000)));
        let edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
        assert_eq!(edge.send(&request).await.status, 200);
        assert_eq!(
            asked.map(|(name, _)| upstream.last().header(name).map(str::to_owned)),
            wanted.map(|value| value.map(str::to_owned))
        );
    }
}

/// A document with so many numbers, as a body that the upstream sends back.
fn batch(numbers: usize) -> String {
    sent_back(&format!("{{{}}}", vec![r#""usage":{"total":1}"#; numbers].join(",")))
}

fn sent_back(body: &str) -> String {
    let headers =
        format!("{}content-type: application/json\r\ncontent-length: {}\r\n", with_key(1), body.len());
    format!("{}{body}", get(PATH, &headers).replace("GET", "POST"))
}

/// An edge with so many meters, each of which reads the numbers at this path.
fn edge_with(upstream: &Upstream, meters: u8, path: &str, more: Option<fleet::Resource>) -> Edge {
    let region = Region::new();
    let mut all = resources(&region, &upstream.url(""));
    all.extend((1..=meters).map(|n| {
        let location = Some(fleet::meter_value::Location::BodyPath(path.to_owned()));
        let value = fleet::MeterValue { location, reserve: 9, on_missing: Some(7), ..Default::default() };
        let counts = Some(fleet::meter_resource::Counts::Value(value));
        meter(n, &fleet::MeterResource { counts, ..meter_message(n, 1) })
    }));
    all.extend(more);
    Edge::start(region.snapshot(&all), &["127.0.0.0/8"])
}

/// What the meters of the next record have charged, in millions, where there was a number.
async fn charged(edge: &Edge) -> Vec<Option<u64>> {
    let record = edge.record().await;
    let number = |meter: &fleet::MeterState| meter.charged_millionths / 1_000_000;
    record.meters.iter().map(|meter| (!meter.missing).then(|| number(meter))).collect()
}

#[tokio::test]
async fn what_is_read_at_once_and_what_is_read_at_all_is_bounded_for_all_meters_together() {
    let upstream = Upstream::mirror().await;
    for (meters, found) in [(3, vec![Some(450); 3]), (4, vec![None; 4])] {
        let edge = edge_with(&upstream, meters, "usage.total", None);
        // Nothing is read behind a response here.
        edge.stops().await;
        assert_eq!(edge.send(&batch(450)).await.status, 200);
        assert_eq!(charged(&edge).await, found);
    }
    // Of so many numbers seven meters can find all. A filter has them read before it goes over the document.
    let many = format!("{{\"a\":[{}1]}}", "1,".repeat(499_999));
    let filters = filter(1, proxy_key(1), fleet::FilterAction::Destroy, &["secret"]);
    for more in [None, Some(filters)] {
        let edge = edge_with(&upstream, 8, "a[*]", more);
        assert_eq!(edge.send(&sent_back(&many)).await.status, 200);
        let mut found = vec![Some(500_000); 7];
        found.push(None);
        assert_eq!(charged(&edge).await, found);
    }
}

#[tokio::test]
async fn a_worker_that_ends_begins_to_read_no_long_document() {
    let upstream = Upstream::mirror().await;
    let edge = edge_with(&upstream, 1, "usage.total", None);
    edge.stops().await;
    for (documents, found) in [(5_000, None), (10, Some(10))] {
        assert_eq!(edge.send(&batch(documents)).await.status, 200);
        assert_eq!(charged(&edge).await, [found]);
    }
}

#[tokio::test]
async fn a_compressed_document_is_decoded_however_short_it_is() {
    let upstream = Upstream::mirror().await;
    let edge = edge_with(&upstream, 1, "usage.total", None);
    let coded = crate::body::gzipped(br#"{"usage":{"total":5}}"#);
    let headers = format!(
        "{}content-type: application/json\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n",
        with_key(1),
        coded.len()
    );
    let mut caller = edge.connect().await;
    let head = get(PATH, &headers).replace("GET", "POST");
    caller.write_all(&[head.as_bytes(), &coded].concat()).await.expect("the edge reads");
    assert_eq!(charged(&edge).await, [Some(5)]);
}

#[tokio::test]
async fn a_long_document_is_read_behind_its_response_while_others_pass() {
    const DOCUMENTS: usize = 100_000;
    let upstream = Upstream::mirror().await;
    let region = Region::new();
    let mut all = resources(&region, &upstream.url(""));
    all.push(by_body(9, 7, 1_000_000));
    let edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
    assert_eq!(edge.send(&batch(DOCUMENTS)).await.status, 200);
    let held = edge.held().await;
    assert!(held > 20 * DOCUMENTS, "it is held while it is read: {held}");
    assert_eq!(edge.send(&get(PATH, "")).await.status, 401);
    assert_eq!(edge.record().await.status, 401, "it passed while the document was read");
    let record = edge.record().await;
    edge.holds_at_most(0).await;
    let charged = (record.meters[0].charged_millionths, record.meters[0].missing);
    assert_eq!((record.status, record.aborted, charged), (200, false, (DOCUMENTS as u64 * 1_000_000, false)));
    // Where there is no room for a copy, what was set aside is charged, and short ones are read as ever.
    edge.leaves_room(ORG, 1_000).await;
    for (documents, charged) in [(DOCUMENTS, (9_000_000, true)), (10, (10_000_000, false))] {
        assert_eq!(edge.send(&batch(documents)).await.status, 200);
        let record = edge.record().await;
        assert_eq!((record.meters[0].charged_millionths, record.meters[0].missing), charged);
    }
}
