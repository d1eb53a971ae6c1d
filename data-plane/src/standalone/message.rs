//! One document to the message that nodes are sent, field by field.
//!
//! The same as the control plane's compiler does with the messages of the management API. Looks up no name.

use std::collections::HashMap;

use data_encoding::HEXLOWER_PERMISSIVE;
use prost::Message as _;
use rr_contract::client_key::ClientKey;
use rr_contract::file::traffic::Validation;
use rr_contract::model::id::RegionId;
use rr_contract::model::origin::{BaseUrl, Scheme};
use rr_contract::model::resource::Key;
use rr_contract::policy::key_set::KeySet;
use rr_contract::secret::Secret;
use rr_contract::wire::fleet::caller_jwt_verify::Keys;
use rr_contract::wire::fleet::credential_resource::Usage;
use rr_contract::wire::fleet::meter_resource::Counts;
use rr_contract::wire::fleet::{self, FilterDirection};
use rr_contract::wire::fleet::{caller_credential, meter_value, upstream_credential};

use super::document::{
    Caller, CallerCertificate, Credential, Filter, Limits, Meter, MeterValue, Proxy, Rule, Target, Upstream,
};
use super::fault::Faults;
use super::node::Node;
use super::secret::{Lives, Place, Unsealed, Wrong};
use super::spelling::{CallerKind, UpstreamKind};
use super::written;

/// What a value that came sealed needs.
const BOUND: &str =
    "is bound to the credential that it was sealed for: give its `id` and `org`, and --installation";

/// What a document becomes.
pub(super) enum Body {
    Payload(Vec<u8>),
    /// A credential whose value has to be sealed.
    Value(Box<(fleet::CredentialResource, Unsealed)>),
}

/// A resource and the document that says it.
pub(super) struct Entry {
    pub(super) key: Key,
    pub(super) body: Body,
    /// `None`: the organization, which stands in no document.
    pub(super) node: Option<Node>,
}

/// The default effect, unset where it equals the meaning of unset.
fn default_effect(said: fleet::Effect) -> i32 {
    if said == fleet::Effect::Allow { 0 } else { said.into() }
}

pub(super) fn target(said: Target, node: &Node, faults: &mut Faults) -> Option<fleet::TargetResource> {
    let is_plain = said.base_url.parse::<BaseUrl>().is_ok_and(|url| url.scheme() == Scheme::Http);
    if is_plain && !said.danger_plaintext {
        let what =
            "is plain HTTP, which sends secrets in the clear: use https, or set danger_plaintext: true";
        faults.field(node, "base_url", what);
        return None;
    }
    let validation = validation(said.validation, node, faults);
    Some(fleet::TargetResource {
        name: said.name,
        base_url: said.base_url,
        connect_timeout: said.connect_timeout,
        response_timeout: said.response_timeout,
        default_effect: default_effect(said.default_effect),
        more_base_urls: said.more_base_urls,
        balance: if said.balance == fleet::Balance::RoundRobin { 0 } else { said.balance.into() },
        idle_timeout: said.idle_timeout,
        total_timeout: said.total_timeout,
        outlier_ejection: said.outlier_ejection.map(Into::into),
        circuit_breaker: said.circuit_breaker.map(Into::into),
        health_check: said.health_check.map(Into::into),
        ca: said.ca,
        min_tls: if said.min_tls == "1.2" { String::new() } else { said.min_tls },
        http_version: said.http_version,
        // Nobody asks a node without a control plane for tests.
        test_path: String::new(),
        trace_context: said.trace_context,
        validation,
    })
}

pub(super) fn credential(
    said: Credential,
    node: &Node,
    place: &Place<'_>,
    targets: &HashMap<String, Lives>,
    faults: &mut Faults,
) -> Option<Body> {
    let mut message = fleet::CredentialResource {
        name: said.name.clone(),
        version: said.version.max(1),
        not_after: said.not_after,
        usage: None,
        default_effect: default_effect(said.default_effect),
    };
    if said.plain.is_some() {
        let what = "is for calls of the API: a file says in value_from where the secret is";
        faults.field(node, "plain", what.to_owned());
        return None;
    }
    if let Some(caller) = &said.caller {
        written::check(caller, node, faults);
    }
    let wrong = match (&said.caller, &said.upstream) {
        (Some(_), None) => match caller(said, place) {
            Ok((caller, shared)) => {
                message.usage = Some(Usage::Caller(caller));
                return Some(match shared {
                    Some(shared) => Body::Value(Box::new((message, Unsealed::Shared(shared)))),
                    None => Body::Payload(message.encode_to_vec()),
                });
            }
            Err(wrong) => wrong,
        },
        (None, Some(_)) => match upstream(said, message, place, targets) {
            Ok(body) => return Some(body),
            Err(wrong) => wrong,
        },
        (Some(_), Some(_)) => ("upstream", "a credential is of one use: give caller or upstream".to_owned()),
        (None, None) => ("", "a credential needs its use: give caller or upstream".to_owned()),
    };
    match wrong {
        ("", what) => faults.add(node.line, what),
        (field, what) => faults.field(node, field, what),
    }
    None
}

