//! Nodes, for operators: what the store knows of each, and what its open stream says now.

use std::collections::HashMap;

use rr_contract::model::id::RegionId;
use rr_contract::wire::fleet;

use super::{Page, PageRequest, ServiceError, Services};
use crate::publish::LiveNode;
use crate::store::{self, node_row};

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
        region: &str,
        page: &PageRequest,
    ) -> Result<Page<NodeView>, ServiceError> {
        let region = match region {
            "" => None,
            reference => Some(self.region_show(reference).await?.id),
        };
        let after = page.cursor::<2>()?.unwrap_or(["", ""]);
        let rows =
            store::node::list(&self.store, region.as_deref(), (after[0], after[1]), page.limit()).await?;
        let page = page.cut(rows, |row| vec![row.region.clone(), row.id.clone()]);
        let names: HashMap<String, String> = store::region::all(&self.store)
            .await?
            .into_iter()
            .map(|region| (region.id, region.name))
            .collect();
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
