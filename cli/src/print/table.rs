//! Tables: columns beside each other, made to fit a terminal.
//!
//! Where a table is wider than the terminal, columns without a value go first. The others enter from the left, as long as
//! there is room: their order is their importance. A long cell is cut, and none to save a column behind it, but for those
//! columns whose cells are never cut: codes, states, and what another command takes. Does not print.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Between two columns.
const GAP: usize = 2;
/// No cell is cut to less than this: what is left of it should still say something.
const LEAST: usize = 24;
/// A column of a list that grows becomes wider in steps, so that not each longer cell moves those that follow.
const STEP: usize = 8;
/// What a column claims before others: one long cell does not push all that follow out, or to the right in a list that grows.
const WIDEST: usize = 40;

/// A column, and what is known of its cells.
struct Column {
    heading: &'static str,
    /// Its cells are never cut.
    is_whole: bool,
    /// Of the widest cell, and of the heading.
    width: usize,
    has_values: bool,
}

/// The columns of a table, measured.
pub(super) struct Columns(Vec<Column>);

/// Which columns there is room for, and how wide each is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// Place in the table, and width.
    shown: Vec<(usize, usize)>,
    /// Whether longer cells are cut.
    is_bounded: bool,
    /// Headings of the columns that have values and for which there is no room.
    pub(super) left_out: Vec<&'static str>,
}

impl Columns {
    /// Of these headings; beside each, whether its cells are never cut.
    pub(super) fn of(headings: impl Iterator<Item = (&'static str, bool)>) -> Self {
        let column = |(heading, is_whole): (&'static str, bool)| Column {
            heading,
            is_whole,
            width: heading.width(),
            has_values: false,
        };
        Self(headings.map(column).collect())
    }

    /// Takes in a row of a table whose rows are all known.
    pub(super) fn measure(&mut self, cells: &[String]) {
        for (column, cell) in self.0.iter_mut().zip(cells) {
            column.width = column.width.max(cell.width());
            column.has_values |= !cell.is_empty();
        }
    }

    /// Takes in a row of a table that grows.
    pub(super) fn grow(&mut self, cells: &[String], is_bounded: bool) {
        for (column, cell) in self.0.iter_mut().zip(cells) {
            column.has_values |= !cell.is_empty();
            let wide = cell.width();
            if wide > column.width {
                let stepped = if column.is_whole { wide } else { wide.next_multiple_of(STEP) };
                let most = if is_bounded || column.is_whole { usize::MAX } else { WIDEST };
                column.width = column.width.max(stepped.min(most));
            }
        }
    }

    /// The columns for which there is room; all where none is said.
    pub(super) fn layout(&self, room: Option<usize>) -> Layout {
        let all: Vec<(usize, usize)> = self.0.iter().map(|column| column.width).enumerate().collect();
        let Some(room) = room.filter(|room| sum(&all) > *room) else {
            return Layout { shown: all, is_bounded: room.is_some(), left_out: Vec::new() };
        };
        let (mut shown, mut left_out) = (Vec::new(), Vec::new());
        for (at, column) in self.0.iter().enumerate() {
            // The first one is there whatever the room is.
            if at == 0 {
                shown.push((at, self.claim(at).min(room)));
                continue;
            }
            if !column.has_values {
                continue;
            }
            let free = room.saturating_sub(sum(&shown) + GAP);
            let claim = self.claim(at);
            let has_room = claim <= free || column.is_whole && self.squeeze(&mut shown, claim - free, room);
            if has_room {
                shown.push((at, claim));
            } else if !column.is_whole && free >= LEAST.max(column.heading.width()) {
                shown.push((at, free));
            } else {
                left_out.push(column.heading);
            }
        }
        // What is left over is for the cells that are cut.
        let mut free = room.saturating_sub(sum(&shown));
        for (at, wide) in &mut shown {
            let more = free.min(self.0[*at].width - *wide);
            *wide += more;
            free -= more;
        }
        Layout { shown, is_bounded: true, left_out }
    }

    fn claim(&self, at: usize) -> usize {
        let column = &self.0[at];
        if column.is_whole { column.width } else { column.width.min(WIDEST.max(column.heading.width())) }
    }

    /// Makes room by cutting the widest of the cells that may be cut. Nothing is cut where that is not enough.
    fn squeeze(&self, shown: &mut [(usize, usize)], wanted: usize, room: usize) -> bool {
        let least = |at: usize| {
            let column = &self.0[at];
            // The name is the last that is cut.
            let least = if at == 0 { LEAST.max(room * 2 / 5) } else { LEAST.max(column.heading.width()) };
            if column.is_whole { usize::MAX } else { least }
        };
        let spare: usize = shown.iter().map(|(at, wide)| wide.saturating_sub(least(*at))).sum();
        if spare < wanted {
            return false;
        }
        for _ in 0..wanted {
            let cut = shown.iter_mut().filter(|(at, wide)| *wide > least(*at)).max_by_key(|(_, wide)| *wide);
            if let Some((_, wide)) = cut {
                *wide -= 1;
            }
        }
        true
    }

    /// The line of headings.
    pub(super) fn head(&self, layout: &Layout) -> String {
        let headings: Vec<String> = self.0.iter().map(|column| column.heading.to_uppercase()).collect();
        layout.line(&headings)
    }
}

impl Layout {
    /// A row as a line.
    pub(super) fn line(&self, cells: &[String]) -> String {
        let mut text = String::new();
        for (nth, (at, wide)) in self.shown.iter().enumerate() {
            let cell = if self.is_bounded { cut(&cells[*at], *wide) } else { cells[*at].clone() };
            text.push_str(&cell);
            if nth + 1 < self.shown.len() {
                text.extend(std::iter::repeat_n(' ', wide.saturating_sub(cell.width()) + GAP));
            }
        }
        text.truncate(text.trim_end().len());
        text
    }