/// What callers present, and the secret that verifies it, where one has to be sealed.
fn caller(said: Credential, place: &Place<'_>) -> Result<(fleet::CallerCredential, Option<Secret>), Wrong> {
    use caller_credential::Kind;

    let Caller {
        kind,
        header,
        prefix,
        username,
        jwt_verify,
        certificate,
        value_hash,
        password_hash,
        sealed,
        previous_not_after,
        ..
    } = said.caller.unwrap_or_default();
    let certificate = certificate.unwrap_or_default();
    let is_named = !certificate.spiffe_id.is_empty();
    let is_known_by_hash = match kind {
        CallerKind::ApiKey | CallerKind::Bearer | CallerKind::Jwt => true,
        CallerKind::Certificate => !is_named,
        CallerKind::Basic | CallerKind::JwtVerify | CallerKind::Unspecified => false,
    };
    let has_hashes = !(said.key_hashes.is_empty() && value_hash.is_empty());
    let is_given = said.value_from.is_some() || has_hashes;
    // Before a value is read: what it is good for is another question.
    let has_none = kind == CallerKind::Basic || kind == CallerKind::Certificate && is_named;
    if is_given && has_none || has_hashes && kind == CallerKind::JwtVerify {
        let instead = if kind == CallerKind::Basic {
            ", and give the hash of the password as password_hash"
        } else {
            ""
        };
        let what = format!("this kind has no key: leave out value_from and key_hashes{instead}");
        return Err(("caller", what));
    }
    if kind != CallerKind::Basic && !(username.is_empty() && password_hash.is_empty()) {
        return Err(("caller", "only the kind basic has username and password_hash".to_owned()));
    }
    if kind != CallerKind::Certificate && (is_named || !certificate.ca.is_empty()) {
        return Err(("caller.certificate", "only the kind certificate has it".to_owned()));
    }
    if kind != CallerKind::Bearer && !prefix.is_empty() {
        return Err((
            "caller.prefix",
            "stands before the value of kind bearer alone: leave it out".to_owned(),
        ));
    }
    if is_known_by_hash && !is_given {
        let what = "nothing says which key is meant: give value_from with env or file, or key_hashes";
        return Err(("caller", what.to_owned()));
    }
    if said.jwks_from.is_some() && kind != CallerKind::JwtVerify {
        return Err(("jwks_from", "is for kind jwt-verify".to_owned()));
    }
    let mut shared = None;
    let is_bound = !said.id.is_empty() && !said.org.is_empty();
    if sealed.is_some() && kind != CallerKind::JwtVerify {
        return Err(("caller.sealed", "is the secret of kind jwt-verify: give value_from".to_owned()));
    }
    let mut hashes: Vec<Vec<u8>> = Some(value_hash).filter(|hash| !hash.is_empty()).into_iter().collect();
    for text in &said.key_hashes {
        let hash = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok().filter(|hash| hash.len() == 32);
        let hash = hash.ok_or_else(|| ("key_hashes", "a hash is 64 hexadecimal digits".to_owned()))?;
        hashes.push(hash);
    }
    // Of jwt-verify, it is no key that a hash finds.
    let shared_from = said.value_from.as_ref().filter(|_| kind == CallerKind::JwtVerify);
    if let Some(from) = said.value_from.as_ref().filter(|_| is_known_by_hash) {
        // The value itself is the newest.
        hashes.insert(0, place.hash(from, kind)?.to_vec());
    }
    let kind = match kind {
        CallerKind::ApiKey => Kind::ApiKey(fleet::CallerApiKey { hashes }),
        CallerKind::Bearer => Kind::Bearer(fleet::CallerBearer { hashes, prefix }),
        CallerKind::Jwt => Kind::Jwt(fleet::CallerJwt { hashes }),
        CallerKind::Certificate => {
            let keys = hashes.iter().map(|hash| ClientKey::try_from(&**hash));
            let keys = keys.map(|key| key.map(|key| key.hash().as_bytes().to_vec()));
            let hashes: Result<_, _> = keys.collect();
            let hashes = hashes.map_err(|error| ("caller.value_hash", error.to_string()))?;
            let CallerCertificate { spiffe_id, ca, .. } = certificate;
            Kind::Certificate(fleet::CallerCertificate { hashes, spiffe_id, ca })
        }
        CallerKind::JwtVerify => match jwt_verify {
            Some(verify) if !verify.jwks.is_empty() && !verify.jwks_url.is_empty() => {
                return Err(("caller.jwt_verify", "has both jwks and jwks_url: leave one out".to_owned()));
            }
            Some(mut verify) => {
                if let Some(from) = &said.jwks_from {
                    if !(verify.jwks.is_empty() && verify.jwks_url.is_empty()) {
                        let what = "stands beside the keys of jwt_verify: leave one out";
                        return Err(("jwks_from", what.to_owned()));
                    }
                    verify.jwks = place.keys(from)?;
                }
                let mut verify = fleet::CallerJwtVerify::from(verify);
                let verifies = (verify.keys.take(), sealed, shared_from);
                verify.keys = match verifies {
                    (Some(keys), None, None) => Some(keys),
                    (None, Some(sealed), None) if is_bound => Some(Keys::SharedSecret(sealed.into())),
                    (None, Some(_), None) => return Err(("caller.sealed", BOUND.to_owned())),
                    (None, None, Some(from)) => {
                        shared = Some(place.shared(from, &verify.algorithms)?);
                        None
                    }
                    (None, None, None) => {
                        let what = "says nowhere what verifies a token: give jwks_url, jwks, jwks_from, or value_from for a shared secret";
                        return Err(("caller.jwt_verify", what.to_owned()));
                    }
                    _ => {
                        let what = "has several places of what verifies a token: give one of jwks_url, jwks, value_from and \
                                    caller.sealed";
                        return Err(("caller.jwt_verify", what.to_owned()));
                    }
                };
                if let Some(Keys::Jwks(document)) = &verify.keys
                    // What is no document is told of below.
                    && let Ok(keys) = KeySet::parse(document.as_bytes())
                {
                    if keys.holds_private {
                        let what = "holds a key that signs: give public keys only";
                        return Err(("caller.jwt_verify.jwks", what.to_owned()));
                    }
                    if let Some(i) = keys.lacks(&verify.algorithms) {
                        let what = format!("names {}, which no key of it verifies", verify.algorithms[i]);
                        return Err(("caller.jwt_verify.algorithms", what));
                    }
                }
                Kind::JwtVerify(verify)
            }
            None => return Err(("caller", "kind jwt-verify needs jwt_verify".to_owned())),
        },
        CallerKind::Basic if password_hash.is_empty() => {
            let what =
                "is missing: give the hash of the password, which `argon2` makes; see docs/standalone.md";
            return Err(("caller.password_hash", what.to_owned()));
        }
        CallerKind::Basic => {
            Kind::Basic(fleet::CallerBasic { user: username, password_hashes: vec![password_hash] })
        }
        CallerKind::Unspecified => {
            let what = "kind is missing: give api-key, bearer, basic, jwt, jwt-verify or certificate";
            return Err(("caller", what.to_owned()));
        }
    };
    let header = header.to_ascii_lowercase();
    Ok((fleet::CallerCredential { kind: Some(kind), header, previous_not_after }, shared))
}

