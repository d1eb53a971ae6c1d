//! Tells of nodes that are lost or in trouble, and of what nodes do not take.
//!
//! A node of a region that one organization has is run by that organization: its word counts for nobody else.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, SystemTime};

use prost::Message as _;
use rr_contract::model::resource::Key;
use rr_contract::model::time;
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
pub(super) const RECENT: Duration = Duration::from_secs(3600);

/// Where nodes are, for texts and for who is told.
pub(super) struct Regions(HashMap<String, Stored<Region>>);

impl Regions {
    pub(super) async fn read(store: &Store) -> Result<Self, StoreError> {
        let rows = store::resource::all(store, Noun::Region, "").await?;
        let regions: Vec<Stored<Region>> = store::resource::with_documents(store, rows).await?;
        Ok(Self(regions.into_iter().map(|region| (region.row.id.clone(), region)).collect()))
    }

    pub(super) fn get(&self, id: &str) -> Option<&resource_row::Model> {
        self.0.get(id).map(|region| &region.row)
    }

    /// Its id where it has no name any more.
    pub(super) fn name<'a>(&'a self, id: &'a str) -> &'a str {
        self.0.get(id).map_or(id, |region| &region.row.name)
    }

    /// The organization that has a region; empty where that is shared.
    pub(super) fn owner(&self, id: &str) -> &str {
        self.0.get(id).map_or("", |region| &region.document.dedicated_to)
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
            .map(|node| notice::node_lost(now, regions.owner(&node.region), node, regions.name(&node.region)))
            .collect();
        count += told.tell(store, rows).await?;
    }
}

/// What replicas noted of nodes: crashes and what is held for them, other histories, and two processes of one node.
pub(super) async fn troubles(store: &Store, fleet: &Fleet, told: &Told) -> Result<u64, StoreError> {
    let notes = store::decision::notes(store, store.now()).await?;
    let met = fleet.met();
    if notes.is_quiet() && met.is_empty() {
        return Ok(0);
    }
    let now = store.now();
    let regions = Regions::read(store).await?;
    let place = |id: &str| (regions.owner(id).to_owned(), regions.name(id).to_owned());
    let mut rows = Vec::new();
    for crash in notes.crashes.values() {
        let (owner, name) = place(&crash.region);
        rows.push(notice::node_crashed(now, &owner, crash, &name));
    }
    for state in notes.regions.values().filter(|state| state.held_revision.is_some()) {
        let (owner, name) = place(&state.region);
        rows.push(notice::region_held(now, &owner, state, &name));
    }
    for stray in notes.strays.values() {
        let (owner, name) = place(&stray.region);
        rows.push(notice::node_diverged(now, &owner, stray, &name));
    }
    for clash in &met {
        let (owner, name) = place(&clash.region.to_string());
        rows.push(notice::node_clash(now, &owner, clash, &name));
    }
    told.tell(store, rows).await
}

/// What nodes that reported lately refuse, which issuers are away for them, which secrets came back to them, and whose
/// disk was set back.
pub(super) async fn refusals(store: &Store, told: &Told) -> Result<u64, StoreError> {
    let now = store.now();
    let regions = Regions::read(store).await?;
    let mut after = String::new();
    let mut count = 0;
    loop {
        let nodes = survey::nodes_seen(store, (before(now, RECENT), i64::MAX), &after, PAGE).await?;
        let Some(last) = nodes.last() else { return Ok(count) };
        after.clone_from(&last.id);
        let mut standing: Vec<(&node_row::Model, fleet::Refusal)> = Vec::new();
        let mut rows = Vec::new();
        let mut away: Vec<(&node_row::Model, fleet::AwayIssuer)> = Vec::new();
        let mut echoed: Vec<(&node_row::Model, fleet::EchoedSecret)> = Vec::new();
        for node in &nodes {
            // One that does not decode was written by another version: the node's next one is ours.
            let status = fleet::Status::decode(node.status.as_slice()).unwrap_or_default();
            if status.disk_set_back {
                let owner = regions.owner(&node.region);
                rows.push(notice::node_disk(now, owner, node, regions.name(&node.region)));
            }
            away.extend(status.away_issuers.into_iter().map(|issuer| (node, issuer)));
            echoed.extend(status.echoed_secrets.into_iter().map(|secret| (node, secret)));
            standing.extend(status.standing.into_iter().map(|refusal| (node, refusal)));
        }
        rows.extend(issuers(store, &regions, now, &away).await?);
        rows.extend(secrets(store, &regions, now, &echoed).await?);
        let resources = resources(store, &standing).await?;
        let refused = standing.iter();
        rows.extend(refused.filter_map(|(node, refusal)| row(now, &regions, &resources, node, refusal)));
        count += told.tell(store, rows).await?;
    }
}

