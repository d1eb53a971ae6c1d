//! Calls of RequestService.

use std::time::Duration;

use futures_util::stream::BoxStream;
use rr_contract::wire::management as wire;
use rr_contract::wire::management::request_service_server::RequestService;
use tonic::{Request, Response, Status};

use super::Api;
use super::watch::Watch;
use crate::authz;

/// How often a tail looks for new records.
const LOOK: Duration = Duration::from_millis(500);

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

    type TailRequestsStream = BoxStream<'static, Result<wire::TailRequestsResponse, Status>>;

    async fn tail_requests(
        &self,
        request: Request<wire::TailRequestsRequest>,
    ) -> Result<Response<Self::TailRequestsStream>, Status> {
        let entered = async {
            let at = self.enter_org(&request, authz::TAIL_REQUESTS, |request| &request.org).await?;
            let wire::TailRequestsRequest { proxy, filter, .. } = request.get_ref();
            let filter = self.services.request_filter(&at, proxy, filter).await?;
            Ok((at, self.watcher(&request)?, filter, self.services.request_newest().await?))
        };
        let (at, watcher, filter, newest) = match entered.await {
            Ok(entered) => entered,
            Err(error) => return self.answer(authz::TAIL_REQUESTS, Err(error)),
        };
        let watch = Watch { watcher, permission: authz::TAIL_REQUESTS, org: at.org.id, every: LOOK };
        let messages = self.watch(watch, newest, move |api: Self, at, mut cursor| {
            let filter = filter.clone();
            async move {
                let (news, mut skipped) = api.services.request_news(&at, filter, &mut cursor).await?;
                let message = |request| {
                    let skipped = std::mem::take(&mut skipped);
                    wire::TailRequestsResponse { request: Some(request), skipped }
                };
                Ok((news.into_iter().map(message).collect(), cursor))
            }
        });
        self.answer(authz::TAIL_REQUESTS, Ok(messages))
    }

    async fn permit_trial(
        &self,
        request: Request<wire::PermitTrialRequest>,
    ) -> Result<Response<wire::PermitTrialResponse>, Status> {
        let result = async {
            let at = self.enter_org(&request, authz::PERMIT_TRIAL, |request| &request.org).await?;
            self.services.permit_trial(&at, request.get_ref()).await
        };
        self.answer(authz::PERMIT_TRIAL, result.await)
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
