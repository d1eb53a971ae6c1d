//! `churn`: changes without end at thousands of proxies while a real node serves an open-loop load, in windows beside
//! windows of the same load in quiet.
//!
//! A request's time counts from when it was due. Who is not let in because of what was configured is no error.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::ensure;
use rr_contract::runtime::Tasks;
use rr_integration::caller::Kept;
use rr_integration::fleet_100k::Dice;
use rr_integration::process::Edge;
use rr_integration::sample::{ORG, REGION, Sample};
use rr_integration::upstream::Upstream;
use rr_integration::wait::eventually;
use tokio::time::{Instant, sleep_until};

use crate::report::{Report, percentile};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Proxies in the view, each with a target of its own.
    #[arg(long, default_value_t = 20_000)]
    proxies: usize,
    /// Changes a second.
    #[arg(long, default_value_t = 200)]
    changes: u64,
    /// Requests a second.
    #[arg(long, default_value_t = 2000)]
    requests: u64,
    /// Seconds of each window.
    #[arg(long, default_value_t = 10)]
    window: u64,
    /// Windows of each kind.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Connections of callers.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Writers at once.
    #[arg(long, default_value_t = 8)]
    writers: u64,
    /// The same seed gives the same requests.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// What a window came to.
#[derive(Default)]
struct Window {
    millis: Vec<f64>,
    errors: u64,
    denied: u64,
    changes: u64,
}

pub(crate) async fn run(args: Args, report: &mut Report) -> anyhow::Result<()> {
    let (folder, upstream) = (tempfile::tempdir()?, Upstream::start_forgetful().await);
    let origin = upstream.url();
    let sample = Arc::new(Sample::start(folder.path(), &origin, &[]).await?);
    for first in (0..args.proxies).step_by(5000) {
        sample.grow(&origin, first..(first + 5000).min(args.proxies)).await?;
    }
    let token = sample.api.node_token(REGION, &sample.keys, 1).await?;
    let edge = Edge::start(&folder.path().join("edge"), sample.control.fleet, token.to_secret().expose());
    edge.ready().await;
    let path = format!("/api/{ORG}.extra-{}/", args.proxies - 1);
    eventually("the node answers for the last proxy", || async {
        let mut kept = Kept::connect(edge.listen).await.ok()?;
        (kept.get(&path, &sample.key).await.ok()?.status == 200).then_some(())
    })
    .await;

    // Neither kind pays for the first connections.
    window(&args, &sample, edge.listen, 0, 0).await?;
    let (mut ratios, mut quiet, mut busy) = (Vec::new(), [Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    let (mut errors, mut denied, mut rates) = (0, 0, Vec::new());
    for round in 1..=args.rounds {
        let mut p99 = [0.0; 2];
        for (kind, changes) in [(0, 0), (1, args.changes)] {
            let mut seen = window(&args, &sample, edge.listen, changes, round as u64).await?;
            seen.millis.sort_by(f64::total_cmp);
            let (half, most) = (percentile(&seen.millis, 0.5), percentile(&seen.millis, 0.99));
            let into = if kind == 0 { &mut quiet } else { &mut busy };
            into[0].push(half);
            into[1].push(most);
            p99[kind] = most;
            errors += seen.errors;
            denied += seen.denied;
            if kind == 1 {
                rates.push(seen.changes as f64 / args.window as f64);
            }
            let name = if kind == 0 { "quiet" } else { "churn" };
            report.round(&format!("{name} p50"), round, half, "ms");
            report.round(&format!("{name} p99"), round, most, "ms");
            report.round(&format!("{name} errors"), round, seen.errors as f64, "");
        }
        ratios.push(p99[1] / p99[0]);
    }
    let load = format!("{} req/s open loop, {} proxies, from when each was due", args.requests, args.proxies);
    for (name, figures) in [("quiet", &quiet), ("churn", &busy)] {
        report.metric("churn", &format!("{name} p50"), &figures[0], "ms", &load);
        report.metric("churn", &format!("{name} p99"), &figures[1], "ms", &load);
    }
    report.metric("churn", "p99 against quiet", &ratios, "", "median of windows side by side");
    report.metric("churn", "changes", &rates, "1/s", "acknowledged");
    report.metric("churn", "errors", &[errors as f64], "", "not due to policy; asked for: 0");
    report.metric("churn", "denied", &[denied as f64], "", "met a proxy that was switched off just then");
    ensure!(errors == 0, "{errors} requests failed that no policy denied");
    Ok(())
}

async fn window(
    args: &Args,
    sample: &Arc<Sample>,
    edge: std::net::SocketAddr,
    changes: u64,
    round: u64,
) -> anyhow::Result<Window> {
    let (tasks, tickets) = (Tasks::new(), Arc::new(AtomicU64::new(0)));
    let start = Instant::now() + Duration::from_millis(100);
    let (rate, end) = (args.requests, args.requests * args.window);
    let mut callers = Vec::new();
    for n in 0..args.connections as u64 {
        let (tickets, sample, proxies) = (Arc::clone(&tickets), Arc::clone(sample), args.proxies);
        let mut dice = Dice::new(args.seed ^ (round << 32) ^ n);
        callers.push(tasks.spawn("caller", async move {
            let (mut seen, mut kept) = (Window::default(), Kept::connect(edge).await?);
            loop {
                let ticket = tickets.fetch_add(1, Ordering::Relaxed);
                if ticket >= end {
                    return anyhow::Ok(seen);
                }
                let due = start + Duration::from_nanos(ticket * 1_000_000_000 / rate);
                sleep_until(due).await;
                let path = format!("/api/{ORG}.extra-{}/", dice.below(proxies));
                match kept.get(&path, &sample.key).await {
                    Ok(reply) if reply.status == 200 => {}
                    Ok(reply) if reply.header("requestrocket-proxy-code") == "proxy-inactive" => {
                        seen.denied += 1;
                    }
                    Ok(_) => seen.errors += 1,
                    Err(_) => {
                        seen.errors += 1;
                        kept = Kept::connect(edge).await?;
                    }
                }
                seen.millis.push(due.elapsed().as_secs_f64() * 1e3);
            }
        }));
    }
    let until = start + Duration::from_secs(args.window);
    let mut writers = Vec::new();
    for n in 0..if changes == 0 { 0 } else { args.writers } {
        let (sample, proxies, writers_all) = (Arc::clone(sample), args.proxies as u64, args.writers);
        writers.push(tasks.spawn("writer", async move {
            let mut made = 0_u64;
            loop {
                let due = start + Duration::from_nanos((made * writers_all + n) * 1_000_000_000 / changes);
                if due >= until && made.is_multiple_of(2) {
                    return anyhow::Ok(made);
                }
                sleep_until(due).await;
                // Off and on again, so that as many are on at the end as at the start.
                let pair = made / 2 * writers_all + n + round * 1000;
                sample.set_active(&format!("extra-{}", pair % proxies), made % 2 == 1).await?;
                made += 1;
            }
        }));
    }
    let mut whole = Window::default();
    for caller in callers {
        let seen = caller.await??;
        whole.millis.extend(seen.millis);
        whole.errors += seen.errors;
        whole.denied += seen.denied;
    }
    for writer in writers {
        whole.changes += writer.await??;
    }
    Ok(whole)
}
