//! The position of a view, parsed from the wire.

use std::fmt;

use rr_contract::digest::Digest;
use rr_contract::model::id::RegionId;
use rr_contract::wire::fleet;

/// A position in the history of a region's configuration.
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
    /// Head of the audit chain at this revision; `None`: unknown.
    pub audit: Option<AuditHead>,
}

/// The hash over all entries of the audit chain up to a revision.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct AuditHead([u8; 32]);

impl From<[u8; 32]> for AuditHead {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

/// Hex, whole: it is there to be compared.
impl fmt::Display for AuditHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for AuditHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A message that is not a valid position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPosition {
    /// A field is missing or malformed.
    #[error("position is incomplete: lineage, region or digest is missing or malformed")]
    Incomplete,
    /// The audit head has a wrong length.
    #[error("position is malformed: audit head has {0} bytes")]
    Audit(usize),
}

impl Position {
    /// Whether both belong to one history and have the same content. Revisions may differ: those in between did not
    /// concern the region.
    pub(crate) fn is_same_content(&self, other: &Self) -> bool {
        (self.lineage, self.region, self.digest, self.count)
            == (other.lineage, other.region, other.digest, other.count)
    }

    /// Whether both are the same position of the same history with different audit heads.
    pub(crate) fn contradicts(&self, other: &Self) -> bool {
        self.is_same_place(other) && self.audit.zip(other.audit).is_some_and(|(ours, theirs)| ours != theirs)
    }

    /// This position, with the audit head of `before` where that is the same position and this one has none: the
    /// head of a revision does not change.
    pub(crate) fn knowing(self, before: &Self) -> Self {
        let known = before.audit.filter(|_| self.is_same_place(before));
        Self { audit: self.audit.or(known), ..self }
    }

    fn is_same_place(&self, other: &Self) -> bool {
        (self.lineage, self.revision) == (other.lineage, other.revision)
    }

    pub(crate) fn to_wire(self) -> fleet::Position {
        fleet::Position {
            lineage: self.lineage.to_vec(),
            revision: self.revision,
            region: self.region.to_string(),
            digest: self.digest.to_vec(),
            count: self.count,
            audit: self.audit.map(|audit| audit.0.to_vec()).unwrap_or_default(),
        }
    }
}

impl TryFrom<&fleet::Position> for Position {
    type Error = InvalidPosition;

    fn try_from(wire: &fleet::Position) -> Result<Self, InvalidPosition> {
        let audit = match wire.audit.as_slice() {
            [] => None,
            bytes => {
                let head: [u8; 32] = bytes.try_into().map_err(|_| InvalidPosition::Audit(bytes.len()))?;
                Some(AuditHead(head))
            }
        };
        Ok(Self {
            lineage: wire.lineage.as_slice().try_into().map_err(|_| InvalidPosition::Incomplete)?,
            revision: wire.revision,
            region: wire.region.parse().map_err(|_| InvalidPosition::Incomplete)?,
            digest: wire.digest.as_slice().try_into().map_err(|_| InvalidPosition::Incomplete)?,
            count: wire.count,
            audit,
        })
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{:02x}{:02x}", self.revision, self.digest[0], self.digest[1])
    }
}
