//! Labels of previews: sets that stand beside the real ones for a while. The label says its name and when it ends.
//!
//! Removes nothing: the control plane does, when it is time.

use std::fmt;

use crate::model::name::Name;

/// What labels of previews begin with.
pub const PREFIX: &str = "preview/";
/// The longest name of a preview: names of its resources end with it.
pub const NAME_MAX: usize = 24;

/// Whether only an apply of a preview gives this label: whatever bears it is removed without another call.
pub fn is_reserved(owner: &str) -> bool {
    owner.starts_with(PREFIX)
}

/// The label of a preview: `preview/NAME:SECONDS`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Label {
    /// Its name.
    pub name: Name,
    /// When it ends, in seconds since 1970.
    pub ends: u64,
}

impl Label {
    /// Reads a label. `None` where it is none of a preview.
    pub fn parse(text: &str) -> Option<Self> {
        let (name, ends) = text.strip_prefix(PREFIX)?.split_once(':')?;
        let label = Self { name: name.parse().ok()?, ends: ends.parse().ok()? };
        // One spelling, so that a label can be looked for.
        (name.len() <= NAME_MAX && label.to_string() == text).then_some(label)
    }

    /// Whether a label is of the same preview, with whatever end.
    pub fn is_of_same(&self, owner: &str) -> bool {
        Self::parse(owner).is_some_and(|other| other.name == self.name)
    }

    /// Whether it has ended at a time, in microseconds since 1970.
    pub fn has_ended(&self, now: i64) -> bool {
        i64::try_from(self.ends)
            .ok()
            .and_then(|ends| ends.checked_mul(1_000_000))
            .is_some_and(|ends| ends <= now)
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}:{}", self.name, self.ends)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_has_one_spelling_and_an_end() {
        let label = Label::parse("preview/pr-12:1764331200").expect("a label");
        assert_eq!((label.name.as_str(), label.ends), ("pr-12", 1_764_331_200));
        assert_eq!(label.to_string(), "preview/pr-12:1764331200");
        assert!(label.has_ended(1_764_331_200_000_000) && !label.has_ended(1_764_331_199_999_999));
        assert!(label.is_of_same("preview/pr-12:1") && !label.is_of_same("preview/pr-1:1764331200"));
        let long = format!("preview/{}:1", "x".repeat(NAME_MAX + 1));
        for wrong in [
            "preview/",
            "preview/a",
            "preview/a:",
            "preview/A:1",
            "preview/a:01",
            "preview/a:+1",
            "git",
            &long,
        ] {
            assert_eq!(Label::parse(wrong), None, "{wrong}");
        }
    }
}
