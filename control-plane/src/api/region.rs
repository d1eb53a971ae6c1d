//! Calls of RegionService.

use rr_contract::wire::management as wire;
use rr_contract::wire::management::region_service_server::RegionService;
use tonic::{Request, Response, Status};

use super::{Api, encode};
use crate::authz;
use crate::service::{PageRequest, ServiceError};
use crate::store::region_row;

#[tonic::async_trait]
impl RegionService for Api {
    async fn create_region(
        &self,
        request: Request<wire::CreateRegionRequest>,
    ) -> Result<Response<wire::CreateRegionResponse>, Status> {
        let result = async {
            let caller = self.enter(&request, authz::CREATE_REGION).await?;
            let made = self.services.region_create(&caller, request.into_inner().region).await?;
            Ok(wire::CreateRegionResponse { region: Some(encode(made)?) })
        };
        self.answer(authz::CREATE_REGION, result.await)
    }

    async fn get_region(
        &self,
        request: Request<wire::GetRegionRequest>,
    ) -> Result<Response<wire::GetRegionResponse>, Status> {
        let result = async {
            self.enter(&request, authz::GET_REGION).await?;
            let found = self.services.region_show(&request.get_ref().region).await?;
            Ok(wire::GetRegionResponse { region: Some(encode(found)?) })
        };
        self.answer(authz::GET_REGION, result.await)
    }

    async fn list_regions(
        &self,
        request: Request<wire::ListRegionsRequest>,
    ) -> Result<Response<wire::ListRegionsResponse>, Status> {
        let result = async {
            self.enter(&request, authz::LIST_REGIONS).await?;
            let request = request.into_inner();
            let page = PageRequest::parse(request.page_size, &request.page_token)?;
            let page = self.services.region_list(&page).await?;
            let regions = page.items.into_iter().map(encode).collect::<Result<_, ServiceError>>()?;
            Ok(wire::ListRegionsResponse { regions, next_page_token: page.next })
        };
        self.answer(authz::LIST_REGIONS, result.await)
    }
}

fn encode(row: region_row::Model) -> Result<wire::Region, ServiceError> {
    let key = row.statement()?.to_wire();
    Ok(wire::Region {
        id: row.id,
        name: row.name,
        display_name: row.display_name,
        base_url: row.base_url,
        key: Some(key),
        created_at: encode::at(row.created_at),
    })
}
