//! Rollups of requests, read: by series and step.
//!
//! Adds up in the database, whatever there is: the answer is as large as what is asked for, not as what was stored. Knows no
//! names.

pub(crate) mod exposition;

use rr_contract::model::latency::Latencies;
use sea_orm::sea_query::{
    Expr, ExprTrait as _, Func, IntoColumnRef, IntoIden, IntoTableRef, Query, SelectStatement,
};
use sea_orm::{ConnectionTrait as _, DatabaseBackend, FromQueryResult};

use super::StoreError;
use super::detail::{Detail, Wanted};
use super::entity::{meter_rollup, rollup, series};
use super::level::Level;
use super::resource::{Compare, labelled};
use super::row::Reader;

/// The most rows that one query answers with.
pub(crate) const ROWS_MOST: usize = 200_000;
/// By how much series are told apart at most.
pub(crate) const KEYS: usize = 3;

/// What series are made by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dimension {
    Proxy,
    Caller,
    Region,
    Status,
    StatusClass,
    Code,
    Rule,
    ObservedRule,
    Revision,
}

/// Which requests, and how they are told apart.
#[derive(Debug, Clone)]
pub(crate) struct MetricsFilter {
    pub(crate) org: String,
    pub(crate) proxy: Option<String>,
    pub(crate) callers: Option<Vec<String>>,
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) statuses: Vec<(Compare, i32)>,
    pub(crate) codes: Vec<(Compare, String)>,
    pub(crate) rules: Option<Vec<String>>,
    pub(crate) regions: Option<Vec<String>>,
    pub(crate) level: Level,
    /// Beginnings of steps.
    pub(crate) after: i64,
    pub(crate) before: i64,
    pub(crate) step: i64,
    /// At most `KEYS`.
    pub(crate) by: Vec<Dimension>,
}

/// What requests of a series and a step add up to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Measures {
    pub(crate) requests: u64,
    pub(crate) errors: u64,
    pub(crate) denials: u64,
    pub(crate) observed_denials: u64,
    pub(crate) aborted: u64,
    pub(crate) request_bytes: u64,
    pub(crate) response_bytes: u64,
    pub(crate) micros: u64,
    pub(crate) longest_micros: u64,
    pub(crate) latencies: Latencies,
}

/// What a meter counted of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Metered {
    pub(crate) charged: u64,
    pub(crate) missing: u64,
    pub(crate) exceeded: u64,
}

/// One series at one step.
#[derive(Debug)]
pub(crate) struct Cell<T> {
    pub(crate) at: i64,
    pub(crate) key: [String; KEYS],
    pub(crate) value: T,
}

#[derive(FromQueryResult)]
struct Row {
    step_at: i64,
    key_a: String,
    key_b: String,
    key_c: String,
    requests: i64,
    errors: i64,
    denials: i64,
    observed_denials: i64,
    aborted: i64,
    request_bytes: i64,
    response_bytes: i64,
    micros: i64,
    longest_micros: i64,
    latencies: Vec<u8>,
}

#[derive(FromQueryResult)]
struct MeterRow {
    step_at: i64,
    key_a: String,
    key_b: String,
    key_c: String,
    meter: String,
    charged: i64,
    missing: i64,
    exceeded: i64,
}

/// Requests by series and step; `None` where there are more than one query answers with.
pub(crate) async fn requests(
    db: &impl Reader,
    filter: &MetricsFilter,
) -> Result<Option<Vec<Cell<Measures>>>, StoreError> {
    use rollup::Column::{
        Aborted, At, Level, LongestMicros, Micros, RequestBytes, Requests, ResponseBytes, Revision, Series,
    };
    let (backend, of) = (db.conn().get_database_backend(), |column| col((rollup::Entity, column)));
    let mut query = filter.select(rollup::Entity, [Series, Level, At, Revision]);
    let requests = || of(Requests);
    let when = |condition: Expr| Expr::case(condition, requests()).finally(0).into();
    let status = || col((series::Entity, series::Column::Status));
    for (name, value) in [
        ("requests", requests()),
        ("errors", when(status().gte(500).and(status().lt(600)))),
        ("denials", when(col((series::Entity, series::Column::Code)).eq("rule-denied"))),
        ("observed_denials", when(col((series::Entity, series::Column::ObservedDenial)).eq(true))),
        ("aborted", of(Aborted)),
        ("request_bytes", of(RequestBytes)),
        ("response_bytes", of(ResponseBytes)),
        ("micros", of(Micros)),
    ] {
        query.expr_as(sum(value), name);
    }
    query.expr_as(Func::max(of(LongestMicros)), "longest_micros");
    query.expr_as(histogram(backend), "latencies");
    let rows = Row::find_by_statement(backend.build(&query))
        .all(db.conn())
        .await
        .map_err(StoreError::statement("read rollups"))?;
    if rows.len() > ROWS_MOST {
        return Ok(None);
    }
    rows.into_iter().map(Row::cell).collect::<Result<_, _>>().map(Some)
}

