//! Calls of RequestService.

use rr_contract::wire::management as wire;
use rr_contract::wire::management::request_service_server::RequestService;
use tonic::{Request, Response, Status};

use super::Api;
use crate::authz;

#[tonic::async_trait]
impl RequestService for Api {
    async fn list_requests(
        &self,
        request: Request<wire::ListRequestsRequest>,
    ) -> Result<Response<wire::ListRequestsResponse>, Status> {
        let result = async {
            let at = self.enter_org(&request, authz::LIST_REQUESTS, |request| &request.org).await?;
            let page = self.services.request_list(&at, request.get_ref()).await?;
            let requests = self.services.requests_shown(&at, page.items).await?;
            Ok(wire::ListRequestsResponse { requests, next_page_token: page.next })
        };
        self.answer(authz::LIST_REQUESTS, result.await)
    }

    async fn get_request(
        &self,
        request: Request<wire::GetRequestRequest>,
    ) -> Result<Response<wire::GetRequestResponse>, Status> {
        let result = async {
            let at = self.enter_org(&request, authz::GET_REQUEST, |request| &request.org).await?;
            let found = self.services.request_show(&at, &request.get_ref().request).await?;
            let request = self.services.requests_shown(&at, vec![found]).await?.pop();
            Ok(wire::GetRequestResponse { request })
        };
        self.answer(authz::GET_REQUEST, result.await)
    }
}
