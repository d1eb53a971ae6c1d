//! Judges what a write would do to nodes: the store asks before it flushes one.
//!
//! The index follows the log and is a little behind it; what was written since is kept here as a layer on top, so that
//! each write is judged by exactly what is below it, whether this replica wrote it or another.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, MutexGuard, PoisonError};

use futures_util::future::BoxFuture;
use rr_contract::model::id::RegionId;
use rr_contract::model::removal::is_mass;

use super::Publisher;
use super::index::Index;
use super::index::overlay::{Effect, Layer, ProposedChange};
use super::parsed::{ParsedBefore, ParsedResource};
use crate::store::history::{self, News};
use crate::store::{Admission, AgreedRemovals, Consent, NotAdmitted, Obstacle, Proposed, StoreError, Txn};

/// Changes read at once.
const BATCH: u64 = 2_000;

/// Revisions that were written and are not in the index yet.
#[derive(Default)]
pub(super) struct Pending {
    /// Oldest first, without a gap behind the index's head.
    revisions: VecDeque<PendingRevision>,
    /// The index that the layer is on top of: its generation and head.
    base: Option<(u64, u64)>,
    layer: Layer,
    /// What was admitted last, until it is flushed.
    admitted: Option<(Vec<ProposedChange>, Layer)>,
}

struct PendingRevision {
    revision: u64,
    audit: [u8; 32],
    changes: Vec<ProposedChange>,
}

impl Admission for Publisher {
    fn begin<'a>(
        &'a self,
        txn: &'a Txn,
        head: u64,
        audit: [u8; 32],
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let Some(mut from) = self.known(head, audit) else { return Ok(()) };
            // Others wrote, or what we wrote came to nothing: the rows tell.
            while from < head {
                let news = history::since(txn, from, BATCH).await?;
                let Some((to, audit)) = news.to else { return Err(StoreError::Damaged("revision")) };
                self.pending().read(news, to, audit);
                from = to;
            }
            Ok(())
        })
    }

    fn admit(&self, proposed: Vec<Proposed>, consent: Consent) -> Result<AgreedRemovals, StoreError> {
        if proposed.is_empty() {
            self.pending().admitted = None;
            return Ok(AgreedRemovals::default());
        }
        let changes: Vec<ProposedChange> = proposed
            .into_iter()
            .map(|it| (it.key, it.payload.map(|payload| Arc::new(ParsedResource { revision: 0, payload }))))
            .collect();
        let (effects, diverged) = {
            let index = self.read();
            let mut pending = self.pending();
            let Some(index) = index.as_ref() else {
                pending.admitted = None;
                return if consent.anything {
                    Ok(AgreedRemovals::default())
                } else {
                    Err(StoreError::NotLoaded)
                };
            };
            pending.rest_on(index);
            let (layer, effects) = index.effects(&pending.layer, &changes);
            pending.admitted = Some((changes, layer));
            (effects, self.fleet().undecided(&index.lineage()))
        };
        let most = effects.values().map(|effect| effect.removed).max().unwrap_or_default();
        if !consent.anything {
            self.judge(&effects, &diverged, consent)
                .map_err(|refusal| StoreError::NotAdmitted(Box::new(refusal)))?;
        }
        Ok(AgreedRemovals { most })
    }

    fn flushed(&self, revision: u64, audit: [u8; 32]) {
        let mut pending = self.pending();
        let (changes, layer) = pending.admitted.take().unwrap_or_default();
        pending.layer.absorb(layer);
        pending.revisions.push_back(PendingRevision { revision, audit, changes });
    }
}

impl Publisher {
    /// The newest revision whose changes are known, if that agrees with the head of the database; none where nothing is
    /// loaded.
    fn known(&self, head: u64, audit: [u8; 32]) -> Option<u64> {
        let index = self.read();
        let index = index.as_ref()?;
        let mut pending = self.pending();
        pending.forget_up_to(index.head());
        let known =
            pending.revisions.back().map_or((index.head(), index.audit()), |it| (it.revision, it.audit));
        if known == (head, audit) {
            return Some(head);
        }
        // What was thought to be written may not be, and its numbers another's.
        pending.clear();
        Some(index.head())
    }

