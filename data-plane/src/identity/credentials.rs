//! The identity in use. It is replaced while connections go on: each new one is made with what is newest.
//!
//! The invariant: what is in use is on disk. Knows the control plane's calls as little as `identity` does.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use rr_contract::seam::{Clock, Seams};
use rustls::ClientConfig;
use tokio::sync::{Mutex as Turn, Notify, watch};
use tokio::task::spawn_blocking;

use super::{Identity, IdentityFile, IdentityFileError};

/// How long after its end a certificate can still be renewed.
pub(crate) const RENEWABLE: Duration = Duration::from_secs(30 * 86_400);

/// An identity that did not come into use; the one before stays.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReplaceError {
    /// It could not be kept.
    #[error(transparent)]
    File(#[from] IdentityFileError),
    /// It could not be used.
    #[error("set up TLS with the certificate of this node")]
    Tls(#[source] rustls::Error),
    /// The thread that writes ended.
    #[error("write the identity file")]
    Ended,
}

/// The identity in use. Clones share it.
#[derive(Clone)]
pub(crate) struct Credentials(Arc<Shared>);

struct Shared {
    file: IdentityFile,
    clock: Arc<dyn Clock>,
    now: Mutex<InUse>,
    /// One replaces it at a time.
    turn: Turn<()>,
    /// Counts up when it was replaced.
    replaced: watch::Sender<u64>,
    /// The control plane does not take the certificate any more.
    wanted: Notify,
    /// The first try to renew a certificate that had ended is over.
    tried: watch::Sender<bool>,
}

struct InUse {
    identity: Arc<Identity>,
    tls: Arc<ClientConfig>,
}

impl Credentials {
    /// With what is on disk.
    pub(crate) fn new(identity: Identity, file: IdentityFile, seams: &Seams) -> Result<Self, rustls::Error> {
        let clock = Arc::clone(&seams.clock);
        let tls = identity.tls(Arc::clone(&clock))?;
        Ok(Self(Arc::new(Shared {
            file,
            clock,
            now: Mutex::new(InUse { identity: Arc::new(identity), tls }),
            turn: Turn::default(),
            replaced: watch::Sender::new(0),
            wanted: Notify::new(),
            tried: watch::Sender::new(false),
        })))
    }

    fn now(&self) -> MutexGuard<'_, InUse> {
        self.0.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who the node is.
    pub(crate) fn identity(&self) -> Arc<Identity> {
        Arc::clone(&self.now().identity)
    }

    /// For a new connection.
    pub(crate) fn tls(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.now().tls)
    }

    /// Puts another identity in the place of the one in use: on disk first, for one that is in use and is lost cannot be
    /// had again.
    pub(crate) async fn replace(
        &self,
        change: impl FnOnce(&Identity) -> Identity,
    ) -> Result<(), ReplaceError> {
        let _turn = self.0.turn.lock().await;
        let next = change(&self.identity());
        let tls = next.tls(Arc::clone(&self.0.clock)).map_err(ReplaceError::Tls)?;
        let file = self.0.file.clone();
        // A slow disk does not block the control thread.
        let written = spawn_blocking(move || file.write(&next).map(|()| next)).await;
        let identity = Arc::new(written.map_err(|_| ReplaceError::Ended)??);
        *self.now() = InUse { identity, tls };
        self.0.replaced.send_modify(|count| *count += 1);
        Ok(())
    }

    /// How often it was replaced; changes when it is.
    pub(crate) fn replaced(&self) -> watch::Receiver<u64> {
        self.0.replaced.subscribe()
    }

    /// The certificate has ended, by the clock of this machine.
    pub(crate) fn has_ended(&self) -> bool {
        self.identity().not_after().is_some_and(|end| end < self.0.clock.now())
    }

    /// It has for so long that nobody renews it.
    pub(crate) fn is_too_old(&self) -> bool {
        is_too_old(&self.identity(), self.0.clock.now())
    }

    /// The control plane does not take the certificate: it is to be renewed now.
    pub(crate) fn want(&self) {
        self.0.wanted.notify_one();
    }

    /// Ends when somebody wants it renewed.
    pub(crate) async fn wanted(&self) {
        self.0.wanted.notified().await;
    }

    /// A try to renew it is over, whatever came of it.
    pub(crate) fn was_tried(&self) {
        self.0.tried.send_replace(true);
    }

    /// Ends at once while the certificate is good, else once its renewal was tried: a connection before that would be
    /// refused.
    pub(crate) async fn settled(&self) {
        if self.has_ended() {
            // The sender is in `self`.
            self.0.tried.subscribe().wait_for(|tried| *tried).await.ok();
        }
    }
}

/// Whether an identity has ended for so long that nobody renews it.
pub(crate) fn is_too_old(identity: &Identity, now: SystemTime) -> bool {
    identity.not_after().is_some_and(|end| end + RENEWABLE < now)
}

/// Why a certificate is not renewed until a person does something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RenewalFault {
    /// It ended too long ago.
    TooOld,
    /// The control plane refuses to: it takes this node for a copy, or does not know it.
    Refused,
}

impl RenewalFault {
    /// One word.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::TooOld => "certificate-too-old",
            Self::Refused => "certificate-not-renewed",
        }
    }

    /// What to do, in one sentence.
    pub(crate) fn remedy(self) -> &'static str {
        match self {
            Self::TooOld => {
                "the certificate of this node ended more than 30 days ago: restart the node with a new token of `rrctl node token create`"
            }
            Self::Refused => {
                "the control plane refuses to renew the certificate of this node: the log of the node says why, and `rrctl node why` too"
            }
        }
    }
}
