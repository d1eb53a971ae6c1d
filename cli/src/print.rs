//! Output: tables for people, JSON and its kin for programs.
//!
//! Prints no secret, except for a command whose purpose is to show one once. A reader that closes standard output ends no
//! command and changes no exit code: the rest of the output is dropped. Standard output has what was asked for; what is
//! said beside it goes to standard error.

mod age;
mod format;
mod pager;
mod progress;
mod stream;
mod table;

use std::io::{ErrorKind, IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use chrono::Utc;
use serde::Serialize;

use crate::harmless;

pub(crate) use self::format::Format;
pub(crate) use self::progress::Progress;
pub(crate) use self::stream::Stream;

/// Prints answers in the format that was asked for.
#[derive(Clone, Copy)]
pub(crate) struct Printer(Format);

/// A message as a row of a table.
pub(crate) trait Row {
    /// Headings.
    const COLUMNS: &'static [&'static str];
    /// The headings that only a wide table has: ids of rows that have a name, and details.
    const WIDE: &'static [&'static str] = &[];
    /// The headings of cells that are never cut: codes, states, and what another command takes. A terminal without room for
    /// one shows none of it.
    const WHOLE: &'static [&'static str] = &[];
    /// A cell for each heading.
    fn cells(&self) -> Vec<String>;
}

impl Printer {
    pub(crate) fn new(format: Format) -> Self {
        Self(format)
    }

    /// Whether the output is data for programs, and no table.
    pub(crate) fn is_data(self) -> bool {
        self.0.is_data()
    }

    /// A value in the format of data that was asked for.
    pub(crate) fn text<T: Serialize + ?Sized>(self, value: &T) -> Result<String> {
        self.0.text(value)
    }

    /// Prints a value as data, whatever rows it would have.
    pub(crate) fn data<T: Serialize + ?Sized>(self, value: &T) -> Result<()> {
        let text = self.0.text(value)?;
        if let Some(hint) = self.0.hint(value)? {
            note(&hint);
        }
        // A list without names, and a path that finds nothing, are no empty line.
        match text.is_empty() {
            true => Ok(()),
            false if std::io::stdout().is_terminal() => line_out(&harmless::lines(&text)),
            false => line_out(&text),
        }
    }

    /// Prints a list.
    pub(crate) fn list<T: Row + Serialize>(self, items: &[T]) -> Result<()> {
        if self.is_data() {
            return self.data(items);
        }
        if items.is_empty() {
            note("nothing to list");
            return Ok(());
        }
        let (lines, left_out) = self.table(items, pager::columns());
        pager::show(&lines)?;
        if !left_out.is_empty() {
            note(&no_room(&left_out));
        }
        Ok(())
    }

    /// The lines of a table in a terminal this wide, and the columns that did not fit.
    pub(crate) fn table<T: Row>(self, items: &[T], room: Option<usize>) -> (Vec<String>, Vec<&'static str>) {
        let now = Utc::now();
        let is_wide = self.0 == Format::Wide;
        let cell = |cell| if is_wide { cell } else { age::relative(cell, now) };
        let cell = |text: String| cell(harmless::one_line(&text).into_owned());
        let rows: Vec<Vec<String>> =
            items.iter().map(|item| self.shown::<T, _>(item.cells()).map(cell).collect()).collect();
        let mut columns = self.columns::<T>();
        rows.iter().for_each(|row| columns.measure(row));
        let layout = columns.layout(room.filter(|_| !is_wide));
        let head = heading(columns.head(&layout));
        let lines = std::iter::once(head).chain(rows.iter().map(|row| layout.line(row))).collect();
        (lines, layout.left_out)
    }

    /// The columns that the format has.
    fn columns<T: Row>(self) -> table::Columns {
        let headings = self.shown::<T, _>(T::COLUMNS.iter().copied());
        table::Columns::of(headings.map(|heading| (heading, T::WHOLE.contains(&heading))))
    }

    /// The cells of the columns that the format has.
    fn shown<T: Row, I: IntoIterator>(self, cells: I) -> impl Iterator<Item = I::Item> {
        let is_shown = move |heading: &str| self.0 == Format::Wide || !T::WIDE.contains(&heading);
        T::COLUMNS.iter().zip(cells).filter(move |(heading, _)| is_shown(heading)).map(|(_, cell)| cell)
    }

    /// Prints one message. A table has a line for each cell that has a value, a wide one for each.
    pub(crate) fn one<T: Row + Serialize>(self, item: &T) -> Result<()> {
        if self.is_data() {
            return self.data(item);
        }
        self.lines(item).iter().try_for_each(|line| line_out(line))
    }

