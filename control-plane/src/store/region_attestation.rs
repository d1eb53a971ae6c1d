//! The newest attestation of each region: what the region itself says of the versions of its secrets.

use prost::Message as _;
use rr_contract::seal::attestation::Versions;
use rr_contract::wire::fleet;
use sea_orm::sea_query::OnConflict;
use sea_orm::{EntityTrait as _, IntoActiveModel as _};

use super::entity::region_attestation::{Column, Entity, Model};
use super::row::Reader;
use super::{StoreError, Txn};

/// Writes the attestation of a region with this write, in the place of the one before.
pub(crate) fn put(txn: &mut Txn, region: &str, attestation: &fleet::RegionAttestation, versions: &Versions) {
    let row = Model {
        region: region.to_owned(),
        attestation: attestation.encode_to_vec(),
        versions: versions.to_bytes(),
    };
    txn.also(move |txn| {
        Box::pin(async move {
            Entity::insert(row.into_active_model())
                .on_conflict(
                    OnConflict::column(Column::Region)
                        .update_columns([Column::Attestation, Column::Versions])
                        .to_owned(),
                )
                .exec_without_returning(txn.tx())
                .await
                .map_err(StoreError::statement("write the attestation of a region"))?;
            Ok(())
        })
    });
}

/// The newest attestation of a region, and the versions that it is about.
pub(crate) async fn of_region(
    db: &impl Reader,
    region: &str,
) -> Result<Option<(fleet::RegionAttestation, Versions)>, StoreError> {
    let row = Entity::find_by_id(region)
        .one(db.conn())
        .await
        .map_err(StoreError::statement("read the attestation of a region"))?;
    let damaged = StoreError::Damaged("attestation of a region");
    let Some(row) = row else { return Ok(None) };
    let Ok(attestation) = fleet::RegionAttestation::decode(row.attestation.as_slice()) else {
        return Err(damaged);
    };
    Ok(Some((attestation, Versions::parse(&row.versions).ok_or(damaged)?)))
}
