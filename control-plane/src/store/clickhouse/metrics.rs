//! What requests add up to, read: by series and step.
//!
//! Rows of rollups that are not merged yet are added up here as others are.

use rr_contract::model::latency::Latencies;

use super::ClickHouse;
use super::question::Question;
use super::rows;
use crate::store::StoreError;
use crate::store::level::Level;
use crate::store::metrics::exposition::Exposed;
use crate::store::metrics::{Cell, Dimension, Measures, Metered, MetricsFilter, ROWS_MOST};
use crate::store::sink::{Exposition, Metrics};

const MEASURES: &str = "sum(requests) AS all_requests, sumIf(requests, status >= 500 AND status < 600) AS errors, sumIf(requests, code = 'rule-denied') AS denials, sumIf(requests, observed_denial) AS observed_denials, sum(aborted) AS all_aborted, sum(request_bytes) AS all_request_bytes, sum(response_bytes) AS all_response_bytes, sum(micros) AS all_micros, max(longest_micros) AS longest, sumMap(latencies) AS all_latencies";
const METERED: &str =
    "meter, sum(charged) AS all_charged, sum(missing) AS all_missing, sum(exceeded) AS all_exceeded";

impl ClickHouse {
    pub(super) async fn sums(&self, filter: &MetricsFilter) -> Result<Option<Metrics>, StoreError> {
        let question = question(filter, "rollup", MEASURES, "");
        let requests = self.ask::<rows::Cell>("read rollups", question).await?;
        let question = self::question(filter, "meter_rollup", METERED, ", meter");
        let metered = self.ask::<rows::MeterCell>("read rollups of meters", question).await?;
        if requests.len() > ROWS_MOST || metered.len() > ROWS_MOST {
            return Ok(None);
        }
        let requests = requests.into_iter().map(cell).collect();
        Ok(Some((requests, metered.into_iter().map(meter_cell).collect())))
    }

    pub(super) async fn exposed(
        &self,
        org: &str,
        (after, today): (i64, i64),
        since: i64,
    ) -> Result<Option<Exposition>, StoreError> {
        let mut counts = Question::new("SELECT proxy, sumIf(requests, at < ?) AS before FROM rollup WHERE ");
        counts.number(today);
        of_days(&mut counts, org, after);
        counts.push(" GROUP BY proxy LIMIT ").push(&ROWS_MOST.to_string());
        let counts = self.ask::<rows::Counted>("read rollups", counts).await?;
        let mut sums = Question::new(
            "SELECT proxy, region, toInt32(intDiv(status, 100)) AS class, sum(requests) AS all_requests, sum(request_bytes) AS all_request_bytes, sum(response_bytes) AS all_response_bytes, sum(micros) AS all_micros, sumMap(latencies) AS all_latencies FROM rollup WHERE ",
        );
        of_days(&mut sums, org, since);
        sums.push(" GROUP BY proxy, region, class LIMIT ").push(&(ROWS_MOST + 1).to_string());
        let sums = self.ask::<rows::Exposed>("read rollups", sums).await?;
        if sums.len() > ROWS_MOST {
            return Ok(None);
        }
        let count = |row: rows::Counted| (row.proxy, i64::try_from(row.before).unwrap_or(i64::MAX));
        let exposed = |row: rows::Exposed| Exposed {
            proxy: Some(row.proxy),
            region: row.region,
            class: row.class,
            requests: row.all_requests,
            request_bytes: row.all_request_bytes,
            response_bytes: row.all_response_bytes,
            micros: row.all_micros,
            latencies: Latencies::from_counts(row.all_latencies),
        };
        Ok(Some((counts.into_iter().map(count).collect(), sums.into_iter().map(exposed).collect())))
    }
}

fn of_days(question: &mut Question, org: &str, after: i64) {
    question.push("level = ? AND org = ? AND at >= ?");
    question.number(Level::Day.row().into()).text(org).number(after);
}

fn question(filter: &MetricsFilter, table: &str, values: &str, group: &str) -> Question {
    let mut question = Question::new("SELECT at - at % ? AS step_at, ");
    question.number(filter.step);
    for (place, name) in ["key_a", "key_b", "key_c"].into_iter().enumerate() {
        let key = filter.by.get(place).map_or("''", |dimension| column(*dimension));
        question.push(&format!("{key} AS {name}, "));
    }
    question.push(values).push(" FROM ").push(table);
    question.push(" WHERE level = ? AND org = ? AND at >= ? AND at < ?");
    question.number(filter.level.row().into()).text(&filter.org).number(filter.after).number(filter.before);
    for (column, ids) in [
        ("proxy", filter.proxy.as_ref().map(std::slice::from_ref)),
        ("caller", filter.callers.as_deref()),
        ("rule", filter.rules.as_deref()),
        ("region", filter.regions.as_deref()),
    ] {
        if let Some(ids) = ids {
            question.and_in(column, ids);
        }
    }
    question.and_compared(&filter.statuses, &filter.codes);
    question.push(" GROUP BY step_at, key_a, key_b, key_c").push(group);
    question.push(" LIMIT ").push(&(ROWS_MOST + 1).to_string());
    question
}

/// As a text.
fn column(dimension: Dimension) -> &'static str {
    match dimension {
        Dimension::Proxy => "toString(proxy)",
        Dimension::Caller => "toString(caller)",
        Dimension::Region => "toString(region)",
        Dimension::Code => "toString(code)",
        Dimension::Rule => "toString(rule)",
        Dimension::ObservedRule => "toString(observed_rule)",
        Dimension::Status => "toString(status)",
        Dimension::StatusClass => "toString(intDiv(status, 100))",
        Dimension::Revision => "toString(revision)",
    }
}

fn cell(row: rows::Cell) -> Cell<Measures> {
    let value = Measures {
        requests: row.all_requests,
        errors: row.errors,
        denials: row.denials,
        observed_denials: row.observed_denials,
        aborted: row.all_aborted,
        request_bytes: row.all_request_bytes,
        response_bytes: row.all_response_bytes,
        micros: row.all_micros,
        longest_micros: row.longest,
        latencies: Latencies::from_counts(row.all_latencies),
    };
    Cell { at: row.step_at, key: [row.key_a, row.key_b, row.key_c], value }
}

fn meter_cell(row: rows::MeterCell) -> Cell<(String, Metered)> {
    let metered = Metered { charged: row.all_charged, missing: row.all_missing, exceeded: row.all_exceeded };
    Cell { at: row.step_at, key: [row.key_a, row.key_b, row.key_c], value: (row.meter, metered) }
}
