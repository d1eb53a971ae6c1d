//! What Prometheus reads: the texts of both planes and of an organization, the page that names their metrics, and the files
//! for Grafana and for alerts that use them.
//!
//! Texts are read by a parser of our own, stricter than Prometheus', and by `promtool` where it is installed or
//! `RR_PROMTOOL` names it; `.ci/prometheus` sees to that.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use http::Request;
use rr_integration::caller::{Reply, send};
use rr_integration::process::admin;
use rr_integration::sample::ORG;
use rr_integration::wait::eventually;
use serde_json::Value;

use crate::own_values::Installation;

const PAGE: &str = include_str!("../../../docs/operations.md");
const DASHBOARD: &str = include_str!("../../../docs/grafana-dashboard.json");
const ALERTS: &str = include_str!("../../../docs/alerts.yml");
/// Where metrics are named.
const CODE: [&str; 3] = [
    include_str!("../../../control-plane/src/events.rs"),
    include_str!("../../../data-plane/src/events.rs"),
    include_str!("../../../control-plane/src/service/exposition.rs"),
];
const PREFIXES: [&str; 3] = ["requestrocket_control_", "requestrocket_edge_", "requestrocket_proxy_"];

/// Runs `promtool`, if there is one, and has it accept what it is given without a word of complaint.
fn promtool(args: &[&str], text: &str) {
    let named = std::env::var_os("RR_PROMTOOL").filter(|path| !path.is_empty());
    let mut command = Command::new(named.clone().unwrap_or_else(|| "promtool".into()));
    let started =
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = match started {
        Ok(child) => child,
        Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => return,
        Err(error) => panic!("start {command:?}: {error}"),
    };
    // It may end without reading.
    child.stdin.take().expect("a pipe").write_all(text.as_bytes()).ok();
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "promtool {args:?}: {said}\n{text}");
}

/// The families of a text by name, each with its type. Panics at what is not as the format has it.
fn families(text: &str) -> BTreeMap<String, String> {
    assert!(text.ends_with('\n'), "the last line has an end");
    let (mut families, mut seen) = (BTreeMap::new(), BTreeSet::new());
    let (mut help, mut name, mut kind) = ("", "", "");
    let mut bucket = (String::new(), f64::NEG_INFINITY, 0.0);
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ').filter(|(_, text)| !text.trim().is_empty()).expect(line).0;
            continue;
        }
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            (name, kind) = rest.split_once(' ').expect(line);
            assert!(name == help && ["counter", "gauge", "histogram"].contains(&kind), "{line}");
            let first = families.insert(name.to_owned(), kind.to_owned()).is_none();
            assert!(first, "{name} stands together");
            continue;
        }
        let (series, labels, value) = sample(line);
        let parts: &[&str] = if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
        assert!(parts.iter().any(|part| series == format!("{name}{part}")), "{line} is none of {name}");
        assert!(kind == "gauge" || value >= 0.0, "{line}");
        assert!(seen.insert((series.clone(), labels.clone())), "{line} stands once");
        let le = labels.iter().find(|(label, _)| label == "le").map(|(_, le)| match le.as_str() {
            "+Inf" => f64::INFINITY,
            le => le.parse::<f64>().ok().filter(|bound| bound.is_finite()).expect(line),
        });
        assert_eq!(le.is_some(), series.ends_with("_bucket"), "{line}");
        if let Some(le) = le {
            let of = format!("{:?}", labels.iter().filter(|(label, _)| label != "le").collect::<Vec<_>>());
            let rises = bucket.0 != of || (le > bucket.1 && value >= bucket.2);
            assert!(rises && (bucket.0 == of || bucket.1 == f64::INFINITY || bucket.0.is_empty()), "{line}");
            bucket = (of, le, value);
        } else if series.ends_with("_count") && kind == "histogram" {
            assert!(bucket.1 == f64::INFINITY && bucket.2.total_cmp(&value).is_eq(), "{line}");
            bucket = (String::new(), f64::NEG_INFINITY, 0.0);
        }
    }
    families
}

