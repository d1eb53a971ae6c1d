//! Values of caller credentials: keys that are made here, hashes of values that are not, secrets that come sealed, and the
//! way from one value to the next.
//!
//! Sees no value that it did not make. The invariant: one value is one credential of an organization, and at most two
//! values of a credential are live.

use std::time::Duration;

use rr_contract::api_key::{self, KeyHash, KeyKind};
use rr_contract::client_key::ClientKey;
use rr_contract::model::caller::OVERLAP_MAX;
use rr_contract::model::time;
use rr_contract::password::PasswordHash;
use rr_contract::seal::SealedSecret;
use rr_contract::seam::draw;
use rr_contract::secret::Secret;
use rr_contract::wire::fleet;
use rr_contract::wire::management::{self as wire, Credential, credential::Usage};

use super::draft::{Draft, stage};
use super::etag::same_etag;
use super::plain_secret::Plain;
use super::resource::show;
use super::scope::live_org;
use super::sealed_value::{keeps_regions, known_regions, regions_of, sealed_for, sealed_row};
use super::{OrgCaller, Reason, ServiceError, Services, rights};
use crate::compile::under;
use crate::document::is_shared;
use crate::noun::Noun;
use crate::store::{self, Reader, Stored, Written, secret_row, time_of};

/// A credential with a new value, and the key of a caller's, shown once.
pub(crate) struct CreatedCredential {
    pub(crate) stored: Stored<Credential>,
    pub(crate) key: Option<Secret>,
}

/// What a request says of a value that is not made here.
#[derive(Default)]
pub(super) struct Given {
    pub(super) value_hash: Vec<u8>,
    pub(super) password_hash: String,
}

impl Given {
    /// Takes it out of a message.
    pub(super) fn out_of(caller: &mut wire::Caller) -> Self {
        Self {
            value_hash: std::mem::take(&mut caller.value_hash),
            password_hash: std::mem::take(&mut caller.password_hash),
        }
    }

    /// As it is kept of a credential of this kind, and the field that it came in; nothing, where none came.
    pub(super) fn hash(&self, kind: wire::CallerKind) -> (Vec<u8>, &'static str) {
        if !self.password_hash.is_empty() {
            return (self.password_hash.clone().into_bytes(), "password_hash");
        }
        let key =
            (kind == wire::CallerKind::Certificate).then(|| ClientKey::try_from(&*self.value_hash).ok());
        let kept = key.flatten().map(|key| key.hash().as_bytes().to_vec());
        (kept.unwrap_or_else(|| self.value_hash.clone()), "value_hash")
    }
}

/// A value on its way in: the key, where it was made here, and the hash that is kept.
pub(super) struct NewValue {
    pub(super) key: Option<Secret>,
    pub(super) hash: Vec<u8>,
}

