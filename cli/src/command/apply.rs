//! `rrctl apply`: makes an organization what files say, as one revision.
//!
//! Every apply is a plan first, and what is carried out is that plan: nobody agrees to one thing and gets another.

mod file;
pub(crate) mod format;
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
use crate::flags::trust::TrustArgs;
use crate::once::{self, NewFile};
use crate::print::{Row, line_out, note, plain};
use crate::session::Session;
use crate::{fault, prompt};

/// Sets can be large.
const TIMEOUT: Duration = Duration::from_secs(15 * 60);
/// What a key takes in a file beside its name, and more.
const KEY_ROOM: usize = 128;

#[derive(Args)]
pub(crate) struct ApplyArgs {
    /// File, or folder of files, that end in .yaml, .yml or .json; `-` is standard input. Can be given more than once.
    #[arg(long = "file", short = 'f', required = true, value_name = "FILE|DIR")]
    files: Vec<PathBuf>,
    /// Label put on every document that has no owner of its own.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "LABEL")]
    owner: String,
    /// Removes what bears --owner and is not in the files.
    #[arg(long, requires = "owner")]
    prune: bool,
    /// Shows the plan and does nothing.
    #[arg(long)]
    dry_run: bool,
    /// Only if the organization has not changed since this revision.
    #[arg(long, default_value_t = 0, hide_default_value = true, value_name = "REVISION")]
    expect: u64,
    /// Carries the plan out without asking. Required where there is no terminal.
    #[arg(long, short = 'y', conflicts_with = "dry_run")]
    yes: bool,
    /// Waits until every connected node serves it, or so long, as `90s`; 30 seconds when no time is given.
    #[arg(long, num_args = 0..=1, default_missing_value = "30s", require_equals = true, value_name = "DEADLINE", value_parser = crate::command::wait::deadline, conflicts_with = "dry_run")]
    wait: Option<Duration>,
    /// Of --wait: ends with 0 although some nodes refuse something.
    #[arg(long, requires = "wait")]
    allow_refusals: bool,
    /// File that the keys of new caller credentials are written to, a line each; made before the keys are. Printed when not
    /// given.
    #[arg(long, value_name = "FILE", conflicts_with = "dry_run")]
    keys_out: Option<PathBuf>,
    #[command(flatten)]
    consent: Consent,
    #[command(flatten)]
    trust: TrustArgs,
}

impl ApplyArgs {
    pub(crate) async fn run(self, session: Session) -> Result<()> {
        let org = session.org()?;
        let mut written = file::read(&self.files)?;
        if written.is_empty() && !self.prune {
            return Err(fault::usage("the files hold no document", "`kind: target` and its fields make one"));
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
            Err(status) => return Err(file::placed(&written, status)),
        };
        let tell = |outcome: &mg::ApplyOutcome| -> Result<()> {
            if session.print.is_json() { session.print.one(outcome) } else { show(outcome, line_out) }
        };
        if self.dry_run || planned.changes.is_empty() {
            return tell(&planned);
        }
        // What a person agrees to goes where he reads, even when the output goes to a program.
        show(&planned, |line| {
            note(line);
            Ok(())
        })?;
        if !self.yes {
            prompt::confirm(
                "carry this out?",
                "a plan is carried out only when somebody agrees, and nobody is here to",
                "give --yes, or --dry-run to see the plan alone",
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
        let keys = Secret::from(keys.trim_end().to_owned());
        let kept = match &mut file {
            Some(file) if !keys.is_empty() => file.write(keys.expose()).map(|()| {
                file.keep();
                done.keys.clear();
            }),
            _ => Ok(()),
        };
        // The set is applied, whoever hears of it: what comes of the keys does not keep the wait from its answer.
        let text = if session.print.is_json() {
            serde_json::to_string_pretty(&done)?
        } else if done.keys.is_empty() {
            summary(&done)
        } else {
            note("the keys below are shown this once; callers send them in Authorization");
            [summary(&done).as_str(), std::str::from_utf8(keys.expose())?].join("\n")
        };
        let shown = if done.keys.is_empty() {
            line_out(&text)
        } else {
            once::out_or_aside("caller keys", text.as_bytes(), keys.expose())
        };
        let told = shown.and(kept);
        if let (Err(error), Some(_)) = (&told, self.wait) {
            // Before what may take long.
            note(&format!("{error:#}"));
        }
        self.served(&session, done.revision).await?;
        told
    }

    /// Waits where that was asked for.
    async fn served(&self, session: &Session, revision: u64) -> Result<()> {
        match self.wait {
            Some(deadline) if revision != 0 => {
                crate::command::wait::until_served(session, revision, deadline, self.allow_refusals).await
            }
            _ => Ok(()),
        }
    }
}

/// What to do where the answer to a set that was carried out, or was not, is lost.
fn unsure(status: tonic::Status) -> anyhow::Error {
    let error = anyhow::Error::from(status);
    if fault::is_certainly_undone(&error) {
        return error;
    }
    error.context(
        "it is not known whether the set was applied: the same files applied again say so; keys of caller credentials that were \
         made are lost then, and those credentials are to be deleted and made again",
    )
}

/// A plan for people: a line for each change, and the sum.
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
