//! Who holds a token, of all those whom one credential lets in.
//!
//! To count by, and not to be shown: the invariant is that nothing of the claim is kept but a hash of one length, which is
//! bound to the credential, so that the same person at two credentials is two holders. The hash has no key, since counts
//! outlive the process: who can guess a name can find it among counts, as who reads those on disk finds addresses.

use std::fmt;
use std::sync::LazyLock;

use blake3::hazmat::{ContextKey, HasherExt as _, hash_derive_key_context};
use rr_contract::model::id::CredentialId;
use rr_contract::policy::token::Identity;

static CONTEXT: LazyLock<ContextKey> =
    LazyLock::new(|| hash_derive_key_context("requestrocket token holder 1"));

/// Who holds a token.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Holder([u8; 16]);

impl Holder {
    /// By what the token says, of the credential that takes it.
    pub(crate) fn of(credential: CredentialId, identity: &Identity) -> Self {
        // The number 7 and the text "7" are two.
        let (kind, text) = match identity {
            Identity::Text(text) => (b't', text),
            Identity::Number(digits) => (b'n', digits),
        };
        let mut hasher = blake3::Hasher::new_from_context_key(&CONTEXT);
        hasher.update(credential.as_bytes()).update(&[kind]).update(text.as_bytes());
        let hash = hasher.finalize();
        Self(*hash.as_bytes().first_chunk().expect("a hash has 32 bytes"))
    }

    /// As it was saved.
    pub(crate) const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// To be saved.
    pub(crate) const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Debug for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Enough to tell two apart.
        write!(f, "Holder({:02x}{:02x}…)", self.0[0], self.0[1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_is_one_claim_at_one_credential_and_nothing_of_the_claim_is_kept() {
        let credential = |n| CredentialId::from_random([n; 16]);
        let text = |text: &str| Identity::Text(text.to_owned());
        let ann = Holder::of(credential(1), &text("ann"));
        assert_eq!(ann, Holder::of(credential(1), &text("ann")));
        assert_eq!(ann, Holder::from_bytes(*ann.as_bytes()));
        for other in [
            Holder::of(credential(1), &text("bob")),
            Holder::of(credential(2), &text("ann")),
            Holder::of(credential(1), &text("7")),
            Holder::of(credential(1), &Identity::Number("7".to_owned())),
            Holder::of(credential(1), &text("n7")),
        ] {
            assert_ne!(ann, other);
        }
        assert_ne!(
            Holder::of(credential(1), &text("7")),
            Holder::of(credential(1), &Identity::Number("7".to_owned()))
        );
        // Counts of before a restart are found again: it is the same in every process.
        let said = [&[1; 16][..], b"tann"].concat();
        assert_eq!(ann.as_bytes()[..], blake3::derive_key("requestrocket token holder 1", &said)[..16]);
        assert!(!format!("{ann:?}").contains("ann"));
    }
}
