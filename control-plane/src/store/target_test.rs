//! Tests of targets: the last of each proxy and region, and what replicas have each other's nodes test.
//!
//! The database carries the questions, because it is all that replicas share. Such a row lives for seconds; one that its
//! asker left behind goes with a later question.

use std::collections::HashMap;

use prost::Message as _;
use rr_contract::wire::fleet::{TargetTested, TestTarget};
use rr_contract::wire::management::TargetTest;
use sea_orm::sea_query::{Expr, ExprTrait as _, OnConflict};
use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _, QueryTrait as _,
};

use super::entity::{resource, target_test, test_question};
use super::row::{Reader, insert, number, row_of};
use super::{Store, StoreError};
use crate::noun::Noun;

/// After how long nobody waits for an answer any more.
const OVER: i64 = 60_000_000;
/// How many questions a replica takes up at once.
const TAKEN_UP: u64 = 200;
/// How many proxies one statement is about: below the number of values that it may bind.
const ROWS: usize = 500;

/// What a replica has a node of another one test.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TestQuestion {
    pub(crate) id: String,
    pub(crate) node: String,
    /// The replica that is asked.
    pub(crate) holder: String,
    pub(crate) asked: TestTarget,
}

/// Asks another replica.
pub(crate) async fn ask(store: &Store, question: TestQuestion) -> Result<(), StoreError> {
    store
        .note(move |txn| {
            Box::pin(async move {
                test_question::Entity::delete_many()
                    .filter(test_question::Column::AskedAt.lt(txn.now().saturating_sub(OVER)))
                    .exec(txn.tx())
                    .await
                    .map_err(StoreError::statement("forget questions about targets"))?;
                let row = test_question::Model {
                    id: question.id,
                    node: question.node,
                    holder: question.holder,
                    question: question.asked.encode_to_vec(),
                    answer: None,
                    asked_at: txn.now(),
                };
                insert(txn, row, "ask for a test of a target").await
            })
        })
        .await
}

/// What a replica is asked and has not answered.
pub(crate) async fn questions(store: &Store, holder: &str) -> Result<Vec<TestQuestion>, StoreError> {
    let rows = test_question::Entity::find()
        .filter(test_question::Column::Holder.eq(holder))
        .filter(test_question::Column::Answer.is_null())
        .filter(test_question::Column::AskedAt.gte(store.now().saturating_sub(OVER)))
        .limit(TAKEN_UP)
        .all(store.reader())
        .await
        .map_err(StoreError::statement("read questions about targets"))?;
    rows.into_iter()
        .map(|row| {
            let asked = TestTarget::decode(row.question.as_slice())
                .map_err(|_| StoreError::Damaged("question about a target"))?;
            Ok(TestQuestion { id: row.id, node: row.node, holder: row.holder, asked })
        })
        .collect()
}

/// Answers a question.
pub(crate) async fn answer(store: &Store, id: String, tested: TargetTested) -> Result<(), StoreError> {
    store
        .note(move |txn| {
            Box::pin(async move {
                test_question::Entity::update_many()
                    .col_expr(test_question::Column::Answer, Expr::value(tested.encode_to_vec()))
                    .filter(test_question::Column::Id.eq(id))
                    .exec(txn.tx())
                    .await
                    .map_err(StoreError::statement("answer about a target"))?;
                Ok(())
            })
        })
        .await
}

/// What was answered; none while nothing is.
pub(crate) async fn answered(store: &Store, id: &str) -> Result<Option<TargetTested>, StoreError> {
    let row = test_question::Entity::find_by_id(id)
        .one(store.reader())
        .await
        .map_err(StoreError::statement("read answer about a target"))?;
    let answer = row.and_then(|row| row.answer);
    let damaged = |_| StoreError::Damaged("answer about a target");
    answer.map(|answer| TargetTested::decode(answer.as_slice()).map_err(damaged)).transpose()
}

/// Nobody waits for an answer any more.
pub(crate) async fn withdraw(store: &Store, id: String) -> Result<(), StoreError> {
    store
        .note(move |txn| {
            Box::pin(async move {
                test_question::Entity::delete_by_id(id)
                    .exec(txn.tx())
                    .await
                    .map_err(StoreError::statement("forget question about a target"))?;
                Ok(())
            })
        })
        .await
}

