//! Plans of `Apply`, and what each one with a request id answered. Both are kept for a while.

use std::time::Duration;

use sea_orm::sea_query::{ExprTrait as _, OnConflict};
use sea_orm::{ColumnTrait as _, EntityTrait as _, QueryFilter as _};

use super::entity::{applied, plan};
use super::row::{self, Reader};
use super::{Store, StoreError, Txn};

pub(crate) use super::entity::plan::Model as PlanRow;

/// How long a plan can be carried out.
const PLAN_FOR: Duration = Duration::from_secs(3600);
/// How long a request id is remembered.
const ANSWER_FOR: Duration = Duration::from_secs(7 * 86_400);

fn before(now: i64, ago: Duration) -> i64 {
    now.saturating_sub(i64::try_from(ago.as_micros()).unwrap_or(i64::MAX))
}

/// A plan that is not too old.
pub(crate) async fn plan(store: &Store, id: &str) -> Result<Option<plan::Model>, StoreError> {
    plan::Entity::find_by_id(id)
        .filter(plan::Column::CreatedAt.gt(before(store.now(), PLAN_FOR)))
        .one(store.conn())
        .await
        .map_err(StoreError::statement("read plan"))
}

/// Keeps a plan, in the place of the last one of its token; those that are too old go.
pub(crate) async fn keep(store: &Store, row: PlanRow) -> Result<(), StoreError> {
    store
        .note(move |txn| {
            Box::pin(async move {
                let now = txn.now();
                plan::Entity::delete_many()
                    .filter(
                        plan::Column::CreatedAt
                            .lte(before(now, PLAN_FOR))
                            .or(plan::Column::Token.eq(row.token.as_str())),
                    )
                    .exec(txn.tx())
                    .await
                    .map_err(StoreError::statement("remove plans"))?;
                row::insert(txn, row, "keep plan").await
            })
        })
        .await
}

/// What was answered to a request id, and the revision that it became.
pub(crate) async fn answered(
    db: &impl Reader,
    token: &str,
    request_id: &str,
) -> Result<Option<(applied::Model, u64)>, StoreError> {
    let row = applied::Entity::find_by_id((token.to_owned(), request_id.to_owned()))
        .one(db.conn())
        .await
        .map_err(StoreError::statement("read answer"))?;
    Ok(row.map(|row| {
        let revision = u64::try_from(row.revision).unwrap_or_default();
        (row, revision)
    }))
}

/// Remembers an answer with this write.
pub(crate) fn answer(txn: &mut Txn, token: String, request_id: String, digest: [u8; 32], outcome: Vec<u8>) {
    let revision = if txn.stages_changes() { txn.head() + 1 } else { 0 };
    let row = applied::Model {
        token,
        request_id,
        digest: digest.to_vec(),
        outcome,
        revision: i64::try_from(revision).unwrap_or(i64::MAX),
        at: txn.now(),
    };
    txn.also(move |txn| {
        Box::pin(async move {
            applied::Entity::delete_many()
                .filter(applied::Column::At.lte(before(txn.now(), ANSWER_FOR)))
                .exec(txn.tx())
                .await
                .map_err(StoreError::statement("forget answers"))?;
            applied::Entity::insert(sea_orm::IntoActiveModel::into_active_model(row))
                .on_conflict(
                    OnConflict::columns([applied::Column::Token, applied::Column::RequestId])
                        .do_nothing()
                        .to_owned(),
                )
                .exec_without_returning(txn.tx())
                .await
                .map_err(StoreError::statement("remember answer"))?;
            Ok(())
        })
    });
}
