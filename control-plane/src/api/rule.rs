//! Calls of RuleService.

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
