//! From documents to the payloads that nodes are sent.
//!
//! Parses no payload: whoever needs to know whether a node takes it does that, with the model. A credential's value is
//! given beside its document, which holds none.

use prost::Message as _;
use rr_wire::fleet::{self, Kind};
use rr_wire::management::{self as wire, Document, document};

use crate::model::invalid::Invalid;
use crate::model::keeping::ALL;
use crate::model::key::{Key, ResourceId};

/// What is kept of the value of a credential.
#[derive(Default)]
pub struct Value<'a> {
    /// The hash of a caller's newest value; of a password, as text.
    pub hash: Option<&'a [u8]>,
    /// The same of the value before, while it is live beside this one.
    pub previous_hash: Option<&'a [u8]>,
    /// The newest seal, encoded.
    pub sealed: Option<&'a [u8]>,
    /// The same of the value before, while it is live beside this one.
    pub previous_sealed: Option<&'a [u8]>,
}

/// The key and the payload of a document; none for a resource that nodes are not sent.
pub fn of(document: &Document, value: &Value<'_>) -> Result<Option<(Key, Vec<u8>)>, Invalid> {
    let Some(resource) = &document.resource else {
        return Err(Invalid::field("resource", "is missing"));
    };
    let (kind, org, id, payload) = match resource {
        document::Resource::Org(org) if org.deleted_at.is_some() => return Ok(None),
        document::Resource::Org(org) => {
            let wire = fleet::OrgResource { name: org.name.clone(), suspended: org.suspended };
            (Kind::Org, &org.id, &org.id, wire.encode_to_vec())
        }
        document::Resource::Target(wire) => (Kind::Target, &wire.org, &wire.id, target(wire).encode_to_vec()),
        document::Resource::Credential(wire) => {
            (Kind::Credential, &wire.org, &wire.id, credential(wire, value)?.encode_to_vec())
        }
        document::Resource::Proxy(wire) => (Kind::Proxy, &wire.org, &wire.id, proxy(wire).encode_to_vec()),
        document::Resource::Rule(wire) => (Kind::Rule, &wire.org, &wire.id, rule(wire)?.encode_to_vec()),
        document::Resource::Filter(wire) => {
            (Kind::Filter, &wire.org, &wire.id, filter(wire)?.encode_to_vec())
        }
        document::Resource::Meter(wire) => (Kind::Meter, &wire.org, &wire.id, meter(wire).encode_to_vec()),
        document::Resource::Region(_)
        | document::Resource::User(_)
        | document::Resource::Member(_)
        | document::Resource::Token(_)
        | document::Resource::NodeToken(_) => return Ok(None),
    };
    let key = key_of(kind, org, id).ok_or_else(|| Invalid::field("id", "is not an id"))?;
    Ok(Some((key, payload)))
}

/// What a credential says of tokens, where its document holds the keys that verify them.
pub fn brings_keys(document: &Document) -> Option<&wire::JwtVerify> {
    let Some(document::Resource::Credential(credential)) = &document.resource else { return None };
    let Some(wire::credential::Usage::Caller(caller)) = &credential.usage else { return None };
    caller.jwt_verify.as_ref().filter(|verify| !verify.jwks.is_empty())
}

/// What a document says of requests, if it does.
pub fn validation(document: &Document) -> Option<fleet::Validation> {
    match &document.resource {
        Some(document::Resource::Proxy(proxy)) => proxy.validation.clone(),
        Some(document::Resource::Target(target)) => target.validation.clone(),
        _ => None,
    }
}

/// The default effect, unset where it equals the meaning of unset: nodes that do not know the field take it so.
fn said(effect: i32) -> i32 {
    if effect == i32::from(fleet::Effect::Allow) { 0 } else { effect }
}

