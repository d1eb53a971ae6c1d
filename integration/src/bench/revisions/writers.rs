//! Writes by many at once, and what the same engine does without the plane.
//!
//! Judges what it sees: a gap, a revision seen twice or out of order is a panic, not a figure.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use prost::Message as _;
use rr_contract::model::id::{OrgId, TargetId};
use rr_contract::runtime::Tasks;
use rr_contract::wire::management::{Document, Target, document};
use rr_control_plane::store_alone::{StoreAlone, connect_options};
use rr_control_plane::{DatabaseAddress, StoreError};
use sea_orm::{
    ConnectionTrait as _, Database, DatabaseConnection, DatabaseTransaction, SqliteTransactionMode,
    Statement, TransactionOptions, TransactionTrait as _,
};

/// One write in so many is given up after it staged.
const ABORTED: u64 = 10;
/// How long a bare client waits for its turn.
const BARE_PATIENCE: Duration = Duration::from_secs(120);
const BARE_TABLE: &str = "CREATE TABLE IF NOT EXISTS bare (client BIGINT, n BIGINT, body TEXT)";
/// In whose name it is written.
const TOKEN: &str = "tk_bench";

/// A database, open for both ways of writing.
pub(super) struct Revisions {
    store: Arc<StoreAlone>,
    bare: DatabaseConnection,
    tasks: Tasks,
    round: AtomicU64,
}

/// What a round came to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Round {
    /// How many were committed.
    pub(super) commits: u64,
    /// In which time, all writers together.
    pub(super) took: Duration,
}

impl Round {
    /// Commits a second.
    pub(super) fn rate(&self) -> f64 {
        self.commits as f64 / self.took.as_secs_f64()
    }
}

impl Revisions {
    /// Opens a database, which is made when it is not there.
    pub(super) async fn open(address: &DatabaseAddress, clients: u32) -> Result<Self> {
        let store = Arc::new(StoreAlone::open(address).await?);
        let mut options = connect_options(address);
        options.max_connections(clients).acquire_timeout(BARE_PATIENCE);
        let bare = Database::connect(options).await?;
        bare.execute_unprepared(BARE_TABLE).await?;
        Ok(Self { store, bare, tasks: Tasks::new(), round: AtomicU64::new(0) })
    }

    /// One row a transaction, each client on a connection of its own, and nothing else.
    pub(super) async fn bare(&self, clients: u64, each: u64) -> Result<Round> {
        let started = Instant::now();
        let mut all = Vec::new();
        for client in 0..clients {
            let database = self.bare.clone();
            all.push(self.tasks.spawn("bare", async move {
                for n in 0..each {
                    let insert = Statement::from_sql_and_values(
                        database.get_database_backend(),
                        "INSERT INTO bare (client, n, body) VALUES ($1, $2, $3)",
                        [as_row(client).into(), as_row(n).into(), "x".repeat(200).into()],
                    );
                    let tx = begin(&database).await?;
                    tx.execute_raw(insert).await?;
                    tx.commit().await?;
                }
                anyhow::Ok(())
            }));
        }
        for client in all {
            client.await.expect("no client panics")?;
        }
        Ok(Round { commits: clients * each, took: started.elapsed() })
    }

    /// Every write publishes one resource; one in ten is given up. A tailer reads along.
    pub(super) async fn published(&self, writers: u64, each: u64) -> Result<Round> {
        let round = self.round.fetch_add(1, Ordering::Relaxed);
        let first = self.store.head().await?;
        let (enough, until) = tokio::sync::watch::channel(None);
        let tailer = self.tasks.spawn("tailer", tail(Arc::clone(&self.store), first, until));
        let started = Instant::now();
        let mut all = Vec::new();
        for writer in 0..writers {
            let store = Arc::clone(&self.store);
            all.push(self.tasks.spawn("writer", write_many(store, round, writer, each)));
        }
        let mut numbers = Vec::new();
        for writer in all {
            let mine = writer.await.expect("no writer panics")?;
            assert!(mine.is_sorted(), "one writer sees its own revisions in order");
            numbers.extend(mine);
        }
        let took = started.elapsed();
        numbers.sort_unstable();
        let last = self.store.head().await?;
        assert_eq!(
            numbers,
            (first + 1..=last).collect::<Vec<_>>(),
            "each write is one revision, without gaps"
        );
        enough.send_replace(Some(last));
        let seen = tailer.await.expect("the tailer does not panic")?;
        assert_eq!(seen, numbers, "the tailer sees each once and in order");
        Ok(Round { commits: last - first, took })
    }

