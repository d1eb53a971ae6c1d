//! Rows that come one after the other: a list that is watched, a tail.
//!
//! What is to come is not known when the headings are printed. A row that has no room under them is printed under new ones,
//! so that each row stands under headings that are as wide as it is. For programs each row is a line of JSON or a document
//! of YAML, and so is what is gone.

use std::marker::PhantomData;

use anyhow::Result;
use serde::Serialize;
use serde_json::json;

use super::table::{Columns, Layout};
use super::{Format, Printer, Row, age, line_out, note, pager};
use crate::harmless;

/// Rows that come one after the other.
pub(crate) struct Stream<T> {
    print: Printer,
    columns: Columns,
    /// Under which headings rows stand now.
    layout: Layout,
    room: Option<usize>,
    /// Whether the user was told of columns without room.
    is_told: bool,
    of: PhantomData<T>,
}

impl<T: Row + Serialize> Stream<T> {
    /// With the headings over rows that are known already. They are not printed.
    pub(super) fn begin(print: Printer, known: &[T]) -> Result<Self> {
        let stream = Self::of(print, known, pager::columns());
        stream.head().iter().try_for_each(|line| line_out(line))?;
        Ok(stream)
    }

    fn of(print: Printer, known: &[T], room: Option<usize>) -> Self {
        let room = room.filter(|_| print.0 != Format::Wide);
        let mut columns = print.columns::<T>();
        for item in known {
            match room {
                Some(_) => columns.measure(&cells(print, item)),
                // With some space, so that a number of one more digit does not bring the headings again.
                None => columns.grow(&cells(print, item), false),
            }
        }
        let layout = columns.layout(room);
        Self { print, columns, layout, room, is_told: false, of: PhantomData }
    }

    /// The line of headings; none for programs.
    fn head(&self) -> Option<String> {
        (!self.print.is_data()).then(|| super::heading(self.columns.head(&self.layout)))
    }

    /// Prints one, on one line.
    pub(crate) fn line(&mut self, item: &T) -> Result<()> {
        if self.print.is_data() {
            return self.print.data_line(item);
        }
        self.row(item).iter().try_for_each(|line| line_out(line))?;
        if !self.layout.left_out.is_empty() && !std::mem::replace(&mut self.is_told, true) {
            note(&super::no_room(&self.layout.left_out));
        }
        Ok(())
    }

    /// A row, and headings where it has no room under those before.
    fn row(&mut self, item: &T) -> Vec<String> {
        let cells = cells(self.print, item);
        self.columns.grow(&cells, self.room.is_some());
        let layout = self.columns.layout(self.room);
        let is_moved = !layout.aligns(&self.layout);
        self.layout = layout;
        let head = if is_moved { self.head() } else { None };
        head.into_iter().chain([self.layout.line(&cells)]).collect()
    }

    /// Says that what was printed before is not there any more.
    pub(crate) fn gone(&self, kind: &str, id: &str, name: &str) -> Result<()> {
        match gone(self.print, kind, id, name)? {
            Some(line) => line_out(&line),
            None => {
                note(&is_gone(kind, id, name));
                Ok(())
            }
        }
    }
}

fn is_gone(kind: &str, id: &str, name: &str) -> String {
    format!("{kind} {} is gone", harmless::one_line(if name.is_empty() { id } else { name }))
}

/// What standard output says of something that is gone; `None` where a line there means that it is there.
fn gone(print: Printer, kind: &str, id: &str, name: &str) -> Result<Option<String>> {
    let event = json!({ "gone": { "kind": kind, "id": id, "name": name } });
    Ok(match print.0 {
        Format::Table | Format::Wide => Some(is_gone(kind, id, name)),
        Format::Json | Format::Yaml => Some(print.0.line(&event)?),
        Format::Name => None,
        // One that is meant for the event finds it.
        Format::Path(_) => Some(print.0.line(&event)?).filter(|line| !line.is_empty()),
    })
}

