//! Tokens: what a secret's hash opens. What a token may do is in its document.

use rr_contract::api_key::KeyHash;
use sea_orm::sea_query::{Expr, ExprTrait as _};
use sea_orm::{ColumnTrait as _, EntityTrait as _, QueryFilter as _};

use super::entity::token::{Column, Entity, Model};
use super::row::{self, Reader};
use super::{StoreError, Txn};

/// By the hash of its secret.
pub(crate) async fn by_hash(db: &impl Reader, hash: &KeyHash) -> Result<Option<Model>, StoreError> {
    Entity::find()
        .filter(Column::Hash.eq(hash.as_bytes().to_vec()))
        .one(db.conn())
        .await
        .map_err(StoreError::statement("read token"))
}

/// Whether there is any but a bootstrap one that nobody used.
pub(crate) async fn any_in_use(db: &impl Reader) -> Result<bool, StoreError> {
    let first = Entity::find()
        .filter(Column::Bootstrap.eq(false).or(Column::UsedAt.is_not_null()))
        .one(db.conn())
        .await
        .map_err(StoreError::statement("read tokens"))?;
    Ok(first.is_some())
}

/// Whether a bootstrap token was used by now: asked before another write relies on that it was not.
pub(crate) async fn is_spent(db: &impl Reader, id: &str) -> Result<bool, StoreError> {
    let row = Entity::find_by_id(id).one(db.conn()).await.map_err(StoreError::statement("read token"))?;
    Ok(row.is_none_or(|row| row.used_at.is_some()))
}

/// Writes a new one with this write.
pub(crate) fn create(txn: &mut Txn, token: Model) {
    txn.also(move |txn| Box::pin(async move { row::insert(txn, token, "write token").await }));
}

/// Uses up, with this write, a token that is good for one use.
pub(crate) fn spend(txn: &mut Txn, id: &str) {
    mark(txn, id, Column::UsedAt);
}

/// Revokes a token with this write.
pub(crate) fn revoke(txn: &mut Txn, id: &str) {
    mark(txn, id, Column::RevokedAt);
}

fn mark(txn: &mut Txn, id: &str, column: Column) {
    let id = id.to_owned();
    txn.also(move |txn| {
        Box::pin(async move {
            Entity::update_many()
                .col_expr(column, Expr::value(txn.now()))
                .filter(Column::Id.eq(id))
                .filter(column.is_null())
                .exec(txn.tx())
                .await
                .map_err(StoreError::statement("write token"))?;
            Ok(())
        })
    });
}

/// Takes away bootstrap tokens that nobody used, and writes a new one.
pub(crate) async fn replace_bootstrap(txn: &Txn, token: Model) -> Result<(), StoreError> {
    Entity::delete_many()
        .filter(Column::Bootstrap.eq(true))
        .filter(Column::UsedAt.is_null())
        .exec(txn.tx())
        .await
        .map_err(StoreError::statement("delete bootstrap token"))?;
    row::insert(txn, token, "write token").await
}
