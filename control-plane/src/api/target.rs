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
}
