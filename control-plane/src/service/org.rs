//! Organizations: made with an owner, hidden for a while before they go.

use std::time::Duration;

use rr_contract::model::invalid::Violations;
use rr_contract::model::time;
use rr_contract::wire::FieldMask;
use rr_contract::wire::management::{self as wire, Org, Role};

use super::ceiling::{Ceilings, Exceeding};
use super::draft::{Draft, change, restage, stage};
use super::etag::same_etag;
use super::fields::{self, Chosen};
use super::plan::change as told;
use super::resource::{ListRequest, show};
use super::scope::{Scope, deleted_org, live_org};
use super::{Caller, OrgCaller, Page, Plan, Removal, ServiceError, Services};
use crate::authz::{self, Least};
use crate::compile;
use crate::document::{self, MaskPath, Resource as _};
use crate::noun::Noun;
use crate::payload::Hashed;
use crate::store::resource::Term;
use crate::store::{self, Put, Stored, Txn, Written, time_of};

/// How long a deleted organization can be brought back.
pub(super) const HIDDEN_FOR: Duration = Duration::from_secs(30 * 86_400);

impl Services {
    /// Makes an organization, and its maker the owner.
    pub(crate) async fn org_create(
        &self,
        caller: Caller,
        org: Option<Org>,
    ) -> Result<Written<Stored<Org>>, ServiceError> {
        let mut wire = fields::required("org", org)?;
        fields::unset_id("org.id", &wire.id)?;
        wire.id = Noun::Org.id(self.random());
        (wire.deleted_at, wire.purge_at) = (None, None);
        let member = Noun::Member.id(self.random());
        let written = self
            .store
            .write(caller.author(), move |txn| {
                Box::pin(async move {
                    let mut faults = Violations::default();
                    Ceilings::new(caller.ceilings, &wire).check_default(&mut faults);
                    faults.finish(|| Some(()))?;
                    let draft = Draft { wire, secret: None, before: None };
                    let stored = stage(txn, caller.installation(), None, draft).await?;
                    make_owner(txn, &caller, &stored.row.id, member).await?;
                    Ok::<_, ServiceError>(stored)
                })
            })
            .await?;
        Ok(written)
    }

    /// The organizations that the caller may see; with `deleted`, those too that an operator can bring back.
    pub(crate) async fn org_list(
        &self,
        caller: &Caller,
        request: ListRequest,
        deleted: bool,
    ) -> Result<Page<Stored<Org>>, ServiceError> {
        let among = if caller.principal.operator {
            None
        } else {
            let mine: Vec<String> = caller.principal.orgs.iter().map(|(org, _)| org.clone()).collect();
            let rows = store::resource::find_all(&self.store, Noun::Org, "", &mine).await?;
            let found: Vec<Stored<Org>> = store::resource::with_documents(&self.store, rows).await?;
            let there = found.into_iter().filter(|org| org.document.deleted_at.is_none());
            Some(there.map(|org| org.row.id).collect())
        };
        let mut principal = caller.principal.clone();
        principal.resources.clear();
        // The name of a deleted one is its id.
        let live = Term::NotNamePrefix(Noun::Org.prefix());
        let request = ListRequest { terms: if deleted { Vec::new() } else { vec![live] }, ..request };
        self.list_in(Scope { org: "", principal: &principal, ceilings: None }, request, among).await
    }

    /// Changes an organization; some fields are the operators' alone. Names the proxies that are above its ceilings,
    /// where those were changed: it takes no proxy down, so an operator has to see which of them go on.
    pub(crate) async fn org_update(
        &self,
        at: OrgCaller,
        org: Option<Org>,
        mask: Option<FieldMask>,
    ) -> Result<Written<(Stored<Org>, Exceeding)>, ServiceError> {
        let wire = fields::required("org", org)?;
        let chosen = Chosen::of(mask, &wire)?;
        // Or a tenant that does not pay could lift its own suspension.
        let operators =
            [MaskPath::<Org>::SUSPENDED, MaskPath::<Org>::ALLOWED_REGIONS, MaskPath::<Org>::LIMIT_CEILINGS];
        let theirs = operators.iter().any(|path| chosen.contains(path));
        if theirs && !at.caller.principal.operator {
            return Err(ServiceError::Role(Least::Operator));
        }
        let written = self
            .store
            .write(at.author(), move |txn| {
                Box::pin(async move {
                    live_org(txn, &at.org.id).await?;
                    let everywhere = Scope { org: "", principal: &unnarrowed(&at), ceilings: None };
                    let found = show::<Org>(txn, everywhere, &at.org.id, 0).await?;
                    let stored = change(txn, everywhere, None, found, wire, &chosen).await?;
                    let ceilings = at.ceilings(&stored.document);
                    if chosen.contains(&MaskPath::<Org>::DEFAULT_LIMITS) {
                        let mut faults = Violations::default();
                        ceilings.check_default(&mut faults);
                        faults.finish(|| Some(()))?;
                    }
                    let exceeding = if chosen.contains(&MaskPath::<Org>::LIMIT_CEILINGS) {
                        let rows = store::resource::all(txn, Noun::Proxy, &at.org.id).await?;
                        let proxies: Vec<Stored<wire::Proxy>> =
                            store::resource::with_documents(txn, rows).await?;
                        Exceeding::of(&ceilings, proxies.iter().map(|proxy| &proxy.document))
                    } else {
                        Exceeding::default()
                    };
                    Ok::<_, ServiceError>((stored, exceeding))
                })
            })
            .await?;
        Ok(written)
    }

