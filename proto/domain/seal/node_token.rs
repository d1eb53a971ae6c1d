//! Node tokens, with which a machine joins a region.
//!
//! The operator draws a secret; it is never sent, neither when the token is registered nor when it is
//! redeemed. From it follow `auth` (shown once, only its hash is stored), `open` (the region's private key
//! is sealed to it), `vouch` (the joining node signs its own keys with it) and `grant`, which is shown to
//! nobody: without it anybody could seal another region key to `open`, whose public half is uploaded,
//! and a node would take a forged region for its own.

use std::str::FromStr;
use std::time::SystemTime;

use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use hkdf::Hkdf;
use prost::Message as _;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::model::id::{InstallationId, NodeTokenId, RegionId};
use crate::model::invalid::{Invalid, Violations};
use crate::model::time;
use crate::secret::Secret;
use rr_seam::{Entropy, draw};
use rr_wire::fleet;

use super::attestation::{self, AttestationError, Versions};
use super::region_key::{
    Fingerprint, RegionKeys, RegionOpeningKey, RegionStatement, fingerprint, verifies, verifying_key,
};
use super::transcript::Transcript;
use super::{OpeningKey, SealingKey, Shared, hpke_open, hpke_seal};

const TEXT: &str = "rrn1";
const HEX: &[u8; 16] = b"0123456789abcdef";

/// A token as an operator hands it to a machine. Its text is a secret: there is no `Display`.
pub struct NodeToken {
    id: NodeTokenId,
    secret: Zeroizing<[u8; 32]>,
    authority_pin: [u8; 32],
}

/// A text that is not a node token. Does not repeat the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a node token; it starts with {TEXT}. and is printed by `rrctl node token`")]
pub struct InvalidNodeToken;

impl NodeToken {
    /// Which token it is.
    pub fn id(&self) -> NodeTokenId {
        self.id
    }

    /// SHA-256 of the public key of the certificate authority that the node is to trust.
    pub fn authority_pin(&self) -> &[u8; 32] {
        &self.authority_pin
    }

    /// The keys that follow from it.
    pub fn keys(&self) -> NodeTokenKeys {
        NodeTokenKeys::derive(self.id, &self.secret)
    }

    /// The text to hand over.
    pub fn to_secret(&self) -> Secret {
        // Sized once: a text that grows leaves pieces of itself behind.
        let mut text = Vec::with_capacity(TEXT.len() + 29 + 2 * 64 + 3);
        text.extend_from_slice(TEXT.as_bytes());
        text.push(b'.');
        text.extend_from_slice(self.id.to_string().as_bytes());
        for part in [&*self.secret, &self.authority_pin] {
            text.push(b'.');
            text.extend(
                part.iter().flat_map(|byte| [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]),
            );
        }
        Secret::new(text)
    }
}

impl FromStr for NodeToken {
    type Err = InvalidNodeToken;

    fn from_str(text: &str) -> Result<Self, InvalidNodeToken> {
        let mut parts = text.trim().split('.');
        let mut next = || parts.next().ok_or(InvalidNodeToken);
        if next()? != TEXT {
            return Err(InvalidNodeToken);
        }
        let id = next()?.parse().map_err(|_| InvalidNodeToken)?;
        let secret = Zeroizing::new(unhex(next()?).ok_or(InvalidNodeToken)?);
        let authority_pin = unhex(next()?).ok_or(InvalidNodeToken)?;
        if parts.next().is_some() {
            return Err(InvalidNodeToken);
        }
        Ok(Self { id, secret, authority_pin })
    }
}

/// A token's secret before the control plane's authority is known. Registering it gives the pin.
pub struct NodeTokenDraft {
    id: NodeTokenId,
    secret: Zeroizing<[u8; 32]>,
}

impl NodeTokenDraft {
    /// Draws a new one.
    pub fn draw(entropy: &dyn Entropy) -> Self {
        Self { id: NodeTokenId::from_random(draw(entropy)), secret: Zeroizing::new(draw(entropy)) }
    }

