//! Rollups of days, read for Prometheus: what requests of an organization's largest proxies add up to.
//!
//! Counts proxies that are there alone. Knows no names of regions. The invariant: however many proxies there are, the answer
//! tells as many apart as it is given, and which those are changes with the day, not with each read.

use rr_contract::model::latency::Latencies;
use sea_orm::sea_query::{Alias, Condition, Expr, ExprTrait as _, JoinType, Order, Query, SelectStatement};
use sea_orm::{ConnectionTrait as _, FromQueryResult};

use super::{ROWS_MOST, col, histogram, number, sum};
use crate::noun::Noun;
use crate::store::StoreError;
use crate::store::detail::Detail;
use crate::store::entity::{resource, rollup, series};
use crate::store::level::Level;
use crate::store::row::Reader;

/// A proxy that is told apart.
#[derive(Debug, PartialEq, Eq, FromQueryResult)]
pub(crate) struct Ranked {
    pub(crate) id: String,
    pub(crate) name: String,
}

/// What requests of one proxy, region and status class add up to.
#[derive(Debug)]
pub(crate) struct Exposed {
    /// Its id; none for all that are not told apart.
    pub(crate) proxy: Option<String>,
    pub(crate) region: String,
    /// The first digit of the status.
    pub(crate) class: i32,
    pub(crate) requests: u64,
    pub(crate) request_bytes: u64,
    pub(crate) response_bytes: u64,
    pub(crate) micros: u64,
    pub(crate) latencies: Latencies,
}

#[derive(FromQueryResult)]
struct Row {
    key: String,
    region: String,
    class: i32,
    requests: i64,
    request_bytes: i64,
    response_bytes: i64,
    micros: i64,
    latencies: Vec<u8>,
}

#[derive(FromQueryResult)]
struct Counted {
    id: String,
    before: i64,
}

/// Up to so many proxies that had requests since `after`: those with most of them before `today`, the largest first.
pub(crate) async fn largest(
    db: &impl Reader,
    org: &str,
    (after, today): (i64, i64),
    most: u64,
) -> Result<Vec<Ranked>, StoreError> {
    let at = || col((rollup::Entity, rollup::Column::At));
    let before = Expr::case(at().lt(today), col((rollup::Entity, rollup::Column::Requests))).finally(0);
    let (id, name) = ((series::Entity, series::Column::Proxy), (resource::Entity, resource::Column::Name));
    let mut query = of_days(org, after);
    there(&mut query, org);
    query
        .expr_as(col(id), "id")
        .expr_as(col(name), "name")
        .expr_as(sum(before.into()), "before")
        .add_group_by([col(id), col(name)])
        .order_by(Alias::new("before"), Order::Desc)
        .order_by(id, Order::Asc)
        .limit(most);
    Ranked::find_by_statement(db.conn().get_database_backend().build(&query))
        .all(db.conn())
        .await
        .map_err(StoreError::statement("read rollups"))
}

/// How many requests each proxy had since `after` and before `today`, 0 included: of a store of records that knows no names of
/// proxies, and so those that are gone, too.
pub(crate) async fn counted(
    db: &impl Reader,
    org: &str,
    (after, today): (i64, i64),
) -> Result<Vec<(String, i64)>, StoreError> {
    let at = || col((rollup::Entity, rollup::Column::At));
    let before = Expr::case(at().lt(today), col((rollup::Entity, rollup::Column::Requests))).finally(0);
    let id = (series::Entity, series::Column::Proxy);
    let mut query = of_days(org, after);
    query
        .expr_as(col(id), "id")
        .expr_as(sum(before.into()), "before")
        .add_group_by([col(id)])
        .limit(ROWS_MOST as u64);
    let rows = Counted::find_by_statement(db.conn().get_database_backend().build(&query))
        .all(db.conn())
        .await
        .map_err(StoreError::statement("read rollups"))?;
    Ok(rows.into_iter().map(|row| (row.id, row.before)).collect())
}

/// What requests since `after` add up to, with the proxies that are there in `apart` told apart; without it, with every proxy
/// told apart, those that are gone included. `None` where that is more than one query answers with.
pub(crate) async fn exposed(
    db: &impl Reader,
    org: &str,
    after: i64,
    apart: Option<&[Ranked]>,
) -> Result<Option<Vec<Exposed>>, StoreError> {
    let backend = db.conn().get_database_backend();
    let proxy = || col((series::Entity, series::Column::Proxy));
    let key: Expr = match apart {
        Some(apart) => {
            let is_apart = proxy().is_in(apart.iter().map(|ranked| ranked.id.as_str()));
            Expr::case(is_apart, proxy()).finally(Expr::val("").cast_as("text")).into()
        }
        None => proxy(),
    };
    let class = col((series::Entity, series::Column::Status)).div(100).cast_as("integer");
    let mut query = of_days(org, after);
    if apart.is_some() {
        there(&mut query, org);
    }
    for (value, name) in
        [(key, "key"), (col((series::Entity, series::Column::Region)), "region"), (class, "class")]
    {
        query.expr_as(value, name);
    }
    // Told by their places, for other columns have these names.
    query.add_group_by([1, 2, 3].map(|place| Expr::cust(place.to_string())));
    for (column, name) in [
        (rollup::Column::Requests, "requests"),
        (rollup::Column::RequestBytes, "request_bytes"),
        (rollup::Column::ResponseBytes, "response_bytes"),
        (rollup::Column::Micros, "micros"),
    ] {
        query.expr_as(sum(col((rollup::Entity, column))), name);
    }
    query.expr_as(histogram(backend), "latencies").limit(ROWS_MOST as u64 + 1);
    let rows = Row::find_by_statement(backend.build(&query))
        .all(db.conn())
        .await
        .map_err(StoreError::statement("read rollups"))?;
    if rows.len() > ROWS_MOST {
        return Ok(None);
    }
    rows.into_iter().map(Row::exposed).collect::<Result<_, _>>().map(Some)
}

/// Days of an organization.
fn of_days(org: &str, after: i64) -> SelectStatement {
    let mut query = Query::select();
    query
        .from(series::Entity)
        .inner_join(
            rollup::Entity,
            col((rollup::Entity, rollup::Column::Series)).equals((series::Entity, series::Column::Id)),
        )
        .and_where(col((series::Entity, series::Column::Org)).eq(org))
        .and_where(col((series::Entity, series::Column::Detail)).eq(Detail::Proxies.row()))
        .and_where(col((rollup::Entity, rollup::Column::Level)).eq(Level::Day.row()))
        .and_where(col((rollup::Entity, rollup::Column::At)).gte(after));
    query
}

/// Of proxies that are there.
fn there(query: &mut SelectStatement, org: &str) {
    let of = |column| (resource::Entity, column);
    let is_there = Condition::all()
        .add(col(of(resource::Column::Kind)).eq(Noun::Proxy.row()))
        .add(col(of(resource::Column::Org)).eq(org))
        .add(col(of(resource::Column::Id)).equals((series::Entity, series::Column::Proxy)));
    query.join(JoinType::InnerJoin, resource::Entity, is_there);
}

impl Row {
    fn exposed(self) -> Result<Exposed, StoreError> {
        Ok(Exposed {
            proxy: Some(self.key).filter(|key| !key.is_empty()),
            region: self.region,
            class: self.class,
            requests: number(self.requests),
            request_bytes: number(self.request_bytes),
            response_bytes: number(self.response_bytes),
            micros: number(self.micros),
            latencies: Latencies::decode(&self.latencies).map_err(|_| StoreError::Damaged("rollup"))?,
        })
    }
}
