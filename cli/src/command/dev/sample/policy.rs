//! One rule, one filter and one meter of the sample proxy, so that each can be seen at work.
//!
//! Each is looked for first, as the rest of the sample is. They come before the node joins, and so need nobody's consent.

use anyhow::{Context as _, Result};
use rr_contract::wire::fleet::{Effect, FilterAction, Limits, MeterRequests, RequestMatch};
use rr_contract::wire::management as mg;
use rr_contract::wire::management::filter_service_client::FilterServiceClient;
use rr_contract::wire::management::meter_service_client::MeterServiceClient;
use rr_contract::wire::management::rule_service_client::RuleServiceClient;

use super::{ORG, PROXY, found};
use crate::connect::Connection;

const RULE: &str = "no-delete";
const FILTER: &str = "no-email";
const METER: &str = "writes";
/// Of the sample upstream's answer; masked.
const MASKED: &str = "customer.email";

/// More than a person types.
pub(in crate::command::dev) const LIMITS: Limits = Limits { per_minute_per_node: 600, per_day_per_node: 0 };

pub(super) async fn make(connection: &Connection) -> Result<()> {
    rule(connection).await?;
    filter(connection).await?;
    meter(connection).await
}

async fn rule(connection: &Connection) -> Result<()> {
    let mut stub = RuleServiceClient::new(connection.clone());
    let ask = mg::GetRuleRequest { org: ORG.to_owned(), rule: RULE.to_owned(), revision: 0 };
    if found(stub.get_rule(ask).await)?.is_none() {
        let rule = mg::Rule {
            name: RULE.to_owned(),
            parent: Some(mg::rule::Parent::Proxy(PROXY.to_owned())),
            effect: Effect::Deny.into(),
            when: Some(RequestMatch { methods: vec!["DELETE".to_owned()], ..RequestMatch::default() }),
            notes: "The sample deletes nothing.".to_owned(),
            ..mg::Rule::default()
        };
        let ask = mg::CreateRuleRequest { org: ORG.to_owned(), rule: Some(rule), ..Default::default() };
        stub.create_rule(ask).await.context("make the sample rule")?;
    }
    Ok(())
}

async fn filter(connection: &Connection) -> Result<()> {
    let mut stub = FilterServiceClient::new(connection.clone());
    let ask = mg::GetFilterRequest { org: ORG.to_owned(), filter: FILTER.to_owned(), revision: 0 };
    if found(stub.get_filter(ask).await)?.is_none() {
        let filter = mg::Filter {
            name: FILTER.to_owned(),
            parent: Some(mg::filter::Parent::Proxy(PROXY.to_owned())),
            action: FilterAction::Mask.into(),
            paths: vec![MASKED.to_owned()],
            ..mg::Filter::default()
        };
        let ask = mg::CreateFilterRequest { org: ORG.to_owned(), filter: Some(filter), ..Default::default() };
        stub.create_filter(ask).await.context("make the sample filter")?;
    }
    Ok(())
}

async fn meter(connection: &Connection) -> Result<()> {
    let mut stub = MeterServiceClient::new(connection.clone());
    let ask = mg::GetMeterRequest { org: ORG.to_owned(), meter: METER.to_owned(), revision: 0 };
    if found(stub.get_meter(ask).await)?.is_none() {
        let methods = ["POST", "PUT", "PATCH"].map(str::to_owned).to_vec();
        let meter = mg::Meter {
            name: METER.to_owned(),
            proxy: PROXY.to_owned(),
            counts: Some(mg::meter::Counts::Requests(MeterRequests {})),
            only_when: Some(RequestMatch { methods, ..RequestMatch::default() }),
            per_day_per_node: 10_000,
            ..mg::Meter::default()
        };
        let ask = mg::CreateMeterRequest { org: ORG.to_owned(), meter: Some(meter), ..Default::default() };
        stub.create_meter(ask).await.context("make the sample meter")?;
    }
    Ok(())
}