    /// Closes the database.
    pub(super) async fn close(self) {
        self.tasks.wait(BARE_PATIENCE).await;
        self.store.close().await;
        // What is left of it ends with this process.
        self.bare.close().await.ok();
    }
}

async fn write_many(store: Arc<StoreAlone>, round: u64, writer: u64, each: u64) -> Result<Vec<u64>> {
    let mut mine = Vec::new();
    for n in 0..each {
        let number = (round * 1000 + writer) * 1_000_000 + n;
        let (target, payload) = target(number);
        // Spread, and the same in each run.
        let aborts = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let aborts = aborts.is_multiple_of(ABORTED);
        let outcome = if aborts { Err(StoreError::Damaged("bench, on purpose")) } else { Ok(()) };
        match store.publish(TOKEN, target, payload, outcome).await {
            Ok(revision) => mine.push(revision.expect("it published")),
            Err(StoreError::Damaged(_)) if aborts => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(mine)
}

/// On SQLite one client may be passed over for longer than a connection waits; then it waits again.
async fn begin(database: &DatabaseConnection) -> Result<DatabaseTransaction> {
    let since = Instant::now();
    loop {
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..Default::default()
        };
        match database.begin_with_options(options).await {
            Err(_busy) if since.elapsed() < BARE_PATIENCE => {}
            ended => return Ok(ended?),
        }
    }
}

/// Follows what is committed, as the publisher does, until it has seen the last revision.
async fn tail(
    store: Arc<StoreAlone>,
    first: u64,
    mut until: tokio::sync::watch::Receiver<Option<u64>>,
) -> Result<Vec<u64>> {
    let mut committed = store.committed();
    let (mut at, mut seen) = (first, Vec::new());
    loop {
        let news = store.since(at, 500).await?;
        if let Some(to) = news.to {
            seen.extend(news.revisions);
            at = to;
            continue;
        }
        let end = *until.borrow_and_update();
        if end.is_some_and(|end| at >= end) {
            return Ok(seen);
        }
        tokio::select! {
            _ = committed.changed() => {}
            _ = until.changed() => {}
        }
    }
}

/// A target, and what stands for its payload.
fn target(number: u64) -> (Target, Vec<u8>) {
    let mut bytes = [0; 16];
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    let target = Target {
        id: TargetId::from_random(bytes).to_string(),
        org: OrgId::from_random([0; 16]).to_string(),
        name: format!("target-{number}"),
        base_url: "https://api.upstream.example/v1/tenants/acme".to_owned(),
        ..Target::default()
    };
    let document = Document { resource: Some(document::Resource::Target(target.clone())) }.encode_to_vec();
    (target, [b"payload".as_slice(), &document].concat())
}

fn as_row(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use rr_control_plane::DatabaseAddress;
    use rr_integration::postgres::Postgres;

    use super::Revisions;

    #[tokio::test(flavor = "multi_thread")]
    async fn sixteen_writers_that_give_up_at_times_leave_no_gap_and_a_tailer_sees_each_revision_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let server = Postgres::start();
        assert!(server.is_some() || std::env::var_os("CI").is_none(), "CI has a server");
        let mut addresses = vec![DatabaseAddress::Sqlite(folder.path().join("control.db"))];
        addresses.extend(server.as_ref().map(|server| DatabaseAddress::Postgres(server.address())));
        for address in addresses {
            let revisions = Revisions::open(&address, 2).await.expect("opens");
            for _ in 0..2 {
                let round = revisions.published(16, 25).await.expect("is written");
                assert!((300..400).contains(&round.commits), "{} of 400 were not given up", round.commits);
            }
            assert_eq!(revisions.bare(2, 5).await.expect("is written").commits, 10);
            revisions.close().await;
        }
    }
}
