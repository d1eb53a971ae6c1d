//! What replicas write of the nodes that they hold, and how it is read back.

use data_encoding::HEXLOWER;
use prost::Message as _;
use rr_contract::model::id::NodeId;
use rr_contract::wire::fleet;
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait as _, EntityTrait as _, QueryFilter as _};

use super::{Leased, Reports, node_id, question, region_id};
use crate::store::entity::node;
use crate::store::{Store, StoreError, Txn};

/// Writes what nodes of one replica said. Returns those that meanwhile came to another replica.
pub(crate) async fn report(store: &Store, reports: Reports) -> Result<Vec<NodeId>, StoreError> {
    store.note(move |txn| Box::pin(async move { write_all(txn, reports).await })).await
}

async fn write_all(txn: &Txn, reports: Reports) -> Result<Vec<NodeId>, StoreError> {
    let Reports { replica, until, came, said, left, met, keep } = reports;
    for node in came {
        write(txn, &replica, until, node, true).await?;
    }
    let mut lost = Vec::new();
    for node in said {
        let id = node.node;
        if !write(txn, &replica, until, node, false).await? {
            lost.push(id);
        }
    }
    for id in left {
        node::Entity::update_many()
            .col_expr(node::Column::LeasedUntil, Expr::value(0_i64))
            .filter(node::Column::Id.eq(id.to_string()))
            .filter(node::Column::Replica.eq(replica.as_str()))
            .exec(txn.tx())
            .await
            .map_err(StoreError::statement("release node"))?;
    }
    for met in met {
        question::clash(txn, met).await?;
    }
    if !keep {
        return Ok(lost);
    }
    node::Entity::update_many()
        .col_expr(node::Column::LeasedUntil, Expr::value(until))
        .filter(node::Column::Replica.eq(replica.as_str()))
        .filter(node::Column::LeasedUntil.gt(0_i64))
        .exec(txn.tx())
        .await
        .map_err(StoreError::statement("keep nodes"))?;
    Ok(lost)
}

/// False where the node is another replica's by now, or not there any more.
async fn write(txn: &Txn, replica: &str, until: i64, node: Leased, claim: bool) -> Result<bool, StoreError> {
    let boot_id = HEXLOWER.encode(&node.boot_id);
    let mut update = node::Entity::update_many()
        .col_expr(node::Column::Build, Expr::value(node.build))
        .col_expr(node::Column::LastSeenAt, Expr::value(node.seen_at))
        .col_expr(node::Column::Status, Expr::value(node.status.encode_to_vec()))
        .col_expr(node::Column::Replica, Expr::value(replica))
        .col_expr(node::Column::BootId, Expr::value(boot_id))
        .col_expr(node::Column::Features, Expr::value(node.features.join(" ")))
        .col_expr(node::Column::Address, Expr::value(node.address))
        .col_expr(node::Column::LeasedUntil, Expr::value(until))
        .filter(node::Column::Id.eq(node.node.to_string()));
    if !claim {
        update = update.filter(node::Column::Replica.eq(replica));
    }
    let done = update.exec(txn.tx()).await.map_err(StoreError::statement("write node report"))?;
    Ok(done.rows_affected == 1)
}

/// What a row says of who holds a node's stream; none where nobody does any more.
pub(crate) fn lease(row: node::Model, now: i64) -> Option<Leased> {
    if row.leased_until > now { leased(row).ok() } else { None }
}

/// What a row says that its node had proven.
pub(crate) fn proven(row: &node::Model) -> Option<fleet::Position> {
    fleet::Status::decode(row.status.as_slice()).ok()?.proven
}

pub(super) fn leased(row: node::Model) -> Result<Leased, StoreError> {
    let bytes = row.boot_id.as_bytes().chunks(2);
    let boot_id = bytes
        .map(|pair| std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok()))
        .collect::<Option<_>>()
        .ok_or(StoreError::Damaged("node"))?;
    Ok(Leased {
        node: node_id(&row.id)?,
        region: region_id(&row.region)?,
        replica: row.replica,
        boot_id,
        build: row.build,
        features: row.features.split_whitespace().map(str::to_owned).collect(),
        address: row.address,
        // One that does not decode was written by another version.
        status: fleet::Status::decode(row.status.as_slice()).unwrap_or_default(),
        seen_at: row.last_seen_at,
    })
}
