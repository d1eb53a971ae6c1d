//! `memory`: what an idle edge node costs. Real processes; the node is connected, has no proxies, OTLP is off.

use std::time::Duration;

use rr_integration::process::{Control, Edge};
use rr_integration::wait::eventually;

use crate::report::Report;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Nodes measured, one after the other.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds after the node is connected.
    #[arg(long, default_value_t = 60)]
    after: u64,
}

pub(crate) async fn run(args: Args, report: &mut Report) -> anyhow::Result<()> {
    let mut resident = Vec::new();
    for round in 1..=args.rounds {
        let folder = tempfile::tempdir()?;
        let control = Control::start(&folder.path().join("control")).await;
        let api = control.bootstrap().await;
        let keys = api.region("local", "").await?;
        let token = api.node_token("local", &keys, 1).await?;
        let edge = Edge::start(&folder.path().join("edge"), control.fleet, token.to_secret().expose());
        edge.ready().await;
        eventually("the node is connected", || async {
            api.nodes().await.ok()?.iter().any(|node| node.connected).then_some(())
        })
        .await;
        tokio::time::sleep(Duration::from_secs(args.after)).await;
        let mib = edge.process.resident()? as f64 / f64::from(1 << 20);
        report.round("edge resident", round, mib, "MiB");
        resident.push(mib);
    }
    let note = format!(
        "rr-edge, connected, no proxies, {} s after, OTLP off; asked for: at most 15 MiB",
        args.after
    );
    report.metric("memory", "edge resident", &resident, "MiB", &note);
    Ok(())
}
