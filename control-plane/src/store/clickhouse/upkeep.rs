//! What is too old, removed: days that nobody keeps as a whole, and of other days what one organization does not keep.
//!
//! To remove rows costs ClickHouse a part written anew, so it is done for whole days (UTC): a record stays up to a day longer than its
//! organization keeps it. Rollups, accounts and losses go by themselves (`schema.rs`). The invariant: nothing goes that is younger
//! than its organization keeps.

use std::collections::BTreeSet;

use clickhouse::Row;
use serde::Deserialize;

use super::ClickHouse;
use super::question::Question;
use crate::store::level::Level;
use crate::store::record_age::{self, Gone};
use crate::store::{StoreError, time_of};

const DAY: i64 = Level::Day.length();

#[derive(Row, Deserialize)]
struct Partition {
    partition: String,
}

#[derive(Row, Deserialize)]
struct OrgId {
    org: String,
}

#[derive(Row, Deserialize)]
struct Rows {
    rows: u64,
}

impl ClickHouse {
    pub(super) async fn remove_old(&self, now: i64) -> Result<Gone, StoreError> {
        let mut gone = Gone { days: self.drop_days(now).await?, ..Gone::default() };
        let question = Question::new("SELECT DISTINCT org FROM request_record");
        for OrgId { org } in self.ask::<OrgId>("find organizations with records", question).await? {
            gone.records += self.remove_of(&org, now).await?;
        }
        Ok(gone)
    }

    /// Days that are too old for every organization. A day holds what was stored on it.
    async fn drop_days(&self, now: i64) -> Result<u64, StoreError> {
        let question = Question::new(
            "SELECT DISTINCT partition FROM system.parts WHERE database = currentDatabase() AND table = 'request_record' AND active",
        );
        let there = self.ask::<Partition>("list days of records", question).await?;
        let days: BTreeSet<u32> = there.iter().filter_map(|row| row.partition.parse().ok()).collect();
        let mut dropped = 0;
        for day in days {
            // Read each time, as late as can be.
            let oldest = now.saturating_sub(record_age::longest(&self.central).await?);
            if day < number(oldest) {
                let statement = format!("ALTER TABLE request_record DROP PARTITION {day}");
                self.run("drop a day of records", Question::new(&statement)).await?;
                dropped += 1;
            }
        }
        Ok(dropped)
    }

    async fn remove_of(&self, org: &str, now: i64) -> Result<u64, StoreError> {
        let mut old = Question::new("org = ?");
        old.text(org);
        if let Some(kept) = record_age::kept(&self.central, org).await? {
            let before = now.saturating_sub(kept);
            let before = before - before.rem_euclid(DAY);
            // One from ahead of us goes by when it was stored.
            old.push(" AND (received_at < ? OR (received_at > ? AND stored_at < ?))");
            old.number(before).number(now.saturating_add(DAY)).number(before);
        }
        let question = old.behind("SELECT count() AS rows FROM request_record WHERE ");
        let rows = self.ask::<Rows>("find old records", question).await?.first().map_or(0, |row| row.rows);
        if rows > 0 {
            self.run("remove records", old.behind("DELETE FROM request_record WHERE ")).await?;
        }
        Ok(rows)
    }
}

/// The day that a time is in, UTC, as partitions have it.
fn number(micros: i64) -> u32 {
    let day = chrono::DateTime::<chrono::Utc>::from(time_of(micros)).format("%Y%m%d").to_string();
    day.parse().unwrap_or(0)
}
