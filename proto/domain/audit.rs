//! The audit chain: each revision's head covers all that was done before it, so that a history that was
//! rewritten does not fit the heads that nodes keep.
//!
//! ```text
//! audit(0) = 32 zero bytes
//! audit(n) = SHA-256("requestrocket audit v1" || audit(n-1) || be64(n) || entry(n))
//! entry(n) = SHA-256(the entry without revision, audit and changes, then each change without its documents)
//! ```
//!
//! The parts of `entry(n)` are encoded messages, each behind its length. Documents are covered by their
//! hashes, which the changes hold. Changes come in the order of their kinds in [`KINDS`], then of their ids.
//! Whoever writes revisions and whoever verifies them run this code; it reads nothing and keeps nothing.

use prost::Message as _;
use sha2::{Digest as _, Sha256};

use rr_wire::management::{AuditChange, AuditEntry, Document};

const LABEL: &[u8] = b"requestrocket audit v1";

/// Kinds of resource as changes name them, in the order in which the changes of a revision come.
pub const KINDS: [&str; 12] = [
    "org",
    "target",
    "credential",
    "proxy",
    "rule",
    "filter",
    "meter",
    "region",
    "user",
    "member",
    "token",
    "node_token",
];

/// Head of the chain at a revision.
pub type Head = [u8; 32];

/// Hash of what one revision did, wherever it stands.
pub type EntryHash = [u8; 32];

/// The chain at a revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chain(Head);

impl Chain {
    /// Before the first revision.
    pub const fn start() -> Self {
        Self([0; 32])
    }

    /// At a revision whose head is known.
    pub const fn at(head: Head) -> Self {
        Self(head)
    }

    /// One revision further. Revisions have no gaps: `revision` is the one after this one's.
    #[must_use]
    pub fn next(self, revision: u64, entry: &EntryHash) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(LABEL);
        hasher.update(self.0);
        hasher.update(revision.to_be_bytes());
        hasher.update(entry);
        Self(hasher.finalize().into())
    }

    /// The head.
    pub const fn head(&self) -> &Head {
        &self.0
    }
}

/// The hash of one entry in the making: its changes may come in parts, and are not kept.
#[derive(Clone)]
pub struct Entry(Sha256);

impl Entry {
    /// An entry, of which the changes are still to come: those that it holds are not looked at.
    pub fn new(entry: &AuditEntry) -> Self {
        let covered = AuditEntry {
            revision: 0,
            at: entry.at,
            actor: entry.actor.clone(),
            call: entry.call.clone(),
            changes: Vec::new(),
            change_count: entry.change_count,
            audit: Vec::new(),
        };
        Self(Sha256::new_with_prefix(covered.encode_length_delimited_to_vec()))
    }

    /// Takes in the next change, by the hashes of its documents.
    #[must_use]
    pub fn change(mut self, change: &AuditChange) -> Self {
        let covered = AuditChange {
            kind: change.kind.clone(),
            org: change.org.clone(),
            id: change.id.clone(),
            name: change.name.clone(),
            before_hash: change.before_hash.clone(),
            after_hash: change.after_hash.clone(),
            before: None,
            after: None,
        };
        self.0.update(covered.encode_length_delimited_to_vec());
        self
    }

    /// The hash, once every change is in.
    pub fn finish(self) -> EntryHash {
        self.0.finalize().into()
    }
}

/// What a change says of a document, by its encoding.
pub fn document_hash(document: &Document) -> [u8; 32] {
    *blake3::hash(&document.encode_to_vec()).as_bytes()
}

/// A document that is not the one whose hash its change has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("document {when} the change of {kind} {id} is not the one that was hashed")]
pub struct OtherDocument {
    /// `before` or `after`.
    pub when: &'static str,
    /// Kind of the resource.
    pub kind: String,
    /// Its id.
    pub id: String,
}

