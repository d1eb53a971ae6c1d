//! Tokens of people and services.

use rr_contract::api_key::KeyHash;
use sea_orm::sea_query::OnConflict;
use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, EntityTrait as _, ExprTrait as _, QueryFilter as _, sea_query::Expr,
};

use super::entity::{token, token_grant};
use super::row::{self, Reader};
use super::{StoreError, Txn};

/// A token and what it may do: role and org; an empty org is the installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TokenEntry {
    pub(crate) token: token::Model,
    pub(crate) grants: Vec<(i32, String)>,
}

/// By the hash of its secret.
pub(crate) async fn by_hash(db: &impl Reader, hash: &KeyHash) -> Result<Option<TokenEntry>, StoreError> {
    let token = token::Entity::find()
        .filter(token::Column::Hash.eq(hash.as_bytes().to_vec()))
        .one(db.conn())
        .await
        .map_err(StoreError::statement("read token"))?;
    let Some(token) = token else { return Ok(None) };
    let grants = token_grant::Entity::find()
        .filter(token_grant::Column::Token.eq(&token.id))
        .all(db.conn())
        .await
        .map_err(StoreError::statement("read grants"))?;
    Ok(Some(TokenEntry { token, grants: grants.into_iter().map(|grant| (grant.role, grant.org)).collect() }))
}

/// Whether there is any but a bootstrap one that nobody used.
pub(crate) async fn any_in_use(db: &impl Reader) -> Result<bool, StoreError> {
    let first = token::Entity::find()
        .filter(token::Column::Bootstrap.eq(false).or(token::Column::UsedAt.is_not_null()))
        .one(db.conn())
        .await
        .map_err(StoreError::statement("read tokens"))?;
    Ok(first.is_some())
}

/// A new one with its grants.
pub(crate) async fn create(txn: &Txn, entry: &TokenEntry) -> Result<(), StoreError> {
    row::insert(txn, entry.token.clone(), "write token").await?;
    for (role, org) in &entry.grants {
        grant(txn, &entry.token.id, *role, org).await?;
    }
    Ok(())
}

/// Lets a token do more.
pub(crate) async fn grant(txn: &Txn, token: &str, role: i32, org: &str) -> Result<(), StoreError> {
    token_grant::Entity::insert(token_grant::ActiveModel {
        token: Set(token.to_owned()),
        org: Set(org.to_owned()),
        role: Set(role),
    })
    .on_conflict(
        OnConflict::columns([
            token_grant::Column::Token,
            token_grant::Column::Org,
            token_grant::Column::Role,
        ])
        .do_nothing()
        .to_owned(),
    )
    .exec_without_returning(txn.tx())
    .await
    .map_err(StoreError::statement("write grant"))?;
    Ok(())
}

/// Uses up a token that is good for one use. False: somebody else did.
pub(crate) async fn spend(txn: &Txn, id: &str) -> Result<bool, StoreError> {
    let spent = token::Entity::update_many()
        .col_expr(token::Column::UsedAt, Expr::value(txn.now()))
        .filter(token::Column::Id.eq(id))
        .filter(token::Column::UsedAt.is_null())
        .exec(txn.tx())
        .await
        .map_err(StoreError::statement("spend token"))?;
    Ok(spent.rows_affected == 1)
}

/// Takes away bootstrap tokens that nobody used.
pub(crate) async fn delete_bootstrap(txn: &Txn) -> Result<(), StoreError> {
    token::Entity::delete_many()
        .filter(token::Column::Bootstrap.eq(true))
        .filter(token::Column::UsedAt.is_null())
        .exec(txn.tx())
        .await
        .map_err(StoreError::statement("delete bootstrap token"))?;
    Ok(())
}
