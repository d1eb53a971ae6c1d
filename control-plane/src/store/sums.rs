//! Sums of requests: kept as nodes send them, and added to the rollups of minutes, hours and days, and to the accounts of
//! nodes.
//!
//! Asks nobody where a sum belongs: what comes here was accepted with its batch. The invariants: a sum is in the rollups
//! exactly once, for what waits goes in the transaction that adds it; and one transaction adds at a time, for it reads what is
//! there and writes it anew.

mod added;
mod written;

use std::collections::{BTreeMap, HashMap};

use prost::Message as _;
use rr_contract::wire::fleet;
use sea_orm::sea_query::{Expr, ExprTrait as _};
use sea_orm::{
    ActiveValue::{NotSet, Set},
    ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
};

use self::added::{Added, Common, coarse};

pub(super) use self::added::{column, place};

use super::entity::{arrival, meter_rollup, rollup, series, waiting_sum};
use super::level::{Level, kept};
use super::{StoreError, Txn, account};

/// The row of `arrival` whose lock puts what adds up in order.
const TURN: i32 = 2;
/// How many rows one statement is about: below the number of values that it may bind.
const ROWS: usize = 500;

/// Lets go of up to so many rows that are older than they are kept; whether there may be more.
pub(crate) async fn forget(txn: &Txn, now: i64, level: Level, most: u64) -> Result<bool, StoreError> {
    let before = now.saturating_sub(kept(level));
    let oldest: Option<i64> = rollup::Entity::find()
        .select_only()
        .column(rollup::Column::At)
        .filter(rollup::Column::Level.eq(level.row()))
        .filter(rollup::Column::At.lt(before))
        .order_by_asc(rollup::Column::At)
        .into_tuple()
        .one(txn.tx())
        .await
        .map_err(StoreError::statement("read rollups"))?;
    if level == Level::Hour {
        account::forget(txn, before).await?;
    }
    let Some(oldest) = oldest else { return Ok(false) };
    // Whole minutes, hours or days: each is a bounded number of rows.
    let lengths = i64::try_from(most).unwrap_or(i64::MAX).saturating_mul(level.length());
    let through = std::cmp::min(before, oldest.saturating_add(lengths));
    meter_rollup::Entity::delete_many()
        .filter(meter_rollup::Column::Level.eq(level.row()))
        .filter(meter_rollup::Column::At.lt(through))
        .exec(txn.tx())
        .await
        .map_err(StoreError::statement("remove rollups of meters"))?;
    rollup::Entity::delete_many()
        .filter(rollup::Column::Level.eq(level.row()))
        .filter(rollup::Column::At.lt(through))
        .exec(txn.tx())
        .await
        .map_err(StoreError::statement("remove rollups"))?;
    Ok(true)
}

/// What a batch comes to.
pub(super) struct Waiting<'a> {
    pub(super) node: &'a str,
    pub(super) region: &'a str,
    /// Of proxies that its region serves or served.
    pub(super) sums: Vec<fleet::Sum>,
    pub(super) lost: Vec<fleet::Dropped>,
    /// Requests of all its sums.
    pub(super) made: u64,
    /// Requests that its stored records stand for.
    pub(super) stored: u64,
    /// Records that were not taken.
    pub(super) refused: u64,
}

/// Keeps the sums of a batch until they are added.
pub(super) async fn wait(txn: &Txn, waiting: Waiting<'_>) -> Result<(), StoreError> {
    let Waiting { node, region, sums, lost, made, stored, refused } = waiting;
    if sums.is_empty() && lost.is_empty() && (made, stored, refused) == (0, 0, 0) {
        return Ok(());
    }
    let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let sums = fleet::Batch { sums, dropped: lost, ..fleet::Batch::default() }.encode_to_vec();
    let row = waiting_sum::ActiveModel {
        id: NotSet,
        node: Set(node.to_owned()),
        region: Set(region.to_owned()),
        taken_at: Set(txn.now()),
        made: Set(number(made)),
        stored: Set(number(stored)),
        refused: Set(number(refused)),
        sums: Set(sums),
    };
    waiting_sum::Entity::insert(row)
        .exec_without_returning(txn.tx())
        .await
        .map_err(StoreError::statement("write sums"))?;
    Ok(())
}

