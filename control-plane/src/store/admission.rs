//! Whether what a write staged may be published, as far as the fleet has a say in it.
//!
//! The store asks between the staging and the first statement, with the head row held; who answers knows what regions
//! hold and who is connected there. Without anybody to ask, everything is admitted.

use futures_util::future::BoxFuture;
use rr_contract::model::resource::Key;

use super::StoreError;
use super::txn::Txn;
use crate::payload::Payload;

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
