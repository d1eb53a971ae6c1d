//! The management port: gRPC and REST of the same calls, reflection and health.
//!
//! Each call's file decodes, authorizes, calls its use case and encodes. No SQL and no rules of its own.

mod access;
mod apply;
mod audit;
mod authority;
mod caller;
mod consent;
mod credential;
mod crud;
mod dispatch;
mod exposition;
mod filter;
mod installation;
mod meter;
mod metrics;
mod node;
mod node_token;
mod notification;
mod openapi;
mod org;
mod proxy;
mod region;
mod region_key;
mod request;
mod rest;
mod route;
mod rule;
mod schema;
mod seen;
mod status;
mod target;
mod token;
mod watch;
mod weight;

use std::sync::Arc;

use rr_contract::runtime::Stop;
use rr_contract::wire::fleet::fleet_service_server::FleetServiceServer;
use rr_contract::wire::management::apply_service_server::ApplyServiceServer;
use rr_contract::wire::management::audit_service_server::AuditServiceServer;
use rr_contract::wire::management::authority_service_server::AuthorityServiceServer;
use rr_contract::wire::management::credential_service_server::CredentialServiceServer;
use rr_contract::wire::management::filter_service_server::FilterServiceServer;
use rr_contract::wire::management::installation_service_server::InstallationServiceServer;
use rr_contract::wire::management::member_service_server::MemberServiceServer;
use rr_contract::wire::management::meter_service_server::MeterServiceServer;
use rr_contract::wire::management::metrics_service_server::MetricsServiceServer;
use rr_contract::wire::management::node_token_service_server::NodeTokenServiceServer;
use rr_contract::wire::management::notification_service_server::NotificationServiceServer;
use rr_contract::wire::management::org_service_server::OrgServiceServer;
use rr_contract::wire::management::proxy_service_server::ProxyServiceServer;
use rr_contract::wire::management::region_key_service_server::RegionKeyServiceServer;
use rr_contract::wire::management::region_service_server::RegionServiceServer;
use rr_contract::wire::management::request_service_server::RequestServiceServer;
use rr_contract::wire::management::revision_service_server::RevisionServiceServer;
use rr_contract::wire::management::rule_service_server::RuleServiceServer;
use rr_contract::wire::management::target_service_server::TargetServiceServer;
use rr_contract::wire::management::token_service_server::TokenServiceServer;
use rr_contract::wire::management::user_service_server::UserServiceServer;
use tonic::service::Routes;
use tonic::{Response, Status};
use tonic_health::server::HealthReporter;

use crate::attempts::Attempts;
use crate::authz::Permission;
use crate::events::Events;
use crate::service::{ServiceError, Services};
use crate::throttle::{BODY_MOST, LARGE_MOST, Throttle};

use dispatch::Dispatch;
use rest::Rest;
use route::ROUTES;

/// The largest message of health and reflection: names of services and symbols. They need no token, and answer what
/// they were asked beside the answer.
const FOREIGN_MOST: usize = 4 * 1024;

/// The handlers of all calls of the port. Clones share the services.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) services: Services,
    pub(crate) events: Events,
    pub(crate) attempts: Attempts,
    /// Ends streams that would go on for ever.
    pub(crate) stop: Stop,
}

/// The descriptors of reflection are malformed.
#[derive(Debug, thiserror::Error)]
#[error("set up reflection")]
pub struct ReflectionError(#[source] tonic_reflection::server::Error);

impl Api {
    /// Everything that the port serves, behind its throttle.
    pub(crate) async fn router(
        self,
        health: HealthService,
        throttle: Arc<Throttle>,
    ) -> Result<axum::Router, ReflectionError> {
        health.serving().await;
        let (rest, api, events) = (Rest::new(&self), Arc::new(self.clone()), self.events.clone());
        let grpc = self.grpc(health)?.prepare().into_axum_router();
        Ok(Dispatch { grpc, rest, authenticator: api.clone(), exposition: api, throttle, events }.router())
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
        macro_rules! serve {
            ($($server:ident)*) => {
                Routes::default()$(.add_service(
                    $server::new(self.clone()).max_decoding_message_size(BODY_MOST),
                ))*
            };
        }
        let ours = serve! {
            AuditServiceServer AuthorityServiceServer CredentialServiceServer FilterServiceServer FleetServiceServer
            InstallationServiceServer MemberServiceServer MeterServiceServer MetricsServiceServer NodeTokenServiceServer
            NotificationServiceServer OrgServiceServer ProxyServiceServer RegionKeyServiceServer RegionServiceServer
            RequestServiceServer RevisionServiceServer RuleServiceServer TargetServiceServer TokenServiceServer UserServiceServer
        };
        Ok(ours
            .add_service(ApplyServiceServer::new(self).max_decoding_message_size(LARGE_MOST))
            .add_service(health.server)
            .add_service(
                reflection().build_v1().map_err(ReflectionError)?.max_decoding_message_size(FOREIGN_MOST),
            )
            .add_service(
                reflection()
                    .build_v1alpha()
                    .map_err(ReflectionError)?
                    .max_decoding_message_size(FOREIGN_MOST),
            ))
    }

    /// Ends a call: counts it, logs internal errors, and turns an error into a status.
    fn answer<T>(
        &self,
        permission: Permission,
        result: Result<T, ServiceError>,
    ) -> Result<Response<T>, Status> {
        match result {
            Ok(message) => {
                self.events.call(permission.call, None);
                Ok(Response::new(message))
            }
            Err(error) => {
                self.events.call(permission.call, Some(error.kind()));
                Err(status::of(permission, &error))
            }
        }
    }
}

type HealthServer = tonic_health::pb::health_server::HealthServer<tonic_health::server::HealthService>;

/// Health of each service, with its reporter.
pub(crate) struct HealthService {
    reporter: HealthReporter,
    server: HealthServer,
}

impl HealthService {
    /// Not serving yet.
    pub(crate) fn new() -> Self {
        let reporter = HealthReporter::new();
        let server =
            HealthServer::new(tonic_health::server::HealthService::from_health_reporter(reporter.clone()))
                .max_decoding_message_size(FOREIGN_MOST);
        Self { reporter, server }
    }

    /// To say later that we are going.
    pub(crate) fn reporter(&self) -> HealthReporter {
        self.reporter.clone()
    }

    async fn serving(&self) {
        for service in served() {
            self.reporter.set_service_status(service, tonic_health::ServingStatus::Serving).await;
        }
    }
}

/// Says of every service that it is not served any more.
pub(crate) async fn unready(reporter: &HealthReporter) {
    for service in served() {
        reporter.set_service_status(service, tonic_health::ServingStatus::NotServing).await;
    }
}

/// The empty name stands for the whole.
fn served() -> impl Iterator<Item = &'static str> {
    std::iter::once("").chain(ROUTES.services())
}
