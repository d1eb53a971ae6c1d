//! The work of applying one set: take its secrets, check its documents, list its changes. Nothing is staged before all
//! of it is valid.

use std::collections::{BTreeMap, HashMap, HashSet};

use rr_contract::model::invalid::Violations;
use rr_contract::secret::Secret;
use rr_contract::wire::management::{self as wire, credential::Usage, document};

use super::changed::Updated;
use super::set::Item;
use super::{LISTED, list, owner};
use crate::compile;
use crate::document::{Resource, each, kept};
use crate::noun::Noun;
use crate::service::caller_certificate;
use crate::service::caller_value::{Given, finds_its_caller, is_nobodys};
use crate::service::destination;
use crate::service::directory::Directory;
use crate::service::fields::{ANOTHER_ORG, is_same_org};
use crate::service::sealed_value::{check_label, keeps_regions, known_regions, regions_of, sealed_row};
use crate::service::{OrgCaller, OrgRow, ServiceError, Services, draft, rights};
use crate::store::{self, Put, Txn, resource_row, secret_row};

/// A document that knows its id.
pub(super) struct Identified {
    pub(super) item: Item,
    pub(super) id: String,
    pub(super) before: Option<resource_row::Model>,
}

/// Secrets that come with a set, and keys that are made for it.
#[derive(Default)]
pub(super) struct Secrets {
    /// Current secrets of credentials in the set.
    pub(super) there: HashMap<String, secret_row::Model>,
    /// New secrets.
    pub(super) rows: BTreeMap<String, secret_row::Model>,
    keys: HashMap<String, Secret>,
    /// Credentials whose regions may become fewer, with their names.
    resealed: Vec<(String, String, Vec<String>)>,
    fresh: Vec<String>,
    /// Credentials that would be made, where values are not looked at.
    valueless: HashSet<String>,
    /// Place, field and name of each credential whose value comes with the set.
    given: HashMap<String, (usize, String, String)>,
}

pub(super) struct Work<'a> {
    pub(super) services: &'a Services,
    pub(super) at: &'a OrgCaller,
    pub(super) org: &'a OrgRow,
    /// The label of the set.
    pub(super) owner: &'a str,
    /// Whether it is only told what would change: a credential that would be made has no value then.
    pub(super) is_compared: bool,
    pub(super) secrets: Secrets,
    pub(super) puts: Vec<Put>,
    /// What is updated, as far as the answer lists it.
    pub(super) updates: Vec<Updated>,
    pub(super) faults: Violations,
}

/// Whether its id was chosen by whoever sealed its secret.
fn is_bound(credential: &wire::Credential) -> bool {
    match &credential.usage {
        Some(Usage::Upstream(_)) => true,
        Some(Usage::Caller(caller)) => caller.sealed.is_some(),
        None => false,
    }
}

/// Takes a credential as sealed to all regions: whoever makes it will seal it where its proxies are.
fn seal_later(credential: &mut wire::Credential, regions: Vec<String>) {
    match &mut credential.usage {
        Some(Usage::Upstream(upstream)) => (upstream.sealed, upstream.sealed_regions) = (None, regions),
        Some(Usage::Caller(caller)) => {
            (caller.sealed, caller.sealed_regions) = (None, regions);
            caller.value_hash.clear();
            caller.password_hash.clear();
        }
        None => {}
    }
}

