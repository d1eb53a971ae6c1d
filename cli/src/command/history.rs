//! `rrctl org diff` and `rrctl org rollback`: an organization at its revisions.

use anyhow::Result;
use clap::Args;
use rr_contract::document;
use rr_contract::wire::management as mg;
use rr_contract::wire::management::revision_service_client::RevisionServiceClient;

use super::change;
use crate::flags::change::Consent;
use crate::flags::count;
use crate::flags::page;
use crate::flags::plan::Agreement;
use crate::print::Row;
use crate::session::Session;

/// The two revisions of a comparison.
#[derive(Args)]
pub(crate) struct DiffArgs {
    /// Older revision.
    #[arg(value_parser = count::whole)]
    from: u64,
    /// Newer revision; the newest when not given.
    #[arg(default_value_t = 0, hide_default_value = true, value_parser = count::whole)]
    to: u64,
}

/// The revision of a rollback, and its condition.
#[derive(Args)]
pub(crate) struct RollbackArgs {
    /// Revision to go back to.
    #[arg(value_parser = count::whole)]
    revision: u64,
    /// Refused if the organization has changed since this revision.
    #[arg(long, default_value_t = 0, hide_default_value = true, value_name = "REVISION", value_parser = count::whole)]
    expect: u64,
    #[command(flatten)]
    agreement: Agreement,
    /// Rolls back even if some resources cannot be restored, and leaves those out; and even if a connected node does not
    /// understand a restored resource.
    #[arg(long)]
    allow_partial: bool,
    /// Rolls back even if that removes more than 50 resources and more than 30 % of what the nodes of a region hold.
    #[arg(long)]
    allow_mass_removal: bool,
}

impl DiffArgs {
    pub(crate) async fn run(self, session: Session) -> Result<()> {
        let org = session.org()?;
        let mut stub = RevisionServiceClient::new(session.endpoint.connect().await?);
        // The newest revision at the first page is the end of every page.
        let mut to = self.to;
        let all = page::all(async |page_size, page_token| {
            let org = org.clone();
            let ask = mg::DiffRevisionsRequest { org, from: self.from, to, page_size, page_token };
            let reply = stub.diff_revisions(ask).await?.into_inner();
            to = reply.to;
            Ok((reply.differences, reply.next_page_token))
        });
        session.print.list(&all.await?)
    }
}

impl RollbackArgs {
    pub(crate) async fn run(self, session: Session) -> Result<()> {
        let org = session.org()?;
        let consent =
            Consent { allow_partial: self.allow_partial, allow_mass_removal: self.allow_mass_removal };
        let mut stub = RevisionServiceClient::new(session.endpoint.connect().await?);
        let ask = consent.with(mg::RollbackOrgRequest {
            org,
            revision: self.revision,
            dry_run: true,
            expected_revision: self.expect,
            ..Default::default()
        });
        let what = format!("roll {} back to revision {}", ask.org, ask.revision);
        let show = async || Ok(stub.rollback_org(ask.clone()).await?.into_inner());
        let Some(planned) = self.agreement.to(session.print, &what, show).await? else { return Ok(()) };
        let expected_revision = planned.base_revision;
        let ask = mg::RollbackOrgRequest { dry_run: false, expected_revision, ..ask };
        session.print.one(&stub.rollback_org(ask).await?.into_inner())
    }
}

impl Row for mg::Difference {
    const COLUMNS: &'static [&'static str] = &["kind", "name", "id", "change", "fields"];
    const WIDE: &'static [&'static str] = &["id"];

    fn cells(&self) -> Vec<String> {
        let (change, fields) = match (&self.before, &self.after) {
            (None, Some(_)) => ("created", String::new()),
            (Some(_), None) => ("deleted", String::new()),
            (Some(before), Some(after)) => {
                let fields = document::between(before, after);
                ("updated", fields.iter().map(change::line).collect::<Vec<_>>().join(", "))
            }
            (None, None) => ("", String::new()),
        };
        vec![self.kind.clone(), self.name.clone(), self.id.clone(), change.to_owned(), fields]
    }
}

fn not_restored(one: &mg::NotRestored) -> String {
    format!("{} {} ({})", one.kind, one.name, one.reason)
}

impl Row for mg::RollbackOrgResponse {
    const COLUMNS: &'static [&'static str] = &["revision", "created", "updated", "deleted", "not restored"];

    fn cells(&self) -> Vec<String> {
        let left: Vec<String> = self.not_restored.iter().map(not_restored).collect();
        vec![
            if self.revision == 0 { "none".to_owned() } else { self.revision.to_string() },
            self.created.to_string(),
            self.updated.to_string(),
            self.deleted.to_string(),
            left.join(", "),
        ]
    }
}
