//! Rollback: an organization's configuration as it was, as a new revision.
//!
//! Secrets stay at their newest version, and a deleted credential is not restored. The resources that cannot be restored
//! because of that are listed, in a dry run too: those that the rollback was to restore, and those that it removes. A
//! partial rollback needs the consent of the caller.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use rr_contract::model::invalid::Violations;
use rr_contract::wire::management::{self as wire, Document, Org, credential::Usage, document};

use super::directory::Directory;
use super::draft::{Draft, ready};
use super::history::{READ, document_of, documents, reached, unchanged_since};
use super::plan::{CREDENTIAL_STAYS_GONE, Plan, change, names_what_stays_gone};
use super::scope::live_org;
use super::{OrgCaller, Reason, ServiceError, Services, caller_certificate, compatibility, destination};
use crate::document::{Part, Resource, each};
use crate::noun::Noun;
use crate::store::history::Span;
use crate::store::{self, Reader, StoreError, Txn, resource_row, secret_row};

impl Services {
    /// Back to an older revision, as a new one.
    pub(crate) async fn org_rollback(
        &self,
        at: OrgCaller,
        request: wire::RollbackOrgRequest,
    ) -> Result<wire::RollbackOrgResponse, ServiceError> {
        let head = self.installation().await?;
        // Unset is no place to go back to: before the first revision there is nothing.
        if request.revision == 0 {
            return Err(ServiceError::field("revision", "is missing"));
        }
        reached("revision", request.revision, head.revision, head.floor)?;
        if !at.caller.principal.resources.is_empty() {
            return Err(ServiceError::Call(
                "rolling back an organization, because it is limited to some resources",
            ));
        }
        let author = at.author().rehearsing(request.dry_run);
        let written = self
            .store
            .write(author, move |txn| Box::pin(async move { rollback(txn, &at, &request).await }))
            .await?;
        Ok(wire::RollbackOrgResponse { revision: written.revision.unwrap_or_default(), ..written.value })
    }
}

async fn rollback(
    txn: &mut Txn,
    at: &OrgCaller,
    request: &wire::RollbackOrgRequest,
) -> Result<wire::RollbackOrgResponse, ServiceError> {
    let org = live_org(txn, &at.org.id).await?;
    unchanged_since(txn, &org.id, request.expected_revision).await?;
    let mut spans = Vec::new();
    let mut next: Option<(i32, String)> = None;
    loop {
        let behind = next.as_ref().map(|(kind, id)| (*kind, id.as_str()));
        let (read, whole) =
            store::history::spans(txn, &org.id, request.revision, txn.head(), behind, READ).await?;
        next = read.last().map(|span| (span.noun.row(), span.id.clone())).or(next);
        spans.extend(read.into_iter().filter(|span| span.before != span.after));
        if whole {
            break;
        }
    }
    let mut directory = Directory::whole(txn, &org.id).await?;
    let blobs = documents(txn, &spans).await?;
    let answer = wire::RollbackOrgResponse { base_revision: txn.head(), ..Default::default() };
    let mut back = Back { answer, restored: Vec::new() };
    let going: BTreeSet<(Noun, String)> =
        spans.iter().filter(|span| span.before.is_none()).map(|span| (span.noun, span.id.clone())).collect();
    // First the removed resources: a restored one may have the name of one of them.
    for (noun, id) in &going {
        directory.forget(*noun, id);
    }
    for span in &spans {
        if let Some(hash) = &span.before {
            let document = document_of(&blobs, hash)?;
            back.restore(&directory, span, document);
        }
    }
    back.announce(&mut directory);
    back.leave_out_what_dangles(&directory);
    if !back.answer.not_restored.is_empty() && !request.options.unwrap_or_default().allow_partial {
        let listed: Vec<String> = back
            .answer
            .not_restored
            .iter()
            .take(20)
            .map(|it| format!("{} {:?} ({})", it.kind, it.name, it.reason))
            .collect();
        return Err(ServiceError::Refused {
            reason: Reason::NotRestorable,
            text: format!(
                "these cannot be restored: {}; set `allow_partial` to leave them out",
                listed.join(", ")
            ),
            preconditions: Vec::new(),
        });
    }
    // A resource that stays must not refer to a removed one.
    let mut kept_for = Vec::new();
    let mut named_by: BTreeMap<(Noun, String), Vec<(Noun, String)>> = BTreeMap::new();
    for (noun, id) in &going {
        for (part, user, user_id) in store::resource::users(txn, *noun, id).await? {
            let goes_too = going.contains(&(user, user_id.clone()));
            let stays = !goes_too && part != Part::Granted;
            if goes_too {
                named_by.entry((*noun, id.clone())).or_default().push((user, user_id));
            } else if stays && !back.restored.iter().any(|it| it.noun == user && it.id == user_id) {
                kept_for.push((user, user_id));
            }
        }
    }
    if let Some((noun, id)) = kept_for.first() {
        return Err(ServiceError::Refused {
            reason: Reason::InUse,
            text: format!(
                "{} {id} uses a resource that the rollback would remove: change it first",
                noun.title()
            ),
            preconditions: Vec::new(),
        });
    }
    let secrets = secrets_of(txn, &back.restored).await?;
    let (mut staged, mut put_back) = (Vec::new(), Vec::new());
    let mut faults = Violations::default();
    for restored in back.restored {
        let before = store::resource::by_id(txn, restored.noun, &restored.id).await?;
        let secret = secrets.get(&restored.id).cloned();
        let fresh = before.is_none();
        let Some(resource) = restored.document.resource else { continue };
        let put = each!(resource, resource => put_of(at, &org.document, &directory, resource, secret, before, &mut faults))?;
        if let Some(put) = put {
            let action = if fresh {
                back.answer.created += 1;
                wire::ChangeAction::Create
            } else {
                back.answer.updated += 1;
                wire::ChangeAction::Update
            };
            put_back.push(change(action, put.noun, &put.id, &put.name));
            staged.push(put);
        }
    }
    faults.finish(|| Some(()))?;
    let mut rows = Vec::new();
    for (noun, id) in going {
        if let Some(row) = store::resource::by_id(txn, noun, &id).await? {
            back.answer.deleted += 1;
            rows.push((noun, row));
        }
    }
    let lost = lost_for_good(&rows, &named_by);
    let mut plan = Plan::default();
    for (noun, row) in &rows {
        let irreversible = lost.get(&(*noun, row.id.clone())).cloned().unwrap_or_default();
        let told = change(wire::ChangeAction::Delete, *noun, &row.id, &row.name);
        plan.add(wire::PlannedChange { irreversible, ..told });
    }
    put_back.into_iter().for_each(|told| plan.add(told));
    back.answer.irreversible = plan.counts().1;
    back.answer.changes = plan.into_listed();
    let credentials: Vec<String> =
        rows.iter().filter(|(noun, _)| *noun == Noun::Credential).map(|(_, row)| row.id.clone()).collect();
    if !credentials.is_empty() {
        store::secret::retire(txn, &org.id, credentials);
    }
    let at = destination::At { id: &org.row.id, name: &org.row.name };
    destination::check(txn, at, &staged).await?;
    staged.into_iter().for_each(|put| txn.put(put));
    rows.into_iter().for_each(|(noun, row)| txn.remove(noun, row));
    Ok(back.answer)
}

