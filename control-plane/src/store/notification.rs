//! Notifications: each once for what it is about and when.

use rr_contract::wire::management::NotificationKind;
use sea_orm::sea_query::{Expr, OnConflict};
use sea_orm::{
    ColumnTrait as _, Condition, EntityTrait as _, IntoActiveModel as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _, QueryTrait as _,
};

use super::entity::notification::{Column, Entity, Model};
use super::row::Reader;
use super::{Store, StoreError, Txn};

/// How many rows one statement marks: other writes wait for it.
const MARKED_AT_ONCE: u64 = 10_000;

pub(crate) use super::entity::notification::Model as NotificationRow;

/// Writes the notifications that are not stored yet; answers whether there was any.
pub(crate) async fn add(store: &Store, rows: Vec<Model>) -> Result<bool, StoreError> {
    if rows.is_empty() {
        return Ok(false);
    }
    store.note(move |txn| Box::pin(async move { Ok(insert(txn, &rows).await? > 0) })).await
}

/// The same within a transaction; answers how many there were.
pub(crate) async fn insert(txn: &Txn, rows: &[Model]) -> Result<u64, StoreError> {
    let mut added = 0;
    for rows in rows.chunks(500) {
        added += Entity::insert_many(rows.iter().cloned().map(Model::into_active_model))
            // Without columns: the id says the same, and whichever is found first must do.
            .on_conflict(OnConflict::new().do_nothing().to_owned())
            .exec_without_returning(txn.tx())
            .await
            .map_err(StoreError::statement("write notifications"))?;
    }
    Ok(added)
}

/// Writes a notification together with a write.
pub(crate) fn along(txn: &mut Txn, row: Model) {
    txn.also(move |txn| {
        Box::pin(async move {
            insert(txn, &[row]).await?;
            Ok(())
        })
    });
}

/// Notifications of an organization, or of the installation for an empty name, newest first, behind a row.
pub(crate) async fn list(
    db: &impl Reader,
    org: &str,
    unread: bool,
    behind: Option<(i64, String)>,
    limit: u64,
) -> Result<Vec<Model>, StoreError> {
    let mut query = Entity::find().filter(Column::Org.eq(org));
    if unread {
        query = query.filter(Column::ReadAt.is_null());
    }
    if let Some((at, id)) = behind {
        query = query.filter(
            Condition::any()
                .add(Column::CreatedAt.lt(at))
                .add(Condition::all().add(Column::CreatedAt.eq(at)).add(Column::Id.lt(id))),
        );
    }
    query
        .order_by_desc(Column::CreatedAt)
        .order_by_desc(Column::Id)
        .limit(limit)
        .all(db.conn())
        .await
        .map_err(StoreError::statement("list notifications"))
}

/// Notifications of an organization after a time and id, oldest first.
pub(crate) async fn after(
    db: &impl Reader,
    org: &str,
    at: i64,
    id: &str,
    limit: u64,
) -> Result<Vec<Model>, StoreError> {
    Entity::find()
        .filter(Column::Org.eq(org))
        .filter(
            Condition::any()
                .add(Column::CreatedAt.gt(at))
                .add(Condition::all().add(Column::CreatedAt.eq(at)).add(Column::Id.gt(id))),
        )
        .order_by_asc(Column::CreatedAt)
        .order_by_asc(Column::Id)
        .limit(limit)
        .all(db.conn())
        .await
        .map_err(StoreError::statement("read notifications"))
}

/// One notification, by id.
pub(crate) async fn by_id(db: &impl Reader, org: &str, id: &str) -> Result<Option<Model>, StoreError> {
    Entity::find_by_id(id)
        .filter(Column::Org.eq(org))
        .one(db.conn())
        .await
        .map_err(StoreError::statement("read notification"))
}

/// Notifications of a kind, of whichever organization, that nobody has read, behind an id.
pub(crate) async fn unread(
    db: &impl Reader,
    kind: NotificationKind,
    after: &str,
    limit: u64,
) -> Result<Vec<Model>, StoreError> {
    Entity::find()
        .filter(Column::Kind.eq(i32::from(kind)))
        .filter(Column::ReadAt.is_null())
        .filter(Column::Id.gt(after))
        .order_by_asc(Column::Id)
        .limit(limit)
        .all(db.conn())
        .await
        .map_err(StoreError::statement("read notifications"))
}

/// Removes those of these that nobody has read; answers how many they were.
pub(crate) async fn remove_unread(store: &Store, ids: Vec<String>) -> Result<u64, StoreError> {
    if ids.is_empty() {
        return Ok(0);
    }
    store
        .note(move |txn| {
            Box::pin(async move {
                let removed = Entity::delete_many()
                    .filter(Column::Id.is_in(ids))
                    .filter(Column::ReadAt.is_null())
                    .exec(txn.tx())
                    .await
                    .map_err(StoreError::statement("remove notifications"))?;
                Ok(removed.rows_affected)
            })
        })
        .await
}

/// Marks notifications as read; answers how many were unread.
pub(crate) async fn mark(store: &Store, org: String, ids: Vec<String>) -> Result<u64, StoreError> {
    store
        .note(move |txn| {
            Box::pin(async move {
                let marked = Entity::update_many()
                    .col_expr(Column::ReadAt, Expr::value(txn.now()))
                    .filter(Column::Org.eq(org))
                    .filter(Column::Id.is_in(ids))
                    .filter(Column::ReadAt.is_null())
                    .exec(txn.tx())
                    .await
                    .map_err(StoreError::statement("mark notifications"))?;
                Ok(marked.rows_affected)
            })
        })
        .await
}

/// Marks those of an organization that came at a time or before; answers how many were unread.
pub(crate) async fn mark_through(store: &Store, org: &str, through: i64) -> Result<u64, StoreError> {
    let mut all = 0;
    loop {
        let org = org.to_owned();
        let marked = store.note(move |txn| Box::pin(async move { mark_oldest(txn, &org, through).await }));
        // None left: that it were fewer than asked for may be because another call marks the same.
        match marked.await? {
            0 => return Ok(all),
            marked => all += marked,
        }
    }
}

/// One statement of [`mark_through`].
async fn mark_oldest(txn: &Txn, org: &str, through: i64) -> Result<u64, StoreError> {
    let oldest = Entity::find()
        .select_only()
        .column(Column::Id)
        .filter(Column::Org.eq(org))
        .filter(Column::ReadAt.is_null())
        .filter(Column::CreatedAt.lte(through))
        .order_by_asc(Column::CreatedAt)
        .order_by_asc(Column::Id)
        .limit(MARKED_AT_ONCE)
        .into_query();
    let marked = Entity::update_many()
        .col_expr(Column::ReadAt, Expr::value(txn.now()))
        .filter(Column::Id.in_subquery(oldest))
        .filter(Column::ReadAt.is_null())
        .exec(txn.tx())
        .await
        .map_err(StoreError::statement("mark notifications"))?;
    Ok(marked.rows_affected)
}
