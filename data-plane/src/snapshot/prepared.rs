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

/// A text that knows its hash.
#[derive(Debug, Clone)]
pub(crate) struct HashedText {
    hash: u64,
    text: Arc<str>,
}

impl From<String> for HashedText {
    fn from(text: String) -> Self {
        Self { hash: hash(&*text), text: text.into() }
    }
}

impl PartialEq for HashedText {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.text, &other.text) || (self.hash == other.hash && self.text == other.text)
    }
}

impl Eq for HashedText {}

impl Hash for HashedText {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn equal_texts_are_one_key_wherever_they_lie() {
        let text = |text: &str| HashedText::from(text.to_owned());
        let mut map: HashMap<HashedText, u8, Prepared> = HashMap::default();
        map.insert(text("a"), 1);
        map.insert(text("a"), 2);
        map.insert(text("b"), 3);
        assert_eq!(
            (map.get(&text("a")), map.get(&text("b")), map.get(&text("c"))),
            (Some(&2), Some(&3), None)
        );
    }
}
