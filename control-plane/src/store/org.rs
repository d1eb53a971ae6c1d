//! Organizations.

use rr_contract::model::id::OrgId;
use sea_orm::{ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _};

use super::entity::org::{Column, Entity, Model};
use super::row::{self, Reader};
use super::{StoreError, Txn};

/// By name or id.
pub(crate) async fn by_reference(db: &impl Reader, reference: &str) -> Result<Option<Model>, StoreError> {
    let column = if reference.starts_with(OrgId::PREFIX) { Column::Id } else { Column::Name };
    Entity::find()
        .filter(column.eq(reference))
        .one(db.conn())
        .await
        .map_err(StoreError::statement("read organization"))
}

/// In the order of names, behind `after`; all of them, or those in `visible`.
pub(crate) async fn list(
    db: &impl Reader,
    visible: Option<Vec<String>>,
    after: &str,
    limit: u64,
) -> Result<Vec<Model>, StoreError> {
    let mut query = Entity::find().filter(Column::Name.gt(after));
    if let Some(visible) = visible {
        query = query.filter(Column::Id.is_in(visible));
    }
    query
        .order_by_asc(Column::Name)
        .limit(limit)
        .all(db.conn())
        .await
        .map_err(StoreError::statement("list organizations"))
}

/// Keeps other writers of the organization out until the end of the transaction, and reads it.
pub(crate) async fn lock(txn: &Txn, id: &str) -> Result<Option<Model>, StoreError> {
    Entity::find_by_id(id)
        .lock_exclusive()
        .one(txn.conn())
        .await
        .map_err(StoreError::statement("lock organization"))
}

/// A new one.
pub(crate) async fn create(txn: &Txn, org: Model) -> Result<(), StoreError> {
    row::insert(txn, org, "write organization").await
}

/// One that is there.
pub(crate) async fn update(txn: &Txn, org: Model) -> Result<(), StoreError> {
    row::update(txn, org, "write organization").await
}
