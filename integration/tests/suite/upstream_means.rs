//! What is made of a secret for an upstream, from `rrctl` and from files to a request: tokens that nodes get, signatures, and the
//! secret of before while two are live. Nothing of the installation holds a secret or a token.

use std::sync::{Arc, Mutex};

use aws_lc_rs::hmac;
use bytes::Bytes;
use data_encoding::{BASE64, HEXLOWER};
use http::Response;
use http_body_util::Full;
use rr_integration::sample::REGION;
use rr_integration::upstream::{Seen, Upstream};
use rr_integration::wait::eventually;

use crate::own_values::Installation;

const SECRET: &str = "9f86d081884c7d659a2feaa0c55ad015";
const NEXT: &str = "3f2b8c1d7e544a099c6bd18e2f7a5b30";
const TOKEN: &str = "an-access-token-that-nobody-else-has";

/// An issuer that gives [`TOKEN`] to whoever asks.
async fn issuer() -> Upstream {
    let answer = format!(r#"{{"access_token":"{TOKEN}","expires_in":3600,"data":{{"token":"{TOKEN}"}}}}"#);
    Upstream::start_with(move |_| Response::new(Full::from(Bytes::from(answer.clone())))).await
}

fn text<'s>(seen: &'s Seen, name: &str) -> &'s str {
    seen.headers.get(name).map_or("", |value| value.to_str().expect("text"))
}

