//! What each field of a document becomes in the payload that nodes are sent.

use prost::Message as _;
use rr_contract::document::payload::{credential, jwt_verify};
use rr_contract::model::feature;
use rr_contract::model::id::{CredentialId, FilterId, MeterId, OrgId, ProxyId, RegionId, RuleId, TargetId};
use rr_contract::model::time::timestamp;
use rr_contract::wire::fleet::{self, Effect};
use rr_contract::wire::management as wire;
use rr_contract::wire::management::document::Resource;

use super::*;
use crate::noun::Noun;

fn org() -> String {
    OrgId::from_random([1; 16]).to_string()
}

fn credential_id(n: u8) -> String {
    CredentialId::from_random([n; 16]).to_string()
}

fn target_id() -> String {
    TargetId::from_random([1; 16]).to_string()
}

fn proxy_id() -> String {
    ProxyId::from_random([1; 16]).to_string()
}

/// The payload, and what a node has to know for it.
fn compiled<M: prost::Message + Default>(resource: Resource) -> (M, Vec<&'static str>) {
    compiled_with(resource, None)
}

fn compiled_with<M: prost::Message + Default>(
    resource: Resource,
    secret: Option<&secret_row::Model>,
) -> (M, Vec<&'static str>) {
    let payload = payload(&Document { resource: Some(resource) }, secret).expect("it is valid");
    let payload = payload.expect("nodes are sent it");
    (M::decode(payload.bytes().clone()).expect("a message"), payload.needs().to_vec())
}

fn pattern(regex: &str) -> Option<fleet::Pattern> {
    Some(fleet::Pattern { regex: regex.to_owned(), flags: "i".to_owned(), absent: false })
}

/// A condition with all of its parts.
fn when() -> fleet::RequestMatch {
    let pair = fleet::PairCheck { name: pattern("n"), value: pattern("v"), absent: true };
    let body = fleet::BodyCheck { path: "a.b".to_owned(), value: pattern("x"), absent: true };
    fleet::RequestMatch {
        methods: vec!["POST".to_owned()],
        path: pattern("^/a").map(|pattern| fleet::Pattern { absent: true, ..pattern }),
        headers: vec![pair.clone()],
        query: vec![pair],
        body: vec![body],
    }
}

/// A certificate that can be a root.
const CA: &str = "\
-----BEGIN CERTIFICATE-----
MIIBMDCB46ADAgECAhQAhdq0YrugO2gx1UISdfifcsOYUjAFBgMrZXAwDTELMAkG
A1UEAwwCY2EwIBcNMjYxMTI2MTYyOTQ2WhgPMjEyNjExMDIxNjI5NDZaMA0xCzAJ
BgNVBAMMAmNhMCowBQYDK2VwAyEA2oYrxQWIf79blGVENNGbo0Xq7PWBipn9t/UA
szKSTwmjUzBRMB0GA1UdDgQWBBR6AjLU8CNc9qKP0TrJJpNlwCf/DTAfBgNVHSME
GDAWgBR6AjLU8CNc9qKP0TrJJpNlwCf/DTAPBgNVHRMBAf8EBTADAQH/MAUGAytl
cANBANBiYhA3vcahOhhNg0FbnzjXWmSI7L4RAWR4Hvb9/ppQbgXbY/WeLIekOOPm
tdGF0CPS2rrTKqII8qh8ZFI0TwU=
-----END CERTIFICATE-----
";

fn seconds(seconds: u64) -> Option<pbjson_types::Duration> {
    Some(rr_contract::model::time::wire_duration(std::time::Duration::from_secs(seconds)))
}

fn validation() -> Option<fleet::Validation> {
    let what = Some(fleet::validation::What::JsonSchema("{}".to_owned()));
    Some(fleet::Validation { what, methods: vec!["POST".to_owned()], unlisted: 0 })
}

fn rewrite() -> fleet::Rewrite {
    let pair = |name: &str| fleet::Pair { name: name.to_owned(), value: "v".to_owned() };
    let edits = |prefix: &str| fleet::PairEdits {
        remove: vec![format!("{prefix}-a")],
        rename: vec![fleet::Rename { from: format!("{prefix}-b"), to: format!("{prefix}-c") }],
        set: vec![pair(&format!("{prefix}-d"))],
        add: vec![pair(&format!("{prefix}-e"))],
    };
    fleet::Rewrite {
        strip_prefix: "/v1".to_owned(),
        add_prefix: "/v2".to_owned(),
        query: Some(edits("q")),
        request_headers: Some(edits("x")),
        response_headers: Some(edits("y")),
        host: "api.example".to_owned(),
        via: true,
    }
}

