//! `telemetry`: how many records a second a node's spool takes on one processor, and how many a control plane takes of one
//! node, sums and all.
//!
//! The spool is that of every node, on a real disk; the control plane is a real `rr-control` behind its fleet port. What it
//! took is checked by what its metrics add up to.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, ensure};
use rr_contract::seam::Seams;
use rr_contract::secret::Secret;
use rr_contract::wire::fleet;
use rr_contract::wire::management as mg;
use rr_contract::wire::management::metrics_service_client::MetricsServiceClient;
use rr_data_plane::bench::RecordSpool;
use rr_integration::fleet::Uploader;
use rr_integration::postgres::Postgres;
use rr_integration::sample::{ORG, REGION, Sample};
use rr_integration::wait::DEADLINE;
use tokio::task::block_in_place;

use crate::machine;
use crate::management::ORIGIN;
use crate::query::cast;
use crate::query::traffic::{MINUTE, Traffic, sums};
use crate::report::Report;

/// As nodes make them.
const BATCH: usize = 512;
const WINDOW: u64 = 8;
/// More than is written here.
const QUOTA: u64 = 8 << 30;
const NAP: Duration = Duration::from_micros(500);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Records of a round into the spool. 0 leaves it out.
    #[arg(long, default_value_t = 500_000)]
    spooled: u64,
    /// Workers that record, each with a queue of its own.
    #[arg(long, default_value_t = 2)]
    workers: usize,
    /// Batches of 512 records in a round of uploads. 0 leaves it out.
    #[arg(long, default_value_t = 200)]
    batches: usize,
    /// Rounds of each.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// The processor of the spool and of who records.
    #[arg(long, default_value_t = 0)]
    processor: usize,
    /// `sqlite` or `postgres`; both when not given.
    #[arg(long)]
    engine: Option<String>,
    /// The same seed gives the same records.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub(crate) async fn run(args: Args, report: &mut Report) -> anyhow::Result<()> {
    if args.spooled > 0 {
        block_in_place(|| spool(&args, report))?;
    }
    let wanted = |engine: &str| args.engine.as_deref().is_none_or(|said| said == engine);
    if args.batches > 0 && wanted("sqlite") {
        ingest(&args, "sqlite", &[], 10_000, report).await?;
    }
    if args.batches > 0 && wanted("postgres") {
        let server =
            Postgres::start().context("no `postgres` and `initdb` in PATH or /usr/lib/postgresql")?;
        let variables = [("RR_CONTROL_DATABASE", server.address())];
        ingest(&args, "postgres", &variables, 20_000, report).await?;
    }
    Ok(())
}

/// On a thread of its own that is pinned, and with it the spool's, which it starts.
fn spool(args: &Args, report: &mut Report) -> anyhow::Result<()> {
    let (mut rate, mut busy, mut size) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=args.rounds {
        let folder = tempfile::tempdir()?;
        let (took, spent, bytes) = machine::on(args.processor, || spool_round(args, folder.path()))??;
        let count = args.spooled as f64;
        rate.push(count / took);
        busy.push(spent / count * 1e6);
        size.push(bytes as f64 / count);
        report.round("spool", round, rate[round - 1], "1/s");
    }
    let note = format!(
        "{} records of {} workers, one processor for these and the spool, written and synced; asked for: at least 100,000",
        args.spooled, args.workers
    );
    report.metric("telemetry", "spool", &rate, "1/s", &note);
    let note = "processor time, of making it, of the sums and of the disk too";
    report.metric("telemetry", "spool, a record", &busy, "us", note);
    report.metric("telemetry", "spool, size of a record", &size, "bytes", "on disk, sealed");
    Ok(())
}

