//! An example for each verb, at the end of its help.
//!
//! Verbs whose file has examples of its own are not here. Each is a line that runs: a test of the whole program runs all.
//! Resources have the names of the sample of `rrctl dev` where it has some; ids and revisions are made up.

mod access;
mod fleet;
mod resources;

/// The lines of a command, without `rrctl` at their beginning.
type Examples = (&'static str, &'static [&'static str]);

/// The verbs that have lines here.
#[cfg(test)]
pub(super) fn paths() -> impl Iterator<Item = &'static str> {
    access::ALL.iter().chain(fleet::ALL).chain(resources::ALL).map(|(path, _)| *path)
}

/// The examples of a command, by its path.
pub(super) fn of(path: &str) -> Option<String> {
    let verb = path.strip_prefix("rrctl ")?;
    let mut all = access::ALL.iter().chain(fleet::ALL).chain(resources::ALL);
    let (_, lines) = all.find(|(name, _)| *name == verb)?;
    let lines: Vec<String> = lines.iter().map(|line| format!("  rrctl {line}")).collect();
    Some(format!("Examples:\n{}", lines.join("\n")))
}
