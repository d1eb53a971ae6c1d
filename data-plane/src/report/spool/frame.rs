//! Frames of a segment: length, number, CRC-32, then the sealed batch.
//!
//! A frame may stand for a row of numbers whose batches are gone; then its batch says how many records that
//! were. The seal binds it to its spool and its number.

use bytes::Bytes;
use rr_contract::seal::storage::{OVERHEAD, StorageKey};
use rr_contract::seam::Entropy;
use zeroize::Zeroizing;

const PREFIX: usize = 16; // 4 + 8 + 4
const FRAME_MAX: usize = 8 * 1024 * 1024;

/// A frame that was read.
pub(super) struct Frame {
    pub(super) first: u64,
    /// Equal to `first` but for a gap.
    pub(super) through: u64,
    pub(super) batch: Bytes,
    /// Where the next one starts.
    pub(super) end: usize,
}

fn context(spool: &[u8; 16], sequence: u64) -> Vec<u8> {
    let mut context = b"requestrocket spool 1".to_vec();
    context.extend_from_slice(spool);
    context.extend_from_slice(&sequence.to_be_bytes());
    context
}

pub(super) fn write(
    key: &StorageKey,
    spool: &[u8; 16],
    (first, through): (u64, u64),
    batch: &[u8],
    entropy: &dyn Entropy,
) -> Vec<u8> {
    let mut plain = Zeroizing::new(through.to_le_bytes().to_vec());
    plain.extend_from_slice(batch);
    let sealed = key.seal(&context(spool, first), &plain, entropy);
    let mut frame = Vec::with_capacity(PREFIX + sealed.len());
    frame.extend_from_slice(&(sealed.len() as u32).to_le_bytes());
    frame.extend_from_slice(&first.to_le_bytes());
    frame.extend_from_slice(&crc32fast::hash(&sealed).to_le_bytes());
    frame.extend_from_slice(&sealed);
    frame
}

/// The frame at `offset`; `None` at the end, or where it is torn or not ours.
pub(super) fn read(key: &StorageKey, spool: &[u8; 16], bytes: &[u8], offset: usize) -> Option<Frame> {
    let prefix = bytes.get(offset..offset + PREFIX)?;
    let length = u32::from_le_bytes(prefix[..4].try_into().ok()?) as usize;
    let first = u64::from_le_bytes(prefix[4..12].try_into().ok()?);
    if !(OVERHEAD + 8..=FRAME_MAX).contains(&length) {
        return None;
    }
    let start = offset + PREFIX;
    let sealed = bytes.get(start..start + length)?;
    if crc32fast::hash(sealed).to_le_bytes() != prefix[12..] {
        return None;
    }
    let plain = key.open(&context(spool, first), sealed).ok()?;
    let (through, batch) = plain.split_first_chunk::<8>()?;
    let through = u64::from_le_bytes(*through);
    (through >= first).then(|| Frame {
        first,
        through,
        batch: Bytes::copy_from_slice(batch),
        end: start + length,
    })
}
