//! Attestations of a region: which versions of its secrets are the newest, signed by whoever has its key.
//!
//! Keeps the newest and hands it on. It cannot make one, and whoever joins does not rely on us for it. The invariant: what is
//! kept is about the very versions that were there when it came.

use rr_contract::model::id::CredentialId;
use rr_contract::model::sealed::SealedSecret;
use rr_contract::seal::attestation::{Attestation, Newest, Versions};
use rr_contract::wire::fleet;
use rr_contract::wire::management::{Region, SecretVersion};

use super::draft::restage;
use super::resource::show;
use super::rewrap::sealed_to;
use super::{Caller, Page, PageRequest, Reason, ServiceError, Services, fields, region};
use crate::store::{self, Reader, StoreError, Stored, Written};

/// How many rows are read at once.
const ROWS: u64 = 1_000;

impl Services {
    /// Versions of the secrets that are sealed to a region: those of now, or those of its newest attestation.
    pub(crate) async fn secret_versions(
        &self,
        region: &Stored<Region>,
        attested: bool,
        page: &PageRequest,
    ) -> Result<Page<SecretVersion>, ServiceError> {
        let after = page.cursor::<1>()?.map(|[id]| id.to_owned()).unwrap_or_default();
        let limit = usize::try_from(page.limit()).unwrap_or(usize::MAX);
        let listed = if attested {
            let kept = store::region_attestation::of_region(&self.store, &region.row.id).await?;
            let mut texts: Vec<(String, Newest)> = kept
                .iter()
                .flat_map(|(_, versions)| versions.iter())
                .map(|(id, newest)| (id.text(), newest))
                .collect();
            texts.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
            texts.retain(|(id, _)| *id > after);
            texts.truncate(limit);
            texts
        } else {
            behind(&self.store, &region.row.id, after, limit).await?
        };
        let items = listed.into_iter().map(|(credential, newest)| SecretVersion {
            credential,
            version: newest.version,
            content: newest.content.to_vec(),
        });
        Ok(page.cut(items.collect(), |item| vec![item.credential.clone()]))
    }

    /// Keeps an attestation, if it is about the versions that are there.
    pub(crate) async fn region_attest(
        &self,
        caller: Caller,
        region: Stored<Region>,
        attestation: Option<fleet::RegionAttestation>,
    ) -> Result<Written<Stored<Region>>, ServiceError> {
        let attestation = fields::required("attestation", attestation)?;
        let written = self
            .store
            .write(caller.author(), move |txn| {
                Box::pin(async move {
                    let found = show::<Region>(txn, caller.installation(), &region.row.id, 0).await?;
                    let statement = region::statement(&found.document)?;
                    let attestation = Attestation::parse(attestation, &statement)
                        .map_err(|error| ServiceError::field("attestation", error.to_string()))?;
                    let newest = found.document.attestation.as_ref().map_or(0, |it| it.counter);
                    if attestation.counter() <= newest {
                        return Err(ServiceError::Conflict {
                            reason: Reason::VersionConflict,
                            text: format!(
                                "region {:?} has attestation {newest}, and number {} does not follow it: somebody else attested meanwhile; run `rrctl region attest` again",
                                found.row.name,
                                attestation.counter()
                            ),
                        });
                    }
                    let versions = present(txn, &found.row.id).await?;
                    if !attestation.covers(&versions) {
                        return Err(ServiceError::Conflict {
                            reason: Reason::Changed,
                            text: format!(
                                "secrets of region {:?} changed after their versions were listed: list them again",
                                found.row.name
                            ),
                        });
                    }
                    let wire = attestation.to_wire();
                    store::region_attestation::put(txn, &found.row.id, &wire, &versions);
                    let document = Region { attestation: Some(wire), ..found.document };
                    let name = found.row.name.clone();
                    restage(txn, found.row, document, name)
                })
            })
            .await?;
        Ok(written)
    }
}

/// The versions of all secrets that are sealed to a region, of every organization.
async fn present(db: &impl Reader, region: &str) -> Result<Versions, ServiceError> {
    let all = behind(db, region, String::new(), usize::MAX).await?;
    let parsed = |(id, newest): (String, Newest)| {
        let id: CredentialId = id.parse().map_err(|_| StoreError::Damaged("secret"))?;
        Ok::<_, StoreError>((id, newest))
    };
    Ok(Versions::new(all.into_iter().map(parsed).collect::<Result<Vec<_>, _>>()?))
}

/// Up to `limit` of them, by the text of their ids, behind one.
async fn behind(
    db: &impl Reader,
    region: &str,
    mut after: String,
    limit: usize,
) -> Result<Vec<(String, Newest)>, ServiceError> {
    let mut found = Vec::new();
    loop {
        let rows = store::secret::sealed_behind(db, &after, ROWS).await?;
        let Some(end) = rows.last() else { return Ok(found) };
        after.clone_from(&end.credential);
        for row in rows {
            if let Some(sealed) = sealed_to(&row, region)? {
                let secret = SealedSecret::try_from(sealed).map_err(|_| StoreError::Damaged("secret"))?;
                let newest = Newest { version: row.version.unsigned_abs(), content: secret.content_id() };
                found.push((row.credential, newest));
            }
            if found.len() >= limit {
                return Ok(found);
            }
        }
    }
}
