//! Roots of the certificate authority, as all replicas agree on them, and which replica has which of their keys.
//!
//! Keeps public halves alone. What may be added, switched to and removed is judged by `service`.

use sea_orm::sea_query::{Expr, OnConflict};
use sea_orm::{ColumnTrait as _, EntityTrait as _, IntoActiveModel as _, QueryFilter as _, QueryOrder as _};

use super::entity::authority_root::{Column, Entity};
use super::entity::{authority_holder, head};
use super::row::Reader;
use super::{Store, StoreError, Txn};

pub(crate) use super::entity::authority_root::Model;

/// A replica that was not seen for so long is gone, in microseconds.
const GONE_AFTER: i64 = 30 * 1_000_000;

/// All that ever were, the oldest first.
pub(crate) async fn all(db: &impl Reader) -> Result<Vec<Model>, StoreError> {
    Entity::find()
        .order_by_asc(Column::AddedAt)
        .order_by_asc(Column::Pin)
        .all(db.conn())
        .await
        .map_err(StoreError::statement("read roots of the authority"))
}

/// Those that nodes are to trust, the one that issues first.
pub(crate) fn trusted(mut all: Vec<Model>) -> Vec<Model> {
    all.retain(|root| root.removed_at.is_none());
    all.sort_by_key(|root| std::cmp::Reverse(root.issues_since));
    all
}

/// Keeps the root of an installation that has kept none yet.
pub(crate) async fn first(store: &Store, pin: String, certificate: Vec<u8>) -> Result<(), StoreError> {
    let noted = store.note(move |txn| {
        Box::pin(async move {
            let now = txn.now();
            let row = Model {
                pin,
                certificate,
                cross: None,
                added_at: now,
                issues_since: Some(now),
                removed_at: None,
            };
            Entity::insert(row.into_active_model())
                .on_conflict(OnConflict::column(Column::Pin).do_nothing().to_owned())
                .exec_without_returning(txn.tx())
                .await
                .map_err(StoreError::statement("write root of the authority"))?;
            Ok::<_, StoreError>(())
        })
    });
    noted.await
}

/// Adds one with this write, and notes what it says of the other.
pub(crate) fn add(txn: &mut Txn, root: Model, other: String, cross: Vec<u8>) {
    txn.enter();
    txn.also(move |txn| {
        Box::pin(async move {
            Entity::insert(root.into_active_model())
                .exec_without_returning(txn.tx())
                .await
                .map_err(StoreError::statement("write root of the authority"))?;
            Entity::update_many()
                .col_expr(Column::Cross, Expr::value(cross))
                .filter(Column::Pin.eq(other))
                .exec(txn.tx())
                .await
                .map_err(StoreError::statement("write root of the authority"))?;
            Ok(())
        })
    });
}

/// Has one issue from this write on. Its pin is the installation's from then on.
pub(crate) fn issue_by(txn: &mut Txn, pin: String, bytes: [u8; 32]) {
    txn.enter();
    txn.also(move |txn| {
        Box::pin(async move {
            Entity::update_many()
                .col_expr(Column::IssuesSince, Expr::value(Some(txn.now())))
                .filter(Column::Pin.eq(pin))
                .exec(txn.tx())
                .await
                .map_err(StoreError::statement("switch the root of the authority"))?;
            head::Entity::update_many()
                .col_expr(head::Column::Authority, Expr::value(bytes.to_vec()))
                .filter(head::Column::Id.eq(1_i32))
                .exec(txn.tx())
                .await
                .map_err(StoreError::statement("write authority"))?;
            Ok(())
        })
    });
}

/// Removes one with this write, for good.
pub(crate) fn remove(txn: &mut Txn, pin: String) {
    txn.enter();
    txn.also(move |txn| {
        Box::pin(async move {
            Entity::update_many()
                .col_expr(Column::RemovedAt, Expr::value(Some(txn.now())))
                .filter(Column::Pin.eq(pin))
                .exec(txn.tx())
                .await
                .map_err(StoreError::statement("remove root of the authority"))?;
            Ok(())
        })
    });
}

/// Notes which keys a replica has, and forgets replicas that are gone.
pub(crate) async fn hold(store: &Store, replica: String, pins: Vec<String>) -> Result<(), StoreError> {
    use authority_holder::{Column, Entity, Model};

    let noted = store.note(move |txn| {
        Box::pin(async move {
            let now = txn.now();
            let row = Model { replica, pins: pins.join(" "), seen_at: now };
            Entity::insert(row.into_active_model())
                .on_conflict(
                    OnConflict::column(Column::Replica)
                        .update_columns([Column::Pins, Column::SeenAt])
                        .to_owned(),
                )
                .exec_without_returning(txn.tx())
                .await
                .map_err(StoreError::statement("write keys of a replica"))?;
            Entity::delete_many()
                .filter(Column::SeenAt.lt(now - GONE_AFTER))
                .exec(txn.tx())
                .await
                .map_err(StoreError::statement("forget replicas"))?;
            Ok::<_, StoreError>(())
        })
    });
    noted.await
}

/// A replica has ended: it needs no key.
pub(crate) async fn release(store: &Store, replica: String) -> Result<(), StoreError> {
    let noted = store.note(move |txn| {
        Box::pin(async move {
            authority_holder::Entity::delete_by_id(replica)
                .exec(txn.tx())
                .await
                .map_err(StoreError::statement("forget a replica"))?;
            Ok::<_, StoreError>(())
        })
    });
    noted.await
}

/// Replicas that were seen lately and do not have the key of a root.
pub(crate) async fn without(db: &impl Reader, pin: &str, now: i64) -> Result<Vec<String>, StoreError> {
    use authority_holder::{Column, Entity};

    let rows = Entity::find()
        .filter(Column::SeenAt.gte(now - GONE_AFTER))
        .order_by_asc(Column::Replica)
        .all(db.conn())
        .await
        .map_err(StoreError::statement("read keys of replicas"))?;
    let lacks = rows.into_iter().filter(|row| row.pins.split(' ').all(|held| held != pin));
    Ok(lacks.map(|row| row.replica).collect())
}
