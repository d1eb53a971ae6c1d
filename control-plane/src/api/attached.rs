//! Calls of RuleService, FilterService and MeterService.

use rr_contract::wire::management as wire;
use tonic::{Request, Response, Status};

use super::Api;
use super::crud::crud;
use crate::authz;
use crate::service::{ListRequest, shown};

crud! {
    RuleService in rule_service_server, Rule, rule, rules,
    create: create_rule CreateRuleRequest CreateRuleResponse CREATE_RULE,
    get: get_rule GetRuleRequest GetRuleResponse GET_RULE,
    list: list_rules ListRulesRequest ListRulesResponse LIST_RULES,
    update: update_rule UpdateRuleRequest UpdateRuleResponse UPDATE_RULE,
    delete: delete_rule DeleteRuleRequest DeleteRuleResponse DELETE_RULE,
    cascade: |request| Vec::new(),
}

crud! {
    FilterService in filter_service_server, Filter, filter, filters,
    create: create_filter CreateFilterRequest CreateFilterResponse CREATE_FILTER,
    get: get_filter GetFilterRequest GetFilterResponse GET_FILTER,
    list: list_filters ListFiltersRequest ListFiltersResponse LIST_FILTERS,
    update: update_filter UpdateFilterRequest UpdateFilterResponse UPDATE_FILTER,
    delete: delete_filter DeleteFilterRequest DeleteFilterResponse DELETE_FILTER,
    cascade: |request| Vec::new(),
}

crud! {
    MeterService in meter_service_server, Meter, meter, meters,
    create: create_meter CreateMeterRequest CreateMeterResponse CREATE_METER,
    get: get_meter GetMeterRequest GetMeterResponse GET_METER,
    list: list_meters ListMetersRequest ListMetersResponse LIST_METERS,
    update: update_meter UpdateMeterRequest UpdateMeterResponse UPDATE_METER,
    delete: delete_meter DeleteMeterRequest DeleteMeterResponse DELETE_METER,
    cascade: |request| Vec::new(),
}
