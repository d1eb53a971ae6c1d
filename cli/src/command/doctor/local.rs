//! What lies on this machine: the context, and who can read the files that it names. Calls nobody.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::Finding;
use crate::context::{Chosen, Why};

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
        (_, true) => Some(Finding::ok("token file", "none, as RRCTL_TOKEN holds the token")),
        (Some(path), false) => Some(secret("token file", path)),
        (None, false) => Some(Finding::failed(
            "token file",
            "none, and RRCTL_TOKEN is not set",
            "`rrctl login` keeps a token",
        )),
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

fn secret(check: &'static str, path: &Path) -> Finding {
    let shown = path.display();
    match std::fs::metadata(path) {
        Ok(found) => match found.permissions().mode() & 0o777 {
            mode if mode & 0o077 == 0 => Finding::ok(check, format!("{shown}, mode {mode:03o}")),
            mode => Finding::failed(
                check,
                format!("{shown} can be read by other users (mode {mode:03o})"),
                format!("chmod 600 {shown}"),
            ),
        },
        Err(error) => Finding::failed(check, format!("{shown}: {error}"), "name the right file"),
    }
}

#[cfg(test)]
mod tests {
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
            let found = secret("token file", &path);
            assert_eq!(found.verdict, verdict, "{mode:o}");
            assert_eq!(found.remedy.starts_with("chmod 600"), verdict == Verdict::Failed);
        }
        assert_eq!(secret("token file", &folder.path().join("none")).verdict, Verdict::Failed);
    }
}
