//! `Debug` of the messages that carry a secret once, as they are sent: everything but the secret.
//!
//! The plaintext of seals has none at all, and no JSON either.

use std::fmt;

use super::fleet;
#[cfg(feature = "management")]
use super::management;

impl fmt::Debug for fleet::JoinRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinRequest")
            .field("token", &self.token)
            .field("build", &self.build)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for fleet::CallerBasic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallerBasic").field("user", &self.user).finish_non_exhaustive()
    }
}

#[cfg(feature = "management")]
impl fmt::Debug for management::Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the hash: passwords are guessed from it.
        f.debug_struct("Caller")
            .field("kind", &self.kind())
            .field("header", &self.header)
            .field("prefix", &self.prefix)
            .field("username", &self.username)
            .field("jwt_verify", &self.jwt_verify)
            .field("sealed_regions", &self.sealed_regions)
            .field("certificate", &self.certificate)
            .field("rolled_at", &self.rolled_at)
            .field("previous_not_after", &self.previous_not_after)
            .finish_non_exhaustive()
    }
}

#[cfg(feature = "management")]
impl fmt::Debug for management::RollCredentialRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RollCredentialRequest")
            .field("org", &self.org)
            .field("credential", &self.credential)
            .field("overlap", &self.overlap)
            .field("etag", &self.etag)
            .finish_non_exhaustive()
    }
}

#[cfg(feature = "management")]
impl fmt::Debug for management::CreateCredentialResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreateCredentialResponse")
            .field("credential", &self.credential)
            .field("revision", &self.revision)
            .finish_non_exhaustive()
    }
}

#[cfg(feature = "management")]
impl fmt::Debug for management::CreateTokenResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreateTokenResponse").field("token", &self.token).finish_non_exhaustive()
    }
}

#[cfg(feature = "management")]
impl fmt::Debug for management::CreatedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreatedKey")
            .field("credential", &self.credential)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

#[cfg(feature = "management")]
impl fmt::Debug for management::PlainSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Headers and bodies of what is made of it may hold a secret, too.
        f.debug_struct("PlainSecret")
            .field("origins", &self.origins)
            .field("targets", &self.targets)
            .field("regions", &self.regions)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, feature = "json", feature = "management"))]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_carries_a_secret_does_not_print_it() {
        let join = fleet::JoinRequest { auth: vec![222; 32], token: "nt_1".into(), ..Default::default() };
        let credential = management::CreateCredentialResponse {
            key: "rr_key_s3cr3t".into(),
            revision: 7,
            ..Default::default()
        };
        let token =
            management::CreateTokenResponse { secret: "rr_token_s3cr3t".into(), ..Default::default() };
        let plain = management::PlainSecret {
            value: "s3cr3t".into(),
            value_bytes: vec![222],
            values: [("x-key".to_owned(), "s3cr3t".to_owned())].into(),
            ..Default::default()
        };
        let replace = management::ReplaceSecretRequest { plain: Some(plain.clone()), ..Default::default() };
        let roll = management::RollCredentialRequest { plain: Some(plain.clone()), ..Default::default() };
        let made = management::Credential { plain: Some(plain), ..Default::default() };
        let printed = format!("{join:?} {credential:?} {token:?} {replace:?} {roll:?} {made:?}");
        assert!(printed.contains("nt_1") && printed.contains('7'), "{printed}");
        assert!(!printed.contains("222") && !printed.contains("s3cr3t"), "{printed}");
    }

    #[test]
    fn the_plaintext_of_a_seal_can_be_neither_printed_nor_written_as_json() {
        let messages = include_str!(concat!(env!("OUT_DIR"), "/requestrocket.fleet.v1.rs"));
        let json = include_str!(concat!(env!("OUT_DIR"), "/requestrocket.fleet.v1.serde.rs"));
        for name in ["SecretPlaintext", "RegionKeyPlaintext"] {
            assert!(messages.contains(&format!("#[prost(skip_debug)]\npub struct {name}")), "{name}");
            assert!(!json.contains(&format!("for {name} ")), "{name}");
        }
        assert!(json.contains("for SealedSecret "), "the text to look for is still how it is written");
    }
}
