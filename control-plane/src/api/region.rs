//! Calls of RegionService.

use rr_contract::wire::management as wire;
use tonic::{Request, Response, Status};

use super::Api;
use super::crud::{removal, removed};
use crate::authz;
use crate::service::{ListRequest, shown};

#[tonic::async_trait]
impl wire::region_service_server::RegionService for Api {
    async fn create_region(
        &self,
        request: Request<wire::CreateRegionRequest>,
    ) -> Result<Response<wire::CreateRegionResponse>, Status> {
        let result = async {
            let caller = self.enter(authz::CREATE_REGION)?;
            let request = request.into_inner();
            let made = self.services.region_create(caller, request.region).await?;
            Ok(wire::CreateRegionResponse {
                region: Some(shown(made.value)),
                revision: made.revision.unwrap_or_default(),
            })
        };
        self.answer(authz::CREATE_REGION, result.await)
    }

    async fn get_region(
        &self,
        request: Request<wire::GetRegionRequest>,
    ) -> Result<Response<wire::GetRegionResponse>, Status> {
        let result = async {
            let caller = self.enter(authz::GET_REGION)?;
            let request = request.into_inner();
            let found = self.services.region_show(&caller.principal, &request.region).await?;
            Ok(wire::GetRegionResponse { region: Some(shown(found)) })
        };
        self.answer(authz::GET_REGION, result.await)
    }

    async fn list_regions(
        &self,
        request: Request<wire::ListRegionsRequest>,
    ) -> Result<Response<wire::ListRegionsResponse>, Status> {
        let result = async {
            let caller = self.enter(authz::LIST_REGIONS)?;
            let request = request.into_inner();
            let list = ListRequest {
                page_size: request.page_size,
                page_token: request.page_token,
                filter: request.filter,
                order_by: request.order_by,
                ..ListRequest::default()
            };
            let page = self.services.region_list(&caller, list).await?;
            let regions = page.items.into_iter().map(shown).collect();
            Ok(wire::ListRegionsResponse { regions, next_page_token: page.next })
        };
        self.answer(authz::LIST_REGIONS, result.await)
    }

    async fn update_region(
        &self,
        request: Request<wire::UpdateRegionRequest>,
    ) -> Result<Response<wire::UpdateRegionResponse>, Status> {
        let result = async {
            let caller = self.enter(authz::UPDATE_REGION)?;
            let request = request.into_inner();
            let changed = self
                .services
                .region_update(caller, request.name, request.region, request.update_mask)
                .await?;
            Ok(wire::UpdateRegionResponse {
                region: Some(shown(changed.value)),
                revision: changed.revision.unwrap_or_default(),
            })
        };
        self.answer(authz::UPDATE_REGION, result.await)
    }

    async fn delete_region(
        &self,
        request: Request<wire::DeleteRegionRequest>,
    ) -> Result<Response<wire::DeleteRegionResponse>, Status> {
        let result = async {
            let caller = self.enter(authz::DELETE_REGION)?;
            let request = request.into_inner();
            let gone =
                self.services.region_delete(caller, removal!(request, region, cascade: Vec::new())).await?;
            Ok(removed!(DeleteRegionResponse, gone))
        };
        self.answer(authz::DELETE_REGION, result.await)
    }
}
