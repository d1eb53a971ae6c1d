//! `telemetry-outage`: what becomes of records and sums of requests while the control plane is away and the node is killed;
//! and where its disk has no room for records.
//!
//! Real processes and real kills. What was stored is read from the database, beside what callers saw. What has to be exact is
//! checked, and a difference fails the bench with both numbers.

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rr_integration::caller::Caller;
use rr_integration::callers::{Answer, Callers, Tally};
use rr_integration::process::{Edge, admin};
use rr_integration::sample::{ORG, REGION, Sample};
use rr_integration::upstream::Upstream;
use rr_integration::wait::eventually;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{Connection as _, Row as _};
use tokio_stream::StreamExt as _;

use crate::report::Report;

/// What was answered so long before a kill is on disk: records are made sure of each 100 ms, on a machine that has
/// other things to do as well.
const SURE: Duration = Duration::from_secs(1);
const NAP: Duration = Duration::from_millis(50);
/// Nothing new for so long, and nothing waits: no more is to come. The node makes batches each 100 ms, and what is in them is added
/// up each 2 s.
const QUIET: Duration = Duration::from_secs(6);
/// Nothing new for so long, and something waits: it does not come.
const STUCK: Duration = Duration::from_secs(60);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Requests while the control plane is away, in each of both parts.
    #[arg(long, default_value_t = 30_000)]
    requests: u64,
    /// Connections of callers.
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// Room of the node for records in the part without room, in MiB.
    #[arg(long, default_value_t = 1)]
    room: u64,
}

/// A control plane, a node and callers.
struct Bench {
    sample: Sample,
    edge: Edge,
    tally: Arc<Tally>,
    path: String,
    _upstream: Upstream,
}

/// How far it is, as can be asked again and again.
#[derive(Debug, PartialEq, Eq)]
struct Progress {
    /// Of records.
    newest: u64,
    lost: u64,
    /// By minutes, hours and days.
    sums: [u64; 3],
    /// Batches of sums that are not added up yet.
    waiting: u64,
}

/// What is stored.
#[derive(Debug)]
struct Stored {
    ids: HashSet<String>,
    rows: u64,
    /// Requests that these stand for.
    recorded: u64,
    /// Reported as lost.
    lost: u64,
    /// By minutes, hours and days.
    sums: [u64; 3],
}

pub(crate) async fn run(args: Args, report: &mut Report) -> anyhow::Result<()> {
    let killed = killed(&args, report).await;
    let no_room = no_room(&args, report).await;
    killed.context("where the node is killed").and(no_room.context("where there is no room"))
}

impl Bench {
    async fn start(folder: &Path, settings: &[(&str, String)]) -> anyhow::Result<Self> {
        let upstream = Upstream::start_forgetful().await;
        let sample = Sample::start(folder, &upstream.url(), &[]).await?;
        let token = sample.api.node_token(REGION, &sample.keys, 1).await?;
        let state = folder.join("edge");
        let edge = Edge::start_with(&state, sample.control.fleet, token.to_secret().expose(), settings);
        edge.ready().await;
        let caller = Caller::new(edge.listen, &format!("{ORG}.echo"), &sample.key);
        let tally = Arc::<Tally>::default();
        eventually("the node serves", || async {
            let reply = caller.try_get("/").await.ok()?;
            (reply.status == 200).then_some(())
        })
        .await;
        let bench = Self { sample, edge, tally, path: format!("/api/{ORG}.echo/"), _upstream: upstream };
        Ok(bench)
    }

    /// Callers until so many more are answered.
    fn call(&self, count: u64, connections: usize) -> (Callers, u64) {
        let until = self.tally.answered() + count;
        let callers =
            Callers::start(self.edge.listen, &self.path, &self.sample.key, connections, &self.tally, until);
        (callers, until)
    }

    async fn database(&self) -> anyhow::Result<SqliteConnection> {
        let options = SqliteConnectOptions::new().filename(self.sample.control.database()).read_only(true);
        Ok(SqliteConnection::connect_with(&options).await?)
    }