/// The removed resources that no later rollback restores, and why: credentials, and resources that are removed together
/// with a credential that they refer to.
fn lost_for_good(
    rows: &[(Noun, resource_row::Model)],
    named_by: &BTreeMap<(Noun, String), Vec<(Noun, String)>>,
) -> BTreeMap<(Noun, String), String> {
    let names: BTreeMap<(Noun, &str), &str> =
        rows.iter().map(|(noun, row)| ((*noun, row.id.as_str()), row.name.as_str())).collect();
    let mut lost = BTreeMap::new();
    let mut next: Vec<(Noun, String)> = Vec::new();
    for (noun, row) in rows.iter().filter(|(noun, _)| *noun == Noun::Credential) {
        lost.insert((*noun, row.id.clone()), CREDENTIAL_STAYS_GONE.to_owned());
        next.push((*noun, row.id.clone()));
    }
    while let Some(it) = next.pop() {
        let name = names.get(&(it.0, it.1.as_str())).copied().unwrap_or_default();
        for user in named_by.get(&it).into_iter().flatten() {
            if !lost.contains_key(user) {
                lost.insert(user.clone(), names_what_stays_gone(it.0, name));
                next.push(user.clone());
            }
        }
    }
    lost
}

/// One resource as it is to be written, or none when it is that already.
pub(super) fn put_of<R: Resource>(
    at: &OrgCaller,
    org: &Org,
    directory: &Directory,
    resource: R,
    secret: Option<secret_row::Model>,
    before: Option<resource_row::Model>,
    faults: &mut Violations,
) -> Result<Option<store::Put>, ServiceError> {
    let prefix = format!("{}[{}]", R::NOUN.collection(), resource.clone().fields().id);
    let draft = Draft { wire: resource, secret, before };
    Ok(ready(at.scope(), Some(org), directory, draft, &prefix, faults)?.and_then(|ready| ready.put))
}