    /// Whether rows stand under the headings of another layout.
    pub(super) fn aligns(&self, other: &Self) -> bool {
        self.shown == other.shown
    }
}

/// Of columns this wide.
fn sum(columns: &[(usize, usize)]) -> usize {
    columns.iter().map(|(_, wide)| wide).sum::<usize>() + GAP * columns.len().saturating_sub(1)
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

    fn rows() -> Vec<Vec<String>> {
        let row = |cells: [&str; 4]| cells.map(str::to_owned).to_vec();
        vec![
            row(["pay", "", "a-target-with-a-long-name", "proxy-access-denied"]),
            row(["search-everything", "", "b", "rule-denied"]),
        ]
    }

    fn laid(whole: &[&str], room: Option<usize>) -> (Vec<String>, Vec<&'static str>) {
        let headings = ["name", "note", "target", "code"].map(|it| (it, whole.contains(&it)));
        let mut columns = Columns::of(headings.into_iter());
        rows().iter().for_each(|row| columns.measure(row));
        let layout = columns.layout(room);
        let lines = rows().iter().map(|row| layout.line(row)).collect::<Vec<_>>();
        ([vec![columns.head(&layout)], lines].concat(), layout.left_out)
    }

    #[test]
    fn without_a_terminal_a_table_is_as_wide_as_it_is() {
        let (lines, left_out) = laid(&[], None);
        assert_eq!(
            lines,
            [
                "NAME               NOTE  TARGET                     CODE",
                "pay                      a-target-with-a-long-name  proxy-access-denied",
                "search-everything        b                          rule-denied",
            ]
        );
        assert!(left_out.is_empty());
    }

    #[test]
    fn a_column_without_a_value_stays_only_where_nothing_has_to_be_cut_for_it() {
        let (lines, _) = laid(&[], Some(71));
        assert!(lines[0].contains("NOTE"), "{lines:?}");
        let (lines, left_out) = laid(&[], Some(70));
        assert!(!lines[0].contains("NOTE") && left_out.is_empty(), "{lines:?}");
        assert_eq!(lines[1], "pay                a-target-with-a-long-name  proxy-access-denied");
    }

    #[test]
    fn a_cell_is_cut_for_a_whole_column_behind_it_and_for_no_other() {
        let (lines, left_out) = laid(&["code"], Some(64));
        assert_eq!(lines[1], "pay                a-target-with-a-long-na…  proxy-access-denied");
        assert!(left_out.is_empty(), "{left_out:?}");
        let (lines, left_out) = laid(&[], Some(64));
        assert_eq!(lines[1], "pay                a-target-with-a-long-name");
        assert_eq!(left_out, ["code"]);
        // A cell that has no room but for less than says something is left out.
        let (lines, left_out) = laid(&["code"], Some(63));
        assert_eq!(lines[1], "pay                a-target-with-a-long-name");
        assert_eq!(left_out, ["code"]);
    }

    #[test]
    fn a_cell_of_a_whole_column_is_left_out_rather_than_cut() {
        for room in 17..80 {
            let (lines, left_out) = laid(&["target"], Some(room));
            let is_there = lines[1].contains("a-target-with-a-long-name");
            assert!(is_there != left_out.contains(&"target"), "{room}: {lines:?} {left_out:?}");
        }
        let (lines, left_out) = laid(&[], Some(43));
        assert_eq!(lines[1], "pay                a-target-with-a-long-na…", "elsewhere it is cut");
        assert_eq!(left_out, ["code"]);
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        for whole in [&[] as &[&str], &["code"], &["name", "code"]] {
            for room in 16..80 {
                let (lines, _) = laid(whole, Some(room));
                assert!(lines.iter().all(|line| line.width() <= room), "{room}: {lines:?}");
                assert!(lines[1].starts_with("pay"), "{lines:?}");
            }
        }
    }

    #[test]
    fn a_list_that_grows_makes_room_for_a_longer_cell_once_and_not_for_each() {
        let row = |cells: [&str; 2]| cells.map(str::to_owned).to_vec();
        let mut columns = Columns::of([("name", false), ("state", false)].into_iter());
        columns.measure(&row(["pay", "on"]));
        let before = columns.layout(None);
        columns.grow(&row(["pay", "off"]), false);
        assert!(before.aligns(&columns.layout(None)), "what fits moves nothing");
        columns.grow(&row(["search", "on"]), false);
        let after = columns.layout(None);
        assert!(!before.aligns(&after), "a longer cell has no room under the old headings");
        columns.grow(&row(["searches", "on"]), false);
        assert!(after.aligns(&columns.layout(None)), "a little longer was foreseen");
        assert_eq!(columns.head(&after), "NAME      STATE");
        assert_eq!(after.line(&row(["searches", "on"])), "searches  on");
    }

    #[test]
    fn a_wide_character_counts_as_two_and_is_not_split() {
        assert_eq!(cut("日本語", 6), "日本語");
        assert_eq!(cut("日本語", 5), "日本…");
        assert_eq!(cut("日本語", 4), "日…");
    }
}
