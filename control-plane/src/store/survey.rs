//! Queries of jobs: all credentials, and nodes by when they were last seen. A page at a time, by id.

use sea_orm::{ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _};

use super::StoreError;
use super::entity::{node, resource};
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

/// Nodes of a region that were last seen from a time on.
pub(crate) async fn seen_since(db: &impl Reader, region: &str, from: i64) -> Result<Vec<String>, StoreError> {
    node::Entity::find()
        .select_only()
        .column(node::Column::Id)
        .filter(node::Column::Region.eq(region))
        .filter(node::Column::LastSeenAt.gte(from))
        .into_tuple()
        .all(db.conn())
        .await
        .map_err(StoreError::statement("read nodes"))
}

/// When a node of a region was last seen before a time.
pub(crate) async fn last_word(
    db: &impl Reader,
    region: &str,
    before: i64,
) -> Result<Option<i64>, StoreError> {
    node::Entity::find()
        .select_only()
        .column(node::Column::LastSeenAt)
        .filter(node::Column::Region.eq(region))
        .filter(node::Column::LastSeenAt.lt(before))
        .order_by_desc(node::Column::LastSeenAt)
        .into_tuple()
        .one(db.conn())
        .await
        .map_err(StoreError::statement("read nodes"))
}

/// Nodes that were last seen from one time on and before another, behind an id.
pub(crate) async fn nodes_seen(
    db: &impl Reader,
    (from, before): (i64, i64),
    after: &str,
    limit: u64,
) -> Result<Vec<node::Model>, StoreError> {
    node::Entity::find()
        .filter(node::Column::Id.gt(after))
        .filter(node::Column::LastSeenAt.gte(from))
        .filter(node::Column::LastSeenAt.lt(before))
        .order_by_asc(node::Column::Id)
        .limit(limit)
        .all(db.conn())
        .await
        .map_err(StoreError::statement("read nodes"))
}