async fn secrets_of(
    db: &impl Reader,
    restored: &[Restored],
) -> Result<HashMap<String, secret_row::Model>, StoreError> {
    let ids: Vec<String> = restored
        .iter()
        .filter(|restored| restored.noun == Noun::Credential)
        .map(|restored| restored.id.clone())
        .collect();
    let rows = store::secret::of_all(db, &ids).await?;
    Ok(rows.into_iter().map(|row| (row.credential.clone(), row)).collect())
}

/// The resources to restore.
struct Back {
    answer: wire::RollbackOrgResponse,
    restored: Vec<Restored>,
}

struct Restored {
    noun: Noun,
    id: String,
    name: String,
    document: Document,
}

impl Back {
    /// A secret stays at its newest, and a credential that was deleted was revoked: it does not come back.
    fn restore(&mut self, directory: &Directory, span: &Span, mut document: Document) {
        if let Some(document::Resource::Credential(credential)) = &mut document.resource {
            let Some(current) = directory.credential(&span.id) else {
                self.leave_out(span.noun, &span.id, &span.name, "a deleted credential cannot be restored");
                return;
            };
            credential.version = current.version;
            match (&mut credential.usage, &current.usage) {
                // How it is presented is no secret; which values are live, and where it is sealed, goes with the secret.
                (Some(Usage::Caller(caller)), Some(Usage::Caller(now))) if caller.kind == now.kind => {
                    (caller.rolled_at, caller.previous_not_after) = (now.rolled_at, now.previous_not_after);
                    caller.sealed_regions.clone_from(&now.sealed_regions);
                    caller_certificate::restore(caller, now);
                }
                (Some(Usage::Upstream(upstream)), Some(Usage::Upstream(now))) => upstream.clone_from(now),
                _ => credential.usage.clone_from(&current.usage),
            }
        }
        // Its name may be another's by now.
        let taken = directory.id_of(span.noun, &span.name).is_some_and(|id| id != span.id);
        if taken {
            self.leave_out(span.noun, &span.id, &span.name, "its name is now used by another resource");
            return;
        }
        self.restored.push(Restored {
            noun: span.noun,
            id: span.id.clone(),
            name: span.name.clone(),
            document,
        });
    }

    fn leave_out(&mut self, noun: Noun, id: &str, name: &str, reason: &str) {
        self.answer.not_restored.push(wire::NotRestored {
            kind: noun.text().to_owned(),
            id: id.to_owned(),
            name: name.to_owned(),
            reason: reason.to_owned(),
        });
    }

    fn announce(&self, directory: &mut Directory) {
        for restored in &self.restored {
            let document = matches!(restored.noun, Noun::Credential).then(|| restored.document.clone());
            directory.announce(restored.noun, &restored.id, &restored.name, document);
        }
    }

    /// Whatever names something that does not come back does not come back either, and so on.
    fn leave_out_what_dangles(&mut self, directory: &Directory) {
        let mut gone: BTreeSet<(Noun, String)> = BTreeSet::new();
        loop {
            let mut left_out = Vec::new();
            for (at, restored) in self.restored.iter_mut().enumerate() {
                if let Some(reason) = dangles(directory, &gone, &mut restored.document) {
                    left_out.push((at, reason));
                }
            }
            if left_out.is_empty() {
                return;
            }
            for (at, reason) in left_out.into_iter().rev() {
                let Restored { noun, id, name, .. } = self.restored.remove(at);
                // A resource that still exists can still be referred to.
                if directory.get(noun, &id).is_none_or(|known| known.row.is_none()) {
                    gone.insert((noun, id.clone()));
                }
                self.leave_out(noun, &id, &name, &reason);
            }
        }
    }
}

/// Why a document cannot be restored.
fn dangles(
    directory: &Directory,
    gone: &BTreeSet<(Noun, String)>,
    document: &mut Document,
) -> Option<String> {
    let resource = document.resource.as_mut()?;
    let missing = each!(&mut *resource, resource => resource
        .links()
        .into_iter()
        .find(|link| {
            directory.get(link.noun, link.to).is_none() || gone.contains(&(link.noun, link.to.clone()))
        })
        .map(|link| format!("{} {} no longer exists", link.noun.title(), link.to)));
    if missing.is_some() {
        return missing;
    }
    if let document::Resource::Proxy(proxy) = resource {
        let missing = compatibility::not_sealed_to(directory, proxy);
        if let Some((id, _)) = missing.first() {
            let regions: Vec<&str> =
                missing.iter().filter(|(other, _)| other == id).map(|(_, region)| region.as_str()).collect();
            let name = directory.credential(id).map_or("", |credential| credential.name.as_str());
            return Some(format!("its credential {name:?} is not sealed to {}", regions.join(", ")));
        }
    }
    None
}
