//! A secret for further regions and epochs, without its value: only the content key is sealed again.
//!
//! Ciphertext, nonce and commitment stay as they are, and with them whatever decides where the value may go.

use zeroize::Zeroizing;

use rr_wire::fleet;

use super::envelope::{OpenError, SealContext, SealError, wrap};
use super::region_key::{RegionOpeningKey, RegionStatement};
use super::{SealedSecret, envelope};

/// A content key that could not be sealed again.
#[derive(Debug, thiserror::Error)]
pub enum RewrapError {
    /// It does not open.
    #[error("open the content key")]
    Open(#[source] OpenError),
    /// A region takes no seal.
    #[error("seal the content key")]
    Seal(#[source] SealError),
}

impl SealedSecret {
    /// Wraps of its content key for further regions, opened with the keys at hand. The content itself is not opened.
    pub fn rewrap(
        &self,
        context: &SealContext,
        keys: &[RegionOpeningKey],
        regions: &[&RegionStatement],
    ) -> Result<Vec<fleet::Wrap>, RewrapError> {
        let aad = context.aad();
        let content: Zeroizing<[u8; 32]> =
            envelope::content_key(self, &aad, keys).map_err(RewrapError::Open)?;
        let wraps = regions.iter().map(|region| wrap(region, &aad, &content));
        wraps.collect::<Result<_, _>>().map_err(RewrapError::Seal)
    }
}

#[cfg(test)]
mod tests;