fn cells<T: Row>(print: Printer, item: &T) -> Vec<String> {
    let is_wide = print.0 == Format::Wide;
    // Times from now would be wrong a moment later.
    let cell = |cell| if is_wide { cell } else { age::to_the_second(cell) };
    let cell = |text: String| cell(harmless::one_line(&text).into_owned());
    print.shown::<T, _>(item.cells()).map(cell).collect()
}

#[cfg(test)]
mod tests {
    use unicode_width::UnicodeWidthStr as _;

    use super::*;

    #[derive(Serialize)]
    struct Item(&'static str, &'static str);

    impl Row for Item {
        const COLUMNS: &'static [&'static str] = &["name", "note", "updated"];

        fn cells(&self) -> Vec<String> {
            vec![self.0.to_owned(), self.1.to_owned(), "2026-11-28T10:39:49.123Z".to_owned()]
        }
    }

    /// All lines of a list with one known row, and with these that come.
    fn lines(room: Option<usize>, coming: &[Item]) -> Vec<String> {
        let known = [Item("echo", "a")];
        let mut stream = Stream::of(Printer::new(Format::Table), &known, room);
        let mut lines: Vec<String> = stream.head().into_iter().collect();
        for item in known.iter().chain(coming) {
            lines.extend(stream.row(item));
        }
        lines
    }

    /// Where the last cell of a line begins.
    fn last_at(line: &str) -> usize {
        let at = line.rfind(' ').map_or(0, |at| at + 1);
        line[..at].width()
    }

    #[test]
    fn rows_that_come_one_by_one_stand_under_their_headings() {
        let coming = [Item("pay", "b"), Item("a-longer-name", ""), Item("a-longer-namer", "c")];
        let lines = lines(None, &coming);
        assert_eq!(
            lines,
            [
                "NAME  NOTE  UPDATED",
                "echo  a     2026-11-28T10:39:49Z",
                "pay   b     2026-11-28T10:39:49Z",
                // The headings again, for a row that had no room under the first ones.
                "NAME              NOTE  UPDATED",
                "a-longer-name           2026-11-28T10:39:49Z",
                "a-longer-namer    c     2026-11-28T10:39:49Z",
            ]
        );
        let mut at = 0;
        for line in &lines {
            if line.starts_with("NAME") {
                at = last_at(line);
            }
            assert_eq!(last_at(line), at, "{lines:?}");
        }
    }

    #[test]
    fn no_row_of_a_list_that_is_watched_is_wider_than_the_terminal() {
        let long = "a-note-that-is-as-long-as-the-whole-terminal-is-wide-and-then-some-more-of-it";
        let coming = [Item("pay", long), Item("a-longer-name", "")];
        let lines = lines(Some(60), &coming);
        assert!(lines.iter().all(|line| line.width() <= 60), "{lines:?}");
        assert!(lines.iter().any(|line| line.contains('…')), "{lines:?}");
    }

    #[test]
    fn what_is_gone_has_its_kind_and_name_and_is_an_event_for_programs() {
        let said = |format: &str, name: &str| {
            let print = Printer::new(format.parse().expect(format));
            gone(print, "target", "tg_7r0", name).expect("it can be said")
        };
        assert_eq!(said("table", "echo"), Some("target echo is gone".to_owned()));
        assert_eq!(said("table", ""), Some("target tg_7r0 is gone".to_owned()));
        let event = r#"{"gone":{"id":"tg_7r0","kind":"target","name":"echo"}}"#;
        let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
        let line = said("json", "echo").expect("on standard output");
        assert_eq!((read(&line), line.lines().count()), (read(event), 1));
        assert!(said("yaml", "echo").is_some_and(|text| text.starts_with("---\ngone:")));
        assert_eq!(said("jsonpath=$.gone.name", "echo"), Some("echo".to_owned()));
        // A name would be read as one that is there.
        for format in ["name", "jsonpath=$.name"] {
            assert_eq!(said(format, "echo"), None, "{format}");
        }
    }
}
