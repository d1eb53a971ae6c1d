//! The version of one resource that each node runs, why that is not the published one, and what callers get instead.

mod harm;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rr_contract::model::id::RegionId;
use rr_contract::model::proxy::Proxy;
use rr_contract::model::resource::{Key, ResourceId};
use rr_contract::model::time;
use rr_contract::wire::fleet;
use rr_contract::wire::management::Region;

use super::node::NAMED;
use super::wait::name;
use super::{OrgCaller, ServiceError, Services, withdraw};
use crate::notice;
use crate::noun::Noun;
use crate::publish::STANDING_MOST;
use crate::store::decision::{self, Notes};
use crate::store::{self, Stored, node_row, resource_row, time_of};
use crate::word;

/// The resource that is explained, and since when nodes are known to refuse its published version.
struct Asked<'a> {
    key: &'a Key,
    row: &'a resource_row::Model,
    published: &'a [u8],
    since: Option<pbjson_types::Timestamp>,
    /// Resources whose refusal can affect proxies, each with the one that it belongs to.
    bears: BTreeMap<Key, Option<Key>>,
    /// Proxies that may be affected.
    proxies: HashMap<Key, Arc<Proxy>>,
    notes: Notes,
}

/// Why a proxy that nodes run does not serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Off {
    Inactive,
    Suspended,
}

impl Services {
    /// By kind, and name or id.
    pub(crate) async fn resource_explain(
        &self,
        at: &OrgCaller,
        kind: &str,
        reference: &str,
    ) -> Result<fleet::ExplainResourceResponse, ServiceError> {
        let noun = [Noun::Org].into_iter().chain(Noun::CONFIGURATION).find(|noun| noun.text() == kind);
        let noun = noun.ok_or_else(|| {
            ServiceError::field("kind", "must be org, target, credential, proxy, rule, filter or meter")
        })?;
        let missing = || ServiceError::NotFound { noun: noun.title(), name: reference.to_owned() };
        let row = match noun {
            Noun::Org if reference == at.org.id || reference == at.org.name => at.org.row.clone(),
            Noun::Org => return Err(missing()),
            noun => {
                let found = store::resource::find(&self.store, noun, &at.org.id, reference).await?;
                found.ok_or_else(missing)?
            }
        };
        let allowed = &at.caller.principal.resources;
        if !allowed.is_empty() && !allowed.contains(&row.id) {
            return Err(missing());
        }
        let key = noun.key(&at.org.id, &row.id).ok_or(store::StoreError::Damaged("resource"))?;
        let shown = self.publisher.shown(&key);
        let mut answer = fleet::ExplainResourceResponse {
            id: row.id.clone(),
            name: row.name.clone(),
            revision: row.rev.unsigned_abs(),
            hash: shown.as_ref().map(|shown| shown.hash.to_vec()).unwrap_or_default(),
            ..fleet::ExplainResourceResponse::default()
        };
        if let Some(shown) = &shown {
            let proxies = self.proxies_of(&at.org.id, shown.held_by).await?;
            let told = notice::resource_refused_id(&at.org.id, &row.id, &shown.hash);
            let told = store::notification::by_id(&self.store, &at.org.id, &told).await?;
            let since = told.map(|told| time::timestamp(time_of(told.created_at)));
            let known = |key: &Key| self.publisher.proxy(key).map(|proxy| (*key, proxy));
            let asked = Asked {
                key: &key,
                row: &row,
                published: &shown.hash,
                since,
                bears: self.publisher.bears_on(&key),
                proxies: proxies.iter().filter_map(known).collect(),
                notes: decision::notes(&self.store, self.store.now()).await?,
            };
            for (region, through) in self.publisher.sent_to(&key, &proxies) {
                answer.regions.push(self.in_region(&asked, region, &through).await?);
            }
        }
        self.name_harms(&at.org.id, &mut answer).await?;
        answer.why = why(noun, &answer, self.off(&key));
        let written_by = store::history::revision(&self.store, answer.revision).await?;
        if written_by.is_some_and(|revision| revision.call == withdraw::CALL) {
            let word = format!("; revision {} withdrew a version that nodes refused", answer.revision);
            answer.why.push_str(&word);
        }
        Ok(answer)
    }

