//! Calls of TargetService.

use std::time::Duration;

use rr_contract::model::time;
use rr_contract::wire::management as wire;
use rr_contract::wire::management::target_service_server::TargetService;
use tonic::{Request, Response, Status};

use super::{Api, encode};
use crate::authz;
use crate::service::PageRequest;
use crate::store::target_row;

#[tonic::async_trait]
impl TargetService for Api {
    async fn create_target(
        &self,
        request: Request<wire::CreateTargetRequest>,
    ) -> Result<Response<wire::CreateTargetResponse>, Status> {
        let result = async {
            let at = self.enter_org(&request, authz::CREATE_TARGET, |request| &request.org).await?;
            let made = self.services.target_create(at, request.into_inner().target).await?;
            Ok(wire::CreateTargetResponse { target: Some(encode(made.value)), revision: made.revision })
        };
        self.answer(authz::CREATE_TARGET, result.await)
    }

    async fn get_target(
        &self,
        request: Request<wire::GetTargetRequest>,
    ) -> Result<Response<wire::GetTargetResponse>, Status> {
        let result = async {
            let at = self.enter_org(&request, authz::GET_TARGET, |request| &request.org).await?;
            let found = self.services.target_show(&at, &request.get_ref().target).await?;
            Ok(wire::GetTargetResponse { target: Some(encode(found)) })
        };
        self.answer(authz::GET_TARGET, result.await)
    }

    async fn list_targets(
        &self,
        request: Request<wire::ListTargetsRequest>,
    ) -> Result<Response<wire::ListTargetsResponse>, Status> {
        let result = async {
            let at = self.enter_org(&request, authz::LIST_TARGETS, |request| &request.org).await?;
            let request = request.into_inner();
            let page = PageRequest::parse(request.page_size, &request.page_token)?;
            let page = self.services.target_list(&at, &page).await?;
            let targets = page.items.into_iter().map(encode).collect();
            Ok(wire::ListTargetsResponse { targets, next_page_token: page.next })
        };
        self.answer(authz::LIST_TARGETS, result.await)
    }

    async fn update_target(
        &self,
        request: Request<wire::UpdateTargetRequest>,
    ) -> Result<Response<wire::UpdateTargetResponse>, Status> {
        let result = async {
            let at = self.enter_org(&request, authz::UPDATE_TARGET, |request| &request.org).await?;
            let request = request.into_inner();
            let changed =
                self.services.target_update(at, request.name, request.target, request.update_mask).await?;
            Ok(wire::UpdateTargetResponse { target: Some(encode(changed.value)), revision: changed.revision })
        };
        self.answer(authz::UPDATE_TARGET, result.await)
    }

    async fn delete_target(
        &self,
        request: Request<wire::DeleteTargetRequest>,
    ) -> Result<Response<wire::DeleteTargetResponse>, Status> {
        let result = async {
            let at = self.enter_org(&request, authz::DELETE_TARGET, |request| &request.org).await?;
            let gone = self.services.target_delete(at, request.into_inner().target).await?;
            Ok(wire::DeleteTargetResponse { revision: gone.revision })
        };
        self.answer(authz::DELETE_TARGET, result.await)
    }
}

fn encode(row: target_row::Model) -> wire::Target {
    let duration = |nanos: i64| time::wire_duration(Duration::from_nanos(encode::number(nanos)));
    wire::Target {
        id: row.id,
        org: row.org,
        name: row.name,
        base_url: row.base_url,
        danger_plaintext: row.danger_plaintext,
        connect_timeout: row.connect_timeout.map(duration),
        response_timeout: row.response_timeout.map(duration),
        created_at: encode::at(row.created_at),
        updated_at: encode::at(row.updated_at),
    }
}
