//! What lies on this machine: the context, who can read or write the files that it names, and the folder of `rrctl dev`.
//! Calls nobody.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rr_contract::seam::{Disk as _, RealDisk};

use super::Finding;
use crate::context::{Chosen, Context, Folder, Found, Why};
use crate::owned;

/// The check of the file of the token.
pub(super) const TOKEN: &str = "token file";

pub(super) fn context(chosen: Option<&Chosen>, endpoint: Option<&str>) -> Finding {
    match (chosen, endpoint) {
        (Some(chosen), _) => {
            let why = match chosen.why {
                Why::Named => "named",
                Why::Folder => "of this folder",
                Why::Used => "in use",
            };
            Finding::ok("context", format!("{} ({why}): {}", chosen.name, chosen.context.endpoint))
        }
        (None, Some(endpoint)) => {
            Finding::ok("context", format!("none, as the endpoint {endpoint} was given"))
        }
        (None, None) => Finding::warning(
            "context",
            "none, and no endpoint was given: this machine is called",
            "`rrctl login --endpoint URL` makes one",
        ),
    }
}

/// The modes of files that hold secrets.
pub(super) fn files(token: Option<&Path>, region_key: Option<&Path>) -> Vec<Finding> {
    let token = match (token, std::env::var_os("RRCTL_TOKEN").is_some_and(|token| !token.is_empty())) {
        (_, true) => Some(Finding::ok(TOKEN, "none, as RRCTL_TOKEN holds the token")),
        (Some(path), false) => Some(secret(TOKEN, path)),
        (None, false) => {
            Some(Finding::failed(TOKEN, "none, and RRCTL_TOKEN is not set", "`rrctl login` keeps a token"))
        }
    };
    token.into_iter().chain(region_key.map(|path| secret("region key", path))).collect()
}

/// The file of contexts, where there is one. It holds no secret; it says where tokens lie and which endpoints there are.
pub(super) fn contexts(file: &Path) -> Option<Finding> {
    let mode = std::fs::metadata(file).ok()?.permissions().mode() & 0o777;
    let shown = file.display();
    Some(match mode {
        mode if mode & 0o077 == 0 => Finding::ok("contexts file", format!("{shown}, mode {mode:03o}")),
        mode if mode & 0o022 == 0 => Finding::warning(
            "contexts file",
            format!("{shown} can be read by other users (mode {mode:03o})"),
            format!("chmod 600 {shown}"),
        ),
        mode => Finding::failed(
            "contexts file",
            format!("{shown} can be written by other users (mode {mode:03o})"),
            format!("chmod 600 {shown}"),
        ),
    })
}

/// A secret, which nobody else may read.
fn secret(check: &'static str, path: &Path) -> Finding {
    let shown = path.display();
    match RealDisk.read_private(path) {
        Ok(Ok(_)) => Finding::ok(check, format!("{shown}, for nobody else to read")),
        Ok(Err(exposure)) => refused(check, &exposure.to_string()),
        Err(error) => Finding::failed(check, format!("{shown}: {error}"), "name the right file"),
    }
}

/// A fault that says its remedy.
fn refused(check: &'static str, text: &str) -> Finding {
    let parts = text.split_once(": run ").or_else(|| text.split_once("; run "));
    let (found, remedy) =
        parts.map_or((text, String::new()), |(found, remedy)| (found, format!("run {remedy}")));
    Finding::failed(check, found, remedy)
}

/// The file of fingerprints, which nobody else may write. One that is not there is told of where they are compared.
pub(super) fn fingerprints(path: &Path) -> Option<Finding> {
    const CHECK: &str = "fingerprints file";
    match owned::read(path) {
        Ok(Some(_)) => Some(Finding::ok(CHECK, format!("{}, for nobody else to write", path.display()))),
        Ok(None) => None,
        Err(error) => Some(refused(CHECK, &format!("{error:#}"))),
    }
}

/// The folder of `rrctl dev` that a context is of, and the keys in it.
pub(super) fn dev_folder(context: &Context) -> Vec<Finding> {
    const CHECK: &str = "dev folder";
    let Some(token) = &context.token_file else { return Vec::new() };
    let Ok(Some(user)) = Folder::of_user() else { return Vec::new() };
    let state = match user.state_of(token) {
        Ok(Some(state)) => state,
        Ok(None) => return Vec::new(),
        Err(error) => return vec![refused(CHECK, &format!("{error:#}"))],
    };
    let shown = state.display();
    let mut found = vec![match user.look(&state) {
        Ok(Found::Ours(_)) => Finding::ok(CHECK, format!("{shown}, made by `rrctl dev`")),
        Ok(Found::Strange) => {
            let text = format!("{shown} is not the one that `rrctl dev` made there");
            Finding::failed(CHECK, text, format!("`rm -r {shown}`, and start `rrctl dev` anew"))
        }
        Ok(Found::Nothing) => {
            Finding::warning(CHECK, format!("{shown} is gone"), "start `rrctl dev` where it is to be")
        }
        Err(error) => refused(CHECK, &format!("{error:#}")),
    }];
    let keys = [("region key", "region-local.key"), ("caller key", "caller-key")];
    let keys = keys.into_iter().map(|(check, name)| (check, state.join(name)));
    found.extend(keys.filter(|(_, path)| path.exists()).map(|(check, path)| secret(check, &path)));
    found
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::Verdict;
    use super::*;

    #[test]
    fn a_file_of_contexts_that_others_can_read_is_a_warning_and_one_that_they_can_write_fails() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("contexts.toml");
        assert_eq!(contexts(&path), None);
        std::fs::write(&path, "").expect("a file");
        for (mode, verdict) in [
            (0o600, Verdict::Ok),
            (0o640, Verdict::Warning),
            (0o644, Verdict::Warning),
            (0o620, Verdict::Failed),
            (0o666, Verdict::Failed),
        ] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("a mode");
            let found = contexts(&path).expect("it is there");
            assert_eq!(found.verdict, verdict, "{mode:o}");
            assert_eq!(found.remedy.starts_with("chmod 600"), verdict != Verdict::Ok);
        }
    }

    #[test]
    fn a_secret_that_others_can_read_fails_and_says_how_to_mend_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("token");
        std::fs::write(&path, "x").expect("a file");
        for (mode, verdict) in [(0o600, Verdict::Ok), (0o640, Verdict::Failed), (0o604, Verdict::Failed)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("a mode");
            let found = secret(TOKEN, &path);
            assert_eq!(found.verdict, verdict, "{mode:o}");
            assert_eq!(found.remedy.starts_with("run `chmod 600"), verdict == Verdict::Failed);
        }
        assert_eq!(secret(TOKEN, &folder.path().join("none")).verdict, Verdict::Failed);
    }
    #[test]
    fn fingerprints_that_others_can_write_fail_and_say_how_to_mend_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("regions.toml");
        assert_eq!(fingerprints(&path), None);
        std::fs::write(&path, "").expect("a file");
        for (mode, verdict) in [(0o644, Verdict::Ok), (0o664, Verdict::Failed), (0o666, Verdict::Failed)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("a mode");
            let found = fingerprints(&path).expect("is there");
            assert_eq!(found.verdict, verdict, "{mode:o}");
            assert_eq!(found.remedy.starts_with("run `chmod go-w"), verdict == Verdict::Failed);
        }
    }
}