/// Compares the documents that came with a change with their hashes. A hash whose document did not come says
/// nothing: documents are kept for a while, hashes for good. A document without a hash is another's.
pub fn check_documents(change: &AuditChange) -> Result<(), OtherDocument> {
    for (when, document, hash) in
        [("before", &change.before, &change.before_hash), ("after", &change.after, &change.after_hash)]
    {
        if document.as_ref().is_some_and(|document| hash.as_slice() != document_hash(document)) {
            return Err(OtherDocument { when, kind: change.kind.clone(), id: change.id.clone() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use pbjson_types::Timestamp;

    use super::*;
    use rr_wire::management::{Actor, Target, document::Resource};

    fn document(name: &str) -> Document {
        Document { resource: Some(Resource::Target(Target { name: name.into(), ..Target::default() })) }
    }

    fn change(id: &str) -> AuditChange {
        let (before, after) = (document("old"), document("new"));
        AuditChange {
            kind: "target".into(),
            org: "og_1".into(),
            id: id.into(),
            name: "echo".into(),
            before_hash: document_hash(&before).to_vec(),
            after_hash: document_hash(&after).to_vec(),
            before: Some(before),
            after: Some(after),
        }
    }

    fn entry() -> AuditEntry {
        let actor = Actor {
            token: "tk_1".into(),
            user: "us_1".into(),
            name: "ada".into(),
            address: "192.0.2.1:99".into(),
            user_agent: "rrctl/1".into(),
        };
        AuditEntry {
            revision: 7,
            at: Some(Timestamp { seconds: 1, nanos: 2 }),
            actor: Some(actor),
            call: "TargetService.UpdateTarget".into(),
            changes: vec![change("tg_1"), change("tg_2")],
            change_count: 2,
            audit: vec![1; 32],
        }
    }

    fn hash(entry: &AuditEntry) -> EntryHash {
        entry.changes.iter().fold(Entry::new(entry), |hash, change| hash.change(change)).finish()
    }

    type Fault = fn(&mut AuditEntry);

    #[test]
    fn a_change_of_any_field_breaks_the_entry() {
        let faults: [(&str, Fault); 17] = [
            ("at", |e| e.at = Some(Timestamp { seconds: 1, nanos: 3 })),
            ("no time", |e| e.at = None),
            ("token", |e| e.actor.as_mut().expect("an actor").token.push('x')),
            ("user", |e| e.actor.as_mut().expect("an actor").user.push('x')),
            ("name of the actor", |e| e.actor.as_mut().expect("an actor").name.push('x')),
            ("address", |e| e.actor.as_mut().expect("an actor").address.push('x')),
            ("user agent", |e| e.actor.as_mut().expect("an actor").user_agent.push('x')),
            ("no actor", |e| e.actor = None),
            ("call", |e| e.call.push('x')),
            ("count", |e| e.change_count = 3),
            ("kind", |e| e.changes[0].kind = "proxy".into()),
            ("org", |e| e.changes[1].org.clear()),
            ("id", |e| e.changes[1].id.push('x')),
            ("name", |e| e.changes[0].name.push('x')),
            ("before", |e| e.changes[0].before_hash[31] ^= 1),
            ("after", |e| e.changes[1].after_hash.clear()),
            ("order", |e| e.changes.swap(0, 1)),
        ];
        let whole = hash(&entry());
        for (what, fault) in faults {
            let mut changed = entry();
            fault(&mut changed);
            assert_ne!(hash(&changed), whole, "{what}");
        }
        for left in 0..2 {
            let mut changed = entry();
            changed.changes.remove(left);
            assert_ne!(hash(&changed), whole, "a change was left out");
        }
    }

    #[test]
    fn what_the_chain_or_a_hash_covers_is_not_covered_twice() {
        let mut same = entry();
        same.revision = 8;
        same.audit.clear();
        same.changes[0].before = None;
        assert_eq!(hash(&same), hash(&entry()));
    }

    #[test]
    fn a_text_cannot_move_from_one_field_to_its_neighbour() {
        let (mut one, mut two) = (entry(), entry());
        (one.changes[0].id, one.changes[0].name) = ("tg_1a".into(), "b".into());
        (two.changes[0].id, two.changes[0].name) = ("tg_1".into(), "ab".into());
        assert_ne!(hash(&one), hash(&two));
    }

    #[test]
    fn a_head_covers_every_revision_before_it_and_its_number() {
        let (one, two) = (hash(&entry()), [2; 32]);
        let head = Chain::start().next(1, &one).next(2, &two);
        assert_eq!(Chain::at(*Chain::start().next(1, &one).head()).next(2, &two), head);
        assert_ne!(Chain::start().next(1, &two).next(2, &one), head);
        assert_ne!(Chain::start().next(1, &one).next(3, &two), head);
        assert_ne!(Chain::start().next(2, &two), head);
    }

    #[test]
    fn the_chain_is_what_it_was_when_the_first_heads_were_kept() {
        let head = Chain::start().next(1, &Entry::new(&AuditEntry::default()).finish());
        let expected = {
            // The empty entry is its length alone.
            let entry: [u8; 32] = Sha256::digest([0]).into();
            let text = [b"requestrocket audit v1".as_slice(), &[0; 32], &1u64.to_be_bytes(), &entry].concat();
            <[u8; 32]>::from(Sha256::digest(text))
        };
        assert_eq!(head.head(), &expected);
    }

    #[test]
    fn a_document_in_the_place_of_another_is_found() {
        let mut changed = change("tg_1");
        assert_eq!(check_documents(&changed), Ok(()));
        changed.after = Some(document("planted"));
        assert_eq!(check_documents(&changed).expect_err("another document").when, "after");
        changed = change("tg_1");
        changed.before_hash.clear();
        assert_eq!(check_documents(&changed).expect_err("a document from nowhere").when, "before");
        changed.before = None;
        assert_eq!(check_documents(&changed), Ok(()));
    }
}
