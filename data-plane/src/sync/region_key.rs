//! What a node does with a key of a later epoch of its region: keeps it, opens with it, and says so.

use rr_contract::runtime::chain;
use rr_contract::wire::fleet;
use tracing::{error, info, warn};

use super::Sync;

impl Sync {
    /// The newest epoch that the node would still have after a restart; 0 where it holds no keys.
    pub(super) fn region_epoch(&self) -> u32 {
        self.ring.as_ref().map_or(0, |ring| ring.kept())
    }

    /// Takes a key in. Returns whether there is news for the control plane.
    pub(super) async fn take_region_key(&mut self, given: fleet::RegionKey) -> bool {
        let Some(mut ring) = self.ring.take() else { return false };
        let epoch = given.statement.as_ref().map_or(0, |statement| statement.epoch);
        // A slow disk does not block this thread.
        let took = tokio::task::spawn_blocking(move || {
            let took = ring.take(&given);
            let kept = (ring.kept() < ring.newest()).then(|| ring.keep());
            (ring, took, kept)
        });
        let Ok((ring, took, kept)) = took.await else { return false };
        self.ring = Some(ring);
        if let Some(Err(failed)) = kept {
            error!(epoch, error = %chain(&failed), "cannot keep a key of the region: it opens secrets until the next start");
        }
        match took {
            Ok(Some(key)) => {
                info!(epoch, "took the next key of the region");
                self.applier.take_key(key);
                true
            }
            Ok(None) => true,
            Err(refused) => {
                warn!(epoch, reason = %chain(&refused), "control plane offered a key of the region that this node does not take");
                false
            }
        }
    }
}
