//! The newest secret of each credential, the hash or seal of a caller's value before it while both are live, and the ids
//! of credentials that are gone.
//!
//! Older secrets are not kept: one that was replaced is never published again.

use sea_orm::{
    ColumnTrait as _, Condition, EntityTrait as _, IntoActiveModel as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _,
};

use super::entity::secret::{Column, Entity};
use super::entity::{resource, retired_credential};
use super::resource::BIND;
use super::row::{self, Reader};
use super::{StoreError, Txn, caller_use, secret_row};
use crate::noun::Noun;

/// The secret of one credential.
pub(crate) async fn of(db: &impl Reader, credential: &str) -> Result<Option<secret_row::Model>, StoreError> {
    Entity::find_by_id(credential).one(db.conn()).await.map_err(StoreError::statement("read secret"))
}

/// The secrets of several credentials.
pub(crate) async fn of_all(
    db: &impl Reader,
    credentials: &[String],
) -> Result<Vec<secret_row::Model>, StoreError> {
    let mut found = Vec::new();
    for credentials in credentials.chunks(BIND) {
        let rows = Entity::find()
            .filter(Column::Credential.is_in(credentials.to_vec()))
            .all(db.conn())
            .await
            .map_err(StoreError::statement("read secrets"))?;
        found.extend(rows);
    }
    Ok(found)
}

/// The credentials that have one of these hashes, in whatever organization.
pub(crate) async fn holding(
    db: &impl Reader,
    hashes: &[Vec<u8>],
) -> Result<Vec<secret_row::Model>, StoreError> {
    let mut found = Vec::new();
    for hashes in hashes.chunks(BIND / 2) {
        let either = Condition::any()
            .add(Column::KeyHash.is_in(hashes.to_vec()))
            .add(Column::PreviousHash.is_in(hashes.to_vec()));
        let rows = Entity::find()
            .filter(either)
            .all(db.conn())
            .await
            .map_err(StoreError::statement("look for values of callers"))?;
        found.extend(rows);
    }
    Ok(found)
}

/// Which of these ids are in use, or were, in whatever organization.
pub(crate) async fn spent(db: &impl Reader, ids: &[String]) -> Result<Vec<String>, StoreError> {
    let mut spent = Vec::new();
    for ids in ids.chunks(BIND) {
        let used = resource::Entity::find()
            .filter(resource::Column::Kind.eq(Noun::Credential.row()))
            .filter(resource::Column::Id.is_in(ids.to_vec()))
            .all(db.conn())
            .await
            .map_err(StoreError::statement("look for credential ids"))?;
        spent.extend(used.into_iter().map(|row| row.id));
        let retired = retired_credential::Entity::find()
            .filter(retired_credential::Column::Id.is_in(ids.to_vec()))
            .all(db.conn())
            .await
            .map_err(StoreError::statement("look for credential ids"))?;
        spent.extend(retired.into_iter().map(|row| row.id));
    }
    Ok(spent)
}

/// Secrets that came sealed, in the order of their credentials, behind one of them.
pub(crate) async fn sealed_behind(
    db: &impl Reader,
    after: &str,
    limit: u64,
) -> Result<Vec<secret_row::Model>, StoreError> {
    Entity::find()
        .filter(Column::Credential.gt(after))
        .filter(Column::Sealed.is_not_null())
        .order_by_asc(Column::Credential)
        .limit(limit)
        .all(db.conn())
        .await
        .map_err(StoreError::statement("read secrets"))
}

/// Writes secrets in the place of those that were there.
pub(crate) fn put(txn: &mut Txn, secrets: Vec<secret_row::Model>) {
    use sea_orm::sea_query::OnConflict;

    if secrets.is_empty() {
        return;
    }
    txn.also(move |txn| {
        Box::pin(async move {
            for secrets in secrets.chunks(BIND) {
                let rows = secrets.iter().cloned().map(secret_row::Model::into_active_model);
                Entity::insert_many(rows)
                    .on_conflict(
                        OnConflict::column(Column::Credential)
                            .update_columns([
                                Column::Version,
                                Column::Sealed,
                                Column::KeyHash,
                                Column::PreviousHash,
                                Column::PreviousSealed,
                            ])
                            .to_owned(),
                    )
                    .exec_without_returning(txn.tx())
                    .await
                    .map_err(StoreError::statement("write secrets"))?;
            }
            Ok(())
        })
    });
}

/// Takes the secrets and last uses of credentials away that go with this write, and retires their ids.
pub(crate) fn retire(txn: &mut Txn, org: &str, mut credentials: Vec<String>) {
    let org = org.to_owned();
    // In the order in which reports of last uses are taken, so that neither waits for the other.
    credentials.sort_unstable();
    txn.also(move |txn| {
        Box::pin(async move {
            for id in credentials {
                Entity::delete_by_id(&id)
                    .exec(txn.tx())
                    .await
                    .map_err(StoreError::statement("remove secret"))?;
                caller_use::forget(txn, &id).await?;
                let retired = retired_credential::Model { id, org: org.clone(), retired_at: txn.now() };
                row::insert(txn, retired, "retire credential").await?;
            }
            Ok(())
        })
    });
}
