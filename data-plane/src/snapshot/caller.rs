//! Caller credentials as requests find them: by organization and hash, and how each has to be presented.
//!
//! Reads no request. The invariant: a value is a credential of one organization, whoever else has the same one, and
//! nothing where it is presented in another way than its credential says.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;

use http::HeaderName;
use rr_contract::api_key::KeyHash;
use rr_contract::model::caller::{BEARER, Caller, CallerKind};
use rr_contract::model::id::{CredentialId, OrgId};

use crate::client_certificate::Trust;
use crate::jwt::Checks;

use super::Policy;

/// A caller credential, found by the hash of what was presented, or by the issuer of a token.
#[derive(Debug, Clone)]
pub(crate) struct CompiledCaller {
    pub(crate) credential: CredentialId,
    pub(crate) org: OrgId,
    pub(crate) not_after: Option<SystemTime>,
    /// When this value ends, where a newer one takes its place.
    pub(crate) value_ends: Option<SystemTime>,
    pub(crate) policy: Arc<Policy>,
    /// `None`: as keys that we made are, in `Authorization`, bare or behind `Bearer`.
    pub(crate) place: Option<Arc<Place>>,
    /// Of a credential that takes tokens: what they have to pass.
    pub(crate) checks: Option<Arc<Checks>>,
    /// Of a credential with a name: who gives it.
    pub(crate) trust: Option<Arc<Trust>>,
    /// This node cannot run the credential: its owner is known, and is denied.
    pub(crate) is_refused: bool,
    pub(crate) last_minute: LastMinute,
}

/// The minute since 1970 in which a caller came last, as far as this version of the configuration knows. All workers
/// share it; 0 at first.
#[derive(Debug, Default)]
pub(crate) struct LastMinute(AtomicU32);

impl LastMinute {
    /// Whether this minute is another. Two workers that ask at once may both be told so.
    pub(crate) fn is_left_for(&self, minute: u32) -> bool {
        let is_another = self.0.load(Ordering::Relaxed) != minute;
        if is_another {
            self.0.store(minute, Ordering::Relaxed);
        }
        is_another
    }
}

impl Clone for LastMinute {
    fn clone(&self) -> Self {
        Self(AtomicU32::new(self.0.load(Ordering::Relaxed)))
    }
}

/// Where a credential stands.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Request {
        /// `None`: `Authorization`, or the parameter of the query of that name.
        header: Option<HeaderName>,
        /// The word that has to be before the value. `None`: the value is bare or behind `Bearer`.
        word: Option<Box<str>>,
    },
    /// In no request: the connection has shown it.
    Connection,
}

impl Place {
    /// `None`: where keys that we made stand, or where no hash finds what is presented.
    pub(crate) fn of(caller: &Caller) -> Option<Arc<Self>> {
        let word = match &caller.kind {
            // A header of one's own says enough: there, the usual word need not be there.
            CallerKind::Bearer(bearer) => {
                (caller.header.is_none() || bearer.prefix != BEARER).then(|| bearer.prefix.as_str().into())
            }
            CallerKind::ApiKey(_) | CallerKind::Jwt(_) | CallerKind::Basic(_) | CallerKind::JwtVerify(_) => {
                None
            }
            CallerKind::Certificate(_) => return Some(Arc::new(Self::Connection)),
        };
        let header = caller.header.clone();
        (header.is_some() || word.is_some()).then(|| Arc::new(Self::Request { header, word }))
    }
}

impl CompiledCaller {
    /// When it is not taken any more.
    pub(crate) fn ends(&self) -> Option<SystemTime> {
        self.not_after.into_iter().chain(self.value_ends).min()
    }

    /// The header of its own that carries it.
    pub(crate) fn header(&self) -> Option<&HeaderName> {
        match self.place.as_deref()? {
            Place::Request { header, .. } => header.as_ref(),
            Place::Connection => None,
        }
    }

    /// Whether it is the certificate of a connection, and nothing that a request says.
    pub(crate) fn is_shown(&self) -> bool {
        matches!(self.place.as_deref(), Some(Place::Connection))
    }

