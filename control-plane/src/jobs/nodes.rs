//! Tells of nodes that are lost, and of what nodes do not take.
//!
//! A node of a region that one organization has is run by that organization: its word counts for nobody else.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use prost::Message as _;
use rr_contract::model::resource::Key;
use rr_contract::wire::fleet;
use rr_contract::wire::management::Region;

use super::{PAGE, Told};
use crate::notice::{self, Refused};
use crate::noun::Noun;
use crate::publish::Fleet;
use crate::store::notification::NotificationRow;
use crate::store::{self, Store, StoreError, Stored, node_row, resource_row, survey};

/// After how long without a word a node is lost. A restart takes less, and so does the longest pause before a node
/// that was sent away connects anew.
pub(super) const LOST_AFTER: Duration = Duration::from_secs(300);
/// How recent a report must be for what it refuses to be looked at: what an older one had to tell was told.
const RECENT: Duration = Duration::from_secs(3600);

/// Where nodes are, for texts and for who is told.
struct Regions(HashMap<String, Stored<Region>>);

impl Regions {
    async fn read(store: &Store) -> Result<Self, StoreError> {
        let rows = store::resource::all(store, Noun::Region, "").await?;
        let regions: Vec<Stored<Region>> = store::resource::with_documents(store, rows).await?;
        Ok(Self(regions.into_iter().map(|region| (region.row.id.clone(), region)).collect()))
    }

    fn name<'a>(&'a self, node: &'a node_row::Model) -> &'a str {
        self.0.get(&node.region).map_or(&node.region, |region| &region.row.name)
    }

    /// The organization that has a node's region; empty where that is shared.
    fn owner(&self, node: &node_row::Model) -> &str {
        self.0.get(&node.region).map_or("", |region| &region.document.dedicated_to)
    }
}

/// Those that were seen once, not lately, and are not connected here. One that is connected elsewhere was seen.
pub(super) async fn lost(store: &Store, fleet: &Fleet, told: &Told) -> Result<u64, StoreError> {
    let now = store.now();
    let regions = Regions::read(store).await?;
    let mut after = String::new();
    let mut count = 0;
    loop {
        let nodes = survey::nodes_seen(store, (i64::MIN, before(now, LOST_AFTER)), &after, PAGE).await?;
        let Some(last) = nodes.last() else { return Ok(count) };
        after.clone_from(&last.id);
        let rows = nodes
            .iter()
            .filter(|node| !fleet.is_connected(&node.id))
            .map(|node| notice::node_lost(now, regions.owner(node), node, regions.name(node)))
            .collect();
        count += told.tell(store, rows).await?;
    }
}

/// What nodes that reported lately refuse.
pub(super) async fn refusals(store: &Store, told: &Told) -> Result<u64, StoreError> {
    let now = store.now();
    let regions = Regions::read(store).await?;
    let mut after = String::new();
    let mut count = 0;
    loop {
        let nodes = survey::nodes_seen(store, (before(now, RECENT), i64::MAX), &after, PAGE).await?;
        let Some(last) = nodes.last() else { return Ok(count) };
        after.clone_from(&last.id);
        let standing: Vec<(&node_row::Model, fleet::Refusal)> = nodes
            .iter()
            .flat_map(|node| {
                // One that does not decode was written by another version: the node's next one is ours.
                let status = fleet::Status::decode(node.status.as_slice()).unwrap_or_default();
                status.standing.into_iter().map(move |refusal| (node, refusal))
            })
            .collect();
        let resources = resources(store, &standing).await?;
        let rows = standing
            .iter()
            .filter_map(|(node, refusal)| row(now, &regions, &resources, node, refusal))
            .collect();
        count += told.tell(store, rows).await?;
    }
}

/// Resources that are refused, by noun and id.
type Resources = HashMap<(Noun, String), resource_row::Model>;

async fn resources(
    store: &Store,
    standing: &[(&node_row::Model, fleet::Refusal)],
) -> Result<Resources, StoreError> {
    let mut wanted: HashMap<(Noun, String), BTreeSet<String>> = HashMap::new();
    for (_, refusal) in standing {
        if let Some((noun, org, id)) = subject(refusal) {
            // An organization belongs to none.
            let org = if noun == Noun::Org { String::new() } else { org };
            wanted.entry((noun, org)).or_default().insert(id);
        }
    }
    let mut found = Resources::new();
    for ((noun, org), ids) in wanted {
        let ids: Vec<String> = ids.into_iter().collect();
        for row in store::resource::find_all(store, noun, &org, &ids).await? {
            found.insert((noun, row.id.clone()), row);
        }
    }
    Ok(found)
}

/// What a refusal is about: noun, organization, id. None for one about the session, or about what is no resource.
fn subject(refusal: &fleet::Refusal) -> Option<(Noun, String, String)> {
    let key = Key::try_from(refusal.key.as_ref()?).ok()?;
    let wire = key.to_wire();
    Some((Noun::of_row(wire.kind)?, wire.org, wire.id))
}

fn row(
    now: i64,
    regions: &Regions,
    resources: &Resources,
    node: &node_row::Model,
    refusal: &fleet::Refusal,
) -> Option<NotificationRow> {
    let region = regions.name(node);
    if refusal.key.is_none() {
        return Some(notice::session_refused(now, &node.id, refusal, region));
    }
    let (noun, org, id) = subject(refusal)?;
    let owner = regions.owner(node);
    if !owner.is_empty() && owner != org {
        return None;
    }
    // What is gone needs no looking at, and a key that never was is nobody's.
    let resource = resources.get(&(noun, id)).filter(|row| noun == Noun::Org || row.org == org)?;
    let of = Refused { org: &org, noun, id: &resource.id, name: &resource.name };
    Some(notice::resource_refused(now, &of, refusal, region))
}

fn before(now: i64, time: Duration) -> i64 {
    now.saturating_sub(i64::try_from(time.as_micros()).unwrap_or(i64::MAX))
}
