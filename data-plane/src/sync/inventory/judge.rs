//! Whether one resource can be taken, looked at by itself.
//!
//! Whatever the bytes are, the answer is a verdict on this resource and on no other.

use std::sync::Arc;
use std::time::SystemTime;

use prost::Message as _;
use rr_contract::model::caller::certificate::Certificate;
use rr_contract::model::caller::jwt::{JwksUrl, JwtVerify};
use rr_contract::model::caller::{Basic, Caller, CallerKind};
use rr_contract::model::credential::Usage;
use rr_contract::model::effect::Effect;
use rr_contract::model::feature;
use rr_contract::model::id::{CredentialId, OrgId};
use rr_contract::model::name::Name;
use rr_contract::model::proxy::CALLERS_MAX;
use rr_contract::model::resource::{InvalidPayload, Key, Model, PAYLOAD_MAX, ResourceId};
use rr_contract::model::validation::Validation;
use rr_contract::policy::filter::CompiledFilter;
use rr_contract::policy::meter::CompiledMeter;
use rr_contract::policy::pattern::{Patterns, Uncompilable};
use rr_contract::policy::validate::Validator;
use rr_contract::policy::verdict::CompiledRule;
use rr_contract::runtime::chain;
use rr_contract::seal::SealedSecret;
use rr_contract::wire::fleet;
use rr_contract::wire::fleet::Why;

use crate::client_certificate::Trust;
use crate::jwt::{Checks, Open, UnusableKeys};
use crate::passwords::Live;
use crate::quota::Quotas;
use crate::snapshot::{
    CompiledCaller, CompiledTarget, LastMinute, Opening, Place, Policy, RunningMeter, Standings,
    UpstreamCredential, Validations, Vault,
};

use super::super::transaction::Offered;
use super::held::CallerPart;
use super::index::is_policy;
use super::versions::{Known, Versions};
use super::{Inventory, Part, Reason, isolate};

/// Must-understand features of this build.
pub(crate) const FEATURES: &[&str] = &[
    feature::RULES,
    feature::FILTERS,
    feature::FILTER_REDACT,
    feature::FILTER_REQUEST,
    feature::METERS,
    feature::METER_PER_CALLER,
    feature::DEFAULT_DENY,
    feature::LIMITS,
    feature::DENY_STATUS,
    feature::OPAQUE_PATHS,
    feature::RULE_OBSERVE,
    feature::KEYED_LIMITS,
    feature::BODY_LIMITS,
    feature::WEBSOCKET,
    feature::REWRITE,
    feature::CORS,
    feature::VALIDATION,
    feature::VALIDATION_OPENAPI,
    feature::FORWARDED,
    feature::ECHO_GUARD,
    feature::DURABLE_RECORDS,
    feature::RECORDING,
    feature::CONCURRENCY,
    feature::CLIENT_CERTIFICATES,
    feature::TARGET_TLS,
    feature::TARGET_TEST,
    feature::TARGET_TIMEOUTS,
    feature::ENDPOINTS,
    feature::CIRCUIT_BREAKER,
    feature::RETRY,
    feature::CALLER_BASIC,
    feature::CALLER_BEARER,
    feature::CALLER_JWT,
    feature::CALLER_JWT_VERIFY,
    feature::CALLER_IDENTITY_CLAIM,
    feature::CALLER_CERTIFICATE,
    feature::CALLER_HEADER,
    feature::CALLER_OVERLAP,
    feature::UPSTREAM_QUERY,
    feature::UPSTREAM_SEVERAL,
    feature::UPSTREAM_OAUTH2,
    feature::UPSTREAM_CUSTOM_TOKEN,
    feature::UPSTREAM_AWS_SIGV4,
    feature::UPSTREAM_HMAC,
    feature::UPSTREAM_CLIENT_CERTIFICATE,
];

/// The result of parsing.
pub(crate) type Parsed = Result<Read, Reason>;

/// A payload that could be read.
pub(crate) struct Read {
    pub(super) model: Model,
    /// Set where this build must not run it.
    pub(super) lacks: Option<Reason>,
}

