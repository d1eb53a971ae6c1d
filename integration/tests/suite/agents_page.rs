//! `docs/agents.md`: its documents are applied, its requests are made, and what it says comes of them.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Request, Response};
use http_body_util::Full;
use rr_integration::caller::send;
use rr_integration::standalone::{Behind, Standalone};
use rr_integration::upstream::Upstream;

const PAGE: &str = include_str!("../../../docs/agents.md");

/// The text of the first block of a kind in a part of the page.
fn block<'p>(part: &'p str, kind: &str) -> &'p str {
    let (_, rest) = part.split_once(&format!("```{kind}\n")).unwrap_or_else(|| panic!("{kind}: {part}"));
    rest.split_once("```").expect("a block ends").0
}

/// A request of the page, and what comes of it.
struct Exchange<'p> {
    proxy: &'p str,
    path: &'p str,
    method: &'p str,
    body: &'p str,
    status: u16,
    answer: &'p str,
}

fn exchange(line: &str) -> Exchange<'_> {
    let (asked, told) = line.split_once(" → ").expect("a request and its answer");
    let (method, asked) = asked.split_once(' ').expect("a method");
    let (place, body) = asked.split_once(' ').unwrap_or((asked, ""));
    let (proxy, path) = place.split_once('/').expect("a path");
    let proxy = if proxy.is_empty() { "models" } else { proxy };
    let (status, answer) = told.split_once(' ').expect("what comes of it");
    Exchange { proxy, path, method, body, status: status.parse().expect("a status"), answer }
}

async fn make(node: &Standalone, asked: &Exchange<'_>) -> (u16, String) {
    let Exchange { proxy, path, method, body, .. } = asked;
    let request = Request::builder()
        .method(*method)
        .uri(format!("/api/local.{proxy}/{path}"))
        .header("host", "edge")
        .header("authorization", node.key())
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from((*body).to_owned())))
        .expect("a request");
    let reply = send(node.listen(), request).await.expect("an answer");
    let status = reply.status.as_u16();
    let code = reply.header("requestrocket-proxy-code");
    (status, if status < 300 { String::from_utf8_lossy(&reply.body).into_owned() } else { code.to_owned() })
}

/// Answers with the body that it is sent.
async fn mirror() -> Upstream {
    Upstream::start_with(|seen| {
        let mut response = Response::new(Full::from(seen.body.clone()));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    })
    .await
}

#[tokio::test]
async fn each_set_of_the_page_about_agents_does_what_the_page_says() {
    let upstream = mirror().await;
    let parts: Vec<&str> = PAGE.split("\n## ").skip(1).collect();
    assert!(parts.len() >= 6, "{} parts", parts.len());
    for part in parts {
        let title = part.lines().next().unwrap_or_default();
        let set = format!("---\n{}", block(part, "yaml"));
        let behind = [Behind::new("models", &format!("http://{}", upstream.address()))];
        let node = Standalone::start_with(&behind, &set, &[]).await;
        let mut count = 0;
        for line in block(part, "text").lines() {
            let asked = exchange(line);
            let told = make(&node, &asked).await;
            assert_eq!(told, (asked.status, asked.answer.to_owned()), "{title}: {line}");
            count += 1;
        }
        assert!(count >= 3, "{title} has {count} requests");
    }
}
