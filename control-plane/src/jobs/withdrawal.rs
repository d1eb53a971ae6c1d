//! Sees that a version of a target or proxy is refused by so many nodes that it is the version's fault, and has it
//! withdrawn.
//!
//! Decides by counts alone; what may follow the version is decided where it is written. What else nodes refuse decides
//! who may do what, and waits for a person. The word of nodes that an organization runs counts for its own resources.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rr_contract::model::id::{NodeId, RegionId};
use rr_contract::model::resource::{Key, ResourceId};
use rr_contract::wire::fleet::{self, Why};

use super::Told;
use super::nodes::{LOST_AFTER, Regions, before};
use crate::events::{Events, WithdrawalOutcome};
use crate::notice::{self, Counted};
use crate::noun::Noun;
use crate::publish::{RefusedVersion, RefusingRegion};
use crate::service::withdraw::{Withdrawal, Withdrawn};
use crate::service::{ServiceError, Services};
use crate::store::{Store, StoreError, resource_row, survey};

/// Fewer nodes than these, or a smaller part of their region, may be at fault themselves.
const NODES_LEAST: usize = 2;
const PERCENT_LEAST: usize = 10;
/// Where more versions than these are refused at once, the nodes have changed, not the versions.
const AT_ONCE_MOST: usize = 20;

/// What is remembered between one look and the next. Clones share it.
#[derive(Clone)]
pub(super) struct Withdrawals {
    events: Events,
    started_at: i64,
    left: Arc<Mutex<HashSet<Version>>>,
}

/// A version, and the revision since when it is published.
type Version = (Key, Vec<u8>, u64);

/// A version that is published now and refused.
struct Candidate<'a> {
    key: Key,
    version: &'a RefusedVersion,
    revision: u64,
}

impl Withdrawals {
    pub(super) fn new(events: Events, now: i64) -> Self {
        Self { events, started_at: now, left: Arc::default() }
    }

    /// How many versions were withdrawn or left to a person for the first time.
    pub(super) async fn run(&self, services: &Services, told: &Told) -> Result<u64, ServiceError> {
        let refusing = services.publisher.fleet().refusing(counts);
        if refusing.is_empty() {
            self.left().clear();
            return Ok(0);
        }
        let mut regions = None;
        let (mut done, mut seen) = (0, HashSet::new());
        for (region, refusing) in &refusing {
            let candidates = candidates(services, refusing);
            seen.extend(candidates.iter().map(Candidate::version));
            let fresh: Vec<Candidate<'_>> =
                candidates.into_iter().filter(|it| !self.left().contains(&it.version())).collect();
            if fresh.is_empty() {
                continue;
            }
            if regions.is_none() {
                regions = Some(Regions::read(&services.store).await?);
            }
            if let Some(regions) = &regions {
                done += self.region(services, told, (region, refusing), fresh, regions).await?;
            }
        }
        // One that is refused no longer is looked at anew when it is again.
        self.left().retain(|version| seen.contains(version));
        Ok(done)
    }

    async fn region(
        &self,
        services: &Services,
        told: &Told,
        (region, refusing): (&RegionId, &RefusingRegion),
        candidates: Vec<Candidate<'_>>,
        regions: &Regions,
    ) -> Result<u64, ServiceError> {
        let id = region.to_string();
        // One that was removed a moment ago.
        let Some(row) = regions.get(&id) else { return Ok(0) };
        let owner = regions.owner(&id);
        let nodes = self.nodes(&services.store, &id, &refusing.connected).await?;
        let theirs = |it: &Candidate<'_>| owner.is_empty() || it.key.to_wire().org == owner;
        let candidates: Vec<Candidate<'_>> = candidates
            .into_iter()
            .filter(|it| theirs(it) && is_many(it.version.nodes.len(), nodes))
            .collect();
        if candidates.len() > AT_ONCE_MOST {
            for it in candidates {
                self.events.withdrawal(WithdrawalOutcome::Many, &id, &it.key.to_string(), 0);
                self.left().insert(it.version());
            }
            return Ok(0);
        }
        let mut done = 0;
        for it in candidates {
            done += self.withdraw(services, told, (row, refusing), nodes, it).await?;
        }
        Ok(done)
    }

