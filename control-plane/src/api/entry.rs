//! The way in to every call, gRPC or REST: who is there, the guard, and then the call itself.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};
use tokio::time::{Instant, timeout_at};
use tonic::{Code, Status};
use tower::ServiceExt as _;
use tracing::{Instrument as _, info_span};

use super::rest::{self, Rest};
use super::route::ROUTES;
use super::{PEER, status};
use crate::events::Events;
use crate::guard::held::Held;
use crate::guard::{Class, Guard, Presented, Refusal, grpc_timeout};
use crate::listen::Peer;

/// Both ways in. Clones share what is behind.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) grpc: axum::Router,
    pub(super) rest: Rest,
    pub(super) guard: Arc<Guard>,
    pub(super) events: Events,
}

/// How a request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Grpc,
    Rest,
}

impl Entry {
    pub(super) fn router(self) -> axum::Router {
        let dispatch = tower::service_fn(move |request: Request| {
            let entry = self.clone();
            async move { Ok::<_, Infallible>(entry.pass(request).await) }
        });
        axum::Router::new().fallback_service(dispatch)
    }

    async fn pass(&self, mut request: Request) -> Response {
        mark_peer(&mut request);
        let way = Way::of(&request);
        let class = match way {
            Way::Grpc => ROUTES.grpc(request.uri().path()),
            Way::Rest => Rest::class(request.method(), request.uri().path()),
        };
        let address = request.extensions().get::<Peer>().map(|peer| peer.0.ip());
        let who = Presented::of(request.headers(), address);
        let start = Instant::now();
        let entered = self.guard.enter(&who, start).and_then(|()| self.guard.place(class));
        let place = match entered {
            Ok(place) => place,
            Err(refusal) => return self.refuse(way, refusal),
        };
        // Over REST nobody says a timeout: whoever waits no longer hangs up.
        let said = (way == Way::Grpc).then(|| grpc_timeout(request.headers())).flatten();
        let limit = start + self.guard.limit(class, said);
        let call =
            info_span!("management_call", http.method = %request.method(), path = request.uri().path());
        let Ok(answer) = timeout_at(limit, self.call(way, request).instrument(call)).await else {
            return self.refuse(way, Refusal::Deadline);
        };
        if let Some(good) = way.good(class, &answer) {
            self.guard.judged(&who, good, Instant::now());
        }
        let deadline = said.filter(|_| place.is_some()).map(|said| (start + said, late()));
        if place.is_none() {
            return answer;
        }
        answer.map(|body| Body::new(Held::new(body, place, deadline)))
    }

    async fn call(&self, way: Way, request: Request) -> Response {
        match way {
            Way::Grpc => {
                let answer: Result<Response, Infallible> = self.grpc.clone().oneshot(request).await;
                match answer {
                    Ok(answer) => answer,
                    Err(never) => match never {},
                }
            }
            Way::Rest => self.rest.answer(request).await,
        }
    }

    fn refuse(&self, way: Way, refusal: Refusal) -> Response {
        self.events.refused(refusal);
        let status = status::of_refusal(refusal);
        match way {
            Way::Grpc => status.into_http(),
            Way::Rest => rest::refusal(&status),
        }
    }
}

impl Way {
    fn of(request: &Request) -> Self {
        let kind = request.headers().get(CONTENT_TYPE);
        match kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc")) {
            true => Self::Grpc,
            false => Self::Rest,
        }
    }

    /// Whether an answer shows that the caller's token is good or is not; nothing where it shows neither.
    fn good(self, class: Class, answer: &Response) -> Option<bool> {
        if class == Class::Foreign {
            return None;
        }
        match self {
            Self::Rest if answer.status().is_success() => Some(true),
            Self::Rest => match answer.status() {
                StatusCode::UNAUTHORIZED => Some(false),
                StatusCode::FORBIDDEN => Some(true),
                _ => None,
            },
            // Success says so at the end of the body, and there only.
            Self::Grpc => match Status::from_header_map(answer.headers()).map(|status| status.code()) {
                None | Some(Code::Ok | Code::PermissionDenied) => Some(true),
                Some(Code::Unauthenticated) => Some(false),
                Some(_) => None,
            },
        }
    }
}

/// How a stream ends that its caller gave a time to which is over.
fn late() -> HeaderMap {
    let mut trailers = HeaderMap::new();
    // Its text is ours and ASCII.
    drop(status::of_refusal(Refusal::Deadline).add_header(&mut trailers));
    trailers
}

fn mark_peer(request: &mut Request) {
    let peer =
        request.extensions().get::<Peer>().and_then(|peer| HeaderValue::try_from(peer.0.to_string()).ok());
    match peer {
        Some(peer) => {
            // Replaces every value that came from outside.
            request.headers_mut().insert(PEER, peer);
        }
        None => {
            request.headers_mut().remove(PEER);
        }
    }
}

#[cfg(test)]
mod tests;
