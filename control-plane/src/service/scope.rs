//! Where a call acts, and for whom: in one organization, or in the installation.

use rr_contract::wire::fleet::Limits;
use rr_contract::wire::management::Org;

use super::{Caller, OrgCaller, OrgRow, ServiceError};
use crate::authz::Principal;
use crate::noun::Noun;
use crate::store::resource::{Query, Term};
use crate::store::{self, Reader, Stored};

/// Among how many deleted organizations a name is looked for.
const DELETED_MOST: u64 = 10_000;

/// Where a resource belongs: an organization, or the installation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scope<'a> {
    /// Empty for the installation.
    pub(super) org: &'a str,
    pub(super) principal: &'a Principal,
    /// The installation's ceilings; none where nobody writes limits.
    pub(super) ceilings: Option<Limits>,
}

impl Caller {
    /// The installation, for resources of no organization.
    pub(super) fn installation(&self) -> Scope<'_> {
        Scope { org: "", principal: &self.principal, ceilings: None }
    }
}

impl OrgCaller {
    pub(super) fn scope(&self) -> Scope<'_> {
        let Caller { principal, ceilings, .. } = &self.caller;
        Scope { org: &self.org.id, principal, ceilings: Some(*ceilings) }
    }
}

impl From<Stored<Org>> for OrgRow {
    fn from(stored: Stored<Org>) -> Self {
        Self {
            id: stored.row.id.clone(),
            name: stored.row.name.clone(),
            row: stored.row,
            document: stored.document,
        }
    }
}

/// An organization by name or id, unless it is deleted.
pub(crate) async fn org(db: &impl Reader, reference: &str) -> Result<Option<OrgRow>, store::StoreError> {
    let found = store::resource::read::<Org>(db, "", reference).await?;
    Ok(found.filter(|org| org.document.deleted_at.is_none()).map(OrgRow::from))
}

/// Deleted organizations that can still be brought back, by an id or by the name that they had.
pub(crate) async fn deleted_orgs(
    db: &impl Reader,
    reference: &str,
) -> Result<Vec<OrgRow>, store::StoreError> {
    let found: Vec<Stored<Org>> = if reference.starts_with(Noun::Org.prefix()) {
        store::resource::read(db, "", reference).await?.into_iter().collect()
    } else {
        let terms = vec![Term::NamePrefix(Noun::Org.prefix().to_owned())];
        let query = Query { terms, limit: DELETED_MOST, ..Query::default() };
        let rows = store::resource::list(db, Noun::Org, query).await?;
        let mut hidden: Vec<Stored<Org>> = store::resource::with_documents(db, rows).await?;
        hidden.retain(|org| org.document.name == reference);
        hidden
    };
    Ok(found.into_iter().filter(|org| org.document.deleted_at.is_some()).map(OrgRow::from).collect())
}

/// The one deleted organization that a reference means; none where there is no such organization.
pub(crate) async fn deleted_org(db: &impl Reader, reference: &str) -> Result<Option<OrgRow>, ServiceError> {
    let mut found = deleted_orgs(db, reference).await?;
    if found.len() > 1 {
        let ids: Vec<&str> = found.iter().map(|org| org.id.as_str()).collect();
        return Err(ServiceError::ambiguous("org", "deleted organizations", &ids));
    }
    Ok(found.pop())
}

/// An organization as a write finds it: it may have changed or gone since the caller was authorized.
pub(super) async fn live_org(db: &impl Reader, id: &str) -> Result<OrgRow, ServiceError> {
    org(db, id).await?.ok_or_else(|| ServiceError::NotFound { noun: "organization", name: id.to_owned() })
}
