//! Traces, metrics and logs at a collector: of both programs, with the right parents, as many as there were requests, and at
//! nobody's expense.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use http::{Method, Request, Response};
use http_body_util::Full;
use rr_integration::caller::{Kept, Reply, send};
use rr_integration::collector::{Collector, Span};
use rr_integration::process::{Port, admin};
use rr_integration::sample::ORG;
use rr_integration::standalone::{Behind, Standalone};
use rr_integration::upstream::{Seen, Upstream};
use rr_integration::wait::eventually;
use serde_json::Value;

use crate::own_values::Installation;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";
const BAGGAGE: &str = "patient=4711";

/// What a caller says that traces its request, or does not.
fn said(flags: &str) -> String {
    format!("00-{TRACE}-{PARENT}-{flags}")
}

/// A request with a caller's trace, to a proxy of a standalone node.
async fn call(node: &Standalone, method: &str, proxy: &str, headers: &[(&str, &str)]) -> Reply {
    let mut request = Request::builder()
        .method(Method::from_bytes(method.as_bytes()).expect("a method"))
        .uri(format!("/api/local.{proxy}/private/path?with=query"))
        .header("host", node.listen().to_string())
        .header("authorization", format!("Bearer {}", node.key()))
        .header("baggage", BAGGAGE);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    send(node.listen(), request.body(Full::default()).expect("a request")).await.expect("an answer")
}

fn header<'s>(seen: &'s Seen, name: &str) -> Option<&'s str> {
    seen.headers.get(name).map(|value| value.to_str().expect("a text"))
}

/// How the traces of a node ended, as its admin port says.
async fn outcomes(node: &Standalone) -> [u64; 4] {
    let metrics = admin(node.admin(), "/metrics").await.expect("it answers");
    let count = |outcome: &str| {
        let wanted = format!("requestrocket_edge_traces_total{{outcome=\"{outcome}\"}} ");
        let line = metrics.text().lines().find_map(|line| line.strip_prefix(&*wanted));
        line.and_then(|count| count.parse().ok())
            .unwrap_or_else(|| panic!("no {wanted} in {}", metrics.text()))
    };
    ["sent", "failed", "queue_full", "over_rate"].map(count)
}

async fn spans(collector: &Collector, count: usize) -> Vec<Span> {
    eventually(&format!("{count} spans have come"), || async {
        let spans = collector.spans();
        (spans.len() >= count).then_some(spans)
    })
    .await
}

fn open(name: &str, upstream: &Upstream) -> Behind {
    Behind::new(name, &upstream.url())
}

fn told(name: &str, upstream: &Upstream) -> Behind {
    open(name, upstream).target("trace_context: true")
}

