//! `lkg-faults`: every fault on the disk under last-known-good, and what the node makes of it. That the judge finds
//! something where frames are bound to no place is tested beside the journal.

use anyhow::ensure;

use rr_data_plane::bench::LastKnownGood;
use rr_data_plane::{AuditHead, Position};

use crate::report::Report;

mod disk;
mod play;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// One of so many torn writes and bent bits is played.
    #[arg(long, default_value_t = 1)]
    stride: usize,
}

pub(crate) fn run(args: &Args, report: &mut Report) -> anyhow::Result<()> {
    let outcome = play::play(args.stride);
    for (kind, count) in &outcome.faults {
        report.metric("lkg-faults", kind, &[*count as f64], "faults", "");
    }
    report.metric("lkg-faults", "all", &[outcome.total() as f64], "faults", "asked for: at least 20,000");
    let note = "panics, and configurations that were never published or acknowledged and lost; asked for: 0";
    report.metric("lkg-faults", "violations", &[outcome.violated as f64], "", note);
    ensure!(outcome.violated == 0, "violations: {:#?}", outcome.violations);
    Ok(())
}
