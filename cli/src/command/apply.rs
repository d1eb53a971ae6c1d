//! `rrctl apply`: changes an organization to the state that files describe, as one revision.
//!
//! The control plane makes a plan first, and carries out that plan or nothing.

mod file;
pub(crate) mod format;
mod mistake;
mod refused;
mod sealing;
mod upload;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use rr_contract::seam::{SystemEntropy, draw};
use rr_contract::secret::Secret;
use rr_contract::wire::management as mg;
use rr_contract::wire::management::apply_service_client::ApplyServiceClient;

use crate::flags::change::Consent;
use crate::flags::count;
use crate::flags::trust::TrustArgs;
use crate::once::{self, NewFile};
use crate::print::{Row, line_out, note, plain};
use crate::session::Session;
use crate::{fault, prompt};

/// The longest time of a call: sets can be large.
const TIMEOUT: Duration = Duration::from_secs(15 * 60);
/// Room for a key in a file, beside its name.
const KEY_ROOM: usize = 128;

#[derive(Args)]
pub(crate) struct ApplyArgs {
    /// File, or folder of files, that end in .yaml, .yml or .json; `-` is standard input. Can be repeated.
    #[arg(long = "file", short = 'f', required = true, value_name = "FILE|DIR")]
    files: Vec<PathBuf>,
    /// Label for every document without an owner of its own.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "LABEL")]
    owner: String,
    /// Deletes resources that have the label of --owner and are not in the files.
    #[arg(long, requires = "owner")]
    prune: bool,
    /// Shows the plan and changes nothing.
    #[arg(long)]
    dry_run: bool,
    /// Refused if the organization has changed since this revision.
    #[arg(long, default_value_t = 0, hide_default_value = true, value_name = "REVISION", value_parser = count::whole)]
    expect: u64,
    /// Carries the plan out without asking. Required where there is no terminal.
    #[arg(long, short = 'y', conflicts_with = "dry_run")]
    yes: bool,
    /// Waits until every connected node serves the revision, for at most this time, as `90s`; 30 seconds without a time.
    #[arg(long, num_args = 0..=1, default_missing_value = "30s", require_equals = true, value_name = "DEADLINE", value_parser = crate::command::wait::deadline, conflicts_with = "dry_run")]
    wait: Option<Duration>,
    /// With --wait: ends with exit code 0 even if a node refuses a resource.
    #[arg(long, requires = "wait")]
    allow_refusals: bool,
    /// New file that the keys of new caller credentials are written to, a line each; it is made before the keys. Without it
    /// they are printed.
    #[arg(long, value_name = "FILE", conflicts_with = "dry_run")]
    keys_out: Option<PathBuf>,
    #[command(flatten)]
    consent: Consent,
    #[command(flatten)]
    trust: TrustArgs,
}

impl ApplyArgs {
    pub(crate) async fn run(mut self, session: Session) -> Result<()> {
        let org = session.org()?;
        self.trust.fall_back(session.regions_file());
        let mut written = file::read(&self.files)?;
        if written.is_empty() && !self.prune {
            return Err(fault::usage(
                "the files hold no document",
                "a document is `kind: target` and its fields",
            ));
        }
        let connection = session.endpoint.connect_for(TIMEOUT).await?;
        sealing::seal(&mut written, &connection, &org, &self.trust).await?;
        let mut stub = ApplyServiceClient::new(connection);

        let header = self.consent.with(mg::ApplyHeader {
            org,
            owner: self.owner.clone(),
            prune: self.prune,
            dry_run: true,
            expected_revision: self.expect,
            ..Default::default()
        });
        let documents = written.iter().map(|one| one.document.clone()).collect();
        let planned = match upload::send(&mut stub, header.clone(), documents).await {
            Ok(outcome) => outcome,
            Err(status) => return Err(refused::located(&written, status)),
        };
        let tell = |outcome: &mg::ApplyOutcome| -> Result<()> {
            if session.print.is_data() { session.print.data(outcome) } else { show(outcome, line_out) }
        };
        if self.dry_run || planned.changes.is_empty() {
            return tell(&planned);
        }
        // The user has to see the plan even when standard output goes to a program.
        show(&planned, |line| {
            note(line);
            Ok(())
        })?;
        if !self.yes {
            prompt::confirm(
                "carry out this plan?",
                "cannot ask whether to carry out the plan: standard input is not a terminal",
                "give --yes to agree, or --dry-run to see only the plan",
            )?;
        }
        let header = mg::ApplyHeader {
            dry_run: false,
            plan: planned.plan,
            expected_revision: planned.base_revision,
            request_id: format!("{:032x}", u128::from_be_bytes(draw(&SystemEntropy))),
            ..header
        };
        let made = planned.changes.iter().filter(|it| it.action() == mg::ApplyAction::Create);
        let room = made.map(|it| it.name.len() + KEY_ROOM).sum();
        let mut file = self.keys_out.as_deref().map(|path| NewFile::make(path, room)).transpose()?;
        let mut done = upload::send(&mut stub, header, Vec::new()).await.map_err(unsure)?;
        let keys: String = done.keys.iter().map(|key| format!("{}  {}\n", key.name, key.key)).collect();
        let keys = Secret::from(keys);
        let kept = match &mut file {
            Some(file) if !keys.is_empty() => file.write(keys.expose()).map(|()| {
                file.keep();
                done.keys.clear();
            }),
            _ => Ok(()),
        };
        // The set is applied: a fault with the keys does not end the wait.
        let text = if session.print.is_data() {
            session.print.text(&done)?
        } else if done.keys.is_empty() {
            summary(&done)
        } else {
            note(
                "the keys below are shown only this once; callers send each where its credential says, or in Authorization",
            );
            [summary(&done).as_str(), std::str::from_utf8(keys.expose())?.trim_end()].join("\n")
        };
        let shown = if done.keys.is_empty() {
            line_out(&text)
        } else {
            once::out_or_aside("caller keys", text.as_bytes(), keys.expose())
        };
        let told = shown.and(kept);
        if let (Err(error), Some(_)) = (&told, self.wait) {
            // Told before the wait, which may take long.
            note(&format!("{error:#}"));
        }
        self.served(&session, done.revision).await?;
        told
    }