    /// Proxies through which a resource may be sent.
    async fn proxies_of(&self, org: &str, held_by: Key) -> Result<Vec<Key>, ServiceError> {
        let ids: Vec<String> = match held_by.id {
            ResourceId::Proxy(_) => return Ok(vec![held_by]),
            ResourceId::Org => {
                let rows = store::resource::all(&self.store, Noun::Proxy, org).await?;
                rows.into_iter().map(|row| row.id).collect()
            }
            _ => {
                let wire = held_by.to_wire();
                let noun = Noun::of_row(wire.kind).ok_or(store::StoreError::Damaged("resource"))?;
                let users = store::resource::users(&self.store, noun, &wire.id).await?;
                users.into_iter().filter(|(_, noun, _)| *noun == Noun::Proxy).map(|(.., id)| id).collect()
            }
        };
        Ok(ids.iter().filter_map(|id| Noun::Proxy.key(org, id)).collect())
    }

    /// Why a proxy that nodes run does not serve; none where it serves.
    fn off(&self, key: &Key) -> Option<Off> {
        let proxy = self.publisher.proxy(key)?;
        if !proxy.active {
            return Some(Off::Inactive);
        }
        self.publisher.is_suspended(key.org).then_some(Off::Suspended)
    }

    async fn in_region(
        &self,
        asked: &Asked<'_>,
        region: RegionId,
        through: &[Key],
    ) -> Result<fleet::ResourceInRegion, ServiceError> {
        let id = region.to_string();
        let found: Option<Stored<Region>> = super::region::by_reference(&self.store, &id).await?;
        let mut answer = fleet::ResourceInRegion {
            region: found.map_or_else(|| id.clone(), |region| region.row.name),
            sent: true,
            through: through.iter().take(NAMED).map(|key| key.to_wire().id).collect(),
            ..fleet::ResourceInRegion::default()
        };
        let mut versions: BTreeMap<Vec<u8>, (u32, Vec<String>)> = BTreeMap::new();
        for node in self.node_rows(std::slice::from_ref(&id)).await? {
            let Some(status) = self.status_of(&node) else {
                name(&mut answer.disconnected, &node.id);
                continue;
            };
            answer.connected += 1;
            if asked.notes.clashes.contains_key(&node.id) {
                name(&mut answer.clashes, &node.id);
            }
            harms(asked, through, &node.id, &status, &mut answer);
            let hash = self.version(asked, region, &node, &status, &mut answer).await?;
            let (count, ids) = versions.entry(hash).or_default();
            *count += 1;
            name(ids, &node.id);
        }
        answer.running = versions
            .into_iter()
            .map(|(hash, (count, nodes))| {
                let published = hash == asked.published;
                fleet::RunningVersion { hash, published, count, nodes }
            })
            .collect();
        answer.running.sort_by_key(|version| std::cmp::Reverse(version.count));
        Ok(answer)
    }

    /// Hash of the version that a connected node runs; empty where it runs none.
    async fn version(
        &self,
        asked: &Asked<'_>,
        region: RegionId,
        node: &node_row::Model,
        status: &fleet::Status,
        answer: &mut fleet::ResourceInRegion,
    ) -> Result<Vec<u8>, ServiceError> {
        let Asked { key, row, published, since, .. } = asked;
        let is_it = |refusal: &&fleet::Refusal| {
            refusal.key.as_ref().is_some_and(|said| Key::try_from(said).is_ok_and(|said| said == **key))
        };
        let running = status.running.as_ref();
        let reached =
            running.is_some_and(|at| self.publisher.has_reached(region, at, row.rev.unsigned_abs()));
        if !reached {
            name(&mut answer.behind, &node.id);
        }
        if let Some(refusal) = status.standing.iter().find(is_it) {
            if answer.refusals.len() < NAMED {
                answer.refusals.push(fleet::ResourceRefusal {
                    node: node.id.clone(),
                    why: refusal.why,
                    detail: refusal.detail.clone(),
                    fails_closed: refusal.fails_closed,
                    running: refusal.running.clone(),
                    since: since.filter(|_| refusal.wanted == *published),
                });
            }
            return Ok(refusal.running.clone());
        }
        if reached {
            return Ok(published.to_vec());
        }
        let Some(at) = running else { return Ok(Vec::new()) };
        // The version that it was sent then; none where the region did not receive it then.
        let noun = Noun::of_row(row.kind).ok_or(store::StoreError::Damaged("resource"))?;
        let org = if noun == Noun::Org { &row.id } else { &row.org };
        let then = store::history::at_revision(&self.store, noun, org, &row.id, at.revision).await?;
        Ok(then.and_then(|change| change.payload).unwrap_or_default())
    }
}

