//! What a node does when the control plane has other certificate authorities: trusts them, says so, and renews its
//! certificate where another one issues now.
//!
//! Streams that are open go on. What is trusted is on disk before the control plane is told of it.

use std::time::Duration;

use rr_contract::model::time;
use rr_contract::runtime::chain;
use rr_contract::wire::fleet;
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::Sync;
use crate::backoff;
use crate::identity::roots;

/// The longest that a renewal is put off.
const SPREAD_MOST: Duration = Duration::from_secs(3600);

impl Sync {
    /// What this node trusts, and whose certificate it shows; as its status and its Hello say it.
    pub(super) fn authorities(&self) -> (Vec<Vec<u8>>, Vec<u8>) {
        let identity = self.credentials.identity();
        (identity.trusted(), identity.certified_by().unwrap_or_default())
    }

    /// Takes other authorities in.
    pub(super) async fn take_authorities(&mut self, told: fleet::Authorities) {
        let fleet::Authorities { trust, issuer, spread_over } = told;
        let trust = match roots::read(trust) {
            Ok(trust) => trust,
            Err(refused) => {
                warn!(reason = %chain(&refused), "control plane offered authorities that this node does not trust; it goes on with those that it has");
                return;
            }
        };
        if let Err(failed) = self.credentials.replace(|identity| identity.trusting(trust)).await {
            error!(error = %chain(&failed), "cannot keep the authorities of the control plane; this node goes on with those that it has");
            return;
        }
        let (trusted, certified_by) = self.authorities();
        info!(count = trusted.len(), "took the authorities of the control plane");
        if certified_by == issuer {
            self.renew_at = None;
            return;
        }
        let spread = spread_over.as_ref().and_then(|spread| time::duration(spread).ok()).unwrap_or_default();
        let wait = backoff::part(spread.min(SPREAD_MOST), &*self.seams.entropy);
        self.renew_at = Some(Instant::now() + wait);
    }

    /// Has the certificate renewed once that is due. Returns whether it was, which is news.
    pub(super) fn tend_certificate(&mut self) -> bool {
        if self.renew_at.is_some_and(|at| at <= Instant::now()) {
            self.renew_at = None;
            self.credentials.want();
        }
        let is_news = self.replaced.has_changed().unwrap_or_default();
        self.replaced.mark_unchanged();
        is_news
    }
}