    /// What the operator uploads: public halves, the region's key sealed to the token, the region's
    /// signature over all of it.
    pub fn statement(
        &self,
        region: &RegionKeys,
        installation: InstallationId,
        uses: u32,
        expires_at: SystemTime,
    ) -> fleet::NodeTokenStatement {
        let keys = NodeTokenKeys::derive(self.id, &self.secret);
        let plaintext = fleet::RegionKeyPlaintext {
            region: region.region.to_string(),
            epoch: region.epoch(),
            sealing_private: region.opening().to_secret().expose().to_vec(),
            signing_key: region.signing.verifying_key().to_bytes().to_vec(),
            installation: installation.to_string(),
            attested: region.attested(),
        };
        let encoded = Zeroizing::new(plaintext.encode_to_vec());
        drop(Zeroizing::new(plaintext.sealing_private));
        let info = grant_info(region.region, region.epoch(), self.id);
        let sealed = hpke_seal(&keys.open.sealing_key(), Some(&keys.shared()), &info, &[], &encoded)
            .expect("a key derived a line above takes a seal");
        let mut wire = fleet::NodeTokenStatement {
            token: self.id.to_string(),
            region: region.region.to_string(),
            auth_hash: auth_hash(&*keys.auth).to_vec(),
            open_key: keys.open.sealing_key().to_bytes().to_vec(),
            vouch_key: keys.vouch.verifying_key().to_bytes().to_vec(),
            uses,
            expires_at: Some(time::timestamp(expires_at)),
            epoch: region.epoch(),
            encapsulated: sealed.encapsulated,
            sealed_region_key: sealed.ciphertext,
            signature: Vec::new(),
        };
        wire.signature = region.signing.sign(&statement_bytes(&wire)).to_bytes().to_vec();
        wire
    }

    /// The token, once the authority is known.
    pub fn finish(self, authority_pin: [u8; 32]) -> NodeToken {
        NodeToken { id: self.id, secret: self.secret, authority_pin }
    }
}

/// What follows from a token's secret. Cannot be printed.
pub struct NodeTokenKeys {
    id: NodeTokenId,
    auth: Zeroizing<[u8; 32]>,
    open: OpeningKey,
    vouch: SigningKey,
    grant: Zeroizing<[u8; 32]>,
}

/// What a node learns from the seal in its token's statement.
pub struct RegionGrant {
    /// The installation, part of the context of every sealed secret.
    pub installation: InstallationId,
    /// What opens the region's secrets.
    pub key: RegionOpeningKey,
    /// What a person compares, so that an edge can show which region it really serves.
    pub fingerprint: Fingerprint,
    signing_key: VerifyingKey,
    /// The newest attestation that the token knows of.
    attested: u64,
}

impl RegionGrant {
    /// The versions that the region attested, of an attestation that is as new as the token at least. None where there is
    /// none and the token knows of none.
    pub fn attested(
        &self,
        attestation: Option<fleet::RegionAttestation>,
        versions: &[u8],
    ) -> Result<Versions, AttestationError> {
        attestation::given(attestation, versions, self.attested, self.key.region(), &self.signing_key)
    }
}

/// A statement that a joining node does not believe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// It is about another token.
    #[error("statement is about another token")]
    OtherToken,
    /// The region's key does not open.
    #[error("region key does not open with this token")]
    Unseal,
    /// The seal holds something else than the statement says, or is not understood.
    #[error("region key is not what the statement says")]
    Content,
    /// The region did not sign the statement.
    #[error("statement is not signed by the region whose key it holds")]
    Signature,
}

impl NodeTokenKeys {
    fn derive(id: NodeTokenId, secret: &[u8; 32]) -> Self {
        let hkdf = Hkdf::<Sha256>::new(Some(id.as_bytes()), secret);
        let expand = |label: &str| {
            let mut out = Zeroizing::new([0_u8; 32]);
            hkdf.expand(label.as_bytes(), &mut *out).expect("32 bytes are within HKDF's limit");
            out
        };
        Self {
            id,
            auth: expand("requestrocket node token auth 1"),
            open: OpeningKey::derive(&*expand("requestrocket node token open 1")),
            vouch: SigningKey::from_bytes(&expand("requestrocket node token vouch 1")),
            grant: expand("requestrocket node token grant 1"),
        }
    }

