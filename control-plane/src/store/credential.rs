//! Credentials, and the ids of those that are gone.

use rr_contract::model::id::CredentialId;
use sea_orm::{ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _};

use super::entity::credential::{Column, Entity, Model};
use super::entity::retired_credential;
use super::row::{self, Reader};
use super::{StoreError, Txn};

/// By name or id, in an organization.
pub(crate) async fn by_reference(
    db: &impl Reader,
    org: &str,
    reference: &str,
) -> Result<Option<Model>, StoreError> {
    let column = if reference.starts_with(CredentialId::PREFIX) { Column::Id } else { Column::Name };
    Entity::find()
        .filter(Column::Org.eq(org))
        .filter(column.eq(reference))
        .one(db.conn())
        .await
        .map_err(StoreError::statement("read credential"))
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
        .map_err(StoreError::statement("list credentials"))
}

/// Whether an id is in use, or was, in whatever organization.
pub(crate) async fn id_is_spent(db: &impl Reader, id: &str) -> Result<bool, StoreError> {
    let failed = || StoreError::statement("look for credential id");
    if Entity::find_by_id(id).one(db.conn()).await.map_err(failed())?.is_some() {
        return Ok(true);
    }
    let retired = retired_credential::Entity::find_by_id(id).one(db.conn()).await.map_err(failed())?;
    Ok(retired.is_some())
}

/// A new one.
pub(crate) async fn create(txn: &Txn, credential: Model) -> Result<(), StoreError> {
    row::insert(txn, credential, "write credential").await
}

/// One that is there.
pub(crate) async fn update(txn: &Txn, credential: Model) -> Result<(), StoreError> {
    row::update(txn, credential, "write credential").await
}

/// Takes it away and retires its id. Fails with [`StoreError::Reference`] while a proxy uses it.
pub(crate) async fn delete(txn: &Txn, credential: &Model) -> Result<(), StoreError> {
    Entity::delete_by_id(&credential.id)
        .exec(txn.tx())
        .await
        .map_err(StoreError::statement("delete credential"))?;
    let retired = retired_credential::Model {
        id: credential.id.clone(),
        org: credential.org.clone(),
        retired_at: txn.now(),
    };
    row::insert(txn, retired, "retire credential").await
}
