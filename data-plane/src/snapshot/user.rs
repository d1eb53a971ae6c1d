//! Caller credentials that a user's name finds: by organization and name, each with its live passwords.
//!
//! Checks no password. The invariant: a name may be that of several credentials of an organization; which one a request
//! means, its proxy says.

use std::fmt;
use std::sync::Arc;

use rr_contract::model::caller::USER_MAX;
use rr_contract::model::id::{CredentialId, OrgId};
use rr_contract::password::PasswordHash;

use crate::passwords::Live;

use super::CompiledCaller;

/// A caller credential with user and password.
pub(crate) struct CompiledUser {
    pub(crate) live: Arc<Live>,
    /// As the holder of each of the live passwords is let in.
    callers: Box<[CompiledCaller]>,
}

impl CompiledUser {
    /// `callers`: one for each live password, in their order.
    pub(crate) fn new(live: Arc<Live>, callers: Box<[CompiledCaller]>) -> Arc<Self> {
        Arc::new(Self { live, callers })
    }

    /// Any of them: they are of one credential.
    pub(crate) fn any(&self) -> Option<&CompiledCaller> {
        self.callers.first()
    }

    /// The holder of the live password with this number.
    pub(crate) fn caller(&self, number: usize) -> Option<&CompiledCaller> {
        self.callers.get(number)
    }

    /// The holder of the password with this hash, while it is live.
    pub(crate) fn holder(&self, hash: &PasswordHash) -> Option<&CompiledCaller> {
        self.caller(self.live.hashes().iter().position(|live| live == hash)?)
    }

    pub(super) fn is_of(&self, credential: CredentialId) -> bool {
        self.any().is_some_and(|caller| caller.credential == credential)
    }
}

impl fmt::Debug for CompiledUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // For comparison; passwords cannot be guessed from it without their hashes.
        write!(f, "{} with {:?}", self.live.mark_text(), self.callers)
    }
}

/// What users are found by: organization and name in one piece.
pub(super) type UserKey = Box<[u8]>;

const ORG: usize = 16;

/// Where such a key is put together.
pub(super) struct Spelled([u8; ORG + USER_MAX], usize);

impl Spelled {
    /// `None`: nobody has such a name.
    pub(super) fn new(org: OrgId, name: &[u8]) -> Option<Self> {
        let mut spelled = [0; ORG + USER_MAX];
        spelled[..ORG].copy_from_slice(org.as_bytes());
        spelled.get_mut(ORG..ORG + name.len())?.copy_from_slice(name);
        Some(Self(spelled, ORG + name.len()))
    }

    pub(super) fn as_key(&self) -> &[u8] {
        &self.0[..self.1]
    }
}

#[cfg(test)]
mod tests {
    use crate::snapshot::Snapshot;

    use super::*;

    const ORG: OrgId = OrgId::from_random([1; 16]);

    fn user(org: OrgId, n: u8, version: u64) -> Arc<CompiledUser> {
        let caller = CompiledCaller::plain(org, n);
        CompiledUser::new(Live::new(caller.credential, version, Vec::new()), [caller].into())
    }

    fn marks(snapshot: &Snapshot, org: OrgId) -> Vec<String> {
        snapshot.users(org, b"ann").iter().map(|user| user.live.mark_text()).collect()
    }

    #[test]
    fn a_newer_form_takes_the_place_of_one_credential_and_its_end_takes_no_others_user() {
        let mut snapshot = Snapshot::default();
        let [one, newer, other] = [(1, 1), (1, 2), (2, 1)].map(|(n, version)| user(ORG, n, version));
        for user in [&one, &other, &newer] {
            snapshot.put_user("ann", Arc::clone(user));
        }
        assert_eq!(marks(&snapshot, ORG), [newer.live.mark_text(), other.live.mark_text()]);
        snapshot.remove_user(ORG, "ann", CredentialId::from_random([1; 16]));
        assert_eq!(marks(&snapshot, ORG), [other.live.mark_text()]);
        snapshot.remove_user(ORG, "ann", CredentialId::from_random([2; 16]));
        assert!(marks(&snapshot, ORG).is_empty());
    }

    #[test]
    fn a_name_is_that_of_one_organization() {
        let theirs = OrgId::from_random([2; 16]);
        let mut snapshot = Snapshot::default();
        for org in [ORG, theirs] {
            snapshot.put_user("ann", user(org, 1, 1));
        }
        snapshot.remove_user(theirs, "ann", CredentialId::from_random([1; 16]));
        assert_eq!((marks(&snapshot, ORG).len(), marks(&snapshot, theirs).len()), (1, 0));
        assert!(snapshot.users(ORG, &[b'n'; USER_MAX + 1]).is_empty());
    }
}