#[test]
fn every_field_of_a_proxy_is_sent() {
    let limits =
        |per_minute_per_node, per_day_per_node| Some(fleet::Limits { per_minute_per_node, per_day_per_node });
    let said = wire::Proxy {
        id: proxy_id(),
        org: org(),
        name: "echo".to_owned(),
        active: Some(false),
        caller_credentials: vec![credential_id(1), credential_id(3)],
        target: target_id(),
        upstream_credential: credential_id(2),
        regions: vec![RegionId::from_random([1; 16]).to_string()],
        default_effect: Effect::Deny.into(),
        deny_status: 403,
        opaque_paths: true,
        limits: limits(1, 2),
        observe: true,
        max_request_bytes: 3,
        max_response_bytes: 4,
        limits_per_caller: limits(5, 6),
        limits_per_address: limits(7, 8),
        retry: Some(fleet::RetryPolicy {
            attempts: 2,
            statuses: vec![503],
            budget_percent: 9,
            backoff: seconds(1),
            max_backoff: seconds(2),
        }),
        max_concurrent_requests_per_node: 10,
        websocket: true,
        tunnels_unread: true,
        client_certificates: true,
        test_after_change: true,
        rewrite: Some(rewrite()),
        cors: Some(fleet::Cors {
            origins: vec!["https://app.example".to_owned()],
            methods: vec!["PUT".to_owned()],
            headers: vec!["x-a".to_owned()],
            exposed_headers: vec!["x-b".to_owned()],
            credentials: true,
            max_age: seconds(3),
        }),
        forwarded: fleet::ForwardedHeaders::XForwarded.into(),
        echo_guard: fleet::EchoGuard::Refuse.into(),
        recording: Some(fleet::Recording { durable: true, ..Default::default() }),
        validation: validation(),
        ..wire::Proxy::default()
    };
    let wanted = fleet::ProxyResource {
        name: "echo".to_owned(),
        active: false,
        caller_credentials: said.caller_credentials.clone(),
        target: target_id(),
        upstream_credential: credential_id(2),
        regions: said.regions.clone(),
        default_effect: Effect::Deny.into(),
        deny_status: 403,
        opaque_paths: true,
        limits: limits(1, 2),
        observe: true,
        max_request_bytes: 3,
        max_response_bytes: 4,
        limits_per_caller: limits(5, 6),
        limits_per_address: limits(7, 8),
        retry: said.retry.clone(),
        max_concurrent_requests_per_node: 10,
        websocket: true,
        tunnels_unread: true,
        client_certificates: true,
        test_after_change: true,
        rewrite: said.rewrite.clone(),
        cors: said.cors.clone(),
        forwarded: fleet::ForwardedHeaders::XForwarded.into(),
        echo_guard: fleet::EchoGuard::Refuse.into(),
        recording: said.recording.clone(),
        validation: validation(),
    };
    let (found, needs) = compiled::<fleet::ProxyResource>(Resource::Proxy(said.clone()));
    assert_eq!(found, wanted);
    for needed in [
        feature::DEFAULT_DENY,
        feature::LIMITS,
        feature::KEYED_LIMITS,
        feature::RULE_OBSERVE,
        feature::BODY_LIMITS,
        feature::DENY_STATUS,
        feature::OPAQUE_PATHS,
        feature::RETRY,
        feature::CONCURRENCY,
        feature::WEBSOCKET,
        feature::CLIENT_CERTIFICATES,
        feature::REWRITE,
        feature::CORS,
        feature::FORWARDED,
        feature::ECHO_GUARD,
        feature::DURABLE_RECORDS,
        feature::VALIDATION,
    ] {
        assert!(needs.contains(&needed), "{needed}: {needs:?}");
    }
    let plain = wire::Proxy {
        active: None,
        default_effect: Effect::Allow.into(),
        deny_status: 400,
        opaque_paths: false,
        observe: false,
        max_request_bytes: 0,
        max_response_bytes: 0,
        limits: limits(0, 0),
        limits_per_caller: limits(0, 0),
        limits_per_address: limits(0, 0),
        retry: None,
        max_concurrent_requests_per_node: 0,
        websocket: false,
        tunnels_unread: false,
        client_certificates: false,
        test_after_change: false,
        rewrite: None,
        cors: None,
        forwarded: 0,
        echo_guard: fleet::EchoGuard::Mask.into(),
        recording: Some(fleet::Recording { sample_per_thousand: Some(1000), ..Default::default() }),
        validation: None,
        ..said
    };
    let (found, needs) = compiled::<fleet::ProxyResource>(Resource::Proxy(plain));
    let wanted = fleet::ProxyResource {
        name: "echo".to_owned(),
        active: true,
        caller_credentials: wanted.caller_credentials,
        target: target_id(),
        upstream_credential: credential_id(2),
        regions: wanted.regions,
        ..fleet::ProxyResource::default()
    };
    assert_eq!((found, needs), (wanted, Vec::new()), "what means the same has one form");
}

