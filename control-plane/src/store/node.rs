//! Node tokens and nodes.

use std::collections::HashMap;

use prost::Message as _;
use rr_contract::model::id::NodeTokenId;
use rr_contract::wire::fleet;
use sea_orm::sea_query::{Expr, ExprTrait as _};
use sea_orm::{
    ColumnTrait as _, Condition, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
};

use super::entity::{node, node_token};
use super::row::{self, Reader};
use super::{StoreError, Txn};

/// A registered token.
#[derive(Debug, Clone)]
pub(crate) struct NodeTokenEntry {
    pub(crate) id: String,
    pub(crate) region: String,
    pub(crate) statement: fleet::NodeTokenStatement,
}

/// What became of an attempt to use a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Redeemed {
    /// One use of it was taken.
    Admitted,
    /// It has none left, or is too old.
    Spent,
}

/// A node token, by id.
pub(crate) async fn token_by_id(
    db: &impl Reader,
    id: NodeTokenId,
) -> Result<Option<NodeTokenEntry>, StoreError> {
    let row = node_token::Entity::find_by_id(id.to_string())
        .one(db.conn())
        .await
        .map_err(StoreError::statement("read node token"))?;
    row.map(|row| {
        let statement = fleet::NodeTokenStatement::decode(row.statement.as_slice())
            .map_err(|_| StoreError::Damaged("node token"))?;
        Ok(NodeTokenEntry { id: row.id, region: row.region, statement })
    })
    .transpose()
}

/// Writes a new one with this write.
pub(crate) fn token_create(txn: &mut Txn, entry: &NodeTokenEntry, expires_at: i64) {
    let row = node_token::Model {
        id: entry.id.clone(),
        region: entry.region.clone(),
        statement: entry.statement.encode_to_vec(),
        uses: i32::try_from(entry.statement.uses).unwrap_or(i32::MAX),
        used: 0,
        expires_at,
        revoked_at: None,
    };
    txn.also(move |txn| Box::pin(async move { row::insert(txn, row, "write node token").await }));
}

/// Revokes one with this write.
pub(crate) fn token_revoke(txn: &mut Txn, id: &str) {
    let id = id.to_owned();
    txn.also(move |txn| {
        Box::pin(async move {
            node_token::Entity::update_many()
                .col_expr(node_token::Column::RevokedAt, Expr::value(txn.now()))
                .filter(node_token::Column::Id.eq(id))
                .filter(node_token::Column::RevokedAt.is_null())
                .exec(txn.tx())
                .await
                .map_err(StoreError::statement("revoke node token"))?;
            Ok(())
        })
    });
}

/// How often tokens were used, by id.
pub(crate) async fn tokens_used(
    db: &impl Reader,
    ids: &[String],
) -> Result<HashMap<String, i32>, StoreError> {
    let rows = node_token::Entity::find()
        .filter(node_token::Column::Id.is_in(ids.to_vec()))
        .all(db.conn())
        .await
        .map_err(StoreError::statement("read node tokens"))?;
    Ok(rows.into_iter().map(|row| (row.id, row.used)).collect())
}

/// Whether any node joined a region.
pub(crate) async fn any_in(db: &impl Reader, region: &str) -> Result<bool, StoreError> {
    let first = node::Entity::find()
        .filter(node::Column::Region.eq(region))
        .one(db.conn())
        .await
        .map_err(StoreError::statement("read nodes"))?;
    Ok(first.is_some())
}

/// Takes one use of a token, if it has one left and is not too old: one statement, so that two nodes
/// never share a use.
pub(crate) async fn token_redeem(txn: &Txn, id: &str) -> Result<Redeemed, StoreError> {
    let taken = node_token::Entity::update_many()
        .col_expr(node_token::Column::Used, Expr::col(node_token::Column::Used).add(1_i32))
        .filter(node_token::Column::Id.eq(id))
        .filter(Expr::col(node_token::Column::Used).lt(Expr::col(node_token::Column::Uses)))
        .filter(node_token::Column::ExpiresAt.gt(txn.now()))
        .filter(node_token::Column::RevokedAt.is_null())
        .exec(txn.tx())
        .await
        .map_err(StoreError::statement("redeem node token"))?;
    Ok(if taken.rows_affected == 1 { Redeemed::Admitted } else { Redeemed::Spent })
}

/// Those of some tokens with which machines can still join.
pub(crate) async fn live_of(db: &impl Reader, ids: &[String], now: i64) -> Result<Vec<String>, StoreError> {
    let mut live = Vec::new();
    for ids in ids.chunks(super::resource::BIND) {
        let rows = node_token::Entity::find()
            .filter(node_token::Column::Id.is_in(ids.iter().map(String::as_str)))
            .filter(node_token::Column::ExpiresAt.gt(now))
            .filter(node_token::Column::RevokedAt.is_null())
            .order_by_asc(node_token::Column::Id)
            .all(db.conn())
            .await
            .map_err(StoreError::statement("read node tokens"))?;
        live.extend(rows.into_iter().filter(|row| row.used < row.uses).map(|row| row.id));
    }
    Ok(live)
}

