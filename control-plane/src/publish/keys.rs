//! Keys of later epochs of regions, as nodes are sent them.
//!
//! Read when a region's document changed, once for all of its nodes, and kept: two thousand nodes that connect at once cost
//! one reading. The invariant: a node is sent the key before a transaction of the revision that brought it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rr_contract::model::id::RegionId;
use rr_contract::wire::fleet;

use super::Publisher;
use crate::store::StoreError;

/// What nodes of one region can be sent, by the public key that each is sealed to; oldest epoch first.
#[derive(Debug, Default)]
pub(crate) struct GrantedKeys {
    pub(crate) newest: u32,
    pub(crate) by_recipient: HashMap<Vec<u8>, Vec<fleet::RegionKey>>,
}

/// What was read of each region, and at which revision.
#[derive(Default)]
pub(super) struct KeyCache(Mutex<HashMap<RegionId, (u64, Arc<GrantedKeys>)>>);

impl KeyCache {
    fn kept(&self, region: RegionId, revision: u64) -> Option<Arc<GrantedKeys>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(&region).filter(|(at, _)| *at >= revision).map(|(_, keys)| Arc::clone(keys))
    }

    fn keep(&self, region: RegionId, revision: u64, keys: &Arc<GrantedKeys>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.insert(region, (revision, Arc::clone(keys)));
    }
}

impl Publisher {
    /// The revision that last changed the region's own document, as far as it is known here.
    pub(super) fn key_revision(&self, region: RegionId) -> u64 {
        self.read().as_ref().map_or(0, |index| index.region_changed(region))
    }

    /// What nodes of a region can be sent, as of that revision or a later one.
    pub(super) async fn granted(
        &self,
        region: RegionId,
        revision: u64,
    ) -> Result<Arc<GrantedKeys>, StoreError> {
        if let Some(keys) = self.keys.kept(region, revision) {
            return Ok(keys);
        }
        let keys = Arc::new(self.log.granted_keys(region).await?);
        self.keys.keep(region, revision, &keys);
        Ok(keys)
    }
}
