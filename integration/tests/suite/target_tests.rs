//! Tests of targets: how far nodes of each region come with a proxy's secret, at whichever replica their streams are.

use std::path::Path;

use rr_contract::runtime::Tasks;
use rr_integration::postgres::Postgres;
use rr_integration::process::Edge;
use rr_integration::sample::{ORG, REGION, Sample};
use rr_integration::secure::Secure;
use rr_integration::upstream::Upstream;
use rr_integration::wait::eventually;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::own_values::{Installation, rrctl};
use crate::promises::scan;

const VALUE: &str = "9f86d081884c7d659a2feaa0c55ad015";

/// A server with TLS that sends back whatever it was sent, so that a secret that anybody returns is found.
async fn echo(secure: &Secure) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let acceptor = secure.acceptor(&["http/1.1"]);
    let tasks = Tasks::new();
    tasks.clone().spawn("echo", async move {
        while let Ok((socket, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tasks.spawn("echo connection", async move {
                let Ok(mut stream) = acceptor.accept(socket).await else { return };
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    match stream.read_u8().await {
                        Ok(byte) => head.push(byte),
                        Err(_) => return,
                    }
                }
                let text = String::from_utf8(head).expect("ours");
                if text.starts_with("GET /silent") {
                    // Until the node hangs up.
                    stream.read_u8().await.ok();
                    return;
                }
                let status = if text.starts_with("GET /health?full=1 ") { "200 OK" } else { "500 Not this" };
                let bearer = text.contains(&format!("Bearer {VALUE}"));
                let status = if bearer { status } else { "401 Unauthorized" };
                let echoed = text.replace("\r\n", " ");
                let answer = format!(
                    "HTTP/1.1 {status}\r\ncontent-length: {}\r\nx-echo: {echoed}\r\n\r\n{text}",
                    text.len()
                );
                stream.write_all(answer.as_bytes()).await.ok();
            });
        }
    });
    port
}

async fn port_of_nobody() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    listener.local_addr().expect("an address").port()
}

/// Region `region` of what `rrctl` answered in JSON.
fn of<'a>(tests: &'a Value, region: &str) -> &'a Value {
    let tests = tests.as_array().expect("a list");
    tests.iter().find(|test| test["region"] == region).unwrap_or_else(|| panic!("{region} in {tests:?}"))
}

/// Tests, which fails, and the answer in JSON.
async fn failing(it: &Installation, more: &[&str]) -> Value {
    let mut command =
        rrctl(&it.sample.control, &it.sample.api, it.values.path(), &["target", "test", "-o", "json"]);
    command.args(more);
    let output =
        tokio::task::spawn_blocking(move || command.output().expect("rrctl runs")).await.expect("joins");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(!output.status.success(), "{out}{err}");
    assert!(!out.contains(VALUE) && !err.contains(VALUE), "{out}{err}");
    serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{err}"))
}