/// A node that joined.
pub(crate) async fn create(txn: &Txn, node: node::Model) -> Result<(), StoreError> {
    row::insert(txn, node, "write node").await
}

/// A node, by id.
pub(crate) async fn by_id(db: &impl Reader, id: &str) -> Result<Option<node::Model>, StoreError> {
    node::Entity::find_by_id(id).one(db.conn()).await.map_err(StoreError::statement("read node"))
}

/// The same, to be written in this transaction: nobody else does meanwhile.
pub(crate) async fn by_id_for_write(txn: &Txn, id: &str) -> Result<Option<node::Model>, StoreError> {
    let found = node::Entity::find_by_id(id).lock_exclusive().one(txn.tx()).await;
    found.map_err(StoreError::statement("read node"))
}

/// A certificate that a node gets.
pub(crate) struct Issue {
    pub(crate) serial: Vec<u8>,
    /// Of the certificate that it showed for it.
    pub(crate) before: Vec<u8>,
    pub(crate) to: String,
    /// Microseconds since 1970.
    pub(crate) not_after: i64,
}

/// Notes which certificate a node has from now on.
pub(crate) async fn issued(txn: &Txn, id: &str, issue: Issue) -> Result<(), StoreError> {
    node::Entity::update_many()
        .col_expr(node::Column::Serial, Expr::value(issue.serial))
        .col_expr(node::Column::SerialBefore, Expr::value(issue.before))
        .col_expr(node::Column::IssuedTo, Expr::value(issue.to))
        .col_expr(node::Column::IssuedAt, Expr::value(txn.now()))
        .col_expr(node::Column::CertificateNotAfter, Expr::value(issue.not_after))
        .filter(node::Column::Id.eq(id))
        .exec(txn.tx())
        .await
        .map_err(StoreError::statement("write certificate of node"))?;
    Ok(())
}

/// Notes that a copy of a node was met.
pub(crate) async fn copied(txn: &Txn, id: &str, serial: Vec<u8>, from: String) -> Result<(), StoreError> {
    node::Entity::update_many()
        .col_expr(node::Column::CopySerial, Expr::value(serial))
        .col_expr(node::Column::CopyFrom, Expr::value(from))
        .col_expr(node::Column::CopyAt, Expr::value(txn.now()))
        .filter(node::Column::Id.eq(id))
        .exec(txn.tx())
        .await
        .map_err(StoreError::statement("write copy of node"))?;
    Ok(())
}

/// Of some regions, in the order of region and id, behind `after`.
pub(crate) async fn list(
    db: &impl Reader,
    regions: &[String],
    after: (&str, &str),
    limit: u64,
) -> Result<Vec<node::Model>, StoreError> {
    let behind = Condition::any()
        .add(node::Column::Region.gt(after.0))
        .add(Condition::all().add(node::Column::Region.eq(after.0)).add(node::Column::Id.gt(after.1)));
    node::Entity::find()
        .filter(behind)
        .filter(node::Column::Region.is_in(regions.iter().map(String::as_str)))
        .order_by_asc(node::Column::Region)
        .order_by_asc(node::Column::Id)
        .limit(limit)
        .all(db.conn())
        .await
        .map_err(StoreError::statement("list nodes"))
}

/// Every node of a region.
pub(crate) async fn all_in(db: &impl Reader, region: &str) -> Result<Vec<node::Model>, StoreError> {
    node::Entity::find()
        .filter(node::Column::Region.eq(region))
        .order_by_asc(node::Column::Id)
        .all(db.conn())
        .await
        .map_err(StoreError::statement("list nodes"))
}

/// Every token of a region, whether or not a machine can join with it.
pub(crate) async fn tokens_in(db: &impl Reader, region: &str) -> Result<Vec<node_token::Model>, StoreError> {
    node_token::Entity::find()
        .filter(node_token::Column::Region.eq(region))
        .order_by_asc(node_token::Column::Id)
        .all(db.conn())
        .await
        .map_err(StoreError::statement("list node tokens"))
}

/// For tests: what a database that was set back knows.
#[cfg(test)]
pub(crate) async fn set_serials(
    txn: &Txn,
    id: &str,
    serial: Option<Vec<u8>>,
    before: Option<Vec<u8>>,
) -> Result<(), StoreError> {
    node::Entity::update_many()
        .col_expr(node::Column::Serial, Expr::value(serial))
        .col_expr(node::Column::SerialBefore, Expr::value(before))
        .filter(node::Column::Id.eq(id))
        .exec(txn.tx())
        .await
        .map_err(StoreError::statement("write certificate of node"))?;
    Ok(())
}