/// Seconds, seconds of the processor, and bytes.
fn spool_round(args: &Args, folder: &Path) -> anyhow::Result<(f64, f64, u64)> {
    let key = Secret::new(vec![3; 32]);
    let spool = RecordSpool::start(&folder.join("spool"), &key, QUOTA, args.workers, Seams::real())?;
    let (spent, started) = (machine::spent_here()?, Instant::now());
    let mut next = 0;
    while next < args.spooled {
        let worker = next as usize % args.workers;
        if spool.push(worker, next) {
            next += 1;
        } else {
            // The spool's thread is on the same processor.
            std::thread::park_timeout(NAP);
        }
    }
    let (dropped, bytes) = spool.finish();
    let took = started.elapsed().as_secs_f64();
    ensure!(dropped == 0, "{dropped} records were lost");
    Ok((took, machine::spent_here()? - spent, bytes))
}

async fn ingest(
    args: &Args,
    engine: &str,
    variables: &[(&str, String)],
    asked: u64,
    report: &mut Report,
) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let sample = Sample::start(folder.path(), ORIGIN, variables).await?;
    let cast = cast(&sample, args.seed).await?;
    let token = sample.api.node_token(REGION, &sample.keys, 1).await?;
    let mut node = Uploader::open(&sample.place, &token, WINDOW).await?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_micros();
    let begin = i64::try_from(now)? - 30 * MINUTE;
    // One round more, which does not count. As close to each other as at the rate that is asked for.
    let count = args.batches * BATCH * (args.rounds + 1);
    let length = (count as u64 * 1_000_000 / asked).cast_signed();
    let mut traffic = Traffic::new(&cast, args.seed, (begin, length), count);
    let (mut rate, mut each) = (Vec::new(), Vec::new());
    for round in 0..=args.rounds {
        let mut batches = Vec::with_capacity(args.batches);
        for _ in 0..args.batches {
            let drawn: Vec<_> = traffic.by_ref().take(BATCH).collect();
            batches.push(fleet::Batch {
                records: drawn.iter().map(|it| it.record(&cast)).collect(),
                sums: sums(&drawn, &cast),
                ..fleet::Batch::default()
            });
        }
        each.extend(batches.iter().map(|batch| batch.sums.len() as f64));
        let started = Instant::now();
        if let Err(error) = node.upload(&batches).await {
            // A batch that is not taken is a figure too, and does not take the others with it.
            report.metric("telemetry", &format!("{engine} ingest"), &[], "1/s", &format!("FAILS: {error}"));
            return Ok(());
        }
        let took = started.elapsed().as_secs_f64();
        if round > 0 {
            rate.push((args.batches * BATCH) as f64 / took);
            report.round(&format!("{engine} ingest"), round, rate[round - 1], "1/s");
        }
    }
    let stored = Instant::now();
    added_up(&sample, count as u64).await?;
    let note = format!(
        "records of one node, batches of {BATCH} with their sums, {WINDOW} under way; asked for: at least {asked}"
    );
    report.metric("telemetry", &format!("{engine} ingest"), &rate, "1/s", &note);
    report.metric("telemetry", &format!("{engine} sums of a batch"), &each, "", "200 proxies, 5 callers");
    let behind = stored.elapsed().as_secs_f64();
    report.metric(
        "telemetry",
        &format!("{engine} sums behind"),
        &[behind],
        "s",
        "until metrics have all of it",
    );
    Ok(())
}

/// Waits until metrics have so many requests, and no more.
async fn added_up(sample: &Sample, count: u64) -> anyhow::Result<()> {
    let mut metrics = MetricsServiceClient::new(sample.api.connection());
    let (mut seen, mut since) = (0, Instant::now());
    loop {
        let ask = mg::QueryMetricsRequest { org: ORG.to_owned(), ..mg::QueryMetricsRequest::default() };
        let answer = metrics.query_metrics(ask).await?.into_inner();
        let all = answer.all.and_then(|all| all.total).map_or(0, |total| total.requests);
        ensure!(all <= count, "metrics have {all} requests of {count}");
        if all == count {
            return Ok(());
        }
        if all > seen {
            (seen, since) = (all, Instant::now());
        }
        ensure!(since.elapsed() < DEADLINE, "metrics stand at {all} requests of {count}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
