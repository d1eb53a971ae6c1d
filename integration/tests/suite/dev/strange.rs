//! `rrctl dev` where somebody else wrote its folder: a repository that was cloned, or a checkout over one's own.
//!
//! Whoever brought the folder knows its keys, chose its ports, and can have put links into it.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use rr_integration::process::program;

use super::{Dev, Ports, ports};

/// What one says that ends by itself.
async fn refused(folder: &Path, flags: &[String]) -> String {
    let mut dev = Dev::start(folder, "refused.log", flags);
    let said = dev.printed().await;
    assert!(!said.contains("Ctrl-C stops it."), "it runs: {said}");
    said
}

/// Runs until it is ready, and ends it.
async fn run(folder: &Path, flags: &[String]) {
    let mut dev = Dev::start(folder, "run.log", flags);
    let printed = dev.printed().await;
    assert!(printed.contains("Ctrl-C stops it."), "{printed}");
    dev.process.terminate().await;
}

fn adopting(ports: &Ports) -> Vec<String> {
    ports.flags.iter().cloned().chain(["--adopt".to_owned()]).collect()
}

#[tokio::test]
async fn a_folder_that_a_repository_brought_is_refused_and_changed_in_nothing_until_it_is_adopted() {
    let (author, user) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let ports = ports();
    run(author.path(), &ports.flags).await;
    let state = user.path().join("state");
    let copied = Command::new("cp").arg("-a").arg(author.path().join("state")).arg(&state).status();
    assert!(copied.expect("cp runs").success());
    let before = std::fs::read(state.join("lock")).expect("reads");
    let said = refused(user.path(), &ports.flags).await;
    for part in ["state was not made by `rrctl dev` of this user", "rm -r", "--dir", "--adopt"] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
    assert_eq!(std::fs::read(state.join("lock")).expect("reads"), before);
    assert!(!user.path().join("config").exists(), "no context was written");
    run(user.path(), &adopting(&ports)).await;
    run(user.path(), &ports.flags).await;
}

#[tokio::test]
async fn a_link_in_the_folder_is_refused_and_what_it_leads_to_stays_as_it_is() {
    let user = tempfile::tempdir().expect("a folder");
    let (state, key) = (user.path().join("state"), user.path().join("id_x"));
    std::fs::create_dir(&state).expect("a folder");
    std::fs::write(&key, "private").expect("a file");
    symlink("../id_x", state.join("lock")).expect("links");
    let ports = ports();
    for flags in [ports.flags.clone(), adopting(&ports)] {
        let said = refused(user.path(), &flags).await;
        assert!(said.contains("symbolic link") && said.contains("state/lock"), "{said}");
    }
    std::fs::remove_dir_all(&state).expect("it is there");
    std::fs::create_dir(user.path().join("elsewhere")).expect("a folder");
    symlink("elsewhere", &state).expect("links");
    let said = refused(user.path(), &ports.flags).await;
    assert!(said.contains("symbolic link"), "{said}");
    assert_eq!(std::fs::read(&key).expect("reads"), b"private");
    assert_eq!(std::fs::read_dir(user.path().join("elsewhere")).expect("a folder").count(), 0);
}

#[tokio::test]
async fn a_checkout_over_the_folder_changes_neither_the_token_nor_the_keys_that_are_sealed_to() {
    let (author, user) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let ports = ports();
    run(author.path(), &ports.flags).await;
    run(user.path(), &ports.flags).await;
    let state = user.path().join("state");
    assert_eq!(std::fs::read_to_string(state.join(".gitignore")).expect("reads"), "*\n");
    // The context names nothing that lies in the working folder.
    let contexts = std::fs::read_to_string(user.path().join("config/contexts.toml")).expect("reads");
    let kept = user.path().canonicalize().expect("it is there").join("config/dev");
    for setting in ["token_file", "regions_file"] {
        let line = contexts.lines().find(|line| line.starts_with(setting)).expect("is named");
        assert!(line.contains(&kept.display().to_string()), "{line}");
    }
    assert!(!state.join("token").exists() && !state.join("regions.toml").exists());

    let key = state.join("region-local.key");
    let own = std::fs::read(&key).expect("reads");
    std::fs::write(&key, std::fs::read(author.path().join("state/region-local.key")).expect("reads"))
        .expect("a file");
    let said = refused(user.path(), &ports.flags).await;
    assert!(said.contains("region-local.key are not those that `rrctl dev` made"), "{said}");
    std::fs::write(&key, own).expect("a file");

    for name in ["region-local.key", "caller-key"] {
        let path = state.join(name);
        let mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode));
        mode(0o644).expect("a mode");
        let said = refused(user.path(), &ports.flags).await;
        assert!(said.contains("chmod 600") && said.contains(name), "{said}");
        let doctor = doctor(user.path());
        assert!(doctor.contains(&format!("chmod 600 {}", path.display())), "{doctor}");
        mode(0o600).expect("a mode");
    }
    let said = doctor(user.path());
    assert!(said.contains("made by `rrctl dev`") && !said.contains("chmod"), "{said}");
    run(user.path(), &ports.flags).await;
}

fn doctor(folder: &Path) -> String {
    let mut command = Command::new(program("rrctl"));
    command.current_dir(folder).env("RRCTL_CONFIG_DIR", folder.join("config"));
    let output = command.args(["doctor", "-o", "json"]).output().expect("rrctl runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
