//! A resource before it is stored: resolved, checked, compiled and staged, alone or as part of a set.

use rr_contract::document::preview;
use rr_contract::model::invalid::Violations;
use rr_contract::wire::management::Org;

use super::directory::{self, Directory};
use super::etag::same_etag;
use super::fields::Chosen;
use super::scope::Scope;
use super::{ServiceError, compatibility, destination, rights};
use crate::compile;
use crate::document::{self, Part, Resource};
use crate::noun::Noun;
use crate::store::{self, Put, Stored, Txn, resource_row, secret_row};

/// A resource before it is checked: it may refer to others by name.
pub(super) struct Draft<R> {
    pub(super) wire: R,
    pub(super) secret: Option<secret_row::Model>,
    pub(super) before: Option<resource_row::Model>,
}

/// Resolves, checks and stages one resource. Stages nothing when the document does not change.
pub(super) async fn stage<R: Resource>(
    txn: &mut Txn,
    scope: Scope<'_>,
    org: Option<&Org>,
    mut draft: Draft<R>,
) -> Result<Stored<R>, ServiceError> {
    let directory = directory::around(txn, scope.org, &mut draft.wire).await?;
    if draft.before.is_none() {
        free(txn, scope, &mut draft.wire).await?;
    }
    if R::NOUN == Noun::Credential && draft.secret.is_none() {
        draft.secret = store::secret::of(txn, draft.wire.fields().id).await?;
    }
    let mut faults = Violations::default();
    no_preview(&mut draft, &mut faults);
    let ready = ready(scope, org, &directory, draft, R::NOUN.text(), &mut faults)?;
    faults.finish(|| Some(()))?;
    let ready = ready.ok_or_else(|| ServiceError::field(R::NOUN.text(), "is not complete"))?;
    let at = destination::At { id: scope.org, name: org.map_or("", |org| &org.name) };
    destination::check(txn, at, ready.put.as_slice()).await?;
    Ok(ready.stage(txn))
}

/// Whoever gives a resource the label of a preview has it removed: no call that makes or changes one resource does. One
/// that has such a label keeps it, or loses it.
fn no_preview<R: Resource>(draft: &mut Draft<R>, faults: &mut Violations) {
    let before = draft.before.as_ref().map(|row| row.owner.as_str());
    let owner = draft.wire.fields().owner.filter(|owner| preview::is_reserved(owner));
    if owner.is_some_and(|owner| before != Some(owner.as_str())) {
        let what = "is a label of a preview, whose end removes what bears it: choose another label, or make a preview \
                    with `rrctl apply --preview NAME`";
        faults.add(format!("{}.owner", R::NOUN.text()), what);
    }
}

/// A resource that passed every check.
pub(super) struct Ready<R> {
    pub(super) document: R,
    /// None when the document does not change.
    pub(super) put: Option<Put>,
    before: Option<resource_row::Model>,
}

impl<R: Resource> Ready<R> {
    /// Stages it, and returns it as it will be stored.
    pub(super) fn stage(self, txn: &mut Txn) -> Stored<R> {
        let Some(put) = self.put else {
            let row = self.before.expect("what is as it was has a row");
            return Stored { row, document: self.document };
        };
        let now = txn.now();
        let row = resource_row::Model {
            kind: put.noun.row(),
            id: put.id.clone(),
            org: put.org.clone(),
            name: put.name.clone(),
            owner: put.owner.clone(),
            rev: 0,
            doc: put.document.hash().to_vec(),
            payload: None,
            created_at: self.before.as_ref().map_or(now, |row| row.created_at),
            updated_at: now,
            created_by: self.before.map_or_else(|| put.created_by.clone(), |row| row.created_by),
        };
        txn.put(put);
        Stored { row, document: self.document }
    }
}

