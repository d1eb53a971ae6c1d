//! The admin port: whether we live, whether we are ready, and what we count. Changes nothing.

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use rr_contract::runtime::Readiness;
use rr_contract::runtime::observe::Observability;

#[derive(Clone)]
struct Admin {
    readiness: Readiness,
    observability: Observability,
}

/// The port's routes.
pub(crate) fn router(readiness: Readiness, observability: Observability) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(Admin { readiness, observability })
}

async fn ready(State(admin): State<Admin>) -> Response {
    let pending = admin.readiness.pending();
    if pending.is_empty() {
        return "ready\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, format!("waiting for {}\n", pending.join(", "))).into_response()
}

async fn metrics(State(admin): State<Admin>) -> Response {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], admin.observability.scrape()).into_response()
}
