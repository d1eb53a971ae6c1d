//! The calls that all nouns of an organization have in common: create, read, list, change and remove.
//!
//! What holds for one noun alone is in its own file. A write reads, checks and stages; the store numbers and keeps it.

use rr_contract::wire::FieldMask;

use super::directory;
use super::draft::{Draft, change, stage};
use super::etag::same_etag;
use super::fields::{self, Chosen};
use super::removal::remove;
use super::scope::{Scope, live_org};
use super::{OrgCaller, Page, PageRequest, Plan, Removal, ServiceError, Services, list_filter, rights};
use crate::authz::Principal;
use crate::document::Resource;
use crate::noun::Noun;
use crate::store::resource::{Query, Sort, Term};
use crate::store::{self, Reader, Stored, Written, resource_row};

/// The parameters of a list call.
#[derive(Debug, Default)]
pub(crate) struct ListRequest {
    pub(crate) page_size: i32,
    pub(crate) page_token: String,
    pub(crate) filter: String,
    pub(crate) order_by: String,
    /// What holds beside the filter.
    pub(crate) terms: Vec<Term>,
}

impl Services {
    /// Makes a resource of an organization that has no secret.
    pub(crate) async fn create<R: Resource>(
        &self,
        at: OrgCaller,
        wire: Option<R>,
    ) -> Result<Written<Stored<R>>, ServiceError> {
        let mut wire = fields::required(R::NOUN.text(), wire)?;
        fields::unset_id(&format!("{}.id", R::NOUN.text()), wire.fields().id)?;
        let id = R::NOUN.id(self.random());
        let written = self
            .store
            .write(at.author(), move |txn| {
                Box::pin(async move {
                    let org = live_org(txn, &at.org.id).await?;
                    belongs(&mut wire, &org)?;
                    *wire.fields().id = id;
                    wire.inherit(at.ceilings(&org.document).default_limits());
                    rights::may_name(txn, at.scope(), None, wire.clone()).await?;
                    let draft = Draft { wire, secret: None, before: None };
                    let mut stored = stage(txn, at.scope(), Some(&org.document), draft).await?;
                    rights::may_make(&at, &mut stored)?;
                    Ok::<_, ServiceError>(stored)
                })
            })
            .await?;
        Ok(written)
    }

    /// By name or id, as it is or as it was at a revision.
    pub(crate) async fn show<R: Resource>(
        &self,
        at: &OrgCaller,
        reference: &str,
        revision: u64,
    ) -> Result<Stored<R>, ServiceError> {
        show(&self.store, at.scope(), reference, revision).await
    }

    /// Of one organization.
    pub(crate) async fn list<R: Resource>(
        &self,
        at: &OrgCaller,
        request: ListRequest,
    ) -> Result<Page<Stored<R>>, ServiceError> {
        self.list_in(at.scope(), request, None).await
    }

    /// Of an organization or of the installation: all, or only those in `among`.
    pub(super) async fn list_in<R: Resource>(
        &self,
        scope: Scope<'_>,
        request: ListRequest,
        among: Option<Vec<String>>,
    ) -> Result<Page<Stored<R>>, ServiceError> {
        let page = PageRequest::parse(request.page_size, &request.page_token)?;
        let (sort, descending) = list_filter::order(&request.order_by)?;
        let filter = list_filter::parse(&request.filter, R::NOUN)?;
        let mut terms = [request.terms, filter.terms].concat();
        for reference in filter.uses {
            terms.push(Term::Uses(self.named(scope.org, &reference).await?));
        }
        let behind = match page.cursor::<3>()? {
            Some([way, key, id]) if way == cursor_kind(sort, descending) => {
                Some((key.to_owned(), id.to_owned()))
            }
            Some(_) => {
                return Err(ServiceError::field(
                    "page_token",
                    "is from a list in another order: start again without a page token",
                ));
            }
            None => None,
        };
        if sort != Sort::Name && behind.as_ref().is_some_and(|(key, _)| key.parse::<i64>().is_err()) {
            return Err(ServiceError::field(
                "page_token",
                "is not valid: pass the `next_page_token` of the previous page",
            ));
        }
        let query = Query {
            org: scope.org.to_owned(),
            terms,
            sort,
            descending,
            behind,
            among: narrowed(scope.principal, R::NOUN, among),
            limit: page.limit(),
        };
        let rows = store::resource::list(&self.store, R::NOUN, query).await?;
        let cut = page.cut(rows, |row| {
            vec![cursor_kind(sort, descending).to_owned(), row.sort_key(sort), row.id.clone()]
        });
        let items = store::resource::with_documents(&self.store, cut.items).await?;
        Ok(Page { items, next: cut.next })
    }

    /// The ids of the resources that a name or id may refer to.
    pub(super) async fn named(&self, org: &str, reference: &str) -> Result<Vec<String>, ServiceError> {
        let mut ids = Vec::new();
        let (nouns, name) = list_filter::referred(reference);
        for noun in nouns {
            let within = if directory::is_global(noun) { "" } else { org };
            let found = store::resource::find(&self.store, noun, within, name).await?;
            ids.extend(found.map(|row| row.id));
        }
        Ok(ids)
    }

