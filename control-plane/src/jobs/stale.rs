//! Tells of connected nodes that stay behind what is published for their region.
//!
//! A node that comes back after a while is behind until it has caught up, and one that is sent a large change is, too. So
//! one is told of only when what it lacks is older than the bound and it was behind at every look for as long. Nodes
//! that are behind because of something that is told otherwise are left out: another history, a region that is held, a
//! crash on what is published.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prost::Message as _;
use rr_contract::model::id::RegionId;
use rr_contract::wire::fleet;

use super::nodes::{RECENT, Regions, before};
use super::{PAGE, Told};
use crate::notice::{self, StaleNode};
use crate::publish::Publisher;
use crate::store::decision::{self, Notes};
use crate::store::{Store, StoreError, history, node_row, survey};

/// After how long behind a node is told of: sending a large change takes less.
const STALE_AFTER: Duration = Duration::from_secs(300);

/// Since when each node was behind at every look of this replica.
#[derive(Default)]
pub(super) struct Behind(Mutex<HashMap<String, i64>>);

impl Behind {
    /// Those that were seen before are behind since then.
    fn look(&self, now: i64, behind: impl Iterator<Item = String>) -> HashMap<String, i64> {
        // Held for a few map operations and never over an await.
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let since = |id: String| (known.get(&id).copied().unwrap_or(now), id);
        *known = behind.map(since).map(|(since, id)| (id, since)).collect();
        known.clone()
    }
}

/// A node that is behind.
struct Found {
    node: node_row::Model,
    running: Option<fleet::Position>,
    desired: u64,
    /// The first revision that it lacks.
    lacks: u64,
}

pub(super) async fn run(
    store: &Store,
    publisher: &Publisher,
    told: &Told,
    behind: &Behind,
) -> Result<u64, StoreError> {
    let now = store.now();
    let mut found = Vec::new();
    let mut after = String::new();
    let notes = decision::notes(store, now).await?;
    loop {
        // One that is connected was seen lately.
        let nodes = survey::nodes_seen(store, (before(now, RECENT), i64::MAX), &after, PAGE).await?;
        let Some(last) = nodes.last() else { break };
        after.clone_from(&last.id);
        let connected = nodes.into_iter().filter(|node| publisher.fleet().is_connected(&node.id));
        found.extend(connected.filter_map(|node| look(publisher, &notes, node)));
    }
    let since = behind.look(now, found.iter().map(|it| it.node.id.clone()));
    let long = before(now, STALE_AFTER);
    found.retain(|it| since.get(&it.node.id).is_some_and(|since| *since <= long));
    if found.is_empty() {
        return Ok(0);
    }
    let regions = Regions::read(store).await?;
    let mut times = BTreeMap::new();
    let mut rows = Vec::new();
    for Found { node, running, desired, lacks } in &found {
        let runs = running.as_ref().map(|at| at.revision);
        for revision in [Some(*lacks), runs].into_iter().flatten() {
            if let Entry::Vacant(unknown) = times.entry(revision) {
                unknown.insert(history::revision(store, revision).await?.map(|row| row.at));
            }
        }
        let time = |revision: u64| times.get(&revision).copied().flatten();
        // It cannot have lacked what came before it was there.
        let Some(since) = time(*lacks).map(|at| at.max(node.joined_at)).filter(|at| *at <= long) else {
            continue;
        };
        let of = StaleNode {
            node: &node.id,
            region: regions.name(&node.region),
            runs: runs.map(|revision| (revision, time(revision))),
            lacks: *lacks,
            since,
            desired: *desired,
        };
        rows.push(notice::node_stale(now, regions.owner(&node.region), &of));
    }
    told.tell(store, rows).await
}

/// What a connected node lacks; none where it has all, or where that is told otherwise.
fn look(publisher: &Publisher, notes: &Notes, node: node_row::Model) -> Option<Found> {
    let region: RegionId = node.region.parse().ok()?;
    let desired = publisher.position(region)?;
    // What another replica has its stream of is in its row, a few seconds old.
    let status = match publisher.fleet().node(&node.id) {
        Some(live) if live.diverged => return None,
        Some(live) => live.status,
        None => fleet::Status::decode(node.status.as_slice()).unwrap_or_default(),
    };
    let running = status.running;
    let stands = running.as_ref().map_or(0, |at| at.revision);
    let held = notes.regions.get(&node.region).and_then(|state| state.held_revision);
    let waits = held.is_some_and(|held| stands < held.unsigned_abs());
    let crashed = notes.crashes.get(&node.id).is_some_and(|crash| crash.digest == desired.digest);
    if notes.strays.contains_key(&node.id) || waits || crashed {
        return None;
    }
    let lacks = publisher.lacks(region, running.as_ref())?;
    Some(Found { node, running, desired: desired.revision, lacks })
}
