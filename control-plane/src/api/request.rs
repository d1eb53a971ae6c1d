//! Calls of RequestService.

use prost::Message as _;
use rr_contract::wire::fleet;
use rr_contract::wire::management as wire;
use rr_contract::wire::management::request_service_server::RequestService;
use tonic::{Request, Response, Status};

use super::{Api, encode};
use crate::authz;
use crate::service::ServiceError;
use crate::store::{StoreError, request_row};

#[tonic::async_trait]
impl RequestService for Api {
    async fn list_requests(
        &self,
        request: Request<wire::ListRequestsRequest>,
    ) -> Result<Response<wire::ListRequestsResponse>, Status> {
        let result = async {
            let at = self.enter_org(&request, authz::LIST_REQUESTS, |request| &request.org).await?;
            let page = self.services.request_list(&at, request.get_ref()).await?;
            let requests = page.items.into_iter().map(encode).collect::<Result<_, ServiceError>>()?;
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
            Ok(wire::GetRequestResponse { request: Some(encode(found)?) })
        };
        self.answer(authz::GET_REQUEST, result.await)
    }
}

fn encode(row: request_row::Model) -> Result<wire::Request, ServiceError> {
    let record =
        fleet::Record::decode(row.record.as_slice()).map_err(|_| StoreError::Damaged("request record"))?;
    Ok(wire::Request {
        record: Some(record),
        node: row.node,
        region: row.region,
        stored_at: encode::at(row.stored_at),
    })
}