    /// Waits if --wait was given.
    async fn served(&self, session: &Session, revision: u64) -> Result<()> {
        match self.wait {
            Some(deadline) if revision != 0 => {
                crate::command::wait::until_served(session, revision, deadline, self.allow_refusals).await
            }
            _ => Ok(()),
        }
    }
}

/// The remedy where the answer was lost, and it is not known whether the plan was carried out.
fn unsure(status: tonic::Status) -> anyhow::Error {
    let error = anyhow::Error::from(status);
    if fault::is_certainly_undone(&error) {
        return error;
    }
    error.context(
        "it is not known whether the plan was carried out: apply the same files again to see what is left. Keys of caller \
         credentials that were created are lost; delete those credentials and create them again",
    )
}

/// A plan as text: a line for each change, and the sum.
fn show(outcome: &mg::ApplyOutcome, mut out: impl FnMut(&str) -> Result<()>) -> Result<()> {
    for change in &outcome.changes {
        let action = plain(change.action().as_str_name(), "APPLY_ACTION_");
        out(&format!("{action}  {} {}", change.kind, change.name))?;
    }
    let shown = outcome.changes.len() as u64;
    let more = (outcome.created + outcome.updated + outcome.deleted).saturating_sub(shown);
    if more > 0 {
        out(&format!("… and {more} more"))?;
    }
    out(&summary(outcome))
}

fn summary(outcome: &mg::ApplyOutcome) -> String {
    let (created, updated, deleted) = (outcome.created, outcome.updated, outcome.deleted);
    let counts = format!(
        "{created} to create, {updated} to update, {deleted} to delete, {} unchanged",
        outcome.unchanged
    );
    if created + updated + deleted == 0 {
        format!("nothing to change: {} unchanged", outcome.unchanged)
    } else if outcome.revision == 0 {
        format!("{counts}; compared with revision {}", outcome.base_revision)
    } else {
        let counts = counts.replace(" to create", " created").replace(" to update", " updated");
        format!("{}; revision {}", counts.replace(" to delete", " deleted"), outcome.revision)
    }
}

impl Row for mg::ApplyOutcome {
    const COLUMNS: &'static [&'static str] = &["revision", "created", "updated", "deleted", "unchanged"];

    fn cells(&self) -> Vec<String> {
        [self.revision, self.created, self.updated, self.deleted, self.unchanged]
            .map(|n| n.to_string())
            .to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_says_what_would_be_and_a_result_what_was_done() {
        let change = mg::ApplyChange {
            action: mg::ApplyAction::Create.into(),
            kind: "proxy".into(),
            name: "echo".into(),
            ..mg::ApplyChange::default()
        };
        let planned = mg::ApplyOutcome {
            base_revision: 7,
            created: 2,
            unchanged: 3,
            changes: vec![change],
            ..mg::ApplyOutcome::default()
        };
        let mut lines = Vec::new();
        show(&planned, |line| {
            lines.push(line.to_owned());
            Ok(())
        })
        .expect("lines");
        assert_eq!(
            lines,
            [
                "create  proxy echo",
                "… and 1 more",
                "2 to create, 0 to update, 0 to delete, 3 unchanged; compared with revision 7",
            ]
        );
        let done = mg::ApplyOutcome { revision: 8, ..planned };
        assert_eq!(summary(&done), "2 created, 0 updated, 0 deleted, 3 unchanged; revision 8");
        let same = mg::ApplyOutcome { unchanged: 3, ..mg::ApplyOutcome::default() };
        assert_eq!(summary(&same), "nothing to change: 3 unchanged");
    }
}