fn target(wire: &wire::Target) -> fleet::TargetResource {
    fleet::TargetResource {
        name: wire.name.clone(),
        base_url: wire.base_url.clone(),
        connect_timeout: wire.connect_timeout,
        response_timeout: wire.response_timeout,
        default_effect: said(wire.default_effect),
        more_base_urls: wire.more_base_urls.clone(),
        balance: if wire.balance() == fleet::Balance::RoundRobin { 0 } else { wire.balance },
        idle_timeout: wire.idle_timeout,
        total_timeout: wire.total_timeout,
        outlier_ejection: wire.outlier_ejection,
        circuit_breaker: wire.circuit_breaker,
        health_check: wire.health_check.clone(),
        ca: wire.ca.clone(),
        min_tls: if wire.min_tls == "1.2" { String::new() } else { wire.min_tls.clone() },
        http_version: wire.http_version.clone(),
        test_path: wire.test_path.clone(),
        trace_context: wire.trace_context,
        validation: wire.validation.clone(),
    }
}

fn proxy(wire: &wire::Proxy) -> fleet::ProxyResource {
    fleet::ProxyResource {
        name: wire.name.clone(),
        active: wire.active.unwrap_or(true),
        caller_credentials: wire.caller_credentials.clone(),
        target: wire.target.clone(),
        upstream_credential: wire.upstream_credential.clone(),
        regions: wire.regions.clone(),
        default_effect: said(wire.default_effect),
        deny_status: if wire.deny_status == 400 { 0 } else { wire.deny_status },
        opaque_paths: wire.opaque_paths,
        limits: limits(wire.limits),
        observe: wire.observe,
        max_request_bytes: wire.max_request_bytes,
        max_response_bytes: wire.max_response_bytes,
        limits_per_caller: limits(wire.limits_per_caller),
        limits_per_address: limits(wire.limits_per_address),
        retry: wire.retry.clone(),
        max_concurrent_requests_per_node: wire.max_concurrent_requests_per_node,
        websocket: wire.websocket,
        tunnels_unread: wire.tunnels_unread,
        client_certificates: wire.client_certificates,
        rewrite: wire.rewrite.clone(),
        cors: wire.cors.clone(),
        forwarded: wire.forwarded,
        test_after_change: wire.test_after_change,
        echo_guard: if wire.echo_guard() == fleet::EchoGuard::Mask { 0 } else { wire.echo_guard },
        recording: recording(wire.recording.clone()),
        validation: wire.validation.clone(),
    }
}

/// What means the same has one form.
fn recording(wire: Option<fleet::Recording>) -> Option<fleet::Recording> {
    let mut recording = wire?;
    if recording.sample_per_thousand == Some(ALL.into()) {
        recording.sample_per_thousand = None;
    }
    (recording != fleet::Recording::default()).then_some(recording)
}

/// Unset where there is none: what means the same has one form.
fn limits(wire: Option<fleet::Limits>) -> Option<fleet::Limits> {
    wire.filter(|limits| *limits != fleet::Limits::default())
}

/// What nodes are sent of a credential.
pub fn credential(wire: &wire::Credential, value: &Value<'_>) -> Result<fleet::CredentialResource, Invalid> {
    use fleet::credential_resource::Usage;
    use wire::credential::Usage as Said;

    let usage = match &wire.usage {
        Some(Said::Caller(caller)) => Usage::Caller(caller_credential(caller, value)?),
        Some(Said::Upstream(upstream)) => {
            let kind = match value.sealed {
                Some(sealed) => fleet::upstream_credential::Kind::Sealed(read_sealed("upstream", sealed)?),
                None if upstream.kind() == wire::UpstreamKind::None => {
                    fleet::upstream_credential::Kind::None(fleet::UpstreamNone {})
                }
                None => return Err(Invalid::field("upstream.sealed", "is missing")),
            };
            let needs = upstream.label.as_ref().map(|label| label.needs.clone()).unwrap_or_default();
            let before = value.previous_sealed;
            let before = before.zip(upstream.previous_not_after);
            let previous_not_after = before.map(|(_, until)| until);
            let previous_sealed = before.map(|(sealed, _)| read_sealed("upstream", sealed)).transpose()?;
            Usage::Upstream(fleet::UpstreamCredential {
                kind: Some(kind),
                needs,
                previous_sealed,
                previous_not_after,
            })
        }
        None => return Err(Invalid::field("usage", "is missing: set `caller` or `upstream`")),
    };
    Ok(fleet::CredentialResource {
        name: wire.name.clone(),
        version: wire.version,
        not_after: wire.not_after,
        usage: Some(usage),
        default_effect: said(wire.default_effect),
    })
}

