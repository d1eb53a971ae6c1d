//! Cuts what a region lacks into chunks, once for all streams that lack the same.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use rr_contract::model::id::RegionId;
use rr_contract::model::resource::Key;
use rr_contract::wire::fleet;

use super::region::{Cut, Start};

/// How large a chunk's body grows: what is encrypted for a node that does not read is one of these and not a
/// transaction.
const BODY: usize = 64 * 1024;
/// How many encoded transactions are kept; nearly all nodes of a region ask for the same one.
const KEPT: usize = 16;

/// A transaction as it goes over the wire, but for what differs by stream.
#[derive(Debug)]
pub(crate) struct Encoded {
    /// Bodies with their CRC-32, shared by every stream.
    pub(super) chunks: Vec<(Bytes, u32)>,
    pub(super) position: fleet::Position,
    /// Whether it holds everything.
    pub(super) snapshot: bool,
    /// The keys that it touches, where it does not hold everything.
    pub(super) touched: Arc<[Key]>,
    /// How many of these it takes away.
    pub(super) removals: u64,
    /// All bodies together.
    pub(super) bytes: usize,
}

struct Slot {
    generation: u64,
    region: RegionId,
    from: Start,
    to: u64,
}

/// The transactions that were encoded last.
#[derive(Default)]
pub(super) struct Encoder {
    kept: VecDeque<(Slot, Arc<Encoded>)>,
}

impl Encoder {
    /// A transaction that was encoded before.
    pub(super) fn ready(
        &self,
        generation: u64,
        region: RegionId,
        from: &Start,
        to: u64,
    ) -> Option<Arc<Encoded>> {
        let wanted = |slot: &Slot| {
            (slot.generation, slot.region, slot.to) == (generation, region, to) && slot.from == *from
        };
        self.kept.iter().find(|(slot, _)| wanted(slot)).map(|(_, encoded)| Arc::clone(encoded))
    }

    /// Forgets what was encoded from a content outside the log: it did not fit.
    pub(super) fn forget(&mut self, region: RegionId, digest: [u8; 32]) {
        let gone = |slot: &Slot| slot.region == region && slot.from.content() == Some(digest);
        self.kept.retain(|(slot, _)| !gone(slot));
    }

    /// Remembers an encoded transaction by its start.
    pub(super) fn keep(&mut self, generation: u64, region: RegionId, from: Start, encoded: &Arc<Encoded>) {
        let slot = Slot { generation, region, from, to: encoded.position.revision };
        self.kept.push_back((slot, Arc::clone(encoded)));
        if self.kept.len() > KEPT {
            self.kept.pop_front();
        }
    }
}

impl Encoded {
    /// Encodes. Takes a while for a large snapshot.
    pub(super) fn of(cut: Cut) -> Arc<Self> {
        let snapshot = cut.snapshot;
        let touched: Arc<[Key]> = if snapshot {
            Arc::default()
        } else {
            cut.upserts.iter().map(|(key, _)| *key).chain(cut.removals.iter().copied()).collect()
        };
        let (position, removals) = (cut.position.clone(), cut.removals.len() as u64);
        let chunks = chunks(cut);
        let bytes = chunks.iter().map(|(body, _)| body.len()).sum();
        Arc::new(Self { chunks, position, snapshot, touched, removals, bytes })
    }
}

fn chunks(cut: Cut) -> Vec<(Bytes, u32)> {
    let mut chunks = Vec::new();
    let mut body = fleet::ChunkBody::default();
    let mut size = 0;
    let flush = |body: &mut fleet::ChunkBody, chunks: &mut Vec<(Bytes, u32)>| {
        let bytes = Bytes::from(std::mem::take(body).encode_to_vec());
        let crc = crc32fast::hash(&bytes);
        chunks.push((bytes, crc));
    };
    for (key, entry) in cut.upserts {
        let resource = fleet::Resource {
            key: Some(key.to_wire()),
            revision: entry.revision,
            // A node computes it of the payload. In what it is sent as a whole, it stays as a check of what we hold.
            hash: if cut.snapshot { entry.payload.hash().to_vec() } else { Vec::new() },
            payload: entry.payload.bytes().clone(),
            needs: entry.payload.needs().iter().map(|need| (*need).to_owned()).collect(),
        };
        let length = resource.encoded_len() + 8;
        if size > 0 && size + length > BODY {
            flush(&mut body, &mut chunks);
            size = 0;
        }
        size += length;
        body.upserts.push(resource);
    }
    for key in cut.removals {
        let key = key.to_wire();
        let length = key.encoded_len() + 8;
        if size > 0 && size + length > BODY {
            flush(&mut body, &mut chunks);
            size = 0;
        }
        size += length;
        body.removals.push(key);
    }
    if size > 0 {
        flush(&mut body, &mut chunks);
    }
    chunks
}
