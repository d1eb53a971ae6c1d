//! `routes`: finding one of many proxies by what stands in a path, beside finding one of ten.
//!
//! Goes through what a request goes through, the read of what is in force included, on the standard load. Addresses
//! are asked in an order without a pattern, so that the processor's caches help no more than they would a request.

use std::hint::black_box;
use std::time::Instant;

use anyhow::Context as _;
use rr_contract::model::id::RegionId;
use rr_contract::model::resource::{Key, ResourceId};
use rr_integration::fleet_100k::{self, Dice, PROXIES};

use crate::configured::Driver;
use crate::report::Report;

/// Proxies of the small node.
const FEW: usize = 10;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Look-ups of one round, on each node.
    #[arg(long, default_value_t = 1_000_000)]
    lookups: usize,
    /// How often each is done.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// The same seed gives the same load and order.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// A node, and addresses of its proxies in the order in which they are asked.
struct Asked {
    driver: Driver,
    addresses: Vec<String>,
    order: Vec<usize>,
}

impl Asked {
    fn new(load: &[(Key, Vec<u8>)], proxies: usize, dice: &mut Dice, lookups: usize) -> anyhow::Result<Self> {
        let mut left = proxies;
        let kept = load.iter().filter(|(key, _)| {
            let is_proxy = matches!(key.id, ResourceId::Proxy(_));
            let is_kept = !is_proxy || left > 0;
            left -= usize::from(is_proxy && is_kept);
            is_kept
        });
        let driver = Driver::new(kept.cloned());
        let addresses: Vec<String> = driver.addresses();
        anyhow::ensure!(addresses.len() == proxies, "{} addresses of {proxies} proxies", addresses.len());
        let order = (0..lookups).map(|_| dice.below(proxies)).collect();
        Ok(Self { driver, addresses, order })
    }

    /// Nanoseconds of one look-up.
    fn time(&self) -> f64 {
        let since = Instant::now();
        let found =
            self.order.iter().filter(|at| black_box(self.driver.knows(&self.addresses[**at]))).count();
        let took = since.elapsed().as_nanos() as f64;
        assert_eq!(found, self.order.len(), "every address is one of this node");
        took / found as f64
    }
}

pub(crate) fn run(args: &Args, report: &mut Report) -> anyhow::Result<()> {
    let mut load = Vec::new();
    for resource in fleet_100k::generate(args.seed, RegionId::from_random([1; 16])) {
        let key = Key::try_from(resource.key.as_ref().context("a key")?)?;
        load.push((key, resource.payload.to_vec()));
    }
    let mut dice = Dice::new(args.seed);
    let few = Asked::new(&load, FEW, &mut dice, args.lookups)?;
    let all = Asked::new(&load, PROXIES, &mut dice, args.lookups)?;
    let (mut of_few, mut of_all, mut over) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=args.rounds {
        of_few.push(few.time());
        of_all.push(all.time());
        over.push(of_all[round - 1] - of_few[round - 1]);
        report.round("over ten", round, over[round - 1], "ns");
    }
    report.metric("routes", "one of 10", &of_few, "ns", "a look-up by the name in the path");
    report.metric("routes", "one of 30,000", &of_all, "ns", "the same");
    report.metric("routes", "over 10", &over, "ns", "in the same round; asked for: at most 1,000");
    Ok(())
}
