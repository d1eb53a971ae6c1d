//! Calls of OrgService.

use rr_contract::wire::management as wire;
use rr_contract::wire::management::org_service_server::OrgService;
use tonic::{Request, Response, Status};

use super::{Api, encode};
use crate::authz;
use crate::service::PageRequest;
use crate::store::org_row;

#[tonic::async_trait]
impl OrgService for Api {
    async fn create_org(
        &self,
        request: Request<wire::CreateOrgRequest>,
    ) -> Result<Response<wire::CreateOrgResponse>, Status> {
        let result = async {
            let caller = self.enter(&request, authz::CREATE_ORG).await?;
            let made = self.services.org_create(&caller, request.into_inner().org).await?;
            Ok(wire::CreateOrgResponse { org: Some(encode(made.value)), revision: made.revision })
        };
        self.answer(authz::CREATE_ORG, result.await)
    }

    async fn get_org(
        &self,
        request: Request<wire::GetOrgRequest>,
    ) -> Result<Response<wire::GetOrgResponse>, Status> {
        let result = async {
            let at = self.enter_org(&request, authz::GET_ORG, |request| &request.org).await?;
            Ok(wire::GetOrgResponse { org: Some(encode(at.org)) })
        };
        self.answer(authz::GET_ORG, result.await)
    }

    async fn list_orgs(
        &self,
        request: Request<wire::ListOrgsRequest>,
    ) -> Result<Response<wire::ListOrgsResponse>, Status> {
        let result = async {
            let caller = self.enter(&request, authz::LIST_ORGS).await?;
            let request = request.into_inner();
            let page = PageRequest::parse(request.page_size, &request.page_token)?;
            let page = self.services.org_list(&caller, &page).await?;
            let orgs = page.items.into_iter().map(encode).collect();
            Ok(wire::ListOrgsResponse { orgs, next_page_token: page.next })
        };
        self.answer(authz::LIST_ORGS, result.await)
    }

    async fn update_org(
        &self,
        request: Request<wire::UpdateOrgRequest>,
    ) -> Result<Response<wire::UpdateOrgResponse>, Status> {
        let result = async {
            let at = self.enter_org(&request, authz::UPDATE_ORG, |request| &request.name).await?;
            let request = request.into_inner();
            let changed = self.services.org_update(at, request.org, request.update_mask).await?;
            Ok(wire::UpdateOrgResponse { org: Some(encode(changed.value)), revision: changed.revision })
        };
        self.answer(authz::UPDATE_ORG, result.await)
    }
}

fn encode(row: org_row::Model) -> wire::Org {
    wire::Org {
        id: row.id,
        name: row.name,
        display_name: row.display_name,
        suspended: row.suspended,
        created_at: encode::at(row.created_at),
        updated_at: encode::at(row.updated_at),
    }
}