/// Adds up to so many batches of sums to the rollups; how many there were.
pub(crate) async fn fold(txn: &Txn, most: u64) -> Result<u64, StoreError> {
    take_turn(txn).await?;
    let waiting = waiting_sum::Entity::find()
        .order_by_asc(waiting_sum::Column::Id)
        .limit(most)
        .all(txn.tx())
        .await
        .map_err(StoreError::statement("read sums"))?;
    if waiting.is_empty() {
        return Ok(0);
    }
    let read = |row: waiting_sum::Model| match fleet::Batch::decode(row.sums.as_slice()) {
        Ok(batch) => Ok((row, batch)),
        Err(_) => Err(StoreError::Damaged("sums")),
    };
    let waiting: Vec<_> = waiting.into_iter().map(read).collect::<Result<_, _>>()?;
    let mut all: BTreeMap<Common, Added> = BTreeMap::new();
    for (row, batch) in &waiting {
        for sum in &batch.sums {
            let place = place(txn.now(), sum);
            all.entry(Common::of(sum, &row.region)).or_default().add(place, sum);
        }
    }
    let coarse = coarse(all.iter());
    all.extend(coarse);
    account::add(txn, &waiting).await?;
    let ids = ids(txn, all.keys()).await?;
    let known = all.into_iter().filter_map(|(common, added)| Some((*ids.get(&common.hash())?, added)));
    written::write(txn, known.collect()).await?;
    let ids: Vec<i64> = waiting.iter().map(|(row, _)| row.id).collect();
    for ids in ids.chunks(ROWS) {
        waiting_sum::Entity::delete_many()
            .filter(waiting_sum::Column::Id.is_in(ids.iter().copied()))
            .exec(txn.tx())
            .await
            .map_err(StoreError::statement("remove sums"))?;
    }
    Ok(ids.len() as u64)
}

async fn take_turn(txn: &Txn) -> Result<(), StoreError> {
    arrival::Entity::update_many()
        .col_expr(arrival::Column::Newest, Expr::col(arrival::Column::Newest).add(1_i64))
        .filter(arrival::Column::Id.eq(TURN))
        .exec(txn.tx())
        .await
        .map_err(StoreError::statement("take turn"))?;
    Ok(())
}

/// The ids of series by their hashes. Makes those that are new.
async fn ids(txn: &Txn, all: impl Iterator<Item = &Common>) -> Result<HashMap<Vec<u8>, i64>, StoreError> {
    let by_hash: BTreeMap<Vec<u8>, &Common> = all.map(|common| (common.hash(), common)).collect();
    let hashes: Vec<&Vec<u8>> = by_hash.keys().collect();
    let mut known = read_ids(txn, &hashes).await?;
    let new: Vec<&Vec<u8>> = hashes.into_iter().filter(|hash| !known.contains_key(*hash)).collect();
    for hashes in new.chunks(ROWS) {
        let row = |hash: &&Vec<u8>| {
            let Common { detail, org, proxy, caller, region, code, rule, observed_rule, .. } =
                by_hash[*hash].clone();
            let Common { status, observed_denial, .. } = *by_hash[*hash];
            series::ActiveModel {
                id: NotSet,
                detail: Set(detail.row()),
                hash: Set((*hash).clone()),
                org: Set(org),
                proxy: Set(proxy),
                caller: Set(caller),
                region: Set(region),
                code: Set(code),
                rule: Set(rule),
                observed_rule: Set(observed_rule),
                status: Set(status),
                observed_denial: Set(observed_denial),
            }
        };
        series::Entity::insert_many(hashes.iter().map(row))
            .exec_without_returning(txn.tx())
            .await
            .map_err(StoreError::statement("write series"))?;
    }
    known.extend(read_ids(txn, &new).await?);
    Ok(known)
}

async fn read_ids(txn: &Txn, hashes: &[&Vec<u8>]) -> Result<HashMap<Vec<u8>, i64>, StoreError> {
    let mut known = HashMap::with_capacity(hashes.len());
    for hashes in hashes.chunks(ROWS) {
        let rows: Vec<(Vec<u8>, i64)> = series::Entity::find()
            .select_only()
            .column(series::Column::Hash)
            .column(series::Column::Id)
            .filter(series::Column::Hash.is_in(hashes.iter().map(|hash| (*hash).clone())))
            .into_tuple()
            .all(txn.tx())
            .await
            .map_err(StoreError::statement("read series"))?;
        known.extend(rows);
    }
    Ok(known)
}
