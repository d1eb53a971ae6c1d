//! Whose credential is it, and may its holder call this proxy.
//!
//! `presented` reads the request's one claim; here it is looked up, once, in one map for all kinds that a hash
//! identifies. Takes nothing away, which is `clean`'s work. An unknown proxy and a missing credential cost what a wrong
//! key costs. Values are compared by their hashes alone, so there is nothing that timing could give away. What is no
//! hash's is asked of `signed`, if anybody takes tokens.

mod signed;

use std::hint::black_box;
use std::sync::Arc;
use std::time::SystemTime;

use http::request::Parts;
use rr_contract::api_key::{self, KeyHash};
use rr_contract::model::id::OrgId;

use crate::jwt::{Fault, Issuer, Tokens, Verified};
use crate::reply::Denial;
use crate::report::Reason;
use crate::snapshot::{CompiledCaller, CompiledProxy, Snapshot};

use super::hop::Hop;
use super::presented::{Form, Presented, claim};
use super::resolve::{Path, Resolved};

use self::signed::Found;

/// Where callers of a proxy are looked for that does not exist: there are none.
const NOWHERE: OrgId = OrgId::from_random([0; 16]);

/// A request whose caller may call the proxy.
pub(crate) struct Authenticated<'s> {
    pub(super) proxy: &'s CompiledProxy,
    /// Where this node cannot run the credential, its owner is known, and nothing else.
    pub(super) caller: &'s CompiledCaller,
    pub(super) path: Path,
}

/// What is known of a request once its claim was looked up.
pub(super) enum Looked<'s> {
    Passes(Authenticated<'s>),
    /// Its token needs a key that its issuer may have published by now.
    NeedsKeys(Box<Waiting<'s>>),
}

/// A request whose token no key at hand verifies.
pub(super) struct Waiting<'s> {
    resolved: Resolved<'s>,
    issuer: Arc<Issuer>,
    fault: Fault,
}

pub(super) fn authenticate<'s>(
    resolved: Resolved<'s>,
    snapshot: &'s Snapshot,
    tokens: &Tokens,
    parts: &Parts,
    hop: &Hop,
    now: SystemTime,
) -> Result<Looked<'s>, Denial> {
    let org = resolved.proxy.map_or(NOWHERE, |proxy| proxy.org_id);
    let found = match claim(parts, resolved.proxy) {
        Ok(claim) => find(&claim.read(), resolved.proxy, snapshot, tokens, now),
        Err(reason) => Err(unclaimed(reason, org, snapshot)),
    };
    if resolved.proxy.is_none() {
        return Err(Denial::UnknownProxy);
    }
    match found.map_err(Denial::BadCredential)? {
        Found::Caller(caller) => Ok(Looked::Passes(let_in(resolved, caller, parts, hop, now)?)),
        Found::Issuer(issuer, fault) => Ok(Looked::NeedsKeys(Box::new(Waiting { resolved, issuer, fault }))),
    }
}

/// Waits until the issuer of a token was asked for its keys, unless it was just now, and looks again.
pub(super) async fn with_keys<'s>(
    waiting: Box<Waiting<'s>>,
    snapshot: &'s Snapshot,
    tokens: &Tokens,
    parts: &Parts,
    hop: &Hop,
    now: SystemTime,
) -> Result<Authenticated<'s>, Denial> {
    let Waiting { resolved, issuer, fault } = *waiting;
    let bad = |fault| Denial::BadCredential(Reason::Token(fault));
    if !issuer.asked().await {
        return Err(bad(fault));
    }
    let claim = claim(parts, resolved.proxy).map_err(Denial::BadCredential)?;
    match find(&claim.read(), resolved.proxy, snapshot, tokens, now).map_err(Denial::BadCredential)? {
        Found::Caller(caller) => let_in(resolved, caller, parts, hop, now),
        Found::Issuer(_, fault) => Err(bad(fault)),
    }
}

