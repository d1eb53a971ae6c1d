//! Faults of files: each with its file, its line and its field, and on a terminal with the line itself.
//!
//! Finds no fault. The invariant: where standard error is no terminal, no line of a file is repeated, because logs are
//! kept and a person may have put a secret where none belongs; nothing in a file speaks to the terminal.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode};

use crate::harmless;

/// How many faults are told at once.
const TOLD_MAX: usize = 50;
/// Columns of an excerpt.
const WIDTH: usize = 100;

/// The longest line that is shown.
const LINE_MAX: usize = 1000;

/// The texts of files.
pub(crate) type Texts = BTreeMap<PathBuf, Arc<str>>;

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// `None`: it is of no file.
    pub(crate) file: Option<PathBuf>,
    /// From 1; `None` where it is not known.
    pub(crate) line: Option<u64>,
    /// `when.path.regex`; empty for a whole document.
    pub(crate) field: String,
    pub(crate) what: String,
}

/// All faults of some files.
#[derive(Debug)]
pub(crate) struct Faults {
    found: Vec<Fault>,
    texts: Texts,
}

impl Fault {
    pub(crate) fn new(file: &Path, line: Option<u64>, field: &str, what: impl fmt::Display) -> Self {
        let (field, what) = (plain(field), plain(&what.to_string()));
        Self { file: Some(file.to_owned()), line, field, what }
    }

    /// What is wrong, without the place.
    pub(crate) fn said(&self) -> String {
        if self.field.is_empty() { self.what.clone() } else { format!("{}: {}", self.field, self.what) }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{}:", plain(&file.display().to_string()))?;
            self.line.map_or(Ok(()), |line| write!(f, "{line}:"))?;
            f.write_str(" ")?;
        }
        f.write_str(&self.said())
    }
}

impl Faults {
    /// An error of these faults; nothing where there is none.
    pub(crate) fn of(found: Vec<Fault>, texts: Texts) -> Result<(), Self> {
        if found.is_empty() { Ok(()) } else { Err(Self { found, texts }) }
    }