/// What the upstream sees of a request once it has this in a header.
async fn sees(it: &Installation, header: &str, part: &str) -> Seen {
    eventually(&format!("{header} has {part}"), || async {
        let key = it.sample.key.clone();
        let reply = it.get(&[("authorization", &format!("Bearer {key}"))]).await;
        let seen = it.upstream.seen().pop().filter(|_| reply.status == 200)?;
        text(&seen, header).contains(part).then_some(seen)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_that_is_made_of_a_secret_is_sealed_by_rrctl_and_found_nowhere() {
    let (it, issuer) = (Installation::start().await, issuer().await);
    let key = rcgen::KeyPair::generate().expect("a key").serialize_pem();
    std::fs::write(it.values.path().join("key.pem"), &key).expect("is written");
    let (origin, token_url) = (it.upstream.url(), format!("{}/token", issuer.url()));
    let fingerprint = format!("{REGION}={}", it.sample.keys.fingerprint());
    let bearer = format!("Bearer {TOKEN}");
    let body = r#"{"password":"{secret:json}"}"#;
    let url = ["--token-url", &*token_url];
    for (name, more, header, part) in [
        (
            "client",
            [&["--kind", "oauth2-client-credentials", "--client-id", "edge"][..], &url].concat(),
            "authorization",
            &*bearer,
        ),
        (
            "client-key",
            [&["--kind", "oauth2", "--client-id", "edge", "--authentication", "private-key-jwt"][..], &url]
                .concat(),
            "authorization",
            &bearer,
        ),
        (
            "robot",
            [&["--kind", "jwt-bearer", "--issuer", "robot@example"][..], &url].concat(),
            "authorization",
            &bearer,
        ),
        (
            "login",
            [
                &[
                    "--kind",
                    "custom-token",
                    "--body",
                    body,
                    "--token-path",
                    "data.token",
                    "--header",
                    "x-session",
                ][..],
                &url,
            ]
            .concat(),
            "x-session",
            TOKEN,
        ),
        (
            "aws",
            vec![
                "--kind",
                "aws-sigv4",
                "--access-key-id",
                "AKIAIOSFODNN7EXAMPLE",
                "--aws-region",
                "eu-central-1",
                "--service",
                "execute-api",
            ],
            "authorization",
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/",
        ),
        (
            "hook",
            vec![
                "--kind",
                "hmac",
                "--text",
                "{date}.{method}",
                "--sign-header",
                "x-signature=t={date},v1={signature}",
            ],
            "x-signature",
            ",v1=",
        ),
    ] {
        let of_key = ["client-key", "robot"].contains(&name);
        let value = if of_key { "key.pem" } else { "-" };
        let create = ["credential", "create-upstream", name, "--origin", &*origin, "--value-file", value];
        let sealing = ["--region", REGION, "--fingerprint", &*fingerprint];
        it.done(&[&create[..], &sealing, &more].concat(), SECRET).await;
        it.done(&["proxy", "update", "echo", "--upstream", name], "").await;
        let seen = sees(&it, header, part).await;
        let asked = issuer.seen().pop();
        let asked = asked.map(|seen| {
            (text(&seen, "authorization").to_owned(), String::from_utf8_lossy(&seen.body).into_owned())
        });
        match name {
            "client" => {
                let basic = format!("Basic {}", BASE64.encode(format!("edge:{SECRET}").as_bytes()));
                assert_eq!(asked, Some((basic, "grant_type=client_credentials".to_owned())));
            }
            "client-key" => {
                assert!(asked.is_some_and(|(_, form)| form.contains("client_assertion=ey")));
            }
            "robot" => {
                let grant = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=ey";
                assert!(asked.is_some_and(|(_, form)| form.starts_with(grant)));
            }
            "login" => assert_eq!(asked, Some((String::new(), format!(r#"{{"password":"{SECRET}"}}"#)))),
            "hook" => {
                let (date, signature) = text(&seen, header).split_once(",v1=").expect("both");
                let signed = format!("{}.GET", date.strip_prefix("t=").expect("a date"));
                let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
                let signature = HEXLOWER.decode(signature.as_bytes()).expect("hex");
                hmac::verify(&key, signed.as_bytes(), &signature).expect("its signature");
            }
            _ => assert!(text(&seen, header).contains("/eu-central-1/execute-api/aws4_request")),
        }
    }
    let tested = it.done(&["target", "test", "echo"], "").await;
    assert!(tested.contains("200"), "{tested}");
    // What does not fit is named by its flag, before anything is asked.
    for (more, part) in [
        (&["--kind", "oauth2"][..], "give --token-url URL and --client-id ID"),
        (
            &["--kind", "oauth2", "--token-url", "http://issuer.example", "--client-id", "a"],
            "--token-url is not https",
        ),
        (&["--kind", "bearer", "--service", "s3"], "kind bearer has no --service"),
        (
            &["--kind", "hmac", "--text", "{metod}", "--sign-header", "a={signature}"],
            "{metod}, which stands for nothing",
        ),
        (&["--kind", "hmac", "--text", "{method}", "--sign-header", "a=b"], "have no {signature}"),
        (
            &[
                "--kind",
                "aws-sigv4",
                "--access-key-id",
                "a",
                "--aws-region",
                "b",
                "--service",
                "execute-api",
                "--unsigned-payload",
            ],
            "--unsigned-payload is for service s3 alone",
        ),
        (&["--kind", "client-certificate", "--certificate", "none.pem"], "none.pem"),
    ] {
        let create = ["credential", "create-upstream", "wrong", "--origin", &*origin, "--value-file", "-"];
        let said = it
            .fails(
                &[&create[..], &["--region", REGION, "--fingerprint", &*fingerprint], more].concat(),
                SECRET,
            )
            .await;
        assert!(said.contains(part), "{more:?}: {said}");
    }
    let key: String = key.lines().nth(1).expect("a line").to_owned();
    it.forgets(&[SECRET, TOKEN, &key]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_fails_while_a_secret_is_replaced_with_an_overlap_whenever_the_upstream_changes_over() {
    let taken = Arc::new(Mutex::new(SECRET));
    let takes = Arc::clone(&taken);
    let upstream = Upstream::start_with(move |seen| {
        let taken = *takes.lock().expect("nobody panics");
        let status = if text(seen, "authorization") == format!("Bearer {taken}") { 200 } else { 401 };
        Response::builder().status(status).body(Full::default()).expect("an answer")
    })
    .await;
    let it = Installation::start_before(upstream, &[]).await;
    let (origin, fingerprint) = (it.upstream.url(), format!("{REGION}={}", it.sample.keys.fingerprint()));
    let sealing =
        ["--origin", &*origin, "--region", REGION, "--fingerprint", &*fingerprint, "--value-file", "-"];
    it.done(&[&["credential", "create-upstream", "api"][..], &sealing].concat(), SECRET).await;
    it.done(&["proxy", "update", "echo", "--upstream", "api"], "").await;
    sees(&it, "authorization", SECRET).await;
    let key = format!("Bearer {}", it.sample.key);
    let asks = async || it.get(&[("authorization", &key)]).await.status;
    let replace = [&["credential", "replace-secret", "api"][..], &sealing].concat();
    it.done(&[&replace[..], &["--overlap", "1h"]].concat(), NEXT).await;
    // Until the node has it, and behind that: the upstream does not know it yet.
    let mut asked = 0;
    while !it.upstream.seen().iter().any(|seen| text(seen, "authorization").contains(NEXT)) {
        assert_eq!(asks().await, 200);
        asked += 1;
        assert!(asked < 100_000, "the node has the new secret");
    }
    for _ in 0..50 {
        assert_eq!(asks().await, 200);
    }
    *taken.lock().expect("nobody panics") = NEXT;
    for _ in 0..50 {
        assert_eq!(asks().await, 200);
    }
    let shown = it.done(&["-o", "json", "credential", "show", "api"], "").await;
    assert!(shown.contains("previousNotAfter"), "{shown}");
    let said = it.fails(&[&replace[..], &["--overlap", "1h"]].concat(), SECRET).await;
    assert!(said.contains("two live values until"), "{said}");
    it.forgets(&[SECRET, NEXT]).await;
}
