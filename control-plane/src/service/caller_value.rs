//! Values of caller credentials: keys that are made here, hashes of values that are not, and the way from one value to the
//! next.
//!
//! Sees no value that it did not make. The invariant: one value is one credential of an organization, and at most two
//! values of a credential are live.

use std::time::Duration;

use rr_contract::api_key::{self, KeyHash, KeyKind};
use rr_contract::model::caller::OVERLAP_MAX;
use rr_contract::model::time;
use rr_contract::seam::draw;
use rr_contract::secret::Secret;
use rr_contract::wire::management::{self as wire, Credential, credential::Usage};

use super::credential::CreatedCredential;
use super::draft::{Draft, stage};
use super::etag::same_etag;
use super::resource::show;
use super::scope::live_org;
use super::{OrgCaller, Reason, ServiceError, Services, rights};
use crate::noun::Noun;
use crate::store::{self, Reader, Written, secret_row, time_of};

/// A value on its way in: the key, where it was made here, and the hash that is kept.
pub(super) struct NewValue {
    pub(super) key: Option<Secret>,
    pub(super) hash: Vec<u8>,
}

impl Services {
    /// A new value of a kind, made here unless its hash is given. `None`: the kind has none.
    pub(super) fn new_value(
        &self,
        kind: wire::CallerKind,
        given: &[u8],
        field: &str,
    ) -> Result<Option<NewValue>, ServiceError> {
        let is_made_here = match kind {
            wire::CallerKind::ApiKey | wire::CallerKind::Bearer => true,
            wire::CallerKind::Jwt => false,
            wire::CallerKind::Unspecified | wire::CallerKind::Basic | wire::CallerKind::JwtVerify => {
                if given.is_empty() {
                    return Ok(None);
                }
                return Err(ServiceError::field(
                    field,
                    "must be empty: this kind has no value that a hash finds",
                ));
            }
        };
        if !given.is_empty() {
            let hash =
                KeyHash::try_from(given).map_err(|error| ServiceError::field(field, error.to_string()))?;
            return Ok(Some(NewValue { key: None, hash: hash.as_bytes().to_vec() }));
        }
        if !is_made_here {
            return Err(ServiceError::field(
                field,
                "is missing: a token comes from you; `rrctl credential create-caller NAME --kind jwt --value-from FILE` hashes it",
            ));
        }
        let (key, hash) = api_key::make(KeyKind::Caller, &draw(&*self.seams.entropy));
        Ok(Some(NewValue { key: Some(key), hash: hash.as_bytes().to_vec() }))
    }

