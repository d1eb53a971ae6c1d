//! A clock that follows the paused one, and entropy out of a seed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use rr_contract::seam::{Clock, Entropy, RealDisk, Seams};
use tokio::time::Instant;

struct Paused {
    began: Instant,
}

impl Clock for Paused {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000) + self.began.elapsed()
    }
}

struct Seeded {
    seed: [u8; 32],
    drawn: AtomicU64,
}

impl Entropy for Seeded {
    fn fill(&self, bytes: &mut [u8]) {
        let drawn = self.drawn.fetch_add(1, Ordering::Relaxed);
        let mut hasher = blake3::Hasher::new_keyed(&self.seed);
        hasher.update(&drawn.to_le_bytes()).finalize_xof().fill(bytes);
    }
}

/// Those of one node's sessions. Nothing there is read or written.
pub(super) fn simulated(seed: u64, node: u8) -> Seams {
    let seed = *blake3::hash(&[&seed.to_le_bytes()[..], &[node]].concat()).as_bytes();
    Seams {
        clock: Arc::new(Paused { began: Instant::now() }),
        entropy: Arc::new(Seeded { seed, drawn: AtomicU64::new(0) }),
        disk: Arc::new(RealDisk),
    }
}
