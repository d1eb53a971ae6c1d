//! The tables, made where they are not there, and whose they are.
//!
//! Each takes a token with each insert and remembers the last `TOKENS` of them. What is added up by minute, hour and day is made
//! by views of what batches bring, and goes when it is as old as it is kept. The invariant: a table that was released is
//! altered, never made anew.

use clickhouse::Row;
use serde::{Deserialize, Serialize};

use super::question::Question;
use super::{ClickHouse, ClickHouseAddress};
use crate::store::StoreError;
use crate::store::level::{Level, kept};

/// How many inserts of a table are known by their tokens.
const TOKENS: u32 = 10_000;

/// What sums have in common.
const SERIES: &str = "org LowCardinality(String), proxy LowCardinality(String), caller LowCardinality(String), region LowCardinality(String), code LowCardinality(String), rule LowCardinality(String), observed_rule LowCardinality(String), status Int32, observed_denial Bool";
const SERIES_KEY: &str =
    "proxy, caller, region, code, rule, observed_rule, status, observed_denial, revision";

/// Whose records they are.
#[derive(Debug, Clone, PartialEq, Eq, Row, Serialize, Deserialize)]
struct Owner {
    installation: String,
    name: String,
}

impl ClickHouse {
    /// Makes the tables that are not there.
    pub(super) async fn bring_up(&self) -> Result<(), StoreError> {
        for statement in statements() {
            self.run("make the tables of record store", Question::new(&statement)).await?;
        }
        Ok(())
    }

    /// Writes down whose it is, or finds that it is another's.
    pub(super) async fn claim(
        &self,
        address: &ClickHouseAddress,
        installation: &[u8],
    ) -> Result<(), StoreError> {
        let ours =
            Owner { installation: data_encoding::HEXLOWER.encode(installation), name: self.name.to_string() };
        let read = async || {
            let question = Question::new("SELECT DISTINCT installation, name FROM record_owner");
            self.ask::<Owner>("read owner of record store", question).await
        };
        if read().await?.is_empty() {
            let token = format!("{}/{}", ours.installation, ours.name);
            self.insert("claim record store", "record_owner", &token, std::slice::from_ref(&ours)).await?;
        }
        // Two that came at once see each other.
        match read().await?.into_iter().find(|owner| *owner != ours) {
            None => Ok(()),
            Some(other) => Err(StoreError::OtherRecords {
                name: self.name.to_string(),
                database: address.to_string(),
                found: other.name,
            }),
        }
    }
}