    /// Changes the fields that the mask names.
    pub(crate) async fn update<R: Resource>(
        &self,
        at: OrgCaller,
        reference: String,
        wire: Option<R>,
        mask: Option<FieldMask>,
    ) -> Result<Written<Stored<R>>, ServiceError> {
        let mut wire = fields::required(R::NOUN.text(), wire)?;
        let chosen = Chosen::of(mask, &wire)?;
        let written = self
            .store
            .write(at.author(), move |txn| {
                Box::pin(async move {
                    let org = live_org(txn, &at.org.id).await?;
                    belongs(&mut wire, &org)?;
                    let found = show::<R>(txn, at.scope(), &reference, 0).await?;
                    change(txn, at.scope(), Some(&org.document), found, wire, &chosen).await
                })
            })
            .await?;
        Ok(written)
    }

    /// Removes a resource, with the resources that belong to it and its users in `cascade`.
    pub(crate) async fn delete<R: Resource>(
        &self,
        at: OrgCaller,
        wanted: Removal,
    ) -> Result<Written<Plan>, ServiceError> {
        let written = self
            .store
            .write(at.author().rehearsing(wanted.dry_run), move |txn| {
                Box::pin(async move {
                    let org = live_org(txn, &at.org.id).await?;
                    let found = show::<R>(txn, at.scope(), &wanted.reference, 0).await?;
                    same_etag(&found, &wanted.etag)?;
                    rights::may_change(&at.caller.principal, Some(&org.document), R::NOUN, &found.row)?;
                    let plan = remove(txn, at.scope(), R::NOUN, found.row, &wanted.cascade).await?;
                    plan.is_what_was_shown(&wanted.expected_plan)?;
                    Ok::<_, ServiceError>(plan)
                })
            })
            .await?;
        Ok(written)
    }
}

/// Tells cursors of differently sorted lists apart.
const fn cursor_kind(sort: Sort, descending: bool) -> &'static str {
    match (sort, descending) {
        (Sort::Name, false) => "n",
        (Sort::Name, true) => "N",
        (Sort::CreatedAt, false) => "c",
        (Sort::CreatedAt, true) => "C",
        (Sort::UpdatedAt, false) => "u",
        (Sort::UpdatedAt, true) => "U",
    }
}

/// The ids that a list may hold when the token is limited to some resources.
fn narrowed(principal: &Principal, noun: Noun, among: Option<Vec<String>>) -> Option<Vec<String>> {
    if principal.resources.is_empty() {
        return among;
    }
    let allowed = principal.resources.iter().filter(|id| id.starts_with(noun.prefix()));
    let allowed: Vec<String> = match among {
        Some(among) => allowed.filter(|id| among.contains(id)).cloned().collect(),
        None => allowed.cloned().collect(),
    };
    Some(allowed)
}

/// By name or id, as it is or as it was at a revision.
pub(super) async fn show<R: Resource>(
    db: &impl Reader,
    scope: Scope<'_>,
    reference: &str,
    revision: u64,
) -> Result<Stored<R>, ServiceError> {
    let missing = || ServiceError::NotFound { noun: R::NOUN.title(), name: reference.to_owned() };
    if revision != 0 {
        return past(db, scope, reference, revision).await?.ok_or_else(missing);
    }
    let found = store::resource::read::<R>(db, scope.org, reference).await?;
    let mut found = found.ok_or_else(missing)?;
    if !rights::is_for(scope.principal, &mut found) {
        return Err(missing());
    }
    Ok(found)
}

async fn past<R: Resource>(
    db: &impl Reader,
    scope: Scope<'_>,
    reference: &str,
    revision: u64,
) -> Result<Option<Stored<R>>, ServiceError> {
    let head = store::installation::head(db).await?.ok_or(store::StoreError::Damaged("head"))?;
    if revision > head.revision {
        return Err(ServiceError::field(
            "revision",
            format!("does not exist yet: the newest revision is {}", head.revision),
        ));
    }
    if revision < head.floor {
        return Err(ServiceError::field(
            "revision",
            format!("is no longer kept: the oldest kept revision is {}", head.floor),
        ));
    }
    let Some(change) = store::history::at_revision(db, R::NOUN, scope.org, reference, revision).await? else {
        return Ok(None);
    };
    let at = store::history::revision(db, change.rev.unsigned_abs()).await?;
    let at = at.map_or(0, |row| row.at);
    let row = resource_row::Model {
        kind: change.kind,
        id: change.id,
        org: change.org,
        name: change.name,
        owner: String::new(),
        rev: change.rev,
        doc: change.after.unwrap_or_default(),
        payload: None,
        created_at: at,
        updated_at: at,
        created_by: String::new(),
    };
    let mut found = store::resource::with_document(db, row).await?;
    Ok(rights::is_for(scope.principal, &mut found).then_some(found))
}

/// An organization inside a body: the path's, or none.
fn belongs<R: Resource>(wire: &mut R, org: &super::OrgRow) -> Result<(), ServiceError> {
    let Some(said) = wire.fields().org else { return Ok(()) };
    fields::same_org(&format!("{}.org", R::NOUN.text()), said, org)?;
    org.id.clone_into(said);
    Ok(())
}
