//! `proxy`: what a request takes of one processor, at the edge and at other proxies with the same job, side by side.
//!
//! All peers are started once. In each round each is asked in turn by a closed loop of connections, in an order that
//! turns from round to round. Processor time is that of the peer's whole process tree. The host's speed moves within
//! seconds, so the figures to quote are medians of ratios within a round. A sample during which something else
//! worked is taken again.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::task::block_in_place;

use crate::closed_loop::ClosedLoop;
use crate::machine::{self, Spent};
use crate::peers::{Peer, Peers, Place, Tls};
use crate::report::Report;

/// The part of both processors that others may have worked during a sample.
const OTHERS: f64 = 0.08;
/// How often a sample is taken until nobody else worked.
const TRIES: usize = 3;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    place: Place,
    /// Rounds.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Seconds of each sample.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Connections of callers.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Speak TLS 1.3 there; beside nginx alone, which does the same.
    #[arg(long)]
    tls: Option<Tls>,
    /// Count system calls, too, if `strace` is installed.
    #[arg(long)]
    syscalls: bool,
}

/// One sample of one peer.
pub(crate) struct Sample {
    requests: u64,
    seconds: f64,
    spent: Spent,
    /// The part of the processors that others worked.
    others: f64,
}

impl Sample {
    pub(crate) fn micros(&self) -> f64 {
        self.spent.total() * 1e6 / self.requests as f64
    }
}

/// All samples of one peer, by round.
#[derive(Default)]
struct Series {
    micros: Vec<f64>,
    user: Vec<f64>,
    rate: Vec<f64>,
    busy: Vec<f64>,
    others: Vec<f64>,
}

pub(crate) async fn run(mut args: Args, report: &mut Report) -> anyhow::Result<()> {
    args.place.tls = args.tls;
    ensure!(args.rounds > 0 && args.seconds > 0, "at least one round of one second");
    let folder = tempfile::tempdir()?;
    let Peers { peers, missing, upstream } = Peers::start(folder.path(), &args.place).await?;
    for name in &missing {
        report.say(&format!("{name} is not installed and left out"));
    }
    report.say(&format!("load: {}", ClosedLoop::name()));
    let load = ClosedLoop { processor: args.place.load_processor, connections: args.connections };
    block_in_place(|| {
        for peer in &peers {
            load.run(peer, Duration::from_secs(1))?;
        }
        let mut all: Vec<Series> = peers.iter().map(|_| Series::default()).collect();
        for round in 1..=args.rounds {
            for at in order(peers.len(), round) {
                let sample = sample(&peers[at], upstream.process(), load, args.seconds)?;
                let name = &peers[at].name;
                report.round(&format!("{name} {:.0}/s", sample.rate()), round, sample.micros(), "us");
                all[at].add(&sample);
            }
        }
        tell(report, &peers, &all, args.seconds);
        if args.syscalls {
            count_calls(report, &peers, load, folder.path())?;
        }
        Ok(())
    })
}

/// Each begins a round as often as others, and follows each of its neighbours.
pub(crate) fn order(count: usize, round: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).map(|at| (at + round / 2) % count.max(1)).collect();
    if round.is_multiple_of(2) {
        order.reverse();
    }
    order
}

pub(crate) fn sample(
    peer: &Peer,
    upstream: Option<u32>,
    load: ClosedLoop,
    seconds: u64,
) -> anyhow::Result<Sample> {
    let mut best: Option<Sample> = None;
    for _ in 0..TRIES {
        let before = Reading::take(peer, upstream)?;
        let began = std::time::Instant::now();
        let requests = load.run(peer, Duration::from_secs(seconds))?;
        let took = began.elapsed().as_secs_f64();
        let after = Reading::take(peer, upstream)?;
        ensure!(requests > 0, "{} answered nothing", peer.name);
        let spent = after.peer.since(before.peer);
        let known = spent.total() + after.known - before.known;
        let others = (after.worked - before.worked - known).max(0.0) / (2.0 * took);
        let sample = Sample { requests, seconds: took, spent, others };
        if best.as_ref().is_none_or(|best| sample.others < best.others) {
            best = Some(sample);
        }
        if best.as_ref().is_some_and(|best| best.others <= OTHERS) {
            break;
        }
    }
    best.context("at least one try")
}

/// What had worked how long at one moment.
struct Reading {
    peer: Spent,
    /// Load and upstream.
    known: f64,
    worked: f64,
}

