//! Whose credential is it, and may its holder call this proxy.
//!
//! `presented` reads the request's one claim; here it is looked up, once, in one map for all kinds that a hash
//! identifies. What no hash finds, and the certificate of a connection whose request claims nothing, is asked in a file of its
//! kind below this one. Takes nothing away, which is `clean`'s work. An unknown proxy and a missing credential cost what a
//! wrong key costs. Values are compared by their hashes alone, so there is nothing that timing could give away.

mod certificate;
mod found_by;
mod password;
mod signed;

use std::hint::black_box;
use std::sync::Arc;
use std::time::SystemTime;

use http::request::Parts;
use rr_contract::api_key;
use rr_contract::model::id::OrgId;

use crate::holder::Holder;
use crate::jwt::{Fault, Issuer, Tokens, Turn};
use crate::passwords::Checker;
use crate::reply::Denial;
use crate::report::Reason;
use crate::snapshot::{CompiledCaller, CompiledProxy, Snapshot};
use crate::worker::Worker;

use super::hop::Hop;
use super::presented::{Form, Presented, claim};
use super::resolve::{Path, Resolved};

use self::password::Checking;

pub(super) use self::found_by::FoundBy;

/// Where callers of a proxy are looked for that does not exist: there are none.
const NOWHERE: OrgId = OrgId::from_random([0; 16]);

/// A request whose caller may call the proxy.
pub(crate) struct Authenticated<'s> {
    pub(super) proxy: &'s CompiledProxy,
    /// Where this node cannot run the credential, its owner is known, and nothing else.
    pub(super) caller: &'s CompiledCaller,
    /// Who holds its token, where it tells holders apart.
    pub(super) holder: Option<Holder>,
    pub(super) path: Path,
}

/// What a worker remembers of tokens and passwords that were good before.
#[derive(Clone, Copy)]
pub(super) struct Memory<'w> {
    pub(super) tokens: &'w Tokens,
    pub(super) passwords: &'w Checker,
}

/// What is known of a request once its claim was looked up.
pub(super) enum Looked<'s> {
    Passes(Authenticated<'s>),
    /// Its credential is not known to this worker, and cannot be judged at once.
    Waits(Box<Waiting<'s>>),
}

/// A request whose credential is being judged.
pub(super) struct Waiting<'s> {
    resolved: Resolved<'s>,
    on: On<'s>,
}

/// What such a request waits for.
enum On<'s> {
    /// The password is checked beside the traffic workers.
    Password(Checking<'s>),
    /// Its token has to be verified, and others of this worker go first.
    Turn,
    /// None of the keys that counted verifies the token, for this reason; its issuer may have published another one by now.
    Keys { issuer: Arc<Issuer>, counted: Option<u64>, fault: Fault },
}

/// Whose credential it is.
#[derive(Clone, Copy)]
struct Named<'s> {
    caller: &'s CompiledCaller,
    holder: Option<Holder>,
}

impl<'s> From<&'s CompiledCaller> for Named<'s> {
    /// There is nobody to be told apart.
    fn from(caller: &'s CompiledCaller) -> Self {
        Self { caller, holder: None }
    }
}

/// What a look-up leads to.
enum Found<'s> {
    Caller(Named<'s>),
    Waits(On<'s>),
}

impl<'w> Memory<'w> {
    pub(super) fn of(worker: &'w Worker) -> Self {
        Self { tokens: &worker.tokens, passwords: &worker.passwords }
    }
}

pub(super) fn authenticate<'s>(
    resolved: Resolved<'s>,
    snapshot: &'s Snapshot,
    memory: Memory<'_>,
    parts: &Parts,
    hop: &Hop,
    now: SystemTime,
) -> Result<Looked<'s>, Denial> {
    let found = match claim(parts, resolved.proxy) {
        Ok(claim) => {
            find(&claim.read(), resolved.proxy, snapshot, memory, None, now).map_err(Denial::BadCredential)
        }
        Err(Reason::Missing) => {
            let found = certificate::ask(resolved.proxy, snapshot, memory.tokens, (parts, hop), now);
            found.map(|caller| Found::Caller(caller.into()))
        }
        Err(reason) => Err(Denial::BadCredential(unclaimed(reason, org_of(resolved.proxy), snapshot))),
    };
    // For one that is not known, too.
    if resolved.proxy.is_none() && !matches!(found, Err(Denial::Misdirected)) {
        return Err(Denial::UnknownProxy);
    }
    match found? {
        Found::Caller(caller) => Ok(Looked::Passes(let_in(resolved, caller, parts, hop, now)?)),
        Found::Waits(on) => Ok(Looked::Waits(Box::new(Waiting { resolved, on }))),
    }
}

