//! Secrets in their sealed form: read back by those who may change them, and sealed to further regions without their values.
//!
//! Opens none: a content key is sealed again where the key file of a region is. The invariant: a content, its version and
//! whoever can open it stay; regions are only added.

use prost::Message as _;
use rr_contract::model::invalid::Violations;
use rr_contract::seal::SealedSecret;
use rr_contract::wire::fleet;
use rr_contract::wire::management::{self as wire, Credential, credential::Usage};

use super::draft::{Draft, stage};
use super::resource::show;
use super::scope::live_org;
use super::sealed_value::{known_wraps, regions_of};
use super::{OrgCaller, Reason, ServiceError, Services, fields, rights};
use crate::compile::under;
use crate::document::sealed_regions;
use crate::noun::Noun;
use crate::store::{self, StoreError, Stored, Written, secret_row};

impl Services {
    /// The present secret of a credential as it is sealed, and the one before while both count.
    pub(crate) async fn sealed_secret(
        &self,
        at: &OrgCaller,
        reference: &str,
    ) -> Result<wire::GetSealedSecretResponse, ServiceError> {
        let found = show::<Credential>(&self.store, at.scope(), reference, 0).await?;
        rights::may_change(&at.caller.principal, Some(&at.org.document), Noun::Credential, &found.row)?;
        let row = store::secret::of(&self.store, &found.row.id).await?;
        let Some(Sealed { present, previous, .. }) = sealed_of(row)? else { return Err(nothing()) };
        Ok(wire::GetSealedSecretResponse {
            credential: found.row.id,
            version: found.document.version,
            sealed: Some(present),
            previous_sealed: previous,
        })
    }

    /// Seals the present secret to further regions, and the one before while both count.
    pub(crate) async fn secret_reseal(
        &self,
        at: OrgCaller,
        request: wire::ResealSecretRequest,
    ) -> Result<Written<Stored<Credential>>, ServiceError> {
        let sealed = fields::required("sealed", request.sealed)?;
        let written = self
            .store
            .write(at.author(), move |txn| {
                Box::pin(async move {
                    let org = live_org(txn, &at.org.id).await?;
                    let mut found = show::<Credential>(txn, at.scope(), &request.credential, 0).await?;
                    rights::may_change(
                        &at.caller.principal,
                        Some(&org.document),
                        Noun::Credential,
                        &found.row,
                    )?;
                    let row = store::secret::of(txn, &found.row.id).await?;
                    let Some(Sealed { row, present, previous }) = sealed_of(row)? else {
                        return Err(nothing());
                    };
                    let (name, version) = (&found.row.name, found.document.version);
                    if request.version != version {
                        return Err(ServiceError::Conflict {
                            reason: Reason::VersionConflict,
                            text: format!("credential {name:?} is at version {version}: read its seal again"),
                        });
                    }
                    let next = extended("sealed", name, &present, sealed)?;
                    known_wraps(txn, "sealed", &org.id, &next.to_wire(), present.wraps.len()).await?;
                    let before = match (previous, request.previous_sealed) {
                        (_, None) => row.previous_sealed.clone(),
                        (None, Some(_)) => return Err(other("previous_sealed", name)),
                        (Some(was), Some(sealed)) => {
                            let next = extended("previous_sealed", name, &was, sealed)?;
                            known_wraps(txn, "previous_sealed", &org.id, &next.to_wire(), was.wraps.len())
                                .await?;
                            Some(next.to_wire().encode_to_vec())
                        }
                    };
                    let regions = regions_of(&next);
                    if sealed_regions(&found.document).is_some_and(|was| *was == *regions) {
                        return Err(ServiceError::field(
                            "sealed.wraps",
                            "add no region to those that there are",
                        ));
                    }
                    match &mut found.document.usage {
                        Some(Usage::Upstream(upstream)) => upstream.sealed_regions = regions,
                        Some(Usage::Caller(caller)) => caller.sealed_regions = regions,
                        None => return Err(nothing()),
                    }
                    let row = secret_row::Model {
                        sealed: Some(next.to_wire().encode_to_vec()),
                        previous_sealed: before,
                        ..row
                    };
                    let draft =
                        Draft { wire: found.document, secret: Some(row.clone()), before: Some(found.row) };
                    let stored = stage(txn, at.scope(), Some(&org.document), draft).await?;
                    store::secret::put(txn, vec![row]);
                    Ok(stored)
                })
            })
            .await?;
        Ok(written)
    }
}

/// The seals of a credential.
struct Sealed {
    row: secret_row::Model,
    present: fleet::SealedSecret,
    previous: Option<fleet::SealedSecret>,
}

fn sealed_of(row: Option<secret_row::Model>) -> Result<Option<Sealed>, StoreError> {
    let read = |bytes: &[u8]| fleet::SealedSecret::decode(bytes).map_err(|_| StoreError::Damaged("secret"));
    let Some(row) = row else { return Ok(None) };
    let Some(present) = row.sealed.as_deref().map(read).transpose()? else { return Ok(None) };
    let previous = row.previous_sealed.as_deref().map(read).transpose()?;
    Ok(Some(Sealed { row, present, previous }))
}

/// A seal that is the same content for more regions; an error where it is another one, or somebody else was quicker.
pub(super) fn extended(
    field: &str,
    name: &str,
    was: &fleet::SealedSecret,
    sealed: fleet::SealedSecret,
) -> Result<SealedSecret, ServiceError> {
    let next = SealedSecret::try_from(sealed).map_err(|invalid| under(field, &invalid))?;
    let is = next.to_wire();
    let outside =
        |it: &fleet::SealedSecret| (it.envelope, it.suite, it.nonce.clone(), it.key_commitment.clone());
    if outside(&is) != outside(was) || is.ciphertext != was.ciphertext {
        return Err(other(field, name));
    }
    if !is.wraps.starts_with(&was.wraps) {
        return Err(ServiceError::Conflict {
            reason: Reason::VersionConflict,
            text: format!(
                "the seal of credential {name:?} has other wraps by now, which stand before those that are added: read it again"
            ),
        });
    }
    Ok(next)
}

fn other(field: &str, name: &str) -> ServiceError {
    let mut faults = Violations::default();
    let what = format!(
        "is not the content that credential {name:?} has: a new one comes by `:replaceSecret` or `:roll`"
    );
    faults.add(field, what);
    match faults.finish(|| None::<std::convert::Infallible>) {
        Ok(never) => match never {},
        Err(invalid) => invalid.into(),
    }
}

fn nothing() -> ServiceError {
    ServiceError::field("credential", "has no sealed secret: nothing of it is for regions")
}
