//! Removals and rollbacks: the plan is shown by name and confirmed before it is carried out.
//!
//! The control plane carries out the plan that was shown, or nothing.

use anyhow::Result;
use clap::Args;
use rr_contract::wire::management as mg;
use serde::Serialize;

use crate::print::{self, Printer, at_revision, line_out, note, plain};
use crate::prompt;

/// Whether a plan is carried out, asked about or only shown.
#[derive(Args, Clone, Copy)]
pub(crate) struct Agreement {
    /// Shows the plan and changes nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Carries the plan out without asking. Required where there is no terminal; of --yes and --dry-run, --dry-run counts.
    #[arg(long, short = 'y')]
    pub(crate) yes: bool,
}

/// Whether a removal without a plan is carried out or asked about.
#[derive(Args, Clone, Copy)]
pub(crate) struct Yes {
    /// Carries the plan out without asking. Required where there is no terminal.
    #[arg(long, short = 'y')]
    yes: bool,
}

impl Yes {
    /// Asks, unless it was agreed to on the command line.
    pub(crate) fn ask(self, what: &str) -> Result<()> {
        if self.yes {
            return Ok(());
        }
        prompt::confirm(
            &format!("{what}?"),
            &format!("cannot ask whether to {what}: standard input is not a terminal"),
            "give --yes to agree",
        )
    }
}

/// An answer that holds a plan, or the outcome of one.
pub(crate) trait Planned: Serialize {
    fn changes(&self) -> &[mg::PlannedChange];
    fn change_count(&self) -> u64;
    fn irreversible(&self) -> u64;
    /// Lines for what is not in the list of changes.
    fn beside(&self) -> Vec<String> {
        Vec::new()
    }
}

macro_rules! planned {
    ($($response:ident)*) => {
        $(impl Planned for mg::$response {
            fn changes(&self) -> &[mg::PlannedChange] {
                &self.changes
            }

            fn change_count(&self) -> u64 {
                self.change_count
            }

            fn irreversible(&self) -> u64 {
                self.irreversible
            }
        })*
    };
}
planned! { DeleteOrgResponse DeleteRegionResponse DeleteTargetResponse DeleteCredentialResponse }

/// An answer to a removal: its plan, or that it was done.
pub(crate) trait Removal: Planned {
    fn plan(&self) -> &str;
    /// The revision that it became.
    fn revision(&self) -> u64;
    /// What else the user is told once it was done.
    fn remedy(&self) -> Option<String> {
        None
    }
}

macro_rules! removal {
    ($($response:ident)*) => {
        $(impl Removal for mg::$response {
            fn plan(&self) -> &str {
                &self.plan
            }

            fn revision(&self) -> u64 {
                self.revision
            }
        })*
    };
}
removal! { DeleteRegionResponse DeleteTargetResponse DeleteCredentialResponse }

impl Removal for mg::DeleteOrgResponse {
    fn plan(&self) -> &str {
        &self.plan
    }

    fn revision(&self) -> u64 {
        self.revision
    }

    fn remedy(&self) -> Option<String> {
        // The organization itself is the first that goes.
        let id = self.changes.first().map_or("ID", |org| org.id.as_str());
        Some(format!("`rrctl org undelete {id}` brings it back for 30 days"))
    }
}

impl Planned for mg::RollbackOrgResponse {
    fn changes(&self) -> &[mg::PlannedChange] {
        &self.changes
    }

    fn change_count(&self) -> u64 {
        self.created + self.updated + self.deleted
    }

    fn irreversible(&self) -> u64 {
        self.irreversible
    }

    fn beside(&self) -> Vec<String> {
        let left = self.not_restored.iter();
        left.map(|it| format!("does not come back  {} {}: {}", it.kind, it.name, it.reason)).collect()
    }
}

