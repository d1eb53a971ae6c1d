//! The way of every call, gRPC, REST or of Prometheus: matched, throttled, authenticated, and then handed to its handler.
//!
//! The invariant: nothing of a body is read before the token of a call of ours is known to be valid.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method};
use tokio::time::{Instant, timeout_at};
use tonic::Status;
use tower::ServiceExt as _;
use tracing::{Instrument as _, info_span};

use super::caller::{Authenticate, Head, with_principal};
use super::exposition::{self, Expose};
use super::rest::{self, Rest};
use super::route::{Found, Operation, ROUTES};
use super::schema::SCHEMA;
use super::seen::Sight;
use super::status;
use super::weight::Weighed;
use crate::authz::Principal;
use crate::events::Events;
use crate::listen::Peer;
use crate::service::ServiceError;
use crate::throttle::held::Held;
use crate::throttle::{Class, Portion, Presented, Refusal, Throttle, grpc_timeout};

/// Hands requests of all protocols to their handlers. Clones share the handlers.
#[derive(Clone)]
pub(super) struct Dispatch {
    pub(super) grpc: axum::Router,
    pub(super) rest: Rest,
    pub(super) authenticator: Arc<dyn Authenticate>,
    pub(super) exposition: Arc<dyn Expose>,
    pub(super) throttle: Arc<Throttle>,
    pub(super) events: Events,
}

/// The protocol of a request, with the call that it is for: matched once, here.
#[derive(Debug)]
enum Protocol {
    /// None for a call of health or reflection, and for one that does not exist.
    Grpc(Option<Operation>),
    Rest(Found),
    /// The metrics of this organization.
    Exposition(String),
}

impl Dispatch {
    pub(super) fn router(self) -> axum::Router {
        let service = tower::service_fn(move |request: Request| {
            let dispatch = self.clone();
            async move { Ok::<_, Infallible>(dispatch.answer(request).await) }
        });
        axum::Router::new().fallback_service(service)
    }

    async fn answer(&self, request: Request) -> Response {
        let protocol = Protocol::of(&request);
        let operation = protocol.operation();
        Sight::of(&request, operation).over(self.answer_to(&protocol, operation, request)).await
    }

    async fn answer_to(
        &self,
        protocol: &Protocol,
        operation: Option<Operation>,
        mut request: Request,
    ) -> Response {
        let class = operation.map_or(protocol.class_of_others(), |operation| operation.class);
        // From the connection, never from a header.
        let peer = request.extensions().get::<Peer>().map(|peer| peer.0);
        let who = Presented::of(request.headers(), peer.map(|peer| peer.ip()));
        let start = Instant::now();
        if let Err(refusal) = self.throttle.enter(&who, start) {
            return self.refuse(protocol, refusal);
        }
        // A REST request names no timeout: a client that waits no longer hangs up.
        let said = match protocol {
            Protocol::Grpc(_) => grpc_timeout(request.headers()),
            Protocol::Rest(_) | Protocol::Exposition(_) => None,
        };
        let limit = start + self.throttle.limit(class, said);
        let principal = match operation {
            None => None,
            Some(operation) => {
                let head = Head { headers: request.headers(), address: peer.map(|peer| peer.to_string()) };
                match timeout_at(limit, self.authenticate(protocol, &who, operation, &head)).await {
                    Ok(Ok(principal)) => Some(principal),
                    Ok(Err(refused)) => return refused,
                    Err(_elapsed) => return self.refuse(protocol, Refusal::Deadline),
                }
            }
        };
        // Other calls need no token: their callers are told apart by network.
        let caller =
            principal.as_ref().map_or_else(|| who.network(), |principal| principal.maker().to_owned());
        let place = match self.throttle.place(class, &caller) {
            Ok(place) => place,
            Err(refusal) => return self.refuse(protocol, refusal),
        };
        // Held until the call has answered.
        let portion = principal.as_ref().map(|_| self.throttle.portion(&caller));
        if let (Protocol::Grpc(Some(operation)), Some(portion)) = (protocol, portion.clone()) {
            request = request.map(|body| {
                let bounds = (class.body(), class.heavy());
                let weighed = Weighed::new(body, &SCHEMA, operation.input, bounds, portion);
                Body::new(weighed.wiping(operation.may_hold_secret()))
            });
        }
        let span =
            info_span!("management_call", http.method = %request.method(), path = request.uri().path());
        let call = self.call(protocol, request, portion.clone()).instrument(span);
        let answered = match principal {
            Some(principal) => timeout_at(limit, with_principal(principal, call)).await,
            None => timeout_at(limit, call).await,
        };
        drop(portion);
        let Ok(answer) = answered else { return self.refuse(protocol, Refusal::Deadline) };
        let deadline = said.filter(|_| place.is_some()).map(|said| (start + said, late()));
        if place.is_none() {
            return answer;
        }
        answer.map(|body| Body::new(Held::new(body, place, deadline)))
    }

