//! What benches of the fleet stream put into a control plane, and what they need of the machine.

use anyhow::{Context as _, bail};
use rr_contract::model::id::OrgId;
use rr_integration::fleet_100k::documents::{Size, documents};
use rr_integration::sample::{REGION, Sample, apply};

use crate::management::{ORIGIN, seal};

/// Organizations of the standard load, as it is put in by way of the management API.
pub(crate) const PARTS: usize = 4;
/// Of each. Rules stand in for the filters of the standard load, too.
pub(crate) const PART: Size = Size { targets: 5_000, credentials: 7_500, proxies: 7_500, rules: 5_000 };

/// Puts the standard load in, or a part of it in percent. Returns the organizations and how many proxies each has.
pub(crate) async fn fleet_100k(
    sample: &Sample,
    seed: u64,
    percent: usize,
) -> anyhow::Result<(Vec<String>, usize)> {
    let part = |full: usize| (full * percent / 100).max(3);
    let size = Size {
        targets: part(PART.targets),
        credentials: part(PART.credentials),
        proxies: part(PART.proxies),
        rules: part(PART.rules),
    };
    let mut names = Vec::new();
    for n in 0..PARTS {
        let name = format!("org-{n}");
        let org: OrgId = sample.api.org(&name).await?.id.parse()?;
        let mut set = documents(seed + n as u64, REGION, size);
        seal(&sample.api, &sample.keys, org, ORIGIN, &mut set).await?;
        apply(&sample.api, &name, "bench", set).await.with_context(|| format!("apply {name}"))?;
        names.push(name);
    }
    Ok((names, size.proxies))
}

/// Fails where fewer files may be open than so many nodes and their control plane need, each.
pub(crate) fn enough_files(nodes: usize) -> anyhow::Result<()> {
    let limits = std::fs::read_to_string("/proc/self/limits").context("limits of this process")?;
    let line = limits.lines().find(|line| line.starts_with("Max open files")).context("no limit of files")?;
    let soft = line.split_whitespace().nth(3).unwrap_or_default();
    let needed = nodes + 500;
    match soft.parse::<usize>() {
        Ok(soft) if soft < needed => {
            bail!("{soft} open files are too few for {nodes} nodes: say `ulimit -n {needed}` first")
        }
        // Unlimited is no number.
        Ok(_) | Err(_) => Ok(()),
    }
}