#[tokio::test]
async fn traces_metrics_and_logs_of_both_programs_reach_a_collector() {
    let collector = Collector::start().await;
    let secret = tempfile::tempdir().expect("a folder");
    let file = secret.path().join("headers");
    std::fs::write(&file, "X-Collector-Key: c0113ct0r-k3y\n").expect("the folder is ours");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("the file is ours");
    let otlp = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url()),
        ("RR_OTLP_HEADERS_FILE", file.display().to_string()),
        ("OTEL_METRIC_EXPORT_INTERVAL", "200".to_owned()),
    ];
    let upstream = Upstream::start_with(|seen| {
        let status = if seen.headers.contains_key("x-fail") { 503 } else { 200 };
        Response::builder().status(status).body(Full::default()).expect("an answer")
    });
    let mut it = Installation::start_traced(upstream.await, &otlp).await;
    it.done(&["target", "update", "echo", "--trace-context"], "").await;
    let key = format!("Bearer {}", it.sample.key);
    let (good, bad) = ([("authorization", key.as_str())], [("authorization", key.as_str()), ("x-fail", "1")]);
    eventually("the node serves, and tells its upstream", || async {
        let is_good = it.get(&good).await.status == 200;
        (is_good && it.upstream.seen().last()?.headers.contains_key("traceparent")).then_some(())
    })
    .await;
    for _ in 0..20 {
        assert_eq!(it.get(&good).await.status, 200);
    }
    for _ in 0..3 {
        assert_eq!(it.get(&bad).await.status, 503);
    }
    for _ in 0..4 {
        assert_eq!(it.get(&[]).await.status, 401);
    }
    let sent = 7 + it.upstream.seen().len() as u64 - 3;

    // What the metrics say is what the records say and what was sent.
    let total = |name: &str| {
        let values = collector.values("rr-edge", name);
        (values.iter().map(|(_, value)| *value).sum::<f64>() as u64, values)
    };
    let of_code = |wanted: &str| {
        let values = collector.values("rr-edge", "requestrocket_edge_requests_total");
        values.iter().find(|(labels, _)| labels["code"] == wanted).map_or(0, |(_, value)| *value as u64)
    };
    eventually("the metrics have come", || async {
        (total("requestrocket_edge_requests_total").0 == sent).then_some(())
    })
    .await;
    assert_eq!((of_code("proxy-access-denied"), of_code("proxy-access-granted")), (4, sent - 4));
    let added = eventually("all are added up", || async {
        let said = it.done(&["-o", "json", "metrics", "query", "--since", "2h", "--by", "code"], "").await;
        let answer: Value = serde_json::from_str(&said).expect("JSON");
        let all = answer["all"]["total"]["requests"].as_str()?.parse::<u64>().ok()?;
        (all == sent).then_some(answer)
    })
    .await;
    for series in added["series"].as_array().into_iter().flatten() {
        let code = series["labels"][0]["value"].as_str().expect("a code");
        let requests: u64 =
            series["total"]["requests"].as_str().expect("a number").parse().expect("a number");
        assert_eq!(of_code(code), requests, "{code}");
    }
    let records = it.sample.api.requests(ORG).await.expect("records");
    let recorded = records.iter().filter_map(|it| it.record.as_ref()).map(|it| it.count.max(1)).sum::<u64>();
    assert_eq!(recorded, sent);

    // So many requests, so many spans of them, each with the id of its record and of the node.
    let count =
        |spans: &[Span]| spans.iter().filter(|span| span.kind == 2 && span.service == "rr-edge").count();
    let spans = eventually("all traces have come", || async {
        let spans = collector.spans();
        (count(&spans) as u64 == sent).then_some(spans)
    })
    .await;
    let edge: Vec<&Span> = spans.iter().filter(|span| span.kind == 2 && span.service == "rr-edge").collect();
    let ids = |name: &str| edge.iter().map(|span| span.attributes[name].clone()).collect::<BTreeSet<_>>();
    assert_eq!(ids("requestrocket.request.id").len() as u64, sent);
    let node = it.sample.api.nodes().await.expect("nodes").pop().expect("there is one");
    assert_eq!(ids("requestrocket.node.id"), BTreeSet::from([node.id]));
    for record in records.iter().filter_map(|it| it.record.as_ref()).filter(|record| record.count <= 1) {
        let span = edge.iter().find(|span| span.attributes["requestrocket.request.id"] == record.id);
        let attributes = &span.expect("a span of each record").attributes;
        assert_eq!(
            (&attributes["requestrocket.org.id"], &attributes["requestrocket.proxy.id"]),
            (&record.org, &record.proxy)
        );
        assert_eq!(
            (&attributes["requestrocket.code"], &attributes["http.response.status_code"]),
            (&record.code, &record.status.to_string())
        );
    }
    // What was not sent yet is sent at the end.
    assert_eq!(it.edge.process.terminate().await.code(), Some(0), "{}", it.edge.process.log());
    assert_eq!(it.sample.control.process.terminate().await.code(), Some(0));
    for service in ["rr-edge", "rr-control"] {
        assert!(collector.lines(service) > 0, "no log line of {service}");
    }
    let of_control = |span: &Span| span.service == "rr-control" && span.name == "management_call";
    assert!(collector.spans().iter().any(of_control), "the control plane has its own");
    assert!(!collector.values("rr-control", "requestrocket_control_calls_total").is_empty());
    assert!(collector.headers("x-collector-key").iter().all(|key| key.as_deref() == Some("c0113ct0r-k3y")));
    for nobodys in ["s3cret", &*it.sample.key, "c0113ct0r-k3y"] {
        assert!(!collector.holds(nobodys), "{nobodys}");
    }
}

