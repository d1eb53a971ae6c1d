//! Calls of OrgService.

use rr_contract::wire::management as wire;
use tonic::{Request, Response, Status};

use super::Api;
use super::crud::{removal, removed};
use crate::authz;
use crate::service::{ListRequest, purge_at, shown};
use crate::store::Stored;

/// An organization as callers see it: a deleted one with when it goes.
fn told(stored: Stored<wire::Org>) -> wire::Org {
    let org = shown(stored);
    wire::Org { purge_at: purge_at(&org), ..org }
}

#[tonic::async_trait]
impl wire::org_service_server::OrgService for Api {
    async fn create_org(
        &self,
        request: Request<wire::CreateOrgRequest>,
    ) -> Result<Response<wire::CreateOrgResponse>, Status> {
        let result = async {
            let caller = self.enter(authz::CREATE_ORG)?.agreeing(request.get_ref());
            let request = request.into_inner();
            let made = self.services.org_create(caller, request.org).await?;
            Ok(wire::CreateOrgResponse {
                org: Some(told(made.value)),
                revision: made.revision.unwrap_or_default(),
            })
        };
        self.answer(authz::CREATE_ORG, result.await)
    }

    async fn get_org(
        &self,
        request: Request<wire::GetOrgRequest>,
    ) -> Result<Response<wire::GetOrgResponse>, Status> {
        let result = async {
            let at = self.enter_org(&request, authz::GET_ORG, |request| &request.org).await?;
            let request = request.into_inner();
            let org = self.services.org_show(at, request.revision).await?;
            Ok(wire::GetOrgResponse { org: Some(told(org)) })
        };
        self.answer(authz::GET_ORG, result.await)
    }

    async fn list_orgs(
        &self,
        request: Request<wire::ListOrgsRequest>,
    ) -> Result<Response<wire::ListOrgsResponse>, Status> {
        let result = async {
            let caller = self.enter(authz::LIST_ORGS)?;
            let request = request.into_inner();
            let list = ListRequest {
                page_size: request.page_size,
                page_token: request.page_token,
                filter: request.filter,
                order_by: request.order_by,
                ..ListRequest::default()
            };
            let page = self.services.org_list(&caller, list, request.deleted).await?;
            let orgs = page.items.into_iter().map(told).collect();
            Ok(wire::ListOrgsResponse { orgs, next_page_token: page.next })
        };
        self.answer(authz::LIST_ORGS, result.await)
    }

    async fn update_org(
        &self,
        request: Request<wire::UpdateOrgRequest>,
    ) -> Result<Response<wire::UpdateOrgResponse>, Status> {
        let result = async {
            let at = self
                .enter_org(&request, authz::UPDATE_ORG, |request| &request.name)
                .await?
                .agreeing(request.get_ref());
            let request = request.into_inner();
            let changed = self.services.org_update(at, request.org, request.update_mask).await?;
            let (org, exceeding) = changed.value;
            Ok(wire::UpdateOrgResponse {
                org: Some(told(org)),
                revision: changed.revision.unwrap_or_default(),
                proxies_over_ceiling: exceeding.names,
                proxies_over_ceiling_count: exceeding.count,
            })
        };
        self.answer(authz::UPDATE_ORG, result.await)
    }

    async fn delete_org(
        &self,
        request: Request<wire::DeleteOrgRequest>,
    ) -> Result<Response<wire::DeleteOrgResponse>, Status> {
        let result = async {
            let at = self
                .enter_org(&request, authz::DELETE_ORG, |request| &request.org)
                .await?
                .agreeing(request.get_ref());
            let request = request.into_inner();
            let gone = self.services.org_delete(at, removal!(request, org, cascade: Vec::new())).await?;
            Ok(removed!(DeleteOrgResponse, gone))
        };
        self.answer(authz::DELETE_ORG, result.await)
    }

    async fn undelete_org(
        &self,
        request: Request<wire::UndeleteOrgRequest>,
    ) -> Result<Response<wire::UndeleteOrgResponse>, Status> {
        let result = async {
            let caller = self.enter(authz::UNDELETE_ORG)?.agreeing(request.get_ref());
            let request = request.into_inner();
            let back = self.services.org_undelete(caller, request.org).await?;
            Ok(wire::UndeleteOrgResponse {
                org: Some(told(back.value)),
                revision: back.revision.unwrap_or_default(),
            })
        };
        self.answer(authz::UNDELETE_ORG, result.await)
    }
}