impl Agreement {
    /// Shows the plan that `ask` answers and asks for agreement. `None`: there is nothing to carry out.
    pub(crate) async fn to<P: Planned>(
        self,
        print: Printer,
        what: &str,
        ask: impl AsyncFnOnce() -> Result<P>,
    ) -> Result<Option<P>> {
        let planned = ask().await?;
        if self.dry_run {
            if print.is_data() {
                print.data(&planned)?;
            } else {
                lines(&planned).iter().try_for_each(|line| line_out(line))?;
            }
            note("dry run: nothing was changed");
            return Ok(None);
        }
        if planned.change_count() == 0 {
            print.done("nothing to change: the state is already as asked for", &planned)?;
            return Ok(None);
        }
        // The user has to see the plan even when standard output goes to a program.
        lines(&planned).iter().for_each(|line| note(line));
        if !self.yes {
            prompt::confirm(
                &format!("{what}? {}", sum(&planned)),
                &format!("cannot ask whether to {what}: standard input is not a terminal; {}", sum(&planned)),
                "give --yes to agree, or --dry-run to see each change by name",
            )?;
        }
        Ok(Some(planned))
    }
}

impl Agreement {
    /// Removes the resource of this kind and name, with what was agreed to, and nothing else. `call` takes whether it is a dry run, and the plan that is carried out.
    pub(crate) async fn remove<R: Removal>(
        self,
        print: Printer,
        kind: &str,
        name: &str,
        mut call: impl AsyncFnMut(bool, String) -> Result<R>,
    ) -> Result<()> {
        let ask = async || call(true, String::new()).await;
        let what = format!("delete {kind} {name}");
        let Some(planned) = self.to(print, &what, ask).await? else { return Ok(()) };
        let removed = call(false, planned.plan().to_owned()).await?;
        let done = at_revision(&format!("deleted {kind} {name}"), removed.revision());
        let remedy = removed.remedy().map(|remedy| format!("; {remedy}")).unwrap_or_default();
        print.done(&format!("{done}{remedy}"), &removed)
    }
}

/// A plan as text: a line for each change, and the sum.
fn lines(planned: &impl Planned) -> Vec<String> {
    let mut lines: Vec<String> = planned.changes().iter().map(line).collect();
    let more = planned.change_count().saturating_sub(planned.changes().len() as u64);
    if more > 0 {
        lines.push(format!("… and {more} more"));
    }
    lines.extend(planned.beside());
    lines.push(sum(planned));
    lines
}

fn line(change: &mg::PlannedChange) -> String {
    let action = plain(change.action().as_str_name(), "CHANGE_ACTION_");
    let mut text = format!("{action}  {} {}", change.kind, change.name);
    if !change.detail.is_empty() {
        text.push_str(&format!(": {}", change.detail));
    }
    if !change.irreversible.is_empty() {
        text.push_str(&format!(" (for good: {})", change.irreversible));
    }
    text
}

/// The number of changes, and of those that no rollback undoes.
fn sum(planned: &impl Planned) -> String {
    let count = planned.change_count();
    let resources = print::count(count, "resource");
    match planned.irreversible() {
        0 => format!("{resources}, none of them for good"),
        lost => format!("{resources}, {lost} of them for good: that cannot be undone"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_names_what_goes_what_changes_and_what_goes_for_good() {
        let change = |action: mg::ChangeAction, kind: &str, name: &str| mg::PlannedChange {
            action: action.into(),
            kind: kind.into(),
            name: name.into(),
            ..mg::PlannedChange::default()
        };
        let planned = mg::DeleteCredentialResponse {
            changes: vec![
                mg::PlannedChange {
                    irreversible: "it stays so".into(),
                    ..change(mg::ChangeAction::Delete, "credential", "app")
                },
                mg::PlannedChange {
                    detail: "keeps the others".into(),
                    ..change(mg::ChangeAction::Update, "proxy", "pay")
                },
            ],
            change_count: 3,
            irreversible: 1,
            ..mg::DeleteCredentialResponse::default()
        };
        assert_eq!(
            lines(&planned),
            [
                "delete  credential app (for good: it stays so)",
                "update  proxy pay: keeps the others",
                "… and 1 more",
                "3 resources, 1 of them for good: that cannot be undone",
            ]
        );
    }
}
