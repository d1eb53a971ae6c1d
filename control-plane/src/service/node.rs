//! Nodes and regions, for operators: their stored state, and the status on their open streams.

mod copied;
mod revoke;
mod why;

use std::collections::HashMap;

use prost::Message as _;
use rr_contract::model::id::RegionId;
use rr_contract::model::time;
use rr_contract::wire::fleet;
use rr_contract::wire::management::{Region, Role};

use super::{Caller, Page, PageRequest, ServiceError, Services};
use crate::authority::RENEWABLE;
use crate::authz::{Least, Principal};
use crate::noun::Noun;
use crate::store::decision::{self, Notes};
use crate::store::{self, Stored, Written, node_row, time_of};

use copied::copy;
use why::{has_all, is_behind, is_unhealthy, state, why, why_region};

/// How many nodes are read at once where all are asked for.
const READ: u64 = 1_000;
/// How long after its end a certificate can still be renewed, in microseconds.
const RENEWABLE_MICROS: i64 = RENEWABLE.as_micros() as i64;
/// How many nodes an answer names.
pub(super) const NAMED: usize = 100;

/// Which nodes are asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct NodeQuery {
    /// Name or id; empty for all.
    pub(crate) region: String,
    pub(crate) only_unhealthy: bool,
    pub(crate) behind: bool,
}

/// The data that the description of a node needs beside its row.
struct Look<'a> {
    services: &'a Services,
    /// Region names by id.
    names: HashMap<String, String>,
    notes: Notes,
    now: i64,
}

impl Services {
    /// By region and id, connected or not.
    pub(crate) async fn node_list(
        &self,
        principal: &Principal,
        query: &NodeQuery,
        page: &PageRequest,
    ) -> Result<Page<fleet::Node>, ServiceError> {
        let regions = self.operated(principal, &query.region).await?;
        let theirs: Vec<String> = regions.iter().map(|region| region.row.id.clone()).collect();
        let look = self.look(regions).await?;
        let cursor = page.cursor::<2>()?.unwrap_or(["", ""]);
        let mut after = (cursor[0].to_owned(), cursor[1].to_owned());
        let mut found = Vec::new();
        loop {
            let rows = store::node::list(&self.store, &theirs, (&after.0, &after.1), page.limit()).await?;
            let whole = (rows.len() as u64) < page.limit();
            for row in rows {
                after = (row.region.clone(), row.id.clone());
                let node = look.node(row)?;
                if query.wants(&node) {
                    found.push((after.clone(), node));
                }
            }
            if whole || found.len() as u64 >= page.limit() {
                break;
            }
        }
        found.truncate(usize::try_from(page.limit()).unwrap_or(usize::MAX));
        let page = page.cut(found, |((region, id), _)| vec![region.clone(), id.clone()]);
        Ok(Page { items: page.items.into_iter().map(|(_, node)| node).collect(), next: page.next })
    }

    /// All at once.
    pub(crate) async fn node_all(
        &self,
        principal: &Principal,
        query: &NodeQuery,
    ) -> Result<Vec<fleet::Node>, ServiceError> {
        let regions = self.operated(principal, &query.region).await?;
        let theirs: Vec<String> = regions.iter().map(|region| region.row.id.clone()).collect();
        let look = self.look(regions).await?;
        let rows = self.all_node_rows(&theirs).await?;
        let mut nodes = rows.into_iter().map(|row| look.node(row)).collect::<Result<Vec<_>, _>>()?;
        nodes.retain(|node| query.wants(node));
        Ok(nodes)
    }

    /// By id.
    pub(crate) async fn node_show(
        &self,
        principal: &Principal,
        id: &str,
    ) -> Result<fleet::Node, ServiceError> {
        let (row, region) = self.operated_node(principal, id).await?;
        self.look(vec![region]).await?.node(row)
    }