    /// Hides an organization: its name is free, its proxies stop, and for a while it can be brought back.
    pub(crate) async fn org_delete(
        &self,
        at: OrgCaller,
        wanted: Removal,
    ) -> Result<Written<Plan>, ServiceError> {
        let written = self
            .store
            .write(at.author().rehearsing(wanted.dry_run), move |txn| {
                Box::pin(async move {
                    let org = live_org(txn, &at.org.id).await?;
                    let found = Stored { row: org.row, document: org.document };
                    same_etag(&found, &wanted.etag)?;
                    let plan = hidden_with(txn, &found.row).await?;
                    plan.is_what_was_shown(&wanted.expected_plan)?;
                    let deleted_at = Some(time::timestamp(time_of(txn.now())));
                    let hidden = Org { deleted_at, ..found.document };
                    // Its name is another's to take; in the document it stays.
                    let name = found.row.id.clone();
                    restage(txn, found.row, hidden, name)?;
                    publish_all(txn, &at.org.id, false).await?;
                    Ok::<_, ServiceError>(plan)
                })
            })
            .await?;
        Ok(written)
    }

    /// Brings back a hidden organization.
    pub(crate) async fn org_undelete(
        &self,
        caller: Caller,
        reference: String,
    ) -> Result<Written<Stored<Org>>, ServiceError> {
        let written = self
            .store
            .write(caller.author(), move |txn| {
                Box::pin(async move {
                    let Some(found) = deleted_org(txn, &reference).await? else {
                        // It is not deleted, or there is none.
                        show::<Org>(txn, caller.installation(), &reference, 0).await?;
                        return Err(ServiceError::field("org", "is not deleted"));
                    };
                    let found = Stored { row: found.row, document: found.document };
                    let name = found.document.name.clone();
                    if store::resource::find(txn, Noun::Org, "", &name).await?.is_some() {
                        return Err(ServiceError::AlreadyThere { noun: "organization", name });
                    }
                    let back = Org { deleted_at: None, ..found.document };
                    let stored = restage(txn, found.row, back, name)?;
                    publish_all(txn, &stored.row.id, true).await?;
                    Ok(stored)
                })
            })
            .await?;
        Ok(written)
    }

    /// Removes organizations for good that were hidden long enough. The audit stays. Returns how many were removed.
    pub(crate) async fn org_purge(&self) -> Result<usize, ServiceError> {
        let now = store::clock::believed(&self.store).await?;
        let rows = store::resource::all(&self.store, Noun::Org, "").await?;
        let orgs: Vec<Stored<Org>> = store::resource::with_documents(&self.store, rows).await?;
        let mut purged = 0;
        for org in orgs {
            if !hidden_long_enough(&org.document, now) {
                continue;
            }
            let id = org.row.id;
            let written = self
                .store
                .write(store::Author::system(authz::DELETE_ORG.call), move |txn| {
                    Box::pin(async move { purge(txn, &id, now).await })
                })
                .await?;
            purged += usize::from(written.revision.is_some());
        }
        Ok(purged)
    }
}

/// When a deleted organization is removed for good.
pub(crate) fn purge_at(org: &Org) -> Option<pbjson_types::Timestamp> {
    let deleted_at = time::system_time(org.deleted_at.as_ref()?).ok()?;
    Some(time::timestamp(deleted_at + HIDDEN_FOR))
}

/// An organization that is about to be hidden, and everything in it.
async fn hidden_with(txn: &Txn, org: &store::resource_row::Model) -> Result<Plan, ServiceError> {
    let mut plan = Plan::default();
    let gone = |noun, id: &str, name: &str, detail: &str| wire::PlannedChange {
        detail: detail.to_owned(),
        ..told(wire::ChangeAction::Delete, noun, id, name)
    };
    plan.add(gone(Noun::Org, &org.id, &org.name, "is hidden, and removed for good after 30 days"));
    for noun in Noun::CONFIGURATION {
        for row in store::resource::all(txn, noun, &org.id).await? {
            plan.add(gone(noun, &row.id, &row.name, "is hidden with the organization"));
        }
    }
    Ok(plan)
}

