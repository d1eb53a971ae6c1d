//! `rrctl fleet`, `rrctl explain`, and what a person decides about a region.

use anyhow::Result;
use clap::Args;
use rr_contract::wire::fleet;
use rr_contract::wire::fleet::fleet_service_client::FleetServiceClient;

use crate::args::Session;
use crate::change::plain;
use crate::print::{Row, line_out, note};
use crate::value;

#[derive(Args)]
pub(crate) struct ExplainArgs {
    /// `org`, `target`, `credential`, `proxy`, `rule`, `filter` or `meter`.
    kind: String,
    /// Name or id.
    name: String,
}

#[derive(Args)]
pub(crate) struct AdoptArgs {
    /// Name or id.
    #[arg(long)]
    region: String,
    /// Lists what would differ, and does nothing.
    #[arg(long)]
    dry_run: bool,
    /// Caller credential that comes back to life although nodes saw it revoked, by id or as ORG/NAME; can be given more
    /// than once.
    #[arg(long = "revive", value_name = "CREDENTIAL")]
    revive: Vec<String>,
    /// Decides without asking.
    #[arg(long, short = 'y', conflicts_with = "dry_run")]
    yes: bool,
}

/// Regions, with how far their nodes are.
pub(crate) async fn states(session: Session) -> Result<()> {
    let mut stub = FleetServiceClient::new(session.endpoint.connect().await?);
    let reply = stub.list_region_states(fleet::ListRegionStatesRequest {}).await?.into_inner();
    session.print.list(&reply.regions)
}

/// Sends on what a region holds.
pub(crate) async fn release(session: &Session, region: String, revision: u64) -> Result<()> {
    let mut stub = FleetServiceClient::new(session.endpoint.connect().await?);
    let ask = fleet::ReleaseRevisionRequest { region, revision };
    let done = stub.release_revision(ask).await?.into_inner().revision;
    session.print.done(&format!("released at revision {done}"))
}

impl ExplainArgs {
    pub(crate) async fn run(self, session: Session) -> Result<()> {
        let org = session.org()?;
        let mut stub = FleetServiceClient::new(session.endpoint.connect().await?);
        let ask = fleet::ExplainResourceRequest { org, kind: self.kind, resource: self.name };
        let reply = stub.explain_resource(ask).await?.into_inner();
        if session.print.is_json() {
            return line_out(&serde_json::to_string_pretty(&reply)?);
        }
        line_out(&reply.why)?;
        if reply.regions.is_empty() {
            return Ok(());
        }
        session.print.list(&reply.regions)?;
        for refusal in reply.regions.iter().flat_map(|region| &region.refusals) {
            line_out(&format!(
                "{} refuses it: {} ({})",
                refusal.node,
                refusal.detail,
                refusal.why().as_str_name()
            ))?;
        }
        for harm in reply.regions.iter().flat_map(|region| &region.harms) {
            line_out(&format!(
                "{}: proxy {} is {} because of {} {}: {} ({})",
                harm.node,
                harm.name,
                plain(harm.harm().as_str_name(), "HARM_"),
                harm.cause_kind,
                harm.cause_name,
                harm.detail,
                harm.why().as_str_name()
            ))?;
        }
        Ok(())
    }
}

impl AdoptArgs {
    pub(crate) async fn run(self, session: &Session) -> Result<()> {
        let mut stub = FleetServiceClient::new(session.endpoint.connect().await?);
        let ask = fleet::AdoptRevisionRequest {
            region: self.region,
            dry_run: true,
            revive: self.revive,
            expected_plan: Vec::new(),
        };
        let planned = stub.adopt_revision(ask.clone()).await?.into_inner();
        if self.dry_run && session.print.is_json() {
            return line_out(&serde_json::to_string_pretty(&planned)?);
        }
        if self.dry_run {
            return show(&planned, line_out);
        }
        // What a person agrees to goes where he reads, even when the output goes to a program.
        show(&planned, |line| {
            note(line);
            Ok(())
        })?;
        if !self.yes {
            value::confirm(
                "go on with this history?",
                "a history is adopted only when somebody agrees, and nobody is here to",
                "give --yes, or --dry-run to see what would differ",
            )?;
        }
        let ask = fleet::AdoptRevisionRequest { dry_run: false, expected_plan: planned.plan, ..ask };
        let done = stub.adopt_revision(ask).await?.into_inner().revision;
        session
            .print
            .done(&format!("adopted at revision {done}; `rrctl fleet` shows when its nodes are in step"))
    }
}

/// What an adopt would do, for people.
fn show(planned: &fleet::AdoptRevisionResponse, mut out: impl FnMut(&str) -> Result<()>) -> Result<()> {
    for node in &planned.diverged {
        out(&format!("{} stands at revision {} of another history", node.node, node.revision))?;
    }
    for it in &planned.differences {
        let action = plain(it.action().as_str_name(), "ADOPT_ACTION_");
        let name = if it.name.is_empty() { &it.id } else { &it.name };
        out(&format!("{action}  {} {name} ({}) on {} node(s)", it.kind, it.id, it.nodes))?;
    }
    let more = planned.difference_count.saturating_sub(planned.differences.len() as u64);
    if more > 0 {
        out(&format!("… and {more} more"))?;
    }
    for node in &planned.unasked {
        out(&format!("{node} could not be asked what it holds: it is not connected here"))?;
    }
    Ok(())
}

impl Row for fleet::RegionState {
    const COLUMNS: &'static [&'static str] = &[
        "region",
        "desired",
        "nodes",
        "connected",
        "in step",
        "refusing",
        "draining",
        "diverged",
        "held",
        "why",
    ];

    fn cells(&self) -> Vec<String> {
        let revision = |revision: u64| if revision == 0 { "-".to_owned() } else { revision.to_string() };
        vec![
            self.region.clone(),
            revision(self.desired.as_ref().map_or(0, |at| at.revision)),
            self.nodes.to_string(),
            self.connected.to_string(),
            self.in_step.to_string(),
            self.refusing.to_string(),
            self.draining.to_string(),
            self.diverged.len().to_string(),
            revision(self.held_revision),
            self.why.clone(),
        ]
    }
}

impl Row for fleet::ResourceInRegion {
    const COLUMNS: &'static [&'static str] = &[
        "region",
        "connected",
        "published version",
        "others",
        "refuse",
        "behind",
        "disconnected",
        "through",
    ];

    fn cells(&self) -> Vec<String> {
        let count = |published: bool| -> u32 {
            self.running.iter().filter(|it| it.published == published).map(|it| it.count).sum()
        };
        vec![
            self.region.clone(),
            self.connected.to_string(),
            count(true).to_string(),
            count(false).to_string(),
            self.refusals.len().to_string(),
            crate::wait::few(&self.behind),
            crate::wait::few(&self.disconnected),
            crate::wait::few(&self.through),
        ]
    }
}
