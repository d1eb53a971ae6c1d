//! Secrets of a region, sealed again to its newest key by whoever has the keys, and taken from under the keys before.
//!
//! Opens none, and cannot tell whether a wrap opens. The invariants: no wrap goes while it is the only one of its region, and
//! nothing but wraps changes.

use std::collections::{BTreeMap, HashMap, HashSet};

use prost::Message as _;
use rr_contract::model::invalid::Violations;
use rr_contract::seal::SealedSecret;
use rr_contract::wire::fleet;
use rr_contract::wire::management::{self as wire, Credential, Region, SealedCredential};

use super::draft::restage;
use super::resource::show;
use super::{Caller, Page, PageRequest, Reason, ServiceError, Services, region};
use crate::compile;
use crate::document::{self, Resource as _};
use crate::noun::Noun;
use crate::store::{self, Author, Put, StoreError, Stored, Txn, Written, secret_row};

/// How many secrets one write changes.
const SLICE: usize = 500;
/// How many rows are read at once.
const ROWS: u64 = 1_000;
/// A node that was not seen for so long is not waited for.
const SEEN_WITHIN: i64 = 7 * 86_400 * 1_000_000;
/// The most secrets of one call.
const SECRETS_MOST: usize = 1_000;
/// Who retires keys once all nodes have the newest.
const CALL: &str = "system.RetireRegionKeys";
/// How many nodes an error names.
const NAMED: usize = 5;

/// Which wraps of a region are looked for.
#[derive(Clone, Copy)]
enum Wanted {
    /// The newest epoch is not among them.
    NotNewest,
    /// An earlier epoch is among them.
    Earlier,
}

impl Services {
    /// Secrets that are sealed to the region and not to its newest key, and on the first page how many there are.
    pub(crate) async fn sealed_secrets(
        &self,
        region: &Stored<Region>,
        page: &PageRequest,
    ) -> Result<(Page<SealedCredential>, u64), ServiceError> {
        let after = page.cursor::<1>()?.map(|[id]| id.to_owned());
        let epoch = region::statement(&region.document)?.epoch();
        let limit = usize::try_from(page.limit()).unwrap_or(usize::MAX);
        let (rows, total) =
            self.wrapped(&region.row.id, epoch, Wanted::NotNewest, after.as_deref(), limit).await?;
        let ids: Vec<String> = rows.iter().map(|row| row.credential.clone()).collect();
        let orgs: HashMap<String, String> = store::resource::by_ids(&self.store, Noun::Credential, &ids)
            .await?
            .into_iter()
            .map(|row| (row.id, row.org))
            .collect();
        let mut items = Vec::with_capacity(rows.len());
        for row in rows {
            items.push(SealedCredential {
                org: orgs.get(&row.credential).cloned().unwrap_or_default(),
                version: row.version.unsigned_abs(),
                sealed: row.sealed.as_deref().map(decode).transpose()?,
                previous: row.previous_sealed.as_deref().map(decode).transpose()?,
                credential: row.credential,
            });
        }
        let page =
            page.cut_by_bytes(items, SealedCredential::encoded_len, |item| vec![item.credential.clone()]);
        Ok((page, if after.is_none() { total } else { 0 }))
    }

    /// Rows of the secrets that are wanted, up to `limit`, and how many there are where the reading began at the start.
    async fn wrapped(
        &self,
        region: &str,
        epoch: u32,
        wanted: Wanted,
        after: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<secret_row::Model>, u64), ServiceError> {
        let (mut found, mut total, mut last) = (Vec::new(), 0, after.unwrap_or_default().to_owned());
        loop {
            let rows = store::secret::sealed_behind(&self.store, &last, ROWS).await?;
            let Some(end) = rows.last() else { return Ok((found, total)) };
            last.clone_from(&end.credential);
            for row in rows {
                if !is_wanted(&row, region, epoch, wanted)? {
                    continue;
                }
                total += 1;
                if found.len() < limit {
                    found.push(row);
                }
            }
            // Only the first page tells how many there are.
            if after.is_some() && found.len() >= limit {
                return Ok((found, total));
            }
        }
    }

