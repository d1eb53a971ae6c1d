//! An example for each verb, at the end of its help.
//!
//! Verbs whose file has examples of its own are not here. Each is a line that runs: a test of the whole program runs all.

/// The examples of a command, by its path.
pub(super) fn of(path: &str) -> Option<&'static str> {
    ALL.iter().find(|(name, _)| *name == path).map(|(_, text)| *text)
}

const ALL: &[(&str, &str)] = &[];
