//! What each field of a document becomes in the message that a node is sent.

use prost::Message as _;
use rr_contract::wire::fleet::{self, Effect};

use super::*;

/// A document of each kind with all of its fields.
const ALL: &str = "\
kind: target
name: echo
base_url: https://echo.example/base
connect_timeout: 3s
response_timeout: 4s
default_effect: deny
more_base_urls: ['https://other.example/base']
balance: least-requests
idle_timeout: 5s
total_timeout: 6s
outlier_ejection: {consecutive_failures: 7, ejection_time: 8s, max_ejected_percent: 9}
circuit_breaker: {consecutive_failures: 10, open_for: 11s}
health_check: {path: /up, interval: 12s, timeout: 3s, unhealthy_after: 13, healthy_after: 14, max_status: 299}
ca: |
  -----BEGIN CERTIFICATE-----
  MIIBMDCB46ADAgECAhQAhdq0YrugO2gx1UISdfifcsOYUjAFBgMrZXAwDTELMAkG
  A1UEAwwCY2EwIBcNMjYxMTI2MTYyOTQ2WhgPMjEyNjExMDIxNjI5NDZaMA0xCzAJ
  BgNVBAMMAmNhMCowBQYDK2VwAyEA2oYrxQWIf79blGVENNGbo0Xq7PWBipn9t/UA
  szKSTwmjUzBRMB0GA1UdDgQWBBR6AjLU8CNc9qKP0TrJJpNlwCf/DTAfBgNVHSME
  GDAWgBR6AjLU8CNc9qKP0TrJJpNlwCf/DTAPBgNVHRMBAf8EBTADAQH/MAUGAytl
  cANBANBiYhA3vcahOhhNg0FbnzjXWmSI7L4RAWR4Hvb9/ppQbgXbY/WeLIekOOPm
  tdGF0CPS2rrTKqII8qh8ZFI0TwU=
  -----END CERTIFICATE-----
min_tls: '1.3'
http_version: '2'
trace_context: true
validation: {json_schema: '{}', methods: [POST]}
---
kind: credential
name: token
version: 7
not_after: '2100-01-31T00:00:00Z'
default_effect: deny
upstream: {kind: bearer}
value_from: {file: value, targets: [echo]}
---
kind: credential
name: app
version: 8
not_after: '2100-02-28T00:00:00Z'
default_effect: deny
caller: {kind: api-key}
value_from: {file: app.key}
---
kind: proxy
name: echo
active: false
target: echo
caller_credentials: [app]
upstream_credential: token
default_effect: deny
deny_status: 403
opaque_paths: true
limits: {per_minute_per_node: 1, per_day_per_node: 2}
limits_per_caller: {per_minute_per_node: 3, per_day_per_node: 4}
limits_per_address: {per_minute_per_node: 5, per_day_per_node: 6}
observe: true
max_request_bytes: 7
max_response_bytes: '8'
retry: {attempts: 2, statuses: [503], budget_percent: 9, backoff: 1s, max_backoff: 2s}
max_concurrent_requests_per_node: 10
websocket: true
tunnels_unread: true
client_certificates: true
echo_guard: refuse
recording: {sample_per_thousand: 11, path_templates: ['/users/{id}'], request_headers: [x-a], response_headers: [x-b], query_parameters: [page]}
validation: {json_schema: '{}', methods: [POST]}
rewrite:
  strip_prefix: /v1
  add_prefix: /v2
  query: {remove: [q-a], rename: [{from: q-b, to: q-c}], set: [{name: q-d, value: v}], add: [{name: q-e, value: v}]}
  request_headers:
    {remove: [x-a], rename: [{from: x-b, to: x-c}], set: [{name: x-d, value: v}], add: [{name: x-e, value: v}]}
  response_headers:
    {remove: [y-a], rename: [{from: y-b, to: y-c}], set: [{name: y-d, value: v}], add: [{name: y-e, value: v}]}
  host: api.example
  via: true
