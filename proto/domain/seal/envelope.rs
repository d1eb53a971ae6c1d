//! Envelope version 1: a secret under a random key, that key sealed to each region.
//!
//! Inside is everything that decides where the value may go; outside is only what a region needs to open
//! it. The context binds it to installation, org, credential and version, so a ciphertext moved to another
//! row does not open.

use std::time::SystemTime;

use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305};
use prost::Message as _;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::model::id::{CredentialId, InstallationId, OrgId, RegionId};
use crate::model::invalid::{Invalid, Violations};
use crate::model::origin::Origin;
use crate::model::sealed::{
    ENVELOPE, ORIGINS_MAX, SUITE, SealedSecret, VALUE_MAX, WRAP_SUITE, WRAPS_MAX, wrap_suite,
};
use crate::model::time;
use crate::model::tls::CaHash;
use crate::secret::Secret;
use rr_seam::{Entropy, draw};
use rr_wire::fleet;

use super::means::{self, Means, OnWire};
use super::region_key::{RegionOpeningKey, RegionStatement};
use super::slot::Slot;
use super::transcript::Transcript;
use super::{hpke_open, hpke_seal};

/// The length of a value shows only in steps of this.
const PADDING_BLOCK: usize = 128;
/// The shortest secret that verifies tokens, in bytes: a shorter one is guessed from any token.
pub const SHARED_MIN: usize = 32;

/// What a sealed secret is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealContext {
    /// The installation.
    pub installation: InstallationId,
    /// The organization.
    pub org: OrgId,
    /// The credential.
    pub credential: CredentialId,
    /// The credential's version.
    pub version: u64,
}

impl SealContext {
    pub(super) fn aad(&self) -> Vec<u8> {
        Transcript::new("requestrocket sealed secret 1")
            .number(SUITE.into())
            .bytes(self.installation.as_bytes())
            .bytes(self.org.as_bytes())
            .bytes(self.credential.as_bytes())
            .number(self.version)
            .finish()
    }
}

/// What is to be sealed.
pub struct SecretSpec {
    /// The value.
    pub value: Secret,
    /// What is done with it.
    pub means: Means,
    /// Where what is made of it may be sent; at least one.
    pub origins: Vec<Origin>,
    /// Not used after this time.
    pub not_after: Option<SystemTime>,
    /// The certificates that alone can vouch for where it goes. `None`: those that the node trusts.
    pub ca: Option<CaHash>,
}

impl SecretSpec {
    /// What is said of the seal to those who cannot open it.
    pub fn label(&self) -> fleet::SealLabel {
        fleet::SealLabel {
            origins: self.origins.iter().map(Origin::to_string).collect(),
            ca_hash: self.ca.map(Vec::from).unwrap_or_default(),
            needs: self.means.needs().into_iter().map(str::to_owned).collect(),
            not_after: self.not_after.map(time::timestamp),
        }
    }
}

/// What an edge node has in memory once it opened a secret.
pub struct OpenedSecret {
    value: Secret,
    means: Means,
    origins: Vec<Origin>,
    not_after: Option<SystemTime>,
    ca: Option<CaHash>,
}

impl OpenedSecret {
    /// The value.
    pub fn value(&self) -> &Secret {
        &self.value
    }

    /// What is done with it.
    pub fn means(&self) -> &Means {
        &self.means
    }

    /// The value and what is done with it, to be kept.
    pub fn into_parts(self) -> (Secret, Means) {
        (self.value, self.means)
    }

    /// Whether it verifies tokens and is sent nowhere. A secret that may be sent somewhere verifies nothing: whoever writes
    /// configuration could have it answer questions.
    pub fn is_shared(&self) -> bool {
        let is_one = matches!(&self.means, Means::Sent { more, .. } if more.is_empty());
        self.origins.is_empty() && is_one && self.value.expose().len() >= SHARED_MIN
    }

    /// Where what is made of it may be sent.
    pub fn origins(&self) -> &[Origin] {
        &self.origins
    }

    /// Not used after this time.
    pub fn not_after(&self) -> Option<SystemTime> {
        self.not_after
    }

    /// The certificates that alone can vouch for where it goes.
    pub fn ca(&self) -> Option<&CaHash> {
        self.ca.as_ref()
    }
}

/// A secret that could not be sealed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// Something about what was to be sealed.
    #[error("secret cannot be sealed")]
    Invalid(#[source] Invalid),
    /// A region's key takes no seal.
    #[error("key of region {0} takes no seal")]
    Region(RegionId),
}

/// A secret that did not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// It is not sealed to a region and epoch whose key is at hand.
    #[error("not sealed to a region key that this node has")]
    NoWrap,
    /// The content key does not open: other context, or not made for this key.
    #[error("content key does not open; the secret belongs to another credential, version or region key")]
    Wrap,
    /// The commitment is another.
    #[error("key commitment does not hold")]
    Commitment,
    /// The ciphertext was changed.
    #[error("ciphertext does not open")]
    Ciphertext,
    /// What came out is no secret of ours.
    #[error("content is not understood by this build")]
    Content,
}

