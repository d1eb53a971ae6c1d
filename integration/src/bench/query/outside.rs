//! The same day in ClickHouse: records, and sums of requests as batches bring them, which its own views add up.
//!
//! Rows are written in the engine's own binary format. Its server is one that runs one statement at a time, in a library: what is
//! measured is the engine, and the way to it.

use anyhow::ensure;
use rr_contract::model::latency::Latencies;
use rr_contract::wire::fleet;
use rr_contract::wire::management as mg;
use rr_contract::wire::management::region_service_client::RegionServiceClient;
use rr_integration::clickhouse::ClickHouse;
use rr_integration::sample::{REGION, Sample};

use super::loader::{Loader, Value};
use super::traffic::{Cast, DAY, Drawn, MINUTE, RECORD, Traffic, sums};
use super::{STORE, Sizes};

/// Requests of one insert.
const ROWS: usize = 50_000;
/// Columns of `request_sum`, in the order of `put_sum`.
const SUM: &str = "org, proxy, caller, region, code, rule, observed_rule, status, observed_denial, minute, minute_revision, taken_at, requests, aborted, request_bytes, response_bytes, micros, longest_micros, latencies";

/// From now on records of the sample's region go there.
pub(super) async fn chosen(sample: &Sample) -> anyhow::Result<()> {
    let region = mg::Region { record_store: STORE.to_owned(), ..mg::Region::default() };
    let ask = mg::UpdateRegionRequest { name: REGION.to_owned(), region: Some(region), update_mask: None };
    RegionServiceClient::new(sample.api.connection()).update_region(ask).await?;
    Ok(())
}

/// Writes the day.
pub(super) async fn load(
    server: &ClickHouse,
    central: &mut Loader,
    cast: &Cast,
    seed: u64,
    begin: i64,
    count: usize,
) -> anyhow::Result<Sizes> {
    let mut requests = Traffic::new(cast, seed, (begin, DAY), count);
    loop {
        let drawn: Vec<Drawn> = requests.by_ref().take(ROWS).collect();
        if drawn.is_empty() {
            break;
        }
        let mut rows = Vec::new();
        for region in 0..cast.regions.len() {
            let of_region: Vec<&Drawn> = drawn.iter().filter(|it| it.common.region == region).collect();
            for sum in sums(of_region, cast) {
                put_sum(&mut rows, &sum, &cast.regions[region], begin + DAY)?;
            }
        }
        server.insert(&format!("INSERT INTO request_sum ({SUM}) FORMAT RowBinary"), &rows);
        rows.clear();
        for drawn in drawn {
            drawn.row(cast).iter().for_each(|value| put(&mut rows, value));
        }
        let into = format!("INSERT INTO request_record ({}) FORMAT RowBinary", RECORD.join(", "));
        server.insert(&into, &rows);
    }
    central.run(&format!("UPDATE arrival SET newest = {count} WHERE id = 3")).await?;
    // What the server would do by itself in a while.
    for table in ["request_record", "rollup"] {
        server.run(&format!("OPTIMIZE TABLE {table} FINAL"));
    }
    let number = |question: &str| server.run(question).trim().parse::<i64>();
    let bytes = |table: &str| {
        number(&format!(
            "SELECT sum(bytes_on_disk) FROM system.parts WHERE database = currentDatabase() AND table = '{table}' AND active"
        ))
    };
    let written = number("SELECT count() FROM request_record")?;
    ensure!(written == count as i64, "{written} of {count} records");
    let mut rows = [0; 3];
    for (place, rows) in rows.iter_mut().enumerate() {
        let level = place + 1;
        *rows = number(&format!("SELECT count() FROM rollup WHERE level = {level}"))?.unsigned_abs();
    }
    let series = number(
        "SELECT uniqExact(proxy, caller, region, code, rule, observed_rule, status, observed_denial) FROM rollup WHERE level = 3",
    )?;
    Ok(Sizes {
        records: bytes("request_record")?,
        rollups: bytes("rollup")?,
        rows,
        series: usize::try_from(series)?,
    })
}

fn put(row: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Short(number) => row.extend(number.to_le_bytes()),
        Value::Int(number) => row.extend(number.to_le_bytes()),
        Value::Long(number) => row.extend(number.to_le_bytes()),
        Value::Bool(is_so) => row.push((*is_so).into()),
        Value::Text(text) => put_bytes(row, text.as_bytes()),
        Value::Bytes(bytes) => put_bytes(row, bytes),
    }
}

fn put_bytes(row: &mut Vec<u8>, bytes: &[u8]) {
    put_length(row, bytes.len());
    row.extend(bytes);
}

fn put_length(row: &mut Vec<u8>, mut length: usize) {
    while length >= 0x80 {
        row.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    row.push(length as u8);
}

fn put_sum(row: &mut Vec<u8>, sum: &fleet::Sum, region: &str, taken_at: i64) -> anyhow::Result<()> {
    let status = i32::try_from(sum.status)?;
    for text in [&*sum.org, &sum.proxy, &sum.caller_credential, region, &sum.code, &sum.rule, ""] {
        put_bytes(row, text.as_bytes());
    }
    row.extend(status.to_le_bytes());
    row.push(0);
    for number in [sum.minute.cast_signed() * MINUTE, sum.revision.cast_signed(), taken_at] {
        row.extend(number.to_le_bytes());
    }
    for number in [sum.requests, 0, sum.request_bytes, sum.response_bytes, sum.micros, sum.longest_micros] {
        row.extend(number.to_le_bytes());
    }
    let latencies = Latencies::decode(&sum.latencies)?;
    put_length(row, latencies.counts().len());
    for (bucket, count) in latencies.counts() {
        row.push(*bucket);
        row.extend(count.to_le_bytes());
    }
    Ok(())
}
