//! The question whether what a write staged may be published, given what nodes hold and understand.
//!
//! The store asks it between the staging and the first statement, with the head row held. The publisher answers it: it
//! knows what regions hold and which nodes are connected. Where no answer is installed, everything is admitted.

use futures_util::future::BoxFuture;
use rr_contract::model::resource::Key;

use super::StoreError;
use super::txn::Txn;
use crate::payload::Payload;

/// What the author of a write agreed to in the request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Consent {
    /// That some nodes cannot understand it.
    pub(crate) partial: bool,
    /// That it takes much from the nodes of a region.
    pub(crate) mass_removal: bool,
    /// To everything: the author is the control plane, or the write answers what would stop others.
    pub(crate) anything: bool,
}

/// One change as nodes would see it: no payload means that they are not sent it any more.
#[derive(Debug, Clone)]
pub(crate) struct Proposed {
    pub(crate) key: Key,
    pub(crate) payload: Option<Payload>,
}

/// Knows what regions hold, and who is connected there.
pub(crate) trait Admission: Send + Sync {
    /// A group of writes begins: the head row is held and stands here.
    fn begin<'a>(&'a self, txn: &'a Txn, head: u64, audit: [u8; 32])
    -> BoxFuture<'a, Result<(), StoreError>>;

    /// What a write would do. It is flushed next, or not at all.
    fn admit(&self, proposed: Vec<Proposed>, consent: Consent) -> Result<AgreedRemovals, StoreError>;

    /// What was admitted last became this revision, if its group is committed.
    fn flushed(&self, revision: u64, audit: [u8; 32]);
}

/// How many removals are noted with a revision as agreed to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct AgreedRemovals {
    /// The most that the write takes from the nodes of any one region.
    pub(crate) most: u64,
}
