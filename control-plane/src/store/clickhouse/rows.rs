//! Rows as ClickHouse takes and gives them. Each field has the name of its column.

use clickhouse::Row;
use serde::{Deserialize, Serialize};

use crate::store::request_row;

/// A record.
#[derive(Debug, Clone, Row, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) id: String,
    pub(super) org: String,
    pub(super) proxy: String,
    pub(super) received_at: i64,
    pub(super) stored_at: i64,
    pub(super) node: String,
    pub(super) region: String,
    pub(super) status: i32,
    pub(super) code: String,
    #[serde(with = "serde_bytes")]
    pub(super) record: Vec<u8>,
    pub(super) count: u64,
    pub(super) caller: String,
    pub(super) path: String,
    pub(super) rule: String,
    pub(super) arrival: i64,
}

/// What a node lost.
#[derive(Debug, Clone, Row, Serialize, Deserialize)]
pub(super) struct Loss {
    pub(super) node: String,
    pub(super) records: i64,
    pub(super) from_at: i64,
    pub(super) to_at: i64,
    pub(super) reason: String,
    pub(super) stored_at: i64,
}

/// One count of one hour.
#[derive(Debug, Clone, Row, Serialize, Deserialize)]
pub(super) struct Account {
    pub(super) node: String,
    pub(super) at: i64,
    pub(super) what: String,
    pub(super) region: String,
    pub(super) count: i64,
}

/// What requests of a series and a minute add up to, as one batch has it.
#[derive(Debug, Clone, Row, Serialize)]
pub(super) struct Sum {
    pub(super) org: String,
    pub(super) proxy: String,
    pub(super) caller: String,
    pub(super) region: String,
    pub(super) code: String,
    pub(super) rule: String,
    pub(super) observed_rule: String,
    pub(super) status: i32,
    pub(super) observed_denial: bool,
    pub(super) minute: i64,
    pub(super) minute_revision: i64,
    pub(super) taken_at: i64,
    pub(super) requests: u64,
    pub(super) aborted: u64,
    pub(super) request_bytes: u64,
    pub(super) response_bytes: u64,
    pub(super) micros: u64,
    pub(super) longest_micros: u64,
    pub(super) latencies: Vec<(u8, u64)>,
}

/// What a meter counted of them.
#[derive(Debug, Clone, Row, Serialize)]
pub(super) struct MeterSum {
    pub(super) org: String,
    pub(super) proxy: String,
    pub(super) caller: String,
    pub(super) region: String,
    pub(super) code: String,
    pub(super) rule: String,
    pub(super) observed_rule: String,
    pub(super) status: i32,
    pub(super) observed_denial: bool,
    pub(super) minute: i64,
    pub(super) minute_revision: i64,
    pub(super) taken_at: i64,
    pub(super) meter: String,
    pub(super) charged: u64,
    pub(super) missing: u64,
    pub(super) exceeded: u64,
}

/// Requests of a series and a step.
#[derive(Debug, Clone, Row, Deserialize)]
pub(super) struct Cell {
    pub(super) step_at: i64,
    pub(super) key_a: String,
    pub(super) key_b: String,
    pub(super) key_c: String,
    pub(super) all_requests: u64,
    pub(super) errors: u64,
    pub(super) denials: u64,
    pub(super) observed_denials: u64,
    pub(super) all_aborted: u64,
    pub(super) all_request_bytes: u64,
    pub(super) all_response_bytes: u64,
    pub(super) all_micros: u64,
    pub(super) longest: u64,
    pub(super) all_latencies: Vec<(u8, u64)>,
}

/// What a meter counted of a series and a step.
#[derive(Debug, Clone, Row, Deserialize)]
pub(super) struct MeterCell {
    pub(super) step_at: i64,
    pub(super) key_a: String,
    pub(super) key_b: String,
    pub(super) key_c: String,
    pub(super) meter: String,
    pub(super) all_charged: u64,
    pub(super) all_missing: u64,
    pub(super) all_exceeded: u64,
}

/// Requests of a proxy.
#[derive(Debug, Clone, Row, Deserialize)]
pub(super) struct Counted {
    pub(super) proxy: String,
    pub(super) before: u64,
}

/// What requests of a proxy, a region and a class add up to.
#[derive(Debug, Clone, Row, Deserialize)]
pub(super) struct Exposed {
    pub(super) proxy: String,
    pub(super) region: String,
    pub(super) class: i32,
    pub(super) all_requests: u64,
    pub(super) all_request_bytes: u64,
    pub(super) all_response_bytes: u64,
    pub(super) all_micros: u64,
    pub(super) all_latencies: Vec<(u8, u64)>,
}

impl From<request_row::Model> for Record {
    fn from(row: request_row::Model) -> Self {
        let request_row::Model {
            id,
            org,
            proxy,
            received_at,
            stored_at,
            node,
            region,
            status,
            code,
            record,
            count,
            caller,
            path,
            rule,
            arrival,
        } = row;
        let count = count.unsigned_abs();
        Self {
            id,
            org,
            proxy,
            received_at,
            stored_at,
            node,
            region,
            status,
            code,
            record,
            count,
            caller,
            path,
            rule,
            arrival,
        }
    }
}

impl From<Record> for request_row::Model {
    fn from(row: Record) -> Self {
        let Record {
            id,
            org,
            proxy,
            received_at,
            stored_at,
            node,
            region,
            status,
            code,
            record,
            count,
            caller,
            path,
            rule,
            arrival,
        } = row;
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        Self {
            id,
            org,
            proxy,
            received_at,
            stored_at,
            node,
            region,
            status,
            code,
            record,
            count,
            caller,
            path,
            rule,
            arrival,
        }
    }
}
