//! Contexts: the control plane, the organization, the token and the fingerprints that commands use when nobody names others.
//!
//! They are kept in the user's configuration folder and nowhere else: no file of the working folder is looked for, so what
//! somebody cloned never chooses where a token goes, nor to whose key a secret is sealed. Holds no secret: a token is named
//! by the file that it is in. Knows which folders `rrctl dev` made, so that it starts on no other.

mod file;
#[cfg_attr(not(feature = "dev"), expect(dead_code, reason = "`rrctl dev` alone makes state folders"))]
mod made;

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::{Deserialize, Serialize};

pub(crate) use self::file::{Contexts, Folder};
pub(crate) use self::made::Found;
#[cfg(feature = "dev")]
pub(crate) use self::made::{Kept, place, strange};
use crate::fault;

/// Where commands go, and as whom.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Context {
    /// URL of the management API.
    pub(crate) endpoint: String,
    /// PEM file of the authority that signed its certificate; those of the system when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ca_file: Option<PathBuf>,
    /// Organization, by name or id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) org: Option<String>,
    /// File that holds the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) token_file: Option<PathBuf>,
    /// File of fingerprints, for sealing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) regions_file: Option<PathBuf>,
    /// Folders in which it counts, with all below them. `rrctl dev` writes those where it runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) folders: Vec<PathBuf>,
}

/// Why a context counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// It was named: by --context or RRCTL_CONTEXT.
    Named,
    /// It is that of the working folder.
    Folder,
    /// It was chosen with `rrctl context use`.
    Used,
}

/// A context that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chosen {
    pub(crate) name: String,
    pub(crate) context: Context,
    pub(crate) why: Why,
}

impl Contexts {
    /// The one that counts: that which was named, or else that of the folder, or else that which is used.
    pub(crate) fn choose(&self, named: Option<&str>, folder: Option<&Path>) -> Result<Option<Chosen>> {
        let of = |name: &str, context: &Context, why| Chosen {
            name: name.to_owned(),
            context: context.clone(),
            why,
        };
        if let Some(name) = named {
            let context = self.contexts.get(name).ok_or_else(|| self.unknown(name))?;
            return Ok(Some(of(name, context, Why::Named)));
        }
        let depth = |context: &Context| {
            let holds = |it: &&PathBuf| folder.is_some_and(|folder| folder.starts_with(it));
            context.folders.iter().filter(holds).map(|it| it.components().count()).max()
        };
        let nearest = self.contexts.iter().filter_map(|it| Some((depth(it.1)?, it))).max_by_key(|it| it.0);
        if let Some((_, (name, context))) = nearest {
            return Ok(Some(of(name, context, Why::Folder)));
        }
        let Some(name) = &self.used else { return Ok(None) };
        let context = self.contexts.get(name).ok_or_else(|| self.unknown(name))?;
        Ok(Some(of(name, context, Why::Used)))
    }

    /// The error about a name that no context has.
    pub(crate) fn unknown(&self, name: &str) -> anyhow::Error {
        let names: Vec<&str> = self.contexts.keys().map(String::as_str).collect();
        let known = if names.is_empty() { "there is none".to_owned() } else { names.join(", ") };
        fault::usage(
            &format!("no context is named {name:?} ({known})"),
            "`rrctl login` makes one, and `rrctl context list` shows them",
        )
    }
}

/// A name of a context: a part of the names of files.
pub(crate) fn name(text: &str) -> Result<String, String> {
    let is_fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if text.is_empty() || text.len() > 63 || text.starts_with('.') || !text.chars().all(is_fine) {
        return Err(
            "a name of a context has 1 to 63 of a-z, A-Z, 0-9, `-`, `_` and `.`, with no `.` in front"
                .to_owned(),
        );
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contexts() -> Contexts {
        let of = |folders: &[&str]| Context {
            folders: folders.iter().map(PathBuf::from).collect(),
            ..Context::default()
        };
        let contexts = [("prod", of(&[])), ("dev", of(&["/work/a"])), ("inner", of(&["/x", "/work/a/b"]))];
        Contexts {
            used: Some("prod".to_owned()),
            contexts: contexts.map(|(name, it)| (name.to_owned(), it)).into(),
        }
    }

    #[test]
    fn a_named_context_counts_before_that_of_the_folder_and_that_before_the_used_one() {
        let chosen = |named: Option<&str>, folder: &str| {
            let chosen = contexts().choose(named, Some(Path::new(folder))).expect("no fault");
            chosen.map(|it| (it.name, it.why))
        };
        let is = |name: &str, why| Some((name.to_owned(), why));
        assert_eq!(chosen(Some("dev"), "/elsewhere"), is("dev", Why::Named));
        assert_eq!(chosen(None, "/work/a"), is("dev", Why::Folder));
        assert_eq!(chosen(None, "/work/a/c/d"), is("dev", Why::Folder));
        assert_eq!(chosen(None, "/work/a/b/c"), is("inner", Why::Folder));
        assert_eq!(chosen(None, "/work/ab"), is("prod", Why::Used));
        let none = Contexts { used: None, ..contexts() };
        assert_eq!(none.choose(None, Some(Path::new("/elsewhere"))).expect("no fault"), None);
    }

    #[test]
    fn an_unknown_context_is_an_error_with_the_names_that_there_are() {
        let error = contexts().choose(Some("staging"), None).expect_err("no such context").to_string();
        assert!(error.contains("staging") && error.contains("dev, inner, prod"), "{error}");
        let gone = Contexts { used: Some("gone".to_owned()), ..contexts() };
        assert!(gone.choose(None, None).is_err());
    }

    #[test]
    fn a_name_is_no_path() {
        assert_eq!(name("eu-prod_1.example"), Ok("eu-prod_1.example".to_owned()));
        for wrong in ["", ".", "..", ".a", "a/b", "a b", "ä", &"a".repeat(64)] {
            assert!(name(wrong).is_err(), "{wrong}");
        }
    }
}
