//! The counts of one thing in several windows, charged together.
//!
//! Windows are charged one after the other; if a later one refuses, the earlier ones are given back. So callers that
//! race for the last units may be refused a unit that another gives back just then; a caller that is alone is not.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;

use rr_contract::model::meter::Windows;

use super::Quota;
use super::cell::{Cell, Counted};
use super::changed::{Changed, Id, Saved};
use super::moment::{Moment, Term, Window};

/// What was charged, and to which windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Charge {
    amount: u64,
    /// By the place in [`Window::ALL`]; [`Term::NONE`] where nothing was charged.
    terms: [Term; 4],
    used: [u64; 4],
}

impl Charge {
    pub(super) const fn nothing(amount: u64) -> Self {
        Self { amount, terms: [Term::NONE; 4], used: [0; 4] }
    }

    pub(super) const fn amount(&self) -> u64 {
        self.amount
    }

    /// What was used of a window with this charge, at the time of it.
    pub(crate) const fn used(&self, window: Window) -> u64 {
        self.used[window as usize]
    }
}

/// A limit that a charge would have passed. Of several, the one that ends last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exceeded {
    /// Whose limit.
    pub(crate) window: Window,
    /// How much there may be.
    pub(crate) limit: u64,
    /// How much there was.
    pub(crate) used: u64,
    /// Seconds until the window ends, at least 1.
    pub(crate) retry_after: u64,
}

/// Counts of windows: of all four, or of minute and day.
#[derive(Debug)]
pub(super) struct Row<const N: usize>([Cell; N]);