fn upstream(
    said: Credential,
    mut message: fleet::CredentialResource,
    place: &Place<'_>,
    targets: &HashMap<String, Lives>,
) -> Result<Body, Wrong> {
    let Upstream { kind, sealed, .. } = said.upstream.unwrap_or_default();
    if !said.key_hashes.is_empty() {
        return Err(("key_hashes", "belongs to a caller credential".to_owned()));
    }
    if said.jwks_from.is_some() {
        return Err(("jwks_from", "belongs to a caller credential".to_owned()));
    }
    let kind = match (sealed, &said.value_from) {
        (Some(_), Some(_)) => {
            return Err(("value_from", "the value comes sealed already: leave one of them out".to_owned()));
        }
        (Some(sealed), None) => {
            if said.id.is_empty() || said.org.is_empty() {
                return Err(("upstream.sealed", BOUND.to_owned()));
            }
            upstream_credential::Kind::Sealed(sealed.into())
        }
        (None, Some(from)) => {
            let spec = place.spec(from, kind, targets)?;
            return Ok(Body::Value(Box::new((message, Unsealed::Upstream(Box::new(spec))))));
        }
        (None, None) if kind == UpstreamKind::None => upstream_credential::Kind::None(fleet::UpstreamNone {}),
        (None, None) => {
            return Err(("upstream", "nothing says which value is meant: give value_from".to_owned()));
        }
    };
    let upstream = fleet::UpstreamCredential { kind: Some(kind), ..fleet::UpstreamCredential::default() };
    message.usage = Some(Usage::Upstream(upstream));
    Ok(Body::Payload(message.encode_to_vec()))
}