cors:
  {origins: ['https://app.example'], methods: [PUT], headers: [x-a], exposed_headers: [x-b], credentials: true, max_age: 3s}
forwarded: x-forwarded
---
kind: rule
name: rule
proxy: echo
effect: deny
priority: 9
notes: ask ada
observe: true
when:
  methods: [POST]
  path: {regex: '^/a', flags: i, absent: true}
  headers: [{name: {regex: h}, value: {regex: v}, absent: true}]
  query: [{name: {regex: q}, absent: true}]
  body: [{path: 'a.b', value: {regex: x, flags: s}, absent: true}]
---
kind: filter
name: filter
target: echo
action: redact
paths: [a, 'b[*].c']
order: 10
mask: gone
detectors: [email, ca-sin]
patterns: ['x{1,20}']
direction: request
---
kind: meter
name: values
proxy: echo
active: false
value: {body_path: usage.total, reserve: 11, on_missing: 0}
only_when: {methods: [PUT]}
per_minute_per_node: 12
per_hour_per_node: 13
per_day_per_node: 14
per_month_per_node: 15
per_caller: true
---
kind: meter
name: requests
proxy: echo
requests: {}
";

/// A certificate that can be a root.
pub(super) const CA: &str = "\
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
    Some(rr_contract::model::time::wire_duration(Duration::from_secs(seconds)))
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

fn regex(regex: &str, flags: &str, absent: bool) -> fleet::Pattern {
    fleet::Pattern { regex: regex.to_owned(), flags: flags.to_owned(), absent }
}

