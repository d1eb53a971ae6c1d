//! `herd`: thousands of connected nodes; what each costs the control plane in memory, and what it takes until all are in
//! step after it was killed, away and started again.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rr_integration::sample::Sample;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::load;
use crate::report::Report;

const KIB: f64 = 1024.0;
const LIMIT: Duration = Duration::from_secs(120);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Light nodes.
    #[arg(long, default_value_t = 2000)]
    nodes: usize,
    /// How often the control plane is killed.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds that it is away.
    #[arg(long, default_value_t = 30)]
    away: u64,
    /// Seconds that pass before memory is looked at.
    #[arg(long, default_value_t = 15)]
    settle: u64,
}

pub(crate) async fn run(args: Args, report: &mut Report) -> anyhow::Result<()> {
    load::enough_files(args.nodes)?;
    let (folder, origin) = (tempfile::tempdir()?, "https://upstream.example");
    let sample = Sample::start(folder.path(), origin, &[]).await?;
    sample.grow(origin, 0..48).await?;
    let started = Instant::now();
    let fleet = sample.fleet(args.nodes).await?;
    report.metric("herd", "join", &[started.elapsed().as_secs_f64()], "s", "all nodes, eight at once");

    let settle = Duration::from_secs(args.settle);
    tokio::time::sleep(settle).await;
    let before = sample.control.process.resident()? as f64;
    let head = sample.api.revision().await?;
    fleet.up();
    fleet.in_step(head).await;
    tokio::time::sleep(settle).await;
    let steady = sample.control.process.resident()? as f64;
    let each = (steady - before) / args.nodes as f64 / KIB;
    let note = format!("{} nodes, connected and idle; asked for: at most 80 KiB", args.nodes);
    report.metric("herd", "memory of a node", &[each], "KiB", &note);
    report.metric("herd", "resident, steady", &[steady / KIB / KIB], "MiB", "of rr-control");

    let mut moves = fleet.moves();
    let Sample { mut control, .. } = sample;
    let (mut took, mut most, mut typical, mut peaks) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut whole = Vec::new();
    for round in 1..=args.rounds {
        control.kill();
        // What was on its way when it died.
        while moves.try_recv().is_ok() {}
        let sessions: u64 = fleet.nodes().iter().map(|node| node.counts().of(|it| &it.snapshots)).sum();
        let before: Vec<u64> = fleet.nodes().iter().map(|node| node.counts().bytes().0).collect();
        let greeting: Vec<u64> =
            fleet.nodes().iter().map(|node| node.counts().of(|it| &it.greeting)).collect();
        control = control.away(Duration::from_secs(args.away)).await;
        while TcpStream::connect(control.fleet).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let open = Instant::now();
        let (mut there, mut left) = (vec![None; args.nodes], args.nodes);
        while left > 0 {
            let moved = timeout(LIMIT, moves.recv()).await.context("not all came back")?.context("moves")?;
            if moved.revision >= head && there[moved.node].is_none() {
                let node = fleet.node(moved.node).counts();
                let read = node.bytes().0 - before[moved.node];
                let shaken = node.of(|it| &it.greeting) - greeting[moved.node];
                there[moved.node] = Some((read, read - shaken));
                left -= 1;
            }
        }
        took.push(open.elapsed().as_secs_f64());
        let again: u64 = fleet.nodes().iter().map(|node| node.counts().of(|it| &it.snapshots)).sum();
        ensure!(again == sessions, "{} nodes were sent everything", again - sessions);
        let mut above: Vec<f64> = there.iter().flatten().map(|(_, above)| *above as f64).collect();
        above.sort_by(f64::total_cmp);
        most.push(above[above.len() - 1]);
        typical.push(above[above.len() / 2]);
        whole.push(there.iter().flatten().map(|(read, _)| *read as f64).sum::<f64>() / args.nodes as f64);
        tokio::time::sleep(settle).await;
        peaks.push(control.process.peak()? as f64 / steady);
        report.round("all in step", round, took[round - 1], "s");
        report.round("bytes above TLS handshake, at most", round, most[round - 1], "bytes");
        report.round("peak against steady", round, peaks[round - 1], "");
    }
    let note =
        format!("{} nodes, {} s away, from the open port; asked for: at most 20 s", args.nodes, args.away);
    report.metric("herd", "all in step", &took, "s", &note);
    let note = "to a node that missed nothing, after the TLS handshake; asked for: at most 1024";
    report.metric("herd", "bytes, median node", &typical, "bytes", note);
    report.metric("herd", "bytes, worst node", &most, "bytes", note);
    report.metric("herd", "bytes with handshakes", &whole, "bytes", "on average, those that failed counted");
    report.metric("herd", "peak against steady", &peaks, "", "resident; asked for: at most 2");
    Ok(())
}
