//! When callers were accepted last, by the minute, as nodes report it.
//!
//! The invariants: a time only ever moves on, whatever comes late, twice or from several nodes at once, and never past
//! now; and a node moves it for no caller but those of proxies that its region serves or served.

use std::cmp::{max, min};
use std::collections::{BTreeMap, HashMap};

use sea_orm::sea_query::{Expr, ExprTrait as _, OnConflict};
use sea_orm::{
    ColumnTrait as _, EntityTrait as _, IntoActiveModel as _, QueryFilter as _, QuerySelect as _,
    QueryTrait as _,
};

use super::entity::caller_use::{Column, Entity, Model};
use super::entity::{link, proxy_home, resource};
use super::row::Reader;
use super::{StoreError, Txn};
use crate::document::Part;
use crate::noun::Noun;

/// As times are in columns.
const MINUTE: i64 = 60 * 1_000_000;
/// How many callers one statement is about: below the number of values that it may bind.
const ROWS: usize = 500;

/// That a caller was accepted, in a minute since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CallerUse {
    pub(crate) credential: String,
    pub(crate) minute: u64,
}

/// Moves the last uses on that a node of a region reports. Writes no row that is as new already.
pub(crate) async fn advance(txn: &Txn, region: &str, uses: Vec<CallerUse>) -> Result<(), StoreError> {
    let now = txn.now().div_euclid(MINUTE);
    // In order, so that two transactions at once do not wait for each other.
    let mut newest = BTreeMap::new();
    for it in uses {
        let minute = i64::try_from(it.minute).map_or(now, |minute| min(minute, now));
        let known = newest.entry(it.credential).or_insert(minute);
        *known = max(minute, *known);
    }
    let newest: Vec<Model> = newest
        .into_iter()
        .map(|(credential, minute)| Model { credential, used_at: minute * MINUTE })
        .collect();
    for rows in newest.chunks(ROWS) {
        let ids: Vec<&str> = rows.iter().map(|row| row.credential.as_str()).collect();
        let known = of_all(txn, &ids).await?;
        let is_new = |row: &&Model| known.get(&row.credential).is_none_or(|known| *known < row.used_at);
        let rows: Vec<&Model> = rows.iter().filter(is_new).collect();
        let ids: Vec<&str> = rows.iter().map(|row| row.credential.as_str()).collect();
        let served = served(txn, region, &ids).await?;
        let rows = rows.into_iter().filter(|row| served.contains(&row.credential)).cloned();
        let rows: Vec<_> = rows.map(Model::into_active_model).collect();
        if rows.is_empty() {
            continue;
        }
        // Another node's report may have come in between.
        let newer = Expr::col((Entity, Column::UsedAt)).lt(Expr::col(("excluded", Column::UsedAt)));
        let moved = OnConflict::column(Column::Credential)
            .update_column(Column::UsedAt)
            .action_and_where(newer)
            .to_owned();
        Entity::insert_many(rows)
            .on_conflict(moved)
            .exec_without_returning(txn.tx())
            .await
            .map_err(StoreError::statement("write last uses"))?;
    }
    Ok(())
}

/// Those of the credentials that a proxy uses as its callers', if that was ever served in the region.
async fn served(txn: &Txn, region: &str, credentials: &[&str]) -> Result<Vec<String>, StoreError> {
    if credentials.is_empty() {
        return Ok(Vec::new());
    }
    let home = proxy_home::Entity::find()
        .select_only()
        .column(proxy_home::Column::Proxy)
        .filter(proxy_home::Column::Region.eq(region))
        .filter(
            Expr::col((proxy_home::Entity, proxy_home::Column::Proxy))
                .equals((link::Entity, link::Column::Id)),
        );
    let user = link::Entity::find()
        .select_only()
        .column(link::Column::Id)
        .filter(link::Column::ToKind.eq(Noun::Credential.row()))
        .filter(link::Column::Part.eq(Part::Caller.row()))
        .filter(link::Column::Kind.eq(Noun::Proxy.row()))
        .filter(
            Expr::col((link::Entity, link::Column::ToId)).equals((resource::Entity, resource::Column::Id)),
        )
        .filter(Expr::exists(home.into_query()));
    resource::Entity::find()
        .select_only()
        .column(resource::Column::Id)
        .filter(resource::Column::Kind.eq(Noun::Credential.row()))
        .filter(resource::Column::Id.is_in(credentials.iter().copied()))
        .filter(Expr::exists(user.into_query()))
        .into_tuple()
        .all(txn.tx())
        .await
        .map_err(StoreError::statement("look for callers of a region"))
}

/// When these credentials were used last; those that never were are left out.
pub(crate) async fn of_all(
    db: &impl Reader,
    credentials: &[&str],
) -> Result<HashMap<String, i64>, StoreError> {
    let mut found = HashMap::new();
    for credentials in credentials.chunks(ROWS) {
        let rows = Entity::find()
            .filter(Column::Credential.is_in(credentials.iter().copied()))
            .all(db.conn())
            .await
            .map_err(StoreError::statement("read last uses"))?;
        found.extend(rows.into_iter().map(|row| (row.credential, row.used_at)));
    }
    Ok(found)
}

/// Forgets a credential that goes. A report that is being taken in this very moment can leave its row behind, which nobody
/// reads: ids are never used again.
pub(super) async fn forget(txn: &Txn, credential: &str) -> Result<(), StoreError> {
    Entity::delete_by_id(credential)
        .exec(txn.tx())
        .await
        .map_err(StoreError::statement("remove last use"))?;
    Ok(())
}
