//! Queries of jobs: all credentials, and nodes by when they were last seen, a page at a time by id; and what nodes lost.

use sea_orm::sea_query::{Expr, ExprTrait as _, Func};
use sea_orm::{
    ColumnTrait as _, EntityTrait as _, FromQueryResult, QueryFilter as _, QueryOrder as _, QuerySelect as _,
};

use super::StoreError;
use super::entity::{node, record_loss, resource};
use super::row::Reader;
use crate::noun::Noun;

/// The resources of a noun that nodes are sent, of all organizations, behind an id.
pub(crate) async fn published(
    db: &impl Reader,
    noun: Noun,
    after: &str,
    limit: u64,
) -> Result<Vec<resource::Model>, StoreError> {
    resource::Entity::find()
        .filter(resource::Column::Kind.eq(noun.row()))
        .filter(resource::Column::Id.gt(after))
        // What belongs to a hidden organization has none.
        .filter(resource::Column::Payload.is_not_null())
        .order_by_asc(resource::Column::Id)
        .limit(limit)
        .all(db.conn())
        .await
        .map_err(StoreError::statement("read resources"))
}

/// Nodes of a region, but for revoked ones, that were last seen from a time on.
pub(crate) async fn seen_since(db: &impl Reader, region: &str, from: i64) -> Result<Vec<String>, StoreError> {
    node::Entity::find()
        .select_only()
        .column(node::Column::Id)
        .filter(node::Column::Region.eq(region))
        .filter(node::Column::RevokedAt.is_null())
        .filter(node::Column::LastSeenAt.gte(from))
        .into_tuple()
        .all(db.conn())
        .await
        .map_err(StoreError::statement("read nodes"))
}

/// When a node of a region that is not revoked was last seen before a time.
pub(crate) async fn last_word(
    db: &impl Reader,
    region: &str,
    before: i64,
) -> Result<Option<i64>, StoreError> {
    node::Entity::find()
        .select_only()
        .column(node::Column::LastSeenAt)
        .filter(node::Column::Region.eq(region))
        .filter(node::Column::RevokedAt.is_null())
        .filter(node::Column::LastSeenAt.lt(before))
        .order_by_desc(node::Column::LastSeenAt)
        .into_tuple()
        .one(db.conn())
        .await
        .map_err(StoreError::statement("read nodes"))
}

/// Nodes, but for revoked ones, that were last seen from one time on and before another, behind an id.
pub(crate) async fn nodes_seen(
    db: &impl Reader,
    (from, before): (i64, i64),
    after: &str,
    limit: u64,
) -> Result<Vec<node::Model>, StoreError> {
    node::Entity::find()
        .filter(node::Column::Id.gt(after))
        .filter(node::Column::RevokedAt.is_null())
        .filter(node::Column::LastSeenAt.gte(from))
        .filter(node::Column::LastSeenAt.lt(before))
        .order_by_asc(node::Column::Id)
        .limit(limit)
        .all(db.conn())
        .await
        .map_err(StoreError::statement("read nodes"))
}

/// Records that a node lost for one reason.
#[derive(Debug, FromQueryResult)]
pub(crate) struct Loss {
    pub(crate) node: String,
    pub(crate) reason: String,
    pub(crate) records: i64,
}

/// Why records are lost, as nodes say it. Another word is none of ours.
pub(super) const REASONS: [&str; 4] = ["spool-full", "spool-near-full", "ring-full", "damaged"];
/// The most that one report counts for: sums stay in range, whatever a node says.
pub(super) const LOST_MOST: i64 = 1_000_000_000_000;

/// What nodes reported since a time that they lost.
pub(crate) async fn losses(db: &impl Reader, from: i64) -> Result<Vec<Loss>, StoreError> {
    use record_loss::Column;

    let bounded =
        Expr::case(Expr::col(Column::Records).gt(LOST_MOST), LOST_MOST).finally(Expr::col(Column::Records));
    record_loss::Entity::find()
        .select_only()
        .column(Column::Node)
        .column(Column::Reason)
        .column_as(Expr::from(Func::sum(bounded)).cast_as("bigint"), "records")
        .filter(Column::StoredAt.gte(from))
        .filter(Column::Records.gt(0))
        .filter(Column::Reason.is_in(REASONS))
        .group_by(Column::Node)
        .group_by(Column::Reason)
        .order_by_asc(Column::Node)
        .order_by_asc(Column::Reason)
        .into_model()
        .all(db.conn())
        .await
        .map_err(StoreError::statement("read losses"))
}