impl Inventory {
    /// Parses, unless that was done ahead, and compiles a resource other than a proxy.
    pub(super) fn judge(
        &mut self,
        key: &Key,
        offered: &Offered,
        parsed: Option<Parsed>,
        unseal: bool,
    ) -> Result<Part, Reason> {
        let mut compiler = Compiler {
            vault: &self.vault,
            versions: &self.versions,
            patterns: &mut self.patterns,
            quotas: &self.quotas,
            standings: &self.standings,
            validations: &self.validations,
        };
        let (part, known) = self.isolation.run(key, offered, || {
            let Read { model, lacks } = parsed.unwrap_or_else(|| parse(key, offered))?;
            if let Some(lacks) = lacks {
                return Err(Reason { caller: refused_caller(key, model), ..lacks });
            }
            let known = if let Model::Credential(credential) = &model {
                Known::of(credential)
            } else {
                Known::default()
            };
            Ok((compiler.part(key, model, unseal)?, known))
        })?;
        if let ResourceId::Credential(id) = key.id {
            self.versions.accept(id, known);
        }
        Ok(part)
    }
}

/// The parts of an inventory that compiling needs.
struct Compiler<'i> {
    vault: &'i Arc<Vault>,
    versions: &'i Versions,
    patterns: &'i mut Patterns,
    quotas: &'i Quotas,
    standings: &'i Standings,
    validations: &'i Validations,
}

impl Compiler<'_> {
    fn part(&mut self, key: &Key, model: Model, unseal: bool) -> Result<Part, Reason> {
        match model {
            Model::Org(org) => Ok(Part::Org(Arc::new(org))),
            Model::Proxy(proxy) => Ok(Part::Proxy(Arc::new(proxy))),
            Model::Target(target) => {
                let ResourceId::Target(id) = key.id else { return Err(mismatch()) };
                let (balance, ejection, breaker) =
                    (target.balance, target.outlier_ejection, target.circuit_breaker);
                let validator = validator(self.validations, target.validation.as_deref())?;
                let mut target =
                    CompiledTarget::new(key.org, id, target).map_err(|error| invalid(error.to_string()))?;
                target.validator = validator;
                Ok(Part::Target(self.standings.stand(target, balance, ejection, breaker)))
            }
            Model::Credential(credential) => {
                let ResourceId::Credential(id) = key.id else { return Err(mismatch()) };
                if let Some(detail) = self.versions.stale(&id, &credential) {
                    return Err(Reason::new(Why::Stale, detail));
                }
                match credential.usage {
                    Usage::Caller(caller) => {
                        let (default_effect, not_after) = (credential.default_effect, credential.not_after);
                        let checks = match &caller.kind {
                            CallerKind::JwtVerify(verify) => {
                                let verify = (**verify).clone();
                                let ends = caller.previous_not_after;
                                Some(self.checks(key.org, id, credential.version, verify, ends, unseal)?)
                            }
                            _ => None,
                        };
                        let id = (id, credential.version);
                        let part = caller_part(key.org, id, caller, checks, not_after, default_effect);
                        Ok(Part::Caller(Arc::new(part.ok_or_else(mismatch)?)))
                    }
                    Usage::Upstream(upstream) => {
                        let compiled = UpstreamCredential::new(
                            key.org,
                            id,
                            credential.version,
                            credential.not_after,
                            credential.default_effect,
                            upstream,
                            Opening { vault: self.vault, tokens: self.standings.tokens() },
                        );
                        if unseal {
                            compiled.unseal().map_err(|error| Reason::new(Why::Unseal, error.to_string()))?;
                        }
                        Ok(Part::Upstream(Arc::new(compiled)))
                    }
                }
            }
            Model::Rule(rule) => {
                let ResourceId::Rule(id) = key.id else { return Err(mismatch()) };
                let compiled = CompiledRule::compile(id, &rule, self.patterns).map_err(uncompilable)?;
                Ok(Part::Rule(Arc::new(compiled)))
            }
            Model::Filter(filter) => {
                let ResourceId::Filter(id) = key.id else { return Err(mismatch()) };
                let compiled = CompiledFilter::compile(id, &filter, self.patterns).map_err(uncompilable)?;
                Ok(Part::Filter(Arc::new(compiled)))
            }
            Model::Meter(meter) => {
                let ResourceId::Meter(id) = key.id else { return Err(mismatch()) };
                let compiled = CompiledMeter::compile(id, &meter, self.patterns).map_err(uncompilable)?;
                let counts = self.quotas.metered(id, compiled.per_caller);
                Ok(Part::Meter(RunningMeter::new(compiled, counts)))
            }
        }
    }
}

