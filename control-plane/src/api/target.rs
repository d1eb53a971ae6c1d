//! Calls of TargetService.

use rr_contract::wire::management as wire;
use tonic::{Request, Response, Status};

use super::Api;
use super::crud::crud;
use crate::authz;
use crate::service::{ListRequest, shown};

crud! {
    TargetService in target_service_server, Target, target, targets,
    create: create_target CreateTargetRequest CreateTargetResponse CREATE_TARGET,
    get: get_target GetTargetRequest GetTargetResponse GET_TARGET,
    list: list_targets ListTargetsRequest ListTargetsResponse LIST_TARGETS,
    update: update_target UpdateTargetRequest UpdateTargetResponse UPDATE_TARGET,
    delete: delete_target DeleteTargetRequest DeleteTargetResponse DELETE_TARGET,
    cascade: |request| request.cascade,
    more: {
        async fn test_target(
            &self,
            request: Request<wire::TestTargetRequest>,
        ) -> Result<Response<wire::TestTargetResponse>, Status> {
            let result = async {
                let at = self.enter_org(&request, authz::TEST_TARGET, |request| &request.org).await?;
                self.services.target_test(at, request.into_inner()).await
            };
            self.answer(authz::TEST_TARGET, result.await)
        }

        async fn list_target_tests(
            &self,
            request: Request<wire::ListTargetTestsRequest>,
        ) -> Result<Response<wire::ListTargetTestsResponse>, Status> {
            let result = async {
                let at = self.enter_org(&request, authz::LIST_TARGET_TESTS, |request| &request.org).await?;
                let tests = self.services.target_tests(&at, request.get_ref()).await?;
                Ok(wire::ListTargetTestsResponse { tests })
            };
            self.answer(authz::LIST_TARGET_TESTS, result.await)
        }
    },
}
