//! Where a view stands, parsed from the wire.

use std::fmt;

use rr_contract::digest::Digest;
use rr_contract::model::id::RegionId;
use rr_contract::wire::fleet;

/// A place in the history of a region's configuration.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Which history.
    pub lineage: [u8; 16],
    /// The newest revision in it.
    pub revision: u64,
    /// Whose view.
    pub region: RegionId,
    /// Hash of the content.
    pub digest: Digest,
    /// How many resources.
    pub count: u64,
}

/// A message that is no position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a position: lineage, region or digest is missing")]
pub struct InvalidPosition;

impl Position {
    /// Whether both are of one history and hold the same. Revisions may differ: those in between did not
    /// concern the region.
    pub(crate) fn is_same_content(&self, other: &Self) -> bool {
        (self.lineage, self.region, self.digest, self.count)
            == (other.lineage, other.region, other.digest, other.count)
    }

    pub(crate) fn to_wire(self) -> fleet::Position {
        fleet::Position {
            lineage: self.lineage.to_vec(),
            revision: self.revision,
            region: self.region.to_string(),
            digest: self.digest.to_vec(),
            count: self.count,
        }
    }
}

impl TryFrom<&fleet::Position> for Position {
    type Error = InvalidPosition;

    fn try_from(wire: &fleet::Position) -> Result<Self, InvalidPosition> {
        Ok(Self {
            lineage: wire.lineage.as_slice().try_into().map_err(|_| InvalidPosition)?,
            revision: wire.revision,
            region: wire.region.parse().map_err(|_| InvalidPosition)?,
            digest: wire.digest.as_slice().try_into().map_err(|_| InvalidPosition)?,
            count: wire.count,
        })
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{:02x}{:02x}", self.revision, self.digest[0], self.digest[1])
    }
}