fn caller_credential(caller: &wire::Caller, value: &Value<'_>) -> Result<fleet::CallerCredential, Invalid> {
    use fleet::caller_credential::Kind;

    let are_two = value.previous_hash.is_some() || value.previous_sealed.is_some();
    let previous_not_after = caller.previous_not_after.filter(|_| are_two);
    let hashes: Vec<Vec<u8>> =
        value.hash.into_iter().chain(value.previous_hash).map(<[u8]>::to_vec).collect();
    let kind = match caller.kind() {
        wire::CallerKind::ApiKey => Kind::ApiKey(fleet::CallerApiKey { hashes }),
        wire::CallerKind::Bearer => {
            Kind::Bearer(fleet::CallerBearer { hashes, prefix: caller.prefix.clone() })
        }
        wire::CallerKind::JwtVerify => {
            let Some(verify) = &caller.jwt_verify else {
                return Err(Invalid::field("caller.jwt_verify", "is missing"));
            };
            Kind::JwtVerify(jwt_verify(verify, value, previous_not_after.is_some())?)
        }
        wire::CallerKind::Jwt => Kind::Jwt(fleet::CallerJwt { hashes }),
        wire::CallerKind::Certificate => {
            let said = caller.certificate.clone().unwrap_or_default();
            // Of a name, the hash is kept too, so that it is that of one credential.
            let hashes = if said.spiffe_id.is_empty() { hashes } else { Vec::new() };
            Kind::Certificate(fleet::CallerCertificate { hashes, spiffe_id: said.spiffe_id, ca: said.ca })
        }
        wire::CallerKind::Basic => Kind::Basic(fleet::CallerBasic {
            user: caller.username.clone(),
            // Texts, which were checked when they came.
            password_hashes: hashes.iter().map(|hash| String::from_utf8_lossy(hash).into_owned()).collect(),
        }),
        wire::CallerKind::Unspecified => {
            return Err(Invalid::field("caller.kind", "is missing or not known"));
        }
    };
    let header = caller.header.to_ascii_lowercase();
    Ok(fleet::CallerCredential { kind: Some(kind), header, previous_not_after })
}

/// What nodes are sent of the tokens that a credential takes. Whether keys are of use is for who can read them.
pub fn jwt_verify(
    wire: &wire::JwtVerify,
    value: &Value<'_>,
    are_two: bool,
) -> Result<fleet::CallerJwtVerify, Invalid> {
    use fleet::caller_jwt_verify::Keys;

    let fault = |name: &str, what: String| Invalid::field(format!("caller.jwt_verify.{name}"), what);
    let sealed = value.sealed;
    let mut previous = None;
    let keys = match (&*wire.jwks_url, &*wire.jwks, sealed) {
        ("", "", Some(sealed)) => {
            let before = value.previous_sealed.filter(|_| are_two);
            previous = before.map(|before| read_sealed("caller", before)).transpose()?;
            Keys::SharedSecret(read_sealed("caller", sealed)?)
        }
        ("", "", None) => {
            return Err(fault(
                "jwks_url",
                "is missing, and so are `jwks` and a sealed secret: one of them verifies tokens".to_owned(),
            ));
        }
        // Whoever knows the one could sign for the other.
        (url, _, Some(_)) => {
            return Err(fault(
                if url.is_empty() { "jwks" } else { "jwks_url" },
                "is given for a credential whose secret is shared: create another credential".to_owned(),
            ));
        }
        (url, "", None) => Keys::JwksUrl(url.to_owned()),
        ("", document, None) => Keys::Jwks(document.to_owned()),
        _ => return Err(fault("jwks", "is given beside `jwks_url`: leave one out".to_owned())),
    };
    let mut required_claims = Vec::new();
    if !wire.subject.is_empty() {
        required_claims
            .push(fleet::RequiredClaim { name: "sub".to_owned(), values: vec![wire.subject.clone()] });
    }
    required_claims.extend(
        wire.scopes
            .iter()
            .map(|scope| fleet::RequiredClaim { name: "scope".to_owned(), values: vec![scope.clone()] }),
    );
    Ok(fleet::CallerJwtVerify {
        keys: Some(keys),
        issuer: wire.issuer.clone(),
        audiences: wire.audiences.clone(),
        algorithms: wire.algorithms.clone(),
        leeway: wire.leeway,
        required_claims,
        identity_claim: wire.identity_claim.clone(),
        previous_shared_secret: previous,
    })
}

