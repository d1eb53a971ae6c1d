//! One resource as the inventory holds it: what was sent, what runs of it, and why not that.

use std::sync::Arc;

use rr_contract::api_key::KeyHash;
use rr_contract::digest::ResourceHash;
use rr_contract::model::org::Org;
use rr_contract::model::proxy::Proxy;
use rr_contract::wire::fleet::Why;

use crate::snapshot::{CompiledCaller, CompiledTarget, UpstreamCredential};

use super::super::transaction::Offered;
use super::index::Number;

pub(super) struct HeldResource {
    pub(super) wanted: Offered,
    pub(super) refusal: Option<Box<Reason>>,
    pub(super) running: Option<Running>,
    /// What it is indexed as.
    pub(super) number: Number,
    /// What the index says that it uses.
    pub(super) refs: Box<[Number]>,
}

pub(super) struct Running {
    pub(super) hash: ResourceHash,
    pub(super) part: Part,
    /// The bytes, when they are not those that are wanted.
    pub(super) kept: Option<Box<Offered>>,
}

/// A compiled resource.
#[derive(Clone)]
pub(super) enum Part {
    Org(Arc<Org>),
    Target(Arc<CompiledTarget>),
    Caller(Arc<CallerPart>),
    Upstream(Arc<UpstreamCredential>),
    Proxy(Arc<Proxy>),
}

/// A caller credential and by what it is known.
pub(super) struct CallerPart {
    pub(super) hashes: Box<[KeyHash]>,
    pub(super) caller: CompiledCaller,
}

/// Why a resource was not taken.
#[derive(Clone)]
pub(crate) struct Reason {
    pub(super) why: Why,
    pub(super) detail: String,
    /// Nothing of it may run, not even the version before.
    pub(super) closes: bool,
    /// Of a caller credential: how its holder is known, to be told that it is this node that refuses.
    pub(super) caller: Option<Arc<CallerPart>>,
}

impl Reason {
    pub(super) fn new(why: Why, detail: String) -> Self {
        Self { why, detail, closes: false, caller: None }
    }
}

impl HeldResource {
    /// How its holder is known, where it is a caller credential, whether it runs or not.
    pub(super) fn callers(&self) -> Option<Arc<CallerPart>> {
        match (&self.running, &self.refusal) {
            (Some(Running { part: Part::Caller(caller), .. }), _) => Some(Arc::clone(caller)),
            (None, Some(refusal)) => refusal.caller.clone(),
            _ => None,
        }
    }

    /// Whether this is what is wanted already.
    pub(super) fn has(&self, offered: &Offered) -> bool {
        self.wanted.hash == offered.hash && self.wanted.needs == offered.needs
    }

    /// What runs, to be kept although something else is wanted now.
    pub(super) fn keep(&self) -> Option<Running> {
        let running = self.running.as_ref()?;
        let kept = match &running.kept {
            Some(kept) => kept.clone(),
            None => Box::new(self.wanted.clone()),
        };
        Some(Running { hash: running.hash, part: running.part.clone(), kept: Some(kept) })
    }

    pub(super) fn is_revoked(&self) -> bool {
        self.refusal.as_ref().is_some_and(|reason| reason.why == Why::Revoked)
    }
}

/// Whether a part may go on running although a newer version of it was refused.
pub(super) fn may_stay(part: &Part, reason: &Reason) -> bool {
    if reason.closes {
        return false;
    }
    match part {
        // The newer version may be the one that takes a leaked key away. An older one takes nothing away, and in the
        // place of a revoked one runs what is left of it.
        Part::Caller(_) => matches!(reason.why, Why::Stale | Why::Revoked),
        Part::Org(_) | Part::Target(_) | Part::Upstream(_) | Part::Proxy(_) => true,
    }
}
