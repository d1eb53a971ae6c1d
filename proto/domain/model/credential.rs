//! Credentials: kinds and versions, and never a secret in the clear.

use std::time::SystemTime;

use rr_wire::fleet;

use super::caller::{self, Caller};
use super::effect::Effect;
use super::invalid::{Invalid, Violations};
use super::name::Name;
use super::sealed::SealedSecret;
use super::time;

/// What callers present to us, or what we present to upstreams.
#[derive(Debug, Clone, PartialEq)]
pub struct Credential {
    /// Its name in its organization.
    pub name: Name,
    /// Counts up with each change of the secret.
    pub version: u64,
    /// Not accepted, and not injected, after this time.
    pub not_after: Option<SystemTime>,
    /// Which of the two it is.
    pub usage: Usage,
    /// What is said of a request that none of its rules matches.
    pub default_effect: Effect,
}

/// Which way a credential is used.
#[derive(Debug, Clone, PartialEq)]
pub enum Usage {
    /// Presented to us.
    Caller(Caller),
    /// Injected by us.
    Upstream(Upstream),
}

/// Kinds of upstream credential.
#[derive(Debug, Clone, PartialEq)]
pub enum Upstream {
    /// The upstream asks for nothing.
    None,
    /// A value, or several.
    Sealed {
        /// What is sealed.
        secret: SealedSecret,
        /// The features that opening it takes.
        needs: Vec<String>,
        /// The secret of the version before, and until when it is live.
        previous: Option<Box<(SealedSecret, SystemTime)>>,
    },
}

impl TryFrom<fleet::CredentialResource> for Credential {
    type Error = Invalid;

    fn try_from(wire: fleet::CredentialResource) -> Result<Self, Invalid> {
        use fleet::credential_resource::Usage as WireUsage;

        let mut faults = Violations::default();
        let name = faults.take("name", wire.name.parse());
        if wire.version == 0 {
            faults.add("version", "starts at 1");
        }
        let not_after = match &wire.not_after {
            Some(at) => faults.take("not_after", time::system_time(at)),
            None => None,
        };
        let usage = match wire.usage {
            Some(WireUsage::Caller(caller)) => caller::parse(&mut faults, caller).map(Usage::Caller),
            Some(WireUsage::Upstream(upstream)) => parse_upstream(&mut faults, upstream).map(Usage::Upstream),
            None => {
                faults.add("usage", "is neither caller nor upstream");
                None
            }
        };
        let default_effect = Effect::parse_default(&mut faults, wire.default_effect);
        let version = wire.version;
        faults.finish(|| {
            Some(Self { name: name?, version, not_after, usage: usage?, default_effect: default_effect? })
        })
    }
}

fn parse_upstream(faults: &mut Violations, wire: fleet::UpstreamCredential) -> Option<Upstream> {
    use fleet::upstream_credential::Kind;

    match wire.kind {
        Some(Kind::None(_)) => Some(Upstream::None),
        Some(Kind::Sealed(sealed)) => {
            let previous = match (wire.previous_sealed, &wire.previous_not_after) {
                (None, None) => None,
                (Some(sealed), Some(until)) => {
                    let sealed = faults.take("upstream.previous_sealed", sealed.try_into());
                    let until = faults.take("upstream.previous_not_after", time::system_time(until));
                    sealed.zip(until).map(Box::new)
                }
                (Some(_), None) | (None, Some(_)) => {
                    faults.add("upstream.previous_sealed", "and `previous_not_after` belong together");
                    None
                }
            };
            let secret = faults.take("upstream.sealed", sealed.try_into())?;
            Some(Upstream::Sealed { secret, needs: wire.needs, previous })
        }
        None => {
            faults.add("upstream.kind", "is none that is known");
            None
        }
    }
}
