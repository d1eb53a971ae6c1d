//! The next key of a region, and statements that end later: public halves, and private ones that others alone can open.
//!
//! Cannot tell who stands behind a node's key: whoever rotates checks that. The invariant: a key comes into use only when
//! everybody who was there at that moment either has it or was left out on purpose.

use std::collections::BTreeSet;

use prost::Message as _;
use rr_contract::model::invalid::Violations;
use rr_contract::model::time;
use rr_contract::seal::grant;
use rr_contract::seal::region_key::RegionStatement;
use rr_contract::wire::fleet;
use rr_contract::wire::management::{self as wire, KeyHolder, Region};

use super::draft::restage;
use super::resource::show;
use super::{Caller, Page, PageRequest, Reason, ServiceError, Services, fields, region};
use crate::compile::under;
use crate::store::{self, StoreError, Stored, Txn, Written, node_row, node_token_row, time_of};

/// How many holders an error names.
const NAMED: usize = 5;

impl Services {
    /// Nodes of a region and tokens that machines can still join with, each with what proves its key.
    pub(crate) async fn key_holders(
        &self,
        region: &Stored<Region>,
        page: &PageRequest,
    ) -> Result<Page<KeyHolder>, ServiceError> {
        let behind = page.cursor::<2>()?.map(|[kind, id]| (kind.to_owned(), id.to_owned()));
        let nodes = store::node::all_in(&self.store, &region.row.id).await?;
        let tokens = store::node::tokens_in(&self.store, &region.row.id).await?;
        let now = self.store.now();
        let mut holders = Vec::with_capacity(nodes.len());
        for node in &nodes {
            let token = tokens.iter().find(|token| token.id == node.token);
            holders.push((("node", node.id.clone()), self.node_holder(node, token)?));
        }
        for token in tokens.iter().filter(|token| is_live(token, now)) {
            let left = u32::try_from(token.uses - token.used).unwrap_or_default();
            let holder =
                KeyHolder { token: Some(statement_of(token)?), uses_left: left, ..KeyHolder::default() };
            holders.push((("token", token.id.clone()), holder));
        }
        let is_behind = |(kind, id): &(&str, String)| {
            behind.as_ref().is_none_or(|(after, last)| (*kind, id) > (after.as_str(), last))
        };
        holders.retain(|(key, _)| is_behind(key));
        holders.truncate(usize::try_from(page.limit()).unwrap_or(usize::MAX));
        let size = |(_, holder): &((&str, String), KeyHolder)| holder.encoded_len();
        let cut = page.cut_by_bytes(holders, size, |((kind, id), _)| vec![(*kind).to_owned(), id.clone()]);
        Ok(Page { items: cut.items.into_iter().map(|(_, holder)| holder).collect(), next: cut.next })
    }

    fn node_holder(
        &self,
        node: &node_row::Model,
        token: Option<&node_token_row::Model>,
    ) -> Result<KeyHolder, StoreError> {
        Ok(KeyHolder {
            node: node.id.clone(),
            proof: Some(fleet::NodeProof {
                node_key: node.node_key.clone(),
                csr_hash: node.csr_hash.clone().unwrap_or_default(),
                vouch: node.vouch.clone().unwrap_or_default(),
            }),
            token: token.map(statement_of).transpose()?,
            last_seen_at: Some(time::timestamp(time_of(node.last_seen_at))),
            epoch: self.epoch_of(node)?,
            uses_left: 0,
            revoked_at: node.revoked_at.map(|at| time::timestamp(time_of(at))),
        })
    }

    /// The newest epoch whose key a node says that it has; 0 where it has not said it.
    pub(super) fn epoch_of(&self, node: &node_row::Model) -> Result<u32, StoreError> {
        if let Some(live) = self.publisher.fleet().node(&node.id) {
            return Ok(live.status.region_epoch);
        }
        let status =
            fleet::Status::decode(node.status.as_slice()).map_err(|_| StoreError::Damaged("node"))?;
        Ok(status.region_epoch)
    }

