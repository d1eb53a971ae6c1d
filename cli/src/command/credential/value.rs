//! Values of one's own that callers present, and secrets that verify what they present: read here and judged; values are
//! hashed here too.
//!
//! A value leaves this process only as its hash, a secret only sealed. None comes from an argument.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Args;
use rr_contract::api_key::{self, KeyHash, KeyKind};
use rr_contract::client_key::ClientKey;
use rr_contract::model::caller::jwt::Algorithm;
use rr_contract::own_value;
use rr_contract::seam::{SystemEntropy, draw};
use rr_contract::secret::Secret;
use rr_contract::wire::management as mg;

use crate::{fault, prompt};

/// The place of a value that RequestRocket does not make.
#[derive(Args)]
pub(super) struct OwnValue {
    /// File that holds a value of your own, instead of a key that RequestRocket makes, the password of a user, or the secret
    /// that an issuer shares; `-` is standard input. Only its hash is sent; a shared secret is sealed. A value has at least 32
    /// visible ASCII characters that cannot be guessed, a password at least 12, a shared secret 32, 48 or 64 bytes (HS256,
    /// HS384, HS512).
    #[arg(long, value_name = "FILE", visible_alias = "password-from", alias = "value-file")]
    value_from: Option<PathBuf>,
    /// Asks for a value of your own, a password or a shared secret, without showing it.
    #[arg(long, conflicts_with = "value_from")]
    prompt: bool,
}

/// The hash of a value, as requests bring it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Hashed {
    pub(crate) value_hash: Vec<u8>,
    /// In place of the other, for a user's password.
    pub(crate) password_hash: String,
}

impl OwnValue {
    pub(super) fn is_given(&self) -> bool {
        self.prompt || self.value_from.is_some()
    }

    /// The hash of the value, for a credential of this kind with this user; nothing, where none is given.
    pub(super) fn hash(&self, kind: mg::CallerKind, user: &str, credential: &str) -> Result<Hashed> {
        if !self.is_given() {
            return Ok(Hashed::default());
        }
        let what = if kind == mg::CallerKind::Basic { "password" } else { "value" };
        let what = format!("{what} of credential {credential}");
        hash(kind, user, &prompt::read_new(&what, self.value_from.as_deref(), "--value-from")?)
    }

    /// The secret that an issuer of tokens of these algorithms shares.
    pub(super) fn shared(&self, algorithms: &[String], credential: &str) -> Result<Secret> {
        let what = format!("shared secret of credential {credential}");
        let value = prompt::read_new(&what, self.value_from.as_deref(), "--value-from")?;
        check_shared(&value, algorithms)?;
        Ok(value)
    }

    /// How the value was given.
    pub(super) fn flag(&self) -> &'static str {
        if self.prompt { "--prompt" } else { "--value-from" }
    }
}

/// The hash of a value for a credential of this kind with this user, as the control plane and nodes know it.
pub(crate) fn hash(kind: mg::CallerKind, user: &str, value: &Secret) -> Result<Hashed> {
    let hash: KeyHash = match kind {
        mg::CallerKind::ApiKey => api_key::hash(KeyKind::Caller, value.expose()).ok_or_else(|| {
            fault::usage(
                "the value is no key of RequestRocket",
                "give --kind bearer for a value of your own; `rr-edge --make-key FILE` makes a key",
            )
        })?,
        mg::CallerKind::Bearer | mg::CallerKind::Jwt => {
            own_value::hash(value.expose()).context("the value cannot be taken")?
        }
        mg::CallerKind::Basic => {
            let hash = own_value::password::hash(user, value, draw(&SystemEntropy));
            let password_hash = hash.context("the password cannot be taken")?.to_phc();
            return Ok(Hashed { value_hash: Vec::new(), password_hash });
        }
        mg::CallerKind::Certificate => {
            let key = ClientKey::from_pem(value.expose()).map_err(|error| {
                fault::usage(
                    &format!("the file {error}"),
                    "give the certificate that the caller shows, in PEM",
                )
            })?;
            return Ok(Hashed { value_hash: key.as_bytes().to_vec(), password_hash: String::new() });
        }
        mg::CallerKind::JwtVerify | mg::CallerKind::Unspecified => {
            return Err(fault::usage("this kind has no value that is hashed", "leave the value out"));
        }
    };
    Ok(Hashed { value_hash: hash.as_bytes().to_vec(), password_hash: String::new() })
}

