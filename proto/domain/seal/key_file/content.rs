//! What is sealed in a key file, as bytes.
//!
//! Seals nothing and opens nothing. Read whole: what a later version adds may leave somebody out, so a file with something
//! unknown in it is not read by half.

use ed25519_dalek::SigningKey;
use prost::Message as _;
use zeroize::{Zeroize as _, Zeroizing};

use crate::model::id::RegionId;
use crate::secret::Secret;

use super::super::OpeningKey;
use super::super::region_key::{Excluded, RegionKeys};

#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
struct Content {
    #[prost(bytes = "vec", tag = "1")]
    signing: Vec<u8>,
    #[prost(message, repeated, tag = "2")]
    epochs: Vec<Epoch>,
    #[prost(bytes = "vec", repeated, tag = "3")]
    excluded_nodes: Vec<Vec<u8>>,
    #[prost(string, repeated, tag = "4")]
    excluded_tokens: Vec<String>,
    #[prost(uint64, tag = "5")]
    attested: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
struct Epoch {
    #[prost(uint32, tag = "1")]
    epoch: u32,
    #[prost(bytes = "vec", tag = "2")]
    opening: Vec<u8>,
}

impl Drop for Content {
    fn drop(&mut self) {
        self.signing.zeroize();
    }
}

impl Drop for Epoch {
    fn drop(&mut self) {
        self.opening.zeroize();
    }
}

pub(super) fn encode(keys: &RegionKeys) -> Zeroizing<Vec<u8>> {
    let epochs = keys
        .epochs
        .iter()
        .map(|(epoch, opening)| Epoch { epoch: *epoch, opening: opening.to_secret().expose().to_vec() });
    let content = Content {
        signing: keys.signing.as_bytes().to_vec(),
        epochs: epochs.collect(),
        excluded_nodes: keys.excluded.nodes.iter().map(|key| key.to_vec()).collect(),
        excluded_tokens: keys.excluded.tokens.iter().map(ToString::to_string).collect(),
        attested: keys.attested,
    };
    // Sized once: a buffer that grows leaves its bytes behind.
    Zeroizing::new(content.encode_to_vec())
}

pub(super) fn decode(region: RegionId, plain: &[u8]) -> Option<RegionKeys> {
    let content = Content::decode(plain).ok()?;
    if content.encoded_len() != plain.len() {
        return None;
    }
    let epochs = content.epochs.iter().map(|it| Some((it.epoch, opening(&it.opening)?)));
    let epochs: Vec<_> = epochs.collect::<Option<_>>()?;
    if epochs.is_empty() || epochs[0].0 == 0 || !epochs.is_sorted_by(|a, b| a.0 < b.0) {
        return None;
    }
    let nodes = content.excluded_nodes.iter().map(|key| key.as_slice().try_into().ok());
    let tokens = content.excluded_tokens.iter().map(|id| id.parse().ok());
    Some(RegionKeys {
        region,
        signing: signing(&content.signing)?,
        epochs,
        excluded: Excluded { nodes: nodes.collect::<Option<_>>()?, tokens: tokens.collect::<Option<_>>()? },
        attested: content.attested,
    })
}

/// Of the first format: one key to open with, one to sign with.
pub(super) fn decode_first(region: RegionId, epoch: u32, plain: &[u8]) -> Option<RegionKeys> {
    let (first, second) = plain.split_at_checked(32)?;
    Some(RegionKeys {
        region,
        signing: signing(second)?,
        epochs: vec![(epoch, opening(first)?)],
        excluded: Excluded::default(),
        attested: 0,
    })
}

fn opening(bytes: &[u8]) -> Option<OpeningKey> {
    OpeningKey::try_from(&Secret::new(bytes.to_vec())).ok()
}

fn signing(bytes: &[u8]) -> Option<SigningKey> {
    let bytes: Zeroizing<[u8; 32]> = Zeroizing::new(bytes.try_into().ok()?);
    Some(SigningKey::from_bytes(&bytes))
}
