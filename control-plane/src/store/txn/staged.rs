//! What a write stages: resources that it puts, removes, or notes a decision about, and rows beside them.
//!
//! Writes nothing and checks nothing.

use std::collections::BTreeMap;

use futures_util::future::BoxFuture;

use super::Txn;
use crate::document::Part;
use crate::noun::Noun;
use crate::payload::{Hashed, Payload};
use crate::store::StoreError;
use crate::store::entity::resource;

/// A resource as the write leaves it.
#[derive(Debug, Clone)]
pub(crate) struct Put {
    pub(crate) noun: Noun,
    pub(crate) id: String,
    /// Empty for what belongs to the installation.
    pub(crate) org: String,
    pub(crate) name: String,
    pub(crate) owner: String,
    /// Encoded document.
    pub(crate) document: Hashed,
    /// What nodes are sent; none where they are sent nothing.
    pub(crate) payload: Option<Payload>,
    pub(crate) links: Vec<(Part, Noun, String)>,
    /// The words that it is found by; of credentials alone.
    pub(crate) labels: Vec<(String, String)>,
    /// The row that it replaces.
    pub(crate) before: Option<resource::Model>,
    pub(crate) created_by: String,
}

/// Writes rows that are no resource, after everything was checked.
pub(in crate::store) type Also =
    Box<dyn for<'a> FnOnce(&'a Txn) -> BoxFuture<'a, Result<(), StoreError>> + Send + Sync>;

/// Everything that a write has staged.
#[derive(Default)]
pub(in crate::store) struct Staged {
    pub(in crate::store) changes: BTreeMap<(Noun, String), StagedChange>,
    pub(in crate::store) also: Vec<Also>,
    /// Whether it is a revision even where no resource changes.
    pub(in crate::store) entry: bool,
}

/// What becomes of one resource.
pub(in crate::store) enum StagedChange {
    Put(Box<Put>),
    Removal(Box<resource::Model>),
    /// The resource stays as it is; something was decided about it.
    Decision(Box<resource::Model>, String),
}

impl Txn {
    /// Writes a resource with this write.
    pub(crate) fn put(&mut self, put: Put) {
        self.staged.changes.insert((put.noun, put.id.clone()), StagedChange::Put(Box::new(put)));
    }

    /// Removes a resource with this write.
    pub(crate) fn remove(&mut self, noun: Noun, row: resource::Model) {
        self.staged.changes.insert((noun, row.id.clone()), StagedChange::Removal(Box::new(row)));
    }

    /// Notes in the history that something was decided about a resource that nodes are not sent, in these words.
    pub(crate) fn decide(&mut self, noun: Noun, row: resource::Model, words: String) {
        self.staged.changes.insert((noun, row.id.clone()), StagedChange::Decision(Box::new(row), words));
    }

    /// Makes this write a revision, whatever it changes.
    pub(in crate::store) fn enter(&mut self) {
        self.staged.entry = true;
    }

    /// Whether this write becomes a revision.
    pub(crate) fn stages_changes(&self) -> bool {
        !self.staged.changes.is_empty()
    }

    /// Whether a staged resource will not name another any more, though its row still does.
    pub(crate) fn renames(&self, noun: Noun, id: &str, to: Noun, to_id: &str) -> bool {
        match self.staged.changes.get(&(noun, id.to_owned())) {
            Some(StagedChange::Put(put)) => !put.links.iter().any(|(_, noun, id)| *noun == to && id == to_id),
            Some(StagedChange::Removal(_)) => true,
            Some(StagedChange::Decision(..)) | None => false,
        }
    }

    /// Writes rows that are no resource, after everything was checked.
    pub(in crate::store) fn also<F>(&mut self, rows: F)
    where
        F: for<'a> FnOnce(&'a Txn) -> BoxFuture<'a, Result<(), StoreError>> + Send + Sync + 'static,
    {
        self.staged.also.push(Box::new(rows));
    }
}
