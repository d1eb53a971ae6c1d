//! What a light node holds: keys and hashes, without payloads, shared between all nodes that hold the same.
//!
//! A view is never changed: the next one shares with it whatever did not change. The digest of each is computed
//! once, however many nodes come to it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;
use prost::Message as _;
use rr_contract::digest::{self, BUCKETS_LOG2_MAX, Digest, ResourceHash, ViewDigest, resource_hash};
use rr_contract::model::resource::Key;
use rr_contract::wire::fleet;
use rr_contract::wire::fleet::{Mode, Why};

/// Buckets are kept in branches of so many, so that one change copies little.
const FAN: usize = 64;
/// Memories of views that nobody holds any more are thrown away from so many on.
const MEMORIES: usize = 4096;

/// A set of resources.
#[derive(Clone)]
pub struct View {
    branches: [Arc<Branch>; FAN],
    sum: ViewDigest,
    digest: Digest,
    count: u64,
}

type Branch = [Arc<Bucket>; FAN];

#[derive(Clone, Default)]
struct Bucket {
    held: BTreeMap<Key, ResourceHash>,
    sum: u64,
}

impl Default for View {
    fn default() -> Self {
        let bucket = Arc::<Bucket>::default();
        let branch: Arc<Branch> = Arc::new(std::array::from_fn(|_| Arc::clone(&bucket)));
        let sum = ViewDigest::default();
        let digest = sum.digest();
        Self { branches: std::array::from_fn(|_| Arc::clone(&branch)), sum, digest, count: 0 }
    }
}

impl View {
    /// Hash of the whole.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// How many resources.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Hash of a resource.
    pub fn get(&self, key: &Key) -> Option<&ResourceHash> {
        self.bucket(digest::bucket(key, BUCKETS_LOG2_MAX)).held.get(key)
    }

    /// Every resource, by bucket.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, &ResourceHash)> {
        self.branches.iter().flat_map(|branch| branch.iter()).flat_map(|bucket| &bucket.held)
    }

    /// The view after some changes; `None` removes.
    #[must_use]
    pub fn with(&self, changes: &[(Key, Option<ResourceHash>)]) -> Self {
        let mut next = self.clone();
        for (key, hash) in changes {
            let number = digest::bucket(key, BUCKETS_LOG2_MAX) as usize;
            let branch = Arc::make_mut(&mut next.branches[number / FAN]);
            let bucket = Arc::make_mut(&mut branch[number % FAN]);
            let before = match hash {
                Some(hash) => bucket.held.insert(*key, *hash),
                None => bucket.held.remove(key),
            };
            if let Some(before) = before {
                bucket.sum = bucket.sum.wrapping_sub(digest::locator(key, &before));
                next.sum.remove(key, &before);
                next.count -= 1;
            }
            if let Some(hash) = hash {
                bucket.sum = bucket.sum.wrapping_add(digest::locator(key, hash));
                next.sum.add(key, hash);
                next.count += 1;
            }
        }
        next.digest = next.sum.digest();
        next
    }

    /// The sum of each of 2 to the power of `log2` buckets.
    pub fn sums(&self, log2: u32) -> Vec<u64> {
        let log2 = log2.min(BUCKETS_LOG2_MAX);
        let mut sums = vec![0_u64; 1 << log2];
        for number in 0..(FAN * FAN) as u32 {
            // A finer bucket lies in the coarser one.
            let sum = &mut sums[(number >> (BUCKETS_LOG2_MAX - log2)) as usize];
            *sum = sum.wrapping_add(self.bucket(number).sum);
        }
        sums
    }

    /// What is in one of 2 to the power of `log2` buckets.
    pub fn list(&self, log2: u32, bucket: u32) -> Vec<fleet::Held> {
        let shift = BUCKETS_LOG2_MAX - log2.min(BUCKETS_LOG2_MAX);
        let finest = (0..(FAN * FAN) as u32).filter(|number| number >> shift == bucket);
        finest
            .flat_map(|number| &self.bucket(number).held)
            .map(|(key, hash)| fleet::Held { key: Some(key.to_wire()), hash: hash.to_vec() })
            .collect()
    }

    fn bucket(&self, number: u32) -> &Bucket {
        &self.branches[number as usize / FAN][number as usize % FAN]
    }
}

/// What a transaction comes to.
#[derive(Clone)]
pub(super) struct Step {
    pub(super) view: Arc<View>,
    pub(super) upserts: u64,
    pub(super) removals: u64,
    /// Bytes of payload.
    pub(super) payload: u64,
}

type Changes = Vec<(Key, Option<ResourceHash>)>;

/// Every view that some node holds, so that no two hold the same twice.
#[derive(Default)]
pub struct Views(Mutex<Memory>);

#[derive(Default)]
struct Memory {
    by_digest: HashMap<Digest, Weak<View>>,
    /// Where a transaction leads from a view: the same for each node that it is sent to.
    steps: HashMap<ResourceHash, (Weak<View>, [u64; 3])>,
}

