//! Calls of MetricsService.

use rr_contract::wire::management as wire;
use rr_contract::wire::management::metrics_service_server::MetricsService;
use tonic::{Request, Response, Status};

use super::Api;
use crate::authz;

#[tonic::async_trait]
impl MetricsService for Api {
    async fn query_metrics(
        &self,
        request: Request<wire::QueryMetricsRequest>,
    ) -> Result<Response<wire::QueryMetricsResponse>, Status> {
        let result = async {
            let at = self.enter_org(&request, authz::QUERY_METRICS, |request| &request.org).await?;
            self.services.metrics(&at, request.get_ref()).await
        };
        self.answer(authz::QUERY_METRICS, result.await)
    }
}
