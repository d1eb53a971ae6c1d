//! Whether what a write staged may be published, as far as the fleet has a say in it.
//!
//! The store asks between the staging and the first statement, with the head row held; who answers knows what regions
//! hold and who is connected there. Without anybody to ask, everything is admitted.

use std::fmt::{self, Write as _};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use rr_contract::model::resource::Key;

use super::txn::Txn;
use super::{StoreError, resource};
use crate::noun::Noun;

/// How many nodes a refusal names.
const NAMED: usize = 10;

/// What the author of a write agreed to beforehand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Consent {
    /// Some node cannot understand it.
    pub(crate) partial: bool,
    /// It takes much from a region's nodes.
    pub(crate) mass_removal: bool,
    /// It is ourselves, or a person's answer to what would stop others: nothing of this stops it.
    pub(crate) anything: bool,
}

/// One change as nodes would see it: no payload means that they are not sent it any more.
#[derive(Debug, Clone)]
pub(crate) struct Proposed {
    pub(crate) key: Key,
    pub(crate) payload: Option<Bytes>,
}

/// Knows what regions hold, and who is connected there.
pub(crate) trait Admission: Send + Sync {
    /// A group of writes begins: the head row is held and stands here.
    fn begin<'a>(&'a self, txn: &'a Txn, head: u64, audit: [u8; 32])
    -> BoxFuture<'a, Result<(), StoreError>>;

    /// What a write would do. It is flushed next, or not at all.
    fn admit(&self, proposed: Vec<Proposed>, consent: Consent) -> Result<Admitted, StoreError>;

    /// What was admitted last became this revision, if its group is committed.
    fn flushed(&self, revision: u64, audit: [u8; 32]);
}

/// What is noted with a revision.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Admitted {
    /// The most that it takes from any one region's nodes.
    pub(crate) removals: u64,
}

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

    /// With the region's name, for people.
    pub(super) async fn named(mut self, txn: &Txn) -> Self {
        if let Ok(Some(row)) = resource::by_id(txn, Noun::Region, &self.region).await {
            self.name = row.name;
        }
        self
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
