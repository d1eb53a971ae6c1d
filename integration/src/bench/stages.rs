//! `rules` and `filter`: what a stage of the edge takes of a request, beside the same request without it.
//!
//! One node, one processor; the variants are proxies of it that are asked in turn.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::task::block_in_place;

use crate::carriers::NGINX;
use crate::closed_loop::ClosedLoop;
use crate::peers::{Job, Peers, Place};
use crate::proxy::{order, sample};
use crate::report::Report;

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
}

/// Processor time of a request at each proxy of a job, by round.
async fn measure(args: Args, job: Job, report: &mut Report) -> anyhow::Result<Vec<(String, Vec<f64>)>> {
    ensure!(args.rounds > 0 && args.seconds > 0, "at least one round of one second");
    let folder = tempfile::tempdir()?;
    let mut place = args.place;
    place.job = Some(job);
    let Peers { peers, upstream, .. } = Peers::start(folder.path(), &place).await?;
    ensure!(job == Job::Rules || upstream.process().is_some(), "install nginx: it serves the document");
    report.say(&format!("load: {}", ClosedLoop::name()));
    let load = ClosedLoop { processor: place.load_processor, connections: args.connections };
    block_in_place(|| {
        for peer in &peers {
            load.run(peer, Duration::from_secs(1))?;
        }
        let mut all: Vec<(String, Vec<f64>)> = peers.iter().map(|peer| (peer.name.clone(), vec![])).collect();
        for round in 1..=args.rounds {
            for at in order(peers.len(), round) {
                let sample = sample(&peers[at], upstream.process(), load, args.seconds)?;
                report.round(&peers[at].name, round, sample.micros(), "us");
                all[at].1.push(sample.micros());
            }
        }
        Ok(all)
    })
}

fn of<'a>(all: &'a [(String, Vec<f64>)], label: &str) -> anyhow::Result<&'a [f64]> {
    let found = all.iter().find(|(name, _)| name.ends_with(&format!(": {label}")));
    found.map(|(_, micros)| micros.as_slice()).with_context(|| format!("no proxy {label}"))
}

/// 25 rules in each of four scopes.
pub(crate) async fn rules(args: Args, report: &mut Report) -> anyhow::Result<()> {
    let all = measure(args, Job::Rules, report).await?;
    let none = of(&all, "none")?;
    report.metric("rules", "none", none, "us", "a request without rules, 10 headers, a path of 40 bytes");
    for (label, note) in
        [("miss", "25 rules a scope, none matches"), ("last", "25 rules a scope, the last one matches")]
    {
        let over: Vec<f64> = of(&all, label)?.iter().zip(none).map(|(with, none)| with - none).collect();
        let note = format!("{note}: over none in the same round; asked for: at most 4");
        report.metric("rules", label, &over, "us", &note);
    }
    Ok(())
}

/// Three fields destroyed in a document of 1 MiB.
pub(crate) async fn filter(args: Args, report: &mut Report) -> anyhow::Result<()> {
    let all = measure(args, Job::Filter, report).await?;
    for (label, note) in [
        ("plain", "passed on"),
        ("filtered", "three fields destroyed; asked for: at least 300"),
        ("gzip", "passed on compressed"),
        ("gzip filtered", "decoded, and three fields destroyed; asked for: at least 300"),
    ] {
        // A microsecond for a byte is a megabyte for a second.
        let speed: Vec<f64> = of(&all, label)?.iter().map(|micros| 1_048_576.0 / micros).collect();
        let note = format!("1 MiB of JSON, {note}; by the processor time of the whole node");
        report.metric("filter", label, &speed, "MB/s", &note);
    }
    Ok(())
}

/// The whole pipeline with what each kind shows the upstream, beside the same with a fixed secret.
pub(crate) async fn kinds(args: Args, report: &mut Report) -> anyhow::Result<()> {
    let all = measure(args, Job::Kinds, report).await?;
    let secret = of(&all, "secret")?;
    report.metric("kinds", "secret", secret, "us", "whole pipeline, a fixed secret, no search for it");
    for (label, note) in [
        ("token", "a token of OAuth 2 that is there"),
        ("aws", "signed as AWS asks for"),
        ("hash", "signed with a keyed hash"),
        ("guarded", "a fixed secret that is searched for in 128 bytes"),
    ] {
        let over: Vec<f64> =
            of(&all, label)?.iter().zip(secret).map(|(with, without)| with - without).collect();
        report.metric("kinds", label, &over, "us", &format!("{note}: over secret in the same round"));
    }
    Ok(())
}

/// A document of 1 KiB, searched for the secret that the upstream was sent.
pub(crate) async fn echo(args: Args, report: &mut Report) -> anyhow::Result<()> {
    let all = measure(args, Job::Echo, report).await?;
    let unsearched = of(&all, "unsearched")?;
    report.metric("echo", "unsearched", unsearched, "us", "1 KiB of JSON, passed on as it is");
    let over: Vec<f64> =
        of(&all, "searched")?.iter().zip(unsearched).map(|(with, without)| with - without).collect();
    report.metric("echo", "searched", &over, "us", "over unsearched in the same round");
    let part: Vec<f64> = over.iter().zip(unsearched).map(|(over, of)| over / of * 100.0).collect();
    report.metric(
        "echo",
        "searched, part",
        &part,
        "%",
        "of unsearched in the same round; asked for: at most 5",
    );
    Ok(())
}

/// A request with a record, and one that is added up alone, in parts of what nginx takes.
pub(crate) async fn record(args: Args, report: &mut Report) -> anyhow::Result<()> {
    let all = measure(args, Job::Record, report).await?;
    let nginx = all.iter().find(|(name, _)| name == NGINX).context("nginx is not among the peers")?;
    let unrecorded = of(&all, "unrecorded")?;
    report.metric("record", "nginx", &nginx.1, "us", "the same request");
    report.metric("record", "unrecorded", unrecorded, "us", "added up, without a record");
    let over: Vec<f64> =
        of(&all, "recorded")?.iter().zip(unrecorded).map(|(with, without)| with - without).collect();
    let note = "made, written and synced: over unrecorded in the same round";
    report.metric("record", "recorded", &over, "us", note);
    let part: Vec<f64> = over.iter().zip(&nginx.1).map(|(over, nginx)| over / nginx * 100.0).collect();
    let note = "of nginx's request in the same round; asked for: at most 5";
    report.metric("record", "recorded, part", &part, "%", note);
    Ok(())
}