/// Whether the holder of a good credential may call.
fn let_in<'s>(
    resolved: Resolved<'s>,
    caller: &'s CompiledCaller,
    parts: &Parts,
    hop: &Hop,
    now: SystemTime,
) -> Result<Authenticated<'s>, Denial> {
    let proxy = resolved.proxy.ok_or(Denial::UnknownProxy)?;
    admit(caller, proxy, now).map_err(Denial::BadCredential)?;
    // Only now: nobody without a good key learns what the proxy wants.
    if proxy.wants_certificate() && hop.client_key().is_none() {
        let can_show_elsewhere =
            hop.tls.as_ref().is_some_and(|tls| !tls.was_asked || tls.is_of_another_host(parts));
        let bad = Denial::BadCredential(Reason::NoCertificate);
        return Err(if can_show_elsewhere { Denial::Misdirected } else { bad });
    }
    Ok(Authenticated { proxy, caller, path: resolved.path })
}

/// Whether the holder of a credential may call a proxy of its organization at this time.
pub(super) fn admit(caller: &CompiledCaller, proxy: &CompiledProxy, now: SystemTime) -> Result<(), Reason> {
    if caller.not_after.is_some_and(|end| now > end) {
        return Err(Reason::Expired);
    }
    if caller.value_ends.is_some_and(|end| now > end) {
        return Err(Reason::Superseded);
    }
    if !proxy.admits(&caller.credential) {
        return Err(Reason::NotAdmitted);
    }
    Ok(())
}

/// What a request that was let in is found by again.
pub(super) enum Proof {
    /// A value by its hash.
    Hash(KeyHash),
    /// A token by what it passed, and until when it counts.
    Token(Verified),
}

/// What a request was let in by.
pub(super) fn proof_of(
    parts: &Parts,
    proxy: &CompiledProxy,
    caller: &CompiledCaller,
    tokens: &Tokens,
    now: SystemTime,
) -> Option<Proof> {
    let hash = claim(parts, Some(proxy)).ok()?.read().hash?;
    match caller.checks {
        None => Some(Proof::Hash(hash)),
        Some(_) => tokens.seen(proxy.id, hash, now).map(Proof::Token),
    }
}

/// The credential that is presented, if it is presented as it has to be.
fn find<'s>(
    presented: &Presented<'_>,
    proxy: Option<&CompiledProxy>,
    snapshot: &'s Snapshot,
    tokens: &Tokens,
    now: SystemTime,
) -> Result<Found<'s>, Reason> {
    let org = proxy.map_or(NOWHERE, |proxy| proxy.org_id);
    let Some(caller) = presented.hash.and_then(|hash| snapshot.caller(org, &hash)) else {
        return match proxy.filter(|_| snapshot.takes_tokens()) {
            None => Err(unhashed(presented)),
            Some(proxy) => match signed::find(presented, proxy, snapshot, tokens, now) {
                Some(found) => found,
                None => Err(unhashed(presented)),
            },
        };
    };
    if !caller.is_presented(presented.header, presented.word) {
        return Err(Reason::Misplaced);
    }
    Ok(Found::Caller(caller))
}

/// What nobody presents by means of a hash, and no issuer has signed. Kinds that are found by other means (a user by
/// name) are asked from here on, so that they cost nobody anything who presents something else.
#[cold]
fn unhashed(presented: &Presented<'_>) -> Reason {
    match presented.form() {
        Form::Password => Reason::UnknownUser,
        Form::Token => Reason::UnknownToken,
        Form::Value => Reason::Unknown,
    }
}

/// Does the work that a wrong key makes: which header a proxy's callers use is not told by the time that it takes.
#[cold]
fn unclaimed(reason: Reason, org: OrgId, snapshot: &Snapshot) -> Reason {
    let nobodys = api_key::hash_foreign(&[0; 64]);
    black_box(snapshot.caller(org, &nobodys).is_some());
    reason
}
