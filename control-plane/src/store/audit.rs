//! The audit: revisions by resource, actor and time, and what known actors were refused.

use sea_orm::sea_query::{Expr, ExprTrait as _, OnConflict};
use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, Condition, EntityTrait as _, PaginatorTrait as _, QueryFilter as _,
    QueryOrder as _, QuerySelect as _, QueryTrait as _,
};

use super::entity::{change, refused_attempt, revision};
use super::row::Reader;
use super::{Store, StoreError};

pub(crate) use super::entity::refused_attempt::Model as RefusedRow;

/// How many rows of refused attempts are kept.
const REFUSED_MOST: u64 = 100_000;

/// Selects audit entries.
#[derive(Debug, Clone, Default)]
pub(crate) struct AuditFilter {
    /// Only those that touch this organization.
    pub(crate) org: Option<String>,
    pub(crate) resource: Option<String>,
    /// Token or user id.
    pub(crate) actor: Option<String>,
    /// Made at this time or later.
    pub(crate) after: Option<i64>,
    /// Made before this time.
    pub(crate) before: Option<i64>,
    /// Older than this revision.
    pub(crate) below: Option<i64>,
}

/// Audit entries, newest first.
pub(crate) async fn list(
    db: &impl Reader,
    filter: AuditFilter,
    limit: u64,
) -> Result<Vec<revision::Model>, StoreError> {
    use revision::Column;

    let mut query = revision::Entity::find();
    if filter.org.is_some() || filter.resource.is_some() {
        let mut touched = change::Entity::find().select_only().column(change::Column::Rev);
        if let Some(org) = filter.org {
            touched = touched.filter(change::Column::Org.eq(org));
        }
        if let Some(resource) = filter.resource {
            touched = touched.filter(change::Column::Id.eq(resource));
        }
        query = query.filter(Column::Rev.in_subquery(touched.into_query()));
    }
    if let Some(actor) = filter.actor {
        query = query.filter(
            Condition::any().add(Column::Token.eq(actor.as_str())).add(Column::User.eq(actor.as_str())),
        );
    }
    if let Some(after) = filter.after {
        query = query.filter(Column::At.gte(after));
    }
    if let Some(before) = filter.before {
        query = query.filter(Column::At.lt(before));
    }
    if let Some(below) = filter.below {
        query = query.filter(Column::Rev.lt(below));
    }
    query
        .order_by_desc(Column::Rev)
        .limit(limit)
        .all(db.conn())
        .await
        .map_err(StoreError::statement("list audit entries"))
}

/// Revisions from one on, oldest first.
pub(crate) async fn from(
    db: &impl Reader,
    first: i64,
    last: i64,
    limit: u64,
) -> Result<Vec<revision::Model>, StoreError> {
    revision::Entity::find()
        .filter(revision::Column::Rev.gte(first))
        .filter(revision::Column::Rev.lte(last))
        .order_by_asc(revision::Column::Rev)
        .limit(limit)
        .all(db.conn())
        .await
        .map_err(StoreError::statement("export audit entries"))
}

/// Adds counts to what is there, and forgets the oldest rows beyond the bound.
pub(crate) async fn add_refused(store: &Store, rows: Vec<RefusedRow>) -> Result<(), StoreError> {
    store
        .note(move |txn| {
            Box::pin(async move {
                use refused_attempt::Column;

                for row in rows {
                    let count = row.count;
                    refused_attempt::Entity::insert(refused_attempt::ActiveModel {
                        minute: Set(row.minute),
                        token: Set(row.token),
                        call: Set(row.call),
                        user: Set(row.user),
                        reason: Set(row.reason),
                        count: Set(row.count),
                        address: Set(row.address),
                    })
                    .on_conflict(
                        OnConflict::columns([Column::Minute, Column::Token, Column::Call])
                            .update_columns([Column::Reason, Column::Address])
                            .value(
                                Column::Count,
                                Expr::col((refused_attempt::Entity, Column::Count)).add(count),
                            )
                            .to_owned(),
                    )
                    .exec_without_returning(txn.tx())
                    .await
                    .map_err(StoreError::statement("write refused attempts"))?;
                }
                let kept = refused_attempt::Entity::find()
                    .count(txn.tx())
                    .await
                    .map_err(StoreError::statement("count refused attempts"))?;
                if kept > REFUSED_MOST {
                    let oldest = refused_attempt::Entity::find()
                        .order_by_asc(Column::Minute)
                        .offset(kept - REFUSED_MOST)
                        .one(txn.tx())
                        .await
                        .map_err(StoreError::statement("read refused attempts"))?;
                    if let Some(oldest) = oldest {
                        refused_attempt::Entity::delete_many()
                            .filter(Column::Minute.lt(oldest.minute))
                            .exec(txn.tx())
                            .await
                            .map_err(StoreError::statement("forget refused attempts"))?;
                    }
                }
                Ok(())
            })
        })
        .await
}

/// Refused attempts, newest first, behind a row.
pub(crate) async fn refused(
    db: &impl Reader,
    actor: Option<String>,
    behind: Option<(i64, String, String)>,
    limit: u64,
) -> Result<Vec<RefusedRow>, StoreError> {
    use refused_attempt::Column;

    let mut query = refused_attempt::Entity::find();
    if let Some(actor) = actor {
        query = query.filter(
            Condition::any().add(Column::Token.eq(actor.as_str())).add(Column::User.eq(actor.as_str())),
        );
    }
    if let Some((minute, token, call)) = behind {
        query = query.filter(
            Condition::any()
                .add(Column::Minute.lt(minute))
                .add(Condition::all().add(Column::Minute.eq(minute)).add(Column::Token.gt(token.as_str())))
                .add(
                    Condition::all()
                        .add(Column::Minute.eq(minute))
                        .add(Column::Token.eq(token.as_str()))
                        .add(Column::Call.gt(call)),
                ),
        );
    }
    query
        .order_by_desc(Column::Minute)
        .order_by_asc(Column::Token)
        .order_by_asc(Column::Call)
        .limit(limit)
        .all(db.conn())
        .await
        .map_err(StoreError::statement("list refused attempts"))
}
