//! The keys of a region: made by its operator, known to its nodes, never to the control plane.

use std::collections::BTreeSet;
use std::fmt;
use std::time::SystemTime;

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};

use crate::model::id::{NodeTokenId, RegionId};
use crate::model::invalid::{Invalid, Violations};
use crate::model::sealed::SUITE;
use crate::model::time;
use rr_seam::{Entropy, draw};
use rr_wire::fleet;

use super::transcript::Transcript;
use super::{OpeningKey, SealingKey};

/// The private keys of a region. Cannot be printed.
pub struct RegionKeys {
    pub(super) region: RegionId,
    pub(super) signing: SigningKey,
    /// By epoch, which counts up; never empty. What was sealed to an earlier one can still be opened.
    pub(super) epochs: Vec<(u32, OpeningKey)>,
    /// Whoever was ever left out of a rotation: no later key goes there, whatever a control plane says.
    pub(super) excluded: Excluded,
    /// The counter of the last attestation; 0: there was none.
    pub(super) attested: u64,
}

/// Keys of nodes and tokens that get no key of a region any more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Excluded {
    /// Public keys of nodes: a node can be given another id, and no other key.
    pub(super) nodes: BTreeSet<[u8; 32]>,
    pub(super) tokens: BTreeSet<NodeTokenId>,
}

impl RegionKeys {
    /// Keys of a new region, at epoch 1.
    pub fn generate(region: RegionId, entropy: &dyn Entropy) -> Self {
        let signing = SigningKey::from_bytes(&draw(entropy));
        let epochs = vec![(1, OpeningKey::generate())];
        Self { region, signing, epochs, excluded: Excluded::default(), attested: 0 }
    }

    /// Adds the key of the next epoch. Everything from here on is sealed to it.
    pub fn rotate(&mut self) {
        let next = self.epoch() + 1;
        self.epochs.push((next, OpeningKey::generate()));
    }

    /// The newest epoch.
    pub fn epoch(&self) -> u32 {
        self.newest().0
    }

    /// The key of the newest epoch.
    pub(super) fn opening(&self) -> &OpeningKey {
        &self.newest().1
    }

    fn newest(&self) -> &(u32, OpeningKey) {
        self.epochs.last().expect("keys are made with one epoch, and read with one")
    }

    /// What opens secrets of every epoch.
    pub fn opening_keys(&self) -> Vec<RegionOpeningKey> {
        let key = |(epoch, key): &(u32, OpeningKey)| RegionOpeningKey::new(self.region, *epoch, key.clone());
        self.epochs.iter().map(key).collect()
    }

    /// Gives a token no later key, nor anybody who joined with it: whoever knows its text can vouch for any key.
    pub fn exclude_token(&mut self, token: NodeTokenId) {
        self.excluded.tokens.insert(token);
    }

    /// Takes in what another copy of the keys has: epochs, and whoever is left out.
    pub fn merge(&mut self, other: Self) -> Result<(), OtherKeys> {
        if other.region != self.region || other.fingerprint() != self.fingerprint() {
            return Err(OtherKeys::Region);
        }
        for (epoch, key) in other.epochs {
            match self.epochs.iter().find(|(known, _)| *known == epoch) {
                None => self.epochs.push((epoch, key)),
                Some((_, known)) if known.sealing_key() == key.sealing_key() => {}
                Some(_) => return Err(OtherKeys::Epoch(epoch)),
            }
        }
        self.epochs.sort_by_key(|(epoch, _)| *epoch);
        self.excluded.nodes.extend(other.excluded.nodes);
        self.excluded.tokens.extend(other.excluded.tokens);
        self.attested = self.attested.max(other.attested);
        Ok(())
    }

    /// How many nodes and tokens were ever left out.
    pub fn excluded(&self) -> (usize, usize) {
        (self.excluded.nodes.len(), self.excluded.tokens.len())
    }

    /// The region.
    pub fn region(&self) -> RegionId {
        self.region
    }

    /// What a person compares.
    pub fn fingerprint(&self) -> Fingerprint {
        fingerprint(self.region, &self.signing.verifying_key())
    }

    /// The public half, signed.
    pub fn statement(&self, made_at: SystemTime, not_after: SystemTime) -> RegionStatement {
        let mut wire = fleet::RegionKeyStatement {
            region: self.region.to_string(),
            epoch: self.epoch(),
            suite: SUITE,
            sealing_key: self.opening().sealing_key().to_bytes().to_vec(),
            signing_key: self.signing.verifying_key().to_bytes().to_vec(),
            made_at: Some(time::timestamp(made_at)),
            not_after: Some(time::timestamp(not_after)),
            signature: Vec::new(),
        };
        wire.signature = self.signing.sign(&statement_bytes(&wire)).to_bytes().to_vec();
        wire.try_into().expect("a statement just signed verifies")
    }

