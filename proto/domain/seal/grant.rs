//! Grants: the key of a region's new epoch, sealed to each node and each token that may have it.
//!
//! Whoever rotates seals only to keys that the region itself stands behind: a token by the region's signature, a node by
//! the vouch of such a token. A node takes a granted key only if it is the private half of the key in a statement that the
//! region signed, so nobody else can give it one. What it does not do: it decides nothing about who is left out.

use crate::model::id::{NodeTokenId, RegionId};
use crate::model::invalid::{Invalid, Violations};
use rr_wire::fleet;

use super::node_token::NodeTokenStatement;
use super::region_key::{RegionKeys, RegionOpeningKey, RegionStatement};
use super::transcript::Transcript;
use super::{OpeningKey, SealingKey, hpke_open, hpke_seal};

/// Somebody to whom a region's next key may be sealed, because the region stands behind their key.
pub struct Recipient {
    key: SealingKey,
    token: NodeTokenId,
    is_node: bool,
}

/// A node or token whose key the region does not stand behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unproven {
    /// It joined before nodes kept their proof.
    #[error("has no proof of how it joined: it joined with an earlier version, and has to join anew")]
    None,
    /// The signature of its token is wrong.
    #[error("joined with a token that the region did not sign")]
    Token,
    /// The vouch of its token is wrong.
    #[error("has a key for which the token that it joined with does not vouch")]
    Vouch,
    /// Its key is none.
    #[error("has a key that is none")]
    Key,
}

impl Recipient {
    /// A token, so that machines which join with it later get the new key.
    pub fn token(wire: fleet::NodeTokenStatement, region: &RegionStatement) -> Result<Self, Unproven> {
        let token = NodeTokenStatement::parse(wire, region).map_err(|_| Unproven::Token)?;
        Ok(Self { key: token.open_key(), token: token.id(), is_node: false })
    }

    /// A node: its key, for which the token vouched that it joined with.
    pub fn node(
        token: fleet::NodeTokenStatement,
        proof: &fleet::NodeProof,
        region: &RegionStatement,
    ) -> Result<Self, Unproven> {
        if proof.vouch.is_empty() {
            return Err(Unproven::None);
        }
        let token = NodeTokenStatement::parse(token, region).map_err(|_| Unproven::Token)?;
        if !token.vouched(&proof.node_key, &proof.csr_hash, &proof.vouch) {
            return Err(Unproven::Vouch);
        }
        let key = SealingKey::try_from(proof.node_key.as_slice()).map_err(|_| Unproven::Key)?;
        Ok(Self { key, token: token.id(), is_node: true })
    }

    /// The key.
    pub fn key(&self) -> &SealingKey {
        &self.key
    }

    /// The token, or the token that the node joined with.
    pub fn token_id(&self) -> NodeTokenId {
        self.token
    }

    /// Whether it is a node, and not a token.
    pub fn is_node(&self) -> bool {
        self.is_node
    }
}

/// A granted key that a node does not take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GrantRefused {
    /// The statement is of another region, or by other keys than the node knows.
    #[error("statement of the new key is not by the keys of this region")]
    Stranger,
    /// The node has had a later epoch.
    #[error("epoch {offered} of the region's key is offered, and the node has {newest}")]
    Older {
        /// The epoch that is offered.
        offered: u32,
        /// The newest that the node has.
        newest: u32,
    },
    /// It is for another region or epoch than the statement.
    #[error("grant is for another region or epoch than its statement")]
    Other,
    /// It does not open with this node's key.
    #[error("grant does not open with the key of this node")]
    Unseal,
    /// What it holds is not the private half of the key in the statement.
    #[error("granted key is not that of the region's statement")]
    Content,
}

impl RegionKeys {
    /// Gives a node or a token no later key.
    pub fn exclude(&mut self, recipient: &Recipient) {
        if recipient.is_node() {
            self.excluded.nodes.insert(recipient.key().to_bytes());
        } else {
            self.exclude_token(recipient.token_id());
        }
    }

    /// Whether somebody is left out: a node by its key, whatever its name is, and with its token.
    pub fn excludes(&self, recipient: &Recipient) -> bool {
        let by_key = recipient.is_node() && self.excluded.nodes.contains(&recipient.key().to_bytes());
        by_key || self.excluded.tokens.contains(&recipient.token_id())
    }

    /// Seals the key of the newest epoch to somebody.
    pub fn grant(&self, to: &Recipient) -> fleet::RegionKeyGrant {
        let key = to.key.to_bytes();
        let info = info(self.region(), self.epoch(), &key);
        let private = self.opening().to_secret();
        let sealed = hpke_seal(&to.key, None, &info, &[], private.expose())
            .expect("a key that was read as one takes a seal");
        fleet::RegionKeyGrant {
            region: self.region().to_string(),
            epoch: self.epoch(),
            recipient_key: key.to_vec(),
            encapsulated: sealed.encapsulated,
            sealed_key: sealed.ciphertext,
        }
    }
}

/// Form alone: whether it can be kept and sent on. What is in it, only the recipient can tell.
pub fn check(grant: &fleet::RegionKeyGrant, statement: &RegionStatement) -> Result<(), Invalid> {
    let mut faults = Violations::default();
    if grant.region != statement.region().to_string() {
        faults.add("region", "is another than that of the key");
    }
    if grant.epoch != statement.epoch() {
        faults.add("epoch", "is another than that of the key");
    }
    faults.take("recipient_key", SealingKey::try_from(grant.recipient_key.as_slice()));
    if grant.encapsulated.len() != 32 || grant.sealed_key.len() != 48 {
        faults.add("sealed_key", "is not a sealed key");
    }
    faults.finish(|| Some(()))
}

/// Opens a grant with the key that it was sealed to, and checks it against what the region signed. `newest` is the latest
/// epoch that whoever opens it has.
pub fn open(
    grant: &fleet::RegionKeyGrant,
    statement: &RegionStatement,
    with: &OpeningKey,
    newest: u32,
) -> Result<RegionOpeningKey, GrantRefused> {
    if statement.epoch() < newest {
        return Err(GrantRefused::Older { offered: statement.epoch(), newest });
    }
    if check(grant, statement).is_err() {
        return Err(GrantRefused::Other);
    }
    let info = info(statement.region(), statement.epoch(), &with.sealing_key().to_bytes());
    let opened = hpke_open(with, None, &info, &[], &grant.encapsulated, &grant.sealed_key)
        .ok_or(GrantRefused::Unseal)?;
    let key = OpeningKey::try_from(&opened).map_err(|_| GrantRefused::Content)?;
    // Anybody can seal to a public key. This is what proves where the key comes from.
    if key.sealing_key() != *statement.sealing_key() {
        return Err(GrantRefused::Content);
    }
    Ok(RegionOpeningKey::new(statement.region(), statement.epoch(), key))
}

fn info(region: RegionId, epoch: u32, recipient: &[u8; 32]) -> Vec<u8> {
    Transcript::new("requestrocket region key grant 1")
        .bytes(region.as_bytes())
        .number(epoch.into())
        .bytes(recipient)
        .finish()
}

#[cfg(test)]
mod tests;
