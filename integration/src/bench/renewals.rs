//! `renewals`: thousands of nodes whose certificates have ended while they were away come at once; how long until all have
//! new ones, and what that takes of the control plane's processor, against the herd that connects.

use std::time::Duration;

use anyhow::ensure;
use rr_integration::fleet::Late;
use rr_integration::sample::Sample;
use rr_integration::world::REGION;

use crate::load;
use crate::report::Report;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Nodes.
    #[arg(long, default_value_t = 2000)]
    nodes: usize,
    /// Seconds that pass before the processor is looked at.
    #[arg(long, default_value_t = 5)]
    settle: u64,
}

pub(crate) async fn run(args: Args, report: &mut Report) -> anyhow::Result<()> {
    load::enough_files(args.nodes)?;
    let (folder, origin) = (tempfile::tempdir()?, "https://upstream.example");
    let sample = Sample::start(folder.path(), origin, &[]).await?;
    sample.grow(origin, 0..48).await?;
    let settle = Duration::from_secs(args.settle);

    // What it takes that as many connect and come in step.
    let fleet = sample.fleet(args.nodes).await?;
    tokio::time::sleep(settle).await;
    let head = sample.api.revision().await?;
    let before = sample.control.process.processor_time()?;
    fleet.up();
    fleet.in_step(head).await;
    let herd = sample.control.process.processor_time()? - before;
    drop(fleet);

    let uses = u32::try_from(args.nodes)?;
    let token = sample.api.node_token(REGION, &sample.keys, uses).await?;
    let late = Late::join(&sample.place, &sample.control.state(), &token, args.nodes).await?;
    tokio::time::sleep(settle).await;
    let before = sample.control.process.processor_time()?;
    let mut took: Vec<f64> = late.renew().await?.iter().map(Duration::as_secs_f64).collect();
    let renewed = sample.control.process.processor_time()? - before;
    took.sort_by(f64::total_cmp);
    ensure!(took.len() == args.nodes, "all have a certificate");
    let note = format!("{} nodes with certificates that had ended; asked for: at most 60 s", args.nodes);
    report.metric("renewals", "all renewed", &[took[took.len() - 1]], "s", &note);
    report.metric("renewals", "processor time, connecting", &[herd], "s", "all in step, as in `herd`");
    report.metric("renewals", "processor time, renewing", &[renewed], "s", "of rr-control");
    report.metric("renewals", "renewing against connecting", &[renewed / herd], "", "asked for: at most 2");
    Ok(())
}