    /// What opens secrets of the newest epoch.
    pub fn opening_key(&self) -> RegionOpeningKey {
        RegionOpeningKey { region: self.region, epoch: self.epoch(), key: self.opening().clone() }
    }
}

/// Two copies of keys that do not belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OtherKeys {
    /// They are of two regions, or one was made anew.
    #[error("the keys are of another region")]
    Region,
    /// Somebody rotated in each of them.
    #[error(
        "the keys of epoch {0} differ: the region was rotated from two copies of its key file, and only one of them is in use"
    )]
    Epoch(u32),
}

/// The key that opens secrets sealed to a region at an epoch. Cannot be printed.
#[derive(Clone)]
pub struct RegionOpeningKey {
    region: RegionId,
    epoch: u32,
    key: OpeningKey,
}

impl RegionOpeningKey {
    /// Puts together what a node was given.
    pub fn new(region: RegionId, epoch: u32, key: OpeningKey) -> Self {
        Self { region, epoch, key }
    }

    /// The region.
    pub fn region(&self) -> RegionId {
        self.region
    }

    /// The epoch.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The key.
    pub fn key(&self) -> &OpeningKey {
        &self.key
    }
}

/// The public half of a region's keys, its signature checked against itself. That proves nothing about
/// its maker: before a secret is sealed, the [`Fingerprint`] is compared with a fingerprint that came another way.
#[derive(Debug, Clone, PartialEq)]
pub struct RegionStatement {
    region: RegionId,
    epoch: u32,
    sealing_key: SealingKey,
    signing_key: VerifyingKey,
    not_after: SystemTime,
    wire: fleet::RegionKeyStatement,
}

impl RegionStatement {
    /// The region.
    pub fn region(&self) -> RegionId {
        self.region
    }

    /// The epoch.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// What secrets are sealed to.
    pub fn sealing_key(&self) -> &SealingKey {
        &self.sealing_key
    }

    /// What the region signs with.
    pub(super) fn signing_key(&self) -> &VerifyingKey {
        &self.signing_key
    }

    /// Sealing to it is refused after this time.
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// What a person compares.
    pub fn fingerprint(&self) -> Fingerprint {
        fingerprint(self.region, &self.signing_key)
    }

    /// For the wire.
    pub fn to_wire(&self) -> fleet::RegionKeyStatement {
        self.wire.clone()
    }
}

impl TryFrom<fleet::RegionKeyStatement> for RegionStatement {
    type Error = Invalid;

    fn try_from(wire: fleet::RegionKeyStatement) -> Result<Self, Invalid> {
        let mut faults = Violations::default();
        let region = faults.take("region", wire.region.parse());
        if wire.epoch == 0 {
            faults.add("epoch", "starts at 1");
        }
        if wire.suite != SUITE {
            faults.add("suite", format!("{} is not known; this build knows {SUITE}", wire.suite));
        }
        let sealing_key = faults.take("sealing_key", SealingKey::try_from(wire.sealing_key.as_slice()));
        let signing_key = faults.take("signing_key", verifying_key(&wire.signing_key));
        // Unset and 1970 are signed alike, so unset cannot be allowed.
        match &wire.made_at {
            Some(at) => drop(faults.take("made_at", time::system_time(at))),
            None => faults.add("made_at", "is missing"),
        }
        let not_after = match &wire.not_after {
            Some(at) => faults.take("not_after", time::system_time(at)),
            None => {
                faults.add("not_after", "is missing");
                None
            }
        };
        if let Some(key) = &signing_key
            && !verifies(key, &statement_bytes(&wire), &wire.signature)
        {
            faults.add("signature", "does not verify");
        }
        let epoch = wire.epoch;
        faults.finish(|| {
            Some(Self {
                region: region?,
                epoch,
                sealing_key: sealing_key?,
                signing_key: signing_key?,
                not_after: not_after?,
                wire,
            })
        })
    }
}

/// What people compare to know a region's keys: 16 bytes, printed in groups of four digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 16]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, pair) in self.0.chunks(2).enumerate() {
            if i > 0 {
                f.write_str("-")?;
            }
            write!(f, "{:02x}{:02x}", pair[0], pair[1])?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is not a fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a fingerprint: eight groups of four hexadecimal digits, joined by -")]
pub struct InvalidFingerprint;

impl std::str::FromStr for Fingerprint {
    type Err = InvalidFingerprint;

    fn from_str(text: &str) -> Result<Self, InvalidFingerprint> {
        let digits: String = text.trim().split('-').collect();
        if digits.len() != 32 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(InvalidFingerprint);
        }
        let value = u128::from_str_radix(&digits, 16).map_err(|_| InvalidFingerprint)?;
        Ok(Self(value.to_be_bytes()))
    }
}

