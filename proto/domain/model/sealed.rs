//! Sealed secrets: their form, without what is inside.
//!
//! What is checked here is what can be seen without a key. [`crate::seal`] makes and opens them.

use rr_wire::fleet;

use super::id::RegionId;
use super::invalid::{Invalid, Violations};
use super::proxy::REGIONS_MAX;

/// The only envelope so far.
pub(crate) const ENVELOPE: u32 = 1;
/// The only suite so far; a number, so that another can follow.
pub(crate) const SUITE: u32 = 1;
/// How content keys are sealed to regions.
pub(crate) const WRAP_SUITE: u32 = 1;
/// The longest value, in bytes.
pub(crate) const VALUE_MAX: usize = 64 * 1024;
/// The most origins of a secret.
pub(crate) const ORIGINS_MAX: usize = 32;
/// Each region at two epochs, while its key is being replaced.
pub(crate) const WRAPS_MAX: usize = 2 * REGIONS_MAX;

/// A sealed secret, its form checked. Whether it opens, only a region's key can tell.
#[derive(Clone, PartialEq)]
pub struct SealedSecret(fleet::SealedSecret);

impl SealedSecret {
    /// What was sealed a moment ago.
    pub(crate) fn new(wire: fleet::SealedSecret) -> Self {
        Self(wire)
    }

    /// As it is on the wire.
    pub(crate) fn wire(&self) -> &fleet::SealedSecret {
        &self.0
    }

    /// The regions it is sealed to.
    pub fn regions(&self) -> impl Iterator<Item = RegionId> + '_ {
        self.0.wraps.iter().filter_map(|wrap| wrap.region.parse().ok())
    }

    /// Tells contents apart: the same whichever regions the content is sealed to.
    pub fn content_id(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.0.nonce).update(&self.0.key_commitment).update(&self.0.ciphertext);
        *hasher.finalize().as_bytes()
    }

    /// For the wire.
    pub fn to_wire(&self) -> fleet::SealedSecret {
        self.0.clone()
    }
}

impl std::fmt::Debug for SealedSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SealedSecret({} wraps)", self.0.wraps.len())
    }
}

impl TryFrom<fleet::SealedSecret> for SealedSecret {
    type Error = Invalid;

    fn try_from(wire: fleet::SealedSecret) -> Result<Self, Invalid> {
        let mut faults = Violations::default();
        if wire.envelope != ENVELOPE {
            faults.add(
                "envelope",
                format!("version {} is not known; this build knows {ENVELOPE}", wire.envelope),
            );
        }
        if wire.suite != SUITE {
            faults.add("suite", format!("{} is not known; this build knows {SUITE}", wire.suite));
        }
        if wire.nonce.len() != 24 {
            faults.add("nonce", "is 24 bytes");
        }
        if wire.key_commitment.len() != 32 {
            faults.add("key_commitment", "is 32 bytes");
        }
        if wire.ciphertext.len() < 16 || wire.ciphertext.len() > VALUE_MAX + 16 * 1024 {
            faults.add("ciphertext", "is empty or too large");
        }
        if wire.wraps.is_empty() {
            faults.add("wraps", "is sealed to no region");
        }
        if wire.wraps.len() > WRAPS_MAX {
            faults.add("wraps", format!("has at most {WRAPS_MAX}"));
            return Err(faults.finish(|| None::<()>).expect_err("a fault was noted above"));
        }
        let mut seen = std::collections::HashSet::new();
        for (i, wrap) in wire.wraps.iter().enumerate() {
            faults.take(format!("wraps[{i}].region"), wrap.region.parse::<RegionId>());
            if wrap.epoch == 0 {
                faults.add(format!("wraps[{i}].epoch"), "starts at 1");
            }
            // Only the first would ever be tried.
            if !seen.insert((wrap.region.as_str(), wrap.epoch)) {
                faults.add(format!("wraps[{i}]"), "is there twice");
            }
            // A wrap of another suite is another region's business.
            if wrap_suite(wrap) == WRAP_SUITE
                && (wrap.encapsulated.len() != 32 || wrap.sealed_key.len() != 48)
            {
                faults
                    .add(format!("wraps[{i}]"), "is an encapsulated key of 32 bytes and a sealed one of 48");
            }
        }
        faults.finish(|| Some(Self(wire)))
    }
}

/// The suite of a wrap; unset means the first.
pub(crate) fn wrap_suite(wrap: &fleet::Wrap) -> u32 {
    if wrap.suite == 0 { WRAP_SUITE } else { wrap.suite }
}
