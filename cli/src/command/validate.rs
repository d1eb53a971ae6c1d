//! `rrctl validate`: whether files are a set that nodes would take, without a control plane.
//!
//! Needs no endpoint and no token, and sends nothing. Says what it could not check.

mod offline;

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use super::set::{NO_DOCUMENT, Set, SetArgs};
use crate::excerpt::{Fault, Faults};
use crate::fault;
use crate::print::{Printer, count, line_out, note};

/// How many things that were not checked are told on lines of their own.
const TOLD_MAX: usize = 20;
/// What a control plane alone can know.
const NEVER: &str = "not checked, because only the control plane knows it: regions, limits of the organization, who may use \
                     what, secrets that are sealed already, and whether a credential without `value_from` is there";

#[derive(Args)]
pub(crate) struct ValidateArgs {
    #[command(flatten)]
    set: SetArgs,
}

/// The answer in JSON.
#[derive(Serialize)]
struct Answer<'a> {
    /// How many documents could be read.
    documents: usize,
    faults: Vec<Told<'a>>,
    unchecked: Vec<Told<'a>>,
}

#[derive(Serialize)]
struct Told<'a> {
    file: String,
    line: Option<u64>,
    field: &'a str,
    message: &'a str,
}

impl<'a> Told<'a> {
    fn all(faults: &'a [Fault]) -> Vec<Self> {
        faults.iter().map(Self::of).collect()
    }

    fn of(fault: &'a Fault) -> Self {
        let file = fault.file.as_ref().map(|file| file.display().to_string()).unwrap_or_default();
        Self { file, line: fault.line, field: &fault.field, message: &fault.what }
    }
}

/// The set of a command that calls the control plane, or all faults that can be found without one, so that a document that
/// cannot be read hides no fault of another.
pub(super) fn read(args: &SetArgs) -> Result<Set> {
    let (mut set, mut faults) = args.taken()?;
    if !faults.is_empty() {
        faults.extend(offline::check(&mut set).faults);
        set.conceal(&mut faults);
        faults.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
    }
    Faults::of(faults, set.texts.clone())?;
    Ok(set)
}

impl ValidateArgs {
    pub(crate) fn run(self, print: Printer) -> Result<()> {
        let (mut set, mut faults) = self.set.taken()?;
        if set.documents.is_empty() && faults.is_empty() {
            return Err(fault::usage(NO_DOCUMENT, "a document is `kind: target` and its fields"));
        }
        let documents = set.documents.len();
        let offline::Report { faults: mut found, mut unchecked } = offline::check(&mut set);
        set.conceal(&mut found);
        set.conceal(&mut unchecked);
        faults.extend(found);
        faults.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
        if print.is_data() {
            let is_good = faults.is_empty();
            print.data(&Answer {
                documents,
                faults: Told::all(&faults),
                unchecked: Told::all(&unchecked),
            })?;
            return if is_good { Ok(()) } else { Err(fault::told()) };
        }
        for one in unchecked.iter().take(TOLD_MAX) {
            note(&format!("{one}; not checked"));
        }
        if let Some(more @ 1..) = unchecked.len().checked_sub(TOLD_MAX) {
            note(&format!("… and {more} more that are not checked"));
        }
        Faults::of(faults, set.texts)?;
        let are = if documents == 1 { "is" } else { "are" };
        line_out(&format!("{} {are} good", count(documents as u64, "document")))?;
        note(NEVER);
        Ok(())
    }
}