/// Resolves one resource and checks it against the directory. `None` when there are faults.
pub(super) fn ready<R: Resource>(
    scope: Scope<'_>,
    org: Option<&Org>,
    directory: &Directory,
    draft: Draft<R>,
    prefix: &str,
    faults: &mut Violations,
) -> Result<Option<Ready<R>>, ServiceError> {
    let Draft { mut wire, secret, before } = draft;
    let mut found = Violations::default();
    directory.resolve(&mut wire, prefix, &mut found);
    named(&mut wire);
    let mut document = document::kept(wire);
    let wrapped = document.clone().wrap();
    compatibility::check(scope, org, directory, &wrapped, prefix, &mut found);
    let mut own = Violations::default();
    document.check(&mut own);
    if let Some(owner) = document.fields().owner.map(|owner| owner.clone()) {
        document::check_owner(&owner, "owner", &mut own);
    }
    if let Err(invalid) = own.finish(|| Some(())) {
        compile::add_under(prefix, &invalid, &mut found);
    }
    let payload = match compile::payload(&wrapped, secret.as_ref()) {
        Ok(payload) => payload,
        Err(invalid) => {
            compile::add_under(prefix, &invalid, &mut found);
            None
        }
    };
    if let Err(invalid) = found.finish(|| Some(())) {
        for violation in invalid.violations() {
            faults.add(violation.field.clone(), violation.reason.clone());
        }
        return Ok(None);
    }
    compatibility::sealed_everywhere(org, directory, &wrapped)?;
    let encoded = document::encode(&wrapped);
    if before.as_ref().is_some_and(|row| row.doc == encoded.hash()) {
        return Ok(Some(Ready { document, put: None, before }));
    }
    let mut links: Vec<(Part, Noun, String)> =
        document.links().into_iter().map(|link| (link.part, link.noun, link.to.clone())).collect();
    links.sort();
    links.dedup();
    let labels = document.labels();
    let fields = document.fields();
    let id = fields.id.clone();
    let put = Put {
        noun: R::NOUN,
        org: scope.org.to_owned(),
        name: fields.name.map_or_else(|| id.clone(), |name| name.clone()),
        owner: fields.owner.map_or_else(String::new, |owner| owner.clone()),
        id,
        document: encoded,
        payload,
        links,
        labels,
        before: before.clone(),
        created_by: scope.principal.maker().to_owned(),
    };
    Ok(Some(Ready { document, put: Some(put), before }))
}

/// Gives a default name to a rule, filter or meter without one.
pub(super) fn named<R: Resource>(wire: &mut R) {
    if !matches!(R::NOUN, Noun::Rule | Noun::Filter | Noun::Meter) {
        return;
    }
    let fields = wire.fields();
    if let Some(name) = fields.name
        && name.is_empty()
    {
        let end = fields.id.len().saturating_sub(10);
        *name = format!("{}-{}", R::NOUN.text(), &fields.id[end..]);
    }
}

/// Refuses a name or id that is taken.
async fn free<R: Resource>(txn: &Txn, scope: Scope<'_>, wire: &mut R) -> Result<(), ServiceError> {
    let fields = wire.fields();
    let id = fields.id.clone();
    let name = fields.name.map(|name| name.clone()).unwrap_or_default();
    if !name.is_empty() && store::resource::find(txn, R::NOUN, scope.org, &name).await?.is_some() {
        return Err(ServiceError::AlreadyThere { noun: R::NOUN.title(), name });
    }
    if store::resource::by_id(txn, R::NOUN, &id).await?.is_some() {
        return Err(ServiceError::AlreadyThere { noun: R::NOUN.title(), name: id });
    }
    Ok(())
}

/// Applies the chosen fields to a stored resource and stages the result.
pub(super) async fn change<R: Resource>(
    txn: &mut Txn,
    scope: Scope<'_>,
    org: Option<&Org>,
    mut found: Stored<R>,
    mut wire: R,
    chosen: &Chosen<R>,
) -> Result<Stored<R>, ServiceError> {
    same_etag(&found, wire.fields().etag)?;
    rights::may_change(scope.principal, org, R::NOUN, &found.row)?;
    let before = found.document.clone();
    chosen.apply(&mut found.document, &wire);
    found.document.follow(&before, txn.now());
    let mut own = Violations::default();
    found.document.check_written(Some(&before), &mut own);
    own.finish(|| Some(())).map_err(|invalid| compile::under(R::NOUN.text(), &invalid))?;
    rights::may_name(txn, scope, Some(before), found.document.clone()).await?;
    let draft = Draft { wire: found.document, secret: None, before: Some(found.row) };
    // Limits that were written under a higher ceiling stay, and hold up no other change.
    let ceilings = scope.ceilings.filter(|_| chosen.names("limits"));
    stage(txn, Scope { ceilings, ..scope }, org, draft).await
}

/// Stages a resource that the control plane itself changed and that has no new references.
pub(super) fn restage<R: Resource>(
    txn: &mut Txn,
    row: resource_row::Model,
    document: R,
    name: String,
) -> Result<Stored<R>, ServiceError> {
    let mut document = document::kept(document);
    let links = document.links().into_iter().map(|link| (link.part, link.noun, link.to.clone())).collect();
    let labels = document.labels();
    let wrapped = document.clone().wrap();
    let payload = compile::payload(&wrapped, None)?;
    let encoded = document::encode(&wrapped);
    let doc = encoded.hash().to_vec();
    let put = Put {
        noun: R::NOUN,
        id: row.id.clone(),
        org: row.org.clone(),
        name: name.clone(),
        owner: row.owner.clone(),
        document: encoded,
        payload,
        links,
        labels,
        created_by: row.created_by.clone(),
        before: Some(row.clone()),
    };
    txn.put(put);
    let row = resource_row::Model { name, doc, updated_at: txn.now(), ..row };
    Ok(Stored { row, document })
}
