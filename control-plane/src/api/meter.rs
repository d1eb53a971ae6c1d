//! Calls of MeterService.

use rr_contract::wire::management as wire;
use tonic::{Request, Response, Status};

use super::Api;
use super::crud::crud;
use crate::authz;
use crate::service::{ListRequest, shown};

crud! {
    MeterService in meter_service_server, Meter, meter, meters,
    create: create_meter CreateMeterRequest CreateMeterResponse CREATE_METER,
    get: get_meter GetMeterRequest GetMeterResponse GET_METER,
    list: list_meters ListMetersRequest ListMetersResponse LIST_METERS,
    update: update_meter UpdateMeterRequest UpdateMeterResponse UPDATE_METER,
    delete: delete_meter DeleteMeterRequest DeleteMeterResponse DELETE_METER,
    cascade: |request| Vec::new(),
}
