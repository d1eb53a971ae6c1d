//! Keys of later epochs of regions, each sealed to one node or token. Nothing here can be opened here.

use data_encoding::HEXLOWER;
use prost::Message as _;
use rr_contract::wire::fleet;
use rr_contract::wire::management::Region;
use sea_orm::sea_query::OnConflict;
use sea_orm::{ColumnTrait as _, EntityTrait as _, IntoActiveModel as _, QueryFilter as _, QueryOrder as _};

use super::entity::region_grant::{Column, Entity, Model};
use super::resource::BIND;
use super::row::Reader;
use super::{StoreError, Txn};

/// Writes grants with this write, in the place of those that the same recipients had for the same epoch.
pub(crate) fn put(txn: &mut Txn, grants: &[fleet::RegionKeyGrant]) {
    let rows: Vec<Model> = grants.iter().map(row).collect();
    txn.also(move |txn| {
        Box::pin(async move {
            for rows in rows.chunks(BIND / 4) {
                Entity::insert_many(rows.iter().cloned().map(Model::into_active_model))
                    .on_conflict(
                        OnConflict::columns([Column::Region, Column::Epoch, Column::Recipient])
                            .update_column(Column::Grant)
                            .to_owned(),
                    )
                    .exec_without_returning(txn.tx())
                    .await
                    .map_err(StoreError::statement("write keys of a region"))?;
            }
            Ok(())
        })
    });
}

/// Removes with this write what was granted of epochs before this one.
pub(crate) fn forget_before(txn: &mut Txn, region: &str, epoch: u32) {
    let region = region.to_owned();
    txn.also(move |txn| {
        Box::pin(async move {
            Entity::delete_many()
                .filter(Column::Region.eq(region))
                .filter(Column::Epoch.lt(i64::from(epoch)))
                .exec(txn.tx())
                .await
                .map_err(StoreError::statement("remove keys of a region"))?;
            Ok(())
        })
    });
}

/// Everything that was granted in a region, by epoch.
pub(crate) async fn of_region(
    db: &impl Reader,
    region: &str,
) -> Result<Vec<fleet::RegionKeyGrant>, StoreError> {
    let rows = Entity::find()
        .filter(Column::Region.eq(region))
        .order_by_asc(Column::Epoch)
        .all(db.conn())
        .await
        .map_err(StoreError::statement("read keys of a region"))?;
    rows.iter().map(grant).collect()
}

/// What was granted to one public key in a region, by epoch.
async fn of_key(
    db: &impl Reader,
    region: &str,
    key: &[u8],
) -> Result<Vec<fleet::RegionKeyGrant>, StoreError> {
    let rows = Entity::find()
        .filter(Column::Region.eq(region))
        .filter(Column::Recipient.eq(HEXLOWER.encode(key)))
        .order_by_asc(Column::Epoch)
        .all(db.conn())
        .await
        .map_err(StoreError::statement("read keys of a region"))?;
    rows.iter().map(grant).collect()
}

/// Keys of later epochs than `after` that were granted to a public key, oldest first: each with the region's statement.
pub(crate) async fn later_keys(
    db: &impl Reader,
    region: &Region,
    key: &[u8],
    after: u32,
) -> Result<Vec<fleet::RegionKey>, StoreError> {
    let grants = of_key(db, &region.id, key).await?;
    Ok(with_statements(region, grants, after))
}

/// Grants with the statements of their epochs, of later epochs than `after`. Of an epoch that is retired there is none.
pub(crate) fn with_statements(
    region: &Region,
    grants: Vec<fleet::RegionKeyGrant>,
    after: u32,
) -> Vec<fleet::RegionKey> {
    let statements = || region.former_keys.iter().chain(&region.key);
    let later = grants.into_iter().filter(|grant| grant.epoch > after);
    later
        .filter_map(|grant| {
            let statement = statements().find(|statement| statement.epoch == grant.epoch)?.clone();
            Some(fleet::RegionKey { statement: Some(statement), grant: Some(grant) })
        })
        .collect()
}

fn row(grant: &fleet::RegionKeyGrant) -> Model {
    Model {
        region: grant.region.clone(),
        epoch: grant.epoch.into(),
        recipient: HEXLOWER.encode(&grant.recipient_key),
        grant: grant.encode_to_vec(),
    }
}

fn grant(row: &Model) -> Result<fleet::RegionKeyGrant, StoreError> {
    fleet::RegionKeyGrant::decode(row.grant.as_slice()).map_err(|_| StoreError::Damaged("key of a region"))
}
