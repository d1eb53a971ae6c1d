//! The context of `rrctl dev`: every command works in the folder where it runs.
//!
//! It is written into the user's configuration folder, by the path of the working folder, and stays there: after a stop the
//! commands say where `rrctl dev` has to be started. It names no file of the working folder, which a checkout could
//! replace. One that keeps nothing has no context.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use super::folder::StateFolder;
use super::sample;
use crate::context::{self, Context, Contexts, Folder};

/// Writes the context; its name. `None` where the state is not kept.
pub(super) fn write(folder: &StateFolder) -> Result<Option<String>> {
    if folder.is_ephemeral() {
        return Ok(None);
    }
    let here =
        std::env::current_dir().and_then(|here| here.canonicalize()).context("find the working folder")?;
    let root = folder.root().canonicalize().context("find the state folder")?;
    let mut folders = vec![here.clone()];
    if !root.starts_with(&here) {
        folders.push(root.clone());
    }
    let context = Context {
        endpoint: format!("http://{}", folder.ports.management),
        ca_file: None,
        org: Some(sample::ORG.to_owned()),
        token_file: Some(folder.kept(sample::TOKEN_FILE)),
        regions_file: Some(folder.kept(sample::REGIONS_FILE)),
        folders,
    };
    Folder::needed()?.change(|all| Ok(Some(put(all, context)))).context("write the context of this folder")
}

/// Puts the context among the others, in the place of that of the same state; its name.
fn put(all: &mut Contexts, context: Context) -> String {
    for other in all.contexts.values_mut() {
        other.folders.retain(|folder| !context.folders.contains(folder));
    }
    let is_same = |other: &Context| other.token_file == context.token_file;
    let same = all.contexts.iter().find(|(_, other)| is_same(other)).map(|(name, _)| name.clone());
    let name = same.unwrap_or_else(|| free_name(all, context.folders.first()));
    all.contexts.insert(name.clone(), context);
    name
}

/// `dev`, or with the name of the folder where that is taken, or with a number.
fn free_name(all: &Contexts, folder: Option<&PathBuf>) -> String {
    let base = folder.and_then(|folder| folder.file_name()?.to_str()).unwrap_or_default();
    let base: String =
        base.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(40).collect();
    let numbered = (2..).map(|n| format!("dev-{base}-{n}"));
    let mut names = ["dev".to_owned(), format!("dev-{base}")].into_iter().chain(numbered);
    let is_free = |name: &String| context::name(name).is_ok() && !all.contexts.contains_key(name);
    names.find(is_free).unwrap_or_else(|| "dev".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(folder: &str, state: &str) -> Context {
        Context {
            folders: vec![PathBuf::from(folder)],
            token_file: Some(PathBuf::from(state)),
            ..Context::default()
        }
    }

    #[test]
    fn each_state_has_one_context_and_each_folder_counts_in_one() {
        let mut all = Contexts::default();
        assert_eq!(put(&mut all, of("/work/a", "/work/a/s/token")), "dev");
        assert_eq!(put(&mut all, of("/work/a", "/work/a/s/token")), "dev");
        assert_eq!(put(&mut all, of("/work/b c", "/work/b/s/token")), "dev-b-c");
        assert_eq!(put(&mut all, of("/else/b c", "/else/b/s/token")), "dev-b-c-2");
        // Another state in the folder of the first: that folder counts for it alone.
        assert_eq!(put(&mut all, of("/work/a", "/other/token")), "dev-a");
        assert!(all.contexts["dev"].folders.is_empty());
    }
}
