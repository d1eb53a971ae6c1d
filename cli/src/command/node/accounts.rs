//! `rrctl node accounts`: what nodes told of requests, and what became of the records.

use anyhow::Result;
use clap::Args;
use pbjson_types::Duration as WireDuration;
use rr_contract::wire::fleet;
use rr_contract::wire::fleet::fleet_service_client::FleetServiceClient;

use crate::command::metrics::step;
use crate::flags::moment::Moment;
use crate::print::{Row, count, note, time};
use crate::session::Session;

#[derive(Args)]
pub(crate) struct AccountsArgs {
    /// Only nodes of this region, by name or id.
    #[arg(long, default_value = "", hide_default_value = true)]
    region: String,
    /// Only this node, by id.
    #[arg(long, default_value = "", hide_default_value = true)]
    node: String,
    /// Only what the control plane was told at this time or later; a day ago when not given.
    #[arg(long, value_name = "WHEN", visible_alias = "after")]
    since: Option<Moment>,
    /// Only what it was told before this time.
    #[arg(long, value_name = "WHEN", visible_alias = "before")]
    until: Option<Moment>,
    /// How much a line of a node stands for: whole hours. All of the time when not given.
    #[arg(long, value_name = "SPAN", value_parser = step)]
    step: Option<WireDuration>,
}

impl AccountsArgs {
    pub(super) async fn run(self, session: Session) -> Result<()> {
        let mut stub = FleetServiceClient::new(session.endpoint.connect().await?);
        let ask = fleet::QueryAccountsRequest {
            region: self.region,
            node: self.node,
            after: self.since.map(Moment::ago),
            before: self.until.map(Moment::ago),
            step: self.step,
        };
        let answer = stub.query_accounts(ask).await?.into_inner();
        if session.print.is_data() {
            return session.print.data(&answer);
        }
        let all = fleet::NodeAccount { node: "(all)".to_owned(), ..answer.all.unwrap_or_default() };
        let mut rows = answer.accounts;
        if rows.len() != 1 {
            rows.push(all);
        }
        session.print.list(&rows)?;
        for gap in &answer.gaps {
            let (from, to) = (time(gap.from.as_ref()), time(gap.to.as_ref()));
            let what = match (gap.reason.as_str(), gap.records) {
                ("unclean", _) => "ended without a stop: up to 100 ms of records may be missing".to_owned(),
                (reason, records) => format!("lost {} ({reason})", count(records, "record")),
            };
            note(&format!("{} {what}, between {from} and {to}", gap.node));
        }
        Ok(())
    }
}

impl Row for fleet::NodeAccount {
    const COLUMNS: &'static [&'static str] =
        &["node", "from", "requests", "stored", "refused", "sampled", "lost", "open", "region"];
    const WIDE: &'static [&'static str] = &["region"];
    const WHOLE: &'static [&'static str] = &["node"];

    fn cells(&self) -> Vec<String> {
        let lost: Vec<String> = self.lost.iter().map(|it| format!("{} {}", it.records, it.reason)).collect();
        vec![
            self.node.clone(),
            time(self.at.as_ref()),
            self.requests.to_string(),
            self.stored.to_string(),
            self.refused.to_string(),
            self.sampled.to_string(),
            if lost.is_empty() { "0".to_owned() } else { lost.join(", ") },
            self.open.to_string(),
            self.region.clone(),
        ]
    }
}