    /// Takes the key of the next epoch. The same key a second time changes nothing but grants.
    pub(crate) async fn region_key_rotate(
        &self,
        caller: Caller,
        region: Stored<Region>,
        request: wire::RotateRegionKeyRequest,
    ) -> Result<Written<Stored<Region>>, ServiceError> {
        let next = fields::required("key", request.key)?;
        let next: RegionStatement = next.try_into().map_err(|invalid| under("key", &invalid))?;
        let mut faults = Violations::default();
        for (i, granted) in request.grants.iter().enumerate() {
            if let Err(invalid) = grant::check(granted, &next) {
                crate::compile::add_under(&format!("grants[{i}]"), &invalid, &mut faults);
            }
        }
        faults.finish(|| Some(()))?;
        if next.not_after() <= self.seams.clock.now() {
            return Err(ServiceError::field("key.not_after", "is in the past"));
        }
        let served: BTreeSet<Vec<u8>> = request
            .grants
            .iter()
            .map(|granted| granted.recipient_key.clone())
            .chain(request.left_out.iter().cloned())
            .collect();
        let grants = request.grants;
        let written = self
            .store
            .write(caller.author(), move |txn| {
                Box::pin(async move {
                    let found = show::<Region>(txn, caller.installation(), &region.row.id, 0).await?;
                    let present = region::statement(&found.document)?;
                    if next.fingerprint() != present.fingerprint() || next.region() != present.region() {
                        return Err(ServiceError::field("key", "is not by the signing key of this region"));
                    }
                    everybody(txn, &found, &served).await?;
                    let is_there = next.epoch() == present.epoch()
                        && next.sealing_key() == present.sealing_key();
                    if is_there {
                        store::region_grant::put(txn, &grants);
                        return Ok(found);
                    }
                    if next.epoch() != present.epoch() + 1 {
                        return Err(ServiceError::Conflict {
                            reason: Reason::VersionConflict,
                            text: format!(
                                "the key of region {:?} has epoch {}, and epoch {} cannot follow it: somebody else may have rotated it meanwhile; take the key file that was written then (`rrctl region import-key`)",
                                found.row.name,
                                present.epoch(),
                                next.epoch()
                            ),
                        });
                    }
                    if !found.document.former_keys.is_empty() {
                        return Err(ServiceError::Refused {
                            reason: Reason::InUse,
                            text: format!(
                                "secrets of region {:?} may still be sealed to the key before epoch {}: `rrctl region rotate-key` finishes that rotation first",
                                found.row.name,
                                present.epoch()
                            ),
                            preconditions: Vec::new(),
                        });
                    }
                    store::region_grant::put(txn, &grants);
                    let mut document = found.document;
                    document.former_keys = vec![present.to_wire()];
                    document.key = Some(next.to_wire());
                    let name = found.row.name.clone();
                    restage(txn, found.row, document, name)
                })
            })
            .await?;
        Ok(written)
    }

    /// Takes a statement of the same keys that ends later.
    pub(crate) async fn region_key_renew(
        &self,
        caller: Caller,
        region: Stored<Region>,
        key: Option<fleet::RegionKeyStatement>,
    ) -> Result<Written<Stored<Region>>, ServiceError> {
        let next = fields::required("key", key)?;
        let next: RegionStatement = next.try_into().map_err(|invalid| under("key", &invalid))?;
        if next.not_after() <= self.seams.clock.now() {
            return Err(ServiceError::field("key.not_after", "is in the past"));
        }
        let written = self
            .store
            .write(caller.author(), move |txn| {
                Box::pin(async move {
                    let found = show::<Region>(txn, caller.installation(), &region.row.id, 0).await?;
                    let present = region::statement(&found.document)?;
                    let same = next.fingerprint() == present.fingerprint()
                        && next.epoch() == present.epoch()
                        && next.sealing_key() == present.sealing_key();
                    if !same {
                        return Err(ServiceError::field(
                            "key",
                            format!(
                                "is not of the present keys (fingerprint {}, epoch {})",
                                present.fingerprint(),
                                present.epoch()
                            ),
                        ));
                    }
                    let document = Region { key: Some(next.to_wire()), ..found.document };
                    let name = found.row.name.clone();
                    restage(txn, found.row, document, name)
                })
            })
            .await?;
        Ok(written)
    }
}

/// Every node that is not revoked, and every token that machines can join with, was served or left out.
async fn everybody(
    db: &Txn,
    region: &Stored<Region>,
    served: &BTreeSet<Vec<u8>>,
) -> Result<(), ServiceError> {
    let now = db.now();
    let nodes = store::node::all_in(db, &region.row.id).await?;
    let tokens = store::node::tokens_in(db, &region.row.id).await?;
    let mut missed: Vec<String> = Vec::new();
    let is_missed = |node: &node_row::Model| node.revoked_at.is_none() && !served.contains(&node.node_key);
    missed.extend(nodes.into_iter().filter(is_missed).map(|node| node.id));
    for token in tokens.iter().filter(|token| is_live(token, now)) {
        if !served.contains(&statement_of(token)?.open_key) {
            missed.push(token.id.clone());
        }
    }
    if missed.is_empty() {
        return Ok(());
    }
    let (count, first) = (missed.len(), missed[..missed.len().min(NAMED)].join(", "));
    Err(ServiceError::Conflict {
        reason: Reason::Changed,
        text: format!(
            "{count} of the nodes and tokens of region {:?} are neither given the new key nor left out ({first}): they came after the list was read; list them again",
            region.row.name
        ),
    })
}

/// Whether machines can still join with it.
fn is_live(token: &node_token_row::Model, now: i64) -> bool {
    token.revoked_at.is_none() && token.expires_at > now && token.used < token.uses
}

fn statement_of(token: &node_token_row::Model) -> Result<fleet::NodeTokenStatement, StoreError> {
    fleet::NodeTokenStatement::decode(token.statement.as_slice())
        .map_err(|_| StoreError::Damaged("node token"))
}
