//! What nodes tell of requests and what becomes of their records, by node and hour: it adds up, so that whatever is missing is
//! seen.
//!
//! The invariant: written with the sums that it comes with, in the same transaction, so it counts nothing twice.

use std::collections::BTreeMap;

use rr_contract::wire::fleet;
use sea_orm::sea_query::{Expr, ExprTrait as _, OnConflict};
use sea_orm::{
    ColumnTrait as _, EntityTrait as _, IntoActiveModel as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _,
};

use super::entity::node_account::{Column, Entity, Model};
use super::entity::{record_loss, waiting_sum};
use super::level::Level;
use super::row::Reader;
use super::{StoreError, Txn};

/// How many rows one statement writes.
const ROWS: usize = 500;
const MADE: &str = "made";
const STORED: &str = "stored";
const REFUSED: &str = "refused";
const LOST: &str = "lost ";
/// As a reason of nodes.
pub(super) const SAMPLED: &str = "sampled";

/// What became of requests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Account {
    /// That the node counted.
    pub(crate) made: u64,
    /// That have a record, or a share of one.
    pub(crate) stored: u64,
    /// Whose records were not taken.
    pub(crate) refused: u64,
    /// That their proxies want no record of.
    pub(crate) sampled: u64,
    /// Whose records the node lost, by reason.
    pub(crate) lost: BTreeMap<String, u64>,
}

/// Of one node, and the beginning of an hour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NodeAccount {
    pub(crate) node: String,
    pub(crate) region: String,
    pub(crate) at: i64,
    pub(crate) account: Account,
}

/// A time of which a node lost records, or may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) node: String,
    pub(crate) from: i64,
    pub(crate) to: i64,
    pub(crate) records: u64,
    pub(crate) reason: String,
    /// When it was told.
    pub(crate) told: i64,
}

/// Which accounts.
#[derive(Debug, Clone)]
pub(crate) struct AccountFilter {
    /// Ids.
    pub(crate) regions: Vec<String>,
    pub(crate) node: Option<String>,
    /// Beginnings of hours.
    pub(crate) after: i64,
    pub(crate) before: i64,
}

/// Adds what came with batches of sums.
pub(super) async fn add(txn: &Txn, waiting: &[(waiting_sum::Model, fleet::Batch)]) -> Result<(), StoreError> {
    let mut all: BTreeMap<(String, i64, String), (String, i64)> = BTreeMap::new();
    for (row, batch) in waiting {
        let at = Level::Hour.begin(row.taken_at);
        let made = [row.made, row.stored, row.refused].map(i64::unsigned_abs);
        for (what, count) in counts(made, &batch.dropped) {
            let sum = all.entry((row.node.clone(), at, what)).or_insert_with(|| (row.region.clone(), 0));
            sum.1 = sum.1.saturating_add(count);
        }
    }
    let rows: Vec<Model> = all
        .into_iter()
        .map(|((node, at, what), (region, count))| Model { node, at, what, region, count })
        .collect();
    for rows in rows.chunks(ROWS) {
        let sum = Expr::col((Entity, Column::Count)).add(Expr::col(("excluded", Column::Count)));
        let added = OnConflict::columns([Column::Node, Column::At, Column::What])
            .value(Column::Count, sum)
            .to_owned();
        Entity::insert_many(rows.iter().cloned().map(Model::into_active_model))
            .on_conflict(added)
            .exec_without_returning(txn.tx())
            .await
            .map_err(StoreError::statement("write accounts of nodes"))?;
    }
    Ok(())
}

/// What a batch counts: how many were made, stored and refused, and what was lost. No count of it is 0.
pub(super) fn counts(
    [made, stored, refused]: [u64; 3],
    lost: &[fleet::Dropped],
) -> impl Iterator<Item = (String, i64)> {
    let lost = lost.iter().map(|lost| (format!("{LOST}{}", lost.reason), lost.records));
    let counted = [(MADE, made), (STORED, stored), (REFUSED, refused)];
    let counted = counted.into_iter().map(|(what, count)| (what.to_owned(), count));
    let number = |(what, count)| (what, i64::try_from(count).unwrap_or(i64::MAX));
    counted.chain(lost).filter(|(_, count)| *count > 0).map(number)
}

