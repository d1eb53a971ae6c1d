//! Frames: length, CRC-32, then a sealed kind and body.
//!
//! The seal binds a frame to its file, its place in it and the frame before it. The CRC tells damage from a
//! wrong key, for people; nothing rests on it.

use rr_contract::model::id::CredentialId;
use rr_contract::seal::storage::{OVERHEAD, StorageKey};
use rr_contract::seam::Entropy;
use zeroize::Zeroizing;

const MAGIC: &[u8; 8] = b"RRLKG\0\0\x01";
const HEADER: usize = 24;
const PREFIX: usize = 8;
const FRAME_MAX: usize = 16 * 1024 * 1024;
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
}

impl TryFrom<u8> for Kind {
    type Error = ();

    fn try_from(byte: u8) -> Result<Self, ()> {
        [Self::Versions, Self::Kept, Self::Changes, Self::Commit]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
            .ok_or(())
    }
}

/// The highest version that was had of each credential.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct VersionList {
    #[prost(bytes = "vec", repeated, tag = "1")]
    ids: Vec<Vec<u8>>,
    #[prost(uint64, repeated, tag = "2")]
    versions: Vec<u64>,
}

impl VersionList {
    pub(super) fn of<'a>(versions: impl Iterator<Item = (&'a CredentialId, u64)>) -> Self {
        let (ids, versions) = versions.map(|(id, version)| (id.as_bytes().to_vec(), version)).unzip();
        Self { ids, versions }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (CredentialId, u64)> + '_ {
        let id = |bytes: &Vec<u8>| bytes.as_slice().try_into().ok().map(CredentialId::from_random);
        self.ids.iter().zip(&self.versions).filter_map(move |(bytes, version)| Some((id(bytes)?, *version)))
    }
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

/// Reads frames until one is torn or does not belong.
pub(super) struct Frames<'a> {
    bytes: &'a [u8],
    key: &'a StorageKey,
    /// Where the next frame starts.
    pub(super) offset: usize,
    pub(super) chain: Chain,
}

impl<'a> Frames<'a> {
    /// `None`: not one of our files.
    pub(super) fn of(bytes: &'a [u8], key: &'a StorageKey) -> Option<Self> {
        let header = bytes.get(..HEADER)?;
        let file = header.strip_prefix(MAGIC)?.try_into().ok()?;
        Some(Self { bytes, key, offset: HEADER, chain: Chain::start(file) })
    }

    /// Whether a whole frame, of whatever place, comes behind: then this is not where writing was cut off.
    pub(super) fn is_followed(&self) -> bool {
        let mut work = SEARCH_MAX;
        (self.offset..self.bytes.len()).any(|offset| {
            let Some((sealed, crc)) = Self::frame_at(self.bytes, offset) else { return false };
            let Some(left) = work.checked_sub(sealed.len()) else { return false };
            work = left;
            crc32fast::hash(sealed).to_le_bytes() == crc
        })
    }

    fn frame_at(bytes: &[u8], offset: usize) -> Option<(&[u8], &[u8])> {
        let prefix = bytes.get(offset..offset + PREFIX)?;
        let (length, crc) = prefix.split_at(4);
        let length = u32::from_le_bytes(length.try_into().ok()?) as usize;
        if !(OVERHEAD..=FRAME_MAX).contains(&length) {
            return None;
        }
        let start = offset + PREFIX;
        Some((bytes.get(start..start + length)?, crc))
    }

    /// The next frame; `None` at the end, wherever and why ever that is.
    pub(super) fn next(&mut self) -> Option<(Kind, Zeroizing<Vec<u8>>)> {
        let (sealed, crc) = Self::frame_at(self.bytes, self.offset)?;
        if crc32fast::hash(sealed).to_le_bytes() != crc {
            return None;
        }
        let mut plain = self.key.open(&self.chain.context(), sealed).ok()?;
        let kind = Kind::try_from(*plain.first()?).ok()?;
        plain.remove(0);
        self.chain.step(sealed);
        self.offset += PREFIX + sealed.len();
        Some((kind, plain))
    }
}