/// Whether a secret may verify tokens of these algorithms.
pub(crate) fn check_shared(value: &Secret, algorithms: &[String]) -> Result<()> {
    // One that is unknown is refused by name.
    let known: Vec<Algorithm> = algorithms.iter().filter_map(|name| Algorithm::of(name)).collect();
    own_value::shared::check(value.expose(), &known).context("the shared secret cannot be taken")
}

#[cfg(test)]
mod tests {
    use rr_contract::password::{PasswordHash, Scratch};

    use super::*;

    fn of(kind: mg::CallerKind, value: &str) -> Result<Vec<u8>, String> {
        let value = Secret::from(value.to_owned());
        hash(kind, "ann", &value).map(|hashed| hashed.value_hash).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn a_value_becomes_the_hash_that_nodes_look_for() {
        let own = "9f86d081884c7d659a2feaa0c55ad015";
        let (key, made) = api_key::make(KeyKind::Caller, &[7; 32]);
        let key = str::from_utf8(key.expose()).expect("it is ASCII");
        for kind in [mg::CallerKind::Bearer, mg::CallerKind::Jwt] {
            assert_eq!(of(kind, own).as_deref(), Ok(&api_key::hash_foreign(own.as_bytes()).as_bytes()[..]));
        }
        for kind in [mg::CallerKind::Bearer, mg::CallerKind::ApiKey] {
            assert_eq!(of(kind, key).as_deref(), Ok(&made.as_bytes()[..]));
        }
    }

    #[test]
    fn what_is_refused_is_refused_with_the_reason_and_is_not_repeated() {
        for (kind, value, part) in [
            (mg::CallerKind::Bearer, "hunter2-hunter2", "15 characters long: 32 at least"),
            (mg::CallerKind::Jwt, "changemechangemechangemechangeme", "bits to guess: 80 at least"),
            (mg::CallerKind::ApiKey, "9f86d081884c7d659a2feaa0c55ad015", "no key of RequestRocket"),
            (mg::CallerKind::Basic, "hunter2", "7 characters long without the name of the user: 12 at least"),
            (mg::CallerKind::Basic, "passwordpassword", "bits to guess"),
            (mg::CallerKind::JwtVerify, "9f86d081884c7d659a2feaa0c55ad015", "no value"),
        ] {
            let error = of(kind, value).expect_err("is refused");
            assert!(error.contains(part) && !error.contains(value), "{error}");
        }
    }

    #[test]
    fn a_value_comes_from_a_file_without_its_line_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("value");
        let own = "9f86d081884c7d659a2feaa0c55ad015";
        std::fs::write(&file, format!("{own}\r\n")).expect("is written");
        let value = OwnValue { value_from: Some(file), prompt: false };
        let hash = value.hash(mg::CallerKind::Bearer, "", "app").expect("a hash").value_hash;
        assert_eq!(hash, api_key::hash_foreign(own.as_bytes()).as_bytes());
    }

    #[test]
    fn a_password_becomes_another_hash_each_time_and_each_is_its_own() {
        let password = Secret::from("k3V9-xq7L_2m".to_owned());
        let of = || hash(mg::CallerKind::Basic, "ann", &password).expect("a hash");
        let (one, other) = (of(), of());
        assert_ne!(one, other);
        assert!(one.value_hash.is_empty());
        for hashed in [one, other] {
            let hash = PasswordHash::try_from(&*hashed.password_hash).expect("as nodes take it");
            assert!(hash.is_of(password.expose(), &mut Scratch::default()));
        }
    }
}
