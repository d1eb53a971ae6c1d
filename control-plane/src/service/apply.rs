//! `Apply`: a whole declarative set as one revision, planned first and then carried out, or the other way round.
//!
//! Names stand for ids throughout a set, also between documents that are not stored yet. An unchanged document is
//! recognised by its hash, before anything is compiled.

mod changed;
mod owner;
mod prune;
mod set;
mod work;

use std::collections::HashSet;

use data_encoding::HEXLOWER;
use prost::Message as _;
use rr_contract::document::preview::{self, Label};
use rr_contract::model::invalid::Violations;
use rr_contract::wire::management::{self as wire, Document};

use self::prune::{pruned, remove_pruned};
use self::set::{Item, parse};
use self::work::{Identified, Secrets, Work};
use super::directory::Directory;
use super::history::unchanged_since;
use super::scope::live_org;
use super::{OrgCaller, ServiceError, Services};
use crate::document::check_owner;
use crate::noun::Noun;
use crate::store::{self, Reader, Txn};

pub(super) use self::prune::remove_ended;

/// How many changes an answer lists.
const LISTED: usize = 1000;
/// How many documents one set may have.
pub(crate) const DOCUMENTS_MOST: usize = 200_000;

/// The set to apply.
#[derive(Clone)]
pub(crate) struct ApplyOrder {
    pub(crate) header: wire::ApplyHeader,
    pub(crate) documents: Vec<Document>,
}

impl Services {
    /// Applies a set, or lists the changes that this would make.
    pub(crate) async fn apply(
        &self,
        mut at: OrgCaller,
        order: ApplyOrder,
    ) -> Result<wire::ApplyOutcome, ServiceError> {
        if order.header.compare && !order.header.plan.is_empty() {
            return Err(ServiceError::field("compare", "cannot stand beside `plan`: leave one out"));
        }
        let mut order = self.expand(&at, order).await?;
        order.header.dry_run |= order.header.compare;
        // The consent that was given with the plan is part of it.
        let options = order.header.options.unwrap_or_default();
        at.caller.consent.partial |= options.allow_partial;
        at.caller.consent.mass_removal |= options.allow_mass_removal;
        if order.header.compare {
            (at.caller.consent.partial, at.caller.consent.mass_removal) = (true, true);
        }
        check_header(&order)?;
        if !at.caller.principal.resources.is_empty() {
            return Err(ServiceError::Call("applying a set, because it is limited to some resources"));
        }
        let token = at.caller.principal.token.clone();
        // The same set, by whichever name the organization is called.
        order.header.org.clone_from(&at.org.id);
        let digest = digest_of(&order);
        if let Some(outcome) = answered(&self.store, &token, &order.header, &digest).await? {
            return Ok(outcome);
        }
        let dry_run = order.header.dry_run;
        let documents = std::mem::take(&mut order.documents);
        let set = parse(documents)?;
        // Kept so that the plan can be applied later.
        let body = (dry_run && !order.header.compare)
            .then(|| set.iter().map(|item| item.document.clone()).collect::<Vec<_>>());
        let services = self.clone();
        let header = order.header;
        let again = header.clone();
        let written = self
            .store
            .write(at.author().rehearsing(dry_run), {
                let at = at.clone();
                move |txn| {
                    Box::pin(async move {
                        let token = at.caller.principal.token.clone();
                        // Another with the same id may have been before us.
                        if let Some(outcome) = answered(txn, &token, &header, &digest).await? {
                            return Ok(outcome);
                        }
                        let mut outcome = plan(&services, txn, &at, &header, set).await?;
                        if header.dry_run {
                            return Ok(outcome);
                        }
                        let keys = std::mem::take(&mut outcome.keys);
                        if !header.request_id.is_empty() {
                            store::apply::answer(
                                txn,
                                token,
                                header.request_id,
                                digest,
                                outcome.encode_to_vec(),
                            );
                        }
                        outcome.keys = keys;
                        Ok::<_, ServiceError>(outcome)
                    })
                }
            })
            .await?;
        let mut outcome = written.value;
        if dry_run {
            outcome.keys.clear();
        } else {
            // A repeated one says the revision that the first became.
            outcome.revision = written.revision.unwrap_or(outcome.revision);
        }
        let Some(body) = body else { return Ok(outcome) };
        outcome.plan = self.keep_plan(&at, again, body, outcome.base_revision).await?;
        Ok(outcome)
    }

