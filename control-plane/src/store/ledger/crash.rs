//! Crashes of nodes, and when a region is held because of them.

use sea_orm::sea_query::OnConflict;
use sea_orm::{ActiveValue::Set, ColumnTrait as _, EntityTrait as _, QueryFilter as _};

use super::Crash;
use crate::store::entity::{crash, region_state};
use crate::store::row::row_of;
use crate::store::{Store, StoreError, Txn};

/// How many nodes have to crash on one content until no other is brought there.
const CRASHED_TOGETHER: usize = 2;

/// Notes a crash; where it is the second node's on one content, the region is held there.
pub(crate) async fn crashed(store: &Store, it: Crash) -> Result<(), StoreError> {
    store.note(move |txn| Box::pin(async move { note(txn, it).await })).await
}

async fn note(txn: &Txn, it: Crash) -> Result<(), StoreError> {
    let region = it.region.to_string();
    let row = crash::ActiveModel {
        region: Set(region.clone()),
        digest: Set(it.digest.clone()),
        node: Set(it.node.to_string()),
        revision: Set(row_of(it.revision)?),
        at: Set(txn.now()),
    };
    let key = [crash::Column::Region, crash::Column::Digest, crash::Column::Node];
    crash::Entity::insert(row)
        .on_conflict(OnConflict::columns(key).do_nothing().to_owned())
        .exec_without_returning(txn.tx())
        .await
        .map_err(StoreError::statement("write crash"))?;
    let together = crash::Entity::find()
        .filter(crash::Column::Region.eq(&region))
        .filter(crash::Column::Digest.eq(it.digest.clone()))
        .all(txn.tx())
        .await
        .map_err(StoreError::statement("read crashes"))?;
    if together.len() < CRASHED_TOGETHER {
        return Ok(());
    }
    let held = region_state::Entity::find_by_id(region.as_str())
        .one(txn.tx())
        .await
        .map_err(StoreError::statement("read state of region"))?
        .filter(|state| state.held_revision.is_some() && state.held_digest == it.digest);
    let names: Vec<&str> = together.iter().take(10).map(|row| row.node.as_str()).collect();
    let row = region_state::ActiveModel {
        region: Set(region),
        held_revision: Set(Some(row_of(it.revision)?)),
        held_digest: Set(it.digest),
        held_why: Set(format!("{} nodes ended on it: {}", together.len(), names.join(", "))),
        // A further node does not make it another matter.
        held_at: Set(held.and_then(|state| state.held_at).or(Some(txn.now()))),
        adopted_lineage: Set(Vec::new()),
        adopted_revision: Set(None),
        adopted_revived: Set(String::new()),
        adopted_at: Set(None),
    };
    let held = OnConflict::column(region_state::Column::Region)
        .update_columns([
            region_state::Column::HeldRevision,
            region_state::Column::HeldDigest,
            region_state::Column::HeldWhy,
            region_state::Column::HeldAt,
        ])
        .to_owned();
    region_state::Entity::insert(row)
        .on_conflict(held)
        .exec_without_returning(txn.tx())
        .await
        .map_err(StoreError::statement("hold region"))?;
    Ok(())
}