/// Waits until a credential is judged. Whoever goes away waits no longer, and gives its place up.
pub(super) async fn waited<'s>(
    waiting: Box<Waiting<'s>>,
    snapshot: &'s Snapshot,
    memory: Memory<'_>,
    parts: &Parts,
    hop: &Hop,
    now: SystemTime,
) -> Result<Authenticated<'s>, Denial> {
    let Waiting { resolved, on } = *waiting;
    let (mut found, mut has_asked) = (Found::Waits(on), false);
    let caller = loop {
        found = match found {
            Found::Caller(caller) => break caller,
            Found::Waits(On::Password(checking)) => break checking.check(memory.passwords).await?.into(),
            Found::Waits(On::Keys { issuer, counted, fault }) => {
                if has_asked || !issuer.asked(counted).await {
                    return Err(Denial::BadCredential(Reason::Token(fault)));
                }
                has_asked = true;
                in_turn(&resolved, snapshot, memory, parts, now).await?
            }
            Found::Waits(On::Turn) => in_turn(&resolved, snapshot, memory, parts, now).await?,
        };
    };
    let_in(resolved, caller, parts, hop, now)
}

/// Looks a claim up whose token may have to be verified, once it is its turn.
async fn in_turn<'s>(
    resolved: &Resolved<'s>,
    snapshot: &'s Snapshot,
    memory: Memory<'_>,
    parts: &Parts,
    now: SystemTime,
) -> Result<Found<'s>, Denial> {
    let claim = claim(parts, resolved.proxy).map_err(Denial::BadCredential)?;
    let turn = memory.tokens.turn().await;
    let found = find(&claim.read(), resolved.proxy, snapshot, memory, Some(&turn), now);
    turn.end().await;
    found.map_err(Denial::BadCredential)
}

/// Whether the holder of a good credential may call.
fn let_in<'s>(
    resolved: Resolved<'s>,
    Named { caller, holder }: Named<'s>,
    parts: &Parts,
    hop: &Hop,
    now: SystemTime,
) -> Result<Authenticated<'s>, Denial> {
    let proxy = resolved.proxy.ok_or(Denial::UnknownProxy)?;
    admit(caller, proxy, now).map_err(Denial::BadCredential)?;
    // Only now: nobody without a good key learns what the proxy wants.
    if proxy.wants_certificate() && !hop.has_shown() {
        let can_show_elsewhere =
            hop.tls.as_ref().is_some_and(|tls| !tls.was_asked || tls.is_of_another_host(parts));
        let bad = Denial::BadCredential(Reason::NoCertificate);
        return Err(if can_show_elsewhere { Denial::Misdirected } else { bad });
    }
    Ok(Authenticated { proxy, caller, holder, path: resolved.path })
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

/// The credential that is presented, if it is presented as it has to be.
fn find<'s>(
    presented: &Presented<'_>,
    proxy: Option<&'s CompiledProxy>,
    snapshot: &'s Snapshot,
    memory: Memory<'_>,
    turn: Option<&Turn<'_>>,
    now: SystemTime,
) -> Result<Found<'s>, Reason> {
    let org = org_of(proxy);
    if let Some(caller) = presented.hash.and_then(|hash| snapshot.caller(org, &hash)) {
        let is_presented = caller.is_presented(presented.header, presented.word);
        return if is_presented { Ok(Found::Caller(caller.into())) } else { Err(Reason::Misplaced) };
    }
    if snapshot.takes_tokens()
        && let Some(found) = signed::find(presented, proxy, snapshot, memory.tokens, turn, now)
    {
        return found;
    }
    unhashed(presented, proxy, snapshot, memory.passwords)
}

/// What no hash finds, and no issuer has signed that anybody takes tokens of. Such kinds are asked from here on, so that
/// they cost nobody anything who presents something else.
#[cold]
fn unhashed<'s>(
    presented: &Presented<'_>,
    proxy: Option<&'s CompiledProxy>,
    snapshot: &'s Snapshot,
    passwords: &Checker,
) -> Result<Found<'s>, Reason> {
    match presented.form() {
        Form::Password => password::ask(presented, proxy, snapshot, passwords),
        Form::Token => Err(Reason::UnknownToken),
        Form::Value => Err(Reason::Unknown),
    }
}

/// Where callers are looked for.
fn org_of(proxy: Option<&CompiledProxy>) -> OrgId {
    proxy.map_or(NOWHERE, |proxy| proxy.org_id)
}

/// Does the work that a wrong key makes: which header a proxy's callers use is not told by the time that it takes.
#[cold]
fn unclaimed(reason: Reason, org: OrgId, snapshot: &Snapshot) -> Reason {
    let nobodys = api_key::hash_foreign(&[0; 64]);
    black_box(snapshot.caller(org, &nobodys).is_some());
    reason
}