#[tokio::test]
async fn one_trace_leads_from_the_caller_to_the_upstream_where_its_target_says_so() {
    let (collector, upstream) = (Collector::start().await, Upstream::start().await);
    let behind = [told("told", &upstream), open("untold", &upstream)];
    let node = Standalone::start(&behind, &["--otlp-endpoint", &collector.url()]).await;
    let headers = [("traceparent", &*said("01")), ("tracestate", "vendor=a"), ("tracestate", "other=b")];
    assert_eq!(call(&node, "GET", "told", &headers).await.status, 200);
    let seen = upstream.seen().pop().expect("it was asked");
    let [server, client] = &spans(&collector, 2).await[..] else { panic!("more than two spans") };
    assert_eq!((server.kind, &*server.trace, &*server.parent), (2, TRACE, PARENT));
    assert_eq!((client.kind, &*client.trace, &client.parent), (3, TRACE, &server.id));
    assert_eq!(header(&seen, "traceparent"), Some(&*format!("00-{TRACE}-{}-01", client.id)));
    assert_eq!(header(&seen, "tracestate"), Some("vendor=a,other=b"));
    assert_eq!(server.state, "vendor=a,other=b");
    assert!(server.times.0 <= client.times.0 && client.times.1 <= server.times.1, "{server:?} {client:?}");
    assert_eq!((&*server.name, server.is_fault), ("GET", false));
    let of = |span: &Span, names: &[&str]| {
        names.iter().map(|name| span.attributes[*name].clone()).collect::<Vec<_>>()
    };
    let both = ["http.request.method", "url.scheme", "http.response.status_code", "network.protocol.version"];
    assert_eq!(of(server, &both), ["GET", "http", "200", "1.1"]);
    assert_eq!(of(client, &both), ["GET", "http", "200", "1.1"]);
    let port = upstream.url().rsplit_once(':').expect("a port").1.to_owned();
    assert_eq!(of(client, &["server.address", "server.port"]), ["127.0.0.1", &port]);

    // The other target's upstream hears nothing of it.
    assert_eq!(call(&node, "GET", "untold", &headers).await.status, 200);
    assert_eq!(spans(&collector, 4).await.len(), 4, "it is traced all the same");
    let seen = upstream.seen().pop().expect("it was asked");
    assert_eq!((header(&seen, "traceparent"), header(&seen, "tracestate")), (None, None));

    // Without a caller's trace there is a new one, of which the request is the root.
    assert_eq!(call(&node, "PROPFIND", "told", &[]).await.status, 200);
    let all = spans(&collector, 6).await;
    let (server, client) = (&all[4], &all[5]);
    assert!(server.parent.is_empty() && server.trace != TRACE, "{server:?}");
    assert_eq!((&client.trace, &client.parent), (&server.trace, &server.id));
    let seen = upstream.seen().pop().expect("it was asked");
    assert_eq!(header(&seen, "traceparent"), Some(&*format!("00-{}-{}-01", client.trace, client.id)));
    assert_eq!((&*server.name, &*server.attributes["http.request.method"]), ("HTTP", "_OTHER"));
    assert_eq!(server.attributes["http.request.method_original"], "PROPFIND");

    assert!(upstream.seen().iter().all(|seen| header(seen, "baggage").is_none()));
    for nobodys in ["private", "query", BAGGAGE, node.key()] {
        assert!(!collector.holds(nobodys), "{nobodys} at the collector");
    }
}