/// What meters counted, by series, step and meter.
pub(crate) async fn meters(
    db: &impl Reader,
    filter: &MetricsFilter,
) -> Result<Option<Vec<Cell<(String, Metered)>>>, StoreError> {
    use meter_rollup::Column::{At, Charged, Exceeded, Level, Meter, Missing, Revision, Series};
    let (backend, of) = (db.conn().get_database_backend(), |column| col((meter_rollup::Entity, column)));
    let mut query = filter.select(meter_rollup::Entity, [Series, Level, At, Revision]);
    query.expr_as(of(Meter), "meter").add_group_by([of(Meter)]);
    for (name, column) in [("charged", Charged), ("missing", Missing), ("exceeded", Exceeded)] {
        query.expr_as(sum(of(column)), name);
    }
    let rows = MeterRow::find_by_statement(backend.build(&query))
        .all(db.conn())
        .await
        .map_err(StoreError::statement("read rollups of meters"))?;
    if rows.len() > ROWS_MOST {
        return Ok(None);
    }
    let cell = |row: MeterRow| {
        let metered = Metered {
            charged: number(row.charged),
            missing: number(row.missing),
            exceeded: number(row.exceeded),
        };
        Cell { at: row.step_at, key: [row.key_a, row.key_b, row.key_c], value: (row.meter, metered) }
    };
    Ok(Some(rows.into_iter().map(cell).collect()))
}

fn col(column: impl IntoColumnRef) -> Expr {
    Expr::col(column)
}

/// PostgreSQL would make a decimal of it.
fn sum(value: Expr) -> Expr {
    Func::sum(value).cast_as("bigint")
}

/// Encoded histograms, one behind the other, are the one of all.
fn histogram(backend: DatabaseBackend) -> Expr {
    Expr::cust(match backend {
        DatabaseBackend::Postgres => r#"string_agg("rollup"."latencies", ''::bytea)"#,
        _ => r#"unhex(group_concat(hex("rollup"."latencies"), ''))"#,
    })
}

fn number(column: i64) -> u64 {
    u64::try_from(column).unwrap_or(0)
}

impl Row {
    fn cell(self) -> Result<Cell<Measures>, StoreError> {
        let value = Measures {
            requests: number(self.requests),
            errors: number(self.errors),
            denials: number(self.denials),
            observed_denials: number(self.observed_denials),
            aborted: number(self.aborted),
            request_bytes: number(self.request_bytes),
            response_bytes: number(self.response_bytes),
            micros: number(self.micros),
            longest_micros: number(self.longest_micros),
            latencies: Latencies::decode(&self.latencies).map_err(|_| StoreError::Damaged("rollup"))?,
        };
        Ok(Cell { at: self.step_at, key: [self.key_a, self.key_b, self.key_c], value })
    }
}

impl Measures {
    pub(crate) fn add(&mut self, more: &Self) {
        for (sum, more) in [
            (&mut self.requests, more.requests),
            (&mut self.errors, more.errors),
            (&mut self.denials, more.denials),
            (&mut self.observed_denials, more.observed_denials),
            (&mut self.aborted, more.aborted),
            (&mut self.request_bytes, more.request_bytes),
            (&mut self.response_bytes, more.response_bytes),
            (&mut self.micros, more.micros),
        ] {
            *sum = sum.saturating_add(more);
        }
        self.longest_micros = std::cmp::max(self.longest_micros, more.longest_micros);
        self.latencies.merge(&more.latencies);
    }
}

