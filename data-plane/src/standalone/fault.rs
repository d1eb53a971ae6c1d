//! What is wrong with the file of a standalone node, in words for the person who wrote it.
//!
//! The invariant: each fault of the content names file and line; no value of the file is repeated.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use rr_contract::model::invalid::Invalid;
use rr_contract::seam::Exposure;

use super::node::{Mistake, Node};

/// How many faults are told at once.
const TOLD_MAX: usize = 10;

/// A file that cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum FileFault {
    /// It cannot be read.
    #[error("read --standalone {path}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Others can get at it.
    #[error("{0}")]
    Open(Exposure),
    /// What stands in it cannot be served.
    #[error("{0}")]
    Content(Content),
    /// The process ended itself twice on this content.
    #[error(
        "{path}: this node has ended itself twice on this content, and went back to the content before it; change the file",
        path = path.display()
    )]
    Crashed {
        /// The file.
        path: PathBuf,
    },
    /// The configuration of this process does not take it.
    #[error("{path}: {reason}", path = path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// For people.
        reason: String,
    },
}

/// The faults of a content, each with its line.
#[derive(Debug)]
pub struct Content {
    path: PathBuf,
    faults: Vec<(u64, String)>,
}

impl FileFault {
    /// The line of the first fault.
    pub(crate) fn line(&self) -> Option<u64> {
        match self {
            Self::Content(content) => content.faults.first().map(|(line, _)| *line),
            Self::Read { .. } | Self::Open(_) | Self::Crashed { .. } | Self::Refused { .. } => None,
        }
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        for (i, (line, what)) in self.faults.iter().take(TOLD_MAX).enumerate() {
            let between = if i == 0 { "" } else { "; " };
            write!(f, "{between}{path}:{line}: {what}")?;
        }
        match self.faults.len().checked_sub(TOLD_MAX) {
            Some(more @ 1..) => write!(f, "; and {more} more"),
            _ => Ok(()),
        }
    }
}

/// Gathers the faults of a content.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<(u64, String)>);

impl Faults {
    pub(super) fn add(&mut self, line: u64, what: impl Into<String>) {
        self.0.push((line, what.into()));
    }

    /// A fault of a field of a document.
    pub(super) fn field(&mut self, node: &Node, field: &str, what: impl fmt::Display) {
        self.add(node.line_of(field), format!("{field}: {what}"));
    }

    pub(super) fn mistake(&mut self, line: u64, mistake: &Mistake) {
        self.add(mistake.line.unwrap_or(line), mistake.to_string());
    }

    /// What the model found in a payload, whose fields are called mostly as those of the document.
    pub(super) fn invalid(&mut self, node: &Node, invalid: &Invalid) {
        for violation in invalid.violations() {
            match violation.field.as_str() {
                "" => self.add(node.line, violation.reason.clone()),
                field => self.field(node, field, &violation.reason),
            }
        }
    }

    pub(super) fn finish(self, path: &Path) -> Result<(), FileFault> {
        if self.0.is_empty() { Ok(()) } else { Err(self.of(path)) }
    }

    /// These faults, as those of a file.
    pub(super) fn of(mut self, path: &Path) -> FileFault {
        self.0.sort_by_key(|(line, _)| *line);
        FileFault::Content(Content { path: path.to_owned(), faults: self.0 })
    }
}