    async fn withdraw(
        &self,
        services: &Services,
        told: &Told,
        (region, refusing): (&resource_row::Model, &RefusingRegion),
        nodes: usize,
        it: Candidate<'_>,
    ) -> Result<u64, ServiceError> {
        let Candidate { key, version, .. } = it;
        let others = refusing.versions.keys().filter(|(other, _)| *other == key);
        let wire = key.to_wire();
        let noun = Noun::of_row(wire.kind).ok_or(StoreError::Damaged("resource"))?;
        let order = Withdrawal {
            noun,
            org: wire.org.clone(),
            id: wire.id.clone(),
            wanted: version.said.wanted.clone(),
            refused: others.map(|(_, wanted)| wanted.clone()).collect(),
            running: version.running.clone(),
            region: region.clone(),
            refusing: version.nodes.len(),
            nodes,
            refusal: version.said.clone(),
        };
        let subject = key.to_string();
        match services.withdraw(order).await? {
            Withdrawn::Done(revision) => {
                self.events.withdrawal(WithdrawalOutcome::Withdrawn, &region.id, &subject, revision);
                Ok(1)
            }
            Withdrawn::Passed => Ok(0),
            Withdrawn::Left { name, revision, why, for_now } => {
                let of = notice::Refused { org: &wire.org, noun, id: &wire.id, name: &name };
                let counted = Counted {
                    region: &region.name,
                    refusing: version.nodes.len(),
                    nodes,
                    refusal: &version.said,
                };
                let row = notice::not_withdrawn(services.store.now(), &of, &counted, revision, &why);
                if !for_now {
                    self.left().insert(it.version());
                }
                let news = told.tell(&services.store, vec![row]).await?;
                if news > 0 {
                    self.events.withdrawal(WithdrawalOutcome::Left, &region.id, &subject, 0);
                }
                Ok(news)
            }
        }
    }

    /// How many nodes a region has: those that are connected, and those that are not given up yet. After a restart
    /// nodes come back one by one, and the first of them are not all.
    async fn nodes(
        &self,
        store: &Store,
        region: &str,
        connected: &BTreeSet<NodeId>,
    ) -> Result<usize, StoreError> {
        let now = store.now();
        let from = if before(now, LOST_AFTER) < self.started_at {
            // Nobody noted whom they saw while we were not there.
            survey::last_word(store, region, self.started_at).await?.map_or(now, |last| last.min(now))
        } else {
            now
        };
        let known = survey::seen_since(store, region, before(from, LOST_AFTER)).await?;
        let here = |id: &String| id.parse::<NodeId>().is_ok_and(|id| connected.contains(&id));
        Ok(connected.len() + known.iter().filter(|id| !here(id)).count())
    }

    fn left(&self) -> MutexGuard<'_, HashSet<Version>> {
        // Held for a few set operations and never over an await.
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Candidate<'_> {
    fn version(&self) -> Version {
        (self.key, self.version.said.wanted.clone(), self.revision)
    }
}

/// Whether it may be the version's fault that a node refuses it. Whatever else there is waits for a person: what
/// decides who may do what, what is missing, and what a node may not know.
fn counts(key: &Key, refusal: &fleet::Refusal) -> bool {
    let kind = matches!(key.id, ResourceId::Target(_) | ResourceId::Proxy(_));
    kind && matches!(refusal.why(), Why::Decode | Why::Invalid | Why::Limit | Why::Crashed)
}

/// Whether so many nodes of so many are no accident.
const fn is_many(refusing: usize, nodes: usize) -> bool {
    refusing >= NODES_LEAST && refusing.saturating_mul(100) >= nodes.saturating_mul(PERCENT_LEAST)
}

/// What is published now, and refused by enough of those that are connected.
fn candidates<'a>(services: &Services, refusing: &'a RefusingRegion) -> Vec<Candidate<'a>> {
    let enough = |version: &RefusedVersion| is_many(version.nodes.len(), refusing.connected.len());
    let found = refusing.versions.iter().filter(|(_, version)| enough(version));
    found
        .filter_map(|((key, wanted), version)| {
            // A report about an older version says nothing about the one that followed.
            let shown = services.publisher.shown(key).filter(|shown| shown.hash[..] == wanted[..])?;
            Some(Candidate { key: *key, version, revision: shown.revision })
        })
        .collect()
}

#[cfg(test)]
mod tests;