impl<const N: usize> Row<N> {
    const WINDOWS: &'static [Window] = match N {
        2 => &[Window::Minute, Window::Day],
        4 => &Window::ALL,
        _ => panic!("a row has two windows or four"),
    };

    /// Goes on with what was saved.
    pub(super) fn new(saved: Option<&Saved>) -> Self {
        Self(std::array::from_fn(|at| match (saved, Self::WINDOWS[at]) {
            (Some(saved), Window::Day) => Cell::new(saved.day),
            (Some(saved), Window::Month) => saved.month.map(Cell::new).unwrap_or_default(),
            _ => Cell::default(),
        }))
    }

    fn cells(&self) -> impl Iterator<Item = (Window, &Cell)> {
        Self::WINDOWS.iter().copied().zip(&self.0)
    }

    fn cell(&self, window: Window) -> Option<&Cell> {
        self.cells().find(|(of, _)| *of == window).map(|(_, cell)| cell)
    }

    pub(super) fn charge(&self, amount: u64, limits: &Windows, at: &Moment) -> Result<Charge, Exceeded> {
        debug_assert!(
            Window::ALL.iter().all(|of| Self::WINDOWS.contains(of) || of.limit(limits).is_none()),
            "a limit of a window that is not counted would never hold"
        );
        // Looked at first: a charge that is refused then leaves the counts alone, and the limit to tell is the one that
        // ends last.
        let refusals = self.cells().filter_map(|(window, cell)| {
            let limit = window.limit(limits)?.get();
            let counted = cell.count(at.term(window));
            if counted.count.saturating_add(amount.max(1)) <= limit {
                return None;
            }
            cell.follow(at.term(window));
            Some(exceeded(window, limit, counted, at))
        });
        if let Some(exceeded) = refusals.max_by_key(|exceeded| exceeded.retry_after) {
            return Err(exceeded);
        }
        let mut charge = Charge::nothing(amount);
        for (window, cell) in self.cells() {
            let limit = window.limit(limits).map(std::num::NonZeroU64::get);
            match (cell.charge(amount, limit, at.term(window)), limit) {
                (Ok(counted), _) => {
                    charge.terms[window as usize] = counted.term;
                    charge.used[window as usize] = counted.count;
                }
                (Err(counted), limit) => {
                    self.settle(charge, 0);
                    return Err(exceeded(window, limit.unwrap_or(u64::MAX), counted, at));
                }
            }
        }
        Ok(charge)
    }

    pub(super) fn settle(&self, charge: Charge, amount: u64) {
        for (window, cell) in self.cells() {
            let term = charge.terms[window as usize];
            if term != Term::NONE {
                cell.replace(term, charge.amount, amount);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn used(&self, window: Window, at: &Moment) -> u64 {
        self.cell(window).map_or(0, |cell| cell.count(at.term(window)).count)
    }

    /// Whether anything is counted in a window that is not over.
    pub(super) fn is_running(&self, counts: impl Fn(Window) -> bool, at: &Moment) -> bool {
        let is_counted =
            |(window, cell): (Window, &Cell)| counts(window) && cell.count(at.term(window)).count > 0;
        self.cells().any(is_counted)
    }

    /// Whether anything was charged in a window that is not over, be it nothing.
    pub(super) fn was_charged(&self, counts: impl Fn(Window) -> bool, at: &Moment) -> bool {
        self.cells().any(|(window, cell)| counts(window) && cell.read().term >= at.term(window))
    }

    /// What is to be on disk.
    pub(super) fn saved(&self) -> Saved {
        let read = |window| self.cell(window).map(Cell::read);
        let none = Counted { term: Term::new(0, 0), count: 0 };
        Saved { day: read(Window::Day).unwrap_or(none), month: read(Window::Month) }
    }
}

fn exceeded(window: Window, limit: u64, counted: Counted, at: &Moment) -> Exceeded {
    let term = at.term(window);
    // A charge of a later moment came first.
    let ahead = match counted.term.era() == term.era() {
        true => counted.term.index().saturating_sub(term.index()),
        false => 0,
    };
    let retry_after = at.left(window).saturating_add(u64::from(ahead) * at.length(window));
    Exceeded { window, limit, used: counted.count, retry_after }
}

/// A count in all four windows, or in minute and day alone.
#[derive(Debug)]
pub(crate) struct Counter<const N: usize = 4> {
    row: Row<N>,
    note: Option<Note>,
}

/// Where a counter says that it has changed.
#[derive(Debug)]
struct Note {
    id: Id,
    is_told: AtomicBool,
    changed: Arc<Changed>,
}

impl<const N: usize> Counter<N> {
    /// A counter whose days and months are saved under a name.
    pub(super) fn new(id: Id, saved: Option<&Saved>, changed: &Arc<Changed>) -> Self {
        let note = Note { id, is_told: AtomicBool::new(false), changed: Arc::clone(changed) };
        Self { row: Row::new(saved), note: Some(note) }
    }

    /// A counter that is in memory alone.
    #[cfg(test)]
    pub(super) fn fleeting() -> Self {
        Self { row: Row::new(None), note: None }
    }

    fn tell(&self) {
        if let Some(Note { id, is_told, changed }) = &self.note
            && !is_told.load(SeqCst)
            && !is_told.swap(true, SeqCst)
        {
            changed.add(*id);
        }
    }

    /// What is to be on disk.
    pub(super) fn saved(&self) -> Saved {
        self.row.saved()
    }

    /// The same. A change from here on is told again.
    pub(super) fn save(&self) -> Saved {
        if let Some(note) = &self.note {
            note.is_told.store(false, SeqCst);
        }
        self.saved()
    }

    /// Whether anything is counted in a day or month that is not over.
    pub(super) fn is_running(&self, at: &Moment) -> bool {
        self.row.is_running(|window| matches!(window, Window::Day | Window::Month), at)
    }
}

impl<const N: usize> Quota for Counter<N> {
    fn charge(&self, amount: u64, limits: &Windows, at: &Moment) -> Result<Charge, Exceeded> {
        let charge = self.row.charge(amount, limits, at)?;
        self.tell();
        Ok(charge)
    }

    fn settle(&self, charge: Charge, amount: u64) {
        if charge.amount != amount {
            self.row.settle(charge, amount);
            self.tell();
        }
    }

    #[cfg(test)]
    fn used(&self, window: Window, at: &Moment) -> u64 {
        self.row.used(window, at)
    }
}

#[cfg(test)]
mod tests;