impl SealedSecret {
    /// Seals a secret to regions.
    pub fn seal(
        context: &SealContext,
        spec: &SecretSpec,
        regions: &[&RegionStatement],
        entropy: &dyn Entropy,
    ) -> Result<Self, SealError> {
        check(spec, regions).map_err(SealError::Invalid)?;
        Self::seal_checked(context, spec, regions, entropy)
    }

    /// Seals to regions a secret that verifies tokens. It is bound to no origin: it is sent nowhere.
    pub fn seal_shared(
        context: &SealContext,
        secret: Secret,
        not_after: Option<SystemTime>,
        regions: &[&RegionStatement],
        entropy: &dyn Entropy,
    ) -> Result<Self, SealError> {
        let mut faults = Violations::default();
        let length = secret.expose().len();
        if !(SHARED_MIN..=VALUE_MAX).contains(&length) {
            faults.add("value", format!("has {length} bytes, and {SHARED_MIN} to {VALUE_MAX} are needed"));
        }
        check_regions(&mut faults, regions);
        faults.finish(|| Some(())).map_err(SealError::Invalid)?;
        let slot = Slot::Header { name: http::header::AUTHORIZATION, prefix: String::new() };
        let origins = Vec::new();
        let spec = SecretSpec { value: secret, means: Means::sent(slot), origins, not_after, ca: None };
        Self::seal_checked(context, &spec, regions, entropy)
    }

    fn seal_checked(
        context: &SealContext,
        spec: &SecretSpec,
        regions: &[&RegionStatement],
        entropy: &dyn Entropy,
    ) -> Result<Self, SealError> {
        let OnWire { slot, more, means } = spec.means.to_wire();
        let mut plaintext = fleet::SecretPlaintext {
            value: spec.value.expose().to_vec(),
            origins: spec.origins.iter().map(Origin::to_string).collect(),
            slot,
            not_after: spec.not_after.map(time::timestamp),
            padding: Vec::new(),
            ca_hash: spec.ca.map(Vec::from).unwrap_or_default(),
            more,
            means,
        };
        plaintext.padding = vec![0; padding(plaintext.encoded_len())];
        let encoded = Zeroizing::new(plaintext.encode_to_vec());
        wiped(plaintext);

        let key = Zeroizing::new(draw::<32>(entropy));
        let nonce = draw::<24>(entropy);
        let aad = context.aad();
        let ciphertext = XChaCha20Poly1305::new((&*key).into())
            .encrypt((&nonce).into(), Payload { msg: &encoded, aad: &aad })
            .expect("a secret is far below the cipher's limit");
        let wraps = regions.iter().map(|region| wrap(region, &aad, &key)).collect::<Result<_, _>>()?;
        Ok(Self::new(fleet::SealedSecret {
            envelope: ENVELOPE,
            suite: SUITE,
            nonce: nonce.to_vec(),
            ciphertext,
            key_commitment: commitment(&key, &aad).to_vec(),
            wraps,
        }))
    }

    /// Opens the secret with the keys at hand.
    pub fn open(&self, context: &SealContext, keys: &[RegionOpeningKey]) -> Result<OpenedSecret, OpenError> {
        let aad = context.aad();
        let content = content_key(self, &aad, keys)?;
        let nonce: [u8; 24] = self.wire().nonce.as_slice().try_into().map_err(|_| OpenError::Ciphertext)?;
        let encoded = XChaCha20Poly1305::new((&*content).into())
            .decrypt((&nonce).into(), Payload { msg: &self.wire().ciphertext, aad: &aad })
            .map(Zeroizing::new)
            .map_err(|_| OpenError::Ciphertext)?;
        let mut plain = fleet::SecretPlaintext::default();
        let decoded = plain.merge(encoded.as_slice());
        let whole = plain.encoded_len() == encoded.len();
        // Before anything can fail, so that the value is wiped whatever happens.
        let value = Secret::new(std::mem::take(&mut plain.value));
        let more = plain
            .more
            .iter_mut()
            .map(|more| (Secret::new(std::mem::take(&mut more.value)), more.slot.take()));
        let more: Vec<_> = more.collect();
        let means = Means::from_wire(plain.means.take(), plain.slot.take(), more);
        decoded.map_err(|_| OpenError::Content)?;
        // Whatever a later version adds may narrow where the value goes. Decoding would drop it without a
        // word and the value would go further than was sealed, so what is not understood is refused.
        if !whole {
            return Err(OpenError::Content);
        }
        let origins: Result<Vec<Origin>, _> = plain.origins.iter().map(|text| text.parse()).collect();
        let ca = match plain.ca_hash.as_slice() {
            [] => None,
            hash => Some(hash.try_into().map_err(|_| OpenError::Content)?),
        };
        Ok(OpenedSecret {
            value,
            means: means.map_err(|_| OpenError::Content)?,
            origins: origins.map_err(|_| OpenError::Content)?,
            not_after: plain
                .not_after
                .as_ref()
                .map(time::system_time)
                .transpose()
                .map_err(|_| OpenError::Content)?,
            ca,
        })
    }
}

