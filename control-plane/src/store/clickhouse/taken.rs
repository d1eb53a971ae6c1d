//! Batches, taken: begun in the central database, written here, ended there.
//!
//! The invariant: the rows of a batch come out the same each time that it comes, whatever the clock says meanwhile.

use std::collections::BTreeMap;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, try_join_all};
use rr_contract::model::latency::Latencies;
use rr_contract::wire::fleet;

use super::ClickHouse;
use super::rows::{Account, Loss, MeterSum, Record, Sum};
use crate::store::cursor::Spool;
use crate::store::level::Level;
use crate::store::outside_cursor::{self, Begun};
use crate::store::request::{Ingest, Ingested, RecordLoss, Served};
use crate::store::sums::{column, place};
use crate::store::{StoreError, account};

/// What one batch inserts.
struct Rows {
    records: Vec<Record>,
    losses: Vec<Loss>,
    accounts: Vec<Account>,
    sums: Vec<Sum>,
    metered: Vec<MeterSum>,
    stored: u64,
    foreign: u64,
}

impl ClickHouse {
    pub(super) async fn take_batch(&self, batch: Ingest, served: Served) -> Result<Ingested, StoreError> {
        let sequence = i64::try_from(batch.sequence).map_err(|_| StoreError::Damaged("telemetry cursor"))?;
        let cursor = self.place(&Spool { node: batch.node.clone(), spool: batch.spool.clone() });
        let (since, records) = (batch.since, batch.records.len() + batch.begun.len());
        let it = cursor.clone();
        let begun = self.central.note(move |txn| {
            Box::pin(async move { outside_cursor::begin(txn, &it, sequence, since, records).await })
        });
        let (first, at) = match begun.await? {
            Begun::At(first, at) => (first, at),
            Begun::Duplicate(last) => return Ok(Ingested::Duplicate(last)),
            Begun::Expected(next) => return Ok(Ingested::Expected(next)),
            Begun::Elsewhere => return Ok(Ingested::Elsewhere),
        };
        let token = format!("{}/{}/{sequence}", batch.node, data_encoding::HEXLOWER.encode(&batch.spool));
        let rows = Rows::of(batch, &served, (first, at));
        self.write(&token, &rows).await?;
        let ended = self
            .central
            .note(move |txn| Box::pin(async move { outside_cursor::end(txn, &cursor, sequence).await }));
        if ended.await? {
            return Ok(Ingested::Stored { stored: rows.stored, foreign: rows.foreign });
        }
        // It came by another connection at the same time, and what was written here was the same.
        Ok(Ingested::Duplicate(sequence.unsigned_abs()))
    }

    async fn write(&self, token: &str, rows: &Rows) -> Result<(), StoreError> {
        let inserts: [BoxFuture<'_, Result<(), StoreError>>; 5] = [
            self.insert("write records", "request_record", token, &rows.records).boxed(),
            self.insert("write losses", "record_loss", token, &rows.losses).boxed(),
            self.insert("write accounts of nodes", "node_account", token, &rows.accounts).boxed(),
            self.insert("write sums", "request_sum", token, &rows.sums).boxed(),
            self.insert("write sums of meters", "meter_sum", token, &rows.metered).boxed(),
        ];
        try_join_all(inserts).await.map(drop)
    }
}

impl Rows {
    fn of(batch: Ingest, served: &Served, (first, at): (i64, i64)) -> Self {
        let is_served = |org: &str, proxy: &str| served.contains(&(org.to_owned(), proxy.to_owned()));
        let Ingest { node, region, mut records, mut begun, losses, mut sums, .. } = batch;
        let all = records.len() as u64;
        records.retain(|row| is_served(&row.org, &row.proxy));
        begun.retain(|row| is_served(&row.org, &row.proxy));
        let stored = records.len() as u64;
        let counted = records.iter().map(|row| row.count.unsigned_abs()).fold(0, u64::saturating_add);
        let made = sums.iter().map(|sum| sum.requests).fold(0, u64::saturating_add);
        sums.retain(|sum| is_served(&sum.org, &sum.proxy));
        let told: Vec<fleet::Dropped> = losses.iter().map(RecordLoss::counted).collect();
        // One of each: the table adds up what is alike.
        let mut counts: BTreeMap<String, i64> = BTreeMap::new();
        for (what, count) in account::counts([made, counted, all - stored], &told) {
            let sum = counts.entry(what).or_default();
            *sum = sum.saturating_add(count);
        }
        let account = |(what, count)| Account {
            node: node.clone(),
            at: Level::Hour.begin(at),
            what,
            region: region.clone(),
            count,
        };
        let loss = |loss: RecordLoss| Loss {
            node: node.clone(),
            records: i64::try_from(loss.records).unwrap_or(i64::MAX),
            from_at: loss.from,
            to_at: loss.to,
            reason: loss.reason,
            stored_at: at,
        };
        let numbered = (first..).zip(records.into_iter().chain(begun)).map(|(arrival, mut row)| {
            (row.arrival, row.stored_at) = (arrival, at);
            Record::from(row)
        });
        Self {
            records: numbered.collect(),
            losses: losses.into_iter().filter(|loss| !loss.is_sampled()).map(loss).collect(),
            accounts: counts.into_iter().map(account).collect(),
            metered: sums.iter().flat_map(|sum| metered(sum, &region, at)).collect(),
            sums: sums.iter().map(|it| sum(it, &region, at)).collect(),
            stored,
            foreign: all - stored,
        }
    }
}

fn bounded(number: u64) -> u64 {
    column(number).unsigned_abs()
}

fn sum(sum: &fleet::Sum, region: &str, at: i64) -> Sum {
    let (minute, minute_revision) = place(at, sum);
    Sum {
        org: sum.org.clone(),
        proxy: sum.proxy.clone(),
        caller: sum.caller_credential.clone(),
        region: region.to_owned(),
        code: sum.code.clone(),
        rule: sum.rule.clone(),
        observed_rule: sum.observed_rule.clone(),
        status: i32::try_from(sum.status).unwrap_or(0),
        observed_denial: sum.observed_denial,
        minute,
        minute_revision,
        taken_at: at,
        requests: bounded(sum.requests),
        aborted: bounded(sum.aborted),
        request_bytes: bounded(sum.request_bytes),
        response_bytes: bounded(sum.response_bytes),
        micros: bounded(sum.micros),
        longest_micros: bounded(sum.longest_micros),
        latencies: Latencies::decode(&sum.latencies).unwrap_or_default().counts().to_vec(),
    }
}

fn metered(of: &fleet::Sum, region: &str, at: i64) -> Vec<MeterSum> {
    if of.meters.is_empty() {
        return Vec::new();
    }
    let sum = sum(of, region, at);
    let metered = |meter: &fleet::MeterSum| {
        let sum = sum.clone();
        MeterSum {
            org: sum.org,
            proxy: sum.proxy,
            caller: sum.caller,
            region: sum.region,
            code: sum.code,
            rule: sum.rule,
            observed_rule: sum.observed_rule,
            status: sum.status,
            observed_denial: sum.observed_denial,
            minute: sum.minute,
            minute_revision: sum.minute_revision,
            taken_at: sum.taken_at,
            meter: meter.meter.clone(),
            charged: bounded(meter.charged_millionths),
            missing: bounded(meter.missing),
            exceeded: bounded(meter.exceeded),
        }
    };
    of.meters.iter().map(metered).collect()
}
