//! The audit chain of a database, computed anew from its first revision: `rrctl audit verify` without a control plane.
//!
//! Trusts no head that it reads: each has to follow from the entries before it. Compares the documents that are kept with
//! the hashes that the chain covers. Changes nothing.

use prost::Message as _;
use rr_contract::audit::{Chain, Entry, check_documents};
use rr_contract::model::time;
use rr_contract::wire::management::{self as wire, Document};

use super::entity::revision;
use super::installation::Head;
use super::row::{Reader, row_of};
use super::{StoreError, audit, audit_change, history, resource, time_of};

/// How many revisions are read at once.
const READ: u64 = 200;
/// How many changes of a revision are read at once.
const CHANGES: u64 = 500;

/// Why a chain does not hold, or could not be followed.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// It was changed, or a part of it is missing.
    #[error("the audit chain does not hold at revision {revision}: {why}")]
    Broken {
        /// The first revision that does not fit.
        revision: u64,
        /// What is wrong there.
        why: String,
    },
    /// It could not be read.
    #[error("cannot read the audit")]
    Store(#[from] StoreError),
}

/// An entry as the audit has it, without its changes.
pub(crate) fn entry_of(row: revision::Model) -> wire::AuditEntry {
    wire::AuditEntry {
        revision: row.rev.unsigned_abs(),
        at: Some(time::timestamp(time_of(row.at))),
        actor: Some(wire::Actor {
            token: row.token,
            user: row.user,
            name: row.actor,
            address: row.address,
            user_agent: row.user_agent,
        }),
        call: row.call,
        changes: Vec::new(),
        change_count: row.changes.unsigned_abs(),
        audit: row.audit,
    }
}

/// Follows the chain from the first revision to a head.
pub(crate) async fn verify(db: &impl Reader, head: &Head) -> Result<(), ChainError> {
    let (mut chain, mut reached) = (Chain::start(), 0_u64);
    let last = row_of(head.revision)?;
    loop {
        let rows = audit::from(db, row_of(reached + 1)?, last, READ).await?;
        let whole = (rows.len() as u64) < READ;
        for row in rows {
            let entry = entry_of(row);
            let revision = reached + 1;
            let broken = |why: &str| ChainError::Broken { revision, why: why.to_owned() };
            if entry.revision != revision {
                return Err(broken("it is missing"));
            }
            chain = chain.next(revision, &hash(db, &entry).await?);
            if entry.audit.as_slice() != chain.head() {
                return Err(broken("its head does not follow from its changes and the revisions before"));
            }
            reached = revision;
        }
        if whole {
            break;
        }
    }
    if reached != head.revision || *chain.head() != head.audit {
        let why = format!("the chain ends at revision {reached} with another head than the database says");
        return Err(ChainError::Broken { revision: head.revision, why });
    }
    Ok(())
}

/// What a revision did, as its changes tell it.
async fn hash(db: &impl Reader, entry: &wire::AuditEntry) -> Result<[u8; 32], ChainError> {
    let revision = entry.revision;
    let broken = |why: String| ChainError::Broken { revision, why };
    let (mut hash, mut count) = (Entry::new(entry), 0_u64);
    let mut behind: Option<(i32, String)> = None;
    loop {
        let after = behind.as_ref().map(|(kind, id)| (*kind, id.as_str()));
        let rows = history::changes(db, revision, None, after, CHANGES).await?;
        let full = rows.len() as u64 == CHANGES;
        behind = rows.last().map(|row| (row.kind, row.id.clone()));
        let hashes = rows.iter().flat_map(|row| [row.before.clone(), row.after.clone()]).flatten().collect();
        let kept = resource::blobs(db, hashes).await?;
        let document = |hash: &Option<Vec<u8>>| {
            let bytes = hash.as_ref().and_then(|hash| kept.get(hash));
            bytes
                .map(|bytes| Document::decode(bytes.as_slice()))
                .transpose()
                .map_err(|_| broken("a document of it cannot be read".to_owned()))
        };
        for row in &rows {
            let change = wire::AuditChange {
                before: document(&row.before)?,
                after: document(&row.after)?,
                ..audit_change(row)?
            };
            check_documents(&change).map_err(|error| broken(error.to_string()))?;
            hash = hash.change(&change);
            count += 1;
        }
        if !full {
            break;
        }
    }
    if count != entry.change_count {
        return Err(broken(format!("it has {count} changes, and its count is {}", entry.change_count)));
    }
    Ok(hash.finish())
}