    /// As a person at a terminal reads them.
    pub(crate) fn drawn(&self, has_colour: bool) -> String {
        let theme = if has_colour { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
        let handler = GraphicalReportHandler::new_themed(theme)
            .with_width(WIDTH)
            .with_links(false)
            .without_cause_chain();
        let mut text = if self.found.len() == 1 { "1 fault\n".to_owned() } else { self.head() };
        for fault in self.found.iter().take(TOLD_MAX) {
            let mut drawn = String::new();
            let shown = Shown::of(fault, &self.texts);
            match shown.filter(|shown| handler.render_report(&mut drawn, shown).is_ok()) {
                Some(_) => text.push_str(drawn.trim_end()),
                None => text.push_str(&fault.to_string()),
            }
            text.push('\n');
        }
        text.push_str(&self.more());
        text.trim_end().to_owned()
    }

    /// Before more than one.
    fn head(&self) -> String {
        if self.found.len() > 1 { format!("{} faults\n", self.found.len()) } else { String::new() }
    }

    /// How many are not told.
    fn more(&self) -> String {
        match self.found.len().checked_sub(TOLD_MAX) {
            Some(more @ 1..) => format!("… and {more} more"),
            _ => String::new(),
        }
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.head();
        for fault in self.found.iter().take(TOLD_MAX) {
            text.push_str(&format!("{fault}\n"));
        }
        text.push_str(&self.more());
        f.write_str(text.trim_end())
    }
}

impl std::error::Error for Faults {}

fn plain(text: &str) -> String {
    harmless::one_line(text).into_owned()
}

/// A fault and the text in which it is.
#[derive(Debug)]
struct Shown {
    what: String,
    source: NamedSource<String>,
    label: LabeledSpan,
}

impl Shown {
    fn of(fault: &Fault, texts: &Texts) -> Option<Self> {
        let (file, line) = (fault.file.as_ref()?, usize::try_from(fault.line?).ok()?.checked_sub(1)?);
        let text = texts.get(file)?;
        // The line at fault and its neighbours: a file may be long.
        let first = line.saturating_sub(1);
        let lines: Vec<&str> = text.split('\n').skip(first).take(3).collect();
        let at = line - first;
        let here = lines.get(at)?;
        if lines.iter().any(|line| line.len() > LINE_MAX) {
            return None;
        }
        let (start, length) = place(here, &fault.field);
        let before: usize = lines[..at].iter().map(|line| line.len() + 1).sum();
        // Numbers of lines count from the start of the text.
        let head = "\n".repeat(first);
        let label = LabeledSpan::new(None, head.len() + before + start, length);
        let source =
            NamedSource::new(plain(&file.display().to_string()), head + &obeyed_by_none(&lines.join("\n")));
        Some(Self { what: fault.said(), source, label })
    }
}

/// The same text with other characters of the same length for those that a terminal would obey.
fn obeyed_by_none(text: &str) -> String {
    let is_obeyed = |c: &char| c.is_control() && !matches!(c, '\n' | '\t');
    let other = |c: char| if c.len_utf8() == 1 { '?' } else { '¿' };
    text.chars().map(|c| if is_obeyed(&c) { other(c) } else { c }).collect()
}

/// Where the value of a field is in its line, or all of the line: start and length in bytes.
fn place(line: &str, field: &str) -> (usize, usize) {
    let end = line.trim_end().len();
    let start = line.len() - line.trim_start().len();
    let name = field.rsplit('.').next().unwrap_or(field);
    let name = name.split('[').next().unwrap_or(name);
    let key = line.find(&format!("{name}:")).filter(|_| !name.is_empty());
    let value = key.map(|at| at + name.len() + 1).filter(|from| *from < end);
    let from = value.map_or(start, |from| from + (line[from..].len() - line[from..].trim_start().len()));
    (from.min(end), end.saturating_sub(from).max(1))
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Shown {}

impl Diagnostic for Shown {
    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(std::iter::once(self.label.clone())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "kind: rule\nname: a\nwhen:\n  path: ^/admin\neffect: deny\n";

    fn faults(found: Vec<Fault>, text: &str) -> Faults {
        let texts = Texts::from([(PathBuf::from("x.yaml"), Arc::from(text))]);
        Faults::of(found, texts).expect_err("there are faults")
    }

    fn fault(line: u64, field: &str, what: &str) -> Fault {
        Fault::new(Path::new("x.yaml"), Some(line), field, what)
    }

    #[test]
    fn a_fault_is_one_line_with_file_and_line_and_nothing_of_the_file() {
        let one = faults(vec![fault(4, "when.path", "must be fields")], TEXT);
        assert_eq!(one.to_string(), "x.yaml:4: when.path: must be fields");
        let more = faults(vec![fault(4, "when.path", "must be fields"), fault(1, "", "is wrong")], TEXT);
        assert_eq!(more.to_string(), "2 faults\nx.yaml:4: when.path: must be fields\nx.yaml:1: is wrong");
        assert!(!more.to_string().contains("admin"));
    }

    #[test]
    fn on_a_terminal_the_line_is_shown_with_its_number_and_the_place() {
        let drawn = faults(vec![fault(4, "when.path", "must be fields")], TEXT).drawn(false);
        let lines: Vec<&str> = drawn.lines().collect();
        assert!(drawn.contains("when.path: must be fields") && drawn.contains("x.yaml:4:9"), "{drawn}");
        let at = lines.iter().position(|line| line.contains("4 │   path: ^/admin")).expect(&drawn);
        assert!(lines[at + 1].contains("───"), "{drawn}");
        let column = |line: &str, c| line.chars().position(|other| other == c);
        assert_eq!(column(lines[at], '^'), column(lines[at + 1], '─'), "{drawn}");
        assert!(!drawn.contains('\u{1b}'), "{drawn:?}");
    }

    #[test]
    fn nothing_in_a_file_speaks_to_the_terminal() {
        let evil = "kind: \u{1b}[2Jrule\u{9b}31m\n";
        let found = faults(vec![fault(1, "kind", "is no \u{1b}[31mkind")], evil);
        for text in [found.drawn(false), found.to_string()] {
            assert!(!text.contains('\u{1b}') && !text.contains('\u{9b}'), "{text:?}");
        }
    }

    #[test]
    fn the_last_line_and_a_line_that_is_not_there_are_no_trouble() {
        assert!(faults(vec![fault(5, "effect", "is wrong")], TEXT).drawn(false).contains("effect: deny"));
        for line in [6, 7, 900] {
            let drawn = faults(vec![fault(line, "", "is wrong")], TEXT).drawn(false);
            assert!(drawn.contains("is wrong"), "{drawn}");
        }
    }

    #[test]
    fn a_line_that_fills_the_terminal_is_not_shown() {
        let drawn = faults(vec![fault(1, "kind", "is wrong")], &"x".repeat(5000)).drawn(false);
        assert_eq!(drawn, "1 fault\nx.yaml:1: kind: is wrong");
    }

    #[test]
    fn fifty_faults_are_told_and_the_others_counted() {
        let many = (1..=60).map(|line| fault(line, "", "is wrong")).collect();
        let text = faults(many, TEXT).to_string();
        assert!(text.starts_with("60 faults\n") && text.ends_with("… and 10 more"), "{text}");
        assert_eq!(text.lines().count(), 52);
    }
}
