//! `rrctl` against a real control plane, where it is refused half-way.

use std::process::{Command, Output};

use rr_integration::process::program;
use rr_integration::world::World;

async fn rrctl(world: &World, folder: &std::path::Path, args: &[&str]) -> Output {
    let mut command = Command::new(program("rrctl"));
    command
        .current_dir(folder)
        .args(["--endpoint", &format!("http://{}", world.control_plane.management)])
        .args(args)
        .env("RRCTL_TOKEN", world.api.token())
        .env("RRCTL_CONFIG_DIR", folder.join("config"))
        .env("RRCTL_PASSPHRASE", "correct horse");
    // The control plane shares this runtime and has to answer meanwhile.
    tokio::task::spawn_blocking(move || command.output().expect("rrctl runs")).await.expect("joins")
}

fn names(folder: &std::path::Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_region_that_is_refused_leaves_no_key_and_no_fingerprint_behind() {
    let world = World::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    // The name is taken.
    let key = ["region", "create", "eu", "--key-file", "eu.key", "--no-recovery-copy"];
    let args = [key.as_slice(), &["--regions-file", "regions.toml"]].concat();
    let output = rrctl(&world, folder.path(), &args).await;
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("eu"), "{text}");
    assert!(names(folder.path()).is_empty(), "{:?}", names(folder.path()));
    // The place for the fingerprint cannot be written, so nothing is made.
    let args = [
        "region",
        "create",
        "us",
        "--key-file",
        "us.key",
        "--no-recovery-copy",
        "--regions-file",
        "/dev/null/regions.toml",
    ];
    let output = rrctl(&world, folder.path(), &args).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(names(folder.path()).is_empty(), "{:?}", names(folder.path()));
    let regions = rrctl(&world, folder.path(), &["region", "list"]).await;
    assert!(!String::from_utf8_lossy(&regions.stdout).contains("us"), "{regions:?}");
    world.end().await;
}

#[tokio::test]
async fn an_origin_that_only_the_control_plane_names_is_not_sealed_to_without_a_person() {
    let world = World::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("value"), "s3cret").expect("a file");
    let fingerprint = format!("eu={}", world.keys.fingerprint());
    let seal = ["--org", "acme", "credential", "create-upstream", "more", "--target", "echo"];
    let given = ["--value-file", "value", "--fingerprint", fingerprint.as_str()];
    let output = rrctl(&world, folder.path(), &[&seal[..], &given].concat()).await;
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("--accept-target"), "{text}");
    let output = rrctl(&world, folder.path(), &[&seal[..], &given, &["--accept-target"]].concat()).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    world.end().await;
}
