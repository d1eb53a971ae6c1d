//! Calls of NodeTokenService.

use rr_contract::wire::management as wire;
use rr_contract::wire::management::node_token_service_server::NodeTokenService;
use tonic::{Request, Response, Status};

use super::Api;
use crate::authz;

#[tonic::async_trait]
impl NodeTokenService for Api {
    async fn create_node_token(
        &self,
        request: Request<wire::CreateNodeTokenRequest>,
    ) -> Result<Response<wire::CreateNodeTokenResponse>, Status> {
        let result = async {
            let caller = self.enter(&request, authz::CREATE_NODE_TOKEN).await?;
            let request = request.into_inner();
            let pin = self.services.node_token_create(&caller, &request.region, request.statement).await?;
            Ok(wire::CreateNodeTokenResponse { authority_pin: pin.to_vec() })
        };
        self.answer(authz::CREATE_NODE_TOKEN, result.await)
    }
}
