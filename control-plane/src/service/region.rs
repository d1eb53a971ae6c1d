//! Regions: public halves of keys, never a private one.

use prost::Message as _;
use rr_contract::model::id::RegionId;
use rr_contract::model::name::Name;
use rr_contract::model::origin::BaseUrl;
use rr_contract::seal::region_key::RegionStatement;
use rr_contract::wire::management;

use super::{Caller, Page, PageRequest, ServiceError, Services, fields};
use crate::compile::under;
use crate::store::{self, region_row};
use rr_contract::model::invalid::Violations;

impl Services {
    /// Takes the public half of a region's keys.
    pub(crate) async fn region_create(
        &self,
        caller: &Caller,
        region: Option<management::Region>,
    ) -> Result<region_row::Model, ServiceError> {
        let wire = fields::required("region", region)?;
        fields::display_name("region.display_name", &wire.display_name)?;
        let mut faults = Violations::default();
        faults.take("region.id", wire.id.parse::<RegionId>());
        faults.take("region.name", wire.name.parse::<Name>());
        if !wire.base_url.is_empty()
            && let Some(url) = faults.take("region.base_url", wire.base_url.parse::<BaseUrl>())
            && !url.path().is_empty()
        {
            faults.add("region.base_url", "has a path; it is scheme, host and port");
        }
        faults.finish(|| Some(()))?;
        let key = fields::required("region.key", wire.key)?;
        let statement: RegionStatement = key.try_into().map_err(|invalid| under("region.key", &invalid))?;
        if statement.region().to_string() != wire.id {
            return Err(ServiceError::field(
                "region.key.region",
                "is signed for another region than region.id",
            ));
        }
        let row = region_row::Model {
            id: wire.id,
            name: wire.name,
            display_name: wire.display_name,
            base_url: wire.base_url.trim_end_matches('/').to_owned(),
            key_statement: statement.to_wire().encode_to_vec(),
            created_at: 0,
        };
        let written = self
            .store
            .write(caller.author(), move |txn| {
                Box::pin(async move {
                    let row = region_row::Model { created_at: txn.now(), ..row };
                    let taken = ServiceError::taken("region", &row.name);
                    store::region::create(txn, row.clone()).await.map_err(taken)?;
                    Ok::<_, ServiceError>(row)
                })
            })
            .await?;
        Ok(written.value)
    }

    /// By name or id.
    pub(crate) async fn region_show(&self, reference: &str) -> Result<region_row::Model, ServiceError> {
        store::region::by_reference(&self.store, reference)
            .await?
            .ok_or_else(|| ServiceError::NotFound { noun: "region", name: reference.to_owned() })
    }

    /// All of them are everybody's to see.
    pub(crate) async fn region_list(
        &self,
        page: &PageRequest,
    ) -> Result<Page<region_row::Model>, ServiceError> {
        let rows = store::region::list(&self.store, &page.after()?, page.limit()).await?;
        Ok(page.cut(rows, |row| vec![row.name.clone()]))
    }
}