#[tokio::test]
async fn spans_say_the_path_of_the_record_only_if_the_installation_asks_for_it() {
    let (collector, upstream) = (Collector::start().await, Upstream::start().await);
    let flags = ["--otlp-endpoint", &collector.url(), "--trace-paths"];
    let node = Standalone::start(&[open("echo", &upstream)], &flags).await;
    assert_eq!(call(&node, "GET", "echo", &[]).await.status, 200);
    let [server, client] = &spans(&collector, 2).await[..] else { panic!("more than two spans") };
    let record = node.records(1).await.remove(0);
    assert_eq!(Some(&*server.attributes["url.path"]), record["path"].as_str());
    assert!(!client.attributes.contains_key("url.path"));
    assert!(!collector.holds("query"));
}

#[tokio::test]
async fn a_request_that_is_not_traced_here_carries_its_callers_trace_on_unchanged() {
    let (collector, upstream) = (Collector::start().await, Upstream::start().await);
    let url = collector.url();
    for flags in [&[][..], &["--otlp-endpoint", &url, "--traces-per-second", "0"], &["--otlp-endpoint", &url]]
    {
        let node = Standalone::start(&[told("told", &upstream), open("untold", &upstream)], flags).await;
        // The last of these nodes would trace it if its caller did.
        let said = said(if flags.len() == 2 { "00" } else { "01" });
        assert_eq!(
            call(&node, "GET", "told", &[("traceparent", &said), ("tracestate", "a=1")]).await.status,
            200
        );
        let seen = upstream.seen().pop().expect("it was asked");
        assert_eq!((header(&seen, "traceparent"), header(&seen, "tracestate")), (Some(&*said), Some("a=1")));
        assert_eq!(call(&node, "GET", "untold", &[("traceparent", &said)]).await.status, 200);
        let seen = upstream.seen().pop().expect("it was asked");
        assert_eq!((header(&seen, "traceparent"), header(&seen, "baggage")), (None, None));
        assert_eq!(
            call(&node, "GET", "told", &[("traceparent", "00-no-trace-01"), ("tracestate", "a=1")])
                .await
                .status,
            200
        );
        let seen = upstream.seen().pop().expect("it was asked");
        // It would be traced by the last one.
        let is_traced = flags.len() == 2;
        assert_eq!(header(&seen, "traceparent").is_some(), is_traced);
        assert_eq!(header(&seen, "tracestate"), None, "it says nothing without the other");
    }
}

#[tokio::test]
async fn each_attempt_is_a_span_of_its_own_which_its_upstream_is_told() {
    let collector = Collector::start().await;
    let upstream = Upstream::start_with(|seen| {
        let status = if seen.uri.path().ends_with("path") { 503 } else { 200 };
        Response::builder().status(status).body(Full::default()).expect("an answer")
    })
    .await;
    let behind = [told("told", &upstream).proxy("retry: {attempts: 1, statuses: [503]}")];
    let node = Standalone::start(&behind, &["--otlp-endpoint", &collector.url()]).await;
    assert_eq!(call(&node, "GET", "told", &[]).await.status, 503);
    let all = spans(&collector, 3).await;
    let (server, clients) = all.split_first().expect("a span");
    let told: Vec<_> =
        upstream.seen().iter().map(|seen| header(seen, "traceparent").map(str::to_owned)).collect();
    let wanted = clients.iter().map(|span| Some(format!("00-{}-{}-01", server.trace, span.id)));
    assert_eq!(told, wanted.collect::<Vec<_>>());
    assert_ne!(clients[0].id, clients[1].id);
    assert!(clients.iter().all(|span| span.parent == server.id && span.attributes["error.type"] == "503"));
    let resent =
        clients.iter().map(|span| span.attributes.get("http.request.resend_count").map(String::as_str));
    assert_eq!(resent.collect::<Vec<_>>(), [None, Some("1")]);
    assert!(server.is_fault && clients[1].is_fault);
    // Nobody listens.
    drop(upstream);
    assert_eq!(call(&node, "GET", "told", &[]).await.status, 502);
    let all = spans(&collector, 6).await;
    assert_eq!(all[3].attributes["error.type"], "upstream-unreachable");
    assert_eq!(all[4].attributes["error.type"], "upstream-unreachable");
}