async fn edge_of(
    sample: &Sample,
    folder: &Path,
    region: &str,
    keys: &rr_contract::seal::region_key::RegionKeys,
) -> Edge {
    let token = sample.api.node_token(region, keys, 1).await.expect("a token");
    let edge = Edge::start(folder, sample.control.fleet, token.to_secret().expose());
    edge.ready().await;
    edge
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_each_region_says_how_far_a_request_comes_and_nothing_returns_the_secret() {
    let (it, secure, folder) =
        (Installation::start().await, Secure::new(), tempfile::tempdir().expect("a folder"));
    let (port, nobody) = (echo(&secure).await, port_of_nobody().await);
    let us = it.sample.api.region("us", "").await.expect("a region");
    let ap = it.sample.api.region("ap", "").await.expect("a region");
    let edge = edge_of(&it.sample, folder.path(), "us", &us).await;
    let origins = [
        format!("https://localhost:{port}"),
        format!("https://127.0.0.1:{port}"),
        format!("https://localhost:{nobody}"),
        "https://nobody.invalid".to_owned(),
        "https://10.255.255.1".to_owned(),
    ];
    let fingerprints = [(REGION, &it.sample.keys), ("us", &us), ("ap", &ap)]
        .map(|(region, keys)| format!("{region}={}", keys.fingerprint()));
    let ca = secure.file("ca.pem");
    let mut create =
        vec!["credential", "create-upstream", "key", "--kind", "bearer", "--value-file", "-", "--ca", &ca];
    for region in [REGION, "us", "ap"] {
        create.extend(["--region", region]);
    }
    fingerprints.iter().for_each(|it| create.extend(["--fingerprint", it]));
    origins.iter().for_each(|it| create.extend(["--origin", it]));
    it.done(&create, VALUE).await;
    let path = "/health?full=1";
    it.done(&["target", "create", "api", "--base-url", &origins[0], "--ca", &ca, "--test-path", path], "")
        .await;
    let create = ["proxy", "create", "api", "--target", "api", "--upstream", "key", "--caller", "app"];
    it.done(&[&create[..], &["--region", REGION, "--region", "us"]].concat(), "").await;

    let said = it.done(&["target", "test", "api", "-o", "json"], "").await;
    assert!(!said.contains(VALUE), "{said}");
    let tests: Value = serde_json::from_str(&said).expect("JSON");
    for region in [REGION, "us"] {
        let test = of(&tests, region);
        let one = &test["baseUrls"][0];
        assert_eq!((&test["passed"], &one["status"]), (&Value::from(true), &Value::from(200)), "{test}");
        assert_eq!((&one["httpVersion"], &one["tls"]["alpn"]), (&"1.1".into(), &"http/1.1".into()));
        assert_eq!((&one["tls"]["version"], &one["tls"]["byTargetCa"]), (&"1.3".into(), &true.into()));
        assert!(one["tls"]["issuer"].as_str().expect("text").contains("authority of a test"), "{one}");
        assert_eq!(one["remoteAddress"], format!("127.0.0.1:{port}"));
        for phase in ["resolveUs", "connectUs", "tlsUs", "waitUs", "bodyUs", "totalUs"] {
            assert!(one["phases"][phase].is_string(), "{phase}: {one}");
        }
        assert!(one["bodyBytes"].as_str().is_some_and(|bytes| bytes.len() > 1), "{one}");
    }
    let last: Value =
        serde_json::from_str(&it.done(&["target", "test", "api", "--last", "-o", "json"], "").await)
            .expect("JSON");
    assert_eq!(of(&last, "us")["passed"], true);

    // A region without a node has no result, and the others do.
    let all = ["--region", REGION, "--region", "us", "--region", "ap"];
    it.done(&[&["proxy", "update", "api"][..], &all].concat(), "").await;
    let tests = failing(&it, &["api"]).await;
    assert_eq!((&of(&tests, REGION)["passed"], &of(&tests, "ap")["passed"]), (&true.into(), &Value::Null));
    let reason = of(&tests, "ap")["reason"].as_str().expect("text");
    assert!(reason.contains("no node of region ap is connected"), "{reason}");

    // Nothing of these is asked of any node.
    for (more, part) in [
        (&["--proxy", "echo"][..], "does not lead to target \"api\""),
        (&["--region", "nowhere"], "is not one of proxy \"api\""),
        (&["--timeout", "26s"], "must be 100 ms to 25 s"),
    ] {
        let said = it.fails(&[&["target", "test", "api"], more].concat(), "").await;
        assert!(said.contains(part), "{said}");
    }

    // One stage after the other.
    for (change, stage) in [
        (&["--test-path", "/other"][..], "TEST_STAGE_STATUS"),
        (&["--test-path", "/silent", "--response-timeout", "300ms"], "TEST_STAGE_WAIT"),
        (&["--base-url", &origins[1]], "TEST_STAGE_TLS"),
        (&["--base-url", &origins[2]], "TEST_STAGE_CONNECT"),
        (&["--base-url", &origins[3]], "TEST_STAGE_RESOLVE"),
        (&["--base-url", &origins[4]], "TEST_STAGE_GUARD"),
    ] {
        it.done(&[&["target", "update", "api"], change].concat(), "").await;
        let tests = failing(&it, &["api", "--region", "us"]).await;
        let one = &of(&tests, "us")["baseUrls"][0];
        assert_eq!(one["failed"], stage, "{one}");
        assert!(!one["reason"].as_str().expect("text").is_empty(), "{one}");
        assert_eq!(one["status"], if stage == "TEST_STAGE_STATUS" { Value::from(500) } else { Value::Null });
    }
    // Sealed for another place, of which the control plane does not know.
    let api = &it.sample.api;
    api.upstream(ORG, "astray", &it.sample.keys, "https://elsewhere.example", VALUE).await.expect("sealed");
    it.done(&["target", "update", "api", "--base-url", &origins[0]], "").await;
    api.proxy(ORG, "astray", "app", "api", "astray", REGION).await.expect("a proxy");
    let tests = failing(&it, &["api", "--proxy", "astray"]).await;
    let one = &of(&tests, REGION)["baseUrls"][0];
    assert_eq!(
        (&one["failed"], &one["code"]),
        (&"TEST_STAGE_CREDENTIAL".into(), &"credential-unusable".into()),
        "{one}"
    );
    assert_eq!(one["remoteAddress"], Value::Null, "nothing was connected to");

    // The tenth of the minute, and none more.
    let said = it.fails(&["target", "test", "api"], "").await;
    assert!(said.contains("2 lead to target \"api\"") && said.contains("--proxy"), "{said}");
    failing(&it, &["api", "--proxy", "astray"]).await;
    let said = it.fails(&["target", "test", "api", "--proxy", "astray"], "").await;
    assert!(said.contains("10 times within a minute"), "{said}");
    drop(edge);
    scan(folder.path(), VALUE.as_bytes(), &mut 0);
    it.forgets(&[VALUE]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_tested_where_it_is_in_effect_and_a_failure_is_a_notification() {
    let it = Installation::start().await;
    it.done(&["proxy", "update", "echo", "--test-after-change"], "").await;
    let last = async || {
        let said = it.done(&["target", "test", "echo", "--last", "-o", "json"], "").await;
        let tests: Value = serde_json::from_str(&said).expect("JSON");
        tests.as_array().expect("a list").first().cloned()
    };
    let after = eventually("the change is tested", || async {
        let test = last().await?;
        assert_eq!(test["passed"], true, "{test}");
        test["afterRevision"].as_str()?.parse::<u64>().ok()
    })
    .await;
    let asked = it.upstream.seen().len();
    assert_eq!(asked, 1, "once");
    // Nobody listens there, and the secret is sealed for it.
    let nobody = format!("http://127.0.0.1:{}", port_of_nobody().await);
    let fingerprint = format!("{REGION}={}", it.sample.keys.fingerprint());
    let create = ["credential", "create-upstream", "next", "--kind", "bearer", "--value-file", "-"];
    let place = ["--origin", &*nobody, "--region", REGION, "--fingerprint", &*fingerprint];
    it.done(&[&create[..], &place].concat(), VALUE).await;
    it.done(&["target", "create", "next", "--base-url", &nobody, "--danger-plaintext"], "").await;
    it.done(&["proxy", "update", "echo", "--target", "next", "--upstream", "next"], "").await;
    eventually("a notification", || async {
        let said = it.done(&["notification", "list", "-o", "json"], "").await;
        said.contains("TARGET_TEST_FAILED").then_some(())
    })
    .await;
    let said = it.done(&["target", "test", "next", "--last", "-o", "json"], "").await;
    let tests: Value = serde_json::from_str(&said).expect("JSON");
    let test = of(&tests, REGION);
    assert_eq!(test["baseUrls"][0]["failed"], "TEST_STAGE_CONNECT", "{test}");
    assert!(test["afterRevision"].as_str().expect("set").parse::<u64>().expect("a number") > after);
    it.forgets(&[VALUE]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_change_targets_has_none_tested() {
    let it = Installation::start().await;
    for (name, role, may) in
        [("viewer", "viewer@acme", false), ("operator", "operator", false), ("editor", "editor@acme", true)]
    {
        let token = it.done(&["token", "create", name, "--role", role], "").await;
        let token = token.split_whitespace().find(|word| word.starts_with("rr_token_")).expect("a token");
        let mut command =
            rrctl(&it.sample.control, &it.sample.api, it.values.path(), &["target", "test", "echo"]);
        command.env("RRCTL_TOKEN", token);
        let output =
            tokio::task::spawn_blocking(move || command.output().expect("runs")).await.expect("joins");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.success(), may, "{name}: {said}");
        assert_eq!(it.upstream.seen().len(), usize::from(may), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whichever_replica_is_asked_the_node_tests() {
    let Some(database) = Postgres::start() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let upstream = Upstream::start().await;
    let variables = [("RR_CONTROL_DATABASE", database.address())];
    let sample = Sample::start(folder.path(), &upstream.url(), &variables).await.expect("a sample");
    let other = sample.control.replica(&folder.path().join("other")).await;
    let _edge = edge_of(&sample, &folder.path().join("edge"), REGION, &sample.keys).await;
    let run = async |args: &[&str]| {
        let mut command = rrctl(&other, &sample.api, folder.path(), args);
        let output =
            tokio::task::spawn_blocking(move || command.output().expect("runs")).await.expect("joins");
        let [out, err] =
            [&output.stdout, &output.stderr].map(|said| String::from_utf8_lossy(said).into_owned());
        (output.status.success(), out + &err)
    };
    // The database has it as connected within seconds, and the other replica need not have looked by then.
    eventually("the node is known", || async {
        let (_, said) = run(&["node", "list", "-o", "json"]).await;
        said.contains("\"connected\": true").then_some(())
    })
    .await;
    let (passed, said) = run(&["target", "test", "echo", "-o", "json"]).await;
    assert!(passed && said.contains("\"passed\": true"), "{said}");
    assert_eq!(upstream.seen().len(), 1);
}
