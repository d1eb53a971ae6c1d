//! Targets.

use rr_contract::model::id::TargetId;
use sea_orm::{ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _};

use super::entity::target::{Column, Entity, Model};
use super::row::{self, Reader};
use super::{StoreError, Txn};

/// By name or id, in an organization.
pub(crate) async fn by_reference(
    db: &impl Reader,
    org: &str,
    reference: &str,
) -> Result<Option<Model>, StoreError> {
    let column = if reference.starts_with(TargetId::PREFIX) { Column::Id } else { Column::Name };
    Entity::find()
        .filter(Column::Org.eq(org))
        .filter(column.eq(reference))
        .one(db.conn())
        .await
        .map_err(StoreError::statement("read target"))
}

/// In the order of names, behind `after`.
pub(crate) async fn list(
    db: &impl Reader,
    org: &str,
    after: &str,
    limit: u64,
) -> Result<Vec<Model>, StoreError> {
    Entity::find()
        .filter(Column::Org.eq(org))
        .filter(Column::Name.gt(after))
        .order_by_asc(Column::Name)
        .limit(limit)
        .all(db.conn())
        .await
        .map_err(StoreError::statement("list targets"))
}

/// A new one.
pub(crate) async fn create(txn: &Txn, target: Model) -> Result<(), StoreError> {
    row::insert(txn, target, "write target").await
}

/// One that is there.
pub(crate) async fn update(txn: &Txn, target: Model) -> Result<(), StoreError> {
    row::update(txn, target, "write target").await
}

/// Fails with [`StoreError::Reference`] while a proxy uses it.
pub(crate) async fn delete(txn: &Txn, id: &str) -> Result<(), StoreError> {
    Entity::delete_by_id(id).exec(txn.tx()).await.map_err(StoreError::statement("delete target"))?;
    Ok(())
}