    /// Takes a node out of service, or puts it back.
    pub(crate) async fn node_drain(
        &self,
        caller: Caller,
        id: &str,
        undo: bool,
    ) -> Result<Written<fleet::Node>, ServiceError> {
        let (row, region) = self.operated_node(&caller.principal, id).await?;
        let (node, drain) = (row.id, !undo);
        let written = self
            .store
            .write(caller.author(), {
                let (node, region) = (node.clone(), region.row.clone());
                move |txn| {
                    Box::pin(async move {
                        let missing = || ServiceError::NotFound { noun: "node", name: node.clone() };
                        let row = store::node::by_id(txn, &node).await?.ok_or_else(missing)?;
                        if row.draining != drain {
                            let state = if drain { "out of service" } else { "in service" };
                            let words = format!("{}: {node} {state}", region.name);
                            txn.decide(Noun::Region, region, words);
                            decision::drain(txn, node, drain);
                        }
                        Ok::<_, ServiceError>(())
                    })
                }
            })
            .await?;
        self.publisher.fleet().refresh().await?;
        let value = self.node_show(&caller.principal, &node).await?;
        Ok(Written { value, revision: written.revision })
    }

    /// The regions of a caller, with how far their nodes are.
    pub(crate) async fn region_states(
        &self,
        principal: &Principal,
    ) -> Result<Vec<fleet::RegionState>, ServiceError> {
        let regions = self.operated(principal, "").await?;
        let look = self.look(regions.clone()).await?;
        let mut states = Vec::with_capacity(regions.len());
        for region in regions {
            let rows = self.node_rows(std::slice::from_ref(&region.row.id)).await?;
            let nodes = rows.into_iter().map(|row| look.node(row)).collect::<Result<Vec<_>, _>>()?;
            states.push(look.region(&region, &nodes)?);
        }
        Ok(states)
    }

    /// The regions that a caller operates: all of them, or the one that the request names.
    pub(super) async fn operated(
        &self,
        principal: &Principal,
        reference: &str,
    ) -> Result<Vec<Stored<Region>>, ServiceError> {
        if reference.is_empty() {
            let rows = store::resource::all(&self.store, Noun::Region, "").await?;
            let mut regions: Vec<Stored<Region>> = store::resource::with_documents(&self.store, rows).await?;
            regions.retain(|region| operates(principal, region));
            // An empty answer would say that there is nothing to see.
            if regions.is_empty() && !principal.operator {
                return Err(ServiceError::Role(Least::InRegion));
            }
            return Ok(regions);
        }
        let region = self.region_show(principal, reference).await?;
        if operates(principal, &region) {
            return Ok(vec![region]);
        }
        // It is known to everybody; its nodes are not.
        Err(if region.document.dedicated_to.is_empty() {
            ServiceError::Role(Least::InRegion)
        } else {
            ServiceError::NotFound { noun: "region", name: reference.to_owned() }
        })
    }

    async fn operated_node(
        &self,
        principal: &Principal,
        id: &str,
    ) -> Result<(node_row::Model, Stored<Region>), ServiceError> {
        // A caller that operates no region gets the same answer whether the node exists or not.
        let operates_some = principal.operator
            || !principal.regions.is_empty()
            || principal.orgs.iter().any(|(_, role)| *role >= Role::Admin);
        let missing = || {
            if operates_some {
                ServiceError::NotFound { noun: "node", name: id.to_owned() }
            } else {
                ServiceError::Role(Least::InRegion)
            }
        };
        let row = store::node::by_id(&self.store, id).await?.ok_or_else(missing)?;
        let region = super::region::by_reference(&self.store, &row.region).await?;
        let region = region.filter(|region| operates(principal, region)).ok_or_else(missing)?;
        Ok((row, region))
    }

    /// All nodes of some regions, but for those that were revoked.
    pub(super) async fn node_rows(&self, regions: &[String]) -> Result<Vec<node_row::Model>, ServiceError> {
        let mut rows = self.all_node_rows(regions).await?;
        rows.retain(|row| row.revoked_at.is_none());
        Ok(rows)
    }