fn read_sealed(usage: &str, row: &[u8]) -> Result<fleet::SealedSecret, Invalid> {
    let fault = |error: prost::DecodeError| Invalid::field(format!("{usage}.sealed"), error.to_string());
    fleet::SealedSecret::decode(row).map_err(fault)
}

fn rule(wire: &wire::Rule) -> Result<fleet::RuleResource, Invalid> {
    use wire::rule::Parent;

    let parent = match &wire.parent {
        Some(Parent::Proxy(id)) => key(Kind::Proxy, &wire.org, id)?,
        Some(Parent::Target(id)) => key(Kind::Target, &wire.org, id)?,
        Some(Parent::Credential(id)) => key(Kind::Credential, &wire.org, id)?,
        None => return Err(Invalid::field("parent", "is missing")),
    };
    Ok(fleet::RuleResource {
        parent: Some(parent),
        name: wire.name.clone(),
        effect: wire.effect,
        priority: wire.priority,
        when: wire.when.clone().filter(|when| *when != fleet::RequestMatch::default()),
        notes: wire.notes.clone(),
        observe: wire.observe,
    })
}

fn filter(wire: &wire::Filter) -> Result<fleet::FilterResource, Invalid> {
    use wire::filter::Parent;

    let parent = match &wire.parent {
        Some(Parent::Proxy(id)) => key(Kind::Proxy, &wire.org, id)?,
        Some(Parent::Target(id)) => key(Kind::Target, &wire.org, id)?,
        Some(Parent::Credential(id)) => key(Kind::Credential, &wire.org, id)?,
        None => return Err(Invalid::field("parent", "is missing")),
    };
    Ok(fleet::FilterResource {
        parent: Some(parent),
        name: wire.name.clone(),
        action: wire.action,
        paths: wire.paths.clone(),
        order: wire.order,
        mask: wire.mask.clone(),
        detectors: wire.detectors.clone(),
        patterns: wire.patterns.clone(),
        // What means the same has one form.
        direction: if wire.direction() == fleet::FilterDirection::Response { 0 } else { wire.direction },
    })
}

fn meter(wire: &wire::Meter) -> fleet::MeterResource {
    use fleet::meter_resource::Counts;
    use wire::meter::Counts as Said;

    fleet::MeterResource {
        proxy: wire.proxy.clone(),
        name: wire.name.clone(),
        active: wire.active.unwrap_or(true),
        counts: wire.counts.clone().map(|counts| match counts {
            Said::Requests(requests) => Counts::Requests(requests),
            Said::Value(value) => Counts::Value(value),
        }),
        only_when: wire.only_when.clone(),
        per_minute_per_node: wire.per_minute_per_node,
        per_hour_per_node: wire.per_hour_per_node,
        per_day_per_node: wire.per_day_per_node,
        per_month_per_node: wire.per_month_per_node,
        per_caller: wire.per_caller,
    }
}

fn key(kind: Kind, org: &str, id: &str) -> Result<fleet::Key, Invalid> {
    let key = key_of(kind, org, id).ok_or_else(|| Invalid::field("parent", "is not an id"))?;
    Ok(key.to_wire())
}

/// The key that nodes know a resource by. `None` where an id is malformed.
fn key_of(kind: Kind, org: &str, id: &str) -> Option<Key> {
    let org = org.parse().ok()?;
    let id = match kind {
        Kind::Org => ResourceId::Org,
        Kind::Target => ResourceId::Target(id.parse().ok()?),
        Kind::Credential => ResourceId::Credential(id.parse().ok()?),
        Kind::Proxy => ResourceId::Proxy(id.parse().ok()?),
        Kind::Rule => ResourceId::Rule(id.parse().ok()?),
        Kind::Filter => ResourceId::Filter(id.parse().ok()?),
        Kind::Meter => ResourceId::Meter(id.parse().ok()?),
        Kind::Unspecified => return None,
    };
    Some(Key::new(org, id))
}