impl Work<'_> {
    /// A new credential's id is the one that its secret is sealed to.
    pub(super) fn new_id(&self, item: &Item) -> String {
        if let Some(document::Resource::Credential(credential)) = &item.document.resource
            && is_bound(credential)
            && !credential.id.is_empty()
        {
            return credential.id.clone();
        }
        item.noun.id(self.services.random())
    }

    /// Takes the secret of a credential in, or keeps the one that is there.
    pub(super) fn credential(
        &mut self,
        directory: &Directory,
        it: &mut Identified,
    ) -> Result<(), ServiceError> {
        let prefix = format!("documents[{}].credential", it.item.at);
        let Some(document::Resource::Credential(wire)) = &mut it.item.document.resource else {
            return Ok(());
        };
        let Some(current) = it.before.as_ref().and_then(|row| directory.credential(&row.id)) else {
            if !is_bound(wire) {
                wire.id.clear();
            }
            wire.version = 1;
            if self.is_compared {
                let everywhere = directory.rows(Noun::Region).map(|row| row.id.clone()).collect();
                seal_later(wire, everywhere);
                self.secrets.valueless.insert(it.id.clone());
                return Ok(());
            }
            let taken = match self.services.take_secret(wire, &prefix) {
                Ok(taken) => taken,
                Err(ServiceError::Invalid(invalid)) => {
                    for violation in invalid.violations() {
                        self.faults.add(violation.field.clone(), violation.reason.clone());
                    }
                    return Ok(());
                }
                Err(other) => return Err(other),
            };
            it.id.clone_from(&wire.id);
            self.secrets.fresh.push(it.id.clone());
            if let Some(row) = taken.row {
                let field = format!("{prefix}.{}", caller_certificate::field_of(wire));
                self.secrets.given.insert(it.id.clone(), (it.item.at, field, wire.name.clone()));
                self.secrets.rows.insert(it.id.clone(), row);
            }
            if let Some(key) = taken.key {
                self.secrets.keys.insert(it.id.clone(), key);
            }
            return Ok(());
        };
        let mut own = Violations::default();
        wire.check_written(Some(current), &mut own);
        if let Err(invalid) = own.finish(|| Some(())) {
            compile::add_under(&prefix, &invalid, &mut self.faults);
        }
        let said = wire.version;
        wire.version = current.version;
        match (&mut wire.usage, &current.usage) {
            (Some(Usage::Upstream(upstream)), Some(Usage::Upstream(was))) if upstream.kind == was.kind => {
                upstream.sealed = None;
                upstream.sealed_regions.clone_from(&was.sealed_regions);
                upstream.previous_not_after = was.previous_not_after;
                let label = std::mem::replace(&mut upstream.label, was.label.clone());
                let Some(sealed) = it.item.sealed.take().filter(|_| said != current.version) else {
                    return Ok(());
                };
                if said != current.version + 1 {
                    self.faults.add(
                        format!("{prefix}.version"),
                        format!(
                            "is {said}, but the credential is at version {}: seal the secret for the version after that",
                            current.version
                        ),
                    );
                    return Ok(());
                }
                check_label(label.as_ref(), &format!("{prefix}.upstream.label"), &mut self.faults);
                wire.version = said;
                (upstream.label, upstream.sealed_regions) = (label, regions_of(&sealed));
                upstream.previous_not_after = None;
                let row = sealed_row(&it.id, said, &sealed);
                self.secrets.rows.insert(it.id.clone(), row);
                let regions = upstream.sealed_regions.clone();
                self.secrets.resealed.push((it.id.clone(), it.item.name.clone(), regions));
            }
            (Some(Usage::Caller(caller)), Some(Usage::Caller(was))) if caller.kind == was.kind => {
                (caller.rolled_at, caller.previous_not_after) = (was.rolled_at, was.previous_not_after);
                caller.sealed_regions.clone_from(&was.sealed_regions);
                if caller.sealed.take().is_some() && said != current.version {
                    self.faults.add(
                        format!("{prefix}.caller.sealed"),
                        format!(
                            "is there already: `rrctl credential roll {} --overlap …` replaces it",
                            it.item.name
                        ),
                    );
                }
                let given = Given::out_of(caller);
                let (hash, field) = given.hash(was.kind());
                let present = self.secrets.there.get(&it.id).and_then(|row| row.key_hash.as_deref());
                if caller.username != was.username {
                    self.faults.add(
                        format!("{prefix}.caller.username"),
                        "cannot be changed: create another credential and delete this one",
                    );
                }
                caller_certificate::keep(caller, was, &prefix, &mut self.faults);
                if !hash.is_empty() && present != Some(&*hash) {
                    self.faults.add(
                        format!("{prefix}.caller.{field}"),
                        format!(
                            "is of another value than the credential has: `rrctl credential roll {} --overlap …` replaces it",
                            it.item.name
                        ),
                    );
                }
            }
            _ => self.faults.add(
                format!("{prefix}.usage"),
                "differs in kind from the existing credential: create another credential and delete this one",
            ),
        }
        Ok(())
    }

    /// Checks one document and keeps it to be staged, unless it does not change.
    pub(super) fn document(
        &mut self,
        directory: &Directory,
        it: Identified,
        outcome: &mut wire::ApplyOutcome,
    ) -> Result<(), ServiceError> {
        let Identified { item, id, before } = it;
        let Some(resource) = item.document.resource else { return Ok(()) };
        each!(resource, resource => self.resource(directory, resource, item.at, id, before, outcome))
    }

    fn resource<R: Resource>(
        &mut self,
        directory: &Directory,
        mut resource: R,
        at: usize,
        id: String,
        before: Option<resource_row::Model>,
        outcome: &mut wire::ApplyOutcome,
    ) -> Result<(), ServiceError> {
        let prefix = format!("documents[{at}].{}", R::NOUN.text());
        {
            let fields = resource.fields();
            fields.id.clone_from(&id);
            if let Some(org) = fields.org {
                if !is_same_org(org, self.org) {
                    self.faults.add(format!("{prefix}.org"), ANOTHER_ORG);
                }
                self.org.id.clone_into(org);
            }
        }
        // Unset values are the defaults of the organization, as they are now.
        resource.inherit(self.at.ceilings(&self.org.document).default_limits());
        let owner = before.as_ref().map(|row| row.owner.as_str());
        if let Err((field, what)) = owner::settle(&mut resource, self.owner, owner) {
            self.faults.add(format!("{prefix}.{field}"), what);
            return Ok(());
        }
        // Most of a set is as it was: found out before anything is checked or compiled.
        if let Some(row) = &before
            && !self.secrets.rows.contains_key(&id)
        {
            // In a copy: the check of the set resolves names itself, and its faults quote them as they were sent.
            let (mut resolved, mut missing) = (resource.clone(), Violations::default());
            directory.resolve(&mut resolved, &prefix, &mut missing);
            if missing.is_empty() && *crate::document::encode(&kept(resolved).wrap()).hash() == *row.doc {
                outcome.unchanged += 1;
                return Ok(());
            }
        }
        if let Some(row) = &before {
            rights::may_change(&self.at.caller.principal, Some(&self.org.document), R::NOUN, row)?;
        }
        let name = resource.fields().name.map(|name| name.clone()).unwrap_or_default();
        if self.secrets.valueless.contains(&id) {
            outcome.created += 1;
            list(outcome, wire::ApplyAction::Create, R::NOUN, "", &name);
            return Ok(());
        }
        let secret = self.secrets.rows.get(&id).or_else(|| self.secrets.there.get(&id)).cloned();
        let draft = draft::Draft { wire: resource, secret, before: before.clone() };
        let ready = draft::ready(
            self.at.scope(),
            Some(&self.org.document),
            directory,
            draft,
            &prefix,
            &mut self.faults,
        )?;
        let Some(put) = ready.and_then(|ready| ready.put) else { return Ok(()) };
        let action = if before.is_some() {
            outcome.updated += 1;
            wire::ApplyAction::Update
        } else {
            outcome.created += 1;
            wire::ApplyAction::Create
        };
        if let Some(row) = before.filter(|_| outcome.changes.len() < LISTED) {
            let after = put.document.bytes().clone();
            self.updates.push(Updated { at: outcome.changes.len(), before: row.doc, after });
        }
        let shown = if outcome.dry_run && action == wire::ApplyAction::Create { "" } else { id.as_str() };
        list(outcome, action, R::NOUN, shown, &name);
        self.puts.push(put);
        Ok(())
    }

    /// Each value of one's own is that of one credential, of those in the set, too.
    async fn own_values(&self, txn: &Txn) -> Result<(), ServiceError> {
        let new = self.secrets.rows.iter().filter(|(id, _)| !self.secrets.keys.contains_key(*id));
        let new = new.filter_map(|(id, row)| {
            let hash = row.key_hash.clone().filter(|hash| finds_its_caller(hash))?;
            let (at, field, name) = self.secrets.given.get(id)?;
            Some((at, field.as_str(), name, hash))
        });
        let mut new: Vec<_> = new.collect();
        new.sort_unstable_by_key(|(at, ..)| *at);
        let mut values: Vec<(Vec<u8>, &str)> = Vec::new();
        let mut seen = HashMap::new();
        for (_, field, name, hash) in new {
            if let Some(other) = seen.insert(hash.clone(), name) {
                let what =
                    format!("is that of credential {other:?} of this set: give each credential its own");
                return Err(ServiceError::field(field, what));
            }
            values.push((hash, field));
        }
        is_nobodys(txn, &self.org.id, &values).await
    }

    pub(super) async fn finish(
        mut self,
        txn: &mut Txn,
        outcome: &mut wire::ApplyOutcome,
    ) -> Result<(), ServiceError> {
        std::mem::take(&mut self.faults).finish(|| Some(()))?;
        if let Some(spent) = store::secret::spent(txn, &self.secrets.fresh).await?.pop() {
            return Err(ServiceError::IdSpent(spent));
        }
        for (id, row) in &self.secrets.rows {
            known_regions(txn, &format!("credentials[{id}].sealed"), &self.org.id, Some(row)).await?;
        }
        self.own_values(txn).await?;
        for (id, name, regions) in &self.secrets.resealed {
            keeps_regions(txn, id, name, regions, &self.org.name).await?;
        }
        let at = destination::At { id: &self.org.id, name: &self.org.name };
        destination::check(txn, at, &self.puts).await?;
        let names: HashMap<&str, &str> =
            self.puts.iter().map(|put| (put.id.as_str(), put.name.as_str())).collect();
        for (id, key) in &self.secrets.keys {
            let name = names.get(id.as_str()).map(|name| (*name).to_owned());
            outcome.keys.push(wire::CreatedKey {
                credential: id.clone(),
                name: name.unwrap_or_default(),
                key: String::from_utf8_lossy(key.expose()).into_owned(),
            });
        }
        outcome.keys.sort_by(|a, b| a.name.cmp(&b.name));
        store::secret::put(txn, self.secrets.rows.into_values().collect());
        self.puts.into_iter().for_each(|put| txn.put(put));
        Ok(())
    }
}