    /// All nodes of some regions.
    async fn all_node_rows(&self, regions: &[String]) -> Result<Vec<node_row::Model>, ServiceError> {
        let mut all: Vec<node_row::Model> = Vec::new();
        loop {
            let after = all.last().map_or(("", ""), |last| (last.region.as_str(), last.id.as_str()));
            let rows = store::node::list(&self.store, regions, after, READ).await?;
            let whole = (rows.len() as u64) < READ;
            all.extend(rows);
            if whole {
                return Ok(all);
            }
        }
    }

    async fn look(&self, regions: Vec<Stored<Region>>) -> Result<Look<'_>, ServiceError> {
        let names = regions.into_iter().map(|region| (region.row.id, region.row.name)).collect();
        let notes = decision::notes(&self.store, self.store.now()).await?;
        Ok(Look { services: self, names, notes, now: self.store.now() })
    }

    /// The position that the nodes of a region should have.
    pub(super) fn desired(&self, region: &str) -> Result<fleet::Position, ServiceError> {
        let id: RegionId = region.parse().map_err(|_| store::StoreError::Damaged("region"))?;
        self.publisher.position(id).ok_or(ServiceError::Store(store::StoreError::NotLoaded))
    }
}

impl NodeQuery {
    fn wants(&self, node: &fleet::Node) -> bool {
        (!self.only_unhealthy || is_unhealthy(node)) && (!self.behind || is_behind(node))
    }
}

