//! Sets of documents in files: what `apply`, `diff` and `validate` read, and what they say of it.
//!
//! Connects to nothing but for the upload. Reads variables of the environment only where that was asked for.

pub(super) mod file;
mod fill;
mod mistake;
pub(super) mod places;
pub(super) mod preview;
pub(super) mod reach;
pub(super) mod refused;
pub(super) mod upload;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use clap::Args;
use rr_contract::wire::management as mg;

use self::file::FileDocument;
use self::fill::Fill;
use self::reach::Reach;
use crate::excerpt::{Fault, Texts};
use crate::fault;

/// The files of a set.
#[derive(Args)]
pub(super) struct SetArgs {
    /// File, or folder of files, that end in .yaml, .yml or .json; `-` is standard input. Can be repeated.
    #[arg(long = "file", short = 'f', required = true, value_name = "FILE|DIR")]
    files: Vec<PathBuf>,
    /// Puts the text of the environment variable NAME where a value is `${NAME}` and nothing else. Otherwise such a value
    /// stays as it is written.
    #[arg(long)]
    env: bool,
    /// Folder of which documents may name files beside those below the folder that was given; can be repeated.
    #[arg(long, value_name = "FOLDER")]
    read_from: Vec<PathBuf>,
}

/// Which resources a set stands for.
#[derive(Args)]
pub(super) struct OwnerArgs {
    /// Label for every document without an owner of its own. Refused for what bears another label: only a document that
    /// names its owner takes that over. Without it, what is there keeps its label.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "LABEL")]
    pub(super) owner: String,
    /// Deletes resources that have the label of --owner and are not in the files.
    #[arg(long, requires = "owner")]
    pub(super) prune: bool,
    /// With --prune: takes files without any document, and deletes all that has the label.
    #[arg(long, requires = "prune")]
    allow_empty: bool,
}

impl OwnerArgs {
    /// Refuses files without a document: those of a checkout that failed must not delete everything.
    pub(super) fn check(&self, set: &Set) -> Result<()> {
        if !set.documents.is_empty() || self.allow_empty {
            return Ok(());
        }
        let remedy = if self.prune {
            "check the path; --allow-empty deletes all that has the label of --owner"
        } else {
            "a document is `kind: target` and its fields"
        };
        Err(fault::usage(NO_DOCUMENT, remedy))
    }
}

/// Said of files in which nothing is described.
pub(super) const NO_DOCUMENT: &str = "the files hold no document";

/// Where the secret of a credential in a file is said to be.
pub(super) const VALUE_FROM: &str = "say where the secret is, as `value_from: {env: VARIABLE, targets: [TARGET]}` beside `upstream`, or `value_from: {env: \
     VARIABLE}` beside `caller`";

/// Documents, and the texts that they were read from.
pub(super) struct Set {
    pub(super) documents: Vec<FileDocument>,
    pub(super) texts: Texts,
    fill: Fill,
}

/// Reads a set whole, or tells all that is wrong with it.
pub(super) type Read = fn(&SetArgs) -> Result<Set>;

impl SetArgs {
    #[cfg(test)]
    pub(super) fn of(file: PathBuf) -> Self {
        Self { files: vec![file], env: false, read_from: Vec::new() }
    }

    /// The documents that can be read, and the faults of the others.
    pub(super) fn taken(&self) -> Result<(Set, Vec<Fault>)> {
        let fill = if self.env { Fill::environment() } else { Fill::nothing() };
        let (mut set, mut faults) = (Set { documents: Vec::new(), texts: Texts::new(), fill }, Vec::new());
        let reach = Arc::new(Reach::of(&self.files, &self.read_from)?);
        for file::Text { file, text } in file::texts(&self.files, &reach)? {
            let (documents, found) = file::taken(&file, &text, &set.fill, &reach);
            set.documents.extend(documents);
            faults.extend(found);
            set.texts.insert(file, Arc::from(text));
        }
        set.conceal(&mut faults);
        Ok((set, faults))
    }
}

impl Set {
    #[cfg(test)]
    fn of(documents: Vec<FileDocument>, texts: Texts) -> Self {
        Self { documents, texts, fill: Fill::nothing() }
    }

    /// Puts names in the place of what variables hold.
    pub(super) fn conceal(&self, faults: &mut [Fault]) {
        faults.iter_mut().for_each(|fault| self.fill.conceal(fault));
    }

    /// What is sent of it.
    pub(super) fn to_send(&self) -> Vec<mg::Document> {
        self.documents.iter().map(|one| one.document.clone()).collect()
    }
}
