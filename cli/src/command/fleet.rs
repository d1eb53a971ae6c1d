//! `rrctl fleet`, `rrctl explain`, `rrctl revision adopt` and `rrctl revision release`.

use anyhow::Result;
use clap::Args;
use rr_contract::wire::fleet;
use rr_contract::wire::fleet::fleet_service_client::FleetServiceClient;

use crate::fault;
use crate::print::{Row, count, few, line_out, note, plain, time};
use crate::prompt;
use crate::session::Session;

#[derive(Args)]
pub(crate) struct ExplainArgs {
    /// Resource, as `proxy/pay`, by name or id; of kind `org`, `target`, `credential`, `proxy`, `rule`, `filter` or `meter`.
    /// The kind can be a word of its own, as `proxy pay`.
    #[arg(value_name = "KIND/NAME")]
    kind: String,
    /// Name or id, where the first word is the kind alone.
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

/// Kinds of resources that are explained, each with its plural.
pub(super) const EXPLAINED: [(&str, &str); 7] = [
    ("org", "orgs"),
    ("target", "targets"),
    ("credential", "credentials"),
    ("proxy", "proxies"),
    ("rule", "rules"),
    ("filter", "filters"),
    ("meter", "meters"),
];

#[derive(Args)]
pub(crate) struct AdoptArgs {
    /// Region, by name or id.
    #[arg(long)]
    region: String,
    /// Shows the plan and changes nothing.
    #[arg(long)]
    dry_run: bool,
    /// Caller credential that is accepted again although nodes saw it revoked, by id or as ORG/NAME; can be repeated.
    #[arg(long = "revive", value_name = "CREDENTIAL")]
    revive: Vec<String>,
    /// Carries the plan out without asking. Required where there is no terminal; of --yes and --dry-run, --dry-run counts.
    #[arg(long, short = 'y')]
    yes: bool,
}

/// Lists regions and the state of their nodes.
pub(crate) async fn states(session: Session) -> Result<()> {
    let mut stub = FleetServiceClient::new(session.endpoint.connect().await?);
    let reply = stub.list_region_states(fleet::ListRegionStatesRequest {}).await?.into_inner();
    session.print.list(&reply.regions)
}

/// Releases the revision that a region holds.
pub(crate) async fn release(session: &Session, region: String, revision: u64) -> Result<()> {
    let mut stub = FleetServiceClient::new(session.endpoint.connect().await?);
    let ask = fleet::ReleaseRevisionRequest { region, revision };
    let done = stub.release_revision(ask).await?.into_inner();
    session.print.done(&format!("released at revision {}", done.revision), &done)
}

impl ExplainArgs {
    /// The kind and the name, in one word or in two.
    fn named(self) -> Result<(String, String)> {
        let (kind, name) = match (self.kind.split_once('/'), self.name) {
            (Some((kind, name)), None) if !name.is_empty() => (kind.to_owned(), name.to_owned()),
            (None, Some(name)) => (self.kind, name),
            (_, name) => {
                let typed = name.map(|name| format!(" {name}")).unwrap_or_default();
                return Err(fault::usage(
                    &format!("{}{typed} is not one kind and one name", self.kind),
                    "write `rrctl explain proxy/NAME` or `rrctl explain proxy NAME`",
                ));
            }
        };
        let singular = EXPLAINED.iter().find(|(_, plural)| *plural == kind).map(|(one, _)| (*one).to_owned());
        Ok((singular.unwrap_or(kind), name))
    }

