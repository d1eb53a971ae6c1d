//! Tables: columns beside each other, made to fit a terminal.
//!
//! Where a table is wider than the terminal, columns without a value go first, then long cells are cut, then the last
//! columns go. The first column, the name, is the last that is cut. Does not print.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Between two columns.
const GAP: usize = 2;
/// No column is made narrower than this to save another one.
const LEAST: usize = 12;

/// A table, as lines.
pub(super) struct Lines {
    pub(super) head: String,
    pub(super) rows: Vec<String>,
    /// Headings of the columns that have values and for which there was no room.
    pub(super) left_out: Vec<String>,
}

/// The lines of a table; of any width where `room` is none.
pub(super) fn lines(headings: &[&str], rows: &[Vec<String>], room: Option<usize>) -> Lines {
    let mut columns: Vec<usize> = (0..headings.len()).collect();
    let width = |at: usize| {
        let cells = rows.iter().map(|row| row[at].width()).max().unwrap_or(0);
        cells.max(headings[at].width())
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let wide = |at: usize, most: usize| {
        let most = if at == 0 { most.max(room.unwrap_or(0) * 2 / 5) } else { most };
        widths[at].min(most.max(headings[at].width()))
    };
    let sum = |columns: &[usize], most: usize| {
        columns.iter().map(|at| wide(*at, most)).sum::<usize>() + GAP * columns.len().saturating_sub(1)
    };
    let mut most = usize::MAX;
    let mut left_out = Vec::new();
    if let Some(room) = room {
        // From the left, the columns with values for which there is room, and then the others.
        let has_values = |at: &usize| rows.iter().any(|row| !row[*at].is_empty());
        let (full, empty): (Vec<usize>, Vec<usize>) = (1..headings.len()).partition(has_values);
        columns.truncate(1);
        for at in full.into_iter().chain(empty) {
            let with = [columns.as_slice(), &[at]].concat();
            if sum(&with, LEAST) <= room {
                columns = with;
            } else if has_values(&at) {
                left_out.push(headings[at].to_owned());
            }
        }
        columns.sort_unstable();
        if sum(&columns, usize::MAX) > room {
            let widest = widths.iter().copied().max().unwrap_or(0);
            most = (LEAST..=widest).rev().find(|most| sum(&columns, *most) <= room).unwrap_or(LEAST);
        }
    }
    let line = |cells: &[&str]| {
        let mut text = String::new();
        for (nth, at) in columns.iter().enumerate() {
            let cell = cut(cells[*at], wide(*at, most));
            text.push_str(&cell);
            if nth + 1 < columns.len() {
                text.extend(std::iter::repeat_n(' ', wide(*at, most) - cell.width() + GAP));
            }
        }
        text.truncate(text.trim_end().len());
        text
    };
    let head: Vec<String> = headings.iter().map(|heading| heading.to_uppercase()).collect();
    let head = line(&head.iter().map(String::as_str).collect::<Vec<_>>());
    let rows = rows.iter().map(|row| line(&row.iter().map(String::as_str).collect::<Vec<_>>())).collect();
    Lines { head, rows, left_out }
}

/// A text that is at most `wide` columns wide; its end is `…` where it was longer.
fn cut(text: &str, wide: usize) -> String {
    if text.width() <= wide {
        return text.to_owned();
    }
    let (mut kept, mut used) = (String::new(), 0);
    for c in text.chars() {
        let of_char = c.width().unwrap_or(0);
        if used + of_char + 1 > wide {
            break;
        }
        used += of_char;
        kept.push(c);
    }
    kept + "…"
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADINGS: &[&str] = &["name", "target", "note", "state"];

    fn rows() -> Vec<Vec<String>> {
        let row = |cells: [&str; 4]| cells.map(str::to_owned).to_vec();
        vec![row(["pay", "a-target-with-a-long-name", "", "on"]), row(["search-everything", "b", "", "off"])]
    }

    fn laid(room: Option<usize>) -> (Vec<String>, Vec<String>) {
        let Lines { head, rows, left_out } = lines(HEADINGS, &rows(), room);
        ([vec![head], rows].concat(), left_out)
    }

    #[test]
    fn without_a_terminal_a_table_is_as_wide_as_it_is() {
        let (lines, left_out) = laid(None);
        assert_eq!(
            lines,
            [
                "NAME               TARGET                     NOTE  STATE",
                "pay                a-target-with-a-long-name        on",
                "search-everything  b                                off",
            ]
        );
        assert!(left_out.is_empty());
    }

    #[test]
    fn long_cells_are_cut_before_a_column_goes() {
        let (lines, left_out) = laid(Some(50));
        assert_eq!(lines[1], "pay                a-target-with-a-l…        on");
        assert!(left_out.is_empty(), "{left_out:?}");
    }

    #[test]
    fn no_line_is_wider_than_the_terminal_and_what_has_no_value_goes_first() {
        let (lines, left_out) = laid(Some(36));
        assert_eq!(left_out, [] as [&str; 0]);
        assert_eq!(lines[1], "pay             a-target-wit…  on");
        let (_, left_out) = laid(Some(24));
        assert_eq!(left_out, ["target"]);
        for room in 16..80 {
            let (lines, _) = laid(Some(room));
            assert!(lines.iter().all(|line| line.width() <= room), "{room}: {lines:?}");
            assert!(lines[1].starts_with("pay"), "{lines:?}");
        }
    }

    #[test]
    fn a_wide_character_counts_as_two_and_is_not_split() {
        assert_eq!(cut("日本語", 6), "日本語");
        assert_eq!(cut("日本語", 5), "日本…");
        assert_eq!(cut("日本語", 4), "日…");
    }
}