fn statements() -> Vec<String> {
    let with_tokens = format!("SETTINGS non_replicated_deduplication_window = {TOKENS}");
    let table = |name: &str, columns: &str, engine: &str, rest: &str| {
        format!("CREATE TABLE IF NOT EXISTS {name} ({columns}) ENGINE = {engine} {rest} {with_tokens}")
    };
    // By when they were stored: a node's clock makes no days.
    let by_day = |column: &str| format!("PARTITION BY toYYYYMMDD(fromUnixTimestamp64Micro({column}))");
    let days = |level: Level| kept(level) / Level::Day.length();
    let ttl =
        |column: &str, days: i64| format!("toDateTime(intDiv({column}, 1000000)) + INTERVAL {days} DAY");
    let by_level = Level::ALL
        .map(|level| format!("{} DELETE WHERE level = {}", ttl("at", days(level)), level.row()))
        .join(", ");
    let amounts = "requests UInt64, aborted UInt64, request_bytes UInt64, response_bytes UInt64, micros UInt64, longest_micros UInt64, latencies Map(UInt8, UInt64)";
    let added = |columns: &[&str]| {
        columns
            .iter()
            .map(|name| format!("{name} SimpleAggregateFunction(sum, UInt64)"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let sums = ["requests", "aborted", "request_bytes", "response_bytes", "micros"];
    let metered = ["charged", "missing", "exceeded"];
    let rollup_key = format!("PRIMARY KEY (level, org, at) ORDER BY (level, org, at, {SERIES_KEY})");
    let metered_key = format!("PRIMARY KEY (level, org, at) ORDER BY (level, org, at, {SERIES_KEY}, meter)");
    let levels = Level::ALL.map(|level| format!("({}, {})", level.row(), level.length())).join(", ");
    let view = |name: &str, to: &str, from: &str, key: &str, values: &str| {
        format!(
            "CREATE MATERIALIZED VIEW IF NOT EXISTS {name} TO {to} AS SELECT toInt16(tupleElement(lengths, 1)) AS level, org, intDiv(minute, tupleElement(lengths, 2)) * tupleElement(lengths, 2) AS at, proxy, caller, region, code, rule, observed_rule, status, observed_denial, if(level = 1, minute_revision, 0) AS revision, {values} FROM {from} ARRAY JOIN [{levels}] AS lengths GROUP BY level, org, at, {key}"
        )
    };
    let summed = |columns: &[&str]| {
        columns.iter().map(|name| format!("sum({name}) AS {name}")).collect::<Vec<_>>().join(", ")
    };
    vec![
        table("record_owner", "installation String, name String", "MergeTree", "ORDER BY tuple()"),
        table(
            "request_record",
            "id String, org LowCardinality(String), proxy LowCardinality(String), received_at Int64 CODEC(Delta, ZSTD), stored_at Int64 CODEC(Delta, ZSTD), node LowCardinality(String), region LowCardinality(String), status Int32, code LowCardinality(String), record String CODEC(ZSTD(3)), count UInt64, caller LowCardinality(String), path String CODEC(ZSTD), rule LowCardinality(String), arrival Int64 CODEC(Delta, ZSTD), INDEX by_id id TYPE bloom_filter(0.01) GRANULARITY 1, INDEX by_arrival arrival TYPE minmax GRANULARITY 1",
            // The record of a request takes the place of what says that it has begun.
            "ReplacingMergeTree(count)",
            &format!("{} ORDER BY (org, received_at, id, node)", by_day("stored_at")),
        ),
        table(
            "record_loss",
            "node LowCardinality(String), records Int64, from_at Int64, to_at Int64, reason LowCardinality(String), stored_at Int64",
            "MergeTree",
            &format!("ORDER BY (stored_at, node) TTL {}", ttl("stored_at", days(Level::Hour))),
        ),
        table(
            "node_account",
            "node LowCardinality(String), at Int64, what LowCardinality(String), region LowCardinality(String), count Int64",
            "SummingMergeTree(count)",
            &format!("ORDER BY (region, node, at, what) TTL {}", ttl("at", days(Level::Hour))),
        ),
        // As batches bring them: kept for a while, to look into.
        table(
            "request_sum",
            &format!("{SERIES}, minute Int64, minute_revision Int64, taken_at Int64, {amounts}"),
            "MergeTree",
            &format!("{} ORDER BY (org, minute) TTL {}", by_day("taken_at"), ttl("taken_at", 2)),
        ),
        table(
            "meter_sum",
            &format!(
                "{SERIES}, minute Int64, minute_revision Int64, taken_at Int64, meter String, charged UInt64, missing UInt64, exceeded UInt64"
            ),
            "MergeTree",
            &format!("{} ORDER BY (org, minute) TTL {}", by_day("taken_at"), ttl("taken_at", 2)),
        ),
        table(
            "rollup",
            &format!(
                "level Int16, {SERIES}, at Int64, revision Int64, {}, longest_micros SimpleAggregateFunction(max, UInt64), latencies SimpleAggregateFunction(sumMap, Map(UInt8, UInt64))",
                added(&sums)
            ),
            "AggregatingMergeTree",
            &format!("{rollup_key} TTL {by_level}"),
        ),
        table(
            "meter_rollup",
            &format!("level Int16, {SERIES}, at Int64, revision Int64, meter String, {}", added(&metered)),
            "AggregatingMergeTree",
            &format!("{metered_key} TTL {by_level}"),
        ),
        view(
            "rollup_of_sums",
            "rollup",
            "request_sum",
            SERIES_KEY,
            &format!(
                "{}, max(longest_micros) AS longest_micros, sumMap(latencies) AS latencies",
                summed(&sums)
            ),
        ),
        view(
            "meter_rollup_of_sums",
            "meter_rollup",
            "meter_sum",
            &format!("{SERIES_KEY}, meter"),
            &format!("meter, {}", summed(&metered)),
        ),
    ]
}