/// Name, labels and value of a line.
fn sample(line: &str) -> (String, Vec<(String, String)>, f64) {
    let is_name = |text: &str| {
        let mut all = text.chars();
        all.next().is_some_and(|first| first.is_ascii_lowercase())
            && all.all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || it == '_')
    };
    let end = line.find(['{', ' ']).expect(line);
    let (name, mut rest) = line.split_at(end);
    assert!(is_name(name), "{line}");
    let mut labels = Vec::new();
    if let Some(more) = rest.strip_prefix('{') {
        rest = more;
        loop {
            let (label, more) = rest.split_once("=\"").expect(line);
            assert!(is_name(label), "{line}");
            let (mut value, mut chars) = (String::new(), more.char_indices());
            let end = loop {
                match chars.next().expect(line) {
                    (end, '"') => break end,
                    (_, '\\') => match chars.next().expect(line).1 {
                        'n' => value.push('\n'),
                        it @ ('\\' | '"') => value.push(it),
                        _ => panic!("{line}"),
                    },
                    (_, it) => value.push(it),
                }
            };
            labels.push((label.to_owned(), value));
            rest = &more[end + 1..];
            match rest.strip_prefix(',') {
                Some(more) => rest = more,
                None => break,
            }
        }
        rest = rest.strip_prefix('}').expect(line);
    }
    let value = rest.strip_prefix(' ').expect(line);
    (name.to_owned(), labels, value.parse().unwrap_or_else(|_| panic!("{line}")))
}

/// Words of a text that are names of our metrics.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|it: char| !(it.is_ascii_alphanumeric() || it == '_'));
    words.filter(|word| PREFIXES.iter().any(|prefix| word.starts_with(prefix))).map(str::to_owned).collect()
}

/// The metrics in the tables of the page.
fn documented() -> BTreeSet<String> {
    let rows = PAGE.lines().filter(|line| line.starts_with("| `requestrocket_"));
    rows.flat_map(|row| names(row.split(" | ").next().unwrap_or_default())).collect()
}

/// Parts of histograms have the name of the whole.
fn whole(name: &str, all: &BTreeSet<String>) -> String {
    let parts = ["_bucket", "_sum", "_count"].iter().filter_map(|part| name.strip_suffix(part));
    parts.into_iter().find(|name| all.contains(*name)).unwrap_or(name).to_owned()
}