    fn shared(&self) -> Shared<'_> {
        Shared { key: &self.grant, name: self.id.as_bytes() }
    }

    /// What a joining node shows.
    pub fn auth(&self) -> &[u8; 32] {
        &self.auth
    }

    /// What later keys of the region are sealed to.
    pub fn open_key(&self) -> &OpeningKey {
        &self.open
    }

    /// Vouches for the keys of a joining node.
    pub fn vouch(&self, node_key: &SealingKey, csr: &[u8]) -> Vec<u8> {
        self.vouch.sign(&vouch_bytes(self.id, &node_key.to_bytes(), &csr_hash(csr))).to_bytes().to_vec()
    }

    /// Opens the region's key, which only who knows the token's secret can have sealed, and checks that the
    /// region itself signed the statement.
    pub fn open(&self, statement: &fleet::NodeTokenStatement) -> Result<RegionGrant, GrantError> {
        if statement.token != self.id.to_string() {
            return Err(GrantError::OtherToken);
        }
        let region: RegionId = statement.region.parse().map_err(|_| GrantError::Content)?;
        let info = grant_info(region, statement.epoch, self.id);
        let opened = hpke_open(
            &self.open,
            Some(&self.shared()),
            &info,
            &[],
            &statement.encapsulated,
            &statement.sealed_region_key,
        )
        .ok_or(GrantError::Unseal)?;
        let plain = fleet::RegionKeyPlaintext::decode(opened.expose()).map_err(|_| GrantError::Content)?;
        let key = Secret::new(plain.sealing_private);
        let signing_key = verifying_key(&plain.signing_key).map_err(|_| GrantError::Content)?;
        if plain.region != statement.region || plain.epoch != statement.epoch {
            return Err(GrantError::Content);
        }
        if !verifies(&signing_key, &statement_bytes(statement), &statement.signature) {
            return Err(GrantError::Signature);
        }
        Ok(RegionGrant {
            installation: plain.installation.parse().map_err(|_| GrantError::Content)?,
            key: RegionOpeningKey::new(
                region,
                plain.epoch,
                OpeningKey::try_from(&key).map_err(|_| GrantError::Content)?,
            ),
            fingerprint: fingerprint(region, &signing_key),
            signing_key,
            attested: plain.attested,
        })
    }
}

/// A registered token, as the control plane checks and keeps it.
#[derive(Debug, Clone)]
pub struct NodeTokenStatement {
    id: NodeTokenId,
    region: RegionId,
    auth_hash: [u8; 32],
    open_key: SealingKey,
    vouch_key: VerifyingKey,
    uses: u32,
    expires_at: SystemTime,
    wire: fleet::NodeTokenStatement,
}

impl NodeTokenStatement {
    /// Checks form and signature: only who holds the region's key file can make a token for it.
    pub fn parse(wire: fleet::NodeTokenStatement, region: &RegionStatement) -> Result<Self, Invalid> {
        let mut faults = Violations::default();
        let id = faults.take("token", wire.token.parse());
        if wire.region != region.region().to_string() {
            faults.add("region", "is another than the one it is registered for");
        }
        let auth_hash = faults.take("auth_hash", array(&wire.auth_hash));
        let open_key = faults.take("open_key", SealingKey::try_from(wire.open_key.as_slice()));
        let vouch_key = faults.take("vouch_key", verifying_key(&wire.vouch_key));
        if wire.uses == 0 || wire.uses > 10_000 {
            faults.add("uses", "is 1 to 10000");
        }
        let expires_at = match &wire.expires_at {
            Some(at) => faults.take("expires_at", time::system_time(at)),
            None => {
                faults.add("expires_at", "is missing");
                None
            }
        };
        if wire.epoch == 0 {
            faults.add("epoch", "starts at 1");
        }
        if wire.encapsulated.len() != 32 || wire.sealed_region_key.len() > 1024 {
            faults.add("sealed_region_key", "is not a sealed region key");
        }
        if !verifies(region.signing_key(), &statement_bytes(&wire), &wire.signature) {
            faults.add("signature", "is not by the key of this region");
        }
        let uses = wire.uses;
        faults.finish(|| {
            Some(Self {
                id: id?,
                region: region.region(),
                auth_hash: auth_hash?,
                open_key: open_key?,
                vouch_key: vouch_key?,
                uses,
                expires_at: expires_at?,
                wire,
            })
        })
    }

