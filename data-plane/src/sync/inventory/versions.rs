//! The highest version that was ever accepted of each credential: a secret's version never goes back. And which secret that was:
//! another one under the same number does not bring the version before it back.
//!
//! Of removed credentials only the newest are remembered: ids are not reused, so an old version of a long-removed
//! one could only be an attack, which would have to wait for [`GONE_MAX`] other removals. The invariant: of a
//! credential that is here, nothing is forgotten.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rr_contract::model::credential::{Credential, Upstream, Usage};
use rr_contract::model::id::CredentialId;
use rr_contract::seal::attestation::Versions as Attested;

/// For how many removed credentials the version is kept: the newest.
pub(super) const GONE_MAX: usize = 100_000;

/// A version of a credential, and which secret came with it; `None`: there is none for an upstream, or it is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Known {
    pub(crate) version: u64,
    pub(crate) content: Option<[u8; 32]>,
}

impl Known {
    pub(super) fn of(credential: &Credential) -> Self {
        let content = match &credential.usage {
            Usage::Upstream(Upstream::Sealed { secret, .. }) => Some(secret.content_id()),
            _ => None,
        };
        Self { version: credential.version, content }
    }
}

#[derive(Default)]
pub(super) struct Versions {
    /// What the region itself said when the node joined. Never forgotten.
    attested: Arc<Attested>,
    highest: HashMap<CredentialId, Known>,
    /// Those that are gone, by when.
    order: BTreeMap<u64, CredentialId>,
    places: HashMap<CredentialId, u64>,
    next: u64,
}

impl Versions {
    /// 0: none is known.
    pub(super) fn highest(&self, id: &CredentialId) -> u64 {
        self.highest.get(id).map_or(0, |had| had.version).max(self.attested.version(id))
    }

    /// Why a credential is not taken, if it is older than what is known of it.
    pub(super) fn stale(&self, id: &CredentialId, credential: &Credential) -> Option<String> {
        let (version, had) = (credential.version, self.highest(id));
        if version < had {
            let whose = match self.attested.version(id) == had {
                true => "the region attested before this node joined",
                false => "this node had before",
            };
            return Some(format!("version {version} is older than version {had}, which {whose}"));
        }
        // Whoever seals another secret under this number would have the one before shown to upstreams again.
        let Usage::Upstream(Upstream::Sealed { secret, previous: Some(_), .. }) = &credential.usage else {
            return None;
        };
        self.had_other(id, version, secret.content_id()).then(|| {
            format!(
                "version {version} has another secret than the region attested or this node first had under that number, and does not bring the version before back; `rrctl credential replace-secret` gives it the next number"
            )
        })
    }

    /// Nothing before these was ever the newest.
    pub(super) fn attested(&mut self, attested: Arc<Attested>) {
        self.attested = attested;
    }

    /// Whether this very version came with another secret before, or was attested of another.
    fn had_other(&self, id: &CredentialId, version: u64, content: [u8; 32]) -> bool {
        let had = self.highest.get(id).filter(|had| had.version == version).and_then(|had| had.content);
        let attested = self.attested.get(id).filter(|newest| newest.version == version);
        had.into_iter().chain(attested.map(|newest| newest.content)).any(|had| had != content)
    }

    /// A version was accepted. Of one number, the first secret counts.
    pub(super) fn accept(&mut self, id: CredentialId, known: Known) {
        let had = self.highest.entry(id).or_default();
        if known.version > had.version {
            *had = known;
        } else if known.version == had.version {
            had.content = had.content.or(known.content);
        }
    }

    /// The credential is here, whether it is accepted or not.
    pub(super) fn arrive(&mut self, id: &CredentialId) {
        if let Some(place) = self.places.remove(id) {
            self.order.remove(&place);
        }
    }

    /// The credential is gone.
    pub(super) fn leave(&mut self, id: CredentialId) {
        self.arrive(&id);
        if !self.highest.contains_key(&id) {
            return;
        }
        self.order.insert(self.next, id);
        self.places.insert(id, self.next);
        self.next += 1;
        if self.order.len() > GONE_MAX
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.places.remove(&oldest);
            self.highest.remove(&oldest);
        }
    }

    /// All of them; those that are gone come last, the oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (CredentialId, Known)> {
        let here = self.highest.iter().filter(|(id, _)| !self.places.contains_key(*id));
        let gone = self.order.values().filter_map(|id| Some((*id, *self.highest.get(id)?)));
        here.map(|(id, known)| (*id, *known)).chain(gone)
    }
}

#[cfg(test)]
mod tests {
    use rr_contract::seal::attestation::Newest;

    use super::*;

    fn id(n: u64) -> CredentialId {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&n.to_be_bytes());
        CredentialId::from_random(bytes)
    }

    fn attested(version: u64, byte: u8) -> Newest {
        Newest { version, content: [byte; 32] }
    }

    fn plain(version: u64) -> Known {
        Known { version, content: None }
    }

    #[test]
    fn of_a_version_the_first_secret_is_kept_in_mind() {
        let (mut versions, known) =
            (Versions::default(), |version, byte| Known { version, content: Some([byte; 32]) });
        versions.accept(id(1), plain(2));
        assert!(!versions.had_other(&id(1), 2, [7; 32]), "which one it was is not known");
        versions.accept(id(1), known(2, 7));
        versions.accept(id(1), known(2, 8));
        versions.accept(id(1), known(1, 9));
        assert!(versions.had_other(&id(1), 2, [8; 32]) && !versions.had_other(&id(1), 2, [7; 32]));
        versions.leave(id(1));
        assert!(versions.had_other(&id(1), 2, [8; 32]), "nor once it is gone");
        versions.accept(id(1), known(3, 8));
        assert!(!versions.had_other(&id(1), 3, [8; 32]) && !versions.had_other(&id(1), 2, [7; 32]));
    }

    #[test]
    fn of_an_attested_version_the_secret_that_was_attested_is_the_first() {
        let mut versions = Versions::default();
        versions.attested(Arc::new(Attested::new([(id(1), attested(2, 7))])));
        assert!(versions.had_other(&id(1), 2, [8; 32]) && !versions.had_other(&id(1), 2, [7; 32]));
        assert!(!versions.had_other(&id(1), 3, [8; 32]), "of later ones it says nothing");
        versions.accept(id(1), Known { version: 2, content: Some([8; 32]) });
        assert!(versions.had_other(&id(1), 2, [8; 32]), "nor once it came without the one before");
    }

    #[test]
    fn of_credentials_that_come_and_go_without_end_only_the_newest_are_kept_in_mind() {
        let mut versions = Versions::default();
        versions.accept(id(0), plain(7));
        for n in 1..=GONE_MAX as u64 + 500 {
            versions.accept(id(n), plain(3));
            versions.leave(id(n));
        }
        assert_eq!(versions.iter().count(), GONE_MAX + 1);
        assert_eq!((versions.highest(&id(0)), versions.highest(&id(500))), (7, 0));
        assert_eq!(versions.highest(&id(501)), 3);
        // What the region said is remembered, whatever comes and goes.
        versions.attested(Arc::new(Attested::new([(id(0), attested(6, 1)), (id(500), attested(9, 1))])));
        assert_eq!((versions.highest(&id(0)), versions.highest(&id(500))), (7, 9));
        // One that came back is here, however long ago that was.
        versions.arrive(&id(501));
        for n in 0..GONE_MAX as u64 {
            versions.accept(id(1_000_000 + n), plain(1));
            versions.leave(id(1_000_000 + n));
        }
        assert_eq!((versions.highest(&id(501)), versions.highest(&id(502))), (3, 0));
    }
}
