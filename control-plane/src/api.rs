//! The management port: gRPC and REST of the same calls, reflection and health.
//!
//! Each call's file decodes, authorizes, calls its use case and encodes. No SQL and no rules of its own.

mod caller;
mod credential;
mod encode;
mod installation;
mod node;
mod node_token;
mod org;
mod proxy;
mod region;
mod request;
mod rest;
mod status;
mod target;
mod token;

use std::convert::Infallible;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response as HttpResponse;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue};
use rr_contract::wire::fleet::fleet_service_server::FleetServiceServer;
use rr_contract::wire::management::credential_service_server::CredentialServiceServer;
use rr_contract::wire::management::installation_service_server::InstallationServiceServer;
use rr_contract::wire::management::node_token_service_server::NodeTokenServiceServer;
use rr_contract::wire::management::org_service_server::OrgServiceServer;
use rr_contract::wire::management::proxy_service_server::ProxyServiceServer;
use rr_contract::wire::management::region_service_server::RegionServiceServer;
use rr_contract::wire::management::request_service_server::RequestServiceServer;
use rr_contract::wire::management::target_service_server::TargetServiceServer;
use rr_contract::wire::management::token_service_server::TokenServiceServer;
use tonic::service::Routes;
use tonic::{Response, Status};
use tonic_health::server::HealthReporter;
use tower::ServiceExt as _;
use tracing::{Instrument as _, info_span};

use crate::authz::Rule;
use crate::events::Events;
use crate::listen::Peer;
use crate::service::{ServiceError, Services};

use rest::Rest;

/// Where the caller is, from us to our handlers. Whatever comes under this name from outside is removed.
const PEER: HeaderName = HeaderName::from_static("requestrocket-peer");

/// All calls of the port. Clones share what is beneath.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) services: Services,
    pub(crate) events: Events,
}

/// What went wrong while the port was put together.
#[derive(Debug, thiserror::Error)]
#[error("set up reflection")]
pub struct ReflectionError(#[source] tonic_reflection::server::Error);

impl Api {
    /// Everything that the port serves.
    pub(crate) async fn router(self, health: HealthService) -> Result<axum::Router, ReflectionError> {
        health.serving().await;
        let rest = Rest::new(&self);
        let grpc = self.grpc(health)?.prepare().into_axum_router();
        let dispatch = tower::service_fn(move |mut request: Request| {
            let (grpc, rest) = (grpc.clone(), rest.clone());
            async move {
                mark_peer(&mut request);
                let call = info_span!("management_call", http.method = %request.method(), path = request.uri().path());
                let answer: Result<HttpResponse, Infallible> = if is_grpc(&request) {
                    grpc.oneshot(request).instrument(call).await
                } else {
                    Ok(rest.answer(request).instrument(call).await)
                };
                answer
            }
        });
        Ok(axum::Router::new().fallback_service(dispatch))
    }

    fn grpc(self, health: HealthService) -> Result<Routes, ReflectionError> {
        let reflection = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(rr_contract::wire::DESCRIPTORS)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
                // Each version would list itself alone, and clients ask either for both.
                .register_encoded_file_descriptor_set(tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET)
                .register_encoded_file_descriptor_set(tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET)
        };
        Ok(Routes::new(OrgServiceServer::new(self.clone()))
            .add_service(InstallationServiceServer::new(self.clone()))
            .add_service(RegionServiceServer::new(self.clone()))
            .add_service(NodeTokenServiceServer::new(self.clone()))
            .add_service(TargetServiceServer::new(self.clone()))
            .add_service(CredentialServiceServer::new(self.clone()))
            .add_service(ProxyServiceServer::new(self.clone()))
            .add_service(RequestServiceServer::new(self.clone()))
            .add_service(TokenServiceServer::new(self.clone()))
            .add_service(FleetServiceServer::new(self))
            .add_service(health.server)
            .add_service(reflection().build_v1().map_err(ReflectionError)?)
            .add_service(reflection().build_v1alpha().map_err(ReflectionError)?))
    }

    /// Ends a call: counts it, logs what is ours to mend, and turns an error into a status.
    fn answer<T>(&self, rule: Rule, result: Result<T, ServiceError>) -> Result<Response<T>, Status> {
        match result {
            Ok(message) => {
                self.events.call(rule.call, None);
                Ok(Response::new(message))
            }
            Err(error) => {
                self.events.call(rule.call, Some(error.kind()));
                Err(status::of(rule, &error))
            }
        }
    }
}

type HealthServer = tonic_health::pb::health_server::HealthServer<tonic_health::server::HealthService>;

/// Health of each service, and who reports it.
pub(crate) struct HealthService {
    reporter: HealthReporter,
    server: HealthServer,
}

impl HealthService {
    /// Not serving yet.
    pub(crate) fn new() -> Self {
        let reporter = HealthReporter::new();
        let server =
            HealthServer::new(tonic_health::server::HealthService::from_health_reporter(reporter.clone()));
        Self { reporter, server }
    }

    /// To say later that we are going.
    pub(crate) fn reporter(&self) -> HealthReporter {
        self.reporter.clone()
    }

    async fn serving(&self) {
        for service in SERVICES {
            self.reporter.set_service_status(service, tonic_health::ServingStatus::Serving).await;
        }
    }
}

/// Says of every service that it is not served any more.
pub(crate) async fn unready(reporter: &HealthReporter) {
    for service in SERVICES {
        reporter.set_service_status(service, tonic_health::ServingStatus::NotServing).await;
    }
}

/// The empty name stands for the whole.
const SERVICES: [&str; 11] = [
    "",
    "requestrocket.fleet.v1.FleetService",
    "requestrocket.management.v1.CredentialService",
    "requestrocket.management.v1.InstallationService",
    "requestrocket.management.v1.NodeTokenService",
    "requestrocket.management.v1.OrgService",
    "requestrocket.management.v1.ProxyService",
    "requestrocket.management.v1.RegionService",
    "requestrocket.management.v1.RequestService",
    "requestrocket.management.v1.TargetService",
    "requestrocket.management.v1.TokenService",
];

fn is_grpc(request: &Request<Body>) -> bool {
    request.headers().get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

fn mark_peer(request: &mut Request<Body>) {
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
