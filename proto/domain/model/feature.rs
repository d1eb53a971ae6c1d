//! Must-understand features: what a node has to know to run a resource.
//!
//! A resource says which it needs, beside its payload and in it. A node that lacks one refuses the resource and
//! closes what it bears on. What a build understands is that build's own list.

use super::caller::{Caller, CallerKind};
use super::credential::{Upstream, Usage};
use super::effect::Effect;
use super::filter::{Action, Direction};
use super::proxy::{DenyStatus, EchoGuard, Forwarded};
use super::resource::Model;
use super::target::IDLE_TIMEOUT;
use super::tls::Wire;
use super::validation::{Subject, Validation};

/// Rules.
pub const RULES: &str = "rules.v1";
/// Filters.
pub const FILTERS: &str = "filters.v1";
/// Filters that redact what detectors find.
pub const FILTER_REDACT: &str = "filter-redact.v1";
/// Filters of requests.
pub const FILTER_REQUEST: &str = "filter-request.v1";
/// Meters.
pub const METERS: &str = "meters.v1";
/// Meters that count each caller apart.
pub const METER_PER_CALLER: &str = "meter-per-caller.v1";
/// A scope that denies what no rule of it matches.
pub const DEFAULT_DENY: &str = "default-deny.v1";
/// Limits of a proxy.
pub const LIMITS: &str = "limits.v1";
/// A proxy with a status of its own for refusals.
pub const DENY_STATUS: &str = "deny-status.v1";
/// A proxy that passes on paths with encoded slashes.
pub const OPAQUE_PATHS: &str = "opaque-paths.v1";
/// Rules, and proxies, whose rules only observe.
pub const RULE_OBSERVE: &str = "rule-observe.v1";
/// Limits by caller credential or by address.
pub const KEYED_LIMITS: &str = "keyed-limits.v1";
/// Bounds on the bodies of requests and responses.
pub const BODY_LIMITS: &str = "body-limits.v1";
/// Targets with a private authority, a minimum TLS version, or an HTTP version.
pub const TARGET_TLS: &str = "target-tls.v1";
/// Idle and total timeouts of targets.
pub const TARGET_TIMEOUTS: &str = "target-timeouts.v1";
/// Targets with several base URLs, ejection or health checks.
pub const ENDPOINTS: &str = "endpoints.v1";
/// Circuit breakers of targets.
pub const CIRCUIT_BREAKER: &str = "circuit-breaker.v1";
/// Retries.
pub const RETRY: &str = "retry.v1";
/// A limit on requests under way.
pub const CONCURRENCY: &str = "concurrency.v1";
/// WebSockets.
pub const WEBSOCKET: &str = "websocket.v1";
/// Proxies that want a client certificate.
pub const CLIENT_CERTIFICATES: &str = "client-certificates.v1";
/// Changes of requests and responses.
pub const REWRITE: &str = "rewrite.v1";
/// Calls from web pages.
pub const CORS: &str = "cors.v1";
/// Proxies and targets that say what requests are like.
pub const VALIDATION: &str = "validation.v1";
/// The same, by an OpenAPI document.
pub const VALIDATION_OPENAPI: &str = "validation-openapi.v1";
/// Telling upstreams about callers.
pub const FORWARDED: &str = "forwarded.v1";
/// Proxies that refuse answers in which the upstream sends its secret back. One that masks or does not look needs nothing: a
/// node that does not know of it does not look either, and goes on as before.
pub const ECHO_GUARD: &str = "echo-guard.v1";
/// Proxies of whose requests none goes on before a record of it is on disk. One that keeps a share of its records needs nothing:
/// a node that does not know of it keeps all.
pub const DURABLE_RECORDS: &str = "durable-records.v1";
/// What records hold of paths, headers and queries.
pub const RECORDING: &str = "recording.v1";
/// Callers with a value that we did not make.
pub const CALLER_BEARER: &str = "caller.bearer.v1";
/// Callers with user and password.
pub const CALLER_BASIC: &str = "caller.basic.v1";
/// Callers with a fixed token.
pub const CALLER_JWT: &str = "caller.jwt.v1";
/// Callers with a token that is verified.
pub const CALLER_JWT_VERIFY: &str = "caller.jwt-verify.v1";
/// Callers whose tokens name a claim by which their holders are told apart.
pub const CALLER_IDENTITY_CLAIM: &str = "caller.identity-claim.v1";
/// Callers who are known by their client certificate.
pub const CALLER_CERTIFICATE: &str = "caller.certificate.v1";
/// Callers who present it in a header of their own.
pub const CALLER_HEADER: &str = "caller.header.v1";
/// Callers with two live values, of which the older one ends by itself.
pub const CALLER_OVERLAP: &str = "caller.overlap.v1";

