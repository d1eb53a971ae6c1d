//! The two decisions of a person about a region whose nodes do not follow by themselves: to adopt this history where the
//! nodes have another one, and to release a held revision.

use std::collections::BTreeMap;
use std::time::Duration;

use rr_contract::digest::ResourceHash;
use rr_contract::model::id::{NodeId, RegionId};
use rr_contract::model::resource::{Key, ResourceId};
use rr_contract::model::time;
use rr_contract::wire::fleet::{self, AdoptAction};
use rr_contract::wire::management::{self as wire, Region, credential::Usage};

use tokio::time::{Instant, timeout_at};

use super::{Caller, Reason, ServiceError, Services};
use crate::noun::Noun;
use crate::publish::Holdings;
use crate::store::{self, Author, Consent, Stored, Txn, Written, decision, time_of};

/// How many differences an answer lists.
const LISTED: usize = 1_000;
/// How many credentials may be revived at once.
const REVIVED_MOST: usize = 1_000;

/// How long all nodes together may take to list their resources.
const ASKED_WITHIN: Duration = Duration::from_secs(20);

/// The effect of an adopt on each resource, and on how many nodes.
type Differences = BTreeMap<(Key, i32), u32>;

impl Services {
    /// Adopts this history for the diverged nodes of a region, or lists the effects of that.
    pub(crate) async fn revision_adopt(
        &self,
        caller: Caller,
        region: Stored<Region>,
        request: fleet::AdoptRevisionRequest,
    ) -> Result<fleet::AdoptRevisionResponse, ServiceError> {
        let revived = self.revived(&request.revive).await?;
        let notes = decision::notes(&self.store, self.store.now()).await?;
        let strays = super::node::strays(&notes, &region.row.id);
        if strays.is_empty() {
            return Err(ServiceError::Refused {
                reason: Reason::NotDiverged,
                text: format!(
                    "no node of region {:?} is diverged: there is nothing to adopt",
                    region.row.name
                ),
                preconditions: Vec::new(),
            });
        }
        let (differences, unasked) = self.differences(&region.row.id, &strays, &revived).await?;
        let plan = plan(&region.row.id, &strays, &differences);
        let stays_revoked = i32::from(AdoptAction::StaysRevoked);
        let revoked: Vec<Key> =
            differences.keys().filter(|(_, action)| *action == stays_revoked).map(|(key, _)| *key).collect();
        if !request.expected_plan.is_empty() && request.expected_plan != plan {
            return Err(ServiceError::Conflict {
                reason: Reason::Changed,
                text: "the plan is out of date: request it again with `dry_run`".to_owned(),
            });
        }
        let mut answer = fleet::AdoptRevisionResponse {
            revision: 0,
            plan: plan.to_vec(),
            difference_count: differences.len() as u64,
            differences: self.told(differences).await?,
            diverged: strays,
            unasked,
        };
        let lineage = self.installation().await?.lineage;
        // The divergence that stops other writes is resolved by this one.
        let consent = Consent { anything: true, ..Consent::default() };
        let author = Author { consent, ..caller.author() }.rehearsing(request.dry_run);
        let written = self
            .store
            .write(author, move |txn| {
                Box::pin(async move {
                    for key in &revoked {
                        end(txn, key).await?;
                    }
                    let mut words = format!("{} adopted", region.row.name);
                    if !revived.is_empty() {
                        words = format!("{words}; revived {}", revived.join(" "));
                    }
                    let id = region.row.id.clone();
                    txn.decide(Noun::Region, region.row, words);
                    decision::adopt(txn, id, lineage, &revived);
                    Ok::<_, ServiceError>(())
                })
            })
            .await?;
        if !request.dry_run {
            self.publisher.fleet().refresh().await?;
        }
        answer.revision = written.revision.unwrap_or_default();
        Ok(answer)
    }

    /// Releases the revision that a region holds.
    pub(crate) async fn revision_release(
        &self,
        caller: Caller,
        region: Stored<Region>,
        revision: u64,
    ) -> Result<Written<()>, ServiceError> {
        let written = self
            .store
            .write(caller.author(), move |txn| {
                Box::pin(async move {
                    let state = decision::region(txn, &region.row.id).await?;
                    let held = state.filter(|state| state.held_revision.is_some());
                    let Some(state) =
                        held.filter(|state| state.held_revision == i64::try_from(revision).ok())
                    else {
                        return Err(ServiceError::Refused {
                            reason: Reason::NotHeld,
                            text: format!("revision {revision} of region {:?} is not held", region.row.name),
                            preconditions: Vec::new(),
                        });
                    };
                    let words = format!("{} released revision {revision}", region.row.name);
                    txn.decide(Noun::Region, region.row, words);
                    decision::release(txn, state);
                    Ok(())
                })
            })
            .await?;
        self.publisher.fleet().refresh().await?;
        Ok(written)
    }

    /// Ids of the caller credentials that are named: by id, or as organization and name.
    async fn revived(&self, named: &[String]) -> Result<Vec<String>, ServiceError> {
        if named.len() > REVIVED_MOST {
            return Err(ServiceError::field("revive", format!("must have at most {REVIVED_MOST} entries")));
        }
        let mut ids = Vec::with_capacity(named.len());
        for (at, reference) in named.iter().enumerate() {
            let field = format!("revive[{at}]");
            let row = match reference.split_once('/') {
                Some((org, name)) => match super::scope::org(&self.store, org).await? {
                    Some(org) => store::resource::find(&self.store, Noun::Credential, &org.id, name).await?,
                    None => None,
                },
                None => store::resource::by_id(&self.store, Noun::Credential, reference).await?,
            };
            let Some(row) = row else {
                let reason = "names no credential: write an id, or `organization/name`";
                return Err(ServiceError::field(field, reason));
            };
            let found: Stored<wire::Credential> = store::resource::with_document(&self.store, row).await?;
            if !matches!(found.document.usage, Some(Usage::Caller(_))) {
                return Err(ServiceError::field(
                    field,
                    "names an upstream credential: only caller credentials can be revived",
                ));
            }
            ids.push(found.row.id);
        }
        ids.sort();
        ids.dedup();
        Ok(ids)
    }