impl Compiler<'_> {
    /// What a credential that takes tokens wants of them.
    fn checks(
        &self,
        org: OrgId,
        id: CredentialId,
        version: u64,
        verify: JwtVerify,
        previous_ends: Option<SystemTime>,
        unseal: bool,
    ) -> Result<Checks, Reason> {
        let opener = |secret: &SealedSecret, before: u64| -> Open {
            let (vault, secret) = (Arc::clone(self.vault), secret.clone());
            let version = version.saturating_sub(before);
            Box::new(move || vault.open(&secret, org, id, version))
        };
        let unusable = |error: UnusableKeys| {
            let why = if matches!(error, UnusableKeys::Sealed(_)) { Why::Unseal } else { Why::Invalid };
            Reason::new(why, error.to_string())
        };
        let issuer = |url: &JwksUrl| self.standings.issuers().get(org, url);
        let checks = Checks::new(verify, previous_ends, issuer, opener).map_err(unusable)?;
        if unseal {
            checks.unseal().map_err(unusable)?;
        }
        Ok(checks)
    }
}

/// What holds requests against a validation.
pub(super) fn validator(
    validations: &Validations,
    validation: Option<&Validation>,
) -> Result<Option<Arc<Validator>>, Reason> {
    validation.map(|it| validations.get(it)).transpose().map_err(|error| invalid(error.to_string()))
}

fn uncompilable(error: Uncompilable) -> Reason {
    invalid(chain(&error).to_string())
}

/// A payload as the model sees it.
pub(super) fn parse(key: &Key, offered: &Offered) -> Parsed {
    parse_with(FEATURES, key, offered)
}

/// The same for a build that understands these.
pub(super) fn parse_with(features: &[&str], key: &Key, offered: &Offered) -> Parsed {
    let lacks = |feature: &str, closes| {
        let detail = format!("requires feature {feature:?}, which this version does not support");
        Reason { closes, ..Reason::new(Why::UnknownFeature, detail) }
    };
    let unknown = || offered.needs.iter().find(|need| !features.contains(&need.as_str()));
    // A policy closes whatever it bears on: its patterns need not be compiled for that.
    if is_policy(key)
        && let Some(feature) = unknown()
    {
        return Err(lacks(feature, false));
    }
    let parsed = Model::parse(key, &offered.payload);
    // It may restrict what the earlier version allowed, so the earlier one stops too.
    let needed = parsed
        .as_ref()
        .ok()
        .and_then(|model| model.needs().into_iter().find(|need| !features.contains(need)));
    // An unknown kind may restrict a proxy as well.
    let unheard =
        || unknown().map(|need| lacks(need, matches!(key.id, ResourceId::Proxy(_) | ResourceId::Org)));
    let lacks = needed.map(|feature| lacks(feature, true)).or_else(unheard);
    match (parsed, lacks) {
        (Ok(model), lacks) => Ok(Read { model, lacks }),
        (Err(_), Some(lacks)) => Err(lacks),
        (Err(error), None) => {
            let why = match &error {
                InvalidPayload::Decode(_) => Why::Decode,
                InvalidPayload::Invalid(_) => Why::Invalid,
                InvalidPayload::TooLarge(_) => Why::Limit,
            };
            Err(Reason::new(why, chain(&error).to_string()))
        }
    }
}

