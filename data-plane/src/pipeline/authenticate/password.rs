//! User and password (`Authorization: Basic`): the user is found by name, the password is known or checked.
//!
//! Computes no hash itself. The invariants: at a proxy that takes passwords, a wrong one costs the same whoever it is
//! for, and whether there is such a user is not told; at any other, and where there is no proxy, none is checked.

use std::sync::Arc;

use rr_contract::password::PasswordHash;

use crate::passwords::{At, Attempt, Checker, Claimed, Live, Outcome};
use crate::reply::Denial;
use crate::report::Reason;
use crate::snapshot::{CompiledCaller, CompiledProxy, CompiledUser, Snapshot};

use super::super::presented::Presented;
use super::{Found, On};

/// A password that is to be checked.
pub(super) struct Checking<'s> {
    user: User<'s>,
    at: At,
    attempt: Attempt,
    claimed: Claimed,
}

/// Whose password it would be.
struct User<'s> {
    /// `None`: there is none who could call. The same work is done for nobody.
    user: Option<&'s CompiledUser>,
    /// Why the caller is refused if the password is wrong.
    reason: Reason,
}

/// Finds the user, and what is known of the password.
pub(super) fn ask<'s>(
    presented: &Presented<'_>,
    proxy: Option<&'s CompiledProxy>,
    snapshot: &'s Snapshot,
    passwords: &Checker,
) -> Result<Found<'s>, Reason> {
    let (proxy, at) = proxy.and_then(|proxy| Some((proxy, place(proxy)?))).ok_or(Reason::UnknownUser)?;
    let claimed = Claimed::read(presented.value).ok_or(Reason::Malformed)?;
    let user = find(presented, proxy, &claimed, snapshot);
    match passwords.known(at, user.live(), &claimed) {
        Ok(outcome) => Ok(Found::Caller(user.settle(outcome)?.into())),
        Err(attempt) => Ok(Found::Waits(On::Password(Checking { user, at, attempt, claimed }))),
    }
}

/// Where passwords are tried. `None`: the proxy takes none, and a stranger has no work done for it.
fn place(proxy: &CompiledProxy) -> Option<At> {
    let rounds = usize::from(proxy.password_rounds);
    (rounds > 0).then_some(At { org: proxy.org_id, proxy: proxy.id, rounds })
}

fn find<'s>(
    presented: &Presented<'_>,
    proxy: &CompiledProxy,
    claimed: &Claimed,
    snapshot: &'s Snapshot,
) -> User<'s> {
    let users = snapshot.users(proxy.org_id, claimed.user());
    let Some((user, caller)) = admitted(users, proxy) else {
        let reason = if users.is_empty() { Reason::UnknownUser } else { Reason::NotAdmitted };
        return User { user: None, reason };
    };
    if caller.header() != presented.header {
        return User { user: None, reason: Reason::Misplaced };
    }
    User { user: Some(user), reason: Reason::WrongPassword }
}

/// The one of several credentials with one user that a proxy takes.
fn admitted<'s>(
    users: &'s [Arc<CompiledUser>],
    proxy: &CompiledProxy,
) -> Option<(&'s CompiledUser, &'s CompiledCaller)> {
    let mut users = users.iter().filter_map(|user| Some((&**user, user.any()?)));
    users.find(|(_, caller)| proxy.admits(&caller.credential))
}

impl<'s> User<'s> {
    fn live(&self) -> Option<&'s Arc<Live>> {
        self.user.map(|user| &user.live)
    }

    fn settle(&self, outcome: Outcome) -> Result<&'s CompiledCaller, Reason> {
        match outcome {
            Outcome::Good(number) => self.user.and_then(|user| user.caller(number)).ok_or(self.reason),
            Outcome::Wrong => Err(self.reason),
        }
    }
}

impl<'s> Checking<'s> {
    pub(super) async fn check(self, passwords: &Checker) -> Result<&'s CompiledCaller, Denial> {
        let Self { user, at, attempt, claimed } = self;
        let checked = passwords.check(attempt, at, user.live().cloned(), claimed).await;
        let outcome = checked.map_err(|_| Denial::TooManyPasswords)?;
        user.settle(outcome).map_err(Denial::BadCredential)
    }
}

/// What a user who was let in is found by again: the name, and the hash of the password.
#[derive(Clone)]
pub(crate) struct UserKey {
    name: Box<[u8]>,
    hash: PasswordHash,
}

impl UserKey {
    /// Of a request whose password this worker knows, as it does once it has let it in.
    pub(super) fn of(
        presented: &Presented<'_>,
        proxy: &CompiledProxy,
        snapshot: &Snapshot,
        passwords: &Checker,
    ) -> Option<Self> {
        let claimed = Claimed::read(presented.value)?;
        let user = find(presented, proxy, &claimed, snapshot);
        let Outcome::Good(number) = passwords.known(place(proxy)?, user.live(), &claimed).ok()? else {
            return None;
        };
        let hash = user.live()?.hashes().get(number)?.clone();
        Some(Self { name: claimed.user().into(), hash })
    }

    pub(super) fn find<'s>(
        &self,
        proxy: &CompiledProxy,
        snapshot: &'s Snapshot,
    ) -> Option<&'s CompiledCaller> {
        let (user, _) = admitted(snapshot.users(proxy.org_id, &self.name), proxy)?;
        user.holder(&self.hash)
    }
}