#[test]
fn every_field_of_a_target_and_of_a_credential_is_sent() {
    let said = wire::Target {
        id: target_id(),
        org: org(),
        name: "echo".to_owned(),
        base_url: "https://echo.example/base".to_owned(),
        connect_timeout: seconds(3),
        response_timeout: seconds(4),
        default_effect: Effect::Deny.into(),
        more_base_urls: vec!["https://other.example/base".to_owned()],
        balance: fleet::Balance::LeastRequests.into(),
        idle_timeout: seconds(5),
        total_timeout: seconds(6),
        outlier_ejection: Some(fleet::OutlierEjection {
            consecutive_failures: 7,
            ejection_time: seconds(8),
            max_ejected_percent: 9,
        }),
        circuit_breaker: Some(fleet::CircuitBreaker { consecutive_failures: 10, open_for: seconds(11) }),
        health_check: Some(fleet::HealthCheck {
            path: "/up".to_owned(),
            interval: seconds(12),
            timeout: seconds(3),
            unhealthy_after: 13,
            healthy_after: 14,
            max_status: 299,
        }),
        ca: CA.to_owned(),
        min_tls: "1.3".to_owned(),
        http_version: "2".to_owned(),
        test_path: "/up?full=1".to_owned(),
        trace_context: true,
        validation: validation(),
        ..wire::Target::default()
    };
    let wanted = fleet::TargetResource {
        name: "echo".to_owned(),
        base_url: said.base_url.clone(),
        connect_timeout: seconds(3),
        response_timeout: seconds(4),
        default_effect: Effect::Deny.into(),
        more_base_urls: said.more_base_urls.clone(),
        balance: said.balance,
        idle_timeout: seconds(5),
        total_timeout: seconds(6),
        outlier_ejection: said.outlier_ejection,
        circuit_breaker: said.circuit_breaker,
        health_check: said.health_check.clone(),
        ca: CA.to_owned(),
        min_tls: "1.3".to_owned(),
        http_version: "2".to_owned(),
        test_path: "/up?full=1".to_owned(),
        trace_context: true,
        validation: validation(),
    };
    let plain = wire::Target {
        balance: fleet::Balance::RoundRobin.into(),
        min_tls: "1.2".to_owned(),
        default_effect: Effect::Allow.into(),
        name: said.name.clone(),
        base_url: said.base_url.clone(),
        id: said.id.clone(),
        org: said.org.clone(),
        ..wire::Target::default()
    };
    let needs = vec![
        feature::DEFAULT_DENY,
        feature::TARGET_TLS,
        feature::TARGET_TIMEOUTS,
        feature::ENDPOINTS,
        feature::CIRCUIT_BREAKER,
        feature::VALIDATION,
    ];
    assert_eq!(compiled(Resource::Target(said)), (wanted, needs));
    let (found, needs) = compiled::<fleet::TargetResource>(Resource::Target(plain));
    assert_eq!(
        (found.balance, &*found.min_tls, needs),
        (0, "", Vec::new()),
        "what means the same has one form"
    );

    let not_after = Some(timestamp(std::time::UNIX_EPOCH + std::time::Duration::from_secs(4_105_036_800)));
    let caller = wire::Caller {
        kind: wire::CallerKind::ApiKey.into(),
        previous_not_after: not_after,
        ..wire::Caller::default()
    };
    let said = wire::Credential {
        id: credential_id(1),
        org: org(),
        name: "app".to_owned(),
        version: 7,
        not_after,
        default_effect: Effect::Deny.into(),
        usage: Some(wire::credential::Usage::Caller(caller)),
        ..wire::Credential::default()
    };
    let secret = secret_row::Model {
        credential: credential_id(1),
        version: 7,
        sealed: None,
        key_hash: Some(vec![9; 32]),
        previous_hash: Some(vec![8; 32]),
        previous_sealed: None,
    };
    let hashes = vec![vec![9; 32], vec![8; 32]];
    let key = fleet::caller_credential::Kind::ApiKey(fleet::CallerApiKey { hashes });
    let caller =
        fleet::CallerCredential { kind: Some(key), previous_not_after: not_after, ..Default::default() };
    let wanted = fleet::CredentialResource {
        name: "app".to_owned(),
        version: 7,
        not_after,
        usage: Some(fleet::credential_resource::Usage::Caller(caller)),
        default_effect: Effect::Deny.into(),
    };
    let found: (fleet::CredentialResource, _) = compiled_with(Resource::Credential(said), Some(&secret));
    assert!(found.0 == wanted && found.1 == [feature::DEFAULT_DENY, feature::CALLER_OVERLAP]);
}