impl Look<'_> {
    fn node(&self, row: node_row::Model) -> Result<fleet::Node, ServiceError> {
        let desired = self.services.desired(&row.region)?;
        let live = self.services.publisher.fleet().node(&row.id);
        let leased = row.leased_until > self.now;
        let stray = self.notes.strays.get(&row.id);
        let copy = copy(&row, self.now);
        let too_old = row.certificate_not_after.saturating_add(RENEWABLE_MICROS) < self.now;
        let (status, address, build, seen_at, features, diverged) = match live {
            Some(live) => {
                let diverged = live.diverged;
                (live.status, live.address, live.build, live.last_seen_at, live.features, diverged)
            }
            None => {
                // A status that another build wrote may not decode; then the status is unknown.
                let status = fleet::Status::decode(row.status.as_slice()).unwrap_or_default();
                let features = row.features.split_whitespace().map(str::to_owned).collect();
                let address = if leased { row.address } else { String::new() };
                (status, address, row.build, row.last_seen_at, features, false)
            }
        };
        let connected = (leased || !address.is_empty()) && row.revoked_at.is_none();
        let held = self.notes.regions.get(&row.region).and_then(|state| state.held_revision);
        let stands = status.running.as_ref().map_or(0, |at| at.revision);
        let crash = self.notes.crashes.get(&row.id).map(|crash| fleet::NodeCrash {
            tried: Some(fleet::Position {
                revision: crash.revision.unsigned_abs(),
                digest: crash.digest.clone(),
                region: crash.region.clone(),
                ..fleet::Position::default()
            }),
            at: at(crash.at),
        });
        let revisions = self.revisions(&row.region, &status);
        let mut node = fleet::Node {
            id: row.id,
            region: self.names.get(&row.region).cloned().unwrap_or(row.region),
            build,
            connected,
            address,
            desired: Some(desired),
            running: status.running,
            serving: status.serving,
            on_disk: status.on_disk,
            standing: status.standing,
            joined_at: at(row.joined_at),
            last_seen_at: at(seen_at),
            certificate_not_after: at(row.certificate_not_after),
            spool_bytes: status.spool_bytes,
            spool_quota_bytes: status.spool_quota_bytes,
            records_dropped: status.records_dropped,
            diverged: diverged || stray.is_some(),
            history_rewritten: status.history_rewritten,
            proven: status.proven,
            features,
            replica: if connected { row.replica } else { String::new() },
            draining: row.draining,
            held: false,
            disk_set_back: status.disk_set_back,
            disk_stalled: status.disk_stalled,
            crash,
            why: String::new(),
            clash: None,
            clock_skew_ms: status.clock_skew_ms,
            state: fleet::NodeState::Unspecified.into(),
            revisions: Some(revisions),
            copy,
            node_token: row.token,
            revoked_at: row.revoked_at.and_then(at),
        };
        node.clash = self
            .notes
            .clashes
            .get(&node.id)
            .map(|clash| fleet::NodeClash { newcomer: clash.newcomer.clone(), at: at(clash.at) });
        node.held = held.is_some_and(|held| stands < held.unsigned_abs()) && !has_all(&node);
        let is = state(&node);
        node.state = is.into();
        node.why = why(&node, is, too_old);
        Ok(node)
    }

    fn revisions(&self, region: &str, status: &fleet::Status) -> fleet::NodeRevisions {
        let region = region.parse().ok();
        let reached = |at: &Option<fleet::Position>| match (at, region) {
            (Some(at), Some(region)) => self.services.publisher.reached(region, at),
            (at, _) => at.as_ref().map_or(0, |at| at.revision),
        };
        fleet::NodeRevisions {
            running: reached(&status.running),
            serving: reached(&status.serving),
            on_disk: reached(&status.on_disk),
            proven: reached(&status.proven),
        }
    }

    fn region(
        &self,
        region: &Stored<Region>,
        nodes: &[fleet::Node],
    ) -> Result<fleet::RegionState, ServiceError> {
        let count = |wanted: &dyn Fn(&fleet::Node) -> bool| {
            u32::try_from(nodes.iter().filter(|node| wanted(node)).count()).unwrap_or(u32::MAX)
        };
        let state = self.notes.regions.get(&region.row.id);
        let held = state.filter(|state| state.held_revision.is_some());
        let mut shown = fleet::RegionState {
            region: region.row.name.clone(),
            id: region.row.id.clone(),
            desired: Some(self.services.desired(&region.row.id)?),
            nodes: count(&|_| true),
            connected: count(&|node| node.connected),
            in_step: count(&|node| node.connected && has_all(node) && node.standing.is_empty()),
            behind: count(&is_behind),
            refusing: count(&|node| node.connected && !node.standing.is_empty()),
            draining: count(&|node| node.draining),
            diverged: self.strays(&region.row.id),
            held_revision: held.and_then(|state| state.held_revision).unwrap_or_default().unsigned_abs(),
            held_why: held.map(|state| state.held_why.clone()).unwrap_or_default(),
            held_at: held.and_then(|state| state.held_at).and_then(at),
            why: String::new(),
        };
        shown.diverged.truncate(NAMED);
        shown.why = why_region(&shown);
        Ok(shown)
    }

    fn strays(&self, region: &str) -> Vec<fleet::DivergedNode> {
        strays(&self.notes, region)
    }
}

/// Diverged nodes of a region, by id.
pub(super) fn strays(notes: &Notes, region: &str) -> Vec<fleet::DivergedNode> {
    let mut strays: Vec<fleet::DivergedNode> = notes
        .strays
        .values()
        .filter(|stray| stray.region == region)
        .map(|stray| fleet::DivergedNode {
            node: stray.node.clone(),
            lineage: stray.at.lineage.clone(),
            revision: stray.at.revision,
            since: at(stray.since),
            digest: stray.at.digest.clone(),
        })
        .collect();
    strays.sort_by(|a, b| a.node.cmp(&b.node));
    strays
}

/// Whether the nodes of a region are a caller's to see.
pub(super) fn operates(principal: &Principal, region: &Stored<Region>) -> bool {
    principal.operator
        || principal.regions.contains(&region.row.id)
        || principal.role_in(&region.document.dedicated_to) >= Some(Role::Admin)
}

fn at(micros: i64) -> Option<pbjson_types::Timestamp> {
    Some(time::timestamp(time_of(micros)))
}
