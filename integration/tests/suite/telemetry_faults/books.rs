//! What a control plane has stored, read from its database itself.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;

use rr_integration::postgres::Postgres;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, Connection as _, Row as _};

/// A database.
pub(super) enum Books {
    Sqlite(PathBuf),
    Postgres(Postgres),
}

/// Requests of each level, in the details with the fewest and the most.
const SUMS: &str = "SELECT level, CAST(min(requests) AS TEXT), CAST(max(requests) AS TEXT) FROM \
    (SELECT level, detail, sum(requests) AS requests FROM rollup JOIN series ON id = series GROUP BY level, detail) \
    AS each GROUP BY level";

/// What is stored.
#[derive(Debug, Default)]
pub(super) struct Stored {
    pub(super) ids: HashSet<String>,
    /// Rows of records, and requests that these stand for.
    pub(super) rows: u64,
    pub(super) recorded: u64,
    /// Requests in sums of minutes, hours and days.
    pub(super) sums: [u64; 3],
    /// Batches of sums that are not added up yet.
    pub(super) waiting: u64,
    /// Accounts of nodes, over all hours.
    pub(super) accounts: BTreeMap<String, u64>,
    /// By node and spool, up to where it is stored.
    pub(super) cursors: Vec<u64>,
}

impl Stored {
    pub(super) fn account(&self, what: &str) -> u64 {
        self.accounts.get(what).copied().unwrap_or_default()
    }

    pub(super) fn lost(&self, reason: &str) -> u64 {
        self.account(&format!("lost {reason}"))
    }

    /// Of whatever reason.
    pub(super) fn all_lost(&self) -> u64 {
        self.accounts.iter().filter(|(what, _)| what.starts_with("lost ")).map(|(_, count)| count).sum()
    }

    /// What has to stand still before all has come.
    pub(super) fn counts(&self) -> (u64, u64, u64, [u64; 3]) {
        (self.rows, self.recorded, self.waiting, self.sums)
    }
}

impl Books {
    pub(super) async fn execute(&self, statement: &str) {
        self.rows(statement).await;
    }

    pub(super) async fn stored(&self) -> Stored {
        let mut stored = self.counted().await;
        for row in self.rows("SELECT id FROM request_record").await {
            stored.ids.insert(row[0].clone());
        }
        stored
    }

    /// Without the ids of records.
    pub(super) async fn counted(&self) -> Stored {
        let number = |text: &String| text.parse::<u64>().unwrap_or_default();
        let mut stored = Stored::default();
        for row in
            self.rows("SELECT count(*), CAST(coalesce(sum(count), 0) AS TEXT) FROM request_record").await
        {
            (stored.rows, stored.recorded) = (number(&row[0]), number(&row[1]));
        }
        for row in self.rows(SUMS).await {
            // Where details differ none of them is right.
            let (least, most) = (number(&row[1]), number(&row[2]));
            stored.sums[number(&row[0]) as usize - 1] = if least == most { most } else { 0 };
        }
        for row in self.rows("SELECT what, CAST(sum(count) AS TEXT) FROM node_account GROUP BY what").await {
            stored.accounts.insert(row[0].clone(), number(&row[1]));
        }
        stored.waiting = number(&self.rows("SELECT count(*) FROM waiting_sum").await[0][0]);
        let cursors = self.rows("SELECT last FROM telemetry_cursor ORDER BY last").await;
        stored.cursors = cursors.iter().map(|row| number(&row[0])).collect();
        stored
    }

    async fn rows(&self, query: &str) -> Vec<Vec<String>> {
        match self {
            Self::Postgres(server) => {
                let answer = server.execute(query);
                answer.lines().map(|line| line.split('|').map(str::to_owned).collect()).collect()
            }
            Self::Sqlite(file) => {
                let options = SqliteConnectOptions::new().filename(file);
                let mut database = SqliteConnection::connect_with(&options).await.expect("opens");
                let rows = sqlx::query(AssertSqlSafe(query.to_owned())).fetch_all(&mut database).await;
                let text = |row: &sqlx::sqlite::SqliteRow, n: usize| {
                    row.try_get::<String, _>(n)
                        .or_else(|_| row.try_get::<i64, _>(n).map(|number| number.to_string()))
                        .expect("a text or a number")
                };
                let rows = rows.unwrap_or_else(|error| panic!("{query}: {error}"));
                let rows = rows.iter().map(|row| (0..row.len()).map(|n| text(row, n)).collect()).collect();
                database.close().await.expect("closes");
                rows
            }
        }
    }
}