/// Upstream credentials in a parameter of the query.
pub const UPSTREAM_QUERY: &str = "upstream.query.v1";
/// Upstream credentials of several values.
pub const UPSTREAM_SEVERAL: &str = "upstream.several.v1";
/// Upstream credentials that are tokens of OAuth 2.
pub const UPSTREAM_OAUTH2: &str = "upstream.oauth2.v1";
/// Upstream credentials that are tokens which a request of their own gets.
pub const UPSTREAM_CUSTOM_TOKEN: &str = "upstream.custom-token.v1";
/// Upstream credentials that sign as AWS asks for.
pub const UPSTREAM_AWS_SIGV4: &str = "upstream.aws-sigv4.v1";
/// Upstream credentials that sign with a keyed hash.
pub const UPSTREAM_HMAC: &str = "upstream.hmac.v1";
/// Upstream credentials that are client certificates.
pub const UPSTREAM_CLIENT_CERTIFICATE: &str = "upstream.client-certificate.v1";

/// Testing targets. No resource needs it: a node that has it is asked.
pub const TARGET_TEST: &str = "target-test.v1";

/// All that this version of the contract names.
pub const ALL: [&str; 44] = [
    RULES,
    FILTERS,
    FILTER_REDACT,
    FILTER_REQUEST,
    METERS,
    METER_PER_CALLER,
    DEFAULT_DENY,
    LIMITS,
    DENY_STATUS,
    OPAQUE_PATHS,
    RULE_OBSERVE,
    KEYED_LIMITS,
    BODY_LIMITS,
    TARGET_TLS,
    TARGET_TIMEOUTS,
    ENDPOINTS,
    CIRCUIT_BREAKER,
    RETRY,
    CONCURRENCY,
    WEBSOCKET,
    CLIENT_CERTIFICATES,
    REWRITE,
    CORS,
    VALIDATION,
    VALIDATION_OPENAPI,
    FORWARDED,
    ECHO_GUARD,
    DURABLE_RECORDS,
    RECORDING,
    CALLER_BEARER,
    CALLER_BASIC,
    CALLER_JWT,
    CALLER_JWT_VERIFY,
    CALLER_IDENTITY_CLAIM,
    CALLER_CERTIFICATE,
    CALLER_HEADER,
    CALLER_OVERLAP,
    UPSTREAM_QUERY,
    UPSTREAM_SEVERAL,
    UPSTREAM_OAUTH2,
    UPSTREAM_CUSTOM_TOKEN,
    UPSTREAM_AWS_SIGV4,
    UPSTREAM_HMAC,
    UPSTREAM_CLIENT_CERTIFICATE,
];