    /// Whether it is presented as it has to be: in this header (`None`: `Authorization`), behind this word.
    pub(crate) fn is_presented(&self, header: Option<&HeaderName>, word: Option<&[u8]>) -> bool {
        let (own, wanted) = match self.place.as_deref() {
            None => (None, None),
            Some(Place::Request { header, word }) => (header.as_ref(), word.as_deref()),
            Some(Place::Connection) => return false,
        };
        let is_behind = |word: &[u8]| word.eq_ignore_ascii_case(wanted.unwrap_or(BEARER).as_bytes());
        own == header && word.map_or(wanted.is_none(), is_behind)
    }
}

/// What a caller is found by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct CallerKey {
    org: OrgId,
    hash: KeyHash,
}

impl CallerKey {
    pub(super) fn new(org: OrgId, hash: KeyHash) -> Self {
        Self { org, hash }
    }

    /// All of it, for comparison.
    pub(super) fn bytes(&self) -> (&[u8], &[u8]) {
        (self.org.as_bytes(), self.hash.as_bytes())
    }
}

/// The headers in which the callers of a proxy present their credentials, where there are others than `Authorization`.
#[derive(Debug)]
pub(crate) struct CallerHeaders {
    pub(crate) own: Box<[HeaderName]>,
    /// Whether some of them use `Authorization`.
    pub(crate) authorization: bool,
}

impl CallerHeaders {
    /// Of callers, each with the header of its own. `None`: all use `Authorization`.
    pub(crate) fn of<'h>(callers: impl Iterator<Item = Option<&'h HeaderName>>) -> Option<Box<Self>> {
        let (mut own, mut authorization) = (Vec::new(), false);
        for header in callers {
            match header {
                Some(header) if !own.contains(header) => own.push(header.clone()),
                Some(_) => {}
                None => authorization = true,
            }
        }
        (!own.is_empty()).then(|| Box::new(Self { own: own.into(), authorization }))
    }
}

#[cfg(test)]
impl CompiledCaller {
    /// One of an organization that presents a key and has no end.
    pub(super) fn plain(org: OrgId, n: u8) -> Self {
        Self {
            credential: CredentialId::from_random([n; 16]),
            org,
            not_after: None,
            value_ends: None,
            policy: Policy::plain(rr_contract::model::effect::Effect::Allow, false),
            place: None,
            checks: None,
            trust: None,
            is_refused: false,
            last_minute: LastMinute::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use rr_contract::api_key::hash_foreign;

    use crate::client_certificate::tests::Authority;
    use crate::snapshot::Snapshot;

    use super::*;

    #[test]
    fn a_value_that_has_gone_to_another_credential_does_not_end_with_the_one_before() {
        let org = OrgId::from_random([1; 16]);
        let of = |n| CompiledCaller::plain(org, n);
        let (mut snapshot, hash) = (Snapshot::default(), hash_foreign(b"a value"));
        snapshot.put_caller(hash, of(1));
        snapshot.put_caller(hash, of(2));
        snapshot.remove_caller(hash, &of(1));
        assert_eq!(snapshot.caller(org, &hash).map(|caller| caller.credential), Some(of(2).credential));
        snapshot.remove_caller(hash, &of(2));
        assert!(snapshot.caller(org, &hash).is_none());
    }

    #[test]
    fn a_name_that_has_gone_from_one_credential_to_another_is_one_name() {
        let trust = Authority::root("root").trust("");
        let org = OrgId::from_random([1; 16]);
        let of = |n| CompiledCaller { trust: Some(Arc::clone(&trust)), ..CompiledCaller::plain(org, n) };
        let (mut snapshot, hash) = (Snapshot::default(), hash_foreign(b"a name"));
        snapshot.put_caller(hash, of(1));
        snapshot.put_caller(hash, of(2));
        snapshot.remove_caller(hash, &of(1));
        assert!(snapshot.takes_names());
        snapshot.remove_caller(hash, &of(2));
        assert!(!snapshot.takes_names());
    }
}
