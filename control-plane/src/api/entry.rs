//! The way in to every call, gRPC or REST: who is there, the guard, and then the call itself.
//!
//! The invariant: nothing of a body is read before the token of a call of ours was found good.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use tokio::time::{Instant, timeout_at};
use tonic::Status;
use tower::ServiceExt as _;
use tracing::{Instrument as _, info_span};

use super::caller::{Door, Head, behind};
use super::rest::{self, Rest};
use super::route::{Asked, Found, ROUTES};
use super::schema::SCHEMA;
use super::status;
use super::weight::Weighed;
use crate::authz::Principal;
use crate::events::Events;
use crate::guard::held::Held;
use crate::guard::{Class, Guard, Portion, Presented, Refusal, grpc_timeout};
use crate::listen::Peer;
use crate::service::ServiceError;

/// Both ways in. Clones share what is behind.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) grpc: axum::Router,
    pub(super) rest: Rest,
    pub(super) door: Arc<dyn Door>,
    pub(super) guard: Arc<Guard>,
    pub(super) events: Events,
}

/// How a request came, and which call it is for: found once, here.
#[derive(Debug)]
enum Way {
    /// The call; none where it is not one of ours.
    Grpc(Option<Asked>),
    Rest(Found),
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
        let way = Way::of(&request);
        let asked = way.asked();
        let class = asked.map_or(way.class_of_others(), |asked| asked.class);
        // From the connection, never from a header.
        let peer = request.extensions().get::<Peer>().map(|peer| peer.0);
        let who = Presented::of(request.headers(), peer.map(|peer| peer.ip()));
        let start = Instant::now();
        if let Err(refusal) = self.guard.enter(&who, start) {
            return self.refuse(&way, refusal);
        }
        // A REST request names no timeout: a client that waits no longer hangs up.
        let said = match way {
            Way::Grpc(_) => grpc_timeout(request.headers()),
            Way::Rest(_) => None,
        };
        let limit = start + self.guard.limit(class, said);
        let found = match asked {
            None => None,
            Some(asked) => {
                let head = Head { headers: request.headers(), address: peer.map(|peer| peer.to_string()) };
                match timeout_at(limit, self.find(&way, &who, asked, &head)).await {
                    Ok(Ok(found)) => Some(found),
                    Ok(Err(refused)) => return refused,
                    Err(_elapsed) => return self.refuse(&way, Refusal::Deadline),
                }
            }
        };
        // Others need no token: they are told apart by where they come from.
        let caller = found.as_ref().map_or_else(|| who.network(), |found| found.maker().to_owned());
        let place = match self.guard.place(class, &caller) {
            Ok(place) => place,
            Err(refusal) => return self.refuse(&way, refusal),
        };
        // Held until the call has answered.
        let portion = found.as_ref().map(|_| self.guard.portion(&caller));
        if let (Way::Grpc(Some(asked)), Some(portion)) = (&way, portion.clone()) {
            request = request.map(|body| {
                let bounds = (class.body(), class.heavy());
                Body::new(Weighed::new(body, &SCHEMA, asked.input, bounds, portion))
            });
        }
        let span =
            info_span!("management_call", http.method = %request.method(), path = request.uri().path());
        let call = self.call(&way, request, portion.clone()).instrument(span);
        let answered = match found {
            Some(found) => timeout_at(limit, behind(found, call)).await,
            None => timeout_at(limit, call).await,
        };
        drop(portion);
        let Ok(answer) = answered else { return self.refuse(&way, Refusal::Deadline) };
        let deadline = said.filter(|_| place.is_some()).map(|said| (start + said, late()));
        if place.is_none() {
            return answer;
        }
        answer.map(|body| Body::new(Held::new(body, place, deadline)))
    }

    /// Who calls, by the head of the request; the answer for whoever may not.
    async fn find(
        &self,
        way: &Way,
        who: &Presented,
        asked: Asked,
        head: &Head<'_>,
    ) -> Result<Principal, Response> {
        let found = self.door.find(head, asked.permission).await;
        let good = match &found {
            Ok(_) => Some(true),
            Err(ServiceError::BadToken | ServiceError::Unauthenticated) => Some(false),
            // The database did not say.
            Err(_) => None,
        };
        if let Some(good) = good {
            self.guard.judged(who, good, Instant::now());
        }
        found.map_err(|error| {
            self.events.call(asked.permission.call, Some(error.kind()));
            way.answer(status::of(asked.permission, &error))
        })
    }

    async fn call(&self, way: &Way, request: Request, portion: Option<Portion>) -> Response {
        match way {
            Way::Grpc(_) => {
                let answer: Result<Response, Infallible> = self.grpc.clone().oneshot(request).await;
                match answer {
                    Ok(answer) => answer,
                    Err(never) => match never {},
                }
            }
            Way::Rest(found) => self.rest.answer(request, found, portion).await,
        }
    }

    fn refuse(&self, way: &Way, refusal: Refusal) -> Response {
        self.events.refused(refusal);
        way.answer(status::of_refusal(refusal))
    }
}

impl Way {
    fn of(request: &Request) -> Self {
        let kind = request.headers().get(CONTENT_TYPE);
        let path = request.uri().path();
        match kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc")) {
            true => Self::Grpc(ROUTES.grpc(path)),
            false => Self::Rest(ROUTES.find(request.method(), path)),
        }
    }

    /// The call of ours that the request is for.
    fn asked(&self) -> Option<Asked> {
        match self {
            Self::Grpc(asked) => *asked,
            Self::Rest(Found::Route(route)) => Some(route.asked()),
            Self::Rest(Found::Methods(_) | Found::Nothing) => None,
        }
    }

    /// What a call costs that is none of ours.
    fn class_of_others(&self) -> Class {
        match self {
            Self::Grpc(_) => Class::Foreign,
            // Nothing runs: it is only told so.
            Self::Rest(_) => Class::Ordinary,
        }
    }

    fn answer(&self, status: Status) -> Response {
        match self {
            Self::Grpc(_) => status.into_http(),
            Self::Rest(_) => rest::refusal(&status),
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

#[cfg(test)]
mod tests;
