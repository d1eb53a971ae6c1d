//! `lkg-faults`: every fault on the disk under last-known-good, and what the node makes of it.

use anyhow::ensure;

use crate::report::Report;

/// So many times fewer faults are enough for the negative control.
const CONTROL: usize = 50;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// One of so many torn writes and bent bits is played.
    #[arg(long, default_value_t = 1)]
    stride: usize,
}

pub(crate) fn run(args: &Args, report: &mut Report) -> anyhow::Result<()> {
    let outcome = rr_data_plane::play_faults(args.stride, true);
    for (kind, count) in &outcome.faults {
        report.metric("lkg-faults", kind, &[*count as f64], "faults", "");
    }
    report.metric("lkg-faults", "all", &[outcome.total() as f64], "faults", "asked for: at least 20,000");
    let note = "panics, and configurations that were never published or acknowledged and lost; asked for: 0";
    report.metric("lkg-faults", "violations", &[outcome.violated as f64], "", note);
    let control = rr_data_plane::play_faults(args.stride * CONTROL, false);
    let note = "negative control: frames bound to no place, digests not compared";
    report.metric("lkg-faults", "violations, checks off", &[control.violated as f64], "", note);
    ensure!(outcome.violated == 0, "violations: {:#?}", outcome.violations);
    ensure!(control.violated > 0, "the negative control found nothing");
    Ok(())
}
