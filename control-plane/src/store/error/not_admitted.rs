//! Why a write was stopped at a region: what its nodes are or hold forbids it.

use std::fmt::{self, Write as _};

/// How many nodes a refusal names.
const NAMED: usize = 10;

/// A region at which a write was stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotAdmitted {
    /// Region id.
    pub(crate) region: String,
    /// Region name, once it was looked up.
    pub(crate) name: String,
    pub(crate) obstacle: Obstacle,
}

/// What stopped it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// Connected nodes that lack features, and which: the first of them, and how many there are.
    Features { nodes: Vec<(String, Vec<String>)>, count: usize },
    /// It takes so many of so many.
    MassRemoval { removals: u64, held: u64 },
    /// Nodes of another history: the first of them with where it stands, and how many there are.
    Diverged { node: String, revision: u64, elsewhere: bool, count: usize },
}

impl NotAdmitted {
    pub(crate) fn new(region: String, obstacle: Obstacle) -> Self {
        Self { name: region.clone(), region, obstacle }
    }
}

impl Obstacle {
    /// The nodes that lack features, first those that are named.
    pub(crate) fn lacking(mut nodes: Vec<(String, Vec<String>)>) -> Self {
        let count = nodes.len();
        nodes.sort();
        nodes.truncate(NAMED);
        Self::Features { nodes, count }
    }
}

impl fmt::Display for NotAdmitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let region = &self.name;
        match &self.obstacle {
            Obstacle::Features { nodes, count } => {
                let mut listed = String::new();
                for (node, lacks) in nodes {
                    let joint = if listed.is_empty() { "" } else { ", " };
                    write!(listed, "{joint}{node} ({})", lacks.join(", "))?;
                }
                let more = count - nodes.len();
                if more > 0 {
                    write!(listed, " and {more} more")?;
                }
                write!(
                    f,
                    "region {region}: {count} connected node(s) cannot understand this: {listed}; update them first, or \
                     say `allow_partial`: they then refuse it, and deny callers where it decides who may do what"
                )
            }
            Obstacle::MassRemoval { removals, held } => write!(
                f,
                "region {region}: this takes {removals} of the {held} resources that its nodes hold from them; if that \
                 is what you want, say `allow_mass_removal`"
            ),
            Obstacle::Diverged { node, revision, elsewhere, count } => {
                let whose =
                    if *elsewhere { "another history" } else { "a history that this database does not have" };
                write!(f, "region {region}: node {node} stands at revision {revision} of {whose}")?;
                if *count > 1 {
                    write!(f, ", and {} more do", count - 1)?;
                }
                write!(
                    f,
                    ": nothing can be published there before somebody decides; run `rrctl revision adopt --region {region} \
                     --dry-run`"
                )
            }
        }
    }
}