impl Services {
    /// A new value of a kind, made here unless its hash is given in fields below `under`. `None`: the kind has none.
    pub(super) fn new_value(
        &self,
        kind: wire::CallerKind,
        given: &Given,
        under: &str,
    ) -> Result<Option<NewValue>, ServiceError> {
        let (password, field) = (format!("{under}password_hash"), format!("{under}value_hash"));
        if kind == wire::CallerKind::Basic {
            return new_password(given, &password, field).map(Some);
        }
        if !given.password_hash.is_empty() {
            return Err(ServiceError::field(password, "must be empty: only a user of BASIC has a password"));
        }
        let given = &*given.value_hash;
        let is_made_here = match kind {
            wire::CallerKind::ApiKey | wire::CallerKind::Bearer => true,
            wire::CallerKind::Jwt => false,
            wire::CallerKind::Certificate if given.is_empty() => {
                return Err(ServiceError::field(
                    field,
                    "is missing: give SHA-256 of the certificate's public key, as `rrctl credential create-caller NAME --kind \
                     certificate --certificate FILE` and `rrctl credential roll` do, or the certificate's SPIFFE name",
                ));
            }
            wire::CallerKind::Certificate => {
                let key = ClientKey::try_from(given)
                    .map_err(|error| ServiceError::field(field, error.to_string()))?;
                return Ok(Some(NewValue { key: None, hash: key.hash().as_bytes().to_vec() }));
            }
            wire::CallerKind::Basic | wire::CallerKind::Unspecified | wire::CallerKind::JwtVerify => {
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
        plain: Option<Plain>,
    ) -> Result<Written<CreatedCredential>, ServiceError> {
        let overlap = overlap(request.overlap.as_ref())?;
        let request = match plain {
            Some(plain) => self.seal_roll(&at, request, plain).await?,
            None => request,
        };
        let given = Given { value_hash: request.value_hash, password_hash: request.password_hash };
        let sealed = request.sealed;
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
                    if super::caller_certificate::is_named(caller) {
                        return Err(ServiceError::field(
                            "credential",
                            "is known by a SPIFFE name, whatever the key of a certificate is: nothing has to be rolled",
                        ));
                    }
                    let shared = shared_value(caller, sealed)?;
                    let next = found.document.version + 1;
                    let now = txn.now();
                    one_is_live(
                        &found.row.name,
                        caller.previous_not_after.as_ref(),
                        overlap,
                        time_of(now),
                    )?;
                    let before = store::secret::of(txn, &found.row.id).await?;
                    let at_once = overlap.is_zero();
                    let (key, row) = match shared {
                        Some(sealed) => {
                            services.new_value(caller.kind(), &given, "")?;
                            sealed_for(request.version, next, &found.row.name)?;
                            caller.sealed_regions = regions_of(&sealed);
                            let (id, name, regions) =
                                (&found.row.id, &found.row.name, &caller.sealed_regions);
                            keeps_regions(txn, id, name, regions, &org.name).await?;
                            let row = sealed_row(id, next, &sealed);
                            known_regions(txn, "sealed", &org.id, Some(&row)).await?;
                            let previous_sealed = before.and_then(|row| row.sealed).filter(|_| !at_once);
                            (None, secret_row::Model { previous_sealed, ..row })
                        }
                        None => {
                            let NewValue { key, hash } =
                                services.new_value(caller.kind(), &given, "")?.ok_or_else(no_value)?;
                            let before = before.ok_or(store::StoreError::Damaged("secret"))?;
                            if let Some(what) = is_its_own(&before, &hash) {
                                let (_, field) = given.hash(caller.kind());
                                return Err(ServiceError::field(field, what));
                            }
                            if key.is_none() {
                                is_nobodys(txn, &org.id, &[(hash.clone(), "value_hash")]).await?;
                            }
                            super::caller_certificate::roll(caller, &given.value_hash, at_once);
                            let row = secret_row::Model {
                                version: i64::try_from(next).unwrap_or(i64::MAX),
                                previous_hash: before.key_hash.clone().filter(|_| !at_once),
                                key_hash: Some(hash),
                                ..before
                            };
                            (key, row)
                        }
                    };
                    caller.rolled_at = Some(time::timestamp(time_of(now)));
                    caller.previous_not_after = (!at_once).then(|| time::timestamp(time_of(now) + overlap));
                    found.document.version = next;
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

/// What is wrong with a hash that a credential has already: with it, an overlap would go by and callers would have nothing new. A
/// password and a sealed secret look otherwise each time, and pass.
fn is_its_own(row: &secret_row::Model, hash: &[u8]) -> Option<&'static str> {
    if row.key_hash.as_deref() == Some(hash) {
        return Some("is that of the value that the credential has: give another one");
    }
    (row.previous_hash.as_deref() == Some(hash))
        .then_some("is that of the value before the one that the credential has: give another one")
}

fn no_value() -> ServiceError {
    let what = "has no value that could be replaced: what it takes is verified with public keys, which its issuer replaces";
    ServiceError::field("credential", what)
}

/// The next secret of a credential that verifies with one. `None`: it has a value of another kind.
fn shared_value(
    caller: &wire::Caller,
    sealed: Option<fleet::SealedSecret>,
) -> Result<Option<SealedSecret>, ServiceError> {
    match (is_shared(caller), sealed) {
        (true, Some(sealed)) => {
            Ok(Some(SealedSecret::try_from(sealed).map_err(|invalid| under("sealed", &invalid))?))
        }
        (true, None) => Err(ServiceError::field(
            "sealed",
            "is missing: seal the next secret with `rrctl credential roll NAME --value-from FILE --overlap …`, or send it in \
             `plain`",
        )),
        (false, Some(_)) => Err(ServiceError::field(
            "sealed",
            "must be unset: only what verifies tokens with a shared secret has one",
        )),
        (false, None) => Ok(None),
    }
}

/// The hash of a password: none is made here.
fn new_password(given: &Given, field: &str, value: String) -> Result<NewValue, ServiceError> {
    if !given.value_hash.is_empty() {
        return Err(ServiceError::field(
            value,
            "must be empty: give the hash of a password in password_hash",
        ));
    }
    if given.password_hash.is_empty() {
        return Err(ServiceError::field(
            field,
            "is missing: a password comes from you; `rrctl credential create-caller NAME --kind basic --user USER` and \
             `rrctl credential roll` hash it",
        ));
    }
    let hash = PasswordHash::try_from(&*given.password_hash)
        .map_err(|error| ServiceError::field(field, error.to_string()))?;
    Ok(NewValue { key: None, hash: hash.to_phc().into_bytes() })
}

/// How long two values are to be live.
pub(super) fn overlap(said: Option<&pbjson_types::Duration>) -> Result<Duration, ServiceError> {
    let Some(said) = said else { return Ok(Duration::ZERO) };
    let overlap = time::duration(said).map_err(|error| ServiceError::field("overlap", error.to_string()))?;
    if overlap > OVERLAP_MAX {
        let days = OVERLAP_MAX.as_secs() / (24 * 3600);
        return Err(ServiceError::field("overlap", format!("is longer than {days} days")));
    }
    Ok(overlap)
}

/// Refuses an overlap while two values are live: a third one would end one of them early.
pub(super) fn one_is_live(
    name: &str,
    until: Option<&pbjson_types::Timestamp>,
    overlap: Duration,
    now: std::time::SystemTime,
) -> Result<(), ServiceError> {
    let until = until.and_then(|until| time::system_time(until).ok());
    match until.filter(|until| !overlap.is_zero() && *until > now) {
        Some(until) => Err(two_are_live(name, until)),
        None => Ok(()),
    }
}

fn two_are_live(name: &str, until: std::time::SystemTime) -> ServiceError {
    ServiceError::Refused {
        reason: Reason::TwoValuesLive,
        text: format!(
            "credential {name:?} has two live values until {}, and a third one would end one of them early: wait, or give the next one with an overlap of 0, which ends both at once",
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

/// Whether requests are looked up by a hash: not by that of a password, whose user is found by name.
pub(super) fn finds_its_caller(hash: &[u8]) -> bool {
    KeyHash::try_from(hash).is_ok()
}

/// Refuses hashes, each with its field, that other credentials of the organization have: whose request it was could not be
/// told.
pub(super) async fn is_nobodys(
    db: &impl Reader,
    org: &str,
    values: &[(Vec<u8>, &str)],
) -> Result<(), ServiceError> {
    let hashes = values.iter().map(|(hash, _)| hash).filter(|hash| finds_its_caller(hash));
    let hashes: Vec<Vec<u8>> = hashes.cloned().collect();
    for row in store::secret::holding(db, &hashes).await? {
        let holder = store::resource::by_id(db, Noun::Credential, &row.credential).await?;
        if let Some(holder) = holder.filter(|holder| holder.org == org) {
            let text = format!("is that of credential {:?}: give each credential its own", holder.name);
            let held = [row.key_hash.as_ref(), row.previous_hash.as_ref()];
            let given = values.iter().find(|(hash, _)| held.contains(&Some(hash)));
            return Err(ServiceError::field(given.map_or("", |(_, field)| field), text));
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
