//! The admin port: whether we live, whether we are ready, and what we count. Changes nothing.
//!
//! With a token, all but liveness answers 401 to whoever does not show it.

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::{AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use rr_contract::runtime::observe::Observability;
use rr_contract::runtime::{AdminToken, Readiness};

const HEALTH: &str = "/healthz";

#[derive(Clone)]
struct Admin {
    readiness: Readiness,
    observability: Observability,
}

/// The port's routes. `token`, `None`: whoever reaches the port is answered.
pub(crate) fn router(
    readiness: Readiness,
    observability: Observability,
    token: Option<AdminToken>,
) -> Router {
    let routes = Router::new()
        .route(HEALTH, get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(Admin { readiness, observability });
    match token {
        Some(token) => routes.layer(from_fn_with_state(token, guard)),
        None => routes,
    }
}

async fn guard(State(token): State<AdminToken>, request: Request, next: Next) -> Response {
    if request.uri().path() == HEALTH || shows(&token, request.headers()) {
        return next.run(request).await;
    }
    let text = "Authorization: Bearer TOKEN is needed here\n";
    (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, "Bearer")], text).into_response()
}

fn shows(token: &AdminToken, headers: &HeaderMap) -> bool {
    let mut shown = headers.get_all(AUTHORIZATION).iter();
    let first = shown.next().filter(|_| shown.next().is_none());
    token.admits(first.map(HeaderValue::as_bytes))
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

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use rr_contract::seam::Seams;
    use tower::ServiceExt as _;

    use super::*;

    #[tokio::test]
    async fn with_a_token_only_liveness_is_answered_to_everybody() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, disk) = (folder.path().join("token"), Seams::real().disk);
        disk.replace(&path, b"0123456789abcdef0123456789abcdef\n").expect("it is ours");
        let token = AdminToken::open(&path, disk).expect("it is good");
        let port = router(Readiness::new(), Observability::quiet("rr-control"), Some(token));
        let ask = async |path: &str, shown: &[&str]| {
            let mut request = http::Request::get(path);
            for value in shown {
                request = request.header(AUTHORIZATION, *value);
            }
            let answer = port.clone().oneshot(request.body(Body::empty()).expect("a request")).await;
            answer.expect("it answers").status().as_u16()
        };
        let good = "Bearer 0123456789abcdef0123456789abcdef";
        assert_eq!(ask("/healthz", &[]).await, 200);
        for path in ["/readyz", "/metrics", "/nothing", "/healthz/"] {
            for shown in [&[][..], &["Bearer 0123456789abcdef0123456789abcdeX"], &[good, good]] {
                assert_eq!(ask(path, shown).await, 401, "{path}");
            }
            assert_ne!(ask(path, &[good]).await, 401, "{path}");
        }
    }
}