/// What is told of issuers that are away, or back: to the organizations that name them.
async fn issuers(
    store: &Store,
    regions: &Regions,
    now: i64,
    away: &[(&node_row::Model, fleet::AwayIssuer)],
) -> Result<Vec<NotificationRow>, StoreError> {
    if away.is_empty() {
        return Ok(Vec::new());
    }
    let orgs: BTreeSet<String> = away.iter().map(|(_, issuer)| issuer.org.clone()).collect();
    let orgs: Vec<String> = orgs.into_iter().collect();
    let there = store::resource::find_all(store, Noun::Org, "", &orgs).await?;
    let there: BTreeSet<&str> = there.iter().map(|row| row.id.as_str()).collect();
    let row = |(node, issuer): &(&node_row::Model, fleet::AwayIssuer)| {
        let owner = regions.owner(&node.region);
        let is_theirs = owner.is_empty() || owner == issuer.org;
        if !is_theirs || !there.contains(issuer.org.as_str()) {
            return None;
        }
        let of = notice::Issuer {
            org: &issuer.org,
            node: &node.id,
            region: regions.name(&node.region),
            jwks_url: &issuer.jwks_url,
            since: issuer.since.as_ref().and_then(micros)?,
            never_there: issuer.never_there,
            back_at: issuer.back_at.as_ref().and_then(micros),
        };
        Some(notice::issuer(now, &of))
    };
    Ok(away.iter().filter_map(row).collect())
}

/// What is told of secrets that upstreams sent back: to the organizations that have them.
async fn secrets(
    store: &Store,
    regions: &Regions,
    now: i64,
    echoed: &[(&node_row::Model, fleet::EchoedSecret)],
) -> Result<Vec<NotificationRow>, StoreError> {
    let mut rows = Vec::new();
    let orgs: BTreeSet<&str> = echoed.iter().map(|(_, secret)| secret.org.as_str()).collect();
    for org in orgs {
        let theirs = || echoed.iter().filter(|(_, secret)| secret.org == org);
        let ids = |of: fn(&fleet::EchoedSecret) -> &String| -> Vec<String> {
            let ids: BTreeSet<&String> = theirs().map(|(_, secret)| of(secret)).collect();
            ids.into_iter().cloned().collect()
        };
        let credentials = ids(|secret| &secret.credential);
        let credentials = store::resource::find_all(store, Noun::Credential, org, &credentials).await?;
        let proxies =
            store::resource::find_all(store, Noun::Proxy, org, &ids(|secret| &secret.proxy)).await?;
        for (node, secret) in theirs() {
            let owner = regions.owner(&node.region);
            let credential = credentials.iter().find(|row| row.id == secret.credential);
            let proxy = proxies.iter().find(|row| row.id == secret.proxy);
            let (Some(credential), Some(proxy)) = (credential, proxy) else { continue };
            let Some(at) = secret.at.as_ref().and_then(micros) else { continue };
            if !owner.is_empty() && owner != org {
                continue;
            }
            let of = notice::Echoed {
                org,
                credential: (&credential.id, &credential.name),
                proxy: &proxy.name,
                region: regions.name(&node.region),
                at,
                refused: secret.refused,
            };
            rows.push(notice::secret_echoed(now, &of));
        }
    }
    Ok(rows)
}

fn micros(at: &pbjson_types::Timestamp) -> Option<i64> {
    time::system_time(at).ok().map(|at| i64::try_from(since_1970(at).as_micros()).unwrap_or(i64::MAX))
}

fn since_1970(at: SystemTime) -> Duration {
    at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
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
    let region = regions.name(&node.region);
    if refusal.key.is_none() {
        return Some(notice::session_refused(now, &node.id, refusal, region));
    }
    let (noun, org, id) = subject(refusal)?;
    let owner = regions.owner(&node.region);
    if !owner.is_empty() && owner != org {
        return None;
    }
    // What is gone needs no looking at, and a key that never was is nobody's.
    let resource = resources.get(&(noun, id)).filter(|row| noun == Noun::Org || row.org == org)?;
    let of = Refused { org: &org, noun, id: &resource.id, name: &resource.name };
    Some(notice::resource_refused(now, &of, refusal, region))
}

pub(super) fn before(now: i64, time: Duration) -> i64 {
    now.saturating_sub(i64::try_from(time.as_micros()).unwrap_or(i64::MAX))
}