    /// Adds wraps for the newest key.
    pub(crate) async fn secrets_rewrap(
        &self,
        caller: Caller,
        region: Stored<Region>,
        secrets: Vec<wire::RewrappedSecret>,
    ) -> Result<Written<u32>, ServiceError> {
        if secrets.is_empty() || secrets.len() > SECRETS_MOST {
            return Err(ServiceError::field("secrets", format!("has 1 to {SECRETS_MOST}")));
        }
        let written = self
            .store
            .write(caller.author(), move |txn| {
                Box::pin(async move {
                    let found = show::<Region>(txn, caller.installation(), &region.row.id, 0).await?;
                    let epoch = region::statement(&found.document)?.epoch();
                    check_wraps(&secrets, &found.row.id, epoch)?;
                    let ids: Vec<String> = secrets.iter().map(|it| it.credential.clone()).collect();
                    let rows = store::secret::of_all(txn, &ids).await?;
                    let mut rows: HashMap<String, secret_row::Model> =
                        rows.into_iter().map(|row| (row.credential.clone(), row)).collect();
                    let mut changed = Vec::new();
                    for new in secrets {
                        let Some(mut row) = rows.remove(&new.credential) else { continue };
                        if row.version.unsigned_abs() != new.version {
                            continue;
                        }
                        let added = add(&mut row.sealed, new.wrap)?;
                        let before = add(&mut row.previous_sealed, new.previous_wrap)?;
                        if added || before {
                            changed.push(row);
                        }
                    }
                    let taken = u32::try_from(changed.len()).unwrap_or(u32::MAX);
                    put(txn, changed).await?;
                    Ok::<_, ServiceError>(taken)
                })
            })
            .await?;
        Ok(written)
    }

    /// Takes wraps of earlier epochs away, a slice of them; how many are left. With the last, the keys are retired.
    pub(crate) async fn region_keys_retire(
        &self,
        author: Author,
        region: &Stored<Region>,
        now: bool,
    ) -> Result<Written<u64>, ServiceError> {
        let id = region.row.id.clone();
        let newest = region::statement(&region.document)?.epoch();
        if region.document.former_keys.is_empty() {
            return Ok(Written { value: 0, revision: None });
        }
        let behind = if now { Vec::new() } else { self.without_newest(&id, newest).await? };
        if !behind.is_empty() {
            return Err(ServiceError::Refused {
                reason: Reason::InUse,
                text: format!(
                    "{} nodes of region {:?} do not report the key of epoch {newest} ({}): they open nothing without an earlier one; wait, or call with `now` (`rrctl region rotate-key --now`)",
                    behind.len(),
                    region.row.name,
                    behind[..behind.len().min(NAMED)].join(", ")
                ),
                preconditions: Vec::new(),
            });
        }
        let (_, unsealed) = self.wrapped(&id, newest, Wanted::NotNewest, None, 0).await?;
        if unsealed > 0 {
            return Err(ServiceError::Refused {
                reason: Reason::InUse,
                text: format!(
                    "{unsealed} secrets of region {:?} are sealed to an earlier key alone: `rrctl region rotate-key` seals them to the newest first",
                    region.row.name
                ),
                preconditions: Vec::new(),
            });
        }
        let (rows, total) = self.wrapped(&id, newest, Wanted::Earlier, None, SLICE).await?;
        let credentials: Vec<String> = rows.into_iter().map(|row| row.credential).collect();
        let left = total - credentials.len() as u64;
        let retired = credentials.clone();
        let written = self
            .store
            .write(author, move |txn| {
                Box::pin(async move {
                    let found = region::by_reference(txn, &id)
                        .await?
                        .ok_or_else(|| ServiceError::NotFound { noun: "region", name: id.clone() })?;
                    if region::statement(&found.document)?.epoch() != newest {
                        return Err(ServiceError::Conflict {
                            reason: Reason::Changed,
                            text: format!("region {:?} has got another key meanwhile", found.row.name),
                        });
                    }
                    let mut rows = store::secret::of_all(txn, &credentials).await?;
                    for row in &mut rows {
                        strip(&mut row.sealed, &id, newest)?;
                        strip(&mut row.previous_sealed, &id, newest)?;
                    }
                    put(txn, rows).await?;
                    if left == 0 {
                        store::region_grant::forget_before(txn, &id, newest);
                        let document = Region { former_keys: Vec::new(), ..found.document };
                        let name = found.row.name.clone();
                        restage(txn, found.row, document, name)?;
                    }
                    Ok::<_, ServiceError>(left)
                })
            })
            .await?;
        // What was published of them before is let go of: nobody is sent it any more.
        store::retention::forget_versions(&self.store, Noun::Credential, &retired).await?;
        Ok(written)
    }

