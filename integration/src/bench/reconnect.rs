//! `reconnect`: the standard load in the view; what a node is sent that was away during changes, with the control plane
//! alive all the time and started anew; and what one diverged resource costs.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rr_contract::model::resource::ResourceId;
use rr_integration::fleet::LightNode;
use rr_integration::sample::{Sample, set_active};
use rr_integration::wait::eventually;
use tokio::sync::Semaphore;

use crate::load;
use crate::report::Report;

const WRITERS: usize = 8;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The same seed gives the same load.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Part of the standard load, in percent.
    #[arg(long, default_value_t = 100)]
    percent: usize,
    /// Changes that are missed.
    #[arg(long, default_value_t = 1000)]
    missed: usize,
    /// How often each is done.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

/// What a node was sent since.
struct Sent {
    upserts: u64,
    taken: (u64, u64, u64),
    down: u64,
    up: u64,
    greeting: u64,
}

fn now(node: &LightNode) -> Sent {
    let counts = node.counts();
    let (down, up) = counts.bytes();
    let greeting = counts.of(|it| &it.greeting);
    Sent { upserts: counts.of(|it| &it.upserts), taken: counts.taken(), down, up, greeting }
}

fn since(node: &LightNode, before: &Sent) -> Sent {
    let now = now(node);
    Sent {
        upserts: now.upserts - before.upserts,
        taken: (now.taken.0 - before.taken.0, now.taken.1 - before.taken.1, now.taken.2 - before.taken.2),
        down: now.down - before.down,
        up: now.up - before.up,
        greeting: now.greeting - before.greeting,
    }
}

pub(crate) async fn run(args: Args, report: &mut Report) -> anyhow::Result<()> {
    let (folder, origin) = (tempfile::tempdir()?, "https://upstream.example");
    let mut sample = Sample::start(folder.path(), origin, &[]).await?;
    let (orgs, proxies) = load::fleet_100k(&sample, args.seed, args.percent).await?;
    let fleet = sample.fleet_in_step(1).await?;
    let node = fleet.node(0);
    report.metric("reconnect", "resources", &[node.view().count() as f64], "", "in the view");

    let mut active = true;
    for (name, restarts) in [("alive", false), ("started anew", true)] {
        let (mut sent, mut took) = (Vec::new(), Vec::new());
        let mut last = (0, 0, 0);
        for round in 1..=args.rounds {
            node.down();
            active = !active;
            let revision = change(&sample, &orgs, proxies, args.missed, active).await?;
            if restarts {
                let Sample { control, api, keys, key, place } = sample;
                sample = Sample { control: control.restart().await, api, keys, key, place };
            }
            let (before, started) = (now(node), Instant::now());
            node.up();
            fleet.in_step(revision).await;
            took.push(started.elapsed().as_secs_f64());
            let after = since(node, &before);
            sent.push(after.upserts as f64);
            last = after.taken;
            report.round(&format!("missed, {name}"), round, sent[round - 1], "resources");
        }
        let note =
            format!("of {} changes missed; last by (deltas, snapshots, reconciles) {last:?}", args.missed);
        report.metric("reconnect", &format!("sent, {name}"), &sent, "", &note);
        report.metric("reconnect", &format!("in step, {name}"), &took, "s", "back-off and handshake counted");
    }
    diverged(&args, node, report).await
}

async fn diverged(args: &Args, node: &LightNode, report: &mut Report) -> anyhow::Result<()> {
    let (mut both, mut bare) = (Vec::new(), Vec::new());
    for round in 1..=args.rounds {
        let good = *node.view().digest();
        node.down();
        let victim = node
            .view()
            .iter()
            .map(|(key, _)| *key)
            .filter(|key| matches!(key.id, ResourceId::Target(_)))
            .nth(round);
        node.corrupt(&victim.context("no target")?, Some([round as u8; 32]));
        let before = now(node);
        node.up();
        eventually("it is repaired", || async { (*node.view().digest() == good).then_some(()) }).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let after = since(node, &before);
        ensure!(after.taken.1 == 0, "it was sent everything");
        both.push((after.down + after.up) as f64 / 1024.0);
        bare.push((after.down - after.greeting + after.up) as f64 / 1024.0);
        report.round("one diverged resource", round, both[round - 1], "KiB");
    }
    let note = "down and up, TLS handshake counted; asked for: at most 64 KiB";
    report.metric("reconnect", "one diverged resource", &both, "KiB", note);
    report.metric("reconnect", "one diverged, bare", &bare, "KiB", "without what TLS sent down at first");
    Ok(())
}

/// Changes so many different proxies, several at once. Returns the newest revision.
async fn change(
    sample: &Sample,
    orgs: &[String],
    proxies: usize,
    count: usize,
    active: bool,
) -> anyhow::Result<u64> {
    let tasks = rr_contract::runtime::Tasks::new();
    let places = std::sync::Arc::new(Semaphore::new(WRITERS));
    let mut writes = Vec::with_capacity(count);
    for n in 0..count.min(orgs.len() * proxies) {
        let (org, proxy) = (orgs[n % orgs.len()].clone(), format!("proxy-{}", n / orgs.len()));
        let (api, places) = (sample.api.clone(), std::sync::Arc::clone(&places));
        writes.push(tasks.spawn("write", async move {
            let _place = places.acquire().await?;
            anyhow::Ok(set_active(&api, &org, &proxy, active).await?)
        }));
    }
    let mut newest = 0;
    for write in writes {
        newest = newest.max(write.await??);
    }
    Ok(newest)
}