/// Adds the effects of a node's refusals on proxies of its region.
fn harms(
    asked: &Asked<'_>,
    through: &[Key],
    node: &str,
    status: &fleet::Status,
    answer: &mut fleet::ResourceInRegion,
) {
    if status.standing.len() >= STANDING_MOST {
        name(&mut answer.untold, node);
    }
    for refusal in &status.standing {
        let Some(cause) = refusal.key.as_ref().and_then(|key| Key::try_from(key).ok()) else { continue };
        let Some(belongs) = asked.bears.get(&cause) else { continue };
        for proxy in through {
            let Some(found) = asked.proxies.get(proxy) else { continue };
            let harm = harm::of((proxy, found), &cause, belongs.as_ref(), !refusal.running.is_empty());
            if let Some(harm) = harm {
                harm::note(answer, node, proxy, harm, refusal);
            }
        }
    }
}

/// The explanation, the worst problem first: in the order in which the edge checks.
fn why(noun: Noun, answer: &fleet::ExplainResourceResponse, off: Option<Off>) -> String {
    let first = first(noun, answer);
    let mut words = match off {
        None => first,
        Some(Off::Inactive) => {
            format!(
                "callers of proxy {:?} get 403 proxy-inactive because it is not active; {first}",
                answer.name
            )
        }
        Some(Off::Suspended) => {
            format!(
                "{first}; where it is open, callers get 402 billing-suspended because the organization is suspended"
            )
        }
    };
    if let Some(node) = answer.regions.iter().find_map(|region| region.untold.first()) {
        words.push_str(&format!(
            "; {node} refuses more resources than it reports, so more proxies may be closed there"
        ));
    }
    if let Some(node) = answer.regions.iter().find_map(|region| region.clashes.first()) {
        words.push_str(&format!("; another process claims to be {node}: `rrctl node why {node}`"));
    }
    words
}

fn first(noun: Noun, answer: &fleet::ExplainResourceResponse) -> String {
    let what = format!("{} {:?}", noun.title(), answer.name);
    if answer.hash.is_empty() {
        return format!("{what} is not published, so no node receives it");
    }
    if answer.regions.is_empty() {
        return format!("no proxy uses {what}, so no node receives it");
    }
    if let Some(harm) = harm::sentence(noun, answer) {
        return harm;
    }
    let connected: u32 = answer.regions.iter().map(|region| region.connected).sum();
    let refusals = answer.regions.iter().flat_map(|region| &region.refusals);
    if let Some(first) = refusals.clone().next() {
        let closed =
            if first.fails_closed { ", and the proxies that use it deny their callers there" } else { "" };
        let runs = if first.running.is_empty() { "run none" } else { "run an older version" };
        let (count, why) = (refusals.count(), word::why(first.why()));
        return format!("{count} of {connected} connected nodes refuse {what} ({why}) and {runs}{closed}");
    }
    if connected == 0 {
        return format!("no node is connected in the regions that receive {what}");
    }
    let behind: usize = answer.regions.iter().map(|region| region.behind.len()).sum();
    if behind > 0 {
        return format!(
            "{behind} of {connected} connected nodes are behind revision {}, which changed {what} last",
            answer.revision
        );
    }
    let nodes = if connected == 1 {
        "the one connected node runs".to_owned()
    } else {
        format!("all {connected} connected nodes run")
    };
    format!("{nodes} the published version of {what}")
}
