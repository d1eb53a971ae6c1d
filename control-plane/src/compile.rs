//! Rows to what a node is sent. Pure.
//!
//! Each payload is parsed with the node's own code before it may be stored, so what is published a node
//! can load.

use std::time::Duration;

use prost::Message as _;
use rr_contract::model::id::{CredentialId, OrgId, ProxyId, TargetId};
use rr_contract::model::invalid::{Invalid, Violations};
use rr_contract::model::resource::{InvalidPayload, Key, Model, ResourceId};
use rr_contract::model::time;
use rr_contract::wire::{fleet, management};

use crate::store::proxy::ProxyRow;
use crate::store::{credential_row, org_row, target_row, time_of};

/// A resource ready to be published.
#[derive(Debug, Clone)]
pub(crate) struct Compiled {
    pub(crate) key: Key,
    pub(crate) payload: Vec<u8>,
}

/// Credentials that callers present, as rows have it.
pub(crate) const USAGE_CALLER: i32 = 1;
/// Credentials that are injected, as rows have it.
pub(crate) const USAGE_UPSTREAM: i32 = 2;

pub(crate) fn org(row: &org_row::Model) -> Result<Compiled, Invalid> {
    let wire = fleet::OrgResource { name: row.name.clone(), suspended: row.suspended };
    checked(Key::org(id(&row.id)?), "org", wire.encode_to_vec())
}

pub(crate) fn target(row: &target_row::Model) -> Result<Compiled, Invalid> {
    let wire = fleet::TargetResource {
        name: row.name.clone(),
        base_url: row.base_url.clone(),
        connect_timeout: row.connect_timeout.map(nanos),
        response_timeout: row.response_timeout.map(nanos),
    };
    let key = Key::new(id::<OrgId>(&row.org)?, ResourceId::Target(id::<TargetId>(&row.id)?));
    checked(key, "target", wire.encode_to_vec())
}

pub(crate) fn credential(row: &credential_row::Model) -> Result<Compiled, Invalid> {
    use fleet::credential_resource::Usage;

    let usage = if row.usage == USAGE_CALLER {
        let hashes = row.key_hash.iter().cloned().collect();
        let kind = fleet::caller_credential::Kind::ApiKey(fleet::CallerApiKey { hashes });
        Usage::Caller(fleet::CallerCredential { kind: Some(kind) })
    } else {
        let kind = match &row.sealed {
            Some(sealed) => fleet::SealedSecret::decode(sealed.as_slice())
                .map(fleet::upstream_credential::Kind::Sealed)
                .map_err(|error| Invalid::field("credential.upstream.sealed", error.to_string()))?,
            None => fleet::upstream_credential::Kind::None(fleet::UpstreamNone {}),
        };
        Usage::Upstream(fleet::UpstreamCredential { kind: Some(kind) })
    };
    let wire = fleet::CredentialResource {
        name: row.name.clone(),
        version: u64::try_from(row.version).unwrap_or(0),
        not_after: row.not_after.map(|at| time::timestamp(time_of(at))),
        usage: Some(usage),
    };
    let key = Key::new(id::<OrgId>(&row.org)?, ResourceId::Credential(id::<CredentialId>(&row.id)?));
    checked(key, "credential", wire.encode_to_vec())
}

pub(crate) fn proxy(row: &ProxyRow) -> Result<Compiled, Invalid> {
    let wire = fleet::ProxyResource {
        name: row.proxy.name.clone(),
        active: row.proxy.active,
        caller_credentials: row.callers.clone(),
        target: row.proxy.target.clone(),
        upstream_credential: row.proxy.upstream_credential.clone(),
        regions: row.regions.clone(),
    };
    let key = Key::new(id::<OrgId>(&row.proxy.org)?, ResourceId::Proxy(id::<ProxyId>(&row.proxy.id)?));
    checked(key, "proxy", wire.encode_to_vec())
}

/// Whether an upstream credential asks for nothing and so is sealed to no region.
pub(crate) fn is_open(row: &credential_row::Model) -> bool {
    row.usage == USAGE_UPSTREAM && row.kind == i32::from(management::UpstreamKind::None)
}

/// The regions that a credential is sealed to, as ids.
pub(crate) fn sealed_regions(row: &credential_row::Model) -> Vec<String> {
    let Some(sealed) = &row.sealed else { return Vec::new() };
    let Ok(sealed) = fleet::SealedSecret::decode(sealed.as_slice()) else { return Vec::new() };
    let mut regions: Vec<String> = sealed.wraps.into_iter().map(|wrap| wrap.region).collect();
    // One region may have a wrap for each of two epochs.
    regions.sort();
    regions.dedup();
    regions
}

fn checked(key: Key, noun: &str, payload: Vec<u8>) -> Result<Compiled, Invalid> {
    match Model::parse(&key, &payload) {
        Ok(_) => Ok(Compiled { key, payload }),
        Err(InvalidPayload::Invalid(invalid)) => Err(under(noun, &invalid)),
        Err(other) => Err(Invalid::field(noun, other.to_string())),
    }
}

/// The same violations, named as fields of the request that holds the resource.
pub(crate) fn under(prefix: &str, invalid: &Invalid) -> Invalid {
    let mut faults = Violations::default();
    for violation in invalid.violations() {
        faults.add(format!("{prefix}.{}", violation.field), violation.reason.clone());
    }
    match faults.finish(|| None::<std::convert::Infallible>) {
        Ok(never) => match never {},
        Err(invalid) => invalid,
    }
}

fn id<I: std::str::FromStr<Err = rr_contract::model::id::InvalidId>>(text: &str) -> Result<I, Invalid> {
    text.parse().map_err(|error: rr_contract::model::id::InvalidId| Invalid::field("id", error.to_string()))
}

fn nanos(nanos: i64) -> pbjson_types::Duration {
    time::wire_duration(Duration::from_nanos(u64::try_from(nanos).unwrap_or(0)))
}
