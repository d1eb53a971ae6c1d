//! `rrctl revision`: published changes and their authors; and decisions about a revision in a region.

use anyhow::Result;
use clap::Subcommand;
use rr_contract::wire::management as mg;
use rr_contract::wire::management::revision_service_client::RevisionServiceClient;

use crate::command::names;
use crate::flags::count;
use crate::flags::page::Newest;
use crate::print::{Row, time};
use crate::session::Session;

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Lists revisions, newest first. Of a change, `+` is made, `~` changed, `-` removed.
    List(Newest),
    /// Shows a revision.
    Show {
        /// Number of the revision.
        #[arg(value_parser = count::whole)]
        revision: u64,
    },
    /// Waits until the nodes run a revision. Disconnected nodes are listed and not waited for. The exit code is 1 if time runs
    /// out or a node refuses a resource.
    Wait(crate::command::wait::WaitArgs),
    /// Makes the nodes of a region continue with the history of this database, after a restore.
    Adopt(crate::command::fleet::AdoptArgs),
    /// Releases a revision that is held in a region because nodes crashed on it.
    Release {
        /// Region, by name or id.
        #[arg(long)]
        region: String,
        /// Number of the held revision, from `rrctl fleet`.
        #[arg(value_parser = count::whole)]
        revision: u64,
    },
}

impl Verb {
    pub(crate) async fn run(self, session: Session) -> Result<()> {
        match self {
            Self::Wait(args) => return args.run(&session).await,
            Self::Adopt(args) => return args.run(&session).await,
            Self::Release { region, revision } => {
                return crate::command::fleet::release(&session, region, revision).await;
            }
            Self::List(_) | Self::Show { .. } => {}
        }
        let connection = session.endpoint.connect().await?;
        let mut stub = RevisionServiceClient::new(connection.clone());
        match self {
            Self::List(newest) => {
                let found = newest.of(async |page_size, page_token| {
                    let ask = mg::ListRevisionsRequest { page_size, page_token };
                    let reply = stub.list_revisions(ask).await?.into_inner();
                    Ok((reply.revisions, reply.next_page_token))
                });
                session.print.list(&names::of(session.print, &connection, "", found.await?).await?)
            }
            Self::Wait(_) | Self::Adopt(_) | Self::Release { .. } => Ok(()),
            Self::Show { revision } => {
                let ask = mg::GetRevisionRequest { revision };
                let found = stub.get_revision(ask).await?.into_inner().revision;
                session.print.one(&names::of_one(session.print, &connection, "", found).await?)
            }
        }
    }
}

impl Row for mg::Revision {
    const COLUMNS: &'static [&'static str] =
        &["revision", "at", "author", "changes", "call", "kept", "token"];
    const WIDE: &'static [&'static str] = &["kept", "token"];

    fn cells(&self) -> Vec<String> {
        let change = |change: &mg::Change| {
            let sign = match (change.created, change.removed) {
                (_, true) => "-",
                (true, false) => "+",
                (false, false) => "~",
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
            // A revision that the control plane wrote by itself has no token.
            self.actor.clone(),
            changes,
            self.call.clone(),
            self.kept.to_string(),
            self.author.clone(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_says_whether_a_resource_was_made_changed_or_removed() {
        let change = |name: &str, created, removed| mg::Change {
            kind: "proxy".to_owned(),
            name: name.to_owned(),
            created,
            removed,
            ..mg::Change::default()
        };
        let changes =
            vec![change("new", true, false), change("pay", false, false), change("old", false, true)];
        let revision = mg::Revision { changes, change_count: 5, ..mg::Revision::default() };
        let at = mg::Revision::COLUMNS.iter().position(|column| *column == "changes").expect("a column");
        assert_eq!(revision.cells()[at], "+proxy new, ~proxy pay, -proxy old, and 2 more");
    }
}
