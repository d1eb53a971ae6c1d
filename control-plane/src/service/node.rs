//! Nodes, for operators: what the store knows of each, and what its open stream says now.

use std::collections::HashMap;

use rr_contract::model::id::RegionId;
use rr_contract::wire::fleet;
use rr_contract::wire::management::{Region, Role};

use super::{Page, PageRequest, ServiceError, Services};
use crate::authz::{Least, Principal};
use crate::noun::Noun;
use crate::publish::LiveNode;
use crate::store::{self, Stored, node_row};

/// One node, from both sources.
#[derive(Debug)]
pub(crate) struct NodeView {
    pub(crate) row: node_row::Model,
    /// Region name.
    pub(crate) region: String,
    pub(crate) live: Option<LiveNode>,
    pub(crate) desired: fleet::Position,
}

impl Services {
    /// By region and id, connected or not.
    pub(crate) async fn node_list(
        &self,
        principal: &Principal,
        region: &str,
        page: &PageRequest,
    ) -> Result<Page<NodeView>, ServiceError> {
        let wanted = match region {
            "" => None,
            reference => Some(self.region_show(principal, reference).await?),
        };
        let rows = store::resource::all(&self.store, Noun::Region, "").await?;
        let regions: Vec<Stored<Region>> = store::resource::with_documents(&self.store, rows).await?;
        let theirs: Vec<String> = regions
            .iter()
            .filter(|region| operates(principal, region))
            .filter(|region| wanted.as_ref().is_none_or(|wanted| wanted.row.id == region.row.id))
            .map(|region| region.row.id.clone())
            .collect();
        if let Some(wanted) = &wanted
            && theirs.is_empty()
        {
            // It is known to everybody; its nodes are not.
            return Err(if wanted.document.dedicated_to.is_empty() || principal.operator {
                ServiceError::Role(Least::InRegion)
            } else {
                ServiceError::NotFound { noun: "region", name: region.to_owned() }
            });
        }
        let after = page.cursor::<2>()?.unwrap_or(["", ""]);
        let rows = store::node::list(&self.store, &theirs, (after[0], after[1]), page.limit()).await?;
        let page = page.cut(rows, |row| vec![row.region.clone(), row.id.clone()]);
        let names: HashMap<String, String> =
            regions.into_iter().map(|region| (region.row.id, region.row.name)).collect();
        let mut items = Vec::with_capacity(page.items.len());
        for row in page.items {
            let id = row.region.parse::<RegionId>().map_err(|_| store::StoreError::Damaged("node"))?;
            let desired = self
                .publisher
                .position(id)
                .ok_or(ServiceError::Unavailable("the configuration is still being loaded"))?;
            items.push(NodeView {
                region: names.get(&row.region).cloned().unwrap_or_else(|| row.region.clone()),
                live: self.publisher.fleet().node(&row.id),
                desired,
                row,
            });
        }
        Ok(Page { items, next: page.next })
    }
}

/// Whether the nodes of a region are a caller's to see.
fn operates(principal: &Principal, region: &Stored<Region>) -> bool {
    principal.operator
        || principal.regions.contains(&region.row.id)
        || principal.role_in(&region.document.dedicated_to) >= Some(Role::Admin)
}
