//! Hashes that are made once and used again: a request that looks something up pays for one at the most.
//!
//! Knows nothing of what is hashed. The keys are drawn once for the life of the process, so nobody can choose what
//! collides.

use std::hash::{BuildHasher as _, BuildHasherDefault, Hash, Hasher, RandomState};
use std::sync::{Arc, LazyLock};

static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// The hash of a key.
pub(crate) fn hash<Q: Hash + ?Sized>(key: &Q) -> u64 {
    KEYS.hash_one(key)
}

/// For maps by such a hash.
pub(crate) type Prepared = BuildHasherDefault<PreparedHasher>;

/// Takes a hash for what it is.
#[derive(Default)]
pub(crate) struct PreparedHasher(u64);

impl Hasher for PreparedHasher {
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = hash(&(self.0, bytes));
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// A key that knows its hash.
#[derive(Debug)]
pub(crate) struct Hashed<T> {
    hash: u64,
    key: Arc<T>,
}

impl<T: Hash> From<T> for Hashed<T> {
    fn from(key: T) -> Self {
        Self { hash: hash(&key), key: key.into() }
    }
}

impl<T> Hashed<T> {
    pub(crate) fn key(&self) -> &T {
        &self.key
    }
}

impl<T> Clone for Hashed<T> {
    fn clone(&self) -> Self {
        Self { hash: self.hash, key: Arc::clone(&self.key) }
    }
}

impl<T: PartialEq> PartialEq for Hashed<T> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.key, &other.key) || (self.hash == other.hash && self.key == other.key)
    }
}

impl<T: Eq> Eq for Hashed<T> {}

impl<T> Hash for Hashed<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn equal_keys_are_one_wherever_they_lie() {
        let key = |text: &str| Hashed::from(text.to_owned());
        let mut map: HashMap<Hashed<String>, u8, Prepared> = HashMap::default();
        map.insert(key("a"), 1);
        map.insert(key("a"), 2);
        map.insert(key("b"), 3);
        assert_eq!((map.get(&key("a")), map.get(&key("b")), map.get(&key("c"))), (Some(&2), Some(&3), None));
    }
}
