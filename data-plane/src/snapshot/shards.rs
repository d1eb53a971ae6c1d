//! A map in 32 times 32 shared parts: a new version copies the parts that change and shares the rest.
//!
//! Knows nothing of what it holds. A look-up hashes once and allocates nothing; a change of one entry costs
//! one part and counting 64 references, whatever the size of the whole.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};
use std::sync::{Arc, LazyLock};

use std::hash::RandomState;

/// Groups, and parts in each of them.
const WIDTH: usize = 32;

/// One key for the life of the process: parts of two versions must agree.
static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);

type Shard<K, V> = HashMap<K, V, RandomState>;
type Group<K, V> = [Arc<Shard<K, V>>; WIDTH];

pub(crate) struct Shards<K, V>([Arc<Group<K, V>>; WIDTH]);

impl<K, V> Clone for Shards<K, V> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K, V> Default for Shards<K, V> {
    fn default() -> Self {
        let empty = Arc::new(HashMap::with_hasher(KEYS.clone()));
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
        let (group, shard) = Self::place(key);
        self.0[group][shard].get(key)
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        let (group, shard) = Self::place(&key);
        Arc::make_mut(&mut Arc::make_mut(&mut self.0[group])[shard]).insert(key, value);
    }

    pub(crate) fn remove<Q>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let (group, shard) = Self::place(key);
        if self.0[group][shard].contains_key(key) {
            Arc::make_mut(&mut Arc::make_mut(&mut self.0[group])[shard]).remove(key);
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.parts().flat_map(|shard| shard.iter())
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.parts().map(|shard| shard.len()).sum()
    }

    fn place<Q: Hash + ?Sized>(key: &Q) -> (usize, usize) {
        // Bits that the map inside uses neither for its buckets nor for its tags.
        let bits = (KEYS.hash_one(key) >> 40) as usize;
        (bits / WIDTH % WIDTH, bits % WIDTH)
    }

    fn parts(&self) -> impl Iterator<Item = &Arc<Shard<K, V>>> {
        self.0.iter().flat_map(|group| group.iter())
    }

    #[cfg(test)]
    pub(crate) fn shared_with(&self, other: &Self) -> usize {
        self.parts().zip(other.parts()).filter(|(one, two)| Arc::ptr_eq(one, two)).count()
    }
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
    fn a_name_is_looked_up_without_making_a_string() {
        let mut map: Shards<Box<str>, u8> = Shards::default();
        map.insert("acme.echo".into(), 1);
        assert_eq!(map.get("acme.echo"), Some(&1));
        assert_eq!(map.get("acme"), None);
    }
}