#[tokio::test]
async fn a_caller_gets_no_more_of_its_requests_traced_than_half_of_what_a_second_takes() {
    let (collector, upstream) = (Collector::start().await, Upstream::start().await);
    let flags = ["--otlp-endpoint", &collector.url(), "--traces-per-second", "4"];
    let node = Standalone::start(&[open("echo", &upstream)], &flags).await;
    let begun = Instant::now();
    for _ in 0..40 {
        assert_eq!(call(&node, "GET", "echo", &[("traceparent", &said("01"))]).await.status, 200);
    }
    let seconds = begun.elapsed().as_secs() + 2;
    let [_, _, full, over] = outcomes(&node).await;
    assert_eq!(full, 0);
    assert!(over + 2 * seconds >= 40, "{over} of 40 in {seconds} s");
    assert!(over < 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_hangs_or_is_away_holds_up_no_request_and_what_is_lost_is_counted() {
    const REQUESTS: usize = 1_600;
    let (collector, upstream) = (Collector::start().await, Upstream::start_forgetful().await);
    let nobody = Port::reserve();
    collector.lets_wait(true);
    for url in [collector.url(), format!("http://{}", nobody.address())] {
        let flags = ["--otlp-endpoint", &url, "--traces-per-second", "1000000"];
        let node = Standalone::start(&[open("echo", &upstream)], &flags).await;
        let mut kept = Kept::connect(node.listen()).await.expect("it listens");
        let key = format!("Bearer {}", node.key());
        let mut longest = Duration::ZERO;
        for _ in 0..REQUESTS {
            let begun = Instant::now();
            assert_eq!(kept.get("/api/local.echo/x", &key).await.expect("an answer").status, 200);
            longest = longest.max(begun.elapsed());
        }
        // An export may take ten seconds.
        assert!(longest < Duration::from_secs(3), "{longest:?}");
        collector.lets_wait(false);
        let ends = eventually("each has an end", || async {
            let ends = outcomes(&node).await;
            (ends.iter().sum::<u64>() as usize == REQUESTS).then_some(ends)
        })
        .await;
        let [sent, failed, full, over] = ends;
        assert_eq!(over, 0);
        if url == collector.url() {
            assert!(full > 0 && sent > 0, "{ends:?}");
            let came = collector.spans().iter().filter(|span| span.kind == 2).count() as u64;
            assert!((sent..=sent + failed).contains(&came), "{came} came, {ends:?}");
            // However many waited.
            assert!(collector.most_at_once() <= 512, "{} spans in one call", collector.most_at_once());
        } else {
            assert!(failed > 0 && sent == 0, "{ends:?}");
        }
    }
}

#[tokio::test]
async fn a_node_that_is_stopped_does_not_wait_for_a_collector_that_hangs() {
    let (collector, upstream) = (Collector::start().await, Upstream::start().await);
    collector.lets_wait(true);
    let mut node =
        Standalone::start(&[open("echo", &upstream)], &["--otlp-endpoint", &collector.url()]).await;
    let begun = Instant::now();
    // Some are on their way, and some behind them.
    while begun.elapsed() < Duration::from_secs(1) {
        assert_eq!(call(&node, "GET", "echo", &[]).await.status, 200);
    }
    let begun = Instant::now();
    assert_eq!(node.process.terminate().await.code(), Some(0), "{}", node.process.log());
    // Two seconds for traces, and five for what else is told of the node; one export may take ten.
    assert!(begun.elapsed() < Duration::from_secs(9), "{:?}", begun.elapsed());
}
