//! What is made of a secret for an upstream, from `rrctl` to a request: tokens that nodes get, and signatures. Nothing of the
//! installation holds a secret or a token.

use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;

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
        // The token of one kind looks like that of another: the issuer tells them apart.
        let basic = format!("Basic {}", BASE64.encode(format!("edge:{SECRET}").as_bytes()));
        let is_asked = |seen: &Seen| {
            let (said, form) =
                (text(seen, "authorization"), String::from_utf8_lossy(&seen.body).into_owned());
            match name {
                "client" => said == basic && form == "grant_type=client_credentials",
                "client-key" => form.contains("&client_assertion=ey"),
                "robot" => {
                    let grant = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer";
                    form.starts_with(&format!("{grant}&assertion=ey"))
                }
                _ => said.is_empty() && form == format!(r#"{{"password":"{SECRET}"}}"#),
            }
        };
        let seen = eventually(&format!("{name} reaches the upstream"), || async {
            let seen = sees(&it, header, part).await;
            let is_signed = ["aws", "hook"].contains(&name);
            (is_signed || issuer.seen().iter().any(is_asked)).then_some(seen)
        })
        .await;
        match name {
            "hook" => {
                let (date, signature) = text(&seen, header).split_once(",v1=").expect("both");
                let signed = format!("{}.GET", date.strip_prefix("t=").expect("a date"));
                let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
                let signature = HEXLOWER.decode(signature.as_bytes()).expect("hex");
                hmac::verify(&key, signed.as_bytes(), &signature).expect("its signature");
            }
            "aws" => assert!(text(&seen, header).contains("/eu-central-1/execute-api/aws4_request")),
            _ => {}
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
    let memory = it.values.path().join("memory");
    dump(it.sample.control.process.id(), &memory);
    assert!(is_in(&memory, "client-key"), "a name, which it has");
    for secret in [SECRET, TOKEN, &key] {
        assert!(!is_in(&memory, secret), "{secret} is in the control plane's memory");
    }
    std::fs::remove_file(memory).expect("it is there");
    it.forgets(&[SECRET, TOKEN, &key]).await;
}

/// Writes what a process can write in its memory into a file.
fn dump(process: u32, file: &Path) {
    let maps = std::fs::read_to_string(format!("/proc/{process}/maps")).expect("its maps");
    let memory = std::fs::File::open(format!("/proc/{process}/mem")).expect("its memory");
    let mut out = std::fs::File::create(file).expect("a file");
    let number = |text: &str| u64::from_str_radix(text, 16).expect("an address");
    for line in maps.lines() {
        let mut fields = line.split(' ');
        let (range, rights) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
        let Some((from, to)) = range.split_once('-').filter(|_| rights.starts_with("rw")) else { continue };
        let (from, to) = (number(from), number(to));
        let mut bytes = vec![0; usize::try_from(to - from).expect("it fits")];
        // What is unmapped meanwhile has nothing.
        if memory.read_exact_at(&mut bytes, from).is_ok() {
            out.write_all(&bytes).expect("it is written");
        }
    }
}

/// Whether a file has this text. By a program that was optimized: it is a large one.
fn is_in(file: &Path, text: &str) -> bool {
    let grep =
        Command::new("grep").env("LC_ALL", "C").args(["-q", "-a", "-F", "--", text]).arg(file).status();
    grep.expect("grep runs").success()
}
