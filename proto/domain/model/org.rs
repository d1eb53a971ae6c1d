//! Organizations as an edge node knows them.

use rr_wire::fleet;

use super::invalid::{Invalid, Violations};
use super::name::Name;

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Org {
    /// The part before the dot in a proxy's address.
    pub name: Name,
    /// Its proxies answer 402.
    pub suspended: bool,
}

impl TryFrom<fleet::OrgResource> for Org {
    type Error = Invalid;

    fn try_from(wire: fleet::OrgResource) -> Result<Self, Invalid> {
        let mut faults = Violations::default();
        let name = faults.take("name", wire.name.parse());
        faults.finish(|| Some(Self { name: name?, suspended: wire.suspended }))
    }
}
