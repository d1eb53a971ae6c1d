//! Keys: the kind, the organization and the id that name one resource of a view.

use std::fmt;
use std::hash::{Hash, Hasher};

use rr_wire::fleet;

use super::id::{CredentialId, FilterId, InvalidId, MeterId, OrgId, ProxyId, RuleId, TargetId};
use super::invalid::Violations;

/// What a resource is, and its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceId {
    /// The organization itself; its id is the key's org.
    Org,
    /// A target.
    Target(TargetId),
    /// A credential of either use.
    Credential(CredentialId),
    /// A proxy.
    Proxy(ProxyId),
    /// A rule.
    Rule(RuleId),
    /// A filter.
    Filter(FilterId),
    /// A meter.
    Meter(MeterId),
}

/// Names one resource of a view.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Whose it is.
    pub org: OrgId,
    /// What it is.
    pub id: ResourceId,
}

/// A key on the wire that names nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// Another kind than those known.
    #[error("kind {0} is not known")]
    Kind(i32),
    /// An id of another kind, or none.
    #[error("bad id in key")]
    Id(#[from] InvalidId),
}

impl Key {
    /// The key of an organization.
    pub const fn org(org: OrgId) -> Self {
        Self { org, id: ResourceId::Org }
    }

    /// The key of something that belongs to an organization.
    pub const fn new(org: OrgId, id: ResourceId) -> Self {
        Self { org, id }
    }

    /// Kind on the wire.
    pub const fn kind(&self) -> fleet::Kind {
        match self.id {
            ResourceId::Org => fleet::Kind::Org,
            ResourceId::Target(_) => fleet::Kind::Target,
            ResourceId::Credential(_) => fleet::Kind::Credential,
            ResourceId::Proxy(_) => fleet::Kind::Proxy,
            ResourceId::Rule(_) => fleet::Kind::Rule,
            ResourceId::Filter(_) => fleet::Kind::Filter,
            ResourceId::Meter(_) => fleet::Kind::Meter,
        }
    }

    /// Id as text.
    pub fn id_text(&self) -> String {
        match self.id {
            ResourceId::Org => self.org.to_string(),
            ResourceId::Target(id) => id.to_string(),
            ResourceId::Credential(id) => id.to_string(),
            ResourceId::Proxy(id) => id.to_string(),
            ResourceId::Rule(id) => id.to_string(),
            ResourceId::Filter(id) => id.to_string(),
            ResourceId::Meter(id) => id.to_string(),
        }
    }

    /// For the wire.
    pub fn to_wire(&self) -> fleet::Key {
        fleet::Key { kind: self.kind().into(), org: self.org.to_string(), id: self.id_text() }
    }

    /// The 33 bytes that stand for it in a digest.
    pub fn digest_bytes(&self) -> [u8; 33] {
        let id = match &self.id {
            ResourceId::Org => self.org.as_bytes(),
            ResourceId::Target(id) => id.as_bytes(),
            ResourceId::Credential(id) => id.as_bytes(),
            ResourceId::Proxy(id) => id.as_bytes(),
            ResourceId::Rule(id) => id.as_bytes(),
            ResourceId::Filter(id) => id.as_bytes(),
            ResourceId::Meter(id) => id.as_bytes(),
        };
        let mut bytes = [0; 33];
        bytes[0] = self.kind() as u8;
        bytes[1..17].copy_from_slice(self.org.as_bytes());
        bytes[17..].copy_from_slice(id);
        bytes
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.digest_bytes().hash(state);
    }
}

impl TryFrom<&fleet::Key> for Key {
    type Error = InvalidKey;

    fn try_from(wire: &fleet::Key) -> Result<Self, InvalidKey> {
        let org = wire.org.parse()?;
        let id = match fleet::Kind::try_from(wire.kind) {
            Ok(fleet::Kind::Org) if wire.id.parse::<OrgId>()? == org => ResourceId::Org,
            Ok(fleet::Kind::Target) => ResourceId::Target(wire.id.parse()?),
            Ok(fleet::Kind::Credential) => ResourceId::Credential(wire.id.parse()?),
            Ok(fleet::Kind::Proxy) => ResourceId::Proxy(wire.id.parse()?),
            Ok(fleet::Kind::Rule) => ResourceId::Rule(wire.id.parse()?),
            Ok(fleet::Kind::Filter) => ResourceId::Filter(wire.id.parse()?),
            Ok(fleet::Kind::Meter) => ResourceId::Meter(wire.id.parse()?),
            Ok(fleet::Kind::Org | fleet::Kind::Unspecified) | Err(_) => {
                return Err(InvalidKey::Kind(wire.kind));
            }
        };
        Ok(Self { org, id })
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id_text())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a rule or filter may belong to.
pub(super) fn parent(faults: &mut Violations, wire: Option<&fleet::Key>) -> Option<Key> {
    let Some(wire) = wire else {
        faults.add("parent", "is missing: a credential, target or proxy");
        return None;
    };
    let key = faults.take("parent", Key::try_from(wire))?;
    match key.id {
        ResourceId::Credential(_) | ResourceId::Target(_) | ResourceId::Proxy(_) => Some(key),
        ResourceId::Org | ResourceId::Rule(_) | ResourceId::Filter(_) | ResourceId::Meter(_) => {
            faults.add("parent", "is neither a credential nor a target nor a proxy");
            None
        }
    }
}
