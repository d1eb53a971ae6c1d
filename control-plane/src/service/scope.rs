//! Where a call acts, and for whom: in one organization, or in the installation.

use rr_contract::wire::fleet::Limits;
use rr_contract::wire::management::Org;

use super::{Caller, OrgCaller, OrgRow, ServiceError};
use crate::authz::Principal;
use crate::store::{self, Reader, Stored};

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

/// An organization as a write finds it: it may have changed or gone since the caller was authorized.
pub(super) async fn live_org(db: &impl Reader, id: &str) -> Result<OrgRow, ServiceError> {
    org(db, id).await?.ok_or_else(|| ServiceError::NotFound { noun: "organization", name: id.to_owned() })
}