    /// The caller, by the head of the request; the response where it is not known.
    async fn authenticate(
        &self,
        protocol: &Protocol,
        who: &Presented,
        operation: Operation,
        head: &Head<'_>,
    ) -> Result<Principal, Response> {
        let found = self.authenticator.authenticate(head, operation.permission).await;
        let good = match &found {
            Ok(_) => Some(true),
            Err(ServiceError::BadToken | ServiceError::Unauthenticated) => Some(false),
            // The database failed, so the token may be valid.
            Err(_) => None,
        };
        if let Some(good) = good {
            self.throttle.judged(who, good, Instant::now());
        }
        found.map_err(|error| {
            self.events.call(operation.permission.call, Some(error.kind()));
            protocol.answer(status::of(operation.permission, &error))
        })
    }

    async fn call(&self, protocol: &Protocol, request: Request, portion: Option<Portion>) -> Response {
        match protocol {
            Protocol::Grpc(_) => {
                let answer: Result<Response, Infallible> = self.grpc.clone().oneshot(request).await;
                match answer {
                    Ok(answer) => answer,
                    Err(never) => match never {},
                }
            }
            Protocol::Rest(found) => self.rest.answer(request, found, portion).await,
            Protocol::Exposition(org) => match self.exposition.expose(org).await {
                Ok(text) => exposition::answer(text),
                Err(status) => protocol.answer(status),
            },
        }
    }

    fn refuse(&self, protocol: &Protocol, refusal: Refusal) -> Response {
        self.events.refused(refusal);
        protocol.answer(status::of_refusal(refusal))
    }
}

impl Protocol {
    fn of(request: &Request) -> Self {
        let kind = request.headers().get(CONTENT_TYPE);
        let path = request.uri().path();
        if kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc")) {
            return Self::Grpc(ROUTES.grpc(path));
        }
        match exposition::org_of(path) {
            Some(org) if request.method() == Method::GET => Self::Exposition(org.to_owned()),
            Some(_) => Self::Rest(Found::Methods(["GET"].into())),
            None => Self::Rest(ROUTES.find(request.method(), path)),
        }
    }

    /// The call of ours that the request is for.
    fn operation(&self) -> Option<Operation> {
        match self {
            Self::Grpc(operation) => *operation,
            Self::Rest(Found::Route(route)) => Some(route.operation()),
            Self::Rest(Found::Methods(_) | Found::Nothing) => None,
            Self::Exposition(_) => Some(*exposition::OPERATION),
        }
    }

    /// The class of a call that is not one of ours.
    fn class_of_others(&self) -> Class {
        match self {
            Self::Grpc(_) => Class::Foreign,
            // No handler runs.
            Self::Rest(_) | Self::Exposition(_) => Class::Ordinary,
        }
    }

    fn answer(&self, status: Status) -> Response {
        match self {
            Self::Grpc(_) => status.into_http(),
            Self::Rest(_) | Self::Exposition(_) => rest::refusal(&status),
        }
    }
}

/// The trailers of a stream that ends at its deadline.
fn late() -> HeaderMap {
    let mut trailers = HeaderMap::new();
    // Its text is a constant in ASCII.
    drop(status::of_refusal(Refusal::Deadline).add_header(&mut trailers));
    trailers
}

#[cfg(test)]
mod tests;
