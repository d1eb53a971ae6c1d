//! What a request that was let in is found by again, as long as a tunnel stands that it opened.
//!
//! The invariant: nothing is looked at again that a request said. A value counts by its hash, a token by the very checks
//! that it has passed, a certificate as long as it would be good now.

use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use http::request::Parts;
use rr_contract::api_key::KeyHash;
use rr_contract::model::id::CredentialId;

use crate::client_certificate::Shown;
use crate::jwt::{Checks, Verified};
use crate::report::Reason;
use crate::snapshot::{CompiledCaller, CompiledProxy, Snapshot};

use super::super::hop::Hop;
use super::super::presented::{Form, claim};
use super::Memory;
use super::certificate;
use super::password::UserKey;

/// What a caller is found by.
#[derive(Clone)]
pub(crate) enum FoundBy {
    /// A value by its hash.
    Hash(KeyHash),
    /// A user by name and the hash of the password.
    User(Box<UserKey>),
    /// A token by what it passed.
    Token(Passed),
    /// The certificate of the connection.
    Certificate(Rc<Shown>),
}

/// A token that a credential takes.
#[derive(Clone)]
pub(crate) struct Passed {
    credential: CredentialId,
    checks: Arc<Checks>,
    /// When it ends.
    until: SystemTime,
}

impl FoundBy {
    /// Of a request that this worker has let in as the caller.
    pub(crate) fn of(
        (parts, hop): (&Parts, &Hop),
        proxy: &CompiledProxy,
        caller: &CompiledCaller,
        snapshot: &Snapshot,
        memory: Memory<'_>,
        now: SystemTime,
    ) -> Option<Self> {
        let claim = match claim(parts, Some(proxy)) {
            Ok(claim) => claim,
            Err(Reason::Missing) => return hop.shown().map(|shown| Self::Certificate(Rc::clone(shown))),
            Err(_) => return None,
        };
        let presented = claim.read();
        if presented.form() == Form::Password {
            let user = UserKey::of(&presented, proxy, snapshot, memory.passwords)?;
            return Some(Self::User(Box::new(user)));
        }
        let hash = presented.hash?;
        let Some(checks) = &caller.checks else { return Some(Self::Hash(hash)) };
        let (credential, checks) = (caller.credential, Arc::clone(checks));
        let ends = |it: &Verified| (it.credential == credential).then_some(it.until);
        let until = memory.tokens.seen(proxy.id, hash, now, ends)?;
        Some(Self::Token(Passed { credential, checks, until }))
    }

    /// Who is found by it now.
    pub(crate) fn find<'s>(
        &self,
        proxy: &CompiledProxy,
        snapshot: &'s Snapshot,
        now: SystemTime,
    ) -> Option<&'s CompiledCaller> {
        match self {
            Self::Hash(hash) => snapshot.caller(proxy.org_id, hash),
            Self::User(user) => user.find(proxy, snapshot),
            Self::Token(passed) => {
                let caller = snapshot.token_caller(proxy.org_id, passed.credential)?;
                let is_same = caller.checks.as_ref()?.are(&passed.checks);
                (is_same && now < passed.until).then_some(caller)
            }
            Self::Certificate(shown) => certificate::find(shown, Some(proxy), snapshot, None, now).ok(),
        }
    }

    /// When it may count no longer, whatever becomes of its credential.
    pub(crate) fn ends(&self, now: SystemTime) -> Option<SystemTime> {
        match self {
            Self::Hash(_) | Self::User(_) => None,
            Self::Token(passed) => Some(passed.until),
            Self::Certificate(shown) => shown.turns_after(now),
        }
    }
}
