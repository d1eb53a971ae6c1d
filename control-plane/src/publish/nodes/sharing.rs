//! Shares what replicas know of nodes: writes the reports of nodes here, reads those of others.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use rr_contract::model::id::{NodeId, RegionId};
use rr_contract::runtime::{Stop, chain};
use tokio::time::{Instant, sleep_until};
use tracing::warn;

use super::{Fleet, LiveNode};
use crate::store::StoreError;
use crate::store::ledger::{Leased, RegionState, Reports};

/// How often what changed is written, and what others wrote is read.
const EVERY: Duration = Duration::from_secs(3);
/// How soon after a node went that is written: the same machine may be back at another replica.
const SOON: Duration = Duration::from_millis(200);
/// How long the leases of this replica last without being renewed.
const LEASE: i64 = 20_000_000;

impl Fleet {
    /// Writes and reads until the stop, and writes once more then.
    pub(crate) async fn run(self, stop: Stop) {
        let mut failing = false;
        let mut due = Instant::now() + EVERY;
        loop {
            let wait = async {
                tokio::select! {
                    biased;
                    () = sleep_until(due) => {}
                    () = self.0.moved.notified() => sleep_until(due.min(Instant::now() + SOON)).await,
                }
            };
            let stopping = stop.cut(wait).await.is_none();
            let done = if stopping || Instant::now() >= due {
                due = Instant::now() + EVERY;
                self.exchange().await
            } else {
                self.report(false).await
            };
            if let Err(error) = &done
                && !failing
            {
                // Once an outage: streams go on without.
                warn!(error = %chain(error), "cannot exchange the state of nodes with other replicas, trying again");
            }
            failing = done.is_err();
            if stopping {
                return;
            }
        }
    }

    pub(crate) async fn exchange(&self) -> Result<(), StoreError> {
        // What others wrote is read although ours could not be written.
        let reported = self.report(true).await;
        let written = self.write_crashes().await;
        self.refresh().await?;
        reported.and(written)
    }

    /// Writes the reports of nodes here; with `keep`, renews the leases of all others as well.
    async fn report(&self, keep: bool) -> Result<(), StoreError> {
        let until = self.0.ledger.now().saturating_add(LEASE);
        let mut reports = Reports { replica: self.0.replica.clone(), until, keep, ..Reports::default() };
        let mut claims = Vec::new();
        let left: HashMap<NodeId, Option<LiveNode>>;
        {
            let mut state = self.state();
            let state = &mut *state;
            for (id, slot) in &state.nodes {
                if !slot.claimed {
                    claims.push((*id, slot.session));
                    reports.came.push(self.leased(*id, &slot.node));
                }
            }
            // What they say is gathered: it can wait, and comes from all of them all the time.
            let said = if keep { std::mem::take(&mut state.said) } else { HashSet::new() };
            for id in said {
                if let Some(slot) = state.nodes.get(&id).filter(|slot| slot.claimed) {
                    reports.said.push(self.leased(id, &slot.node));
                }
            }
            left = std::mem::take(&mut state.left);
            for (id, node) in &left {
                reports.said.extend(node.as_ref().map(|node| self.leased(*id, node)));
                reports.left.push(*id);
            }
            reports.met.extend(state.met_anew.drain().filter_map(|id| state.met.get(&id).cloned()));
        }
        let said: Vec<NodeId> = reports.said.iter().map(|node| node.node).collect();
        let met: Vec<NodeId> = reports.met.iter().map(|met| met.node).collect();
        match self.0.ledger.report(reports).await {
            Ok(lost) => {
                let mut state = self.state();
                for (id, session) in claims {
                    if let Some(slot) = state.nodes.get_mut(&id).filter(|slot| slot.session == session) {
                        slot.claimed = true;
                    }
                }
                for id in lost {
                    if let Some(slot) = state.nodes.get(&id).filter(|slot| slot.claimed) {
                        slot.fence.cancel();
                    }
                }
                Ok(())
            }
            Err(error) => {
                let mut state = self.state();
                state.said.extend(said);
                for (id, node) in left {
                    if !state.nodes.contains_key(&id) {
                        state.left.entry(id).or_insert(node);
                    }
                }
                state.met_anew.extend(met);
                Err(error)
            }
        }
    }

    fn leased(&self, id: NodeId, node: &LiveNode) -> Leased {
        Leased {
            node: id,
            region: node.region,
            replica: self.0.replica.clone(),
            boot_id: node.boot_id.clone(),
            build: node.build.clone(),
            features: node.features.clone(),
            address: node.address.clone(),
            status: node.status.clone(),
            seen_at: node.last_seen_at,
        }
    }

    /// Takes in who holds a node that comes here.
    pub(crate) fn hear_of(&self, lease: Option<Leased>) {
        let Some(lease) = lease.filter(|lease| lease.replica != self.0.replica) else { return };
        let mut state = self.state();
        if !state.nodes.contains_key(&lease.node) {
            state.elsewhere.insert(lease.node, lease);
        }
    }

    /// Reads what is known of nodes, by whichever replica it was written.
    pub(crate) async fn refresh(&self) -> Result<(), StoreError> {
        let known = self.0.ledger.known(&self.0.replica).await?;
        let mut guard = self.state();
        let state = &mut *guard;
        state.elsewhere = known.elsewhere.into_iter().map(|node| (node.node, node)).collect();
        // A place that is ours by now was another's when that was read.
        state.elsewhere.retain(|id, _| !state.nodes.contains_key(id));
        let draining: HashSet<NodeId> = known.draining.into_iter().collect();
        let states: HashMap<RegionId, RegionState> = known.regions.into_iter().collect();
        let revoked: HashMap<NodeId, String> = known.revoked.into_iter().collect();
        let changed = state.draining != draining
            || state.revoked != revoked
            || state.regions.states != states
            || state.regions.crashes != known.crashes;
        state.draining = draining;
        state.revoked = revoked;
        state.regions.states = states;
        state.regions.crashes = known.crashes;
        state.regions.diverged =
            known.diverged.into_iter().map(|(it, since)| (it.node, (it, since))).collect();
        drop(guard);
        if changed {
            self.changed();
        }
        Ok(())
    }
}
