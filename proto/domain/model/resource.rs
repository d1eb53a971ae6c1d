//! Resources of a view: payloads parsed by kind.

use rr_wire::fleet;

use super::credential::Credential;
use super::filter::Filter;
use super::invalid::Invalid;
use super::meter::Meter;
use super::org::Org;
use super::proxy::Proxy;
use super::rule::Rule;
use super::target::Target;

pub use super::key::{InvalidKey, Key, ResourceId};

/// The largest payload of one resource.
pub const PAYLOAD_MAX: usize = 384 * 1024;

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
