//! Accounts of nodes, and what they lost, read.

use clickhouse::Row;
use serde::Deserialize;

use super::ClickHouse;
use super::question::Question;
use super::rows;
use crate::store::StoreError;
use crate::store::account::{self, AccountFilter, Gap, NodeAccount};
use crate::store::entity::node_account::Model;
use crate::store::survey::{LOST_MOST, Loss, REASONS};

#[derive(Row, Deserialize)]
struct Count {
    node: String,
    region: String,
    at: i64,
    what: String,
    all: i64,
}

#[derive(Row, Deserialize)]
struct Lost {
    node: String,
    reason: String,
    all: i64,
}

impl ClickHouse {
    pub(super) async fn counts(
        &self,
        filter: &AccountFilter,
        most: u64,
    ) -> Result<Option<Vec<NodeAccount>>, StoreError> {
        let mut question =
            Question::new("SELECT node, region, at, what, sum(count) AS all FROM node_account WHERE 1");
        question.and_in("region", &filter.regions);
        question.push(" AND at >= ? AND at < ?").number(filter.after).number(filter.before);
        if let Some(node) = &filter.node {
            question.push(" AND node = ?").text(node);
        }
        question.push(" GROUP BY region, node, at, what ORDER BY region, node, at LIMIT ");
        question.push(&(most + 1).to_string());
        let rows = self.ask::<Count>("read accounts of nodes", question).await?;
        if rows.len() as u64 > most {
            return Ok(None);
        }
        let count = |Count { node, region, at, what, all }| Model { node, region, at, what, count: all };
        Ok(Some(account::folded(rows.into_iter().map(count))))
    }

    pub(super) async fn told_gaps(
        &self,
        nodes: &[&str],
        filter: &AccountFilter,
        most: u64,
    ) -> Result<Vec<Gap>, StoreError> {
        let mut question =
            Question::new("SELECT node, records, from_at, to_at, reason, stored_at FROM record_loss WHERE 1");
        question.and_in("node", nodes);
        question.push(" AND stored_at >= ? AND stored_at < ?").number(filter.after).number(filter.before);
        question.push(" ORDER BY stored_at DESC LIMIT ").push(&most.to_string());
        let gap = |row: rows::Loss| Gap {
            node: row.node,
            from: row.from_at,
            to: row.to_at,
            records: u64::try_from(row.records).unwrap_or(0),
            reason: row.reason,
            told: row.stored_at,
        };
        Ok(self.ask::<rows::Loss>("read losses", question).await?.into_iter().map(gap).collect())
    }

    pub(super) async fn told_losses(&self, from: i64) -> Result<Vec<Loss>, StoreError> {
        let mut question = Question::new(
            "SELECT node, reason, sum(least(records, ?)) AS all FROM record_loss WHERE stored_at >= ? AND records > 0",
        );
        question.number(LOST_MOST).number(from).and_in("reason", &REASONS);
        question.push(" GROUP BY node, reason ORDER BY node, reason");
        let loss = |row: Lost| Loss { node: row.node, reason: row.reason, records: row.all };
        Ok(self.ask::<Lost>("read losses", question).await?.into_iter().map(loss).collect())
    }
}
