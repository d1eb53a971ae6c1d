//! Time, randomness and files as small traits, with the real ones beside them.
//!
//! Whatever of ours reads a wall clock, draws random bytes or touches a file takes one of these, so that a
//! simulation can put its own in place. Timers are tokio's, whose clock tests can pause; sockets are traits
//! of the plane that opens them. Key encapsulation draws from the system: its
//! randomness must never be a test's.

use std::sync::Arc;
use std::time::SystemTime;

pub mod disk;
mod exposure;
mod volatile;

pub use disk::{AbortMark, Disk, DiskFile, RealDisk};
pub use exposure::Exposure;
pub use volatile::Volatile;

/// The wall clock.
pub trait Clock: Send + Sync + 'static {
    /// The time of day, which may jump.
    fn now(&self) -> SystemTime;
}

/// Random bytes fit for keys.
pub trait Entropy: Send + Sync + 'static {
    /// Fills `bytes`.
    fn fill(&self, bytes: &mut [u8]);
}

/// Draws a fixed number of bytes.
pub fn draw<const N: usize>(entropy: &dyn Entropy) -> [u8; N] {
    let mut bytes = [0; N];
    entropy.fill(&mut bytes);
    bytes
}

/// The system's clock.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}

/// The system's random bytes.
#[derive(Debug, Clone, Copy)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        getrandom::fill(bytes).expect("a system without random bytes cannot run a gateway");
    }
}

/// The three together, cheap to clone.
#[derive(Clone)]
pub struct Seams {
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Random bytes.
    pub entropy: Arc<dyn Entropy>,
    /// Files.
    pub disk: Arc<dyn Disk>,
}

impl Seams {
    /// The real ones.
    pub fn real() -> Self {
        Self { clock: Arc::new(SystemClock), entropy: Arc::new(SystemEntropy), disk: Arc::new(RealDisk) }
    }
}
