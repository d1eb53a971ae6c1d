//! The port for operators: health, readiness, metrics, and the position of the configuration.
//!
//! | path | answers |
//! | --- | --- |
//! | `/healthz` | 200 while the control thread turns |
//! | `/readyz` | 200 when no gate is held and nobody took the node out of service; otherwise 503 and the reason |
//! | `/metrics` | Prometheus text |
//! | `/config` | JSON: positions running, serving and on disk, and how it stands with the control plane or the file |
//! | `/position` | JSON: the running position with its audit head, and whether exactly that is on disk, or the disk stalls; 503 before there is one |
//!
//! With a token, all of them but the first answer 401 to whoever does not show it.
//!
//! `rrctl audit verify --edge` compares the audit chain with `/position`: the node keeps its own copy of the audit
//! head, which an attacker on the control plane's database cannot rewrite. Changes nothing and shows no secret, no
//! resource and no name. Runs on the control thread, so that a flood of callers cannot hide a node's state, nor a
//! scrape slow a caller.

use std::convert::Infallible;
use std::net::TcpListener as StdListener;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use http::header::{ALLOW, AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rr_contract::model::time::timestamp;
use rr_contract::runtime::observe::Observability;
use rr_contract::runtime::{AdminToken, Readiness, Stop, Tasks, patience};
use rr_contract::wire::fleet;
use serde::Serialize;
use serde_json::json;
use tokio::net::TcpListener;
use tracing::{debug, warn};

use crate::caller_tls::{CertificateBoard, CertificateFacts};
use crate::identity::RenewalFault;
use crate::seats::{Bounds, CallerSocket, Seats};
use crate::sync::{Board, FileFacts, Position};

const HEAD: Duration = Duration::from_secs(10);
/// More than operators need; when all are taken, the connection that is idle for longest is closed.
const CONNECTIONS: usize = 64;

/// What the port reports.
pub(crate) struct Admin {
    pub(crate) observability: Observability,
    pub(crate) readiness: Readiness,
    pub(crate) board: Board,
    pub(crate) certificates: CertificateBoard,
    /// `None`: whoever reaches the port is answered.
    pub(crate) token: Option<AdminToken>,
    /// Requested once the node drains.
    pub(crate) draining: Stop,
}

impl Admin {
    /// Serves until `stop`.
    pub(crate) async fn run(self, listener: StdListener, tasks: Tasks, stop: Stop) {
        let listener = match TcpListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => {
                warn!(%error, "admin port cannot be served; health and metrics are unavailable");
                return;
            }
        };
        let admin = Rc::new(self);
        // Not counted: requests of operators are no traffic.
        let seats = Seats::new(Bounds::of(CONNECTIONS), Arc::default());
        while let Some(accepted) = stop.cut(listener.accept()).await {
            let Ok((stream, _)) = accepted else {
                seats.shed();
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            let (Ok(permit), Ok(())) = (seats.take(), patience::prepare(&stream)) else { continue };
            let seat = Rc::clone(permit.seat());
            let caller = CallerSocket::new(stream, seats.bounds().patience, Rc::clone(&seat));
            let (admin, asked) = (Rc::clone(&admin), Rc::clone(&seat));
            let service = service_fn(move |request: Request<Incoming>| {
                let _busy = asked.begin();
                let reply = admin.answer(request.method(), request.uri().path(), request.headers());
                async move { Ok::<_, Infallible>(reply) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD)
                .max_buf_size(16 * 1024)
                .serve_connection(TokioIo::new(caller), service);
            let stop = stop.clone();
            let task = tasks.spawn_local("admin connection", async move {
                let _permit = permit;
                // A scraper keeps its connection open: a stop does not wait for it.
                if let Some(Err(error)) = stop.cut(connection).await {
                    debug!(%error, "admin connection ended");
                }
            });
            seat.runs_as(task.abort_handle());
        }
    }

    fn answer(&self, method: &Method, path: &str, headers: &HeaderMap) -> Response<Full<Bytes>> {
        if method != Method::GET && method != Method::HEAD {
            let mut reply = text(StatusCode::METHOD_NOT_ALLOWED, "GET only\n");
            reply.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return reply;
        }
        if path != "/healthz" && !self.lets_in(headers) {
            let mut reply = text(StatusCode::UNAUTHORIZED, "Authorization: Bearer TOKEN is needed here\n");
            reply.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            return reply;
        }
        match path {
            "/healthz" => text(StatusCode::OK, "ok\n"),
            "/readyz" => self.ready(),
            "/metrics" => typed(StatusCode::OK, "text/plain; version=0.0.4", self.observability.scrape()),
            "/config" => typed(StatusCode::OK, "application/json", self.config()),
            "/position" => self.position(),
            _ => text(StatusCode::NOT_FOUND, "/healthz, /readyz, /metrics, /config or /position\n"),
        }
    }

    fn lets_in(&self, headers: &HeaderMap) -> bool {
        let Some(token) = &self.token else { return true };
        let mut shown = headers.get_all(AUTHORIZATION).iter();
        let first = shown.next().filter(|_| shown.next().is_none());
        token.admits(first.map(HeaderValue::as_bytes))
    }

    fn ready(&self) -> Response<Full<Bytes>> {
        if self.draining.is_requested() {
            return text(StatusCode::SERVICE_UNAVAILABLE, "draining\n");
        }
        if self.board.read().draining {
            return text(StatusCode::SERVICE_UNAVAILABLE, "draining (asked by the control plane)\n");
        }
        let pending = self.readiness.pending();
        if pending.is_empty() {
            // The node stays ready: requests need no disk, and the certificates before are served on.
            let is_refused = |facts: &CertificateFacts| facts.refused_since.is_some();
            let notes = [
                ("disk-stalled", self.board.read().is_disk_stalled),
                ("certificate-refused", self.certificates.read().iter().any(is_refused)),
            ];
            let mut notes: Vec<&str> =
                notes.into_iter().filter_map(|(note, is_so)| is_so.then_some(note)).collect();
            notes.extend(self.board.read().renewal_fault.map(RenewalFault::word));
            let ready = if notes.is_empty() {
                "ready\n".to_owned()
            } else {
                format!("ready ({})\n", notes.join(", "))
            };
            return text(StatusCode::OK, ready);
        }
        text(StatusCode::SERVICE_UNAVAILABLE, format!("waiting for: {}\n", pending.join(", ")))
    }

    fn config(&self) -> String {
        let facts = self.board.read();
        json!({
            "connected": facts.connected,
            "running": facts.running.map(PositionBody::of),
            "serving": facts.serving.map(PositionBody::of),
            "on_disk": facts.on_disk.map(PositionBody::of),
            "proven": facts.proven.map(PositionBody::of),
            "crash": facts.crash.as_ref().map(crash),
            "refused": facts.refusals,
            "clock_skew_ms": facts.skew_ms,
            "history_rewritten": facts.is_history_rewritten,
            "disk_set_back": facts.is_set_back,
            "disk_stalled": facts.is_disk_stalled,
            "draining": facts.draining,
            "certificate_not_after": facts.certificate_not_after.map(timestamp),
            "renewal_fault": facts.renewal_fault.map(RenewalFault::remedy),
            "file": facts.file.map(file),
            "certificates": self.certificates.read().iter().map(certificate).collect::<Vec<_>>(),
        })
        .to_string()
    }

    fn position(&self) -> Response<Full<Bytes>> {
        #[derive(Serialize)]
        struct Body {
            #[serde(flatten)]
            position: PositionBody,
            durable: bool,
            disk_stalled: bool,
        }

        let facts = self.board.read();
        let Some(running) = facts.running else {
            return text(StatusCode::SERVICE_UNAVAILABLE, "no configuration yet\n");
        };
        let body = Body {
            position: PositionBody::of(running),
            durable: facts.on_disk == Some(running),
            disk_stalled: facts.is_disk_stalled,
        };
        typed(StatusCode::OK, "application/json", json!(body).to_string())
    }
}

/// A position as JSON.
#[derive(Serialize)]
struct PositionBody {
    lineage: String,
    revision: u64,
    region: String,
    digest: String,
    count: u64,
    /// Empty where it is not known.
    audit: String,
}

impl PositionBody {
    fn of(position: Position) -> Self {
        Self {
            lineage: HEXLOWER.encode(&position.lineage),
            revision: position.revision,
            region: position.region.to_string(),
            digest: HEXLOWER.encode(&position.digest),
            count: position.count,
            audit: position.audit.map(|audit| audit.to_string()).unwrap_or_default(),
        }
    }
}

fn crash(report: &fleet::CrashReport) -> serde_json::Value {
    let position =
        |wire: &Option<fleet::Position>| Position::try_from(wire.as_ref()?).ok().map(PositionBody::of);
    json!({ "tried": position(&report.tried), "running": position(&report.running), "boots": report.boots })
}

/// How it stands with the file of a node without a control plane. The log says what is wrong with it.
fn file(facts: FileFacts) -> serde_json::Value {
    json!({
        "loaded_at": facts.loaded_at.map(timestamp),
        "refused_since": facts.refused_since.map(timestamp),
        "refused_line": facts.refused_line,
    })
}

/// How it stands with a certificate for callers.
fn certificate(facts: &CertificateFacts) -> serde_json::Value {
    json!({
        "certificate": facts.certificate.display().to_string(),
        "expires_at": timestamp(facts.expires),
        "refused_since": facts.refused_since.map(timestamp),
    })
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    typed(status, "text/plain", body)
}

fn typed(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut reply = Response::new(Full::new(body.into()));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    reply
}

#[cfg(test)]
mod tests;