pub(super) fn proxy(
    said: Proxy,
    callers: Vec<String>,
    target: String,
    upstream: String,
    region: RegionId,
    validation: Option<fleet::Validation>,
) -> fleet::ProxyResource {
    fleet::ProxyResource {
        name: said.name,
        active: said.active.unwrap_or(true),
        caller_credentials: callers,
        target,
        upstream_credential: upstream,
        regions: vec![region.to_string()],
        default_effect: default_effect(said.default_effect),
        deny_status: if said.deny_status == 400 { 0 } else { said.deny_status },
        opaque_paths: said.opaque_paths,
        limits: Limits::to_wire(said.limits),
        observe: said.observe,
        max_request_bytes: said.max_request_bytes,
        max_response_bytes: said.max_response_bytes,
        limits_per_caller: Limits::to_wire(said.limits_per_caller),
        limits_per_address: Limits::to_wire(said.limits_per_address),
        retry: said.retry.map(Into::into),
        max_concurrent_requests_per_node: said.max_concurrent_requests_per_node,
        websocket: said.websocket,
        tunnels_unread: said.tunnels_unread,
        client_certificates: said.client_certificates,
        rewrite: said.rewrite.map(Into::into),
        cors: said.cors.map(Into::into),
        forwarded: said.forwarded.into(),
        // Nobody asks a node without a control plane for tests.
        test_after_change: false,
        echo_guard: echo_guard(said.echo_guard),
        recording: said.recording.map(fleet::Recording::from).filter(|it| *it != fleet::Recording::default()),
        validation,
    }
}

/// What means the same has one form.
/// What a document says of requests.
pub(super) fn validation(
    said: Option<Validation>,
    node: &Node,
    faults: &mut Faults,
) -> Option<fleet::Validation> {
    let message = said?.message();
    if message.is_none() {
        let what = "one document says what requests are like: give json_schema or openapi";
        faults.field(node, "validation.openapi", what);
    }
    message
}

fn echo_guard(said: fleet::EchoGuard) -> i32 {
    if said == fleet::EchoGuard::Mask { 0 } else { said.into() }
}

pub(super) fn rule(said: Rule, parent: &Key) -> fleet::RuleResource {
    let when = said.when.map(fleet::RequestMatch::from);
    fleet::RuleResource {
        parent: Some(parent.to_wire()),
        name: said.name,
        effect: said.effect.into(),
        priority: said.priority,
        when: when.filter(|when| *when != fleet::RequestMatch::default()),
        notes: said.notes,
        observe: said.observe,
    }
}

pub(super) fn filter(said: Filter, parent: &Key) -> fleet::FilterResource {
    fleet::FilterResource {
        parent: Some(parent.to_wire()),
        name: said.name,
        action: said.action.into(),
        paths: said.paths,
        order: said.order,
        mask: said.mask,
        detectors: said.detectors.into_iter().map(Into::into).collect(),
        patterns: said.patterns,
        direction: if said.direction == FilterDirection::Response { 0 } else { said.direction.into() },
    }
}

pub(super) fn meter(
    said: Meter,
    proxy: &Key,
    node: &Node,
    faults: &mut Faults,
) -> Option<fleet::MeterResource> {
    let counts = match (said.requests, said.value) {
        (Some(_), None) => Some(Counts::Requests(fleet::MeterRequests {})),
        (None, Some(value)) => Some(Counts::Value(number_of(value, node, faults)?)),
        (None, None) => None,
        (Some(_), Some(_)) => {
            faults.field(node, "value", "a meter counts one thing: give requests or value");
            return None;
        }
    };
    Some(fleet::MeterResource {
        proxy: proxy.id_text(),
        name: said.name,
        active: said.active.unwrap_or(true),
        counts,
        only_when: said.only_when.map(Into::into),
        per_minute_per_node: said.per_minute_per_node,
        per_hour_per_node: said.per_hour_per_node,
        per_day_per_node: said.per_day_per_node,
        per_month_per_node: said.per_month_per_node,
        per_caller: said.per_caller,
    })
}

fn number_of(said: MeterValue, node: &Node, faults: &mut Faults) -> Option<fleet::MeterValue> {
    use meter_value::Location;

    let location = match (said.body_path, said.header) {
        (Some(path), None) => Some(Location::BodyPath(path)),
        (None, Some(header)) => Some(Location::Header(header)),
        (None, None) => None,
        (Some(_), Some(_)) => {
            faults.field(node, "value.header", "a value is in one place: give body_path or header");
            return None;
        }
    };
    let readings = said.readings.into_iter().map(Into::into).collect();
    Some(fleet::MeterValue { location, reserve: said.reserve, on_missing: said.on_missing, readings })
}