    /// The documents of a plan, where one is named.
    async fn expand(&self, at: &OrgCaller, order: ApplyOrder) -> Result<ApplyOrder, ServiceError> {
        if order.header.plan.is_empty() {
            return Ok(order);
        }
        if !order.documents.is_empty() {
            return Err(ServiceError::field(
                "documents",
                "must be empty when a plan is named: the plan holds the documents",
            ));
        }
        let gone =
            || ServiceError::NotFound { noun: "plan of the last hour", name: order.header.plan.clone() };
        let row = store::apply::plan(&self.store, &order.header.plan).await?.ok_or_else(gone)?;
        if row.org != at.org.id || row.token != at.caller.principal.token {
            return Err(gone());
        }
        let damaged = || store::StoreError::Damaged("plan");
        let header = wire::ApplyHeader::decode(row.header.as_slice()).map_err(|_| damaged())?;
        let chunk = wire::ApplyChunk::decode(row.documents.as_slice()).map_err(|_| damaged())?;
        let header = wire::ApplyHeader {
            org: at.org.id.clone(),
            dry_run: order.header.dry_run,
            // The plan holds as long as nothing else changed.
            expected_revision: match order.header.expected_revision {
                0 => header.expected_revision,
                said => said.min(header.expected_revision),
            },
            request_id: order.header.request_id,
            plan: order.header.plan,
            ..header
        };
        Ok(ApplyOrder { header, documents: chunk.documents })
    }

    async fn keep_plan(
        &self,
        at: &OrgCaller,
        header: wire::ApplyHeader,
        documents: Vec<Document>,
        base: u64,
    ) -> Result<String, ServiceError> {
        let id = format!("plan_{}", HEXLOWER.encode(&self.random()));
        let header = wire::ApplyHeader { expected_revision: base, ..header };
        let row = store::apply::PlanRow {
            id: id.clone(),
            token: at.caller.principal.token.clone(),
            org: at.org.id.clone(),
            header: header.encode_to_vec(),
            documents: wire::ApplyChunk { documents }.encode_to_vec(),
            created_at: self.store.now(),
        };
        store::apply::keep(&self.store, row).await?;
        Ok(id)
    }
}

/// The response of the first call with this request id.
async fn answered(
    db: &impl Reader,
    token: &str,
    header: &wire::ApplyHeader,
    digest: &[u8; 32],
) -> Result<Option<wire::ApplyOutcome>, ServiceError> {
    if header.request_id.is_empty() {
        return Ok(None);
    }
    let Some((row, revision)) = store::apply::answered(db, token, &header.request_id).await? else {
        return Ok(None);
    };
    if row.digest != digest {
        return Err(ServiceError::field("request_id", "was used for another set: choose another id"));
    }
    if header.dry_run {
        // A dry run compares with the current state.
        return Ok(None);
    }
    let outcome = wire::ApplyOutcome::decode(row.outcome.as_slice())
        .map_err(|_| store::StoreError::Damaged("applied"))?;
    Ok(Some(wire::ApplyOutcome { revision, ..outcome }))
}

fn check_header(order: &ApplyOrder) -> Result<(), ServiceError> {
    let mut faults = Violations::default();
    let header = &order.header;
    check_owner(&header.owner, "owner", &mut faults);
    if preview::is_reserved(&header.owner) && Label::parse(&header.owner).is_none() {
        faults.add("owner", "begins as the label of a preview, which is `preview/NAME:SECONDS`: `rrctl apply --preview NAME` writes it");
    }
    if header.prune && header.owner.is_empty() {
        faults.add("owner", "is missing: `prune` removes the resources that have this owner");
    }
    if header.request_id.len() > 64 || !header.request_id.bytes().all(|c| c.is_ascii_graphic()) {
        faults.add("request_id", "must be at most 64 visible ASCII characters");
    }
    if order.documents.len() > DOCUMENTS_MOST {
        faults.add("documents", format!("must have at most {DOCUMENTS_MOST} entries"));
    }
    Ok(faults.finish(|| Some(()))?)
}