/// Lets go of those before a time.
pub(super) async fn forget(txn: &Txn, before: i64) -> Result<(), StoreError> {
    Entity::delete_many()
        .filter(Column::At.lt(before))
        .exec(txn.tx())
        .await
        .map_err(StoreError::statement("remove accounts of nodes"))?;
    Ok(())
}

/// By node and hour; at most so many rows of theirs, each of which is one count.
pub(crate) async fn list(
    db: &impl Reader,
    filter: &AccountFilter,
    most: u64,
) -> Result<Option<Vec<NodeAccount>>, StoreError> {
    let mut query = Entity::find()
        .filter(Column::Region.is_in(filter.regions.iter().map(String::as_str)))
        .filter(Column::At.gte(filter.after))
        .filter(Column::At.lt(filter.before));
    if let Some(node) = &filter.node {
        query = query.filter(Column::Node.eq(node));
    }
    let rows = query
        .order_by_asc(Column::Region)
        .order_by_asc(Column::Node)
        .order_by_asc(Column::At)
        .limit(most + 1)
        .all(db.conn())
        .await
        .map_err(StoreError::statement("read accounts of nodes"))?;
    if rows.len() as u64 > most {
        return Ok(None);
    }
    Ok(Some(folded(rows)))
}

/// Counts in their order, by node and hour.
pub(super) fn folded(rows: impl IntoIterator<Item = Model>) -> Vec<NodeAccount> {
    let mut accounts: Vec<NodeAccount> = Vec::new();
    for Model { node, region, at, what, count } in rows {
        let is_same = |it: &NodeAccount| it.node == node && it.at == at;
        if !accounts.last().is_some_and(is_same) {
            accounts.push(NodeAccount { node, region, at, account: Account::default() });
        }
        if let Some(last) = accounts.last_mut() {
            last.account.put(&what, u64::try_from(count).unwrap_or(0));
        }
    }
    accounts
}

/// What nodes said to have lost, as it was told in a time, the newest first.
pub(crate) async fn gaps(
    db: &impl Reader,
    nodes: &[&str],
    filter: &AccountFilter,
    most: u64,
) -> Result<Vec<Gap>, StoreError> {
    let rows = record_loss::Entity::find()
        .filter(record_loss::Column::Node.is_in(nodes.iter().copied()))
        .filter(record_loss::Column::StoredAt.gte(filter.after))
        .filter(record_loss::Column::StoredAt.lt(filter.before))
        .order_by_desc(record_loss::Column::StoredAt)
        .limit(most)
        .all(db.conn())
        .await
        .map_err(StoreError::statement("read losses"))?;
    let gap = |row: record_loss::Model| Gap {
        node: row.node,
        from: row.from_at,
        to: row.to_at,
        records: u64::try_from(row.records).unwrap_or(0),
        reason: row.reason,
        told: row.stored_at,
    };
    Ok(rows.into_iter().map(gap).collect())
}

impl Account {
    fn put(&mut self, what: &str, count: u64) {
        match what {
            MADE => self.made = count,
            STORED => self.stored = count,
            REFUSED => self.refused = count,
            lost => match lost.strip_prefix(LOST).unwrap_or(lost) {
                SAMPLED => self.sampled = count,
                reason => {
                    self.lost.insert(reason.to_owned(), count);
                }
            },
        }
    }

    pub(crate) fn add(&mut self, more: &Self) {
        for (sum, more) in [
            (&mut self.made, more.made),
            (&mut self.stored, more.stored),
            (&mut self.refused, more.refused),
            (&mut self.sampled, more.sampled),
        ] {
            *sum = sum.saturating_add(more);
        }
        for (reason, count) in &more.lost {
            let sum = self.lost.entry(reason.clone()).or_default();
            *sum = sum.saturating_add(*count);
        }
    }

    /// What is left of those that were made: below 0 where more is accounted for.
    pub(crate) fn open(&self) -> i64 {
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let lost = self.lost.values().fold(0_i64, |sum, count| sum.saturating_add(number(*count)));
        [self.stored, self.refused, self.sampled]
            .into_iter()
            .fold(number(self.made), |rest, count| rest.saturating_sub(number(count)))
            .saturating_sub(lost)
    }
}
