//! The sample upstream: answers every request with the request and a customer, as JSON.
//!
//! The customer is there for the sample filter, which masks the address. Answers with secrets on purpose: the edge masks its
//! own, and whoever calls this port sees what it was sent. It listens on loopback only.

use std::collections::BTreeMap;
use std::convert::Infallible;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rr_contract::runtime::{Stop, Tasks};
use serde::Serialize;
use tokio::net::TcpListener;
use tracing::debug;

const BODY_MAX: usize = 1024 * 1024;

#[derive(Serialize)]
struct Echo<'a> {
    method: &'a str,
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    query: Option<&'a str>,
    headers: BTreeMap<&'a str, Vec<String>>,
    body: String,
    customer: Customer,
}

/// Somebody whose address callers do not see.
#[derive(Serialize)]
struct Customer {
    name: &'static str,
    email: &'static str,
}

const CUSTOMER: Customer = Customer { name: "Ada Lovelace", email: "ada@example.com" };

/// Serves until asked to stop.
pub(super) async fn serve(listener: TcpListener, tasks: Tasks, stop: Stop) {
    while let Some(accepted) = stop.cut(listener.accept()).await {
        let Ok((socket, _)) = accepted else { continue };
        let stop = stop.clone();
        tasks.spawn("echo connection", async move {
            let mut builder = auto::Builder::new(TokioExecutor::new());
            builder.http1().timer(TokioTimer::new());
            let connection =
                builder.serve_connection(TokioIo::new(socket), hyper::service::service_fn(answer));
            if let Some(Err(error)) = stop.cut(connection).await {
                debug!(error = %error, "sample upstream lost a connection");
            }
        });
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    #[expect(clippy::disallowed_methods, reason = "the body is bounded")]
    let collected = Limited::new(body, BODY_MAX).collect().await;
    let Ok(body) = collected else {
        let text = format!("body is over {BODY_MAX} bytes or was cut off\n");
        let mut reply = Response::new(Full::from(text));
        *reply.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
        return Ok(reply);
    };
    let body = body.to_bytes();
    let echo = Echo {
        method: head.method.as_str(),
        path: head.uri.path(),
        query: head.uri.query(),
        headers: headers(&head.headers),
        body: String::from_utf8_lossy(&body).into_owned(),
        customer: CUSTOMER,
    };
    let mut text = serde_json::to_vec_pretty(&echo).expect("strings serialize");
    text.push(b'\n');
    let mut reply = Response::new(Full::from(text));
    reply
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    Ok(reply)
}

fn headers(map: &HeaderMap) -> BTreeMap<&str, Vec<String>> {
    let mut out: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (name, value) in map {
        out.entry(name.as_str()).or_default().push(String::from_utf8_lossy(value.as_bytes()).into_owned());
    }
    out
}
