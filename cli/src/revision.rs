//! `rrctl revision`: published changes, and who made them.

use anyhow::Result;
use clap::Subcommand;
use rr_contract::wire::management as mg;
use rr_contract::wire::management::installation_service_client::InstallationServiceClient;

use crate::args::Session;
use crate::print::{Row, time};

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Lists revisions, newest first.
    List {
        /// At most so many.
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(i32).range(1..=1000))]
        limit: i32,
    },
}

impl Verb {
    pub(crate) async fn run(self, session: Session) -> Result<()> {
        let Self::List { limit } = self;
        let mut stub = InstallationServiceClient::new(session.endpoint.connect().await?);
        let ask = mg::ListRevisionsRequest { page_size: limit, page_token: String::new() };
        session.print.list(&stub.list_revisions(ask).await?.into_inner().revisions)
    }
}

impl Row for mg::Revision {
    const COLUMNS: &'static [&'static str] = &["revision", "at", "author", "call", "changes"];

    fn cells(&self) -> Vec<String> {
        let changes: Vec<String> = self
            .changes
            .iter()
            .map(|change| format!("{}{} {}", if change.removed { "-" } else { "+" }, change.kind, change.id))
            .collect();
        vec![
            self.revision.to_string(),
            time(self.at.as_ref()),
            self.author.clone(),
            self.call.clone(),
            changes.join(", "),
        ]
    }
}