    /// Retires what all nodes have a newer key for; how many secrets were changed.
    pub(crate) async fn region_keys_retire_due(&self) -> Result<u64, ServiceError> {
        let rows = store::resource::all(&self.store, Noun::Region, "").await?;
        let regions: Vec<Stored<Region>> = store::resource::with_documents(&self.store, rows).await?;
        let mut done = 0;
        for region in regions.into_iter().filter(|region| !region.document.former_keys.is_empty()) {
            loop {
                match self.region_keys_retire(Author::system(CALL), &region, false).await {
                    Ok(written) if written.value > 0 => done += SLICE as u64,
                    Ok(_) => {
                        done += 1;
                        break;
                    }
                    // Nodes or secrets are not that far.
                    Err(
                        ServiceError::Refused { reason: Reason::InUse, .. } | ServiceError::Conflict { .. },
                    ) => {
                        break;
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(done)
    }

    /// Nodes that were seen lately, were given the key of this epoch, and do not report it. Who was left out of the rotation
    /// never will: that node is not waited for.
    async fn without_newest(&self, region: &str, epoch: u32) -> Result<Vec<String>, ServiceError> {
        let grants = store::region_grant::of_region(&self.store, region).await?;
        let given: HashSet<Vec<u8>> =
            grants.into_iter().filter(|it| it.epoch == epoch).map(|it| it.recipient_key).collect();
        let since = self.store.now() - SEEN_WITHIN;
        let mut behind = Vec::new();
        for node in store::node::all_in(&self.store, region).await? {
            let is_there = self.publisher.fleet().is_connected(&node.id);
            let is_expected = node.revoked_at.is_none()
                && given.contains(&node.node_key)
                && (is_there || node.last_seen_at >= since);
            if is_expected && self.epoch_of(&node)? < epoch {
                behind.push(node.id);
            }
        }
        Ok(behind)
    }
}

/// The secret of now, where it is sealed to a region.
pub(super) fn sealed_to(
    row: &secret_row::Model,
    region: &str,
) -> Result<Option<fleet::SealedSecret>, StoreError> {
    let Some(sealed) = row.sealed.as_deref().map(decode).transpose()? else { return Ok(None) };
    let is_to_it = sealed.wraps.iter().any(|wrap| wrap.region == region);
    Ok(is_to_it.then_some(sealed))
}

fn is_wanted(row: &secret_row::Model, region: &str, epoch: u32, wanted: Wanted) -> Result<bool, StoreError> {
    for sealed in [row.sealed.as_deref(), row.previous_sealed.as_deref()].into_iter().flatten() {
        let sealed = decode(sealed)?;
        let mut epochs = sealed.wraps.iter().filter(|wrap| wrap.region == region).map(|wrap| wrap.epoch);
        let (lowest, highest) = match epochs.next() {
            None => continue,
            Some(first) => epochs.fold((first, first), |(low, high), it| (low.min(it), high.max(it))),
        };
        let is_one = match wanted {
            Wanted::NotNewest => highest < epoch,
            Wanted::Earlier => lowest < epoch,
        };
        if is_one {
            return Ok(true);
        }
    }
    Ok(false)
}

fn check_wraps(secrets: &[wire::RewrappedSecret], region: &str, epoch: u32) -> Result<(), ServiceError> {
    let mut faults = Violations::default();
    for (i, secret) in secrets.iter().enumerate() {
        for (name, wrap) in [("wrap", &secret.wrap), ("previous_wrap", &secret.previous_wrap)] {
            let Some(wrap) = wrap else { continue };
            if wrap.region != region || wrap.epoch != epoch {
                faults
                    .add(format!("secrets[{i}].{name}"), format!("is not for epoch {epoch} of this region"));
            }
        }
    }
    Ok(faults.finish(|| Some(()))?)
}

/// Adds a wrap, in the place of one for the same region and epoch; whether there was something to add it to.
fn add(sealed: &mut Option<Vec<u8>>, wrap: Option<fleet::Wrap>) -> Result<bool, ServiceError> {
    let (Some(bytes), Some(wrap)) = (sealed.as_deref(), wrap) else { return Ok(false) };
    let mut secret = decode(bytes)?;
    secret.wraps.retain(|it| (&it.region, it.epoch) != (&wrap.region, wrap.epoch));
    secret.wraps.push(wrap);
    let secret = SealedSecret::try_from(secret).map_err(|invalid| compile::under("secrets", &invalid))?;
    *sealed = Some(secret.to_wire().encode_to_vec());
    Ok(true)
}

/// Takes wraps of earlier epochs away where there is one of the newest.
fn strip(sealed: &mut Option<Vec<u8>>, region: &str, newest: u32) -> Result<(), StoreError> {
    let Some(bytes) = sealed.as_deref() else { return Ok(()) };
    let mut secret = decode(bytes)?;
    if secret.wraps.iter().any(|wrap| wrap.region == region && wrap.epoch == newest) {
        secret.wraps.retain(|wrap| wrap.region != region || wrap.epoch >= newest);
        *sealed = Some(secret.encode_to_vec());
    }
    Ok(())
}

/// Stages credentials anew with what their secrets have become. Their documents stay as they are.
async fn put(txn: &mut Txn, secrets: Vec<secret_row::Model>) -> Result<(), ServiceError> {
    let ids: Vec<String> = secrets.iter().map(|secret| secret.credential.clone()).collect();
    let rows = store::resource::by_ids(txn, Noun::Credential, &ids).await?;
    let found: Vec<Stored<Credential>> = store::resource::with_documents(txn, rows).await?;
    let secrets: BTreeMap<String, secret_row::Model> =
        secrets.into_iter().map(|secret| (secret.credential.clone(), secret)).collect();
    for Stored { row, document } in found {
        let mut document = document::kept(document);
        let links = document.links().into_iter().map(|it| (it.part, it.noun, it.to.clone())).collect();
        let labels = document.labels();
        let wrapped = document.wrap();
        let payload = compile::payload(&wrapped, secrets.get(&row.id))?;
        txn.put(Put {
            noun: Noun::Credential,
            id: row.id.clone(),
            org: row.org.clone(),
            name: row.name.clone(),
            owner: row.owner.clone(),
            document: document::encode(&wrapped),
            payload,
            links,
            labels,
            created_by: row.created_by.clone(),
            before: Some(row),
        });
    }
    store::secret::put(txn, secrets.into_values().collect());
    Ok(())
}

fn decode(sealed: &[u8]) -> Result<fleet::SealedSecret, StoreError> {
    fleet::SealedSecret::decode(sealed).map_err(|_| StoreError::Damaged("secret"))
}
