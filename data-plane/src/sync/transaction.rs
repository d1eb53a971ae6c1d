//! A transaction on its way in: order, sizes and checksums, until its commit.
//!
//! Judges no resource and changes nothing. The invariant: what reaches `apply` came whole, in order, and
//! each payload has the hash that it claims, if it claims one.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use prost::Message as _;
use rr_contract::digest::{ResourceHash, resource_hash};
use rr_contract::model::id::CredentialId;
use rr_contract::model::resource::{InvalidKey, Key};
use rr_contract::wire::fleet;
use rr_contract::wire::fleet::{Mode, Why};

use super::position::Position;

/// One chunk.
pub(crate) const CHUNK_MAX: usize = 2 * 1024 * 1024;
/// One transaction: many times the standard load, but bounded memory.
const TRANSACTION_MAX: usize = 2 * 1024 * 1024 * 1024;

/// What is offered under a key: the bytes as they were sent, and what came with them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Offered {
    pub(crate) hash: ResourceHash,
    pub(crate) revision: u64,
    /// Shared with the thread that writes it.
    pub(crate) payload: Arc<[u8]>,
    pub(crate) needs: Vec<String>,
}

impl Offered {
    pub(crate) fn to_wire(&self, key: &Key) -> fleet::Resource {
        fleet::Resource {
            key: Some(key.to_wire()),
            revision: self.revision,
            hash: self.hash.to_vec(),
            payload: self.payload.to_vec().into(),
            needs: self.needs.clone(),
        }
    }
}

/// What happens to a key.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Change {
    Upsert(Offered),
    Removal,
}

/// What happens to which keys. Of two changes of one key, the later counts.
pub(crate) type Changes = HashMap<Key, Change>;

/// Why a transaction is refused as a whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub(crate) struct Fault {
    pub(crate) why: Why,
    pub(crate) detail: String,
}

impl Fault {
    pub(crate) fn new(why: Why, detail: impl Into<String>) -> Self {
        Self { why, detail: detail.into() }
    }

    fn transport(detail: impl Into<String>) -> Self {
        Self::new(Why::Transport, detail)
    }
}

/// A transaction that is open.
pub(crate) struct Transaction {
    pub(crate) txn: Vec<u8>,
    pub(crate) mode: Mode,
    chunks: u32,
    received: u32,
    bytes: usize,
    /// How many removals were consented to at publication.
    pub(crate) intended_removals: u64,
    /// Set where an operator adopted another history: the credentials that it restores by name.
    pub(crate) adopted: Option<HashSet<CredentialId>>,
    pub(crate) changes: Changes,
    /// The bodies as they came, for the journal.
    pub(crate) bodies: Vec<bytes::Bytes>,
}

impl Transaction {
    /// Opens one, unless it starts from somewhere else than `at`.
    pub(crate) fn begin(wire: fleet::Begin, at: Option<&Position>) -> Result<Self, Fault> {
        let mode = wire.mode();
        match mode {
            Mode::Snapshot => {}
            Mode::Delta | Mode::Reconcile => {
                // By content: a mark may have moved the revision since the sender looked.
                if at.is_none_or(|at| wire.base != at.digest) {
                    return Err(Fault::new(
                        Why::BaseMismatch,
                        format!("transaction does not start from the position of the node, {at:?}"),
                    ));
                }
            }
            Mode::Unspecified => return Err(Fault::transport("transaction has an unknown mode")),
        }
        if wire.adopted && mode == Mode::Delta {
            return Err(Fault::new(
                Why::BaseMismatch,
                "a transaction of mode DELTA cannot adopt another history",
            ));
        }
        let adopted = wire.adopted.then(|| revived(&wire.revived)).transpose()?;
        Ok(Self {
            txn: wire.txn,
            mode,
            chunks: wire.chunks,
            received: 0,
            bytes: 0,
            intended_removals: wire.intended_removals,
            adopted,
            changes: Changes::new(),
            bodies: Vec::new(),
        })
    }

    /// Takes the next chunk in.
    pub(crate) fn take(&mut self, chunk: &fleet::Chunk) -> Result<(), Fault> {
        if chunk.index != self.received || chunk.index >= self.chunks {
            return Err(Fault::transport(format!(
                "received chunk {} of {}, expected {}",
                chunk.index, self.chunks, self.received
            )));
        }
        self.bytes += chunk.body.len();
        if chunk.body.len() > CHUNK_MAX || self.bytes > TRANSACTION_MAX {
            return Err(Fault::transport("chunk or transaction is too large"));
        }
        if crc32fast::hash(&chunk.body) != chunk.crc32 {
            return Err(Fault::transport(format!("chunk {} is damaged", chunk.index)));
        }
        read_body(&chunk.body, &mut self.changes)?;
        if self.is_appended() {
            self.bodies.push(chunk.body.clone());
        }
        self.received += 1;
        Ok(())
    }

    /// Whether it is appended to the file on disk. Others start a new file: a snapshot because it replaces
    /// everything, an adopted history because its revocations are at the head of a file.
    pub(crate) fn is_appended(&self) -> bool {
        self.mode != Mode::Snapshot && self.adopted.is_none()
    }

    /// Checks that nothing is missing.
    pub(crate) fn close(&self) -> Result<(), Fault> {
        if self.received != self.chunks {
            return Err(Fault::transport(format!("received {} of {} chunks", self.received, self.chunks)));
        }
        Ok(())
    }
}

/// Decodes the body of a chunk into changes.
pub(crate) fn read_body(body: &[u8], changes: &mut Changes) -> Result<(), Fault> {
    let body = fleet::ChunkBody::decode(body)
        .map_err(|error| Fault::transport(format!("chunk cannot be decoded: {error}")))?;
    for resource in body.upserts {
        let key = parse_key(resource.key.as_ref())?;
        let hash = resource_hash(&resource.payload);
        // May be left out to save bytes: the digest proves it.
        if !resource.hash.is_empty() && hash[..] != resource.hash {
            return Err(Fault::transport(format!("hash of {key} does not match its payload")));
        }
        // Copied: a slice would keep the whole chunk in memory for as long as the resource lives.
        let offered = Offered {
            hash,
            revision: resource.revision,
            payload: Arc::from(&resource.payload[..]),
            needs: resource.needs,
        };
        changes.insert(key, Change::Upsert(offered));
    }
    for removal in &body.removals {
        changes.insert(parse_key(Some(removal))?, Change::Removal);
    }
    Ok(())
}

/// The keys of a restrain message, with the resources now published under them, if any.
pub(crate) fn restraints(message: &fleet::Restrain) -> Result<HashMap<Key, Option<Offered>>, Fault> {
    let mut changes = Changes::new();
    read_body(&message.body, &mut changes)?;
    let later = changes.into_iter().map(|(key, change)| match change {
        Change::Upsert(offered) => (key, Some(offered)),
        Change::Removal => (key, None),
    });
    Ok(later.collect())
}

fn revived(ids: &[String]) -> Result<HashSet<CredentialId>, Fault> {
    let parse =
        |id: &String| id.parse().map_err(|_| Fault::transport(format!("{id:?} is not a credential id")));
    ids.iter().map(parse).collect()
}

fn parse_key(wire: Option<&fleet::Key>) -> Result<Key, Fault> {
    let wire = wire.ok_or_else(|| Fault::transport("resource has no key"))?;
    Key::try_from(wire).map_err(|error| match error {
        // Its place in the digest is unknown too, so nothing of the transaction could be checked.
        InvalidKey::Kind(_) => Fault::new(Why::UnknownFeature, error.to_string()),
        InvalidKey::Id(_) => Fault::transport(error.to_string()),
    })
}
