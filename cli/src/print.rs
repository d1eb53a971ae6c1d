//! Output: tables for people, JSON and its kin for programs.
//!
//! Prints no secret, except for a command whose purpose is to show one once. A reader that closes standard output ends no
//! command and changes no exit code: the rest of the output is dropped. Standard output has what was asked for; what is
//! said beside it goes to standard error.

mod age;
mod format;
mod pager;
mod progress;
mod table;

use std::io::{ErrorKind, IsTerminal as _, Write as _};
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use chrono::Utc;
use serde::Serialize;

pub(crate) use self::format::Format;
pub(crate) use self::progress::Progress;

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
        // A list without names, and a path that finds nothing, are no empty line.
        if text.is_empty() { Ok(()) } else { line_out(&text) }
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
        let (lines, left_out) = self.table(items);
        pager::show(&lines)?;
        if !left_out.is_empty() {
            note(&format!("no room for {}; -o wide shows all", left_out.join(", ")));
        }
        Ok(())
    }

    /// The lines of a table, and the columns that did not fit.
    fn table<T: Row>(self, items: &[T]) -> (Vec<String>, Vec<String>) {
        let now = Utc::now();
        let is_wide = self.0 == Format::Wide;
        let cell = |cell| if is_wide { cell } else { age::relative(cell, now) };
        let rows: Vec<Vec<String>> =
            items.iter().map(|item| self.shown::<T, _>(item.cells()).map(cell).collect()).collect();
        let headings: Vec<&str> = self.shown::<T, _>(T::COLUMNS.iter().copied()).collect();
        let room = if is_wide { None } else { pager::columns() };
        let table::Lines { head, rows, left_out } = table::lines(&headings, &rows, room);
        let head = if is_coloured() { format!("\x1b[1m{head}\x1b[0m") } else { head };
        ([vec![head], rows].concat(), left_out)
    }

    /// The cells of the columns that the format has.
    fn shown<T: Row, I: IntoIterator>(self, cells: I) -> impl Iterator<Item = I::Item> {
        let is_shown = move |heading: &str| self.0 == Format::Wide || !T::WIDE.contains(&heading);
        T::COLUMNS.iter().zip(cells).filter(move |(heading, _)| is_shown(heading)).map(|(_, cell)| cell)
    }

    /// Prints one message.
    pub(crate) fn one<T: Row + Serialize>(self, item: &T) -> Result<()> {
        if self.is_data() {
            return self.data(item);
        }
        lines(item).try_for_each(|line| line_out(&line))
    }

    /// Prints one message to standard error, beside the output.
    pub(crate) fn one_beside<T: Row>(self, item: &T) {
        lines(item).for_each(|line| note(&line));
    }

    /// Begins a stream of rows, with its headings.
    pub(crate) fn stream<T: Row>(self) -> Result<Stream<T>> {
        let headings: Vec<String> =
            self.shown::<T, _>(T::COLUMNS.iter()).map(|heading| heading.to_uppercase()).collect();
        let mut stream = Stream { print: self, widths: vec![0; headings.len()], of: PhantomData };
        if !self.is_data() {
            stream.put(&headings)?;
        }
        Ok(stream)
    }

    /// Prints a message of a stream that is no row, as data on one line.
    pub(crate) fn data_line<T: Serialize>(self, item: &T) -> Result<()> {
        line_out(&self.0.line(item)?)
    }

    /// Prints a result: a sentence for people, the answer of the control plane for programs.
    pub(crate) fn done<T: Serialize>(self, text: &str, answer: &T) -> Result<()> {
        if self.is_data() { self.data(answer) } else { line_out(text) }
    }
}

/// Rows that come one after the other.
pub(crate) struct Stream<T> {
    print: Printer,
    /// Of the widest cell of each column so far: what is to come is not known.
    widths: Vec<usize>,
    of: PhantomData<T>,
}

impl<T: Row + Serialize> Stream<T> {
    /// Prints one, on one line.
    pub(crate) fn line(&mut self, item: &T) -> Result<()> {
        if self.print.is_data() {
            return self.print.data_line(item);
        }
        let cells: Vec<String> = self.print.shown::<T, _>(item.cells()).collect();
        self.put(&cells)
    }
}

impl<T> Stream<T> {
    fn put(&mut self, cells: &[String]) -> Result<()> {
        let mut text = String::new();
        for (cell, width) in cells.iter().zip(&mut self.widths) {
            // One long cell does not push the columns of all that follow to the right.
            *width = (*width).max(cell.chars().count().min(WIDEST));
            text.push_str(&format!("{cell:0$}  ", *width));
        }
        line_out(text.trim_end())
    }
}

/// Of a column in a stream.
const WIDEST: usize = 40;

fn lines<T: Row>(item: &T) -> impl Iterator<Item = String> {
    let width = T::COLUMNS.iter().map(|c| c.len()).max().unwrap_or(0);
    T::COLUMNS
        .iter()
        .zip(item.cells())
        .map(move |(name, cell)| format!("{name:width$}  {cell}").trim_end().to_owned())
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
    writeln!(std::io::stderr().lock(), "{text}").ok();
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