impl Model {
    /// What a node has to know to run it.
    pub fn needs(&self) -> Vec<&'static str> {
        let mut needs = Vec::new();
        let mut note = |needed: bool, feature| {
            if needed {
                needs.push(feature);
            }
        };
        match self {
            Self::Org(_) => {}
            Self::Target(target) => {
                note(target.default_effect == Effect::Deny, DEFAULT_DENY);
                note(target.wire != Wire::default(), TARGET_TLS);
                note(target.idle_timeout != IDLE_TIMEOUT || target.total_timeout.is_some(), TARGET_TIMEOUTS);
                let asks = target.outlier_ejection.is_some() || target.health_check.is_some();
                note(asks || !target.more_base_urls.is_empty(), ENDPOINTS);
                note(target.circuit_breaker.is_some(), CIRCUIT_BREAKER);
                note(target.validation.is_some(), VALIDATION);
                note(is_openapi(target.validation.as_deref()), VALIDATION_OPENAPI);
            }
            Self::Credential(credential) => {
                note(credential.default_effect == Effect::Deny, DEFAULT_DENY);
                if let Usage::Upstream(Upstream::Sealed { needs, .. }) = &credential.usage {
                    // Another one stands beside the payload alone.
                    let known = ALL.into_iter().filter(|feature| needs.iter().any(|need| need == feature));
                    known.for_each(|feature| note(true, feature));
                }
                if let Usage::Caller(Caller { kind, header, previous_not_after }) = &credential.usage {
                    note(header.is_some(), CALLER_HEADER);
                    note(previous_not_after.is_some(), CALLER_OVERLAP);
                    match kind {
                        CallerKind::ApiKey(_) => {}
                        CallerKind::Bearer(_) => note(true, CALLER_BEARER),
                        CallerKind::Basic(_) => note(true, CALLER_BASIC),
                        CallerKind::Jwt(_) => note(true, CALLER_JWT),
                        CallerKind::JwtVerify(verify) => {
                            note(true, CALLER_JWT_VERIFY);
                            note(verify.identity_claim.is_some(), CALLER_IDENTITY_CLAIM);
                        }
                        CallerKind::Certificate(_) => note(true, CALLER_CERTIFICATE),
                    }
                }
            }
            Self::Proxy(proxy) => {
                note(proxy.default_effect == Effect::Deny, DEFAULT_DENY);
                note(!proxy.limits.is_none(), LIMITS);
                let keyed = [proxy.limits_per_caller, proxy.limits_per_address];
                note(keyed.iter().any(|limits| !limits.is_none()), KEYED_LIMITS);
                note(proxy.observe, RULE_OBSERVE);
                note(proxy.max_request_bytes.or(proxy.max_response_bytes).is_some(), BODY_LIMITS);
                note(proxy.deny_status != DenyStatus::BadRequest, DENY_STATUS);
                note(proxy.opaque_paths, OPAQUE_PATHS);
                note(proxy.retry.is_some(), RETRY);
                note(proxy.max_concurrent.is_some(), CONCURRENCY);
                note(proxy.websocket, WEBSOCKET);
                note(proxy.client_certificates, CLIENT_CERTIFICATES);
                note(proxy.rewrite.is_some(), REWRITE);
                note(proxy.cors.is_some(), CORS);
                note(proxy.validation.is_some(), VALIDATION);
                note(is_openapi(proxy.validation.as_deref()), VALIDATION_OPENAPI);
                note(proxy.forwarded != Forwarded::Nothing, FORWARDED);
                note(proxy.echo_guard == EchoGuard::Refuse, ECHO_GUARD);
                note(proxy.keeping.durable, DURABLE_RECORDS);
                note(proxy.recording.is_some(), RECORDING);
            }
            Self::Rule(rule) => {
                note(true, RULES);
                note(rule.observe, RULE_OBSERVE);
            }
            Self::Filter(filter) => {
                note(true, FILTERS);
                note(matches!(filter.action, Action::Redact(_)), FILTER_REDACT);
                note(filter.direction == Direction::Request, FILTER_REQUEST);
            }
            Self::Meter(meter) => {
                note(true, METERS);
                note(meter.per_caller, METER_PER_CALLER);
            }
        }
        needs
    }
}

fn is_openapi(validation: Option<&Validation>) -> bool {
    validation.is_some_and(|validation| matches!(validation.subject, Subject::OpenApi(..)))
}

#[cfg(test)]
mod tests {

    use crate::model::id::{CredentialId, MeterId, OrgId, ProxyId, RegionId, TargetId};
    use crate::model::resource::{Key, ResourceId};
    use fleet::caller_credential::Kind;
    use rr_wire::fleet;

    use super::*;

    const ORG: OrgId = OrgId::from_random([1; 16]);

