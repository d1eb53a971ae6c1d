//! Regions: public halves of keys, never a private one.

use rr_contract::model::id::RegionId;
use rr_contract::seal::region_key::RegionStatement;
use rr_contract::wire::FieldMask;
use rr_contract::wire::management::Region;

use super::draft::{Draft, change, stage};
use super::etag::same_etag;
use super::fields::{self, Chosen};
use super::removal::remove;
use super::resource::{ListRequest, show};
use super::scope::Scope;
use super::{Caller, Page, Plan, Removal, ServiceError, Services};
use crate::authz::Principal;
use crate::compile::under;
use crate::document::CENTRAL;
use crate::noun::Noun;
use crate::store::{self, Reader, StoreError, Stored, Written};

/// A region by name or id, whichever organization it is dedicated to.
pub(crate) async fn by_reference(
    db: &impl Reader,
    reference: &str,
) -> Result<Option<Stored<Region>>, StoreError> {
    store::resource::read(db, "", reference).await
}

/// The public half of a region's keys, checked again as it was when it was stored.
pub(crate) fn statement(region: &Region) -> Result<RegionStatement, StoreError> {
    region.key.clone().and_then(|wire| wire.try_into().ok()).ok_or(StoreError::Damaged("region"))
}

/// Whether a caller may see a region: it is shared, dedicated to an organization of the caller, or operated by it.
pub(super) fn is_visible(principal: &Principal, region: &Stored<Region>) -> bool {
    region.document.dedicated_to.is_empty()
        || principal.operator
        || principal.role_in(&region.document.dedicated_to).is_some()
        || principal.regions.contains(&region.row.id)
}

impl Services {
    /// Takes the public half of a region's keys.
    pub(crate) async fn region_create(
        &self,
        caller: Caller,
        region: Option<Region>,
    ) -> Result<Written<Stored<Region>>, ServiceError> {
        let mut wire = fields::required("region", region)?;
        wire.id.parse::<RegionId>().map_err(|error| ServiceError::field("region.id", error.to_string()))?;
        let key = fields::required("region.key", wire.key.take())?;
        let statement: RegionStatement = key.try_into().map_err(|invalid| under("region.key", &invalid))?;
        if statement.region().to_string() != wire.id {
            return Err(ServiceError::field(
                "region.key.region",
                "differs from region.id: the statement is signed for another region",
            ));
        }
        wire.key = Some(statement.to_wire());
        wire.former_record_stores.clear();
        wire.record_store_since = None;
        self.check_record_store(&wire)?;
        let written = self
            .store
            .write(caller.author(), move |txn| {
                Box::pin(async move {
                    let draft = Draft { wire, secret: None, before: None };
                    stage(txn, caller.installation(), None, draft).await
                })
            })
            .await?;
        Ok(written)
    }

    /// Refuses a record store that settings here do not name: records of the region would wait on its nodes.
    fn check_record_store(&self, region: &Region) -> Result<(), ServiceError> {
        let wanted = region.record_store.as_str();
        if wanted.is_empty() || wanted == CENTRAL || self.records.names().any(|name| name == wanted) {
            return Ok(());
        }
        let known = self.records.names().collect::<Vec<_>>();
        let known = if known.is_empty() {
            "which name none".to_owned()
        } else {
            format!("which name {}", known.join(", "))
        };
        Err(ServiceError::field(
            "region.record_store",
            format!(
                "is not in the settings of this control plane, {known}: start each rr-control with --record-store NAME=URL first"
            ),
        ))
    }

    /// By name or id. A region that is dedicated to another organization is not found.
    pub(crate) async fn region_show(
        &self,
        principal: &Principal,
        reference: &str,
    ) -> Result<Stored<Region>, ServiceError> {
        let found = by_reference(&self.store, reference).await?;
        found
            .filter(|region| is_visible(principal, region))
            .ok_or_else(|| ServiceError::NotFound { noun: "region", name: reference.to_owned() })
    }

    /// The regions that the caller may see.
    pub(crate) async fn region_list(
        &self,
        caller: &Caller,
        request: ListRequest,
    ) -> Result<Page<Stored<Region>>, ServiceError> {
        let among = if caller.principal.operator {
            None
        } else {
            // There are tens of them.
            let rows = store::resource::all(&self.store, Noun::Region, "").await?;
            let regions = store::resource::with_documents(&self.store, rows).await?;
            let visible = regions.into_iter().filter(|region| is_visible(&caller.principal, region));
            Some(visible.map(|region| region.row.id).collect())
        };
        // A token that is for some resources still sees where they are served.
        let principal = Principal { resources: Vec::new(), ..caller.principal.clone() };
        self.list_in(Scope { org: "", principal: &principal, ceilings: None }, request, among).await
    }

    /// Changes the fields that the mask names.
    pub(crate) async fn region_update(
        &self,
        caller: Caller,
        reference: String,
        region: Option<Region>,
        mask: Option<FieldMask>,
    ) -> Result<Written<Stored<Region>>, ServiceError> {
        let wire = fields::required("region", region)?;
        let chosen = Chosen::of(mask, &wire)?;
        if chosen.names("record_store") {
            self.check_record_store(&wire)?;
        }
        let written = self
            .store
            .write(caller.author(), move |txn| {
                Box::pin(async move {
                    let found = show::<Region>(txn, caller.installation(), &reference, 0).await?;
                    change(txn, caller.installation(), None, found, wire, &chosen).await
                })
            })
            .await?;
        Ok(written)
    }

    /// Refused while anything is served, sealed or known there.
    pub(crate) async fn region_delete(
        &self,
        caller: Caller,
        wanted: Removal,
    ) -> Result<Written<Plan>, ServiceError> {
        let written = self
            .store
            .write(caller.author().rehearsing(wanted.dry_run), move |txn| {
                Box::pin(async move {
                    let found = show::<Region>(txn, caller.installation(), &wanted.reference, 0).await?;
                    same_etag(&found, &wanted.etag)?;
                    if store::node::any_in(txn, &found.row.id).await? {
                        return Err(ServiceError::Refused {
                            reason: super::Reason::InUse,
                            text: format!(
                                "region {:?} still has nodes: it can be deleted when none is left",
                                found.row.name
                            ),
                            preconditions: Vec::new(),
                        });
                    }
                    let plan = remove(txn, caller.installation(), Noun::Region, found.row, &[]).await?;
                    plan.is_what_was_shown(&wanted.expected_plan)?;
                    Ok(plan)
                })
            })
            .await?;
        Ok(written)
    }
}
