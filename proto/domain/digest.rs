//! The hash of a resource, and the additive hash of a view.
//!
//! A view's digest changes in O(changed): the element of each resource is added to or taken from a sum of
//! 1024 lanes of 16 bits (LtHash). The revision is not part of it, so equal content has an equal digest.

use crate::model::resource::Key;

const LANES: usize = 1024;

/// The most buckets that a view is compared by, as a power of two.
pub const BUCKETS_LOG2_MAX: u32 = 12;

/// BLAKE3-256 of a resource's payload.
pub type ResourceHash = [u8; 32];

/// BLAKE3-256 of the state of a [`ViewDigest`].
pub type Digest = [u8; 32];

/// The hash of a payload.
pub fn resource_hash(payload: &[u8]) -> ResourceHash {
    *blake3::hash(payload).as_bytes()
}

/// The additive hash of a set of resources.
#[derive(Clone, PartialEq, Eq)]
pub struct ViewDigest(Box<[u16; LANES]>);

impl Default for ViewDigest {
    fn default() -> Self {
        Self(Box::new([0; LANES]))
    }
}

impl ViewDigest {
    /// Takes a resource in. A set never holds one key twice; that is the caller's to keep.
    pub fn add(&mut self, key: &Key, hash: &ResourceHash) {
        for (lane, element) in self.0.iter_mut().zip(element(key, hash)) {
            *lane = lane.wrapping_add(element);
        }
    }

    /// Takes a resource out that was taken in before.
    pub fn remove(&mut self, key: &Key, hash: &ResourceHash) {
        for (lane, element) in self.0.iter_mut().zip(element(key, hash)) {
            *lane = lane.wrapping_sub(element);
        }
    }

    /// Takes in what another set holds, none of which is in this one.
    pub fn join(&mut self, other: &Self) {
        for (lane, element) in self.0.iter_mut().zip(other.0.iter()) {
            *lane = lane.wrapping_add(*element);
        }
    }

    /// The digest as it goes over the wire.
    pub fn digest(&self) -> Digest {
        let mut bytes = [0; LANES * 2];
        for (two, lane) in bytes.chunks_exact_mut(2).zip(self.0.iter()) {
            two.copy_from_slice(&lane.to_le_bytes());
        }
        *blake3::hash(&bytes).as_bytes()
    }
}

/// The bucket of a key among 2 to the power of `log2`, at most 12: where views are compared part by part.
pub fn bucket(key: &Key, log2: u32) -> u32 {
    let hash = blake3::derive_key("requestrocket view bucket 1", &key.digest_bytes());
    let first = u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]);
    first.checked_shr(32 - log2.min(BUCKETS_LOG2_MAX)).unwrap_or(0)
}

/// What a resource adds to the sum of its bucket. A hint where views differ; the digest is the proof.
pub fn locator(key: &Key, hash: &ResourceHash) -> u64 {
    let mut hasher = blake3::Hasher::new_derive_key("requestrocket view locator 1");
    hasher.update(&key.digest_bytes()).update(hash);
    let hash = hasher.finalize();
    u64::from_le_bytes(hash.as_bytes()[..8].try_into().expect("a hash has 32 bytes"))
}

fn element(key: &Key, hash: &ResourceHash) -> impl Iterator<Item = u16> {
    let mut hasher = blake3::Hasher::new_derive_key("requestrocket view element 1");
    hasher.update(&key.digest_bytes()).update(hash);
    let mut bytes = [0; LANES * 2];
    hasher.finalize_xof().fill(&mut bytes);
    (0..LANES).map(move |i| u16::from_le_bytes([bytes[2 * i], bytes[2 * i + 1]]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::{OrgId, TargetId};
    use crate::model::resource::ResourceId;

    fn key(n: u8) -> Key {
        Key::new(OrgId::from_random([1; 16]), ResourceId::Target(TargetId::from_random([n; 16])))
    }

    #[test]
    fn order_does_not_matter_and_removal_undoes_addition() {
        let (mut one, mut two) = (ViewDigest::default(), ViewDigest::default());
        one.add(&key(1), &[1; 32]);
        one.add(&key(2), &[2; 32]);
        two.add(&key(2), &[2; 32]);
        two.add(&key(3), &[3; 32]);
        two.add(&key(1), &[1; 32]);
        assert_ne!(one.digest(), two.digest());
        two.remove(&key(3), &[3; 32]);
        assert_eq!(one.digest(), two.digest());
    }

    #[test]
    fn parts_that_are_joined_are_the_whole_and_the_digest_is_that_of_ever() {
        let (mut one, mut two, mut whole) =
            (ViewDigest::default(), ViewDigest::default(), ViewDigest::default());
        one.add(&key(1), &[1; 32]);
        two.add(&key(2), &[2; 32]);
        whole.add(&key(1), &[1; 32]);
        whole.add(&key(2), &[2; 32]);
        one.join(&two);
        assert_eq!(one.digest(), whole.digest());
        // Lane by lane, little end first: what nodes have on disk was said so.
        let mut hasher = blake3::Hasher::new();
        for lane in whole.0.iter() {
            hasher.update(&lane.to_le_bytes());
        }
        assert_eq!(whole.digest(), *hasher.finalize().as_bytes());
    }

    #[test]
    fn a_finer_bucket_lies_in_the_coarser_one() {
        for n in 0..100 {
            assert_eq!(bucket(&key(n), 0), 0);
            assert_eq!(bucket(&key(n), 12) >> 4, bucket(&key(n), 8));
            assert_eq!(bucket(&key(n), 40), bucket(&key(n), BUCKETS_LOG2_MAX));
        }
        assert_ne!(locator(&key(1), &[1; 32]), locator(&key(1), &[2; 32]));
        assert_ne!(locator(&key(1), &[1; 32]), locator(&key(2), &[1; 32]));
    }

    #[test]
    fn swapping_the_contents_of_two_keys_changes_the_digest() {
        let (mut one, mut two) = (ViewDigest::default(), ViewDigest::default());
        one.add(&key(1), &[1; 32]);
        one.add(&key(2), &[2; 32]);
        two.add(&key(1), &[2; 32]);
        two.add(&key(2), &[1; 32]);
        assert_ne!(one.digest(), two.digest());
    }
}
