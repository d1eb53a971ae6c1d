//! The regions that `rrctl` seals to: those whose fingerprint it was given. A key that only the control plane
//! vouches for is never used.
//!
//! Fingerprints come from `regions.toml` or from `--fingerprint`. An epoch lower than one seen before is refused. A file
//! that other users could have written is not read. Changes are made under a lock and replace the file whole.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use rr_contract::seal::region_key::{Fingerprint, RegionStatement};
use rr_contract::seam::{Disk as _, RealDisk};
use rr_contract::wire::management as mg;
use serde::{Deserialize, Serialize};

use crate::{fault, owned};

/// The regions to seal to, and their fingerprints.
#[derive(Args)]
pub(crate) struct TrustArgs {
    /// Region to seal to, by name; can be repeated. Every region of the file of fingerprints when not given.
    #[arg(long = "region", value_name = "REGION")]
    regions: Vec<String>,
    /// Fingerprint of the keys of a region, from its operator; can be repeated.
    #[arg(long = "fingerprint", value_name = "REGION=FINGERPRINT", value_parser = pair)]
    fingerprints: Vec<(String, Fingerprint)>,
    /// File of fingerprints, by region. Without it that of the context, or one of the endpoint in the configuration folder;
    /// `rrctl context show` names it. A file in the working folder counts only if it is named.
    #[arg(long, env = "RRCTL_REGIONS_FILE", value_name = "FILE")]
    regions_file: Option<PathBuf>,
}

/// `regions.toml`: fingerprints by region name.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct TrustFile(BTreeMap<String, Trusted>);

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Trusted {
    fingerprint: String,
    /// The highest epoch seen.
    #[serde(default)]
    epoch: u32,
}

fn pair(text: &str) -> Result<(String, Fingerprint), String> {
    let (region, fingerprint) = text.split_once('=').ok_or("write it like eu=0123-4567-…")?;
    Ok((region.to_owned(), fingerprint.parse().map_err(|error| format!("{error}"))?))
}

impl TrustArgs {
    /// Regions by name, whose fingerprints are in a file.
    pub(crate) fn of(regions: Vec<String>, regions_file: &Path) -> Self {
        Self { regions, fingerprints: Vec::new(), regions_file: Some(regions_file.to_owned()) }
    }

    /// Whether a region was named.
    pub(crate) const fn is_given(&self) -> bool {
        !(self.regions.is_empty() && self.fingerprints.is_empty())
    }

    /// Takes the file of fingerprints that counts where none was named.
    pub(crate) fn fall_back(&mut self, regions_file: &Path) {
        self.regions_file.get_or_insert_with(|| regions_file.to_owned());
    }

    /// The key statements of the regions to seal to, each checked against its fingerprint.
    pub(crate) fn choose(&self, offered: &[mg::Region]) -> Result<Vec<RegionStatement>> {
        let regions_file = self.regions_file.as_deref().unwrap_or(Path::new(""));
        let file = TrustFile::read(regions_file)?;
        let mut given: BTreeMap<String, Fingerprint> = file.fingerprints()?;
        given.extend(self.fingerprints.iter().cloned());
        let wanted: Vec<String> =
            if self.regions.is_empty() { given.keys().cloned().collect() } else { self.regions.clone() };
        if wanted.is_empty() {
            return Err(fault::usage(
                "no region to seal to was given",
                &format!(
                    "give --fingerprint REGION=FINGERPRINT, or --regions-file FILE, as {} has none: `rrctl region create` and `rrctl dev` write them; `rrctl region list` shows fingerprints, which the operator of a region confirms{}",
                    regions_file.display(),
                    if Path::new("regions.toml").exists() {
                        "; regions.toml of this folder counts only if --regions-file names it"
                    } else {
                        ""
                    }
                ),
            ));
        }
        let mut statements = Vec::with_capacity(wanted.len());
        for name in wanted {
            let fingerprint = *given.get(&name).ok_or_else(|| {
                fault::usage(
                    &format!("the fingerprint of region {name} was not given"),
                    &format!("ask the operator of the region, then give --fingerprint {name}=FINGERPRINT"),
                )
            })?;
            let region = offered.iter().find(|region| region.name == name).with_context(|| {
                format!("the control plane has no region {name}; `rrctl region list` shows the regions")
            })?;
            let statement = vouched(region, fingerprint)?;
            statements.push((name, statement));
        }
        let mut seen = file.clone();
        seen.saw_all(&statements)?;
        if seen != file {
            // Others may have seen more since the file was read.
            TrustFile::change(regions_file, |file| file.saw_all(&statements))?;
        }
        Ok(statements.into_iter().map(|(_, statement)| statement).collect())
    }
}