    /// What was parsed to judge a write, of revisions that the index has not taken in yet.
    pub(super) fn parsed_before(&self, from: u64) -> ParsedBefore {
        let pending = self.pending();
        let written = pending.revisions.iter().filter(|it| it.revision > from);
        written
            .flat_map(|it| {
                let parsed = it.changes.iter();
                parsed.filter_map(|(key, to)| Some(((it.revision, *key), Arc::clone(to.as_ref()?))))
            })
            .collect()
    }

    /// Drops pending revisions that the index has taken in.
    pub(super) fn taken_in(&self) {
        let head = self.read().as_ref().map(Index::head);
        if let Some(head) = head {
            self.pending().forget_up_to(head);
        }
    }

    fn judge(
        &self,
        effects: &BTreeMap<RegionId, Effect>,
        diverged: &[super::nodes::DivergedNode],
        consent: Consent,
    ) -> Result<(), NotAdmitted> {
        for (region, effect) in effects {
            let refuse = |obstacle| Err(NotAdmitted::new(region.to_string(), obstacle));
            let mut there = diverged.iter().filter(|it| it.region == *region);
            if let Some(first) = there.next() {
                return refuse(Obstacle::Diverged {
                    node: first.node.to_string(),
                    revision: first.revision,
                    elsewhere: first.elsewhere,
                    count: 1 + there.count(),
                });
            }
            if !consent.mass_removal && is_mass(effect.removed, effect.held) {
                return refuse(Obstacle::MassRemoval { removals: effect.removed, held: effect.held });
            }
            if consent.partial || effect.needs.is_empty() {
                continue;
            }
            let lacking = self.fleet().lacking(*region, &effect.needs);
            if !lacking.is_empty() {
                return refuse(Obstacle::lacking(lacking));
            }
        }
        Ok(())
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        // Held for map operations and never over an await.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pending {
    fn clear(&mut self) {
        *self = Self::default();
    }

    fn forget_up_to(&mut self, head: u64) {
        while self.revisions.front().is_some_and(|it| it.revision <= head) {
            self.revisions.pop_front();
        }
        if self.revisions.is_empty() {
            self.layer = Layer::default();
            self.base = None;
        }
    }

    /// Takes in revisions that other replicas wrote.
    fn read(&mut self, news: News, to: u64, audit: [u8; 32]) {
        let mut changes = news.changes.into_iter().peekable();
        while let Some(first) = changes.next() {
            let revision = first.revision;
            let mut of_it = vec![first];
            while let Some(change) = changes.next_if(|change| change.revision == revision) {
                of_it.push(change);
            }
            let changes = of_it.into_iter().map(|it| {
                let entry =
                    it.payload.map(|payload| Arc::new(ParsedResource::of(&it.key, revision, payload)));
                (it.key, entry)
            });
            self.revisions.push_back(PendingRevision { revision, audit, changes: changes.collect() });
        }
        match self.revisions.back_mut() {
            Some(last) if last.revision == to => last.audit = audit,
            _ => self.revisions.push_back(PendingRevision { revision: to, audit, changes: Vec::new() }),
        }
        // Laid anew when it is needed.
        self.base = None;
    }

    /// Lays the pending revisions on the index as it is now.
    fn rest_on(&mut self, index: &Index) {
        let base = (index.generation(), index.head());
        if self.base == Some(base) {
            return;
        }
        self.forget_up_to(index.head());
        let mut layer = Layer::default();
        for written in &self.revisions {
            let (top, _) = index.effects(&layer, &written.changes);
            layer.absorb(top);
        }
        self.layer = layer;
        self.base = Some(base);
    }
}
