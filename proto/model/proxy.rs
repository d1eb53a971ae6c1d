//! Proxies: what binds caller credentials, a target and an upstream credential, in a list of regions.

use crate::wire::fleet;

use super::id::{CredentialId, RegionId, TargetId};
use super::invalid::{Invalid, Violations};
use super::name::Name;

/// How many caller credentials a proxy may have.
pub const CALLERS_MAX: usize = 100;
/// How many regions a proxy may be in.
pub const REGIONS_MAX: usize = 100;

/// An address at the edge, and what stands behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// The part after the dot in its address.
    pub name: Name,
    /// Off: its callers get 403.
    pub active: bool,
    /// Who may call; at least one, none twice.
    pub caller_credentials: Vec<CredentialId>,
    /// Where requests go.
    pub target: TargetId,
    /// What is injected.
    pub upstream_credential: CredentialId,
    /// Where it is served; at least one, none twice.
    pub regions: Vec<RegionId>,
}

impl TryFrom<fleet::ProxyResource> for Proxy {
    type Error = Invalid;

    fn try_from(wire: fleet::ProxyResource) -> Result<Self, Invalid> {
        let mut faults = Violations::default();
        let name = faults.take("name", wire.name.parse());
        let callers = ids(&mut faults, "caller_credentials", &wire.caller_credentials, CALLERS_MAX);
        let target = faults.take("target", wire.target.parse());
        let upstream = faults.take("upstream_credential", wire.upstream_credential.parse());
        let regions = ids(&mut faults, "regions", &wire.regions, REGIONS_MAX);
        faults.finish(|| {
            Some(Self {
                name: name?,
                active: wire.active,
                caller_credentials: callers,
                target: target?,
                upstream_credential: upstream?,
                regions,
            })
        })
    }
}

fn ids<I>(faults: &mut Violations, field: &str, texts: &[String], most: usize) -> Vec<I>
where
    I: std::str::FromStr<Err = super::id::InvalidId> + PartialEq,
{
    if texts.is_empty() || texts.len() > most {
        faults.add(field, format!("has 1 to {most}"));
        return Vec::new();
    }
    let mut ids = Vec::with_capacity(texts.len());
    for (i, text) in texts.iter().enumerate() {
        if let Some(id) = faults.take(format!("{field}[{i}]"), text.parse()) {
            if ids.contains(&id) {
                faults.add(format!("{field}[{i}]"), "is there twice");
            } else {
                ids.push(id);
            }
        }
    }
    ids
}
