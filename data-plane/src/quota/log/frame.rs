//! What the file of counts is made of: a magic number, then frames of length, CRC-32, time and entries.
//!
//! An entry says what a counter has, not by how much it changed, so that a later entry of the same counter stands for
//! all before it, and a frame that is damaged takes nothing along but itself. Not encrypted: there is nothing in it
//! but ids, addresses, hashes of holders and numbers. The invariant: what is read back was written, entry by entry.

use rr_contract::model::id::{CredentialId, MeterId, ProxyId};

use crate::holder::Holder;
use crate::quota::cell::Counted;
use crate::quota::changed::{Address, Id, Saved};
use crate::quota::moment::Term;

/// What a file begins with.
pub(super) const MAGIC: [u8; 8] = *b"rrquota1";
const PREFIX: usize = 8;
const TIME: usize = 8;
/// No frame is longer.
const BODY_MAX: usize = 256 * 1024;
/// How many entries go into a frame, of the longest kind.
pub(super) const ENTRIES: usize = 4096;

const PROXY: u8 = 1;
const METER: u8 = 2;
const CALLER: u8 = 3;
const ADDRESS: u8 = 4;
const OTHER_CALLERS: u8 = 5;
const OTHER_ADDRESSES: u8 = 6;
const HOLDER: u8 = 7;
const OTHER_HOLDERS: u8 = 8;

/// Appends a frame.
pub(super) fn write(seconds: u64, entries: &[(Id, Saved)], out: &mut Vec<u8>) {
    let begin = out.len();
    out.extend_from_slice(&[0; PREFIX]);
    out.extend_from_slice(&seconds.to_le_bytes());
    for (id, saved) in entries {
        write_entry(id, saved, out);
    }
    let (prefix, body) = out[begin..].split_at_mut(PREFIX);
    debug_assert!(body.len() <= BODY_MAX, "a frame holds no more than {ENTRIES} entries");
    prefix[..4].copy_from_slice(&(body.len() as u32).to_le_bytes());
    prefix[4..].copy_from_slice(&crc32fast::hash(body).to_le_bytes());
}

fn write_entry(id: &Id, saved: &Saved, out: &mut Vec<u8>) {
    let (kind, first, second): (u8, _, Option<&[u8; 16]>) = match id {
        Id::Proxy(proxy) => (PROXY, proxy.as_bytes(), None),
        Id::Meter(meter) => (METER, meter.as_bytes(), None),
        Id::Caller(proxy, caller) => (CALLER, proxy.as_bytes(), Some(caller.as_bytes())),
        Id::Holder(proxy, holder) => (HOLDER, proxy.as_bytes(), Some(holder.as_bytes())),
        Id::Address(proxy, Address(bytes)) => (ADDRESS, proxy.as_bytes(), Some(bytes)),
        Id::OtherCallers(proxy) => (OTHER_CALLERS, proxy.as_bytes(), None),
        Id::OtherHolders(proxy) => (OTHER_HOLDERS, proxy.as_bytes(), None),
        Id::OtherAddresses(proxy) => (OTHER_ADDRESSES, proxy.as_bytes(), None),
    };
    out.push(kind);
    out.extend_from_slice(first);
    out.extend_from_slice(second.map_or(&[], |bytes| &bytes[..]));
    for counted in [Some(saved.day), saved.month].into_iter().flatten() {
        out.extend_from_slice(&counted.term.index().to_le_bytes());
        out.extend_from_slice(&counted.count.to_le_bytes());
    }
}

/// The content of a frame, and where the next one starts.
pub(super) struct Frame {
    pub(super) seconds: u64,
    pub(super) entries: Vec<(Id, Saved)>,
    pub(super) end: usize,
}

/// The frame at `offset`; `None` where there is none, or none that is whole.
pub(super) fn read(bytes: &[u8], offset: usize) -> Option<Frame> {
    let prefix = bytes.get(offset..offset + PREFIX)?;
    let length = u32::from_le_bytes(*prefix.first_chunk()?) as usize;
    if !(TIME..=BODY_MAX).contains(&length) {
        return None;
    }
    let start = offset + PREFIX;
    let body = bytes.get(start..start + length)?;
    if crc32fast::hash(body).to_le_bytes() != prefix[4..] {
        return None;
    }
    let mut rest = body;
    let seconds = u64::from_le_bytes(take(&mut rest)?);
    let mut entries = Vec::new();
    while !rest.is_empty() {
        entries.push(read_entry(&mut rest)?);
    }
    Some(Frame { seconds, entries, end: start + length })
}

fn read_entry(rest: &mut &[u8]) -> Option<(Id, Saved)> {
    let [kind] = take(rest)?;
    let first = take(rest)?;
    let proxy = ProxyId::from_random(first);
    let id = match kind {
        PROXY => Id::Proxy(proxy),
        METER => Id::Meter(MeterId::from_random(first)),
        CALLER => Id::Caller(proxy, CredentialId::from_random(take(rest)?)),
        HOLDER => Id::Holder(proxy, Holder::from_bytes(take(rest)?)),
        ADDRESS => Id::Address(proxy, Address(take(rest)?)),
        OTHER_CALLERS => Id::OtherCallers(proxy),
        OTHER_HOLDERS => Id::OtherHolders(proxy),
        OTHER_ADDRESSES => Id::OtherAddresses(proxy),
        _ => return None,
    };
    let day = read_counted(rest)?;
    let month = match id {
        Id::Meter(_) => Some(read_counted(rest)?),
        _ => None,
    };
    Some((id, Saved { day, month }))
}

fn read_counted(rest: &mut &[u8]) -> Option<Counted> {
    let term = Term::new(0, u32::from_le_bytes(take(rest)?));
    Some(Counted { term, count: u64::from_le_bytes(take(rest)?) })
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, left) = rest.split_first_chunk()?;
    *rest = left;
    Some(*taken)
}