    /// Which token it is.
    pub fn id(&self) -> NodeTokenId {
        self.id
    }

    /// The region that nodes join with it.
    pub fn region(&self) -> RegionId {
        self.region
    }

    /// Later keys of the region are sealed to it, for those who join with the token.
    pub(super) fn open_key(&self) -> SealingKey {
        self.open_key.clone()
    }

    /// The epoch of the region's key that is sealed in it.
    pub fn epoch(&self) -> u32 {
        self.wire.epoch
    }

    /// How many nodes may join with it.
    pub fn uses(&self) -> u32 {
        self.uses
    }

    /// No node may join with it after this time.
    pub fn expires_at(&self) -> SystemTime {
        self.expires_at
    }

    /// Whether a joining machine shows this token. Takes the same time whatever is shown.
    pub fn admits(&self, auth: &[u8]) -> bool {
        use subtle::ConstantTimeEq as _;
        auth_hash(auth).ct_eq(&self.auth_hash).into()
    }

    /// Whether the token vouches for a joining node's keys.
    pub fn vouches(&self, node_key: &[u8], csr: &[u8], vouch: &[u8]) -> bool {
        self.vouched(node_key, &csr_hash(csr), vouch)
    }

    /// Whether it vouched for the keys of a node that joined, by what is kept of its join.
    pub fn vouched(&self, node_key: &[u8], csr_hash: &[u8], vouch: &[u8]) -> bool {
        verifies(&self.vouch_key, &vouch_bytes(self.id, node_key, csr_hash), vouch)
    }

    /// For the wire, and for the store.
    pub fn to_wire(&self) -> fleet::NodeTokenStatement {
        self.wire.clone()
    }
}

fn auth_hash(auth: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key("requestrocket node token auth hash 1");
    hasher.update(auth);
    *hasher.finalize().as_bytes()
}

/// What a vouch covers of a certificate signing request.
pub fn csr_hash(csr: &[u8]) -> [u8; 32] {
    *blake3::hash(csr).as_bytes()
}

fn vouch_bytes(id: NodeTokenId, node_key: &[u8], csr_hash: &[u8]) -> Vec<u8> {
    Transcript::new("requestrocket node vouch 1")
        .bytes(id.as_bytes())
        .bytes(node_key)
        .bytes(csr_hash)
        .finish()
}

fn grant_info(region: RegionId, epoch: u32, token: NodeTokenId) -> Vec<u8> {
    Transcript::new("requestrocket region key for token 1")
        .bytes(region.as_bytes())
        .number(epoch.into())
        .bytes(token.as_bytes())
        .finish()
}

fn statement_bytes(wire: &fleet::NodeTokenStatement) -> Vec<u8> {
    let expires_at = wire.expires_at.unwrap_or_default();
    Transcript::new("requestrocket node token statement 1")
        .bytes(wire.token.as_bytes())
        .bytes(wire.region.as_bytes())
        .bytes(&wire.auth_hash)
        .bytes(&wire.open_key)
        .bytes(&wire.vouch_key)
        .number(wire.uses.into())
        .number(expires_at.seconds as u64)
        .number(expires_at.nanos as u64)
        .number(wire.epoch.into())
        .bytes(&wire.encapsulated)
        .bytes(&wire.sealed_region_key)
        .finish()
}

fn array(bytes: &[u8]) -> Result<[u8; 32], super::InvalidKeyBytes> {
    bytes.try_into().map_err(|_| super::InvalidKeyBytes)
}

/// 64 digits in lower case: a token has one text.
fn unhex(text: &str) -> Option<[u8; 32]> {
    let digit = |byte: u8| HEX.iter().position(|&digit| digit == byte);
    if text.len() != 64 {
        return None;
    }
    let mut out = [0; 32];
    for (byte, pair) in out.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = (digit(pair[0])? << 4 | digit(pair[1])?) as u8;
    }
    Some(out)
}

#[cfg(test)]
mod tests;