    /// Gives a caller credential its next value.
    pub(crate) async fn credential_roll(
        &self,
        at: OrgCaller,
        request: wire::RollCredentialRequest,
    ) -> Result<Written<CreatedCredential>, ServiceError> {
        let overlap = overlap(request.overlap.as_ref())?;
        let services = self.clone();
        let written = self
            .store
            .write(at.author(), move |txn| {
                Box::pin(async move {
                    let org = live_org(txn, &at.org.id).await?;
                    let mut found = show::<Credential>(txn, at.scope(), &request.credential, 0).await?;
                    same_etag(&found, &request.etag)?;
                    rights::may_change(
                        &at.caller.principal,
                        Some(&org.document),
                        Noun::Credential,
                        &found.row,
                    )?;
                    let Some(Usage::Caller(caller)) = &mut found.document.usage else {
                        return Err(ServiceError::field(
                            "credential",
                            "is for an upstream: `rrctl credential replace-secret` seals its next value",
                        ));
                    };
                    let NewValue { key, hash } =
                        services.new_value(caller.kind(), &request.value_hash, "value_hash")?.ok_or_else(|| {
                            ServiceError::field(
                                "credential",
                                "has no value that could be replaced: what it takes is verified or asked for elsewhere",
                            )
                        })?;
                    let now = txn.now();
                    let until = caller.previous_not_after.as_ref().and_then(|end| time::system_time(end).ok());
                    if let Some(until) = until.filter(|until| !overlap.is_zero() && *until > time_of(now)) {
                        return Err(two_are_live(&found.row.name, until));
                    }
                    let before = store::secret::of(txn, &found.row.id).await?;
                    let before = before.ok_or(store::StoreError::Damaged("secret"))?;
                    if [&before.key_hash, &before.previous_hash].contains(&&Some(hash.clone())) {
                        return Err(ServiceError::field("value_hash", "is that of a value that is live already"));
                    }
                    if key.is_none() {
                        is_nobodys(txn, &org.id, std::slice::from_ref(&hash), "value_hash").await?;
                    }
                    let at_once = overlap.is_zero();
                    caller.rolled_at = Some(time::timestamp(time_of(now)));
                    caller.previous_not_after = (!at_once).then(|| time::timestamp(time_of(now) + overlap));
                    found.document.version += 1;
                    let row = secret_row::Model {
                        version: i64::try_from(found.document.version).unwrap_or(i64::MAX),
                        previous_hash: before.key_hash.clone().filter(|_| !at_once),
                        key_hash: Some(hash),
                        ..before
                    };
                    let draft =
                        Draft { wire: found.document, secret: Some(row.clone()), before: Some(found.row) };
                    let stored = stage(txn, at.scope(), Some(&org.document), draft).await?;
                    store::secret::put(txn, vec![row]);
                    Ok::<_, ServiceError>(CreatedCredential { stored, key })
                })
            })
            .await?;
        Ok(written)
    }
}

/// How long two values are to be live.
fn overlap(said: Option<&pbjson_types::Duration>) -> Result<Duration, ServiceError> {
    let Some(said) = said else { return Ok(Duration::ZERO) };
    let overlap = time::duration(said).map_err(|error| ServiceError::field("overlap", error.to_string()))?;
    if overlap > OVERLAP_MAX {
        let days = OVERLAP_MAX.as_secs() / (24 * 3600);
        return Err(ServiceError::field("overlap", format!("is longer than {days} days")));
    }
    Ok(overlap)
}

fn two_are_live(name: &str, until: std::time::SystemTime) -> ServiceError {
    ServiceError::Refused {
        reason: Reason::TwoValuesLive,
        text: format!(
            "credential {name:?} has two live values until {}, and a third one would end one of them early: wait, or roll with an overlap of 0, which ends both at once",
            shown(until)
        ),
        preconditions: Vec::new(),
    }
}

/// A time as the API writes it.
fn shown(at: std::time::SystemTime) -> String {
    serde_json::to_value(time::timestamp(at))
        .ok()
        .and_then(|text| text.as_str().map(str::to_owned))
        .unwrap_or_default()
}

/// Refuses hashes that other credentials of the organization have: whose request it was could not be told.
pub(super) async fn is_nobodys(
    db: &impl Reader,
    org: &str,
    hashes: &[Vec<u8>],
    field: &str,
) -> Result<(), ServiceError> {
    for row in store::secret::holding(db, hashes).await? {
        let holder = store::resource::by_id(db, Noun::Credential, &row.credential).await?;
        if let Some(holder) = holder.filter(|holder| holder.org == org) {
            let text =
                format!("is that of the value of credential {:?}: give each a value of its own", holder.name);
            return Err(ServiceError::field(field, text));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overlap_has_a_bound_and_none_ends_at_once() {
        let of = |seconds| overlap(Some(&pbjson_types::Duration { seconds, nanos: 0 })).ok();
        assert_eq!(overlap(None).ok(), Some(Duration::ZERO));
        assert_eq!(of(0), Some(Duration::ZERO));
        assert_eq!(of(90 * 24 * 3600), Some(OVERLAP_MAX));
        assert_eq!((of(90 * 24 * 3600 + 1), of(-1)), (None, None));
    }
}