impl Metered {
    pub(crate) fn add(&mut self, more: Self) {
        self.charged = self.charged.saturating_add(more.charged);
        self.missing = self.missing.saturating_add(more.missing);
        self.exceeded = self.exceeded.saturating_add(more.exceeded);
    }
}

impl Dimension {
    /// As a text: each is another column. `revision` is that of the table.
    fn expression(self, revision: Expr) -> Expr {
        let of = |column| col((series::Entity, column));
        match self {
            Self::Proxy => of(series::Column::Proxy),
            Self::Caller => of(series::Column::Caller),
            Self::Region => of(series::Column::Region),
            Self::Code => of(series::Column::Code),
            Self::Rule => of(series::Column::Rule),
            Self::ObservedRule => of(series::Column::ObservedRule),
            Self::Status => of(series::Column::Status).cast_as("text"),
            Self::StatusClass => of(series::Column::Status).div(100).cast_as("text"),
            Self::Revision => revision.cast_as("text"),
        }
    }
}

impl MetricsFilter {
    /// Time and series, of one table of rollups. Grouped by the names of what is selected: no column has these.
    fn select<T, C>(&self, table: T, [id, level, at, revision]: [C; 4]) -> SelectStatement
    where
        T: IntoIden + IntoTableRef + Copy + 'static,
        C: IntoIden + Copy + 'static,
    {
        let of = |column: C| col((table, column));
        let mut query = Query::select();
        let begin = of(at).sub(of(at).modulo(self.step));
        query.expr_as(begin, "step_at").add_group_by([Expr::col("step_at")]);
        for (place, name) in ["key_a", "key_b", "key_c"].into_iter().enumerate() {
            match self.by.get(place) {
                Some(dimension) => {
                    query.expr_as(dimension.expression(of(revision)), name);
                    query.add_group_by([Expr::col(name)]);
                }
                None => {
                    query.expr_as(Expr::val("").cast_as("text"), name);
                }
            }
        }
        query
            .from(series::Entity)
            .inner_join(table, of(id).equals((series::Entity, series::Column::Id)))
            .and_where(of(level).eq(self.level.row()))
            .and_where(of(at).gte(self.after))
            .and_where(of(at).lt(self.before))
            .limit(ROWS_MOST as u64 + 1);
        self.narrow(&mut query);
        query
    }

    /// What it asks to be told apart.
    fn detail(&self) -> Detail {
        let by = |dimensions: &[Dimension]| self.by.iter().any(|by| dimensions.contains(by));
        Detail::of(Wanted {
            proxy: self.proxy.is_some() || by(&[Dimension::Proxy]),
            caller: self.callers.is_some() || !self.labels.is_empty() || by(&[Dimension::Caller]),
            rule: self.rules.is_some() || by(&[Dimension::Rule, Dimension::ObservedRule]),
            revision: by(&[Dimension::Revision]),
        })
    }

    fn narrow(&self, query: &mut SelectStatement) {
        let of = |column| col((series::Entity, column));
        query.and_where(of(series::Column::Org).eq(&*self.org));
        query.and_where(of(series::Column::Detail).eq(self.detail().row()));
        let proxy = self.proxy.as_ref().map(|proxy| vec![proxy.clone()]);
        for (column, ids) in [
            (series::Column::Proxy, &proxy),
            (series::Column::Caller, &self.callers),
            (series::Column::Rule, &self.rules),
            (series::Column::Region, &self.regions),
        ] {
            if let Some(ids) = ids {
                query.and_where(of(column).is_in(ids.iter().map(String::as_str)));
            }
        }
        for (field, value) in &self.labels {
            query.and_where(of(series::Column::Caller).in_subquery(labelled(field, value)));
        }
        for (how, status) in &self.statuses {
            query.and_where(how.compared(of(series::Column::Status), *status));
        }
        for (how, code) in &self.codes {
            query.and_where(how.compared(of(series::Column::Code), code.as_str()));
        }
    }
}
