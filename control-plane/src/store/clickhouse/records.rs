//! Records, read.
//!
//! A request that has ended may still have the row that says that it has begun: such a one is left out here where the other is
//! there.

use std::collections::HashSet;

use clickhouse::Row;
use serde::Deserialize;

use super::ClickHouse;
use super::question::Question;
use super::rows::Record;
use crate::store::request::{BEGUN, PathTerm, RequestFilter};
use crate::store::{StoreError, request_row};

const COLUMNS: &str = "SELECT id, org, proxy, received_at, stored_at, node, region, status, code, record, count, caller, path, rule, arrival FROM request_record WHERE ";

#[derive(Row, Deserialize)]
struct Id {
    id: String,
}

#[derive(Row, Deserialize)]
struct Count {
    #[serde(rename = "count()")]
    count: u64,
}

impl ClickHouse {
    pub(super) async fn records(
        &self,
        mut filter: RequestFilter,
        limit: u64,
    ) -> Result<Vec<request_row::Model>, StoreError> {
        let mut found: Vec<request_row::Model> = Vec::new();
        loop {
            let mut question = Question::new(COLUMNS);
            condition(&mut question, &filter);
            if let Some((at, id)) = &filter.behind {
                question.push(" AND (received_at, id) < (?, ?)").number(*at).text(id);
            }
            question.push(" ORDER BY received_at DESC, id DESC, count DESC LIMIT ").push(&limit.to_string());
            let rows = self.ask::<Record>("list records", question).await?;
            let is_last = (rows.len() as u64) < limit;
            filter.behind = rows.last().map(|row| (row.received_at, row.id.clone()));
            found.extend(self.without_begun(&filter.org, rows).await?);
            if is_last || found.len() as u64 >= limit {
                found.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
                return Ok(found);
            }
        }
    }

    /// Without those that say that a request has begun whose end is there.
    async fn without_begun(
        &self,
        org: &str,
        rows: Vec<Record>,
    ) -> Result<impl Iterator<Item = request_row::Model>, StoreError> {
        let open: Vec<&str> = rows.iter().filter(|row| is_begun(row)).map(|row| row.id.as_str()).collect();
        let mut ended: HashSet<String> = HashSet::new();
        if !open.is_empty() {
            let times = || rows.iter().filter(|row| is_begun(row)).map(|row| row.received_at);
            let (first, last) = (times().min().unwrap_or(0), times().max().unwrap_or(0));
            let mut question = Question::new("SELECT DISTINCT id FROM request_record WHERE org = ?");
            question
                .text(org)
                .push(" AND count > 0 AND received_at BETWEEN ? AND ?")
                .number(first)
                .number(last);
            question.and_in("id", &open);
            ended.extend(self.ask::<Id>("list records", question).await?.into_iter().map(|row| row.id));
        }
        let mut last = None;
        Ok(rows.into_iter().filter_map(move |row| {
            let is_open = !is_begun(&row) || !ended.contains(&row.id);
            // Twice where two replicas wrote it at once, and tokens were forgotten.
            let key = Some((row.id.clone(), row.node.clone()));
            let is_new = last != key;
            last = key;
            (is_open && is_new).then(|| row.into())
        }))
    }

    pub(super) async fn records_between(
        &self,
        filter: &RequestFilter,
        (after, through): (i64, i64),
        limit: u64,
    ) -> Result<(Vec<request_row::Model>, u64), StoreError> {
        let narrowed = |begin: &str| {
            let mut question = Question::new(begin);
            condition(&mut question, filter);
            question.push(" AND arrival > ? AND arrival <= ?").number(after).number(through);
            // Of those that ended meanwhile their record alone is told.
            question.push(" AND (count > 0 OR id NOT IN (SELECT id FROM request_record WHERE org = ? AND count > 0 AND arrival > ? AND arrival <= ?))");
            question.text(&filter.org).number(after).number(through);
            question
        };
        let mut question = narrowed(COLUMNS);
        question.push(" ORDER BY arrival DESC LIMIT ").push(&limit.to_string());
        let mut rows = self.ask::<Record>("read new records", question).await?;
        rows.reverse();
        let all = rows.len() as u64;
        let all = if all < limit {
            all
        } else {
            let question = narrowed("SELECT count() FROM request_record WHERE ");
            self.ask::<Count>("count new records", question).await?.first().map_or(0, |row| row.count)
        };
        Ok((rows.into_iter().map(request_row::Model::from).collect(), all))
    }

    pub(super) async fn record(&self, org: &str, id: &str) -> Result<Option<request_row::Model>, StoreError> {
        let mut question = Question::new(COLUMNS);
        // What ended comes before what began; of those nothing that came later stands in for the first.
        question.push("org = ? AND id = ? ORDER BY count = 0, arrival LIMIT 1").text(org).text(id);
        Ok(self.ask::<Record>("read record", question).await?.pop().map(request_row::Model::from))
    }
}

fn is_begun(row: &Record) -> bool {
    row.count == BEGUN.unsigned_abs()
}

fn condition(question: &mut Question, filter: &RequestFilter) {
    question.push("org = ?").text(&filter.org);
    let (proxy, node) = (filter.proxy.as_slice_of_one(), filter.node.as_slice_of_one());
    for (column, ids) in [
        ("proxy", proxy),
        ("node", node),
        ("caller", filter.callers.as_deref()),
        ("rule", filter.rules.as_deref()),
        ("region", filter.regions.as_deref()),
    ] {
        if let Some(ids) = ids {
            question.and_in(column, ids);
        }
    }
    question.and_compared(&filter.statuses, &filter.codes);
    for path in &filter.paths {
        match path {
            PathTerm::Is(path) => question.push(" AND path = ?").text(path),
            PathTerm::BeginsWith(begin) => question.push(" AND startsWith(path, ?)").text(begin),
        };
    }
    if let Some(after) = filter.after {
        question.push(" AND received_at >= ?").number(after);
    }
    if let Some(before) = filter.before {
        question.push(" AND received_at < ?").number(before);
    }
}

/// An option as a list of one, for what may be one of several.
trait SliceOfOne {
    fn as_slice_of_one(&self) -> Option<&[String]>;
}

impl SliceOfOne for Option<String> {
    fn as_slice_of_one(&self) -> Option<&[String]> {
        self.as_ref().map(std::slice::from_ref)
    }
}