    async fn progress(&self, database: &mut SqliteConnection) -> anyhow::Result<Progress> {
        let mut progress = Progress {
            newest: number(database, "SELECT newest FROM arrival WHERE id = 1").await?,
            lost: number(database, "SELECT coalesce(sum(records), 0) FROM record_loss").await?,
            sums: [0; 3],
            waiting: number(database, "SELECT count(*) FROM waiting_sum").await?,
        };
        // Coarser series are of the same requests.
        let sums = "SELECT r.level, sum(r.requests) FROM rollup r JOIN series s ON s.id = r.series WHERE s.detail = 0 GROUP BY r.level";
        for row in sqlx::query(sums).fetch_all(database).await? {
            let level: i64 = row.try_get(0)?;
            let place = usize::try_from(level - 1)?;
            progress.sums[place] = row.try_get::<i64, _>(1)?.unsigned_abs();
        }
        Ok(progress)
    }

    /// A metric of the node.
    async fn metric(&self, name: &str) -> anyhow::Result<u64> {
        let reply = admin(self.edge.admin, "/metrics").await?;
        let line = reply.text().lines().find(|line| line.starts_with(name)).map(str::to_owned);
        let value = line.and_then(|line| line.split_whitespace().last()?.parse::<f64>().ok());
        Ok(value.with_context(|| format!("no metric {name}"))? as u64)
    }

    /// Waits until nothing waits at the node or for being added up, and it stays so.
    async fn settled(&self) -> anyhow::Result<Stored> {
        let mut database = self.database().await?;
        let (mut before, mut since) = (self.progress(&mut database).await?, Instant::now());
        loop {
            tokio::time::sleep(NAP).await;
            let now = self.progress(&mut database).await?;
            let left = self.metric("requestrocket_edge_spool_bytes").await?;
            if now != before {
                (before, since) = (now, Instant::now());
            } else if left == 0 && now.waiting == 0 && since.elapsed() >= QUIET {
                break;
            }
            ensure!(
                since.elapsed() < STUCK,
                "something waits and does not come: {} sums, and {left} bytes at the node",
                before.waiting
            );
        }
        let Progress { lost, sums, .. } = before;
        let mut stored = Stored { ids: HashSet::new(), rows: 0, recorded: 0, lost, sums };
        let mut rows = sqlx::query("SELECT id, count FROM request_record").fetch(&mut database);
        while let Some(row) = rows.try_next().await? {
            stored.rows += 1;
            stored.recorded += row.try_get::<i64, _>(1)?.unsigned_abs();
            stored.ids.insert(row.try_get(0)?);
        }
        drop(rows);
        database.close().await?;
        Ok(stored)
    }
}

async fn number(database: &mut SqliteConnection, query: &'static str) -> anyhow::Result<u64> {
    let value: i64 = sqlx::query(query).fetch_one(database).await?.try_get(0)?;
    Ok(value.unsigned_abs())
}

