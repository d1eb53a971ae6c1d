//! What a filter that redacts can look for, and sets of that.
//!
//! Finds nothing: that is the policy's part.

use std::fmt;

pub use rr_wire::fleet::Detector;

/// Some detectors.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Detectors(u32);

impl Detectors {
    /// All that there are.
    pub fn all() -> Self {
        (1..).map_while(|number| Detector::try_from(number).ok()).collect()
    }

    /// Whether it is one of them.
    pub const fn has(self, detector: Detector) -> bool {
        self.0 >> detector as i32 & 1 == 1
    }

    /// Whether one of these is one of them.
    pub const fn has_any(self, of: Self) -> bool {
        self.0 & of.0 != 0
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// These and one more.
    #[must_use]
    pub const fn with(self, detector: Detector) -> Self {
        Self(self.0 | 1 << detector as i32)
    }

    /// Each of them, in the order of their numbers.
    pub fn iter(self) -> impl Iterator<Item = Detector> {
        (1..32).filter_map(|number| Detector::try_from(number).ok()).filter(move |it| self.has(*it))
    }
}

impl FromIterator<Detector> for Detectors {
    fn from_iter<I: IntoIterator<Item = Detector>>(all: I) -> Self {
        all.into_iter().fold(Self::default(), Self::with)
    }
}

impl fmt::Debug for Detectors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_what_was_put_into_it_and_nothing_else() {
        let some: Detectors = [Detector::Email, Detector::CaSin].into_iter().collect();
        assert_eq!(some.iter().collect::<Vec<_>>(), [Detector::Email, Detector::CaSin]);
        assert!(some.has_any(Detectors::all()) && !some.has(Detector::Card));
        assert!(Detectors::default().is_empty() && !Detectors::all().has(Detector::Unspecified));
        assert_eq!(Detectors::all().iter().count(), 22);
    }
}
