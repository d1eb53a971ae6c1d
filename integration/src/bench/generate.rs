//! `generate`: the standard load, so that its own cost is known beside the figures it is used for.

use std::time::Instant;

use rr_contract::model::id::RegionId;
use rr_contract::model::resource::{Key, Model};
use rr_integration::fleet_100k;

use crate::report::Report;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How often it is made.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// The same seed gives the same load.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub(crate) fn run(args: &Args, report: &mut Report) -> anyhow::Result<()> {
    let (mut made, mut parsed) = (Vec::new(), Vec::new());
    let mut size = 0.0;
    let mut count = 0.0;
    for round in 1..=args.rounds {
        let started = Instant::now();
        let resources = fleet_100k::generate(args.seed, RegionId::from_random([1; 16]));
        made.push(started.elapsed().as_secs_f64());
        report.round("made in", round, made[round - 1], "s");
        count = resources.len() as f64;
        size = resources.iter().map(|resource| resource.payload.len()).sum::<usize>() as f64;

        let started = Instant::now();
        let mut understood = 0_usize;
        for resource in &resources {
            let key = Key::try_from(resource.key.as_ref().expect("the generator gives keys"))?;
            understood += usize::from(Model::parse(&key, &resource.payload).is_ok());
        }
        parsed.push(started.elapsed().as_secs_f64() * 1e6 / understood as f64);
        report.round("parsed in", round, parsed[round - 1], "us/resource");
    }
    report.metric("generate", "resources", &[count], "", "organizations included");
    report.metric("generate", "payload", &[size / count], "bytes", "on average");
    report.metric("generate", "made in", &made, "s", "");
    report.metric("generate", "parsed in", &parsed, "us", "each, of the kinds that this version knows");
    Ok(())
}
