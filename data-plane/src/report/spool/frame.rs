//! What a segment file is made of: a header with the spool's id, then frames.
//!
//! A frame is a label in the clear, its CRC-32, and the sealed batch. The label says how many records the spool was
//! given before and how many are in this batch, so that the records of a missing frame can be counted from its
//! neighbours. A frame may stand for a row of numbers whose batches are gone; then its batch says how many records
//! that were. The seal binds a frame to its spool and its label.

use bytes::Bytes;
use rr_contract::seal::storage::{OVERHEAD, StorageKey};
use rr_contract::seam::Entropy;

const MAGIC: [u8; 8] = *b"rrspool2";
/// Where the first frame of a file starts.
pub(super) const HEADER: usize = MAGIC.len() + 16 + 4;
const LABEL: usize = 4 + 8 + 8 + 8;
const PREFIX: usize = LABEL + 4;
const SEALED_MIN: usize = OVERHEAD + 8;
/// No frame is shorter, which bounds how many a piece of a file may have held.
pub(super) const FRAME_MIN: usize = PREFIX + SEALED_MIN;
const FRAME_MAX: usize = 8 * 1024 * 1024;

/// The part of a frame that is readable without the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Label {
    pub(super) first: u64,
    /// Records, lost ones among them, in all batches before.
    pub(super) before: u64,
    /// Records, lost ones among them, in this one.
    pub(super) weight: u64,
}

/// A frame that was read.
pub(super) struct Frame {
    pub(super) label: Label,
    /// Equal to the label's number but for a gap.
    pub(super) through: u64,
    pub(super) batch: Bytes,
    /// Where the next one starts.
    pub(super) end: usize,
}

/// What a file begins with. Damage to it costs nothing while the spool's own file names the spool.
pub(super) fn header(spool: &[u8; 16]) -> Vec<u8> {
    let mut header = [&MAGIC[..], spool].concat();
    header.extend_from_slice(&crc32fast::hash(&header).to_le_bytes());
    header
}

/// The spool id in a file's header.
pub(super) fn spool_of(file: &[u8]) -> Option<[u8; 16]> {
    let spool = file.get(MAGIC.len()..MAGIC.len() + 16)?.try_into().ok()?;
    (file.get(..HEADER)? == header(&spool)).then_some(spool)
}

fn context(spool: &[u8; 16], label: Label) -> Vec<u8> {
    let mut context = b"requestrocket spool 2".to_vec();
    context.extend_from_slice(spool);
    for number in [label.first, label.before, label.weight] {
        context.extend_from_slice(&number.to_be_bytes());
    }
    context
}

pub(super) fn write(
    key: &StorageKey,
    spool: &[u8; 16],
    (label, through): (Label, u64),
    batch: &[u8],
    entropy: &dyn Entropy,
) -> Vec<u8> {
    let plain = [&through.to_le_bytes()[..], batch].concat();
    let sealed = key.seal(&context(spool, label), &plain, entropy);
    let mut frame = Vec::with_capacity(PREFIX + sealed.len());
    frame.extend_from_slice(&(sealed.len() as u32).to_le_bytes());
    for number in [label.first, label.before, label.weight] {
        frame.extend_from_slice(&number.to_le_bytes());
    }
    frame.extend_from_slice(&sum(&frame, &sealed));
    frame.extend_from_slice(&sealed);
    frame
}

fn sum(label: &[u8], sealed: &[u8]) -> [u8; 4] {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(label);
    hasher.update(sealed);
    hasher.finalize().to_le_bytes()
}

/// The label of an intact frame, and the range of its sealed part. Its spool is not checked.
fn label(bytes: &[u8], offset: usize, is_near: impl Fn(u64) -> bool) -> Option<(Label, &[u8])> {
    let prefix = bytes.get(offset..offset + PREFIX)?;
    let length = u32::from_le_bytes(prefix[..4].try_into().ok()?) as usize;
    let number = |at: usize| Some(u64::from_le_bytes(prefix[at..at + 8].try_into().ok()?));
    let label = Label { first: number(4)?, before: number(12)?, weight: number(20)? };
    if !(SEALED_MIN..=FRAME_MAX).contains(&length) || !is_near(label.first) {
        return None;
    }
    let start = offset + PREFIX;
    let sealed = bytes.get(start..start + length)?;
    (sum(&prefix[..LABEL], sealed) == prefix[LABEL..]).then_some((label, sealed))
}

/// The frame at `offset`; `None` at the end, or where it is torn or not ours.
pub(super) fn read(key: &StorageKey, spool: &[u8; 16], bytes: &[u8], offset: usize) -> Option<Frame> {
    let (label, sealed) = label(bytes, offset, |_| true)?;
    open(key, spool, label, sealed, offset)
}

fn open(key: &StorageKey, spool: &[u8; 16], label: Label, sealed: &[u8], offset: usize) -> Option<Frame> {
    let plain = key.open(&context(spool, label), sealed).ok()?;
    let (through, batch) = plain.split_first_chunk::<8>()?;
    let through = u64::from_le_bytes(*through);
    (through >= label.first).then(|| Frame {
        label,
        through,
        batch: Bytes::copy_from_slice(batch),
        end: offset + PREFIX + sealed.len(),
    })
}

/// The first frame behind damage, and where it starts: one with a number of `numbers`.
pub(super) fn find(
    key: &StorageKey,
    spool: &[u8; 16],
    bytes: &[u8],
    from: usize,
    numbers: std::ops::Range<u64>,
) -> Option<(usize, Frame)> {
    (from..bytes.len().saturating_sub(FRAME_MIN - 1)).find_map(|offset| {
        let (label, sealed) = label(bytes, offset, |first| numbers.contains(&first))?;
        Some((offset, open(key, spool, label, sealed, offset)?))
    })
}

/// How many records a file holds of whatever spool, by the labels of frames that are whole.
pub(super) fn weigh(bytes: &[u8]) -> u64 {
    let (mut weight, mut offset) = (0, 0);
    while offset < bytes.len() {
        match label(bytes, offset, |_| true) {
            Some((label, sealed)) => {
                weight += label.weight;
                offset += PREFIX + sealed.len();
            }
            None => offset += 1,
        }
    }
    weight
}
