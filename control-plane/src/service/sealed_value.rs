//! Secrets that come sealed: the row that keeps one, the version and the regions that it has to be sealed for.
//!
//! Opens none. The invariant: whatever is taken opens in every region where a proxy uses its credential.

use prost::Message as _;
use rr_contract::model::invalid::Violations;
use rr_contract::model::seal_label::SealLabel;
use rr_contract::seal::SealedSecret;
use rr_contract::wire::{fleet, management as wire};

use super::error::Precondition;
use super::{Reason, ServiceError};
use crate::document::Part;
use crate::noun::Noun;
use crate::store::{self, Reader, secret_row};

/// Refuses a secret that is sealed for another version than the next one.
pub(super) fn sealed_for(version: u64, next: u64, name: &str) -> Result<(), ServiceError> {
    if version == next {
        return Ok(());
    }
    Err(ServiceError::Conflict {
        reason: Reason::VersionConflict,
        text: format!("credential {name:?} is at version {}: seal for version {next}", next - 1),
    })
}

pub(super) fn sealed_row(id: &str, version: u64, sealed: &SealedSecret) -> secret_row::Model {
    secret_row::Model {
        credential: id.to_owned(),
        version: i64::try_from(version).unwrap_or(i64::MAX),
        sealed: Some(sealed.to_wire().encode_to_vec()),
        key_hash: None,
        previous_hash: None,
        previous_sealed: None,
    }
}

/// What is said of a seal can be read, and names features that this version knows: nodes without them are to be named.
pub(super) fn check_label(label: Option<&fleet::SealLabel>, field: &str, faults: &mut Violations) {
    let Some(Err(invalid)) = label.cloned().map(SealLabel::try_from) else { return };
    for violation in invalid.violations() {
        faults.add(format!("{field}.{}", violation.field), violation.reason.clone());
    }
}

/// The regions that a secret is sealed to, once each, in order.
pub(super) fn regions_of(sealed: &SealedSecret) -> Vec<String> {
    // One region may have a wrap for each of two epochs.
    let mut regions: Vec<String> = sealed.to_wire().wraps.into_iter().map(|wrap| wrap.region).collect();
    regions.sort();
    regions.dedup();
    regions
}

/// Every region that a secret is sealed to is one of ours, at the epoch of its key.
pub(super) async fn known_regions(
    db: &impl Reader,
    field: &str,
    org: &str,
    secret: Option<&secret_row::Model>,
) -> Result<(), ServiceError> {
    let Some(sealed) = secret.and_then(|secret| secret.sealed.as_deref()) else { return Ok(()) };
    let wire = fleet::SealedSecret::decode(sealed).map_err(|_| store::StoreError::Damaged("secret"))?;
    known_wraps(db, field, org, &wire, 0).await
}

/// The same of the wraps behind the first `known`.
pub(super) async fn known_wraps(
    db: &impl Reader,
    field: &str,
    org: &str,
    sealed: &fleet::SealedSecret,
    known: usize,
) -> Result<(), ServiceError> {
    let mut faults = Violations::default();
    for (i, wrap) in sealed.wraps.iter().enumerate().skip(known) {
        let found = super::region::by_reference(db, &wrap.region).await?;
        // A region that is dedicated to another organization is not found.
        let found = found.filter(|it| it.document.dedicated_to.is_empty() || it.document.dedicated_to == org);
        match found {
            None => faults.add(
                format!("{field}.wraps[{i}].region"),
                format!("names region {}, which was not found", wrap.region),
            ),
            Some(region) => {
                let epoch = super::region::statement(&region.document)?.epoch();
                if wrap.epoch != epoch {
                    faults.add(
                        format!("{field}.wraps[{i}].epoch"),
                        format!(
                            "is {}, but the key of region {:?} has epoch {epoch}: seal the secret again",
                            wrap.epoch, region.row.name
                        ),
                    );
                }
            }
        }
    }
    Ok(faults.finish(|| Some(()))?)
}

/// A new version opens wherever a proxy uses the credential.
pub(super) async fn keeps_regions(
    db: &impl Reader,
    id: &str,
    name: &str,
    sealed: &[String],
    org: &str,
) -> Result<(), ServiceError> {
    let mut preconditions = Vec::new();
    for (part, noun, user) in store::resource::users(db, Noun::Credential, id).await? {
        if noun != Noun::Proxy || !matches!(part, Part::Upstream | Part::Caller) {
            continue;
        }
        let Some(row) = store::resource::by_id(db, noun, &user).await? else { continue };
        let proxy = store::resource::with_document::<wire::Proxy>(db, row).await?;
        for region in proxy.document.regions.iter().filter(|region| !sealed.contains(region)) {
            preconditions.push(Precondition {
                subject: format!("proxies/{}", proxy.row.id),
                text: format!(
                    "proxy {:?} is served in region {region}, to which the new secret is not sealed",
                    proxy.row.name
                ),
            });
        }
    }
    if preconditions.is_empty() {
        return Ok(());
    }
    Err(ServiceError::Refused {
        reason: Reason::NotSealedToRegion,
        text: format!(
            "the new secret of credential {name:?} of {org:?} is not sealed to every region where a proxy uses it: seal it to those regions too"
        ),
        preconditions,
    })
}
