//! `propagation`: from a write's reply to the first request that it decides, at one real node; to the last of many light
//! nodes; and what a change of one resource costs a node in bytes.
//!
//! Nothing is subtracted from a time. Bytes are counted at the socket, TLS and all.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rr_integration::caller::{Caller, Kept};
use rr_integration::postgres::Postgres;
use rr_integration::process::Edge;
use rr_integration::sample::{ORG, REGION, Sample};
use rr_integration::upstream::Upstream;
use rr_integration::wait::eventually;
use tokio::time::timeout;

use crate::load;
use crate::report::Report;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Changes at one real node, on each engine.
    #[arg(long, default_value_t = 300)]
    changes: usize,
    /// Light nodes. 0 leaves that part out.
    #[arg(long, default_value_t = 1000)]
    nodes: usize,
    /// Changes that all of them take.
    #[arg(long, default_value_t = 100)]
    fleet_changes: usize,
    /// Part of the standard load for the bytes of a change, in percent. 0 leaves it out.
    #[arg(long, default_value_t = 100)]
    percent: usize,
    /// `sqlite` or `postgres`; both when not given.
    #[arg(long)]
    engine: Option<String>,
    /// The same seed gives the same load.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Longer than anything that is measured here takes.
const LIMIT: Duration = Duration::from_secs(30);
/// Nodes whose bytes are counted, and changes.
const COUNTED: (usize, usize) = (3, 20);

pub(crate) async fn run(args: Args, report: &mut Report) -> anyhow::Result<()> {
    let wanted = |engine: &str| args.engine.as_deref().is_none_or(|said| said == engine);
    load::enough_files(args.nodes)?;
    if wanted("sqlite") {
        engine(&args, "sqlite", &[], report).await?;
    }
    if wanted("postgres") {
        let server =
            Postgres::start().context("no `postgres` and `initdb` in PATH or /usr/lib/postgresql")?;
        engine(&args, "postgres", &[("RR_CONTROL_DATABASE", server.address())], report).await?;
    }
    bytes(&args, 0, report).await?;
    if args.percent > 0 {
        bytes(&args, args.percent, report).await?;
    }
    Ok(())
}

async fn engine(
    args: &Args,
    engine: &str,
    variables: &[(&str, String)],
    report: &mut Report,
) -> anyhow::Result<()> {
    let (folder, upstream) = (tempfile::tempdir()?, Upstream::start_forgetful().await);
    let sample = Sample::start(folder.path(), &upstream.url(), variables).await?;
    let token = sample.api.node_token(REGION, &sample.keys, 1).await?;
    let edge = Edge::start(&folder.path().join("edge"), sample.control.fleet, token.to_secret().expose());
    edge.ready().await;
    let caller = Caller::new(edge.listen, &format!("{ORG}.echo"), &sample.key);
    eventually("the first call is answered", || async {
        (caller.try_get("/").await.ok()?.status == 200).then_some(())
    })
    .await;
    let took = one(args, &sample, edge.listen, report, engine).await?;
    let note = "rr-edge, fsync on both sides; asked for: p50 at most 10 ms, p99 at most 40 ms";
    report.percentiles("propagation", &format!("{engine} one node"), &took, "ms", note);
    drop(edge);
    if args.nodes > 0 {
        many(args, &sample, engine, report).await?;
    }
    Ok(())
}

async fn one(
    args: &Args,
    sample: &Sample,
    edge: std::net::SocketAddr,
    report: &Report,
    engine: &str,
) -> anyhow::Result<Vec<f64>> {
    let path = format!("/api/{ORG}.echo/");
    let mut kept = Kept::connect(edge).await?;
    let mut took = Vec::with_capacity(args.changes);
    for round in 1..=args.changes {
        let (active, status) = if round % 2 == 0 { (true, 200) } else { (false, 403) };
        sample.set_active("echo", active).await?;
        let replied = Instant::now();
        loop {
            let reply = kept.get(&path, &sample.key).await?;
            if reply.status == status {
                break;
            }
            ensure!(replied.elapsed() < LIMIT, "change {round} did not come: {}", reply.status);
        }
        took.push(replied.elapsed().as_secs_f64() * 1e3);
        report.round(&format!("{engine} one node"), round, took[round - 1], "ms");
    }
    Ok(took)
}

async fn many(args: &Args, sample: &Sample, engine: &str, report: &mut Report) -> anyhow::Result<()> {
    let fleet = sample.fleet_in_step(args.nodes).await?;
    let mut moves = fleet.moves();
    let (mut each, mut last) = (Vec::new(), Vec::new());
    for round in 1..=args.fleet_changes {
        let revision = sample.set_active("echo", round % 2 == 0).await?;
        let replied = tokio::time::Instant::now();
        let mut there = vec![false; args.nodes];
        let (mut left, mut newest) = (args.nodes, 0.0_f64);
        while left > 0 {
            let moved =
                timeout(LIMIT, moves.recv()).await.context("not all nodes moved")?.context("moves")?;
            if moved.revision < revision || std::mem::replace(&mut there[moved.node], true) {
                continue;
            }
            // A node that was told before the writer was took no time.
            let took = moved.at.saturating_duration_since(replied).as_secs_f64() * 1e3;
            each.push(took);
            newest = newest.max(took);
            left -= 1;
        }
        report.round(&format!("{engine} last of {} nodes", args.nodes), round, newest, "ms");
        last.push(newest);
    }
    let note = "until its verdict, light nodes in the process of the bench; asked for: p99 at most 250 ms";
    report.percentiles("propagation", &format!("{engine} a node of {}", args.nodes), &each, "ms", note);
    let note = format!("over {} changes", last.len());
    report.percentiles("propagation", &format!("{engine} last of {}", args.nodes), &last, "ms", &note);
    Ok(())
}

/// What a change of one resource costs a node above the payload.
async fn bytes(args: &Args, percent: usize, report: &mut Report) -> anyhow::Result<()> {
    let (nodes, changes) = COUNTED;
    let folder = tempfile::tempdir()?;
    let origin = "https://upstream.example";
    let sample = Sample::start(folder.path(), origin, &[]).await?;
    if percent == 0 {
        sample.grow(origin, 0..48).await?;
    } else {
        load::fleet_100k(&sample, args.seed, percent).await?;
    }
    let fleet = sample.fleet_in_step(nodes).await?;
    let count = fleet.node(0).view().count();
    let (mut down, mut up) = (Vec::new(), Vec::new());
    for round in 1..=changes {
        let before: Vec<_> =
            fleet.nodes().iter().map(|it| (it.counts().bytes(), it.counts().of(|it| &it.payload))).collect();
        fleet.in_step(sample.set_active("echo", round % 2 == 0).await?).await;
        // Verdict and status go up a moment later, and are part of the price.
        tokio::time::sleep(Duration::from_millis(300)).await;
        for (node, ((read, written), payload)) in fleet.nodes().iter().zip(before) {
            let (now_read, now_written) = node.counts().bytes();
            let payload = node.counts().of(|counts| &counts.payload) - payload;
            down.push((now_read - read) as f64 - payload as f64);
            up.push((now_written - written) as f64);
        }
        report.round(&format!("{count} resources, down above payload"), round, down[down.len() - 1], "bytes");
    }
    let note =
        "a change and a node, marks and TLS counted; asked for: at most 400 above the payload, at any size";
    report.percentiles("propagation", &format!("{count} resources, down"), &down, "bytes", note);
    report.percentiles("propagation", &format!("{count} resources, up"), &up, "bytes", "verdict and status");
    Ok(())
}