    /// The differences between the resources of diverged nodes and the published ones, and nodes without an answer.
    async fn differences(
        &self,
        region: &str,
        strays: &[fleet::DivergedNode],
        revived: &[String],
    ) -> Result<(Differences, Vec<String>), ServiceError> {
        let region: RegionId = region.parse().map_err(|_| store::StoreError::Damaged("region"))?;
        let published: BTreeMap<Key, ResourceHash> = self.publisher.published_in(region);
        let (mut differences, mut unasked) = (Differences::new(), Vec::new());
        let mut places: BTreeMap<&[u8], Vec<&fleet::DivergedNode>> = BTreeMap::new();
        for stray in strays {
            places.entry(&stray.digest).or_default().push(stray);
        }
        let until = Instant::now() + ASKED_WITHIN;
        for there in places.values() {
            let Some(held) = self.held(there, until).await else {
                unasked.extend(there.iter().map(|stray| stray.node.clone()));
                continue;
            };
            let nodes = u32::try_from(there.len()).unwrap_or(u32::MAX);
            for (key, hash) in &published {
                let action = match held.get(key) {
                    Some(held) if held == hash => continue,
                    Some(_) => AdoptAction::Reverts,
                    None if self.publisher.is_caller(key) && !is_revived(key, revived) => {
                        AdoptAction::StaysRevoked
                    }
                    None => AdoptAction::Returns,
                };
                *differences.entry((*key, action.into())).or_default() += nodes;
            }
            for key in held.keys().filter(|key| !published.contains_key(*key)) {
                *differences.entry((*key, AdoptAction::Goes.into())).or_default() += nodes;
            }
        }
        unasked.sort();
        Ok((differences, unasked))
    }

    /// The resources of nodes that all hold the same: the first answer counts.
    async fn held(&self, nodes: &[&fleet::DivergedNode], until: Instant) -> Option<Holdings> {
        for stray in nodes {
            let Ok(node) = stray.node.parse::<NodeId>() else { continue };
            let answer = timeout_at(until, self.publisher.holds(node)).await;
            if let Ok(Some(held)) = answer {
                return Some(held);
            }
        }
        None
    }

    /// For people: with names, as far as this database knows them.
    async fn told(&self, differences: Differences) -> Result<Vec<fleet::AdoptedDifference>, ServiceError> {
        let mut told = Vec::new();
        for ((key, action), nodes) in differences.into_iter().take(LISTED) {
            let wire = key.to_wire();
            let noun = Noun::of_row(wire.kind).ok_or(store::StoreError::Damaged("resource"))?;
            let row = store::resource::by_id(&self.store, noun, &wire.id).await?;
            told.push(fleet::AdoptedDifference {
                action,
                kind: noun.text().to_owned(),
                org: wire.org,
                id: wire.id,
                name: row.map(|row| row.name).unwrap_or_default(),
                nodes,
            });
        }
        Ok(told)
    }
}

/// Expires a credential that some nodes saw revoked: other nodes, and nodes that join later, did not see that.
async fn end(txn: &mut Txn, key: &Key) -> Result<(), ServiceError> {
    let at = key.to_wire();
    let found = store::resource::find(txn, Noun::Credential, &at.org, &at.id).await?;
    let Some(row) = found else { return Ok(()) };
    let Stored { row, document } = store::resource::with_document::<wire::Credential>(txn, row).await?;
    let now = time_of(txn.now());
    let ended = |at: &pbjson_types::Timestamp| time::system_time(at).is_ok_and(|at| at <= now);
    if document.not_after.as_ref().is_some_and(ended) {
        return Ok(());
    }
    let document = wire::Credential { not_after: Some(time::timestamp(now)), ..document };
    match super::withdraw::put_of(txn, &at.org, &row, document).await? {
        Ok(put) => {
            txn.put(put);
            Ok(())
        }
        Err(why) => Err(ServiceError::Refused {
            reason: Reason::NotDiverged,
            text: format!(
                "credential {:?} was revoked on nodes and cannot be ended here ({why}): delete it, or name it in `revive`",
                row.name
            ),
            preconditions: Vec::new(),
        }),
    }
}

fn is_revived(key: &Key, revived: &[String]) -> bool {
    matches!(key.id, ResourceId::Credential(id) if revived.contains(&id.to_string()))
}

/// The digest that identifies a list of differences.
fn plan(region: &str, strays: &[fleet::DivergedNode], differences: &Differences) -> [u8; 32] {
    use prost::Message as _;

    let mut hasher = blake3::Hasher::new();
    hasher.update(region.as_bytes());
    for stray in strays {
        let place = fleet::DivergedNode { since: None, ..stray.clone() };
        hasher.update(&place.encode_length_delimited_to_vec());
    }
    for ((key, action), nodes) in differences {
        hasher.update(&key.to_wire().encode_length_delimited_to_vec());
        hasher.update(&action.to_be_bytes());
        hasher.update(&nodes.to_be_bytes());
    }
    *hasher.finalize().as_bytes()
}