#[test]
fn every_field_of_a_rule_a_filter_and_a_meter_is_sent() {
    let parent = |noun: Noun, id: &str| noun.key(&org(), id).map(|key| key.to_wire());
    let said = wire::Rule {
        id: RuleId::from_random([1; 16]).to_string(),
        org: org(),
        name: "rule".to_owned(),
        effect: Effect::Deny.into(),
        priority: 9,
        when: Some(when()),
        notes: "ask ada".to_owned(),
        observe: true,
        parent: Some(wire::rule::Parent::Target(target_id())),
        ..wire::Rule::default()
    };
    let wanted = fleet::RuleResource {
        parent: parent(Noun::Target, &target_id()),
        name: "rule".to_owned(),
        effect: Effect::Deny.into(),
        priority: 9,
        when: Some(when()),
        notes: "ask ada".to_owned(),
        observe: true,
    };
    assert_eq!(compiled(Resource::Rule(said)), (wanted, vec![feature::RULES, feature::RULE_OBSERVE]));

    let said = wire::Filter {
        id: FilterId::from_random([1; 16]).to_string(),
        org: org(),
        name: "filter".to_owned(),
        action: fleet::FilterAction::Redact.into(),
        paths: vec!["a".to_owned(), "b[*].c".to_owned()],
        order: 10,
        mask: "gone".to_owned(),
        detectors: vec![fleet::Detector::Email.into(), fleet::Detector::CaSin.into()],
        patterns: vec!["x{1,20}".to_owned()],
        direction: fleet::FilterDirection::Request.into(),
        parent: Some(wire::filter::Parent::Credential(credential_id(1))),
        ..wire::Filter::default()
    };
    let wanted = fleet::FilterResource {
        parent: parent(Noun::Credential, &credential_id(1)),
        name: "filter".to_owned(),
        action: fleet::FilterAction::Redact.into(),
        paths: said.paths.clone(),
        order: 10,
        mask: "gone".to_owned(),
        detectors: said.detectors.clone(),
        patterns: said.patterns.clone(),
        direction: fleet::FilterDirection::Request.into(),
    };
    let needs = vec![feature::FILTERS, feature::FILTER_REDACT, feature::FILTER_REQUEST];
    assert_eq!(compiled(Resource::Filter(said)), (wanted, needs));

    let location = Some(fleet::meter_value::Location::BodyPath("usage.total".to_owned()));
    let value = fleet::MeterValue { location, reserve: 11, on_missing: Some(0), ..Default::default() };
    let said = wire::Meter {
        id: MeterId::from_random([1; 16]).to_string(),
        org: org(),
        name: "values".to_owned(),
        proxy: proxy_id(),
        active: Some(false),
        counts: Some(wire::meter::Counts::Value(value.clone())),
        only_when: Some(when()),
        per_minute_per_node: 12,
        per_hour_per_node: 13,
        per_day_per_node: 14,
        per_month_per_node: 15,
        per_caller: true,
        ..wire::Meter::default()
    };
    let wanted = fleet::MeterResource {
        proxy: proxy_id(),
        name: "values".to_owned(),
        active: false,
        counts: Some(fleet::meter_resource::Counts::Value(value)),
        only_when: Some(when()),
        per_minute_per_node: 12,
        per_hour_per_node: 13,
        per_day_per_node: 14,
        per_month_per_node: 15,
        per_caller: true,
    };
    let needs = vec![feature::METERS, feature::METER_PER_CALLER];
    assert_eq!(compiled(Resource::Meter(said)), (wanted, needs));
}