impl Views {
    /// The shared one of a view.
    pub(super) fn share(&self, view: View) -> Arc<View> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).share(view)
    }

    /// What a node comes to that takes these chunks in. The memory of a step is keyed by all that it depends on.
    pub(super) fn step(&self, from: &Arc<View>, mode: Mode, bodies: &[Bytes]) -> Result<Step, Why> {
        let mut route = Vec::with_capacity(33 + 32 * bodies.len());
        route.push(mode as u8);
        route.extend(if mode == Mode::Snapshot { [0; 32] } else { *from.digest() });
        bodies.iter().for_each(|body| route.extend(resource_hash(body)));
        let route = resource_hash(&route);
        let mut memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((view, [upserts, removals, payload])) = memory.steps.get(&route)
            && let Some(view) = view.upgrade()
        {
            return Ok(Step { view, upserts: *upserts, removals: *removals, payload: *payload });
        }
        let (changes, payload) = read(bodies)?;
        let removals = changes.iter().filter(|(_, hash)| hash.is_none()).count() as u64;
        let upserts = changes.len() as u64 - removals;
        let empty = View::default();
        let base = if mode == Mode::Snapshot { &empty } else { &**from };
        let view = memory.share(base.with(&changes));
        if memory.steps.len() > MEMORIES {
            memory.steps.retain(|_, (view, _)| view.strong_count() > 0);
        }
        memory.steps.insert(route, (Arc::downgrade(&view), [upserts, removals, payload]));
        Ok(Step { view, upserts, removals, payload })
    }
}

impl Memory {
    fn share(&mut self, view: View) -> Arc<View> {
        if let Some(shared) = self.by_digest.get(&view.digest).and_then(Weak::upgrade) {
            return shared;
        }
        let shared = Arc::new(view);
        if self.by_digest.len() > MEMORIES {
            self.by_digest.retain(|_, view| view.strong_count() > 0);
        }
        self.by_digest.insert(shared.digest, Arc::downgrade(&shared));
        shared
    }
}

fn read(bodies: &[Bytes]) -> Result<(Changes, u64), Why> {
    let (mut changes, mut payload) = (Changes::new(), 0);
    for body in bodies {
        let body = fleet::ChunkBody::decode(body.clone()).map_err(|_| Why::Transport)?;
        for resource in body.upserts {
            let key = resource.key.as_ref().and_then(|key| Key::try_from(key).ok()).ok_or(Why::Transport)?;
            let hash = resource_hash(&resource.payload);
            // Left out of changes: the digest proves it.
            if !resource.hash.is_empty() && hash[..] != resource.hash {
                return Err(Why::Transport);
            }
            payload += resource.payload.len() as u64;
            changes.push((key, Some(hash)));
        }
        for removal in &body.removals {
            changes.push((Key::try_from(removal).map_err(|_| Why::Transport)?, None));
        }
    }
    Ok((changes, payload))
}

#[cfg(test)]
mod tests {
    use rr_contract::model::id::{OrgId, TargetId};
    use rr_contract::model::resource::ResourceId;

    use super::*;

    fn key(n: u8) -> Key {
        Key::new(OrgId::from_random([1; 16]), ResourceId::Target(TargetId::from_random([n; 16])))
    }

    fn view(keys: std::ops::Range<u8>) -> View {
        View::default().with(&keys.map(|n| (key(n), Some([n; 32]))).collect::<Vec<_>>())
    }

    #[test]
    fn a_view_has_the_digest_and_the_sums_of_what_it_holds_whatever_led_to_it() {
        let straight = view(0..50);
        let detour = view(0..100)
            .with(&(50..100).map(|n| (key(n), None)).collect::<Vec<_>>())
            .with(&[(key(3), Some([99; 32]))])
            .with(&[(key(3), Some([3; 32])), (key(200), None)]);
        assert_eq!((straight.digest(), straight.count()), (detour.digest(), 50));
        for log2 in [0, 5, 12] {
            assert_eq!(straight.sums(log2), detour.sums(log2));
            let listed: usize = (0..1 << log2).map(|bucket| detour.list(log2, bucket).len()).sum();
            assert_eq!(listed, 50);
        }
        let mut sum = ViewDigest::default();
        straight.iter().for_each(|(key, hash)| sum.add(key, hash));
        assert_eq!(sum.digest(), *straight.digest());
        assert_eq!(straight.get(&key(7)), Some(&[7; 32]));
    }

    #[test]
    fn nodes_that_come_to_the_same_digest_share_one_view() {
        let views = Views::default();
        let (one, two) = (views.share(view(0..9)), views.share(view(0..9)));
        assert!(Arc::ptr_eq(&one, &two));
        let payload = b"payload";
        let body = fleet::ChunkBody {
            upserts: vec![fleet::Resource {
                key: Some(key(9).to_wire()),
                hash: resource_hash(payload).to_vec(),
                payload: payload.to_vec().into(),
                ..Default::default()
            }],
            removals: vec![key(0).to_wire()],
        };
        let bodies = [Bytes::from(body.encode_to_vec())];
        let first = views.step(&one, Mode::Delta, &bodies).expect("fits");
        let second = views.step(&two, Mode::Delta, &bodies).expect("fits");
        assert!(Arc::ptr_eq(&first.view, &second.view));
        assert_eq!((first.upserts, first.removals, first.view.count()), (1, 1, 9));
        let whole = views.step(&one, Mode::Snapshot, &bodies).expect("fits");
        assert_eq!(whole.view.count(), 1, "what is not in it is gone");
        let mut damaged = body;
        damaged.upserts[0].hash[0] ^= 1;
        let bodies = [Bytes::from(damaged.encode_to_vec())];
        assert_eq!(views.step(&one, Mode::Delta, &bodies).err(), Some(Why::Transport));
    }
}