/// The content key sealed to a region.
pub(super) fn wrap(
    region: &RegionStatement,
    aad: &[u8],
    content: &[u8; 32],
) -> Result<fleet::Wrap, SealError> {
    let info = wrap_info(region.region(), region.epoch());
    let sealed = hpke_seal(region.sealing_key(), None, &info, aad, content)
        .ok_or(SealError::Region(region.region()))?;
    Ok(fleet::Wrap {
        region: region.region().to_string(),
        epoch: region.epoch(),
        encapsulated: sealed.encapsulated,
        sealed_key: sealed.ciphertext,
        // Unset, which means the first: nothing that could be flipped unseen.
        suite: 0,
    })
}

/// The content key of a secret, opened with the keys at hand; of several epochs, by the newest.
pub(super) fn content_key(
    secret: &SealedSecret,
    aad: &[u8],
    keys: &[RegionOpeningKey],
) -> Result<Zeroizing<[u8; 32]>, OpenError> {
    let (wrap, key) = secret
        .wire()
        .wraps
        .iter()
        .filter(|wrap| wrap_suite(wrap) == WRAP_SUITE)
        .filter_map(|wrap| {
            let key = keys
                .iter()
                .find(|key| key.epoch() == wrap.epoch && key.region().to_string() == wrap.region)?;
            Some((wrap, key))
        })
        .max_by_key(|(wrap, _)| wrap.epoch)
        .ok_or(OpenError::NoWrap)?;
    let info = wrap_info(key.region(), key.epoch());
    let content = hpke_open(key.key(), None, &info, aad, &wrap.encapsulated, &wrap.sealed_key)
        .ok_or(OpenError::Wrap)?;
    let content: Zeroizing<[u8; 32]> =
        Zeroizing::new(content.expose().try_into().map_err(|_| OpenError::Wrap)?);
    // The cipher alone does not commit to its key: without this, one ciphertext could be made to open
    // to two different texts in two regions.
    if !bool::from(commitment(&content, aad).ct_eq(&secret.wire().key_commitment)) {
        return Err(OpenError::Commitment);
    }
    Ok(content)
}

fn check(spec: &SecretSpec, regions: &[&RegionStatement]) -> Result<(), Invalid> {
    let mut faults = Violations::default();
    if spec.value.is_empty() {
        faults.add("value", "is empty");
    }
    let OnWire { slot, more, means } = spec.means.to_wire();
    let length = spec.value.len() + more.iter().map(|more| more.value.len()).sum::<usize>();
    if more.iter().any(|more| more.value.is_empty()) {
        faults.add("more", "holds an empty value");
    }
    if length > VALUE_MAX {
        faults.add("value", format!("and `more` are {VALUE_MAX} bytes in all at most"));
    }
    // Those who open it judge it in the same way.
    let read = more.into_iter().map(|more| (Secret::new(more.value), more.slot)).collect();
    if let Err(invalid) = Means::from_wire(means, slot, read) {
        invalid.violations().iter().for_each(|it| faults.add(&it.field, &it.reason));
    }
    spec.means.check(&spec.value, &mut faults);
    if spec.origins.is_empty() || spec.origins.len() > ORIGINS_MAX {
        faults.add("origins", format!("has 1 to {ORIGINS_MAX}: without one the secret could go nowhere"));
    }
    check_regions(&mut faults, regions);
    faults.finish(|| Some(()))
}

fn check_regions(faults: &mut Violations, regions: &[&RegionStatement]) {
    if regions.is_empty() || regions.len() > WRAPS_MAX {
        faults.add("regions", format!("has 1 to {WRAPS_MAX}: without one nobody could open the secret"));
    }
    for (i, region) in regions.iter().enumerate() {
        if regions[..i]
            .iter()
            .any(|other| (other.region(), other.epoch()) == (region.region(), region.epoch()))
        {
            faults.add(format!("regions[{i}]"), "is there twice");
        }
    }
}

fn wiped(plaintext: fleet::SecretPlaintext) {
    drop(Zeroizing::new(plaintext.value));
    plaintext.more.into_iter().for_each(|more| drop(Zeroizing::new(more.value)));
    plaintext.means.into_iter().for_each(means::wipe);
}

/// How many zeros bring a plaintext to a multiple of a block, their own two bytes of framing included.
fn padding(length: usize) -> usize {
    (length + 2).next_multiple_of(PADDING_BLOCK) - (length + 2)
}

fn wrap_info(region: RegionId, epoch: u32) -> Vec<u8> {
    Transcript::new("requestrocket content key 1").bytes(region.as_bytes()).number(epoch.into()).finish()
}

fn commitment(key: &[u8; 32], aad: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(b"requestrocket key commitment 1").update(aad);
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests;
