//! What replicas ask each other about a node that two processes claim to be, and what is kept of it for people.
//!
//! The database carries the questions, because it is all that replicas share. A row lives for seconds; one that its
//! asker left behind goes with a later question.

use sea_orm::sea_query::{Expr, OnConflict};
use sea_orm::{ActiveValue::Set, ColumnTrait as _, EntityTrait as _, QueryFilter as _, QuerySelect as _};

use super::{Answer, NodeClash, Question};
use crate::store::entity::{node, node_clash, node_question};
use crate::store::{DatabaseAddress, Store, StoreError, Txn, row};

/// After how long nobody waits for an answer any more.
const OVER: i64 = 60_000_000;
/// How many questions a replica takes up at once.
const TAKEN_UP: u64 = 200;

impl Store {
    /// Whether other replicas may use this database: one that is embedded has one control plane.
    pub(crate) fn may_be_shared(&self) -> bool {
        matches!(self.0.address, DatabaseAddress::Postgres(_))
    }

    /// Ends all leases: for a control plane that knows itself alone on its database, so that they were written by a
    /// process that has ended.
    pub(crate) async fn void_leases(&self) -> Result<(), StoreError> {
        self.note(|txn| {
            Box::pin(async move {
                node::Entity::update_many()
                    .col_expr(node::Column::LeasedUntil, Expr::value(0_i64))
                    .filter(node::Column::LeasedUntil.gt(0_i64))
                    .exec(txn.tx())
                    .await
                    .map_err(StoreError::statement("release nodes"))?;
                Ok(())
            })
        })
        .await
    }
}

/// Asks another replica.
pub(crate) async fn ask(store: &Store, question: Question) -> Result<(), StoreError> {
    store
        .note(move |txn| {
            Box::pin(async move {
                node_question::Entity::delete_many()
                    .filter(node_question::Column::AskedAt.lt(txn.now().saturating_sub(OVER)))
                    .exec(txn.tx())
                    .await
                    .map_err(StoreError::statement("forget questions"))?;
                let row = node_question::Model {
                    id: question.id,
                    node: question.node.to_string(),
                    holder: question.holder,
                    answer: number(Answer::None),
                    asked_at: txn.now(),
                };
                row::insert(txn, row, "ask about node").await
            })
        })
        .await
}

/// What a replica is asked and has not taken up.
pub(crate) async fn questions(store: &Store, holder: &str) -> Result<Vec<Question>, StoreError> {
    let rows = node_question::Entity::find()
        .filter(node_question::Column::Holder.eq(holder))
        .filter(node_question::Column::Answer.eq(number(Answer::None)))
        .limit(TAKEN_UP)
        .all(store.reader())
        .await
        .map_err(StoreError::statement("read questions about nodes"))?;
    rows.into_iter()
        .map(|row| {
            let node = row.node.parse().map_err(|_| StoreError::Damaged("question about a node"))?;
            Ok(Question { id: row.id, node, holder: row.holder })
        })
        .collect()
}

/// Answers a question.
pub(crate) async fn answer(store: &Store, id: String, answer: Answer) -> Result<(), StoreError> {
    store
        .note(move |txn| {
            Box::pin(async move {
                node_question::Entity::update_many()
                    .col_expr(node_question::Column::Answer, Expr::value(number(answer)))
                    .filter(node_question::Column::Id.eq(id))
                    .exec(txn.tx())
                    .await
                    .map_err(StoreError::statement("answer about node"))?;
                Ok(())
            })
        })
        .await
}

/// What was answered so far.
pub(crate) async fn answered(store: &Store, id: &str) -> Result<Answer, StoreError> {
    let row = node_question::Entity::find_by_id(id)
        .one(store.reader())
        .await
        .map_err(StoreError::statement("read answer about node"))?;
    Ok(row.map_or(Answer::None, |row| match row.answer {
        1 => Answer::Heard,
        2 => Answer::There,
        3 => Answer::Gone,
        _ => Answer::None,
    }))
}

/// Nobody waits for an answer any more.
pub(crate) async fn withdraw(store: &Store, id: String) -> Result<(), StoreError> {
    store
        .note(move |txn| {
            Box::pin(async move {
                node_question::Entity::delete_by_id(id)
                    .exec(txn.tx())
                    .await
                    .map_err(StoreError::statement("forget question"))?;
                Ok(())
            })
        })
        .await
}

/// Notes for people that a node was met twice.
pub(super) async fn clash(txn: &Txn, met: NodeClash) -> Result<(), StoreError> {
    let row = node_clash::ActiveModel {
        node: Set(met.node.to_string()),
        newcomer: Set(met.newcomer),
        at: Set(met.at),
    };
    let newest = OnConflict::column(node_clash::Column::Node)
        .update_columns([node_clash::Column::Newcomer, node_clash::Column::At])
        .to_owned();
    node_clash::Entity::insert(row)
        .on_conflict(newest)
        .exec_without_returning(txn.tx())
        .await
        .map_err(StoreError::statement("write clash"))?;
    Ok(())
}

fn number(answer: Answer) -> i32 {
    match answer {
        Answer::None => 0,
        Answer::Heard => 1,
        Answer::There => 2,
        Answer::Gone => 3,
    }
}