async fn metrics(address: SocketAddr, org: &str, token: &str) -> Reply {
    let request = Request::get(format!("/metrics/orgs/{org}")).header("host", "control");
    let request = request.header("authorization", format!("Bearer {token}"));
    send(address, request.body(http_body_util::Full::default()).expect("a request")).await.expect("answered")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_texts_of_both_planes_and_of_an_organization_are_as_the_page_and_prometheus_have_them() {
    let it = Installation::start().await;
    let key = format!("Bearer {}", it.sample.key);
    it.answers(&[("authorization", &key)], 200).await;
    for _ in 0..5 {
        assert_eq!(it.get(&[("authorization", &key)]).await.status, 200);
    }
    assert_eq!(it.get(&[]).await.status, 401);
    let (management, token) = (it.sample.control.management, it.sample.api.token());
    let of_org = eventually("the requests are counted", || async {
        let reply = metrics(management, ORG, token).await;
        assert_eq!((reply.status.as_u16(), reply.header("content-type")), (200, "text/plain; version=0.0.4"));
        let line = "requestrocket_proxy_requests_total{proxy=\"echo\",region=\"eu\",status_class=\"2xx\"} ";
        let found = reply.text().lines().find_map(|it| it.strip_prefix(line)?.parse::<u64>().ok());
        (found >= Some(6)).then(|| reply.text().to_owned())
    })
    .await;
    let mut texts = vec![of_org];
    for address in [it.sample.control.admin, it.edge.admin] {
        texts.push(admin(address, "/metrics").await.expect("it answers").text().to_owned());
    }
    let documented = documented();
    for text in &texts {
        let all = families(text);
        promtool(&["check", "metrics"], text);
        let unknown: Vec<_> =
            all.keys().filter(|name| *name != "target_info" && !documented.contains(*name)).collect();
        assert!(unknown.is_empty(), "not in docs/operations.md: {unknown:?}");
    }
    let edge = families(&texts[2]);
    assert_eq!(edge["requestrocket_edge_request_seconds"], "histogram");
    let standing = families(&texts[1]);
    for gauge in ["revision", "nodes_behind", "database_silent_seconds"] {
        assert_eq!(standing[&format!("requestrocket_control_{gauge}")], "gauge");
    }
    eventually("the node runs what is published", || async {
        let text = admin(it.sample.control.admin, "/metrics").await.ok()?.text().to_owned();
        (text.contains("\nrequestrocket_control_nodes_behind 0\n")
            && text.contains("\nrequestrocket_control_nodes 1\n"))
        .then_some(())
    })
    .await;
}

#[test]
fn the_tables_of_the_page_have_every_metric_of_the_code_and_no_other() {
    let documented = documented();
    let mut coded = BTreeSet::new();
    for line in CODE.iter().flat_map(|text| text.lines()) {
        for word in line.split('"').skip(1).step_by(2) {
            let is_name = names(word).contains(word);
            if is_name {
                coded.insert(whole(word, &documented));
            }
        }
    }
    assert!(coded.len() > 60, "{}", coded.len());
    let missing: Vec<_> = coded.difference(&documented).collect();
    let surplus: Vec<_> = documented.difference(&coded).collect();
    assert!(
        missing.is_empty() && surplus.is_empty(),
        "not on the page: {missing:?}, not in the code: {surplus:?}"
    );
    // Also those that a quiet installation does not show.
    let mut text = String::new();
    for name in &coded {
        let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
        text.push_str(&format!("# HELP {name} It.\n# TYPE {name} {kind}\n{name} 0\n"));
    }
    promtool(&["check", "metrics"], &text);
}

#[test]
fn the_dashboard_and_the_alerts_use_metrics_that_there_are() {
    let documented = documented();
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let expressions: Vec<&str> = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().into_iter().flatten())
        .map(|target| target["expr"].as_str().expect("an expression"))
        .collect();
    assert!(expressions.len() > 20 && dashboard["uid"] == "requestrocket");
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64().expect("an id")).collect();
    assert_eq!(ids.len(), panels.len());
    for expression in &expressions {
        assert!(!names(expression).is_empty(), "{expression}");
    }
    for (file, text) in [("grafana-dashboard.json", DASHBOARD), ("alerts.yml", ALERTS)] {
        let used = names(text);
        assert!(used.len() > 10, "{file}: {used:?}");
        let unknown: Vec<_> =
            used.iter().filter(|name| !documented.contains(&whole(name, &documented))).collect();
        assert!(unknown.is_empty(), "docs/{file} uses what is not in docs/operations.md: {unknown:?}");
        assert!(PAGE.contains(file), "the page names {file}");
    }
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/alerts.yml");
    promtool(&["check", "rules", rules.to_str().expect("text")], "");
    // As a file of rules, with what Grafana puts in the place of its variables.
    let mut rules = "groups:\n- name: dashboard\n  rules:\n".to_owned();
    for (place, expression) in expressions.iter().enumerate() {
        let expression = expression.replace("$__rate_interval", "5m").replace("$instance", ".*");
        let expression = serde_json::json!(expression.replace("$proxy", ".*"));
        rules.push_str(&format!("  - {{record: 'dashboard:{place}', expr: {expression}}}\n"));
    }
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), rules).expect("writes");
    promtool(&["check", "rules", file.path().to_str().expect("text")], "");
}

#[test]
fn a_text_that_is_not_as_the_format_has_it_is_found_out() {
    let head = "# HELP a A.\n# TYPE a counter\n";
    assert_eq!(families(&format!("{head}a{{b=\"c\\\"\\\\\\n\"}} 1\na 2\n")).len(), 1);
    for wrong in [
        "a 1",
        "b 1\n",
        "a{b=\"c} 1\n",
        "a x\n",
        "a 1\na 1\n",
        "a{b=\"\\x\"} 1\n",
        "a -1\n",
        "a{le=\"1\"} 1\n",
    ] {
        let text = format!("{head}{wrong}");
        assert!(std::panic::catch_unwind(|| families(&text)).is_err(), "{wrong}");
    }
    let head = "# HELP a A.\n# TYPE a histogram\n";
    let good = "a_bucket{le=\"1\"} 1\na_bucket{le=\"+Inf\"} 2\na_sum 3\na_count 2\n";
    families(&format!("{head}{good}"));
    for (from, to) in [("\"1\"} 1", "\"1\"} 3"), ("_count 2", "_count 3"), ("+Inf", "5"), ("+Inf", "inf")] {
        let text = format!("{head}{}", good.replace(from, to));
        assert!(std::panic::catch_unwind(|| families(&text)).is_err(), "{to}");
    }
}
