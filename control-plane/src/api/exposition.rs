//! Metrics of an organization for Prometheus: the one answer of the port that is a text of lines.
//!
//! Its path lies outside of `/v1/`, where all routes of the schemas are, so that none can ever be at the same place. It is
//! let through, authenticated and permitted as QueryMetrics is, of which it is another form.

use std::sync::LazyLock;

use axum::body::Body;
use axum::response::Response;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use tonic::{Request, Status};

use super::Api;
use super::route::{Operation, ROUTES};
use crate::authz;

/// What stands in front of an organization's name or id.
const PATH: &str = "/metrics/orgs/";
const FORM: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4");

/// The call that it is a form of.
pub(super) static OPERATION: LazyLock<Operation> = LazyLock::new(|| {
    let call = ROUTES.grpc("/requestrocket.management.v1.MetricsService/QueryMetrics");
    call.expect("the schemas have it")
});

/// Makes the text.
pub(super) trait Expose: Send + Sync {
    fn expose<'a>(&'a self, org: &'a str) -> BoxFuture<'a, Result<String, Status>>;
}

impl Expose for Api {
    fn expose<'a>(&'a self, org: &'a str) -> BoxFuture<'a, Result<String, Status>> {
        async move {
            let request = Request::new(org);
            let result = async {
                let at = self.enter_org(&request, authz::QUERY_METRICS, |org| org).await?;
                self.services.exposition(&at).await
            };
            self.answer(authz::QUERY_METRICS, result.await).map(tonic::Response::into_inner)
        }
        .boxed()
    }
}

/// The organization that a path asks for.
pub(super) fn org_of(path: &str) -> Option<&str> {
    path.strip_prefix(PATH).filter(|org| !org.is_empty() && !org.contains('/'))
}

pub(super) fn answer(text: String) -> Response {
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(CONTENT_TYPE, FORM);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_route_of_the_schemas_can_be_where_it_is() {
        assert!(ROUTES.iter().all(|route| route.shape().starts_with("/v1/")));
        assert_eq!(OPERATION.permission, authz::QUERY_METRICS);
        assert_eq!(org_of("/metrics/orgs/acme"), Some("acme"));
        for path in ["/metrics", "/metrics/orgs", "/metrics/orgs/", "/metrics/orgs/a/b", "/v1/orgs/a"] {
            assert_eq!(org_of(path), None, "{path}");
        }
    }
}
