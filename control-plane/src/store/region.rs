//! Regions.

use prost::Message as _;
use rr_contract::model::id::RegionId;
use rr_contract::seal::region_key::RegionStatement;
use rr_contract::wire::fleet;
use sea_orm::{ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _};

use super::entity::region::{Column, Entity, Model};
use super::row::{self, Reader};
use super::{StoreError, Txn};

impl Model {
    /// The public half of its keys, checked again as it was when it was stored.
    pub(crate) fn statement(&self) -> Result<RegionStatement, StoreError> {
        fleet::RegionKeyStatement::decode(self.key_statement.as_slice())
            .ok()
            .and_then(|wire| wire.try_into().ok())
            .ok_or(StoreError::Damaged("region"))
    }
}

/// By name or id.
pub(crate) async fn by_reference(db: &impl Reader, reference: &str) -> Result<Option<Model>, StoreError> {
    let column = if reference.starts_with(RegionId::PREFIX) { Column::Id } else { Column::Name };
    Entity::find()
        .filter(column.eq(reference))
        .one(db.conn())
        .await
        .map_err(StoreError::statement("read region"))
}

/// In the order of names, behind `after`.
pub(crate) async fn list(db: &impl Reader, after: &str, limit: u64) -> Result<Vec<Model>, StoreError> {
    Entity::find()
        .filter(Column::Name.gt(after))
        .order_by_asc(Column::Name)
        .limit(limit)
        .all(db.conn())
        .await
        .map_err(StoreError::statement("list regions"))
}

/// All of them; there are tens.
pub(crate) async fn all(db: &impl Reader) -> Result<Vec<Model>, StoreError> {
    Entity::find().all(db.conn()).await.map_err(StoreError::statement("list regions"))
}

/// A new one.
pub(crate) async fn create(txn: &Txn, region: Model) -> Result<(), StoreError> {
    row::insert(txn, region, "write region").await
}