impl Reading {
    fn take(peer: &Peer, upstream: Option<u32>) -> anyhow::Result<Self> {
        let behind = upstream.map_or(Ok(0.0), |upstream| machine::spent(upstream).map(Spent::total))?;
        let known = behind + machine::spent_here()?;
        Ok(Self { peer: machine::spent(peer.process)?, known, worked: machine::worked()? })
    }
}

impl Sample {
    fn rate(&self) -> f64 {
        self.requests as f64 / self.seconds
    }
}

impl Series {
    fn add(&mut self, sample: &Sample) {
        self.micros.push(sample.micros());
        self.user.push(sample.spent.user * 1e6 / sample.requests as f64);
        self.rate.push(sample.rate());
        self.busy.push(sample.spent.total() / sample.seconds);
        self.others.push(sample.others);
    }
}

fn tell(report: &mut Report, peers: &[Peer], all: &[Series], seconds: u64) {
    const BENCH: &str = "proxy";
    let series = |name: &str| peers.iter().position(|peer| peer.name == name).map(|at| &all[at]);
    let pairs = |one: &Series, other: &Series, of: fn(f64, f64) -> f64| -> Vec<f64> {
        one.micros.iter().zip(&other.micros).map(|(one, other)| of(*one, *other)).collect()
    };
    for (peer, series) in peers.iter().zip(all) {
        let name = &peer.name;
        let note = format!("processor time of its process tree, {seconds} s a round");
        report.metric(BENCH, &format!("{name} request"), &series.micros, "us", &note);
        report.metric(BENCH, &format!("{name} user"), &series.user, "us", "the part outside of the kernel");
        report.metric(BENCH, &format!("{name} answers"), &series.rate, "1/s", "the load may be the limit");
        report.metric(BENCH, &format!("{name} busy"), &series.busy, "", "of one processor");
        report.metric(BENCH, &format!("{name} others"), &series.others, "", "of all processors, by others");
    }
    let Some(nginx) = series("nginx") else {
        report.say("without nginx there is nothing to form ratios with");
        return;
    };
    for (peer, series) in peers.iter().zip(all).filter(|(peer, _)| peer.name != "nginx") {
        let ratios = pairs(series, nginx, |one, other| one / other);
        report.metric(
            BENCH,
            &format!("{} by nginx", peer.name),
            &ratios,
            "",
            "median of ratios within a round",
        );
    }
    let Some(lean) = series("lean") else { return };
    for (peer, series) in peers.iter().zip(all).filter(|(peer, _)| peer.name.contains("edge")) {
        let over = pairs(series, lean, |one, other| one - other);
        let price: Vec<f64> = over.iter().zip(&nginx.micros).map(|(over, nginx)| over / nginx).collect();
        let note = "its request less lean's, by nginx's of the round";
        report.metric(BENCH, &format!("{} over lean", peer.name), &price, "", note);
    }
}

/// System calls a request under the same load, which is slower while they are counted.
fn count_calls(report: &mut Report, peers: &[Peer], load: ClosedLoop, folder: &Path) -> anyhow::Result<()> {
    let Some(strace) = machine::installed("strace") else {
        report.say("strace is not installed: no system calls are counted");
        return Ok(());
    };
    for peer in peers {
        let file = folder.join("calls");
        let mut command = Command::new(&strace);
        command.args(["-c", "-f", "-o"]).arg(&file).stderr(Stdio::null());
        for process in machine::tree(peer.process)? {
            command.args(["-p", &process.to_string()]);
        }
        let mut counter = command.spawn().context("start strace")?;
        while !machine::is_traced(peer.process)? {
            ensure!(counter.try_wait()?.is_none(), "strace may not trace {}", peer.name);
            std::thread::yield_now();
        }
        let counted = load.run(peer, Duration::from_secs(2));
        let stopped = Command::new("kill").args(["-INT", &counter.id().to_string()]).status();
        counter.wait()?;
        stopped?;
        let text = std::fs::read_to_string(&file)?;
        let total = text.lines().find(|line| line.ends_with(" total")).context("strace counts all calls")?;
        let calls: f64 = total.split_whitespace().nth(3).context("a number of calls")?.parse()?;
        let note = "of all its threads, 2 s";
        report.metric("proxy", &format!("{} calls", peer.name), &[calls / counted? as f64], "", note);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_peer_begins_a_round_and_ends_one() {
        let (mut first, mut last) = (vec![0; 5], vec![0; 5]);
        for round in 0..10 {
            let order = order(5, round);
            first[order[0]] += 1;
            last[order[4]] += 1;
        }
        assert_eq!((first, last), (vec![2; 5], vec![2; 5]));
    }
}
