//! `rrctl schema`: the JSON Schema of the documents of a set, for editors.
//!
//! The schema is a file of `docs/`, made of the schemas of the API; a test holds the file against them.

use anyhow::Result;

use crate::print::line_out;

#[cfg(test)]
mod generate;
#[cfg(test)]
mod tests;

/// As `docs/schema` has it.
const DOCUMENTS: &str = include_str!("../../../docs/schema/documents.schema.json");

pub(crate) fn run() -> Result<()> {
    line_out(DOCUMENTS.trim_end())
}
