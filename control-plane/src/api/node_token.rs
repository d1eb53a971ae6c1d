//! Calls of NodeTokenService.

use rr_contract::wire::management as wire;
use tonic::{Request, Response, Status};

use super::Api;
use crate::authz;
use crate::service::{ListRequest, shown};

#[tonic::async_trait]
impl wire::node_token_service_server::NodeTokenService for Api {
    async fn create_node_token(
        &self,
        request: Request<wire::CreateNodeTokenRequest>,
    ) -> Result<Response<wire::CreateNodeTokenResponse>, Status> {
        let result = async {
            let (caller, region) =
                self.enter_region(&request, authz::CREATE_NODE_TOKEN, |request| &request.region).await?;
            let request = request.into_inner();
            let made = self.services.node_token_create(caller, &region, request.statement).await?;
            Ok(wire::CreateNodeTokenResponse {
                authority_pin: self.services.authority.pin().to_vec(),
                node_token: Some(shown(made.value)),
                revision: made.revision.unwrap_or_default(),
            })
        };
        self.answer(authz::CREATE_NODE_TOKEN, result.await)
    }

    async fn get_node_token(
        &self,
        request: Request<wire::GetNodeTokenRequest>,
    ) -> Result<Response<wire::GetNodeTokenResponse>, Status> {
        let result = async {
            let (caller, region) =
                self.enter_region(&request, authz::GET_NODE_TOKEN, |request| &request.region).await?;
            let request = request.into_inner();
            let found = self.services.node_token_show(&caller, &region, &request.node_token).await?;
            Ok(wire::GetNodeTokenResponse { node_token: Some(shown(found)) })
        };
        self.answer(authz::GET_NODE_TOKEN, result.await)
    }

    async fn list_node_tokens(
        &self,
        request: Request<wire::ListNodeTokensRequest>,
    ) -> Result<Response<wire::ListNodeTokensResponse>, Status> {
        let result = async {
            let (caller, region) =
                self.enter_region(&request, authz::LIST_NODE_TOKENS, |request| &request.region).await?;
            let request = request.into_inner();
            let list = ListRequest {
                page_size: request.page_size,
                page_token: request.page_token,
                ..ListRequest::default()
            };
            let page = self.services.node_token_list(&caller, &region, list).await?;
            let node_tokens = page.items.into_iter().map(shown).collect();
            Ok(wire::ListNodeTokensResponse { node_tokens, next_page_token: page.next })
        };
        self.answer(authz::LIST_NODE_TOKENS, result.await)
    }

    async fn delete_node_token(
        &self,
        request: Request<wire::DeleteNodeTokenRequest>,
    ) -> Result<Response<wire::DeleteNodeTokenResponse>, Status> {
        let result = async {
            let (caller, region) =
                self.enter_region(&request, authz::DELETE_NODE_TOKEN, |request| &request.region).await?;
            let request = request.into_inner();
            let gone =
                self.services.node_token_revoke(caller, region, request.node_token, request.etag).await?;
            Ok(wire::DeleteNodeTokenResponse { revision: gone.revision.unwrap_or_default() })
        };
        self.answer(authz::DELETE_NODE_TOKEN, result.await)
    }
}