/// The digest of a set, which a request id must not be reused for.
fn digest_of(order: &ApplyOrder) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    let header = wire::ApplyHeader {
        request_id: String::new(),
        dry_run: false,
        compare: false,
        ..order.header.clone()
    };
    hasher.update(&header.encode_length_delimited_to_vec());
    for document in &order.documents {
        hasher.update(&document.encode_length_delimited_to_vec());
    }
    *hasher.finalize().as_bytes()
}

async fn plan(
    services: &Services,
    txn: &mut Txn,
    at: &OrgCaller,
    header: &wire::ApplyHeader,
    set: Vec<Item>,
) -> Result<wire::ApplyOutcome, ServiceError> {
    let org = live_org(txn, &at.org.id).await?;
    unchanged_since(txn, &org.id, header.expected_revision).await?;
    let mut directory = Directory::whole(txn, &org.id).await?;
    let mut outcome = wire::ApplyOutcome {
        base_revision: txn.head(),
        dry_run: header.dry_run,
        plan: header.plan.clone(),
        ..Default::default()
    };
    let mut work = Work {
        services,
        at,
        org: &org,
        owner: &header.owner,
        is_compared: header.compare,
        secrets: Secrets::default(),
        puts: Vec::new(),
        updates: Vec::new(),
        faults: Violations::default(),
    };
    let mut identified = Vec::with_capacity(set.len());
    for item in set {
        let before = directory
            .id_of(item.noun, &item.name)
            .and_then(|id| directory.get(item.noun, id))
            .and_then(|known| known.row.clone());
        let id = match &before {
            Some(row) => row.id.clone(),
            None => work.new_id(&item),
        };
        identified.push(Identified { item, id, before });
    }
    let there: Vec<String> = identified
        .iter()
        .filter(|it| it.item.noun == Noun::Credential && it.before.is_some())
        .map(|it| it.id.clone())
        .collect();
    for row in store::secret::of_all(txn, &there).await? {
        work.secrets.there.insert(row.credential.clone(), row);
    }
    // Credentials first: the check of a proxy reads their content; other resources only have to be known by name.
    for it in &mut identified {
        if it.item.noun == Noun::Credential {
            work.credential(&directory, it)?;
        }
        let document = (it.item.noun == Noun::Credential).then(|| it.item.document.clone());
        directory.announce(it.item.noun, &it.id, &it.item.name, document);
    }
    let mut ids = HashSet::with_capacity(identified.len());
    for it in &identified {
        if !ids.insert(it.id.as_str()) {
            let field = format!("documents[{}].{}.id", it.item.at, it.item.noun.text());
            work.faults.add(field, format!("is {}, which another document of the set has too", it.id));
        }
    }
    let wanted: HashSet<(Noun, String)> = identified.iter().map(|it| (it.item.noun, it.id.clone())).collect();
    let gone = if header.prune { pruned(&directory, &header.owner, &wanted) } else { Vec::new() };
    for (noun, row) in &gone {
        directory.forget(*noun, &row.id);
    }
    for it in identified {
        work.document(&directory, it, &mut outcome)?;
    }
    let updates = std::mem::take(&mut work.updates);
    work.finish(txn, &mut outcome).await?;
    changed::tell(txn, &directory, &gone, updates, &mut outcome).await?;
    for (noun, row) in &gone {
        super::rights::may_change(&at.caller.principal, Some(&org.document), *noun, row)?;
    }
    remove_pruned(txn, &org.id, gone, &mut outcome).await?;
    Ok(outcome)
}

fn list(outcome: &mut wire::ApplyOutcome, action: wire::ApplyAction, noun: Noun, id: &str, name: &str) {
    if outcome.changes.len() < LISTED {
        outcome.changes.push(wire::ApplyChange {
            action: action.into(),
            kind: noun.text().to_owned(),
            id: id.to_owned(),
            name: name.to_owned(),
            ..wire::ApplyChange::default()
        });
    }
}
