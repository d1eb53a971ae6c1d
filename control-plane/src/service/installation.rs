//! The installation itself.

use super::{ServiceError, Services};
use crate::store::{self, Head, StoreError};

impl Services {
    /// Where its history stands.
    pub(crate) async fn installation(&self) -> Result<Head, ServiceError> {
        Ok(store::installation::head(&self.store).await?.ok_or(StoreError::Damaged("head"))?)
    }
}
