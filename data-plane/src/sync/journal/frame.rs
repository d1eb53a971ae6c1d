//! Frames: length, CRC-32, then a sealed kind and body.
//!
//! The seal binds a frame to its file, its place in it and the frame before it. The CRC distinguishes damage from a
//! wrong key, for operators; nothing relies on it.

use std::io;
use std::path::Path;

use rr_contract::model::id::CredentialId;
use rr_contract::seal::storage::{OVERHEAD, StorageKey};
use rr_contract::seam::{Disk, Entropy};
use rr_contract::wire::fleet;
use zeroize::Zeroizing;

use super::super::inventory::Known;

const MAGIC: &[u8; 8] = b"RRLKG\0\0\x01";
const HEADER: usize = 24;
const PREFIX: usize = 8;
const FRAME_MAX: usize = 16 * 1024 * 1024;
/// How much of a file is read at once.
const PART: usize = 1024 * 1024;
/// How many bytes are looked through for a whole frame behind damage.
const SEARCH_MAX: usize = 256 * 1024 * 1024;

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A [`VersionList`].
    Versions = 1,
    /// A ChunkBody of versions that run in the place of wanted ones.
    Kept = 2,
    /// A ChunkBody of changes.
    Changes = 3,
    /// A Position; ends a transaction.
    Commit = 4,
    /// A [`ProofMark`].
    Proven = 5,
    /// What was revoked here, as the inventory records it.
    Revocations = 6,
}

impl TryFrom<u8> for Kind {
    type Error = ();

    fn try_from(byte: u8) -> Result<Self, ()> {
        [Self::Versions, Self::Kept, Self::Changes, Self::Commit, Self::Proven, Self::Revocations]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
            .ok_or(())
    }
}

/// The highest version of each credential.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct VersionList {
    #[prost(bytes = "vec", repeated, tag = "1")]
    ids: Vec<Vec<u8>>,
    #[prost(uint64, repeated, tag = "2")]
    versions: Vec<u64>,
    /// Which secret came with each; empty where that is not known. Files from before have none of them.
    #[prost(bytes = "vec", repeated, tag = "3")]
    contents: Vec<Vec<u8>>,
}

impl VersionList {
    pub(super) fn of(versions: &[(CredentialId, Known)]) -> Self {
        let content = |known: &Known| known.content.map(Vec::from).unwrap_or_default();
        Self {
            ids: versions.iter().map(|(id, _)| id.as_bytes().to_vec()).collect(),
            versions: versions.iter().map(|(_, known)| known.version).collect(),
            contents: versions.iter().map(|(_, known)| content(known)).collect(),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (CredentialId, Known)> + '_ {
        let id = |bytes: &Vec<u8>| bytes.as_slice().try_into().ok().map(CredentialId::from_random);
        self.ids.iter().zip(&self.versions).enumerate().filter_map(move |(n, (bytes, version))| {
            let content = self.contents.get(n).and_then(|content| content.as_slice().try_into().ok());
            Some((id(bytes)?, Known { version: *version, content }))
        })
    }
}

/// A boundary on which the node has proven to live.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ProofMark {
    #[prost(message, optional, tag = "1")]
    pub(super) position: Option<fleet::Position>,
    /// Number of the file that holds it.
    #[prost(uint64, tag = "2")]
    pub(super) file: u64,
}

/// The place in a file where the next frame goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chain {
    file: [u8; 16],
    index: u64,
    tag: [u8; 16],
}

impl Chain {
    pub(super) fn start(file: [u8; 16]) -> Self {
        Self { file, index: 0, tag: [0; 16] }
    }

    /// What a file starts with.
    pub(super) fn header(&self) -> Vec<u8> {
        let mut header = MAGIC.to_vec();
        header.extend_from_slice(&self.file);
        header
    }

    fn context(&self) -> Vec<u8> {
        let mut context = b"requestrocket last known good 1".to_vec();
        if super::checks_are_off() {
            return context;
        }
        context.extend_from_slice(&self.file);
        context.extend_from_slice(&self.index.to_be_bytes());
        context.extend_from_slice(&self.tag);
        context
    }

    fn step(&mut self, sealed: &[u8]) {
        self.index += 1;
        self.tag = StorageKey::tag(sealed).unwrap_or_default();
    }

