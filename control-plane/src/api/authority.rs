//! Calls of AuthorityService.

use rr_contract::wire::management as wire;
use tonic::{Request, Response, Status};

use super::Api;
use crate::authz;

#[tonic::async_trait]
impl wire::authority_service_server::AuthorityService for Api {
    async fn get_authority(
        &self,
        _request: Request<wire::GetAuthorityRequest>,
    ) -> Result<Response<wire::GetAuthorityResponse>, Status> {
        let result = async {
            self.enter(authz::GET_AUTHORITY)?;
            self.services.authority_show().await
        };
        self.answer(authz::GET_AUTHORITY, result.await)
    }

    async fn add_authority_root(
        &self,
        request: Request<wire::AddAuthorityRootRequest>,
    ) -> Result<Response<wire::AddAuthorityRootResponse>, Status> {
        let result = async {
            let caller = self.enter(authz::ADD_AUTHORITY_ROOT)?;
            let done = self.services.authority_add(caller, request.into_inner().pin).await?;
            Ok(wire::AddAuthorityRootResponse {
                root: Some(done.value),
                revision: done.revision.unwrap_or_default(),
            })
        };
        self.answer(authz::ADD_AUTHORITY_ROOT, result.await)
    }

    async fn switch_authority_root(
        &self,
        request: Request<wire::SwitchAuthorityRootRequest>,
    ) -> Result<Response<wire::SwitchAuthorityRootResponse>, Status> {
        let result = async {
            let caller = self.enter(authz::SWITCH_AUTHORITY_ROOT)?;
            let wire::SwitchAuthorityRootRequest { pin, now } = request.into_inner();
            let done = self.services.authority_switch(caller, &pin, now).await?;
            Ok(wire::SwitchAuthorityRootResponse {
                root: Some(done.value),
                revision: done.revision.unwrap_or_default(),
            })
        };
        self.answer(authz::SWITCH_AUTHORITY_ROOT, result.await)
    }

    async fn remove_authority_root(
        &self,
        request: Request<wire::RemoveAuthorityRootRequest>,
    ) -> Result<Response<wire::RemoveAuthorityRootResponse>, Status> {
        let result = async {
            let caller = self.enter(authz::REMOVE_AUTHORITY_ROOT)?;
            let wire::RemoveAuthorityRootRequest { pin, now } = request.into_inner();
            let done = self.services.authority_remove(caller, &pin, now).await?;
            Ok(wire::RemoveAuthorityRootResponse { revision: done.revision.unwrap_or_default() })
        };
        self.answer(authz::REMOVE_AUTHORITY_ROOT, result.await)
    }
}