/// Calls about an organization itself are not limited to some of its resources.
fn unnarrowed(at: &OrgCaller) -> authz::Principal {
    authz::Principal { resources: Vec::new(), ..at.caller.principal.clone() }
}

fn hidden_long_enough(org: &Org, now: i64) -> bool {
    let limit = i64::try_from(HIDDEN_FOR.as_micros()).unwrap_or(i64::MAX);
    let at = org.deleted_at.as_ref().and_then(|at| time::system_time(at).ok());
    at.is_some_and(|at| now >= store::micros(at).saturating_add(limit))
}

async fn purge(txn: &mut Txn, id: &str, now: i64) -> Result<(), ServiceError> {
    let Some(found) = store::resource::read::<Org>(txn, "", id).await? else { return Ok(()) };
    // It may have been restored since it was read.
    if !hidden_long_enough(&found.document, now) {
        return Ok(());
    }
    let row = found.row;
    let mut credentials = Vec::new();
    for noun in Noun::CONFIGURATION.into_iter().chain([Noun::Member]) {
        for row in store::resource::all(txn, noun, id).await? {
            if noun == Noun::Credential {
                credentials.push(row.id.clone());
            }
            txn.remove(noun, row);
        }
    }
    if !credentials.is_empty() {
        store::secret::retire(txn, id, credentials);
    }
    txn.remove(Noun::Org, row);
    Ok(())
}

/// The creator of an organization owns it: a user as a member, a service by a grant.
async fn make_owner(txn: &mut Txn, caller: &Caller, org: &str, member: String) -> Result<(), ServiceError> {
    let principal = &caller.principal;
    if principal.user.is_empty() {
        let found = store::resource::read::<wire::Token>(txn, "", &principal.token).await?;
        let Some(mut token) = found else { return Ok(()) };
        let grant = wire::Grant { role: Role::Owner.into(), org: org.to_owned(), region: String::new() };
        token.document.grants.push(grant);
        let name = token.row.id.clone();
        restage(txn, token.row, token.document, name)?;
        return Ok(());
    }
    let document = wire::Member {
        id: member,
        org: org.to_owned(),
        name: principal.name.clone(),
        user: principal.user.clone(),
        role: Role::Owner.into(),
        ..Default::default()
    };
    let scope = Scope { org, principal, ceilings: None };
    let draft = Draft { wire: document, secret: None, before: None };
    stage(txn, scope, None, draft).await?;
    Ok(())
}

/// Sends nodes everything of an organization, or takes everything back from them. No document changes.
async fn publish_all(txn: &mut Txn, org: &str, sent: bool) -> Result<(), ServiceError> {
    for noun in Noun::CONFIGURATION {
        let rows = store::resource::all(txn, noun, org).await?;
        let blobs = store::resource::blobs(txn, rows.iter().map(|row| row.doc.clone()).collect()).await?;
        let ids: Vec<String> = rows.iter().map(|row| row.id.clone()).collect();
        let secrets = if noun == Noun::Credential && sent {
            store::secret::of_all(txn, &ids).await?
        } else {
            Vec::new()
        };
        for row in rows {
            let bytes = blobs.get(&row.doc).ok_or(store::StoreError::Damaged("blob"))?;
            let mut document = <wire::Document as prost::Message>::decode(bytes.as_slice())
                .map_err(|_| store::StoreError::Damaged("blob"))?;
            let payload = if sent {
                let secret = secrets.iter().find(|secret| secret.credential == row.id);
                compile::payload(&document, secret)?
            } else {
                None
            };
            let labels = match document.resource.as_ref() {
                Some(resource) => document::each!(resource, resource => resource.labels()),
                None => Vec::new(),
            };
            let links = match &mut document.resource {
                Some(resource) => document::each!(resource, resource => resource
                    .links()
                    .into_iter()
                    .map(|link| (link.part, link.noun, link.to.clone()))
                    .collect()),
                None => Vec::new(),
            };
            txn.put(Put {
                noun,
                id: row.id.clone(),
                org: row.org.clone(),
                name: row.name.clone(),
                owner: row.owner.clone(),
                document: Hashed::of(bytes.clone()),
                payload,
                links,
                labels,
                created_by: row.created_by.clone(),
                before: Some(row),
            });
        }
    }
    Ok(())
}