/// A caller credential, found by a hash, by a user's name, or by the issuer of a token if there are checks for one. `None`: not
/// by anything that this build understands.
fn caller_part(
    org: OrgId,
    (credential, version): (CredentialId, u64),
    caller: Caller,
    checks: Option<Checks>,
    not_after: Option<SystemTime>,
    default_effect: Effect,
) -> Option<CallerPart> {
    let (place, previous_ends) = (Place::of(&caller), caller.previous_not_after);
    let mut trust = None;
    let (hashes, user) = match (caller.kind, &checks) {
        (CallerKind::ApiKey(hashes) | CallerKind::Jwt(hashes), _) => (hashes, None),
        (CallerKind::Bearer(bearer), _) => (bearer.hashes, None),
        (CallerKind::Basic(Basic { user, password_hashes }), _) => {
            (Vec::new(), Some((user.into(), Live::new(credential, version, password_hashes))))
        }
        (CallerKind::JwtVerify(_), Some(_)) => (Vec::new(), None),
        (CallerKind::JwtVerify(_), None) => return None,
        (CallerKind::Certificate(Certificate::Keys(hashes)), _) => (hashes, None),
        (CallerKind::Certificate(Certificate::Spiffe(spiffe)), _) => {
            let hash = spiffe.id.hash();
            trust = Some(Arc::new(Trust::new(*spiffe)?));
            (vec![hash], None)
        }
    };
    let (policy, checks) = (Policy::plain(default_effect, false), checks.map(Arc::new));
    let caller = CompiledCaller {
        credential,
        org,
        not_after,
        value_ends: None,
        policy,
        place,
        checks,
        trust,
        is_refused: false,
        last_minute: LastMinute::default(),
    };
    Some(CallerPart { hashes: hashes.into(), user, previous_ends, default_effect, caller })
}

/// How the owner of a caller credential that cannot run is recognized, where a hash or a user's name identifies it.
fn refused_caller(key: &Key, model: Model) -> Option<Arc<CallerPart>> {
    let (ResourceId::Credential(id), Model::Credential(credential)) = (key.id, model) else { return None };
    let Usage::Caller(caller) = credential.usage else { return None };
    let id = (id, credential.version);
    let mut part = caller_part(key.org, id, caller, None, credential.not_after, credential.default_effect)?;
    // Nothing of it runs: its owner is denied.
    (part.caller.policy, part.caller.is_refused) = (Policy::plain(Effect::Deny, false), true);
    Some(Arc::new(part))
}

/// The readable part of a proxy that does not parse: its name, and who may call it.
pub(super) fn glimpse(offered: &Offered) -> Option<(Option<Name>, Box<[CredentialId]>)> {
    if offered.payload.len() > PAYLOAD_MAX {
        return None;
    }
    isolate::look(|| {
        let proxy = fleet::ProxyResource::decode(&*offered.payload).ok()?;
        let callers = proxy.caller_credentials.iter().take(CALLERS_MAX);
        Some((proxy.name.parse().ok(), callers.filter_map(|id| id.parse().ok()).collect()))
    })
}

/// Whether this is a credential for an upstream beyond doubt.
pub(super) fn is_upstream(offered: &Offered) -> bool {
    let usage = isolate::look(|| fleet::CredentialResource::decode(&*offered.payload).ok()?.usage);
    matches!(usage, Some(fleet::credential_resource::Usage::Upstream(_)))
}

/// What a rule, filter or meter belongs to.
pub(super) fn parent(key: &Key, offered: &Offered) -> Option<Key> {
    // A parent in another organization is not trusted.
    isolate::look(|| read_parent(key, &offered.payload)).filter(|parent| parent.org == key.org)
}

fn read_parent(key: &Key, payload: &[u8]) -> Option<Key> {
    match key.id {
        ResourceId::Rule(_) => Key::try_from(&fleet::RuleResource::decode(payload).ok()?.parent?).ok(),
        ResourceId::Filter(_) => Key::try_from(&fleet::FilterResource::decode(payload).ok()?.parent?).ok(),
        ResourceId::Meter(_) => {
            let proxy = fleet::MeterResource::decode(payload).ok()?.proxy.parse().ok()?;
            Some(Key::new(key.org, ResourceId::Proxy(proxy)))
        }
        ResourceId::Org | ResourceId::Target(_) | ResourceId::Credential(_) | ResourceId::Proxy(_) => None,
    }
}

fn invalid(detail: String) -> Reason {
    Reason::new(Why::Invalid, detail)
}

fn mismatch() -> Reason {
    invalid("payload has a kind that this version does not support".to_owned())
}
