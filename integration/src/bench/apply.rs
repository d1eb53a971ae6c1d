//! `apply`: what one change costs a node that holds the standard load, and what a read of what is in force does.
//!
//! Everything that a stream would do but the network, on a disk in memory. Processor time of all threads that
//! work on it: the control thread's and the journal's.

use anyhow::Context as _;
use prost::Message as _;
use rr_contract::model::id::RegionId;
use rr_contract::model::resource::{Key, ResourceId};
use rr_contract::wire::fleet;
use rr_contract::wire::fleet::{caller_credential, credential_resource};
use rr_integration::fleet_100k::{self, Dice};

use crate::configured::Driver;
use crate::report::Report;

/// Reads of one round.
const READS: u32 = 20_000_000;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Changes of one round, of each kind.
    #[arg(long, default_value_t = 2000)]
    changes: usize,
    /// How often each is done.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// The same seed gives the same load and changes.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// What is changed.
struct Kind {
    name: &'static str,
    is_it: fn(&Key) -> bool,
    edit: Edit,
    /// Quoted apart: its price is the regex engine's.
    is_apart: bool,
}

/// Changes a payload. `None`: it is something else after all.
type Edit = fn(&[u8], &mut Dice) -> anyhow::Result<Option<Vec<u8>>>;

const KINDS: [Kind; 5] = [
    Kind {
        name: "a proxy",
        is_it: |key| matches!(key.id, ResourceId::Proxy(_)),
        edit: proxy,
        is_apart: false,
    },
    Kind {
        name: "a target",
        is_it: |key| matches!(key.id, ResourceId::Target(_)),
        edit: target,
        is_apart: false,
    },
    Kind {
        name: "a caller",
        is_it: |key| matches!(key.id, ResourceId::Credential(_)),
        edit: caller,
        is_apart: false,
    },
    Kind { name: "a rule", is_it: |key| matches!(key.id, ResourceId::Rule(_)), edit: rule, is_apart: false },
    Kind {
        name: "a rule, new regex",
        is_it: |key| matches!(key.id, ResourceId::Rule(_)),
        edit: new_regex,
        is_apart: true,
    },
];

pub(crate) fn run(args: &Args, report: &mut Report) -> anyhow::Result<()> {
    let mut load = Vec::new();
    for resource in fleet_100k::generate(args.seed, RegionId::from_random([1; 16])) {
        let key = Key::try_from(resource.key.as_ref().context("a key")?)?;
        load.push((key, resource.payload.to_vec()));
    }
    let mut driver = Driver::new(load.iter().cloned());
    let refused = driver.refused();
    report.metric("apply", "resources", &[load.len() as f64], "", &format!("{refused} of them refused"));
    let mut dice = Dice::new(args.seed);
    let mut all = Vec::new();
    for Kind { name, is_it, edit, is_apart } in KINDS {
        let mut some: Vec<(Key, Vec<u8>)> = load.iter().filter(|(key, _)| is_it(key)).cloned().collect();
        let mut took = Vec::new();
        for round in 1..=args.rounds {
            let mut changes = Vec::with_capacity(args.changes);
            while changes.len() < args.changes {
                let place = dice.below(some.len());
                let (key, payload) = &mut some[place];
                if let Some(changed) = edit(payload, &mut dice)? {
                    *payload = changed;
                    changes.push((*key, payload.clone()));
                }
            }
            let nanos: u64 = driver.apply(changes).iter().sum();
            took.push(nanos as f64 / 1e3 / args.changes as f64);
            report.round(name, round, took[round - 1], "us");
        }
        let note = format!("processor time of a change, {} a round; asked for: at most 200", args.changes);
        report.metric("apply", name, &took, "us", &note);
        if !is_apart {
            all.extend(took);
        }
    }
    report.metric("apply", "a change", &all, "us", "of these kinds but for the new regex");
    let reads: Vec<f64> = (0..args.rounds).map(|_| driver.read(READS)).collect();
    let note = "what is in force, as a request takes it; asked for: at most 10";
    report.metric("apply", "snapshot-read", &reads, "ns", note);
    Ok(())
}

fn proxy(payload: &[u8], _: &mut Dice) -> anyhow::Result<Option<Vec<u8>>> {
    let mut proxy = fleet::ProxyResource::decode(payload)?;
    proxy.active = !proxy.active;
    Ok(Some(proxy.encode_to_vec()))
}

fn target(payload: &[u8], dice: &mut Dice) -> anyhow::Result<Option<Vec<u8>>> {
    let mut target = fleet::TargetResource::decode(payload)?;
    let (origin, _) = target.base_url.split_once(".example/").context("a base URL of the load")?;
    target.base_url = format!("{origin}.example/v{}", dice.roll());
    Ok(Some(target.encode_to_vec()))
}

fn caller(payload: &[u8], dice: &mut Dice) -> anyhow::Result<Option<Vec<u8>>> {
    let mut credential = fleet::CredentialResource::decode(payload)?;
    let Some(credential_resource::Usage::Caller(caller)) = &mut credential.usage else { return Ok(None) };
    let Some(caller_credential::Kind::ApiKey(key)) = &mut caller.kind else { return Ok(None) };
    for byte in key.hashes.iter_mut().flatten() {
        *byte = dice.roll() as u8;
    }
    credential.version += 1;
    Ok(Some(credential.encode_to_vec()))
}

fn rule(payload: &[u8], _: &mut Dice) -> anyhow::Result<Option<Vec<u8>>> {
    let mut rule = fleet::RuleResource::decode(payload)?;
    rule.priority = (rule.priority + 1) % 1000;
    Ok(Some(rule.encode_to_vec()))
}

fn new_regex(payload: &[u8], dice: &mut Dice) -> anyhow::Result<Option<Vec<u8>>> {
    let mut rule = fleet::RuleResource::decode(payload)?;
    let regex = format!("^/(users|orders)/[0-9]+/part-{:x}(/|$)", dice.roll());
    let path = fleet::Pattern { regex, ..fleet::Pattern::default() };
    rule.when = Some(fleet::RequestMatch { path: Some(path), ..fleet::RequestMatch::default() });
    Ok(Some(rule.encode_to_vec()))
}
