//! The end of a process that cannot go on with its configuration.

use std::path::PathBuf;
use std::time::Duration;

use rr_contract::seam::Seams;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::{error, warn};

use crate::identity::Revoked;
use crate::sync::journal;

use super::StartError;

/// How long the disk gets to record an end of the process; the process ends either way.
const NOTING: Duration = Duration::from_secs(1);

/// Ends the process, callers first, after a panic in what follows the control plane or the file. Its state may be
/// half changed, so it is not used further; and without it a node would serve what it has for good,
/// revoked keys included.
pub(super) async fn give_up(state_dir: PathBuf, seams: Seams, fail: &mpsc::Sender<StartError>) {
    error!("the task that follows the configuration panicked; exiting");
    let marked = tokio::task::spawn_blocking(move || journal::leave_mark(&state_dir, &seams));
    if timeout(NOTING, marked).await.is_err() {
        warn!("disk does not answer; the end of the process is not recorded on it");
    }
    // The process may be stopping already.
    fail.try_send(StartError::Panicked).ok();
}

/// Ends the process of a node that was revoked, callers first. Its state folder is emptied when all has ended, or at the
/// next start.
pub(super) async fn revoke(
    revoked: Revoked,
    state_dir: PathBuf,
    seams: Seams,
    fail: &mpsc::Sender<StartError>,
) {
    error!(
        reason = revoked.reason,
        "this node was revoked: callers are let finish, then its keys, its configuration and records that were not uploaded are removed"
    );
    let reason = revoked.reason.clone();
    let marked = tokio::task::spawn_blocking(move || revoked.mark(&state_dir, &seams));
    if timeout(NOTING, marked).await.is_err() {
        warn!("disk does not answer; it is not marked on it that this node was revoked");
    }
    // The process may be stopping already.
    fail.try_send(StartError::Revoked { reason }).ok();
}
