//! Rows of rollups: read, added to, and written anew. Whoever does it has the turn.

use std::collections::{BTreeSet, HashMap};

use sea_orm::sea_query::OnConflict;
use sea_orm::{ColumnTrait as _, EntityTrait as _, IntoActiveModel as _, QueryFilter as _};

use super::ROWS;
use super::added::{Added, Metered};
use crate::store::entity::{meter_rollup, rollup};
use crate::store::level::Level;
use crate::store::{StoreError, Txn};

/// Adds to the rows that are there.
pub(super) async fn write(txn: &Txn, mut all: Vec<(i64, Added)>) -> Result<(), StoreError> {
    all.sort_unstable_by_key(|(series, _)| *series);
    let places: BTreeSet<(Level, i64)> =
        all.iter().flat_map(|(_, added)| added.requests.keys().map(|(level, at, _)| (*level, *at))).collect();
    let (mut requests, mut meters) = (HashMap::new(), HashMap::new());
    for (series, added) in all {
        requests.extend(
            added
                .requests
                .into_iter()
                .map(|((level, at, revision), amounts)| ((series, level.row(), at, revision), amounts)),
        );
        meters.extend(added.meters.into_iter().map(|(((level, at, revision), meter), metered)| {
            ((series, level.row(), at, revision, meter), metered)
        }));
    }
    for (level, at) in places {
        let here = |series: i64, row: i16, time: i64| (row == level.row() && time == at).then_some(series);
        let of_requests: BTreeSet<i64> =
            requests.keys().filter_map(|(series, level, at, _)| here(*series, *level, *at)).collect();
        for series in of_requests.into_iter().collect::<Vec<_>>().chunks(ROWS) {
            for row in there(txn, series, level, at).await? {
                let key = (row.series, row.level, row.at, row.revision);
                if let Some(amounts) = requests.get_mut(&key) {
                    amounts.include(&row)?;
                }
            }
        }
        let of_meters: BTreeSet<i64> =
            meters.keys().filter_map(|(series, level, at, ..)| here(*series, *level, *at)).collect();
        for series in of_meters.into_iter().collect::<Vec<_>>().chunks(ROWS) {
            for row in metered_there(txn, series, level, at).await? {
                let key = (row.series, row.level, row.at, row.revision, row.meter);
                if let Some(metered) = meters.get_mut(&key) {
                    let meter_rollup::Model { charged, missing, exceeded, .. } = row;
                    metered.merge(&Metered { charged, missing, exceeded });
                }
            }
        }
    }
    put(txn, requests.into_iter().map(|(key, amounts)| amounts.row(key)).collect()).await?;
    put_metered(txn, meters.into_iter().map(|(key, metered)| metered.row(key)).collect()).await
}

async fn there(txn: &Txn, series: &[i64], level: Level, at: i64) -> Result<Vec<rollup::Model>, StoreError> {
    rollup::Entity::find()
        .filter(rollup::Column::Series.is_in(series.iter().copied()))
        .filter(rollup::Column::Level.eq(level.row()))
        .filter(rollup::Column::At.eq(at))
        .all(txn.tx())
        .await
        .map_err(StoreError::statement("read rollups"))
}

async fn metered_there(
    txn: &Txn,
    series: &[i64],
    level: Level,
    at: i64,
) -> Result<Vec<meter_rollup::Model>, StoreError> {
    meter_rollup::Entity::find()
        .filter(meter_rollup::Column::Series.is_in(series.iter().copied()))
        .filter(meter_rollup::Column::Level.eq(level.row()))
        .filter(meter_rollup::Column::At.eq(at))
        .all(txn.tx())
        .await
        .map_err(StoreError::statement("read rollups of meters"))
}

async fn put(txn: &Txn, rows: Vec<rollup::Model>) -> Result<(), StoreError> {
    use rollup::Column::{
        Aborted, At, Latencies, Level, LongestMicros, Micros, RequestBytes, Requests, ResponseBytes,
        Revision, Series,
    };
    for rows in rows.chunks(ROWS) {
        let anew = OnConflict::columns([Series, Level, At, Revision])
            .update_columns([
                Requests,
                Aborted,
                RequestBytes,
                ResponseBytes,
                Micros,
                LongestMicros,
                Latencies,
            ])
            .to_owned();
        rollup::Entity::insert_many(rows.iter().cloned().map(rollup::Model::into_active_model))
            .on_conflict(anew)
            .exec_without_returning(txn.tx())
            .await
            .map_err(StoreError::statement("write rollups"))?;
    }
    Ok(())
}

async fn put_metered(txn: &Txn, rows: Vec<meter_rollup::Model>) -> Result<(), StoreError> {
    use meter_rollup::Column::{At, Charged, Exceeded, Level, Meter, Missing, Revision, Series};
    for rows in rows.chunks(ROWS) {
        let anew = OnConflict::columns([Series, Level, At, Revision, Meter])
            .update_columns([Charged, Missing, Exceeded])
            .to_owned();
        meter_rollup::Entity::insert_many(rows.iter().cloned().map(meter_rollup::Model::into_active_model))
            .on_conflict(anew)
            .exec_without_returning(txn.tx())
            .await
            .map_err(StoreError::statement("write rollups of meters"))?;
    }
    Ok(())
}