/// The control plane away, the node killed twice meanwhile.
async fn killed(args: &Args, report: &mut Report) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    // Room for all of them: more than the node takes by itself.
    let room = [("RR_EDGE_SPOOL_QUOTA_MIB", "4096".to_owned())];
    let mut bench = Bench::start(folder.path(), &room).await?;
    // What came before is there, and is not counted.
    let first = bench.settled().await?;
    bench.sample.control.kill();
    let (callers, until) = bench.call(args.requests, args.connections);
    let mut kills = Vec::new();
    for third in 1..=2 {
        bench.tally.reach(args.requests * third / 3).await?;
        let begun = Instant::now();
        bench.edge.kill();
        kills.push((begun, Instant::now()));
        let taken = bench.edge;
        bench.edge = taken.restart();
    }
    bench.tally.reach(until).await?;
    callers.end().await?;
    bench.sample.control = bench.sample.control.restart().await;
    let stored = bench.settled().await?;

    let (answered, broken) = (bench.tally.answered(), bench.tally.broken());
    let counted = stored.sums[0] - first.sums[0];
    let recorded = stored.recorded - first.recorded;
    let lost = stored.lost - first.lost;
    let all = bench.tally.answered.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let is_near = |answer: &Answer| {
        kills.iter().any(|(begun, over)| answer.connected <= *over && answer.at + SURE > *begun)
    };
    let missing: Vec<_> = all.iter().filter(|answer| !stored.ids.contains(&answer.id)).collect();
    let near = missing.iter().filter(|answer| is_near(answer)).count();
    let metric = |name: &str| format!("killed, {name}");
    let refused = bench.tally.refused.load(Ordering::Relaxed);
    let note = "the control plane away all the time, the node killed twice";
    report.metric("outage", &metric("answered"), &[answered as f64], "", note);
    report.metric(
        "outage",
        &metric("not answered"),
        &[(broken + refused) as f64],
        "",
        "by a node that was killed",
    );
    report.metric("outage", &metric("records"), &[recorded as f64], "", "stored");
    report.metric("outage", &metric("records lost"), &[lost as f64], "", "as reported");
    report.metric(
        "outage",
        &metric("requests in sums"),
        &[counted as f64],
        "",
        "at most answered and broken off",
    );
    let gone = (answered + broken).saturating_sub(counted);
    report.metric(
        "outage",
        &metric("in no sum"),
        &[gone as f64],
        "",
        "of both kills; asked for: what 100 ms hold",
    );
    let note = "answered, without a record: within a second before a kill";
    report.metric("outage", &metric("without a record"), &[near as f64], "", note);
    let early = missing.len() - near;
    report.metric("outage", &metric("made sure of, missing"), &[early as f64], "", "asked for: 0");

    ensure!(stored.rows == stored.ids.len() as u64, "a record is there twice");
    ensure!(counted <= answered + broken, "{counted} requests in sums of {answered} and {broken}");
    ensure!(stored.sums == [stored.sums[0]; 3], "levels differ: {:?}", stored.sums);
    ensure!(recorded + lost == counted, "{recorded} records and {lost} lost are not {counted} in sums");
    // What is reported as lost is accounted for.
    ensure!(early as u64 <= lost, "{early} records that were on disk are missing, {lost} are told as lost");
    Ok(())
}

/// The control plane away, and no room for all records.
async fn no_room(args: &Args, report: &mut Report) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let settings = [("RR_EDGE_SPOOL_QUOTA_MIB", args.room.to_string())];
    let mut bench = Bench::start(folder.path(), &settings).await?;
    let first = bench.settled().await?;
    bench.sample.control.kill();
    let (callers, until) = bench.call(args.requests, args.connections);
    bench.tally.reach(until).await?;
    callers.end().await?;
    bench.sample.control = bench.sample.control.restart().await;
    let stored = bench.settled().await?;

    let (answered, broken) = (bench.tally.answered(), bench.tally.broken());
    let (counted, recorded) = (stored.sums[0] - first.sums[0], stored.recorded - first.recorded);
    let (lost, told) =
        (stored.lost - first.lost, bench.metric("requestrocket_edge_records_dropped_total").await?);
    let gone = answered.saturating_sub(recorded);
    let metric = |name: &str| format!("no room, {name}");
    let note = format!("the control plane away all the time, room of {} MiB at the node", args.room);
    report.metric("outage", &metric("answered"), &[answered as f64], "", &note);
    report.metric("outage", &metric("records"), &[recorded as f64], "", "stored");
    report.metric("outage", &metric("records gone"), &[gone as f64], "", "answered and not stored");
    report.metric(
        "outage",
        &metric("lost, control plane"),
        &[lost as f64],
        "",
        "as stored; asked for: those gone",
    );
    report.metric("outage", &metric("lost, node"), &[told as f64], "", "its metric; asked for: those gone");
    report.metric("outage", &metric("requests in sums"), &[counted as f64], "", "asked for: those answered");

    ensure!(broken == 0, "{broken} requests were not answered");
    ensure!(gone > 0, "there was room for all: ask for more requests");
    ensure!(counted == answered, "{counted} requests in sums of {answered}");
    ensure!(stored.sums == [stored.sums[0]; 3], "levels differ: {:?}", stored.sums);
    ensure!((lost, told) == (gone, gone), "{lost} and {told} told as lost, and {gone} are gone");
    Ok(())
}
