//! The marked secrets: made by every way, used, replaced and refused.

use std::process::{Output, Stdio};

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use rr_integration::caller::send;
use rr_integration::process::Edge;
use rr_integration::sample::{ORG, REGION};
use rr_integration::upstream::Upstream;
use rr_integration::wait::eventually;

use super::{Markers, OTHER, marked};
use crate::own_values::{Installation, rrctl};
use crate::passwords::basic;
use crate::shared_secrets::hs256;

/// `rrctl` with a passphrase in its environment.
async fn with_passphrase(it: &Installation, passphrase: &str, args: &[&str]) -> Output {
    let mut command = rrctl(&it.sample.control, &it.sample.api, it.values.path(), args);
    command.env("RRCTL_PASSPHRASE", passphrase).stdin(Stdio::null());
    tokio::task::spawn_blocking(move || command.output().expect("rrctl runs")).await.expect("joins")
}

fn text(output: Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// A region of `rrctl`, with a key file under a passphrase, and a node that joins it.
pub(super) async fn another_region(it: &Installation, markers: &mut Markers) -> Edge {
    let passphrase = markers.make("passphrase");
    let create = ["region", "create", OTHER, "--key-file", "us.key", "--no-recovery-copy"];
    text(with_passphrase(it, &passphrase, &create).await);
    let file = std::fs::read_to_string(it.values.path().join("us.key")).expect("a key file");
    let file: serde_json::Value = serde_json::from_str(&file).expect("JSON");
    markers.note("key file", file["keys"].as_str().expect("the sealed keys"));
    let wrong = markers.make("wrong-passphrase");
    let token = ["node", "token", "create", OTHER, "--region-key", "us.key"];
    assert!(!with_passphrase(it, &wrong, &token).await.status.success(), "it is another one");
    let token = text(with_passphrase(it, &passphrase, &token).await);
    let token = token.split_whitespace().find(|word| word.starts_with("rrn1.")).expect("a token").to_owned();
    // Its id and the pin of the authority are no secrets.
    markers.note("node token", token.split('.').nth(2).expect("the secret"));
    let trace = [("RR_LOG_LEVEL", "trace".to_owned())];
    let edge = Edge::start_with(&it.folder().join(OTHER), it.sample.control.fleet, token.as_bytes(), &trace);
    edge.ready().await;
    edge
}

/// Values for upstreams of several kinds, each of which is used and replaced. What the last one is.
pub(super) async fn upstream_secrets(it: &Installation, markers: &mut Markers, issuer: &Upstream) -> String {
    let origin = it.upstream.url();
    let fingerprint = format!("{REGION}={}", it.sample.keys.fingerprint());
    let sealing = ["--origin", &*origin, "--region", REGION, "--fingerprint", &*fingerprint];
    let token_url = format!("{}/token", issuer.url());
    let key = rcgen::generate_simple_self_signed(vec!["client".to_owned()]).expect("a certificate");
    let pem = key.signing_key.serialize_pem();
    markers.note_pem("private key", &pem);
    let write =
        |name: &str, text: &str| std::fs::write(it.values.path().join(name), text).expect("is written");
    write("key.pem", &pem);
    write("chain.pem", &key.cert.pem());
    write("body", r#"{"password":"{secret:json}"}"#);
    let session = markers.make("session-token");
    write("session", &session);
    let token = ["--token-url", &*token_url];
    let kinds: Vec<(&str, Vec<&str>, bool)> = vec![
        ("bearer", vec!["--kind", "bearer"], false),
        ("query", vec!["--kind", "api-key", "--query", "key"], false),
        ("basic", vec!["--kind", "basic", "--user", "ann"], false),
        ("client", [&["--kind", "oauth2", "--client-id", "edge"][..], &token].concat(), false),
        ("robot", [&["--kind", "jwt-bearer", "--issuer", "robot@example"][..], &token].concat(), true),
        (
            "login",
            [
                &["--kind", "custom-token", "--body", r#"{"password":"{secret:json}"}"#][..],
                &["--token-path", "data.token", "--header", "x-session"],
                &token,
            ]
            .concat(),
            false,
        ),
        (
            "aws",
            vec![
                "--kind",
                "aws-sigv4",
                "--access-key-id",
                "AKIAEXAMPLE",
                "--aws-region",
                "eu",
                "--service",
                "s4",
                "--session-token-file",
                "session",
            ],
            false,
        ),
        ("hook", vec!["--kind", "hmac", "--text", "{method}", "--sign-header", "x-sig={signature}"], false),
        ("shown", vec!["--kind", "client-certificate", "--certificate", "chain.pem"], true),
    ];
    let key = it.sample.key.clone();
    let caller = format!("Bearer {key}");
    for (name, kind, of_key) in kinds {
        let value = if of_key { String::new() } else { markers.make(name) };
        let file = ["--value-file", if of_key { "key.pem" } else { "-" }];
        let create = ["credential", "create-upstream", name];
        if name == "shown" {
            // It goes nowhere: the upstream has no TLS.
            let elsewhere = [&["--origin", "https://api.example.com"], &sealing[2..]].concat();
            it.done(&[&create[..], &elsewhere, &kind, &file].concat(), &value).await;
            continue;
        }
        it.done(&[&create[..], &sealing, &kind, &file].concat(), &value).await;
        it.done(&["proxy", "update", "echo", "--upstream", name], "").await;
        it.answers(&[("authorization", &caller)], 200).await;
        it.done(&["target", "test", "echo"], "").await;
        if of_key {
            continue;
        }
        // The next value; the one before goes on for a second.
        let next = markers.make(&format!("next-{name}"));
        let replace = ["credential", "replace-secret", name, "--overlap", "1s"];
        it.done(&[&replace[..], &sealing, &kind[2..], &file].concat(), &next).await;
        it.answers(&[("authorization", &caller)], 200).await;
    }
    // By a set of files, and by gRPC.
    let of_set = markers.make("set");
    write("value", &of_set);
    write(
        "set.yaml",
        &format!(
            "kind: credential\nname: of-set\nupstream: {{kind: bearer}}\nvalue_from: {{file: value, origins: [\"{origin}\"]}}\n"
        ),
    );
    it.done(&["apply", "-f", "set.yaml", "--yes", "--region", REGION, "--fingerprint", &fingerprint], "")
        .await;
    let last = marked("last");
    markers.note("last upstream value", &last);
    let (api, keys) = (&it.sample.api, &it.sample.keys);
    api.upstream(ORG, "last", keys, &origin, &last).await.expect("is sealed");
    it.done(&["proxy", "update", "echo", "--upstream", "last"], "").await;
    eventually("the upstream sees the last one", || async {
        it.get(&[("authorization", &caller)]).await;
        let seen = it.upstream.seen().pop()?;
        format!("{:?}", seen.headers).contains(&last).then_some(())
    })
    .await;
    last
}

/// Callers of several kinds, each of which calls.
pub(super) async fn caller_secrets(it: &Installation, markers: &mut Markers) {
    let create = |name| ["credential", "create-caller", name];
    let made = it.done(&create("made"), "").await.trim().to_owned();
    markers.note("made key", &made);
    let rolled = it.done(&["credential", "roll", "made", "--overlap", "1h"], "").await.trim().to_owned();
    markers.note("rolled key", &rolled);
    let own = markers.make("own-value");
    it.done(&[&create("own")[..], &["--kind", "bearer", "--value-from", "-"]].concat(), &own).await;
    let password = markers.make("password");
    let user = ["--kind", "basic", "--user", "ann", "--password-from", "-"];
    it.done(&[&create("ann")[..], &user].concat(), &password).await;
    let shared = markers.make("shared-secret");
    let fingerprint = format!("{REGION}={}", it.sample.keys.fingerprint());
    let verify = ["--kind", "jwt-verify", "--issuer", "cron", "--audience", "api", "--algorithm", "HS256"];
    let sealing = ["--value-from", "-", "--region", REGION, "--fingerprint", &*fingerprint];
    it.done(&[&create("cron")[..], &verify, &sealing].concat(), &shared).await;
    let names = ["app", "made", "own", "ann", "cron"];
    let callers: Vec<&str> = names.iter().flat_map(|name| ["--caller", *name]).collect();
    it.done(&[&["proxy", "update", "echo"], &callers[..]].concat(), "").await;
    let token = hs256(&shared, "cron");
    markers.note("caller's token", token.rsplit('.').next().expect("a signature"));
    let password = basic("ann", &password);
    markers.note("user and password", &password["Basic ".len()..]);
    for header in [&made, &rolled, &format!("Bearer {own}"), &password, &token] {
        it.answers(&[("authorization", header)], 200).await;
    }
}

/// Secrets where they do not belong, or that are refused.
pub(super) async fn bad_input(it: &Installation, markers: &mut Markers) {
    let origin = it.upstream.url();
    let fingerprint = format!("{REGION}={}", it.sample.keys.fingerprint());
    let create = ["credential", "create-upstream", "wrong", "--kind", "bearer", "--value-file", "-"];
    for (more, kind) in [
        (vec!["--region", "nowhere", "--fingerprint", &*fingerprint], "wrong-region"),
        (
            vec!["--region", REGION, "--fingerprint", "eu=0000-0000-0000-0000-0000-0000-0000-0000"],
            "wrong-print",
        ),
        (vec!["--region", REGION, "--fingerprint", &*fingerprint, "--query", "key"], "wrong-place"),
    ] {
        let value = markers.make(kind);
        let said = it.fails(&[&create[..], &["--origin", &*origin], &more].concat(), &value).await;
        assert!(!said.contains(&value), "{said}");
    }
    let value = markers.make("two-lines");
    it.fails(
        &[&create[..], &["--origin", &*origin, "--region", REGION, "--fingerprint", &*fingerprint]].concat(),
        &format!("{value}\nx"),
    )
    .await;
    // By hand: a field that there is not, what is no JSON, and what is no token.
    let management = it.sample.control.management;
    let token = format!("Bearer {}", it.sample.api.token());
    let (field, bent, stranger) =
        (markers.make("unknown-field"), markers.make("no-json"), markers.make("no-token"));
    for (authorization, body) in [
        (&token, format!(r#"{{"credential":{{"name":"x","upstream":{{"secret":"{field}"}}}}}}"#)),
        (&token, format!(r#"{{"credential":"{bent}"#)),
        (&format!("Bearer {stranger}"), "{}".to_owned()),
    ] {
        let request = Request::post(format!("/v1/orgs/{ORG}/credentials"))
            .header("host", management.to_string())
            .header("content-type", "application/json")
            .header("connection", "close")
            .header("authorization", authorization)
            .body(Full::from(Bytes::from(body)))
            .expect("a request");
        let status = send(management, request).await.expect("answered").status;
        assert!(status.is_client_error(), "{status}");
    }
    // Callers with what nobody has.
    for (name, kind) in [("authorization", "wrong-key"), ("x-api-key", "misplaced-key")] {
        let value = markers.make(kind);
        assert_eq!(it.get(&[(name, &format!("Bearer {value}"))]).await.status, 401);
    }
}