    fn needs(id: ResourceId, payload: &impl prost::Message) -> Vec<&'static str> {
        Model::parse(&Key::new(ORG, id), &payload.encode_to_vec()).expect("it is valid").needs()
    }

    fn proxy() -> fleet::ProxyResource {
        let credential = CredentialId::from_random([1; 16]).to_string();
        fleet::ProxyResource {
            name: "p".to_owned(),
            caller_credentials: vec![credential.clone()],
            target: TargetId::from_random([1; 16]).to_string(),
            upstream_credential: credential,
            regions: vec![RegionId::from_random([1; 16]).to_string()],
            ..fleet::ProxyResource::default()
        }
    }

    fn caller(kind: Kind, header: &str) -> fleet::CredentialResource {
        let caller =
            fleet::CallerCredential { kind: Some(kind), header: header.to_owned(), previous_not_after: None };
        fleet::CredentialResource {
            name: "c".to_owned(),
            version: 1,
            usage: Some(fleet::credential_resource::Usage::Caller(caller)),
            ..fleet::CredentialResource::default()
        }
    }

    #[test]
    fn what_the_first_version_of_a_node_runs_needs_nothing() {
        let key = fleet::CallerApiKey { hashes: vec![vec![1; 32]] };
        let limits = Some(fleet::Limits::default());
        let recording = Some(fleet::Recording::default());
        let proxy =
            fleet::ProxyResource { deny_status: 400, limits, default_effect: 1, recording, ..proxy() };
        assert!(needs(ResourceId::Proxy(ProxyId::from_random([1; 16])), &proxy).is_empty());
        for echo_guard in [fleet::EchoGuard::Mask, fleet::EchoGuard::Off] {
            let proxy = fleet::ProxyResource { echo_guard: echo_guard.into(), ..proxy.clone() };
            assert!(needs(ResourceId::Proxy(ProxyId::from_random([1; 16])), &proxy).is_empty());
        }
        let sampled = fleet::Recording { sample_per_thousand: Some(5), ..Default::default() };
        let sampled = fleet::ProxyResource { recording: Some(sampled), ..proxy };
        assert!(needs(ResourceId::Proxy(ProxyId::from_random([1; 16])), &sampled).is_empty());
        let caller = caller(Kind::ApiKey(key), "authorization");
        assert!(needs(ResourceId::Credential(CredentialId::from_random([1; 16])), &caller).is_empty());
    }

    #[test]
    fn whatever_restricts_or_widens_has_to_be_understood() {
        let id = ResourceId::Proxy(ProxyId::from_random([1; 16]));
        let day = Some(fleet::Limits { per_minute_per_node: 0, per_day_per_node: 1 });
        let deny = i32::from(fleet::Effect::Deny);
        let retry = fleet::RetryPolicy { attempts: 1, ..fleet::RetryPolicy::default() };
        let keeps = fleet::Recording { query_parameters: vec!["page".to_owned()], ..Default::default() };
        let cors = fleet::Cors { origins: vec!["*".to_owned()], ..fleet::Cors::default() };
        let what = Some(fleet::validation::What::JsonSchema("{}".to_owned()));
        let validation = Some(fleet::Validation { what, ..fleet::Validation::default() });
        let durable = Some(fleet::Recording { durable: true, ..Default::default() });
        for (proxy, feature) in [
            (fleet::ProxyResource { default_effect: deny, ..proxy() }, DEFAULT_DENY),
            (fleet::ProxyResource { limits: day, ..proxy() }, LIMITS),
            (fleet::ProxyResource { deny_status: 403, ..proxy() }, DENY_STATUS),
            (fleet::ProxyResource { opaque_paths: true, ..proxy() }, OPAQUE_PATHS),
            (fleet::ProxyResource { observe: true, ..proxy() }, RULE_OBSERVE),
            (fleet::ProxyResource { limits_per_caller: day, ..proxy() }, KEYED_LIMITS),
            (fleet::ProxyResource { limits_per_address: day, ..proxy() }, KEYED_LIMITS),
            (fleet::ProxyResource { max_request_bytes: 1, ..proxy() }, BODY_LIMITS),
            (fleet::ProxyResource { max_response_bytes: 1, ..proxy() }, BODY_LIMITS),
            (fleet::ProxyResource { retry: Some(retry), ..proxy() }, RETRY),
            (fleet::ProxyResource { max_concurrent_requests_per_node: 1, ..proxy() }, CONCURRENCY),
            (fleet::ProxyResource { websocket: true, ..proxy() }, WEBSOCKET),
            (fleet::ProxyResource { client_certificates: true, ..proxy() }, CLIENT_CERTIFICATES),
            (fleet::ProxyResource { rewrite: Some(fleet::Rewrite::default()), ..proxy() }, REWRITE),
            (fleet::ProxyResource { cors: Some(cors), ..proxy() }, CORS),
            (fleet::ProxyResource { validation: validation.clone(), ..proxy() }, VALIDATION),
            (fleet::ProxyResource { forwarded: 1, ..proxy() }, FORWARDED),
            (fleet::ProxyResource { echo_guard: 2, ..proxy() }, ECHO_GUARD),
            (fleet::ProxyResource { recording: durable, ..proxy() }, DURABLE_RECORDS),
            (fleet::ProxyResource { recording: Some(keeps), ..proxy() }, RECORDING),
        ] {
            assert_eq!(needs(id, &proxy), [feature]);
        }
        let what = Some(fleet::validation::What::Openapi("{}".to_owned()));
        let operations = Some(fleet::Validation { what, ..fleet::Validation::default() });
        let said = fleet::ProxyResource { validation: operations.clone(), ..proxy() };
        assert_eq!(needs(id, &said), [VALIDATION, VALIDATION_OPENAPI]);
        let id = ResourceId::Target(TargetId::from_random([1; 16]));
        let target = || fleet::TargetResource {
            name: "t".to_owned(),
            base_url: "https://a.example".to_owned(),
            ..fleet::TargetResource::default()
        };
        assert!(needs(id, &target()).is_empty());
        let said = fleet::TargetResource { validation: operations, ..target() };
        assert_eq!(needs(id, &said), [VALIDATION, VALIDATION_OPENAPI]);
        let second = Some(pbjson_types::Duration { seconds: 1, nanos: 0 });
        for (target, feature) in [
            (fleet::TargetResource { default_effect: deny, ..target() }, DEFAULT_DENY),
            (fleet::TargetResource { validation, ..target() }, VALIDATION),
            (fleet::TargetResource { min_tls: "1.3".to_owned(), ..target() }, TARGET_TLS),
            (fleet::TargetResource { http_version: "2".to_owned(), ..target() }, TARGET_TLS),
            (fleet::TargetResource { idle_timeout: second, ..target() }, TARGET_TIMEOUTS),
            (fleet::TargetResource { total_timeout: second, ..target() }, TARGET_TIMEOUTS),
            (
                fleet::TargetResource { more_base_urls: vec!["https://b.example".to_owned()], ..target() },
                ENDPOINTS,
            ),
            (
                fleet::TargetResource {
                    outlier_ejection: Some(fleet::OutlierEjection::default()),
                    ..target()
                },
                ENDPOINTS,
            ),
            (
                fleet::TargetResource { health_check: Some(fleet::HealthCheck::default()), ..target() },
                ENDPOINTS,
            ),
            (
                fleet::TargetResource { circuit_breaker: Some(fleet::CircuitBreaker::default()), ..target() },
                CIRCUIT_BREAKER,
            ),
        ] {
            assert_eq!(needs(id, &target), [feature]);
        }
        let id = ResourceId::Credential(CredentialId::from_random([1; 16]));
        let hashes = vec![vec![1; 32]];
        let bearer = fleet::CallerBearer { hashes: hashes.clone(), prefix: String::new() };
        assert_eq!(needs(id, &caller(Kind::Bearer(bearer), "x-key")), [CALLER_HEADER, CALLER_BEARER]);
        let mut ends = caller(Kind::ApiKey(fleet::CallerApiKey { hashes: hashes.clone() }), "");
        if let Some(fleet::credential_resource::Usage::Caller(caller)) = &mut ends.usage {
            caller.previous_not_after = Some(pbjson_types::Timestamp::default());
        }
        assert_eq!(needs(id, &ends), [CALLER_OVERLAP]);
        let phc = format!("$argon2id$v=19$m=19456,t=2,p=1$BwcHBwcHBwcHBwcHBwcHBw${}", "A".repeat(43));
        let basic = fleet::CallerBasic { user: "ann".to_owned(), password_hashes: vec![phc] };
        assert_eq!(needs(id, &caller(Kind::Basic(basic), "")), [CALLER_BASIC]);
        let certificate = fleet::CallerCertificate { hashes: hashes.clone(), ..Default::default() };
        assert_eq!(needs(id, &caller(Kind::Certificate(certificate), "")), [CALLER_CERTIFICATE]);
        let jwt = caller(Kind::Jwt(fleet::CallerJwt { hashes }), "");
        assert_eq!(needs(id, &jwt), [CALLER_JWT]);
        let verify = |identity_claim: &str| {
            let verify = fleet::CallerJwtVerify {
                keys: Some(fleet::caller_jwt_verify::Keys::JwksUrl("https://i.example/jwks".to_owned())),
                issuer: "i".to_owned(),
                audiences: vec!["a".to_owned()],
                algorithms: vec!["ES256".to_owned()],
                identity_claim: identity_claim.to_owned(),
                ..fleet::CallerJwtVerify::default()
            };
            caller(Kind::JwtVerify(verify), "")
        };
        assert_eq!(needs(id, &verify("")), [CALLER_JWT_VERIFY]);
        assert_eq!(needs(id, &verify("sub")), [CALLER_JWT_VERIFY, CALLER_IDENTITY_CLAIM]);
        let denies = fleet::CredentialResource { default_effect: deny, ..jwt };
        assert_eq!(needs(id, &denies), [DEFAULT_DENY, CALLER_JWT]);
        let meter = fleet::MeterResource {
            proxy: ProxyId::from_random([1; 16]).to_string(),
            name: "m".to_owned(),
            counts: Some(fleet::meter_resource::Counts::Requests(fleet::MeterRequests {})),
            ..fleet::MeterResource::default()
        };
        let id = ResourceId::Meter(MeterId::from_random([1; 16]));
        assert_eq!(needs(id, &meter), [METERS]);
        let each = fleet::MeterResource { per_caller: true, ..meter };
        assert_eq!(needs(id, &each), [METERS, METER_PER_CALLER]);
    }
}
