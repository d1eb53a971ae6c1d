//! One resource in the inventory: the version that was sent, the version that runs, and the reason for a
//! difference.

use std::sync::Arc;
use std::time::SystemTime;

use rr_contract::api_key::KeyHash;
use rr_contract::digest::ResourceHash;
use rr_contract::model::effect::Effect;
use rr_contract::model::org::Org;
use rr_contract::model::proxy::Proxy;
use rr_contract::policy::filter::CompiledFilter;
use rr_contract::policy::verdict::CompiledRule;
use rr_contract::wire::fleet::Why;

use crate::passwords::Live;
use crate::snapshot::{
    CompiledCaller, CompiledTarget, CompiledUser, RunningMeter, Snapshot, UpstreamCredential,
};

use super::super::transaction::Offered;
use super::index::Number;

pub(super) struct HeldResource {
    pub(super) wanted: Offered,
    pub(super) refusal: Option<Box<Reason>>,
    pub(super) running: Option<Running>,
    /// Its number in the index.
    pub(super) number: Number,
    /// The numbers that it uses.
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
    Rule(Arc<CompiledRule>),
    Filter(Arc<CompiledFilter>),
    Meter(RunningMeter),
}

/// A caller credential, and what it is found by: hashes, a user, or the issuer of its checks.
pub(super) struct CallerPart {
    /// The newest first.
    pub(super) hashes: Box<[KeyHash]>,
    /// The name of its user, and the passwords.
    pub(super) user: Option<(Box<str>, Arc<Live>)>,
    /// When those behind the first end, where they do so before the credential.
    pub(super) previous_ends: Option<SystemTime>,
    pub(super) default_effect: Effect,
    pub(super) caller: CompiledCaller,
}

impl CallerPart {
    /// Has requests find it.
    pub(super) fn enter(&self, snapshot: &mut Snapshot) {
        for (at, hash) in self.hashes.iter().enumerate() {
            snapshot.put_caller(*hash, self.value(at));
        }
        if let Some((name, live)) = &self.user {
            let callers = (0..live.hashes().len()).map(|at| self.value(at));
            snapshot.put_user(name, CompiledUser::new(Arc::clone(live), callers.collect()));
        }
        if self.caller.checks.is_some() {
            snapshot.put_token_caller(self.caller.clone());
        }
    }

    /// Has requests find it no more.
    pub(super) fn leave(&self, snapshot: &mut Snapshot) {
        let (org, credential) = (self.caller.org, self.caller.credential);
        self.hashes.iter().for_each(|hash| snapshot.remove_caller(*hash, &self.caller));
        if let Some((name, _)) = &self.user {
            snapshot.remove_user(org, name, credential);
        }
        if self.caller.checks.is_some() {
            snapshot.remove_token_caller(org, credential);
        }
    }

    /// The live value with this number, as requests find it.
    fn value(&self, at: usize) -> CompiledCaller {
        CompiledCaller { value_ends: self.previous_ends.filter(|_| at > 0), ..self.caller.clone() }
    }

    /// How many hashes a wrong password of it costs.
    pub(super) fn rounds(&self) -> u8 {
        let live = self.user.as_ref().map_or(0, |(_, live)| live.hashes().len());
        u8::try_from(live).unwrap_or(u8::MAX)
    }
}

/// Why a resource was not taken.
#[derive(Clone)]
pub(crate) struct Reason {
    pub(super) why: Why,
    pub(super) detail: String,
    /// Nothing of it may run, not even the earlier version.
    pub(super) closes: bool,
    /// For a caller credential: how its owner is recognized, to be told that this node refuses it.
    pub(super) caller: Option<Arc<CallerPart>>,
}

impl Reason {
    pub(super) fn new(why: Why, detail: String) -> Self {
        Self { why, detail, closes: false, caller: None }
    }
}

impl HeldResource {
    /// How its owner is recognized, for a caller credential that runs or is refused.
    pub(super) fn callers(&self) -> Option<Arc<CallerPart>> {
        match (&self.running, &self.refusal) {
            (Some(Running { part: Part::Caller(caller), .. }), _) => Some(Arc::clone(caller)),
            (None, Some(refusal)) => refusal.caller.clone(),
            _ => None,
        }
    }

    /// Whether this version is held already.
    pub(super) fn has(&self, offered: &Offered) -> bool {
        self.wanted.hash == offered.hash && self.wanted.needs == offered.needs
    }

    /// It is refused because its seal does not open.
    pub(super) fn is_sealed_off(&self) -> bool {
        self.refusal.as_ref().is_some_and(|reason| reason.why == Why::Unseal)
    }

    /// The running version, to be kept in place of a refused newer one.
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
        // The newer version may be the one that takes a leaked key away. An older one takes nothing away, and in
        // place of a revoked one runs what is left of it.
        Part::Caller(_) => matches!(reason.why, Why::Stale | Why::Revoked),
        Part::Org(_) | Part::Target(_) | Part::Upstream(_) | Part::Proxy(_) => true,
        // The newer version may deny or take away more.
        Part::Rule(_) | Part::Filter(_) | Part::Meter(_) => false,
    }
}