pub(super) fn fingerprint(region: RegionId, signing_key: &VerifyingKey) -> Fingerprint {
    let mut hasher = blake3::Hasher::new_derive_key("requestrocket region fingerprint 1");
    hasher.update(region.as_bytes()).update(signing_key.as_bytes());
    let mut bytes = [0; 16];
    hasher.finalize_xof().fill(&mut bytes);
    Fingerprint(bytes)
}

fn statement_bytes(wire: &fleet::RegionKeyStatement) -> Vec<u8> {
    let (made_at, not_after) = (wire.made_at.unwrap_or_default(), wire.not_after.unwrap_or_default());
    Transcript::new("requestrocket region key statement 1")
        .bytes(wire.region.as_bytes())
        .number(wire.epoch.into())
        .number(wire.suite.into())
        .bytes(&wire.sealing_key)
        .bytes(&wire.signing_key)
        .number(made_at.seconds as u64)
        .number(made_at.nanos as u64)
        .number(not_after.seconds as u64)
        .number(not_after.nanos as u64)
        .finish()
}

pub(super) fn verifying_key(bytes: &[u8]) -> Result<VerifyingKey, super::InvalidKeyBytes> {
    let bytes: &[u8; 32] = bytes.try_into().map_err(|_| super::InvalidKeyBytes)?;
    VerifyingKey::from_bytes(bytes).map_err(|_| super::InvalidKeyBytes)
}

pub(super) fn verifies(key: &VerifyingKey, message: &[u8], signature: &[u8]) -> bool {
    Signature::from_slice(signature).is_ok_and(|signature| key.verify_strict(message, &signature).is_ok())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use prost::Message as _;

    use super::*;
    use rr_seam::SystemEntropy;

    fn keys() -> RegionKeys {
        RegionKeys::generate(RegionId::from_random([1; 16]), &SystemEntropy)
    }

    #[test]
    fn whatever_is_changed_in_a_statement_is_seen() {
        let wire = keys().statement(UNIX_EPOCH, UNIX_EPOCH + Duration::from_secs(9)).to_wire();
        let changes: [fn(&mut fleet::RegionKeyStatement); 7] = [
            |wire| wire.region = RegionId::from_random([2; 16]).to_string(),
            |wire| wire.epoch = 2,
            |wire| wire.suite = 2,
            |wire| wire.sealing_key[0] ^= 1,
            |wire| wire.made_at = None,
            |wire| wire.not_after = Some(time::timestamp(UNIX_EPOCH + Duration::from_secs(10))),
            |wire| wire.not_after = None,
        ];
        for (i, change) in changes.into_iter().enumerate() {
            let mut changed = wire.clone();
            change(&mut changed);
            assert!(RegionStatement::try_from(changed).is_err(), "change {i}");
        }
    }

    #[test]
    fn a_time_beyond_what_the_wire_holds_does_not_panic() {
        let far = UNIX_EPOCH + Duration::from_secs(1 << 50);
        assert!(keys().statement(UNIX_EPOCH, far).not_after() < far);
    }

    #[test]
    fn copies_of_keys_come_together_and_others_do_not() {
        let first = keys();
        let copy = |keys: &RegionKeys| RegionKeys {
            region: keys.region,
            signing: keys.signing.clone(),
            epochs: keys.epochs.clone(),
            excluded: keys.excluded.clone(),
            attested: keys.attested,
        };
        let (mut old, mut new) = (copy(&first), copy(&first));
        new.rotate();
        new.excluded.nodes.insert([1; 32]);
        old.excluded.nodes.insert([2; 32]);
        let mut other_way = copy(&old);
        other_way.rotate();
        old.merge(copy(&new)).expect("belongs to it");
        assert_eq!((old.epoch(), old.excluded()), (2, (2, 0)));
        assert_eq!(old.opening().sealing_key(), new.opening().sealing_key());
        assert_eq!(other_way.merge(new).err(), Some(OtherKeys::Epoch(2)));
        assert_eq!(old.merge(keys()).err(), Some(OtherKeys::Region));
    }

    proptest::proptest! {
        #[test]
        fn no_statement_and_no_fingerprint_panics(
            bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200),
            text in "\\PC{0,60}|([0-9a-f+]{4}-){7}[0-9a-f]{4}",
        ) {
            if let Ok(wire) = fleet::RegionKeyStatement::decode(bytes.as_slice()) {
                proptest::prop_assert!(RegionStatement::try_from(wire).is_err());
            }
            if let Ok(fingerprint) = text.parse::<Fingerprint>() {
                proptest::prop_assert_eq!(fingerprint.to_string().parse(), Ok(fingerprint));
            }
        }
    }
}
