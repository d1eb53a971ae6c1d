//! A map in 32 times 32 shared parts: a new version copies the parts that change and shares the rest.
//!
//! Knows nothing of what it holds. A look-up hashes once and allocates nothing; a change of one entry costs
//! one part and counting 64 references, whatever the size of the whole.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use super::prepared::{Prepared, hash};

/// Groups, and parts in each of them.
const WIDTH: usize = 32;

/// By hash, so that one hash finds both the part and the entry in it.
type Shard<K, V> = HashMap<u64, Slot<K, V>, Prepared>;
type Group<K, V> = [Arc<Shard<K, V>>; WIDTH];

/// The entries with one hash.
#[derive(Clone)]
enum Slot<K, V> {
    One((K, V)),
    /// As good as never.
    Several(Vec<(K, V)>),
}

impl<K, V> Slot<K, V> {
    fn entries(&self) -> &[(K, V)] {
        match self {
            Self::One(entry) => std::slice::from_ref(entry),
            Self::Several(entries) => entries,
        }
    }

    fn into_entries(self) -> Vec<(K, V)> {
        match self {
            Self::One(entry) => vec![entry],
            Self::Several(entries) => entries,
        }
    }
}

pub(crate) struct Shards<K, V>([Arc<Group<K, V>>; WIDTH]);

impl<K, V> Clone for Shards<K, V> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K, V> Default for Shards<K, V> {
    fn default() -> Self {
        let empty = Arc::new(HashMap::default());
        let group = Arc::new(std::array::from_fn(|_| Arc::clone(&empty)));
        Self(std::array::from_fn(|_| Arc::clone(&group)))
    }
}

impl<K: Hash + Eq + Clone, V: Clone> Shards<K, V> {
    pub(crate) fn get<Q>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let hash = hash(key);
        let (group, shard) = place(hash);
        let entries = self.0[group][shard].get(&hash)?.entries();
        entries.iter().find(|(held, _)| held.borrow() == key).map(|(_, value)| value)
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        let hash = hash(&key);
        let shard = self.shard(hash);
        let Some(slot) = shard.remove(&hash) else {
            shard.insert(hash, Slot::One((key, value)));
            return;
        };
        let mut entries = slot.into_entries();
        entries.retain(|(held, _)| *held != key);
        let slot = if entries.is_empty() {
            Slot::One((key, value))
        } else {
            entries.push((key, value));
            Slot::Several(entries)
        };
        shard.insert(hash, slot);
    }

    pub(crate) fn remove<Q>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        if self.get(key).is_none() {
            return;
        }
        let hash = hash(key);
        let shard = self.shard(hash);
        let mut entries = shard.remove(&hash).map(Slot::into_entries).unwrap_or_default();
        entries.retain(|(held, _)| held.borrow() != key);
        if !entries.is_empty() {
            shard.insert(hash, Slot::Several(entries));
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        let slots = self.parts().flat_map(|shard| shard.values());
        slots.flat_map(|slot| slot.entries().iter().map(|(key, value)| (key, value)))
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.iter().count()
    }

    /// The part that an entry with this hash is in, of this version alone.
    fn shard(&mut self, hash: u64) -> &mut Shard<K, V> {
        let (group, shard) = place(hash);
        Arc::make_mut(&mut Arc::make_mut(&mut self.0[group])[shard])
    }

    fn parts(&self) -> impl Iterator<Item = &Arc<Shard<K, V>>> {
        self.0.iter().flat_map(|group| group.iter())
    }

    #[cfg(test)]
    pub(crate) fn shared_with(&self, other: &Self) -> usize {
        self.parts().zip(other.parts()).filter(|(one, two)| Arc::ptr_eq(one, two)).count()
    }
}

fn place(hash: u64) -> (usize, usize) {
    // Bits that the map inside uses neither for its buckets nor for its tags.
    let bits = (hash >> 40) as usize;
    (bits / WIDTH % WIDTH, bits % WIDTH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_change_copies_one_part() {
        let mut one = Shards::default();
        for n in 0..5000 {
            one.insert(n, n);
        }
        let mut two = one.clone();
        two.insert(7, 0);
        two.remove(&5001);
        assert_eq!((one.get(&7), two.get(&7)), (Some(&7), Some(&0)));
        assert_eq!(one.shared_with(&two), WIDTH * WIDTH - 1);
        two.remove(&7);
        assert_eq!((one.len(), two.len()), (5000, 4999));
    }

    #[test]
    fn entries_with_one_hash_stay_apart() {
        #[derive(Debug, Clone, PartialEq, Eq)]
        struct Alike(u8);

        impl Hash for Alike {
            fn hash<H: std::hash::Hasher>(&self, _: &mut H) {}
        }

        let mut map = Shards::default();
        for n in 0..3 {
            map.insert(Alike(n), n);
        }
        map.insert(Alike(1), 9);
        assert_eq!([0, 1, 2, 3].map(|n| map.get(&Alike(n)).copied()), [Some(0), Some(9), Some(2), None]);
        map.remove(&Alike(3));
        map.remove(&Alike(0));
        assert_eq!((map.get(&Alike(0)), map.get(&Alike(1)), map.len()), (None, Some(&9), 2));
        map.remove(&Alike(1));
        map.remove(&Alike(2));
        assert_eq!((map.len(), map.parts().map(|shard| shard.len()).sum::<usize>()), (0, 0));
    }

    #[test]
    fn a_name_is_looked_up_without_making_a_string() {
        let mut map: Shards<Box<str>, u8> = Shards::default();
        map.insert("acme.echo".into(), 1);
        assert_eq!(map.get("acme.echo"), Some(&1));
        assert_eq!(map.get("acme"), None);
    }
}