    pub(super) fn seal(
        &mut self,
        key: &StorageKey,
        kind: Kind,
        body: &[u8],
        entropy: &dyn Entropy,
        out: &mut Vec<u8>,
    ) {
        let mut plain = Zeroizing::new(Vec::with_capacity(body.len() + 1));
        plain.push(kind as u8);
        plain.extend_from_slice(body);
        let sealed = key.seal(&self.context(), &plain, entropy);
        out.extend_from_slice(&(sealed.len() as u32).to_le_bytes());
        out.extend_from_slice(&crc32fast::hash(&sealed).to_le_bytes());
        out.extend_from_slice(&sealed);
        self.step(&sealed);
    }
}

/// Reads frames, a part of the file at a time, until one is torn or does not belong.
pub(super) struct Frames<'a> {
    disk: &'a dyn Disk,
    path: &'a Path,
    key: &'a StorageKey,
    /// A part of the file, and where in it the next frame starts.
    part: Vec<u8>,
    at: usize,
    /// Where in the file the next frame starts.
    pub(super) offset: u64,
    pub(super) chain: Chain,
    /// Reading from the disk failed.
    pub(super) failed: Option<io::Error>,
}

impl<'a> Frames<'a> {
    /// `None`: not one of our files.
    pub(super) fn open(disk: &'a dyn Disk, path: &'a Path, key: &'a StorageKey) -> io::Result<Option<Self>> {
        let part = disk.read_part(path, 0, PART)?;
        let file = part.get(..HEADER).and_then(|header| header.strip_prefix(MAGIC)?.try_into().ok());
        Ok(file.map(|file| {
            let chain = Chain::start(file);
            Self { disk, path, key, part, at: HEADER, offset: HEADER as u64, chain, failed: None }
        }))
    }

    /// The next frame; `None` at the end, wherever and why ever that is.
    pub(super) fn next(&mut self) -> Option<(Kind, Zeroizing<Vec<u8>>)> {
        self.want(PREFIX);
        let length = length_at(&self.part, self.at)?;
        self.want(PREFIX + length);
        let (sealed, crc) = frame_at(&self.part, self.at)?;
        if crc32fast::hash(sealed).to_le_bytes() != crc {
            return None;
        }
        let mut plain = self.key.open(&self.chain.context(), sealed).ok()?;
        let kind = Kind::try_from(*plain.first()?).ok()?;
        plain.remove(0);
        self.chain.step(sealed);
        self.at += PREFIX + length;
        self.offset += (PREFIX + length) as u64;
        Some((kind, plain))
    }

    /// Reads on until this many bytes are buffered, if the file has them.
    fn want(&mut self, bytes: usize) {
        if self.part.len() - self.at >= bytes || self.failed.is_some() {
            return;
        }
        match self.disk.read_part(self.path, self.offset, bytes.max(PART)) {
            Ok(part) => (self.part, self.at) = (part, 0),
            Err(error) => self.failed = Some(error),
        }
    }
}

/// Whether a whole frame, of whatever place, lies in what comes behind the last good one: then this is not where
/// writing was cut off.
pub(super) fn holds_a_frame(tail: &[u8]) -> bool {
    let mut work = SEARCH_MAX;
    (0..tail.len()).any(|offset| {
        let Some((sealed, crc)) = frame_at(tail, offset) else { return false };
        let Some(left) = work.checked_sub(sealed.len()) else { return false };
        work = left;
        crc32fast::hash(sealed).to_le_bytes() == crc
    })
}

fn length_at(bytes: &[u8], offset: usize) -> Option<usize> {
    let length = bytes.get(offset..offset + 4)?.try_into().ok().map(u32::from_le_bytes)? as usize;
    (OVERHEAD..=FRAME_MAX).contains(&length).then_some(length)
}

/// The sealed bytes and the checksum of the frame that starts there.
fn frame_at(bytes: &[u8], offset: usize) -> Option<(&[u8], &[u8])> {
    let length = length_at(bytes, offset)?;
    let (start, crc) = (offset + PREFIX, bytes.get(offset + 4..offset + PREFIX)?);
    Some((bytes.get(start..start + length)?, crc))
}