    /// Prints one message to standard error, beside the output.
    pub(crate) fn one_beside<T: Row>(self, item: &T) {
        self.lines(item).iter().for_each(|line| note(line));
    }

    fn lines<T: Row>(self, item: &T) -> Vec<String> {
        let is_shown = |cell: &str| self.0 == Format::Wide || !cell.is_empty();
        let rows = T::COLUMNS.iter().zip(item.cells()).filter(|(_, cell)| is_shown(cell));
        let rows: Vec<_> = rows.collect();
        let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        let line = |name: &str, cell: &str| format!("{name:width$}  {}", harmless::one_line(cell));
        rows.iter().map(|(name, cell)| line(name, cell).trim_end().to_owned()).collect()
    }

    /// Prints one message that was written, and says so.
    pub(crate) fn written<T: Row + Serialize>(self, item: &T, what: &str, revision: u64) -> Result<()> {
        self.one(item)?;
        self.wrote(what, revision);
        Ok(())
    }

    /// Begins a stream of rows, with its headings over rows that are known already.
    pub(crate) fn stream<T: Row + Serialize>(self, known: &[T]) -> Result<Stream<T>> {
        Stream::begin(self, known)
    }

    /// Says what was written, as `created target echo`, and as which revision; nothing where a program reads the answer.
    pub(crate) fn wrote(self, what: &str, revision: u64) {
        if !self.is_data() {
            note(&at_revision(what, revision));
        }
    }

    /// Prints a message of a stream that is no row, as data on one line.
    pub(crate) fn data_line<T: Serialize>(self, item: &T) -> Result<()> {
        let text = self.0.line(item)?;
        if text.is_empty() { Ok(()) } else { line_out(&text) }
    }

    /// Prints a result: a sentence for people, the answer of the control plane for programs.
    pub(crate) fn done<T: Serialize>(self, text: &str, answer: &T) -> Result<()> {
        if self.is_data() { self.data(answer) } else { line_out(&harmless::lines(text)) }
    }
}

/// What was written, and as which revision, where the answer says that.
pub(crate) fn at_revision(what: &str, revision: u64) -> String {
    if revision == 0 { what.to_owned() } else { format!("{what} at revision {revision}") }
}

/// The line of headings as standard output takes it.
fn heading(head: String) -> String {
    if is_coloured() { format!("\x1b[1m{head}\x1b[0m") } else { head }
}

fn no_room(left_out: &[&str]) -> String {
    let ids = if left_out.contains(&"id") { ", -o name lists the ids" } else { "" };
    format!("no room for {}; -o wide shows all{ids}", left_out.join(", "))
}

/// Whether standard output takes colours: a terminal that shows them, and nobody said that they are unwanted.
fn is_coloured() -> bool {
    takes_colours(std::io::stdout().is_terminal())
}

fn takes_colours(is_terminal: bool) -> bool {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    is_terminal && !is_set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
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
    writeln!(std::io::stderr().lock(), "{}", harmless::lines(text)).ok();
}

/// Prints an error to standard error.
pub(crate) fn error(text: &str) {
    let mut stderr = std::io::stderr().lock();
    let error = if takes_colours(stderr.is_terminal()) { "\x1b[1;31merror\x1b[0m" } else { "error" };
    writeln!(stderr, "{error}: {text}").ok();
}

/// A time in RFC 3339.
pub(crate) fn time(at: Option<&pbjson_types::Timestamp>) -> String {
    at.and_then(|at| chrono::DateTime::from_timestamp(at.seconds, at.nanos.max(0) as u32))
        .map(|at| at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true))
        .unwrap_or_default()
}

/// The same of a time that is known to the minute.
pub(crate) fn minute(at: Option<&pbjson_types::Timestamp>) -> String {
    at.and_then(|at| chrono::DateTime::from_timestamp(at.seconds, 0))
        .map(|at| at.format(age::MINUTE).to_string())
        .unwrap_or_default()
}

/// A number of things, as `1 node` and `2 nodes`.
pub(crate) fn count(number: u64, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thing_is_not_many() {
        let counts = [0, 1, 2].map(|number| count(number, "node"));
        assert_eq!(counts, ["0 nodes", "1 node", "2 nodes"]);
        assert_eq!(at_revision("created target echo", 7), "created target echo at revision 7");
        assert_eq!(at_revision("created target echo", 0), "created target echo");
    }
}