    pub(crate) async fn run(self, session: Session) -> Result<()> {
        let (kind, resource) = self.named()?;
        let org = session.org()?;
        let mut stub = FleetServiceClient::new(session.endpoint.connect().await?);
        let ask = fleet::ExplainResourceRequest { org, kind, resource };
        let reply = stub.explain_resource(ask).await?.into_inner();
        if session.print.is_data() {
            return session.print.data(&reply);
        }
        line_out(&reply.why)?;
        if reply.regions.is_empty() {
            return Ok(());
        }
        session.print.list(&reply.regions)?;
        reply.regions.iter().flat_map(told).try_for_each(|line| line_out(&line))
    }
}

/// A line for each refusal of the nodes of a region, and for each effect on callers: resource, node and reason.
fn told(region: &fleet::ResourceInRegion) -> Vec<String> {
    let mut lines = Vec::new();
    for harm in &region.harms {
        let (resource, node) = (format!("{} {}", harm.cause_kind, harm.cause_name), &harm.node);
        let gets = match harm.harm() {
            fleet::Harm::Absent => "callers get 503: no version of it runs",
            fleet::Harm::Closed => "callers get 503: it is closed",
            fleet::Harm::Unusable => "callers get 502: its upstream credential cannot be used",
            fleet::Harm::Denied => {
                "callers with that credential get 503, or 401 where it cannot tell whose it is"
            }
            fleet::Harm::Older => "callers are served by an older version",
            fleet::Harm::Unspecified => "callers are not served as it is published",
        };
        let why = reason(harm.why(), &harm.detail);
        lines
            .push(format!("proxy {} on {node}: {gets}, because {node} refuses {resource}: {why}", harm.name));
    }
    let more = u64::from(region.harm_count).saturating_sub(region.harms.len() as u64);
    if more > 0 {
        lines.push(format!("… and {more} more of region {}", region.region));
    }
    for refusal in &region.refusals {
        let mut line = format!("{} refuses it: {}", refusal.node, reason(refusal.why(), &refusal.detail));
        if refusal.fails_closed {
            line.push_str("; the proxies that use it deny their callers there");
        }
        line.push_str(if refusal.running.is_empty() {
            "; no version of it runs"
        } else {
            "; an older version runs in its place"
        });
        if refusal.since.is_some() {
            line.push_str(&format!("; known since {}", time(refusal.since.as_ref())));
        }
        lines.push(line);
    }
    for node in &region.untold {
        lines.push(format!(
            "{node} refuses more than it tells of: there may be more; see `rrctl node why {node}`"
        ));
    }
    for node in &region.clashes {
        lines.push(format!(
            "another process claims to be {node} and was not let in; see `rrctl node why {node}`"
        ));
    }
    lines
}

fn reason(why: fleet::Why, detail: &str) -> String {
    let why = plain(why.as_str_name(), "WHY_");
    if detail.is_empty() { why } else { format!("{detail} ({why})") }
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
        if self.dry_run && session.print.is_data() {
            return session.print.data(&planned);
        }
        if self.dry_run {
            return show(&planned, line_out);
        }
        // The user has to see the plan even when standard output goes to a program.
        show(&planned, |line| {
            note(line);
            Ok(())
        })?;
        if !self.yes {
            prompt::confirm(
                "continue with the history of this database?",
                "cannot ask whether to adopt this history: standard input is not a terminal",
                "give --yes to agree, or --dry-run to see the differences",
            )?;
        }
        let ask = fleet::AdoptRevisionRequest { dry_run: false, expected_plan: planned.plan, ..ask };
        let done = stub.adopt_revision(ask).await?.into_inner();
        let revision = done.revision;
        let text = format!(
            "adopted at revision {revision}; `rrctl fleet` shows when the nodes of the region are in step"
        );
        session.print.done(&text, &done)
    }
}

/// The differences that an adoption resolves.
fn show(planned: &fleet::AdoptRevisionResponse, mut out: impl FnMut(&str) -> Result<()>) -> Result<()> {
    for node in &planned.diverged {
        out(&format!("{} is at revision {} of another history", node.node, node.revision))?;
    }
    for it in &planned.differences {
        let action = plain(it.action().as_str_name(), "ADOPT_ACTION_");
        let name = if it.name.is_empty() { &it.id } else { &it.name };
        out(&format!("{action}  {} {name} ({}) on {}", it.kind, it.id, count(u64::from(it.nodes), "node")))?;
    }
    let more = planned.difference_count.saturating_sub(planned.differences.len() as u64);
    if more > 0 {
        out(&format!("… and {more} more"))?;
    }
    for node in &planned.unasked {
        out(&format!("{node} could not be asked what it holds: it has no stream to this control plane"))?;
    }
    Ok(())
}

impl Row for fleet::RegionState {
    const COLUMNS: &'static [&'static str] = &[
        "region",
        "id",
        "nodes",
        "in step",
        "behind",
        "refusing",
        "why",
        "connected",
        "draining",
        "diverged",
        "held",
        "desired",
    ];
    const WIDE: &'static [&'static str] = &["id"];

    fn cells(&self) -> Vec<String> {
        let revision = |revision: u64| if revision == 0 { "-".to_owned() } else { revision.to_string() };
        vec![
            self.region.clone(),
            self.id.clone(),
            self.nodes.to_string(),
            self.in_step.to_string(),
            self.behind.to_string(),
            self.refusing.to_string(),
            self.why.clone(),
            self.connected.to_string(),
            self.draining.to_string(),
            self.diverged.len().to_string(),
            revision(self.held_revision),
            revision(self.desired.as_ref().map_or(0, |at| at.revision)),
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
        // A node that runs no version has an entry without a hash.
        let count = |published: bool| -> u32 {
            let running = self.running.iter().filter(|it| it.published == published && !it.hash.is_empty());
            running.map(|it| it.count).sum()
        };
        vec![
            self.region.clone(),
            self.connected.to_string(),
            count(true).to_string(),
            count(false).to_string(),
            self.refusals.len().to_string(),
            few(&self.behind),
            few(&self.disconnected),
            few(&self.through),
        ]
    }
}

#[cfg(test)]
mod tests;
