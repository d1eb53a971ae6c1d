//! What stands for that which only a control plane gives: ids, and the kept form of values.
//!
//! Nothing of it is sent or kept.

use prost::Message as _;
use rr_contract::model::id::{CredentialId, FilterId, MeterId, OrgId, ProxyId, RegionId, RuleId, TargetId};
use rr_contract::password::PasswordHash;
use rr_contract::wire::fleet;
use rr_contract::wire::management as mg;
use rr_contract::wire::management::credential::Usage;
use rr_contract::wire::management::document::Resource;
use sha2::{Digest as _, Sha256};

/// The kept form of a value.
#[derive(Default)]
pub(super) struct Kept {
    pub(super) hash: Option<Vec<u8>>,
    pub(super) sealed: Option<Vec<u8>>,
}

/// An id that follows from a name. What is an id already stays.
pub(super) fn id(kind: &'static str, name: &str) -> String {
    let hash: [u8; 32] = Sha256::digest(format!("{kind} {name}")).into();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    match kind {
        "target" => name.parse().unwrap_or(TargetId::from_random(bytes)).to_string(),
        "credential" => name.parse().unwrap_or(CredentialId::from_random(bytes)).to_string(),
        "proxy" => name.parse().unwrap_or(ProxyId::from_random(bytes)).to_string(),
        "rule" => name.parse().unwrap_or(RuleId::from_random(bytes)).to_string(),
        "filter" => name.parse().unwrap_or(FilterId::from_random(bytes)).to_string(),
        "meter" => name.parse().unwrap_or(MeterId::from_random(bytes)).to_string(),
        _ => name.parse().unwrap_or(RegionId::from_random(bytes)).to_string(),
    }
}

/// Gives a document the ids that it does not bring.
pub(super) fn place(kind: &'static str, (own, org): (&mut String, &mut String), name: &str) {
    *own = id(kind, if own.is_empty() { name } else { own });
    *org = OrgId::from_random([0; 16]).to_string();
}

/// What would be kept of the value of a credential; nothing of other documents. The field at fault, where its kind says
/// nothing.
pub(super) fn value(document: &mg::Document) -> Result<Kept, (&'static str, &'static str)> {
    let Some(Resource::Credential(credential)) = &document.resource else { return Ok(Kept::default()) };
    let hashed = |hash: Vec<u8>| Kept { hash: Some(hash), sealed: None };
    Ok(match &credential.usage {
        Some(Usage::Caller(caller)) => match caller.kind() {
            mg::CallerKind::ApiKey
            | mg::CallerKind::Bearer
            | mg::CallerKind::Jwt
            | mg::CallerKind::Certificate => hashed(Sha256::digest(&credential.name).to_vec()),
            mg::CallerKind::Basic => hashed(PasswordHash::nobodys().to_phc().into_bytes()),
            mg::CallerKind::JwtVerify => {
                let verify = caller.jwt_verify.as_ref();
                let has_keys = verify.is_some_and(|it| !(it.jwks.is_empty() && it.jwks_url.is_empty()));
                Kept { hash: None, sealed: (!has_keys).then(sealed) }
            }
            mg::CallerKind::Unspecified => return Err(("caller.kind", "is missing or not known")),
        },
        Some(Usage::Upstream(upstream)) => match upstream.kind() {
            mg::UpstreamKind::Unspecified => return Err(("upstream.kind", "is missing or not known")),
            mg::UpstreamKind::None => Kept::default(),
            _ => Kept { hash: None, sealed: Some(sealed()) },
        },
        None => Kept::default(),
    })
}

/// A seal of the right form, which nobody can open.
fn sealed() -> Vec<u8> {
    let wrap = fleet::Wrap {
        region: id("region", ""),
        epoch: 1,
        encapsulated: vec![0; 32],
        sealed_key: vec![0; 48],
        suite: 0,
    };
    let seal = fleet::SealedSecret {
        envelope: 1,
        suite: 1,
        nonce: vec![0; 24],
        ciphertext: vec![0; 32],
        key_commitment: vec![0; 32],
        wraps: vec![wrap],
    };
    seal.encode_to_vec()
}
