//! Output: tables for people, JSON for programs.
//!
//! Prints no secret, except for a command whose purpose is to show one once. A reader that closes standard output ends no
//! command and changes no exit code: the rest of the output is dropped.

use std::io::{ErrorKind, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

/// A format of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Table, with names. Ids are shown where there is no name.
    Table,
    /// Table, with names, ids and details.
    Wide,
    /// JSON: messages as the REST API has them; a list is one array.
    Json,
}

/// Prints answers in the format that was asked for.
#[derive(Clone, Copy)]
pub(crate) struct Printer(Format);

/// A message as a row of a table.
pub(crate) trait Row {
    /// Headings.
    const COLUMNS: &'static [&'static str];
    /// The headings that only a wide table has: ids of rows that have a name, and details.
    const WIDE: &'static [&'static str] = &[];
    /// A cell for each heading.
    fn cells(&self) -> Vec<String>;
}

impl Printer {
    pub(crate) fn new(format: Format) -> Self {
        Self(format)
    }

    /// Whether the output is JSON.
    pub(crate) fn is_json(self) -> bool {
        self.0 == Format::Json
    }

    /// Prints a list.
    pub(crate) fn list<T: Row + Serialize>(self, items: &[T]) -> Result<()> {
        if self.is_json() {
            return json(&items);
        }
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(self.shown::<T, _>(T::COLUMNS.iter().map(|heading| heading.to_uppercase())));
        for item in items {
            table.add_row(self.shown::<T, _>(item.cells()));
        }
        for line in table.lines() {
            line_out(line.trim_end())?;
        }
        Ok(())
    }

    /// The cells of the columns that the format has.
    fn shown<T: Row, I: IntoIterator<Item = String>>(self, cells: I) -> Vec<String> {
        let is_shown = |heading: &str| self.0 == Format::Wide || !T::WIDE.contains(&heading);
        T::COLUMNS.iter().zip(cells).filter(|(heading, _)| is_shown(heading)).map(|(_, cell)| cell).collect()
    }

    /// Prints one message.
    pub(crate) fn one<T: Row + Serialize>(self, item: &T) -> Result<()> {
        match self.0 {
            Format::Json => json(item),
            Format::Table | Format::Wide => lines(item).try_for_each(|line| line_out(&line)),
        }
    }

    /// Prints one message to standard error, beside the output.
    pub(crate) fn one_beside<T: Row>(self, item: &T) {
        lines(item).for_each(|line| note(&line));
    }

    /// Prints one message of a stream, on one line.
    pub(crate) fn line<T: Row + Serialize>(self, item: &T) -> Result<()> {
        match self.0 {
            Format::Json => line_out(&serde_json::to_string(item)?),
            Format::Table | Format::Wide => line_out(self.shown::<T, _>(item.cells()).join("  ").trim_end()),
        }
    }

    /// Prints a result as a sentence; nothing in JSON, where the exit code says it.
    pub(crate) fn done(self, text: &str) -> Result<()> {
        match self.0 {
            Format::Json => Ok(()),
            Format::Table | Format::Wide => line_out(text),
        }
    }
}

fn lines<T: Row>(item: &T) -> impl Iterator<Item = String> {
    let width = T::COLUMNS.iter().map(|c| c.len()).max().unwrap_or(0);
    T::COLUMNS.iter().zip(item.cells()).map(move |(name, cell)| format!("{name:width$}  {cell}"))
}

/// The reader of standard output closed it.
static UNREAD: AtomicBool = AtomicBool::new(false);

/// Whether standard output is still open. A command that prints without end stops when it is not.
pub(crate) fn is_read() -> bool {
    !UNREAD.load(Ordering::Relaxed)
}

/// Prints a line to standard output; drops it when the reader has closed that.
pub(crate) fn line_out(text: &str) -> Result<()> {
    match bytes_out(text.as_bytes()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {
            UNREAD.store(true, Ordering::Relaxed);
            Ok(())
        }
        written => Ok(written?),
    }
}

/// Prints a line to standard output, or fails.
pub(crate) fn bytes_out(text: &[u8]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text)?;
    out.write_all(b"\n")?;
    out.flush()
}

/// Prints a line to standard error.
pub(crate) fn note(text: &str) {
    // The reader may have closed it.
    writeln!(std::io::stderr().lock(), "{text}").ok();
}

/// Prints an error to standard error.
pub(crate) fn error(text: &str) {
    writeln!(std::io::stderr().lock(), "error: {text}").ok();
}

/// A time in RFC 3339.
pub(crate) fn time(at: Option<&pbjson_types::Timestamp>) -> String {
    at.and_then(|at| chrono::DateTime::from_timestamp(at.seconds, at.nanos.max(0) as u32))
        .map(|at| at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true))
        .unwrap_or_default()
}

/// The name of an enum value without its prefix, in lower case.
pub(crate) fn plain(name: &str, prefix: &str) -> String {
    let name = name.strip_prefix(prefix).unwrap_or(name);
    if name == "UNSPECIFIED" { String::new() } else { name.to_lowercase().replace('_', "-") }
}

/// The first ids of a list, and the number of the others.
pub(crate) fn few(ids: &[String]) -> String {
    const SHOWN: usize = 3;
    let mut text = ids.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if ids.len() > SHOWN {
        text.push_str(&format!(" and {} more", ids.len() - SHOWN));
    }
    if text.is_empty() { "-".to_owned() } else { text }
}

pub(crate) fn json<T: Serialize>(value: &T) -> Result<()> {
    line_out(&serde_json::to_string_pretty(value)?)
}
