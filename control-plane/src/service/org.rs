//! Organizations.

use rr_contract::model::id::OrgId;
use rr_contract::wire::{FieldMask, management};

use super::{Caller, Changed, OrgCaller, Page, PageRequest, ServiceError, Services, fields};
use crate::authz::Least;
use crate::compile;
use crate::store::{self, org_row};

impl Services {
    /// Makes an organization, and its maker the owner.
    pub(crate) async fn org_create(
        &self,
        caller: &Caller,
        org: Option<management::Org>,
    ) -> Result<Changed<org_row::Model>, ServiceError> {
        let wire = fields::required("org", org)?;
        fields::unset_id("org.id", &wire.id)?;
        fields::display_name("org.display_name", &wire.display_name)?;
        let row = org_row::Model {
            id: OrgId::from_random(self.random()).to_string(),
            name: wire.name,
            display_name: wire.display_name,
            suspended: wire.suspended,
            created_at: 0,
            updated_at: 0,
        };
        let compiled = compile::org(&row)?;
        let maker = caller.principal.token.clone();
        let written = self
            .store
            .write(caller.author(), move |txn| {
                Box::pin(async move {
                    let row = org_row::Model { created_at: txn.now(), updated_at: txn.now(), ..row };
                    let taken = ServiceError::taken("organization", &row.name);
                    store::org::create(txn, row.clone()).await.map_err(taken)?;
                    let owner = management::Role::Owner.into();
                    store::token::grant(txn, &maker, owner, &row.id).await?;
                    txn.publish(compiled.key, compiled.payload);
                    Ok::<_, ServiceError>(row)
                })
            })
            .await?;
        Ok(written.into())
    }

    /// Those that the caller may see.
    pub(crate) async fn org_list(
        &self,
        caller: &Caller,
        page: &PageRequest,
    ) -> Result<Page<org_row::Model>, ServiceError> {
        let visible = (!caller.principal.operator)
            .then(|| caller.principal.orgs.iter().map(|(org, _)| org.clone()).collect());
        let rows = store::org::list(&self.store, visible, &page.after()?, page.limit()).await?;
        Ok(page.cut(rows, |row| vec![row.name.clone()]))
    }

    /// Changes what an organization is called or whether it is suspended.
    pub(crate) async fn org_update(
        &self,
        at: OrgCaller,
        org: Option<management::Org>,
        mask: Option<FieldMask>,
    ) -> Result<Changed<org_row::Model>, ServiceError> {
        let wire = fields::required("org", org)?;
        let said = [("display_name", !wire.display_name.is_empty()), ("suspended", wire.suspended)];
        let chosen = fields::masked(mask, &said)?;
        fields::display_name("org.display_name", &wire.display_name)?;
        // Or a tenant that does not pay could lift its own suspension.
        if chosen.contains("suspended") && !at.caller.principal.operator {
            return Err(ServiceError::Role(Least::Operator));
        }
        let id = at.org.id.clone();
        let written = self
            .store
            .write(at.caller.author(), move |txn| {
                Box::pin(async move {
                    let Some(mut row) = store::org::lock(txn, &id).await? else {
                        return Err(ServiceError::NotFound { noun: "organization", name: id });
                    };
                    if chosen.contains("display_name") {
                        row.display_name = wire.display_name;
                    }
                    if chosen.contains("suspended") {
                        row.suspended = wire.suspended;
                    }
                    row.updated_at = txn.now();
                    let compiled = compile::org(&row)?;
                    store::org::update(txn, row.clone()).await?;
                    txn.publish(compiled.key, compiled.payload);
                    Ok(row)
                })
            })
            .await?;
        Ok(written.into())
    }
}