#[test]
fn every_field_of_a_document_arrives_in_its_message() {
    let place = Place::new(ALL);
    let loader = place.loader();
    let offer = loader.offer(&Held::new()).unwrap_or_else(|fault| panic!("{}", chain(&fault)));
    let found = |is: fn(&ResourceId) -> bool| {
        let of_kind = offer.resources.iter().filter(move |(key, _)| is(&key.id));
        of_kind.map(|(key, offered)| (*key, &*offered.payload)).collect::<Vec<_>>()
    };
    let [(target, payload)] = found(|id| matches!(id, ResourceId::Target(_)))[..] else {
        panic!("one target")
    };
    let wanted = fleet::TargetResource {
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
        test_path: String::new(),
        trace_context: true,
        validation: Some(fleet::Validation {
            what: Some(fleet::validation::What::JsonSchema("{}".to_owned())),
            methods: vec!["POST".to_owned()],
            unlisted: 0,
        }),
    };
    assert_eq!(fleet::TargetResource::decode(payload).expect("a target"), wanted);

    let credentials = found(|id| matches!(id, ResourceId::Credential(_)));
    let [(token, payload), (app, other)] = credentials[..] else { panic!("two credentials") };
    for (payload, name, version, not_after) in
        [(payload, "token", 7, 4_105_036_800), (other, "app", 8, 4_107_456_000)]
    {
        let found = fleet::CredentialResource::decode(payload).expect("a credential");
        assert_eq!((&*found.name, found.version, found.default_effect()), (name, version, Effect::Deny));
        assert_eq!(found.not_after.map(|at| at.seconds), Some(not_after));
    }

    let [(proxy, payload)] = found(|id| matches!(id, ResourceId::Proxy(_)))[..] else { panic!("one proxy") };
    let limits =
        |per_minute_per_node, per_day_per_node| Some(fleet::Limits { per_minute_per_node, per_day_per_node });
    let wanted = fleet::ProxyResource {
        name: "echo".to_owned(),
        active: false,
        caller_credentials: vec![app.id_text()],
        target: target.id_text(),
        upstream_credential: token.id_text(),
        regions: vec![loader.own().region().to_string()],
        default_effect: Effect::Deny.into(),
        deny_status: 403,
        opaque_paths: true,
        limits: limits(1, 2),
        limits_per_caller: limits(3, 4),
        limits_per_address: limits(5, 6),
        observe: true,
        max_request_bytes: 7,
        max_response_bytes: 8,
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
        test_after_change: false,
        client_certificates: true,
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
        recording: Some(fleet::Recording {
            path_templates: vec!["/users/{id}".to_owned()],
            request_headers: vec!["x-a".to_owned()],
            response_headers: vec!["x-b".to_owned()],
            query_parameters: vec!["page".to_owned()],
            sample_per_thousand: Some(11),
            durable: false,
        }),
        validation: Some(fleet::Validation {
            what: Some(fleet::validation::What::JsonSchema("{}".to_owned())),
            methods: vec!["POST".to_owned()],
            unlisted: 0,
        }),
    };
    assert_eq!(fleet::ProxyResource::decode(payload).expect("a proxy"), wanted);

    let [(_, payload)] = found(|id| matches!(id, ResourceId::Rule(_)))[..] else { panic!("one rule") };
    let pair = |name: &str, value: Option<&str>| fleet::PairCheck {
        name: Some(regex(name, "", false)),
        value: value.map(|value| regex(value, "", false)),
        absent: true,
    };
    let field =
        fleet::BodyCheck { path: "a.b".to_owned(), value: Some(regex("x", "s", false)), absent: true };
    let when = fleet::RequestMatch {
        methods: vec!["POST".to_owned()],
        path: Some(regex("^/a", "i", true)),
        headers: vec![pair("h", Some("v"))],
        query: vec![pair("q", None)],
        body: vec![field],
    };
    let wanted = fleet::RuleResource {
        parent: Some(proxy.to_wire()),
        name: "rule".to_owned(),
        effect: Effect::Deny.into(),
        priority: 9,
        when: Some(when),
        notes: "ask ada".to_owned(),
        observe: true,
    };
    assert_eq!(fleet::RuleResource::decode(payload).expect("a rule"), wanted);

    let [(_, payload)] = found(|id| matches!(id, ResourceId::Filter(_)))[..] else { panic!("one filter") };
    let wanted = fleet::FilterResource {
        parent: Some(target.to_wire()),
        name: "filter".to_owned(),
        action: fleet::FilterAction::Redact.into(),
        paths: vec!["a".to_owned(), "b[*].c".to_owned()],
        order: 10,
        mask: "gone".to_owned(),
        detectors: vec![fleet::Detector::Email.into(), fleet::Detector::CaSin.into()],
        patterns: vec!["x{1,20}".to_owned()],
        direction: fleet::FilterDirection::Request.into(),
    };
    assert_eq!(fleet::FilterResource::decode(payload).expect("a filter"), wanted);

    let meters = found(|id| matches!(id, ResourceId::Meter(_)));
    let [(_, values), (_, requests)] = meters[..] else { panic!("two meters") };
    let location = Some(fleet::meter_value::Location::BodyPath("usage.total".to_owned()));
    let value = fleet::MeterValue { location, reserve: 11, on_missing: Some(0), ..Default::default() };
    let when = fleet::RequestMatch { methods: vec!["PUT".to_owned()], ..fleet::RequestMatch::default() };
    let wanted = fleet::MeterResource {
        proxy: proxy.id_text(),
        name: "values".to_owned(),
        active: false,
        counts: Some(fleet::meter_resource::Counts::Value(value)),
        only_when: Some(when),
        per_minute_per_node: 12,
        per_hour_per_node: 13,
        per_day_per_node: 14,
        per_month_per_node: 15,
        per_caller: true,
    };
    assert_eq!(fleet::MeterResource::decode(values).expect("a meter"), wanted);
    let wanted = fleet::MeterResource {
        proxy: proxy.id_text(),
        name: "requests".to_owned(),
        active: true,
        counts: Some(fleet::meter_resource::Counts::Requests(fleet::MeterRequests {})),
        ..fleet::MeterResource::default()
    };
    assert_eq!(fleet::MeterResource::decode(requests).expect("a meter"), wanted);
}
