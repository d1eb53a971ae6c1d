//! `rrctl audit`: the author of each change, and whether history was rewritten.

mod claim;
mod edge;
mod verify;

use anyhow::Result;
use clap::{Args, Subcommand};
use rr_contract::wire::management as mg;
use rr_contract::wire::management::audit_service_client::AuditServiceClient;

use crate::command::names;
use crate::flags::count;
use crate::flags::moment::Moment;
use crate::flags::page::Newest;
use crate::print::{self, Row, line_out, minute, plain, time};
use crate::session::Session;

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Lists the changes of the organization, or of the installation, newest first.
    List(Box<ListArgs>),
    /// Writes every entry as a line of JSON, oldest first. Operators only.
    Export(ExportArgs),
    /// Lists refused calls of known tokens and users, newest first. Operators only.
    Refused {
        /// Lists only those of this token or user, by id.
        #[arg(long, default_value = "", hide_default_value = true, value_name = "ID")]
        actor: String,
        #[command(flatten)]
        newest: Newest,
    },
    /// Recomputes the chain from the first revision and compares it with the heads of the control plane and its nodes.
    /// Operators only.
    Verify(verify::VerifyArgs),
}

#[derive(Args)]
pub(crate) struct ListArgs {
    /// Lists the changes of the installation instead of an organization. Operators only.
    #[arg(long)]
    installation: bool,
    /// Lists only changes of this resource, by id. Lists with `-o wide` have ids.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "ID")]
    resource: String,
    /// Lists only those of this token or user, by id.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "ID")]
    actor: String,
    /// Start of the time, as `7d` (ago) or `2026-01-31`.
    #[arg(long, value_name = "WHEN")]
    since: Option<Moment>,
    /// End of the time, as `7d` (ago) or `2026-01-31`.
    #[arg(long, value_name = "WHEN")]
    until: Option<Moment>,
    #[command(flatten)]
    newest: Newest,
}

#[derive(Args)]
pub(crate) struct ExportArgs {
    /// First revision.
    #[arg(long, default_value_t = 1, value_name = "REVISION", value_parser = clap::value_parser!(u64).range(1..))]
    from: u64,
    /// Last revision; the newest when not given.
    #[arg(long, default_value_t = 0, hide_default_value = true, value_name = "REVISION", value_parser = count::whole)]
    to: u64,
}

impl Verb {
    pub(crate) async fn run(self, session: Session) -> Result<()> {
        match self {
            Self::List(args) => args.run(session).await,
            Self::Export(ExportArgs { from, to }) => {
                let mut stub = AuditServiceClient::new(session.endpoint.connect().await?);
                let mut parts = stub.export_audit(mg::ExportAuditRequest { from, to }).await?.into_inner();
                while let Some(part) = parts.message().await? {
                    line_out(&serde_json::to_string(&part.entry.unwrap_or_default())?)?;
                    if !print::is_read() {
                        break;
                    }
                }
                Ok(())
            }
            Self::Refused { actor, newest } => {
                let connection = session.endpoint.connect().await?;
                let mut stub = AuditServiceClient::new(connection.clone());
                let found = newest.of(async |page_size, page_token| {
                    let ask = mg::ListRefusedAttemptsRequest { actor: actor.clone(), page_size, page_token };
                    let reply = stub.list_refused_attempts(ask).await?.into_inner();
                    Ok((reply.attempts, reply.next_page_token))
                });
                let found = names::of(session.print, &connection, "", found.await?).await?;
                session.print.list(&found)
            }
            Self::Verify(args) => args.run(session).await,
        }
    }
}

impl ListArgs {
    async fn run(self, session: Session) -> Result<()> {
        let org = if self.installation { None } else { Some(session.org()?) };
        let connection = session.endpoint.connect().await?;
        let mut stub = AuditServiceClient::new(connection.clone());
        let (after, before) = (self.since.map(Moment::ago), self.until.map(Moment::ago));
        let found = self.newest.of(async |page_size, page_token| {
            let (resource, actor) = (self.resource.clone(), self.actor.clone());
            let Some(org) = org.clone() else {
                let ask = mg::ListInstallationAuditEntriesRequest {
                    resource,
                    actor,
                    after,
                    before,
                    page_size,
                    page_token,
                };
                let reply = stub.list_installation_audit_entries(ask).await?.into_inner();
                return Ok((reply.entries, reply.next_page_token));
            };
            let ask =
                mg::ListAuditEntriesRequest { org, resource, actor, after, before, page_size, page_token };
            let reply = stub.list_audit_entries(ask).await?.into_inner();
            Ok((reply.entries, reply.next_page_token))
        });
        session.print.list(&names::of(session.print, &connection, "", found.await?).await?)
    }
}

impl Row for mg::AuditEntry {
    const COLUMNS: &'static [&'static str] =
        &["revision", "at", "who", "changes", "call", "from", "token", "user"];
    const WIDE: &'static [&'static str] = &["token", "user"];

    fn cells(&self) -> Vec<String> {
        let actor = self.actor.clone().unwrap_or_default();
        let who = if actor.token.is_empty() && actor.name.is_empty() {
            "the control plane".to_owned()
        } else {
            actor.name
        };
        let change = |change: &mg::AuditChange| {
            let sign = match (change.before_hash.is_empty(), change.after_hash.is_empty()) {
                (true, false) => "+",
                (false, true) => "-",
                _ => "",
            };
            format!(
                "{sign}{} {}",
                change.kind.replace('_', " "),
                if change.name.is_empty() { &change.id } else { &change.name }
            )
        };
        let mut changes = self.changes.iter().map(change).collect::<Vec<_>>().join(", ");
        let more = self.change_count.saturating_sub(self.changes.len() as u64);
        if more > 0 {
            changes.push_str(&format!(", and {more} more"));
        }
        vec![
            self.revision.to_string(),
            time(self.at.as_ref()),
            who,
            changes,
            self.call.clone(),
            actor.address,
            actor.token,
            actor.user,
        ]
    }
}

impl Row for mg::RefusedAttempt {
    const COLUMNS: &'static [&'static str] = &["minute", "count", "call", "reason", "token", "user", "from"];
    const WHOLE: &'static [&'static str] = &["reason"];

    fn cells(&self) -> Vec<String> {
        vec![
            minute(self.minute.as_ref()),
            self.count.to_string(),
            self.call.clone(),
            plain(&self.reason, ""),
            self.token.clone(),
            self.user.clone(),
            self.address.clone(),
        ]
    }
}
