//! Values of one's own that callers present: read here, judged, and hashed.
//!
//! The value leaves this process only as its hash. None comes from an argument.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Args;
use rr_contract::api_key::{self, KeyHash, KeyKind};
use rr_contract::own_value;
use rr_contract::secret::Secret;
use rr_contract::wire::management as mg;

use crate::{fault, prompt};

/// The place of a value that RequestRocket does not make.
#[derive(Args)]
pub(super) struct OwnValue {
    /// File that holds a value of your own, instead of a key that RequestRocket makes; `-` is standard input. Only its hash
    /// is sent. At least 32 visible ASCII characters that cannot be guessed.
    #[arg(long, value_name = "FILE", alias = "value-file")]
    value_from: Option<PathBuf>,
    /// Asks for a value of your own, without showing it.
    #[arg(long, conflicts_with = "value_from")]
    prompt: bool,
}

impl OwnValue {
    pub(super) fn is_given(&self) -> bool {
        self.prompt || self.value_from.is_some()
    }

    /// The hash of the value, for a credential of this kind; nothing, where none is given.
    pub(super) fn hash(&self, kind: mg::CallerKind) -> Result<Vec<u8>> {
        if !self.is_given() {
            return Ok(Vec::new());
        }
        let from = self.value_from.as_deref();
        hash(kind, &prompt::read_new("value", from, "--value-from")?)
    }

    /// How the value was given.
    pub(super) fn flag(&self) -> &'static str {
        if self.prompt { "--prompt" } else { "--value-from" }
    }
}

/// The hash of a value for a credential of this kind, as the control plane and nodes know it.
pub(crate) fn hash(kind: mg::CallerKind, value: &Secret) -> Result<Vec<u8>> {
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
        mg::CallerKind::JwtVerify | mg::CallerKind::Basic | mg::CallerKind::Unspecified => {
            return Err(fault::usage("this kind has no value that is hashed", "leave the value out"));
        }
    };
    Ok(hash.as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(kind: mg::CallerKind, value: &str) -> Result<Vec<u8>, String> {
        hash(kind, &Secret::from(value.to_owned())).map_err(|error| format!("{error:#}"))
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
        let hash = value.hash(mg::CallerKind::Bearer).expect("a hash");
        assert_eq!(hash, api_key::hash_foreign(own.as_bytes()).as_bytes());
    }
}
