//! Secrets that would open, and that no upstream would take: found before they are sealed.
//!
//! Seals nothing. Names no value.

use super::envelope::SecretSpec;
use super::means::Means;
use super::slot::Slot;
use crate::model::origin::Origin;

/// Why a secret would be of no use where it goes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// Certificates are named for an origin without TLS.
    #[error("no certificate vouches for {0}; give an origin of https, or no `ca`")]
    CaWithoutTls(Origin),
    /// A client certificate is shown in TLS alone.
    #[error("a client certificate is shown in TLS alone, and {0} has none; give an origin of https")]
    CertificateWithoutTls(Origin),
    /// The value says again what stands before it.
    #[error(
        "the secret begins with `Bearer `, which nodes put before it; leave that out of the value, or give a header and no prefix"
    )]
    Scheme,
}

impl SecretSpec {
    /// Whether an upstream could take it.
    pub fn usable(&self) -> Result<(), Unusable> {
        let in_the_clear = self.origins.iter().find(|origin| origin.is_plaintext());
        match (in_the_clear, &self.means) {
            (Some(origin), _) if self.ca.is_some() => Err(Unusable::CaWithoutTls(origin.clone())),
            (Some(origin), Means::Certificate(_)) => Err(Unusable::CertificateWithoutTls(origin.clone())),
            (_, means) if *means == Means::sent(Slot::bearer()) && self.has_scheme() => Err(Unusable::Scheme),
            _ => Ok(()),
        }
    }

    /// Whether a token has the word before it that belongs into its header.
    fn has_scheme(&self) -> bool {
        self.value.expose().get(..7).is_some_and(|begin| begin.eq_ignore_ascii_case(b"bearer "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    #[test]
    fn a_secret_that_no_upstream_would_take_is_told_of_without_its_value() {
        let of = |value: &str, origin: &str| SecretSpec {
            value: Secret::from(value.to_owned()),
            means: Means::sent(Slot::bearer()),
            origins: vec![origin.parse().expect("an origin")],
            not_after: None,
            ca: None,
        };
        assert_eq!(of("sk_live", "https://a.example").usable(), Ok(()));
        assert_eq!(of("bearer", "http://a.example").usable(), Ok(()));
        let wrong = of("bEaRer sk_live", "https://a.example").usable();
        assert_eq!(wrong, Err(Unusable::Scheme));
        assert!(!format!("{wrong:?} {}", Unusable::Scheme).contains("sk_live"));
        let in_the_clear = SecretSpec { ca: Some([7; 32]), ..of("s", "http://a.example") };
        assert!(matches!(in_the_clear.usable(), Err(Unusable::CaWithoutTls(_))));
        let elsewhere = Slot::header("x-key", "").expect("a header");
        let in_its_own =
            SecretSpec { means: Means::sent(elsewhere), ..of("Bearer sk_live", "https://a.example") };
        assert_eq!(in_its_own.usable(), Ok(()));
    }
}
