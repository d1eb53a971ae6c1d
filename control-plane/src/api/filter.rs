//! Calls of FilterService.

use rr_contract::wire::management as wire;
use tonic::{Request, Response, Status};

use super::Api;
use super::crud::crud;
use crate::authz;
use crate::service::{ListRequest, shown};

crud! {
    FilterService in filter_service_server, Filter, filter, filters,
    create: create_filter CreateFilterRequest CreateFilterResponse CREATE_FILTER,
    get: get_filter GetFilterRequest GetFilterResponse GET_FILTER,
    list: list_filters ListFiltersRequest ListFiltersResponse LIST_FILTERS,
    update: update_filter UpdateFilterRequest UpdateFilterResponse UPDATE_FILTER,
    delete: delete_filter DeleteFilterRequest DeleteFilterResponse DELETE_FILTER,
    cascade: |request| Vec::new(),
}