/// Keeps the last test of a proxy's target in a region.
pub(crate) async fn keep(store: &Store, region: String, test: TargetTest) -> Result<(), StoreError> {
    store
        .note(move |txn| {
            Box::pin(async move {
                let row = target_test::ActiveModel {
                    proxy: Set(test.proxy.clone()),
                    region: Set(region),
                    after_rev: Set(0),
                    test: Set(Some(test.encode_to_vec())),
                };
                let key = [target_test::Column::Proxy, target_test::Column::Region];
                let newest = OnConflict::columns(key).update_column(target_test::Column::Test).to_owned();
                target_test::Entity::insert(row)
                    .on_conflict(newest)
                    .exec_without_returning(txn.tx())
                    .await
                    .map_err(StoreError::statement("write test of a target"))?;
                Ok(())
            })
        })
        .await
}

/// Takes the test after a change on: true for one replica, and once. `before` is what [`tested_after`] said of it.
pub(crate) async fn claim(
    store: &Store,
    proxy: String,
    region: String,
    before: Option<u64>,
    revision: u64,
) -> Result<bool, StoreError> {
    store
        .note(move |txn| {
            Box::pin(async move {
                let after = row_of(revision)?;
                if let Some(before) = before {
                    let taken = target_test::Entity::update_many()
                        .col_expr(target_test::Column::AfterRev, Expr::value(after))
                        .filter(target_test::Column::Proxy.eq(proxy))
                        .filter(target_test::Column::Region.eq(region))
                        .filter(target_test::Column::AfterRev.eq(row_of(before)?))
                        .exec(txn.tx())
                        .await
                        .map_err(StoreError::statement("claim test of a target"))?;
                    return Ok(taken.rows_affected == 1);
                }
                let row = target_test::ActiveModel {
                    proxy: Set(proxy),
                    region: Set(region),
                    after_rev: Set(after),
                    test: Set(None),
                };
                let key = [target_test::Column::Proxy, target_test::Column::Region];
                let added = target_test::Entity::insert(row)
                    .on_conflict(OnConflict::columns(key).do_nothing().to_owned())
                    .exec_without_returning(txn.tx())
                    .await
                    .map_err(StoreError::statement("claim test of a target"))?;
                Ok(added == 1)
            })
        })
        .await
}

/// After which change the targets of these proxies were tested, by proxy and region.
pub(crate) async fn tested_after(
    db: &impl Reader,
    proxies: &[String],
) -> Result<HashMap<(String, String), u64>, StoreError> {
    let mut found = HashMap::new();
    for row in rows(db, proxies).await? {
        found.insert((row.proxy, row.region), number(row.after_rev)?);
    }
    Ok(found)
}

/// The last tests of the targets of these proxies, by proxy and region.
pub(crate) async fn last(db: &impl Reader, proxies: &[String]) -> Result<Vec<TargetTest>, StoreError> {
    let tests = rows(db, proxies).await?.into_iter().filter_map(|row| row.test);
    let damaged = |_| StoreError::Damaged("test of a target");
    tests.map(|test| TargetTest::decode(test.as_slice()).map_err(damaged)).collect()
}

async fn rows(db: &impl Reader, proxies: &[String]) -> Result<Vec<target_test::Model>, StoreError> {
    let mut found = Vec::new();
    for proxies in proxies.chunks(ROWS) {
        let rows = target_test::Entity::find()
            .filter(target_test::Column::Proxy.is_in(proxies))
            .order_by_asc(target_test::Column::Proxy)
            .order_by_asc(target_test::Column::Region)
            .all(db.conn())
            .await
            .map_err(StoreError::statement("read tests of targets"))?;
        found.extend(rows);
    }
    Ok(found)
}

/// Forgets the tests of proxies that are gone.
pub(crate) async fn sweep(store: &Store) -> Result<(), StoreError> {
    store
        .note(|txn| {
            Box::pin(async move {
                let there = resource::Entity::find()
                    .select_only()
                    .column(resource::Column::Id)
                    .filter(resource::Column::Kind.eq(Noun::Proxy.row()))
                    .into_query();
                target_test::Entity::delete_many()
                    .filter(Expr::col(target_test::Column::Proxy).not_in_subquery(there))
                    .exec(txn.tx())
                    .await
                    .map_err(StoreError::statement("forget tests of targets"))?;
                Ok(())
            })
        })
        .await
}
