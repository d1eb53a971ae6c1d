//! Resources of a view: keys, kinds, and payloads parsed by kind.

use std::fmt;
use std::hash::{Hash, Hasher};

use crate::wire::fleet;

use super::credential::Credential;
use super::filter::Filter;
use super::id::{CredentialId, FilterId, InvalidId, MeterId, OrgId, ProxyId, RuleId, TargetId};
use super::invalid::Invalid;
use super::meter::Meter;
use super::org::Org;
use super::proxy::Proxy;
use super::rule::Rule;
use super::target::Target;

/// The largest payload of one resource.
pub const PAYLOAD_MAX: usize = 256 * 1024;

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

/// A payload, parsed.
#[derive(Debug, Clone, PartialEq)]
pub enum Model {
    /// Of an organization.
    Org(Org),
    /// Of a target.
    Target(Target),
    /// Of a credential.
    Credential(Credential),
    /// Of a proxy.
    Proxy(Proxy),
    /// Of a rule.
    Rule(Rule),
    /// Of a filter.
    Filter(Filter),
    /// Of a meter.
    Meter(Meter),
}

/// A payload that is no resource.
#[derive(Debug, thiserror::Error)]
pub enum InvalidPayload {
    /// Not the message that its kind says.
    #[error("payload does not decode")]
    Decode(#[source] prost::DecodeError),
    /// A message that breaks rules of the model.
    #[error("payload breaks the model")]
    Invalid(#[source] Invalid),
    /// Larger than a resource may be.
    #[error("payload of {0} bytes is over {PAYLOAD_MAX}")]
    TooLarge(usize),
}

impl Model {
    /// Parses the payload of a resource named by `key`.
    pub fn parse(key: &Key, payload: &[u8]) -> Result<Self, InvalidPayload> {
        if payload.len() > PAYLOAD_MAX {
            return Err(InvalidPayload::TooLarge(payload.len()));
        }
        let model = match key.id {
            ResourceId::Org => decode::<fleet::OrgResource, _>(payload).map(Self::Org),
            ResourceId::Target(_) => decode::<fleet::TargetResource, _>(payload).map(Self::Target),
            ResourceId::Credential(_) => {
                decode::<fleet::CredentialResource, _>(payload).map(Self::Credential)
            }
            ResourceId::Proxy(_) => decode::<fleet::ProxyResource, _>(payload).map(Self::Proxy),
            ResourceId::Rule(_) => decode::<fleet::RuleResource, _>(payload).map(Self::Rule),
            ResourceId::Filter(_) => decode::<fleet::FilterResource, _>(payload).map(Self::Filter),
            ResourceId::Meter(_) => decode::<fleet::MeterResource, _>(payload).map(Self::Meter),
        }?;
        match &model {
            Self::Rule(Rule { parent, .. }) | Self::Filter(Filter { parent, .. })
                if parent.org != key.org =>
            {
                Err(InvalidPayload::Invalid(Invalid::field("parent.org", "is another organization")))
            }
            _ => Ok(model),
        }
    }

    /// What it names, and needs to be in the view for it to work.
    pub fn refs(&self, key: &Key) -> Vec<Key> {
        match self {
            Self::Org(_) => Vec::new(),
            Self::Target(_) | Self::Credential(_) => vec![Key::org(key.org)],
            Self::Proxy(proxy) => {
                let mut refs = vec![
                    Key::org(key.org),
                    Key::new(key.org, ResourceId::Target(proxy.target)),
                    Key::new(key.org, ResourceId::Credential(proxy.upstream_credential)),
                ];
                refs.extend(
                    proxy.caller_credentials.iter().map(|id| Key::new(key.org, ResourceId::Credential(*id))),
                );
                refs
            }
            Self::Rule(Rule { parent, .. }) | Self::Filter(Filter { parent, .. }) => vec![*parent],
            Self::Meter(meter) => vec![Key::new(key.org, ResourceId::Proxy(meter.proxy))],
        }
    }
}

fn decode<W, M>(payload: &[u8]) -> Result<M, InvalidPayload>
where
    W: prost::Message + Default,
    M: TryFrom<W, Error = Invalid>,
{
    W::decode(payload).map_err(InvalidPayload::Decode)?.try_into().map_err(InvalidPayload::Invalid)
}
