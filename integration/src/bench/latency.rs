//! `latency`: how long a request takes at a moderate load, at the edge and at other proxies, side by side.
//!
//! An open loop of callers asks each peer and the upstream itself in turn. The host's noise is in every figure, so the
//! figures to quote are differences and ratios within a round.

use std::time::Duration;

use anyhow::ensure;
use tokio::task::block_in_place;

use crate::open_loop::OpenLoop;
use crate::peers::{Peers, Place, Upstream};
use crate::report::{Report, percentile};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    place: Place,
    /// Rounds.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Seconds of each sample, behind one that does not count.
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Connections of callers.
    #[arg(long, default_value_t = 32)]
    connections: usize,
    /// Requests a second, of all connections together.
    #[arg(long, default_value_t = 2000)]
    rate: u64,
}

pub(crate) async fn run(args: Args, report: &mut Report) -> anyhow::Result<()> {
    ensure!(args.rounds > 0 && args.seconds > 0 && args.rate > 0, "at least one request in one round");
    let folder = tempfile::tempdir()?;
    let Peers { mut peers, missing, upstream } = Peers::start(folder.path(), &args.place).await?;
    for name in &missing {
        report.say(&format!("{name} is not installed and left out"));
    }
    peers.push(upstream.direct());
    // By peer and round: half of all requests, and all but one in a hundred, took at most so long.
    let mut halves = vec![Vec::new(); peers.len()];
    let mut most = vec![Vec::new(); peers.len()];
    block_in_place(|| {
        for round in 1..=args.rounds {
            for step in 0..peers.len() {
                let at = (step + round) % peers.len();
                let load = OpenLoop {
                    processor: args.place.load_processor,
                    connections: args.connections,
                    rate: args.rate,
                    seed: round as u64,
                };
                let micros = load.run(&peers[at], Duration::from_secs(args.seconds))?;
                halves[at].push(percentile(&micros, 0.5));
                most[at].push(percentile(&micros, 0.99));
                let name = &peers[at].name;
                report.round(&format!("{name} p50"), round, halves[at][round - 1], "us");
                report.round(&format!("{name} p99"), round, most[at][round - 1], "us");
            }
        }
        anyhow::Ok(())
    })?;
    let load =
        format!("{}/s open loop on {} connections, from when each was due", args.rate, args.connections);
    let at = |name: &str| peers.iter().position(|peer| peer.name == name);
    let pairs = |one: &[f64], other: &[f64], of: fn(f64, f64) -> f64| -> Vec<f64> {
        one.iter().zip(other).map(|(one, other)| of(*one, *other)).collect()
    };
    for (n, peer) in peers.iter().enumerate() {
        let name = &peer.name;
        report.metric("latency", &format!("{name} p50"), &halves[n], "us", &load);
        report.metric("latency", &format!("{name} p99"), &most[n], "us", &load);
        if let Some(direct) = at(Upstream::NAME).filter(|direct| *direct != n) {
            let added = pairs(&halves[n], &halves[direct], |one, other| one - other);
            report.metric("latency", &format!("{name} added p50"), &added, "us", "over no proxy, by round");
        }
        if let Some(nginx) = at("nginx").filter(|nginx| *nginx != n && name != Upstream::NAME) {
            let ratio = pairs(&most[n], &most[nginx], |one, other| one / other);
            report.metric(
                "latency",
                &format!("{name} p99 by nginx"),
                &ratio,
                "",
                "median of ratios within a round",
            );
            let apart = pairs(&most[n], &most[nginx], |one, other| one - other);
            report.metric(
                "latency",
                &format!("{name} p99 over nginx"),
                &apart,
                "us",
                "median within a round",
            );
        }
    }
    Ok(())
}