/// What nodes are sent of tokens, where its keys are of use.
fn checked(verify: &wire::JwtVerify) -> Result<fleet::CallerJwtVerify, Invalid> {
    let sent = jwt_verify(verify, &Value::default(), false)?;
    let caller = wire::Caller { jwt_verify: Some(verify.clone()), ..wire::Caller::default() };
    let usage = Some(wire::credential::Usage::Caller(caller));
    let resource = Some(Resource::Credential(wire::Credential { usage, ..wire::Credential::default() }));
    let document = Document { resource };
    if let Some(verify) = payload::brings_keys(&document) {
        key_set::check(&verify.jwks, &verify.algorithms)?;
    }
    Ok(sent)
}

#[test]
fn keys_of_tokens_come_from_a_url_or_by_value_and_some_of_them_have_to_be_of_use() {
    const USABLE: &str = r#"{"keys":[{"kty":"RSA"},
        {"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
    let verify = |url: &str, document: &str| {
        let wire = wire::JwtVerify {
            jwks_url: url.to_owned(),
            jwks: document.to_owned(),
            issuer: "i".to_owned(),
            ..wire::JwtVerify::default()
        };
        checked(&wire).map(|verify| verify.keys).map_err(|invalid| invalid.violations()[0].field.clone())
    };
    let at_fault = || Err("caller.jwt_verify.jwks".to_owned());
    assert_eq!(verify("", USABLE), Ok(Some(fleet::caller_jwt_verify::Keys::Jwks(USABLE.to_owned()))));
    let url = "https://i.example/keys";
    assert_eq!(verify(url, ""), Ok(Some(fleet::caller_jwt_verify::Keys::JwksUrl(url.to_owned()))));
    assert_eq!(verify(url, USABLE), at_fault());
    assert_eq!(verify("", r#"{"keys":[{"kty":"oct","k":"AA"}]}"#), at_fault());
    assert_eq!(verify("", "-----BEGIN PUBLIC KEY-----"), at_fault());
    let private = r#"{"keys":[{"kty":"oct","k":"AA"},{"kty":"#;
    assert_eq!(verify("", &USABLE.replacen(r#"{"keys":[{"kty":"#, private, 1)), at_fault());
    assert_eq!(verify("", ""), Err("caller.jwt_verify.jwks_url".to_owned()));
}

#[test]
fn an_algorithm_that_no_given_key_verifies_is_refused_where_it_stands() {
    const ED: &str = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    const EC: &str = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
    for (keys, algorithms, fault) in [
        (ED, &["EdDSA"][..], None),
        (ED, &["ES256"], Some(0)),
        (ED, &["EdDSA", "RS256"], Some(1)),
        (EC, &["ES256"], None),
        (EC, &["ES384"], Some(0)),
    ] {
        let verify = wire::JwtVerify {
            jwks: format!(r#"{{"keys":[{keys}]}}"#),
            issuer: "i".to_owned(),
            algorithms: algorithms.iter().map(|name| (*name).to_owned()).collect(),
            ..wire::JwtVerify::default()
        };
        let found = checked(&verify).err();
        let found = found.map(|invalid| invalid.violations()[0].field.clone());
        assert_eq!(
            found,
            fault.map(|at: usize| format!("caller.jwt_verify.algorithms[{at}]")),
            "{algorithms:?}"
        );
    }
}

#[test]
fn a_shared_secret_goes_to_nodes_with_the_one_before_as_long_as_both_are_live() {
    use fleet::caller_jwt_verify::Keys;

    let sealed = |n: u8| fleet::SealedSecret { nonce: vec![n], ..Default::default() };
    let row = |previous: Option<u8>| secret_row::Model {
        credential: credential_id(1),
        version: 2,
        sealed: Some(sealed(2).encode_to_vec()),
        key_hash: None,
        previous_hash: None,
        previous_sealed: previous.map(|n| sealed(n).encode_to_vec()),
    };
    let verify = wire::JwtVerify { issuer: "i".to_owned(), ..wire::JwtVerify::default() };
    for (row, are_two, previous) in
        [(row(None), false, None), (row(Some(1)), true, Some(sealed(1))), (row(Some(1)), false, None)]
    {
        let found = jwt_verify(&verify, &value(Some(&row)), are_two).expect("checks");
        assert!(
            found.keys == Some(Keys::SharedSecret(sealed(2))) && found.previous_shared_secret == previous
        );
    }
    // What could sign for the one would sign for the other.
    for (field, beside) in [
        ("jwks_url", wire::JwtVerify { jwks_url: "https://i.example".to_owned(), ..verify.clone() }),
        ("jwks", wire::JwtVerify { jwks: r#"{"keys":[]}"#.to_owned(), ..verify.clone() }),
    ] {
        let invalid = jwt_verify(&beside, &value(Some(&row(None))), false).expect_err(field);
        assert_eq!(invalid.violations()[0].field, format!("caller.jwt_verify.{field}"));
    }
}

#[test]
fn an_upstreams_secret_goes_to_nodes_with_the_one_before_as_long_as_both_are_live() {
    let sealed = |n: u8| fleet::SealedSecret { nonce: vec![n], ..Default::default() };
    let row = |previous: Option<u8>| secret_row::Model {
        credential: credential_id(1),
        version: 2,
        sealed: Some(sealed(2).encode_to_vec()),
        key_hash: None,
        previous_hash: None,
        previous_sealed: previous.map(|n| sealed(n).encode_to_vec()),
    };
    let until = Some(pbjson_types::Timestamp { seconds: 1_800_000_000, nanos: 0 });
    for (row, previous_not_after, before) in [
        (row(None), None, None),
        (row(Some(1)), until, Some(sealed(1))),
        (row(Some(1)), None, None),
        (row(None), until, None),
    ] {
        let kind = wire::UpstreamKind::Bearer.into();
        let upstream = wire::Upstream { kind, previous_not_after, ..wire::Upstream::default() };
        let usage = Some(wire::credential::Usage::Upstream(upstream));
        let wire = wire::Credential { name: "c".into(), version: 2, usage, ..Default::default() };
        let found = credential(&wire, &value(Some(&row))).expect("it compiles").usage;
        let Some(fleet::credential_resource::Usage::Upstream(found)) = found else { panic!("an upstream") };
        assert_eq!(found.previous_not_after.is_some(), before.is_some());
        assert!(found.previous_sealed == before, "both or neither");
    }
}

#[test]
fn what_a_label_says_that_opening_takes_is_what_a_node_has_to_know() {
    let wrap = fleet::Wrap {
        region: RegionId::from_random([1; 16]).to_string(),
        epoch: 1,
        encapsulated: vec![0; 32],
        sealed_key: vec![0; 48],
        suite: 0,
    };
    let sealed = fleet::SealedSecret {
        envelope: 1,
        suite: 1,
        nonce: vec![0; 24],
        ciphertext: vec![0; 32],
        key_commitment: vec![0; 32],
        wraps: vec![wrap],
    };
    let secret = secret_row::Model {
        credential: credential_id(1),
        version: 1,
        sealed: Some(sealed.encode_to_vec()),
        key_hash: None,
        previous_hash: None,
        previous_sealed: None,
    };
    let needs = |needs: &[&str]| {
        let needs = needs.iter().map(|need| (*need).to_owned()).collect();
        let label = Some(fleet::SealLabel { needs, ..fleet::SealLabel::default() });
        let kind = wire::UpstreamKind::ApiKey.into();
        let usage =
            Some(wire::credential::Usage::Upstream(wire::Upstream { kind, label, ..Default::default() }));
        let (id, org) = (credential_id(1), org());
        let credential =
            wire::Credential { id, org, name: "c".into(), version: 1, usage, ..Default::default() };
        compiled_with::<fleet::CredentialResource>(Resource::Credential(credential), Some(&secret)).1
    };
    assert!(needs(&[]).is_empty());
    assert_eq!(needs(&[feature::UPSTREAM_SEVERAL]), [feature::UPSTREAM_SEVERAL]);
}
