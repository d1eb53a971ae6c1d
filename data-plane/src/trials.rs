//! Whose requests this node explains: those that show a permission of the authority, for a proxy and the node's region.
//!
//! Lets nobody in, and knows nothing of what is explained. The invariants: a permission counts once, and none that was made
//! before the node started does; a caller that makes permissions up has a bounded number of signatures looked at; a request
//! that shows none costs a look at its headers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::HeaderName;
use rr_contract::model::id::{NodeId, OrgId, ProxyId};
use rr_contract::seam::Clock;
use rr_contract::trial::{self, LASTS, NoPermission, Unverified};

use crate::identity::Identity;

/// The header that shows a permission.
const HEADER: HeaderName = HeaderName::from_static(trial::HEADER);
/// How far the clock of the control plane may be ahead of this one.
const AHEAD_MAX: Duration = LASTS;
/// How many signatures may be wrong within a second, before no further one is looked at.
const WRONG_MAX: u32 = 50;
/// How many permissions are remembered, until they are over.
const USED_MAX: usize = 10_000;

/// Tells who the node is by now.
type Who = Box<dyn Fn() -> Arc<Identity> + Send + Sync>;

/// What this node explains requests by. Clones share it.
#[derive(Clone)]
pub(crate) struct Trials(Arc<Shared>);

struct Shared {
    clock: Arc<dyn Clock>,
    started: SystemTime,
    /// Unset: there is no control plane, or the node has not joined yet.
    identity: OnceLock<Who>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// Nonces, and until when they would count.
    used: HashMap<[u8; 16], SystemTime>,
    second: u64,
    /// Signatures that were wrong in this second.
    wrong: u32,
}

/// The right to have one request explained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trial {
    pub(crate) org: OrgId,
    pub(crate) proxy: ProxyId,
    /// This node.
    pub(crate) node: NodeId,
}

/// Why a request is not explained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TrialFault {
    #[error("header {} is no permission, or there are two", trial::HEADER)]
    Malformed,
    #[error("node has no control plane whose authority it trusts")]
    Alone,
    #[error("permission is of another installation")]
    Installation,
    #[error("permission is for another region")]
    Region,
    #[error("permission is for another proxy, or this node has none of that name")]
    Proxy,
    #[error("permission is over")]
    Over,
    #[error("permission begins later, or lasts longer than one may")]
    Early,
    #[error("permission was made before this node started")]
    Before,
    #[error("no authority that this node trusts has signed the permission")]
    Signature,
    #[error("permission was shown to this node before")]
    Used,
    #[error("too many permissions were wrong, or are in use")]
    Busy,
    #[error("WebSockets and HEAD are not explained")]
    Kind,
}

impl TrialFault {
    /// For who asked.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Alone => "no-control-plane",
            Self::Installation => "other-installation",
            Self::Region => "other-region",
            Self::Proxy => "other-proxy",
            Self::Over => "over",
            Self::Early => "early",
            Self::Before => "before-start",
            Self::Signature => "signature",
            Self::Used => "used",
            Self::Busy => "busy",
            Self::Kind => "kind",
        }
    }
}

impl From<NoPermission> for TrialFault {
    fn from(_: NoPermission) -> Self {
        Self::Malformed
    }
}

impl Trials {
    /// Of a node that starts now.
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        let started = clock.now();
        Self(Arc::new(Shared { clock, started, identity: OnceLock::new(), seen: Mutex::default() }))
    }

    /// The node has joined: from now on it explains.
    pub(crate) fn joined(&self, identity: impl Fn() -> Arc<Identity> + Send + Sync + 'static) {
        // A node joins once in the life of a process.
        self.0.identity.set(Box::new(identity)).ok();
    }

    /// The permission that a request shows, which is used up by that; `None`: it shows none.
    pub(crate) fn shown(&self, headers: &HeaderMap) -> Result<Option<Trial>, TrialFault> {
        let mut shown = headers.get_all(&HEADER).iter();
        let Some(one) = shown.next() else { return Ok(None) };
        if shown.next().is_some() {
            return Err(TrialFault::Malformed);
        }
        let permission = Unverified::read(one.as_bytes())?;
        let identity = self.0.identity.get().ok_or(TrialFault::Alone)?;
        self.judge(&permission, &identity()).map(Some)
    }

    fn judge(&self, permission: &Unverified, identity: &Identity) -> Result<Trial, TrialFault> {
        let claims = &permission.claims;
        let now = self.0.clock.now();
        if claims.installation != identity.installation {
            return Err(TrialFault::Installation);
        }
        if claims.region != identity.region_id() {
            return Err(TrialFault::Region);
        }
        if claims.not_after <= now {
            return Err(TrialFault::Over);
        }
        if claims.issued_at > now + AHEAD_MAX || claims.not_after > claims.issued_at + LASTS {
            return Err(TrialFault::Early);
        }
        if claims.issued_at < self.0.started {
            return Err(TrialFault::Before);
        }
        let mut seen = self.seen();
        seen.wrong_in(now)?;
        if !identity.is_signed(&permission.root, &permission.signed(), &permission.signature) {
            seen.wrong += 1;
            return Err(TrialFault::Signature);
        }
        seen.use_up(claims.nonce, claims.not_after, now)?;
        Ok(Trial { org: claims.org, proxy: claims.proxy, node: identity.node })
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    /// Whether a signature may be looked at.
    fn wrong_in(&mut self, now: SystemTime) -> Result<(), TrialFault> {
        let second = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        if second != self.second {
            (self.second, self.wrong) = (second, 0);
        }
        if self.wrong >= WRONG_MAX { Err(TrialFault::Busy) } else { Ok(()) }
    }

    fn use_up(&mut self, nonce: [u8; 16], not_after: SystemTime, now: SystemTime) -> Result<(), TrialFault> {
        if self.used.len() >= USED_MAX {
            self.used.retain(|_, until| *until > now);
        }
        if self.used.contains_key(&nonce) {
            return Err(TrialFault::Used);
        }
        if self.used.len() >= USED_MAX {
            return Err(TrialFault::Busy);
        }
        self.used.insert(nonce, not_after);
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests;