impl TrustFile {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = owned::read_text(path)?;
        let Some(text) = text else { return Ok(Self::default()) };
        toml::from_str(&text).map_err(|error| fault::toml(path, &text, &error))
    }

    /// Changes the file, and makes it where it is not there. One that a change leaves empty is removed.
    fn change<T>(path: &Path, change: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let place = || format!("write {}", path.display());
        // A link stays one: what it leads to is replaced.
        let path = &path.canonicalize().unwrap_or_else(|_| path.to_owned());
        Self::read(path)?;
        let lock = owned::lock_replaced(path).with_context(place)?;
        let mut file = Self::read(path)?;
        let before = file.clone();
        let done = change(&mut file);
        let is_changed = done.is_ok() && file != before;
        if is_changed && !file.0.is_empty() {
            RealDisk.replace(path, toml::to_string(&file)?.as_bytes()).with_context(place)?;
        } else if is_changed || lock.metadata().with_context(place)?.len() == 0 {
            RealDisk.remove(path).with_context(place)?;
        }
        done
    }

    /// Adds a region whose keys were made on this machine; dropping the answer takes it back unless it is kept.
    pub(crate) fn add(path: &Path, name: &str, statement: &RegionStatement) -> Result<Added> {
        if let Some(folder) = path.parent() {
            RealDisk.create_dir_all(folder).with_context(|| format!("make folder {}", folder.display()))?;
        }
        let trusted = Trusted { fingerprint: statement.fingerprint().to_string(), epoch: statement.epoch() };
        let before = Self::change(path, |file| Ok(file.0.insert(name.to_owned(), trusted.clone())))?;
        Ok(Added { path: path.to_owned(), name: name.to_owned(), trusted, before, kept: false })
    }

    /// Takes a region out whose entry has this fingerprint; false where there is no such entry.
    pub(crate) fn remove(path: &Path, name: &str, fingerprint: Fingerprint) -> Result<bool> {
        let is_it = |trusted: &Trusted| trusted.fingerprint.parse().ok() == Some(fingerprint);
        if !Self::read(path)?.0.get(name).is_some_and(is_it) {
            return Ok(false);
        }
        Self::change(path, |file| {
            let is_there = file.0.get(name).is_some_and(is_it);
            if is_there {
                file.0.remove(name);
            }
            Ok(is_there)
        })
    }

    /// Notes an epoch, where the file has the region with the same fingerprint.
    pub(crate) fn saw_epoch(path: &Path, name: &str, statement: &RegionStatement) -> Result<()> {
        let fingerprint = statement.fingerprint().to_string();
        let is_it = |trusted: &Trusted| trusted.fingerprint == fingerprint;
        if !Self::read(path)?.0.get(name).is_some_and(is_it) {
            return Ok(());
        }
        Self::change(path, |file| file.saw(name, statement))
    }

    /// By the name of the region.
    pub(crate) fn fingerprints(&self) -> Result<BTreeMap<String, Fingerprint>> {
        self.0
            .iter()
            .map(|(name, trusted)| {
                let fingerprint =
                    trusted.fingerprint.parse().with_context(|| format!("fingerprint of region {name}"))?;
                Ok((name.clone(), fingerprint))
            })
            .collect()
    }

    fn saw(&mut self, name: &str, statement: &RegionStatement) -> Result<()> {
        let Some(trusted) = self.0.get_mut(name) else { return Ok(()) };
        if statement.epoch() < trusted.epoch {
            bail!(
                "the control plane offers epoch {} of region {name}, but epoch {} was seen before: an old key is offered again; ask the operator of the region which epoch is right",
                statement.epoch(),
                trusted.epoch
            );
        }
        trusted.epoch = statement.epoch();
        Ok(())
    }

    fn saw_all(&mut self, statements: &[(String, RegionStatement)]) -> Result<()> {
        statements.iter().try_for_each(|(name, statement)| self.saw(name, statement))
    }
}

/// An addition to the file that is taken back unless it is kept.
pub(crate) struct Added {
    path: PathBuf,
    name: String,
    trusted: Trusted,
    before: Option<Trusted>,
    kept: bool,
}

impl Added {
    pub(crate) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Added {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        let undone = TrustFile::change(&self.path, |file| {
            // Whatever somebody else wrote meanwhile stays.
            if file.0.get(&self.name) == Some(&self.trusted) {
                match self.before.take() {
                    Some(before) => file.0.insert(self.name.clone(), before),
                    None => file.0.remove(&self.name),
                };
            }
            Ok(())
        });
        if let Err(error) = undone {
            crate::print::note(&format!("could not restore {}: {error:#}", self.path.display()));
        }
    }
}

/// The key statement of a region, if its fingerprint is the one that was given.
pub(crate) fn vouched(region: &mg::Region, fingerprint: Fingerprint) -> Result<RegionStatement> {
    let name = &region.name;
    let wire = region.key.clone().with_context(|| format!("region {name} has no key"))?;
    let statement: RegionStatement =
        wire.try_into().with_context(|| format!("key statement of region {name}"))?;
    if statement.region().to_string() != region.id {
        bail!("the key statement of region {name} is for another region; nothing was sealed");
    }
    if statement.fingerprint() != fingerprint {
        bail!(
            "the keys that the control plane offers for region {name} have fingerprint {}, but {fingerprint} was given; nothing was sealed",
            statement.fingerprint()
        );
    }
    if statement.not_after() < SystemTime::now() {
        bail!("the key statement of region {name} ran out; ask the operator of the region to renew it");
    }
    Ok(statement)
}

#[cfg(test)]
mod tests;
