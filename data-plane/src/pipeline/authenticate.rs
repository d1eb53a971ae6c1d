//! Whose credential is it, and may its holder call this proxy.
//!
//! `presented` reads the request's one claim; here it is looked up, once, in one map for all kinds that a hash
//! identifies. What no hash finds is asked in a file of its kind below this one. Takes nothing away, which is `clean`'s
//! work. An unknown proxy and a missing credential cost what a wrong key costs. Values are compared by their hashes
//! alone, so there is nothing that timing could give away.

mod password;

use std::hint::black_box;
use std::time::SystemTime;

use http::request::Parts;
use rr_contract::api_key::{self, KeyHash};
use rr_contract::model::id::OrgId;

use crate::passwords::Checker;
use crate::reply::Denial;
use crate::report::Reason;
use crate::snapshot::{CompiledCaller, CompiledProxy, Snapshot};

use super::hop::Hop;
use super::presented::{Form, Presented, claim};
use super::resolve::{Path, Resolved};

use self::password::Checking;

pub(super) use self::password::UserKey;

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
    /// Its password is to be checked beside the traffic workers.
    NeedsCheck(Box<Waiting<'s>>),
}

/// A request whose password is not known to this worker.
pub(super) struct Waiting<'s> {
    resolved: Resolved<'s>,
    checking: Checking<'s>,
}

/// What a look-up leads to.
enum Found<'s> {
    Caller(&'s CompiledCaller),
    Password(Checking<'s>),
}

pub(super) fn authenticate<'s>(
    resolved: Resolved<'s>,
    snapshot: &'s Snapshot,
    parts: &Parts,
    hop: &Hop,
    passwords: &Checker,
    now: SystemTime,
) -> Result<Looked<'s>, Denial> {
    let org = resolved.proxy.map_or(NOWHERE, |proxy| proxy.org_id);
    let found = match claim(parts, resolved.proxy) {
        Ok(claim) => {
            let presented = claim.read();
            match find(&presented, org, snapshot) {
                Some(found) => found.map(Found::Caller),
                None => unhashed(&presented, resolved.proxy, snapshot, passwords),
            }
        }
        Err(reason) => Err(unclaimed(reason, org, snapshot)),
    };
    if resolved.proxy.is_none() {
        return Err(Denial::UnknownProxy);
    }
    match found.map_err(Denial::BadCredential)? {
        Found::Caller(caller) => Ok(Looked::Passes(let_in(resolved, caller, parts, hop, now)?)),
        Found::Password(checking) => Ok(Looked::NeedsCheck(Box::new(Waiting { resolved, checking }))),
    }
}

/// Waits until a password is checked. Whoever goes away waits no longer, and gives its place up.
pub(super) async fn checked<'s>(
    waiting: Box<Waiting<'s>>,
    parts: &Parts,
    hop: &Hop,
    passwords: &Checker,
    now: SystemTime,
) -> Result<Authenticated<'s>, Denial> {
    let Waiting { resolved, checking } = *waiting;
    let caller = checking.check(passwords).await?;
    let_in(resolved, caller, parts, hop, now)
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
#[derive(Clone)]
pub(super) enum FoundBy {
    Hash(KeyHash),
    User(Box<UserKey>),
}

impl FoundBy {
    pub(super) fn of(
        parts: &Parts,
        proxy: &CompiledProxy,
        snapshot: &Snapshot,
        passwords: &Checker,
    ) -> Option<Self> {
        let claim = claim(parts, Some(proxy)).ok()?;
        let presented = claim.read();
        if presented.form() == Form::Password {
            let user = UserKey::of(&presented, proxy, snapshot, passwords)?;
            return Some(Self::User(Box::new(user)));
        }
        presented.hash.map(Self::Hash)
    }

    /// Who is found by it now.
    pub(super) fn find<'s>(
        &self,
        proxy: &CompiledProxy,
        snapshot: &'s Snapshot,
    ) -> Option<&'s CompiledCaller> {
        match self {
            Self::Hash(hash) => snapshot.caller(proxy.org_id, hash),
            Self::User(user) => user.find(proxy, snapshot),
        }
    }
}

/// The credential that is presented, if it is presented as it has to be. `None`: no hash finds one.
fn find<'s>(
    presented: &Presented<'_>,
    org: OrgId,
    snapshot: &'s Snapshot,
) -> Option<Result<&'s CompiledCaller, Reason>> {
    let caller = snapshot.caller(org, presented.hash.as_ref()?)?;
    let is_presented = caller.is_presented(presented.header, presented.word);
    Some(if is_presented { Ok(caller) } else { Err(Reason::Misplaced) })
}

/// What no hash finds. Kinds that are found by other means (a user by name, a signed token by its issuer) are asked
/// from here on, so that they cost nobody anything who presents something else.
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

/// Does the work that a wrong key makes: which header a proxy's callers use is not told by the time that it takes.
#[cold]
fn unclaimed(reason: Reason, org: OrgId, snapshot: &Snapshot) -> Reason {
    let nobodys = api_key::hash_foreign(&[0; 64]);
    black_box(snapshot.caller(org, &nobodys).is_some());
    reason
}
