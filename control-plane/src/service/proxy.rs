//! Proxies: the fields that are computed each time one is shown.

use rr_contract::model::id::RegionId;
use rr_contract::wire::management::{Proxy, Region};

use super::ceiling::Ceilings;
use super::etag::shown;
use super::{OrgRow, ServiceError, Services};
use crate::noun::Noun;
use crate::store::{self, Stored};

impl Services {
    /// Proxies as callers see them: with where they are reached, and by how many nodes they are served.
    pub(crate) async fn proxies_shown(
        &self,
        org: &OrgRow,
        proxies: Vec<Stored<Proxy>>,
    ) -> Result<Vec<Proxy>, ServiceError> {
        let wanted: Vec<String> = proxies.iter().flat_map(|proxy| proxy.document.regions.clone()).collect();
        let rows = store::resource::find_all(&self.store, Noun::Region, "", &deduped(wanted)).await?;
        let regions: Vec<Stored<Region>> = store::resource::with_documents(&self.store, rows).await?;
        let nodes = self.publisher.fleet().connected_by_region();
        let ceilings = Ceilings::new(self.ceilings, &org.document);
        let complete = |stored: Stored<Proxy>| {
            let mut proxy = shown(stored);
            proxy.over_ceiling = ceilings.is_exceeded_by(&proxy);
            for id in &proxy.regions {
                let region = regions.iter().find(|region| region.row.id == *id);
                if let Some(url) =
                    region.map(|region| &region.document.base_url).filter(|url| !url.is_empty())
                {
                    proxy.urls.push(format!("{url}/api/{}.{}", org.name, proxy.name));
                }
                let count = id.parse::<RegionId>().ok().and_then(|id| nodes.get(&id).copied());
                proxy.nodes += u32::try_from(count.unwrap_or_default()).unwrap_or(u32::MAX);
            }
            proxy
        };
        Ok(proxies.into_iter().map(complete).collect())
    }
}

fn deduped(mut ids: Vec<String>) -> Vec<String> {
    ids.sort();
    ids.dedup();
    ids
}
