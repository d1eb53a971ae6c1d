//! What requests add up to, by `rrctl`: the same as their records say, over an outage of the control plane and a `kill -9`.

use http::Response;
use http_body_util::Full;
use rr_integration::process::admin;
use rr_integration::upstream::Upstream;
use rr_integration::wait::eventually;
use serde_json::Value;

use crate::own_values::Installation;

/// What `rrctl metrics query` says.
async fn query(it: &Installation, flags: &[&str]) -> Value {
    let said = it.done(&[&["-o", "json", "metrics", "query", "--since", "2h"], flags].concat(), "").await;
    serde_json::from_str(&said).expect("JSON")
}

fn number(value: &Value) -> u64 {
    value.as_str().unwrap_or("0").parse().expect("a number")
}

fn requests(series: &Value) -> u64 {
    number(&series["total"]["requests"])
}

/// How many requests the records of the organization stand for.
async fn recorded(it: &Installation) -> u64 {
    let records = it.done(&["-o", "json", "request", "list", "--limit", "10000"], "").await;
    let records: Value = serde_json::from_str(&records).expect("JSON");
    records.as_array().into_iter().flatten().map(|it| number(&it["record"]["count"]).max(1)).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_add_up_to_what_was_sent_and_to_what_their_records_say() {
    let upstream = Upstream::start_with(|seen| {
        let status = if seen.headers.contains_key("x-fail") { 503 } else { 200 };
        Response::builder().status(status).body(Full::from("0123456789")).expect("an answer")
    })
    .await;
    let mut it = Installation::start_before(upstream, &[]).await;
    let key = format!("Bearer {}", it.sample.key);
    let (good, bad) = ([("authorization", key.as_str())], [("authorization", key.as_str()), ("x-fail", "1")]);
    eventually("the node serves", || async { (it.get(&good).await.status == 200).then_some(()) }).await;
    // Records are there before the others come, so none is lost to the kill.
    eventually("the first are recorded", || async { (recorded(&it).await > 0).then_some(()) }).await;
    let first = recorded(&it).await;
    for _ in 0..30 {
        assert_eq!(it.get(&good).await.status, 200);
    }
    for _ in 0..7 {
        assert_eq!(it.get(&bad).await.status, 503);
    }
    for _ in 0..5 {
        assert_eq!(it.get(&[]).await.status, 401);
    }
    let sent = first + 42;
    eventually("all are added up", || async {
        let answer = query(&it, &[]).await;
        (requests(&answer["all"]) == sent).then_some(())
    })
    .await;
    assert_eq!(recorded(&it).await, sent);

    let classes = query(&it, &["--by", "status-class"]).await;
    let classes: Vec<_> = classes["series"].as_array().into_iter().flatten().collect();
    let class =
        |name: &str| classes.iter().find(|it| it["labels"][0]["value"] == name).map_or(0, |it| requests(it));
    assert_eq!((class("4xx"), class("5xx"), class("2xx")), (5, 7, sent - 12));
    let callers = query(&it, &["--by", "caller,code", "--status", "503"]).await;
    assert_eq!(callers["series"][0]["labels"][0]["name"], "app");
    let total = &callers["all"]["total"];
    assert_eq!((number(&total["errors"]), total["errorRate"].as_f64()), (7, Some(1.0)));
    assert_eq!(number(&total["responseBytes"]), 70);
    let table = it.done(&["metrics", "query", "--by", "status"], "").await;
    assert!(table.contains("SERIES") && table.contains("503") && table.contains('█'), "{table}");
    let refused = it.fails(&["metrics", "query", "--since", "60d", "--step", "30m"], "").await;
    assert!(refused.contains("1500 steps"), "{refused}");
    let refused = it.fails(&["metrics", "query", "--filter", "path = /a"], "").await;
    assert!(refused.contains("names path"), "{refused}");

    let accounts = async |it: &Installation| {
        let said = it.done(&["-o", "json", "node", "accounts"], "").await;
        serde_json::from_str::<Value>(&said).expect("JSON")
    };
    let account = accounts(&it).await["all"].clone();
    assert_eq!((number(&account["requests"]), number(&account["stored"])), (sent, sent));
    assert!(account["lost"].is_null() && account["open"].is_null(), "{account}");

    // Without its control plane, and killed in between.
    it.sample.control.kill();
    for _ in 0..2 {
        let waiting = waiting(&it).await;
        for _ in 0..20 {
            assert_eq!(it.get(&good).await.status, 200);
        }
        eventually("they are on disk", || async { (self::waiting(&it).await > waiting).then_some(()) }).await;
        it.edge = it.edge.restart();
        it.edge.ready().await;
    }
    it.sample.control = it.sample.control.restart().await;
    let unclean = |gap: &&Value| gap["reason"] == "unclean";
    // What waited comes in parts, and a node tells of a kill after its start, with whatever comes next.
    let counted = eventually("both kills are told, and what waited is added up", || async {
        let answer = accounts(&it).await;
        let gaps = answer["gaps"].as_array().into_iter().flatten().filter(unclean).count();
        let account = &answer["all"];
        let counted = requests(&query(&it, &[]).await["all"]);
        let told = (number(&account["requests"]), number(&account["stored"]));
        (gaps == 2 && told == (counted, counted) && counted == recorded(&it).await).then_some(counted)
    })
    .await;
    // Up to a tenth of a second is lost to each kill, of both alike.
    assert!((sent + 2..=sent + 40).contains(&counted), "{counted} of {sent} and 40");
}

/// Bytes that wait for the control plane.
async fn waiting(it: &Installation) -> u64 {
    let metrics = admin(it.edge.admin, "/metrics").await.expect("it answers");
    let line = metrics.text().lines().find(|line| line.starts_with("requestrocket_edge_spool_bytes"));
    line.and_then(|line| line.split_whitespace().last()?.parse::<f64>().ok()).unwrap_or(0.0) as u64
}
