//! Bad input: one clear line that names the thing and the remedy, and exit code 1 or 2.

use std::process::{Command, Output};

fn rrctl(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rrctl"))
        .args(args)
        .env_remove("RRCTL_TOKEN")
        .env_remove("RRCTL_TOKEN_FILE")
        .env_remove("RRCTL_ENDPOINT")
        .env_remove("RRCTL_ORG")
        .output()
        .expect("rrctl runs")
}

fn check(args: &[&str], code: i32, parts: &[&str]) {
    let output = rrctl(args);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {text}");
    for part in parts {
        assert!(text.contains(part), "{args:?}: no {part:?} in {text}");
    }
    assert!(output.stdout.is_empty(), "{args:?} printed {}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn an_unknown_flag_is_named() {
    check(&["org", "list", "--colour"], 2, &["--colour"]);
}

#[test]
fn an_unreachable_control_plane_is_named_with_its_address() {
    check(&["--endpoint", "http://127.0.0.1:1", "org", "list"], 1, &["127.0.0.1:1", "--endpoint"]);
}

#[test]
fn an_endpoint_that_would_send_the_token_in_the_clear_is_refused() {
    check(&["--endpoint", "http://192.0.2.1:7420", "org", "list"], 2, &["192.0.2.1", "https"]);
}

#[test]
fn an_endpoint_without_a_host_is_refused() {
    check(&["--endpoint", "7420", "org", "list"], 2, &["7420", "https://"]);
}

#[test]
fn a_token_file_that_is_not_there_is_named() {
    check(&["--token-file", "/nonexistent/token", "org", "list"], 1, &["/nonexistent/token"]);
}

#[test]
fn a_missing_organization_is_a_matter_of_usage() {
    check(&["target", "list"], 2, &["--org", "RRCTL_ORG"]);
}

#[test]
fn help_of_every_noun_names_its_verbs() {
    for noun in
        ["org", "region", "target", "credential", "proxy", "request", "node", "revision", "token", "dev"]
    {
        let output = rrctl(&[noun, "--help"]);
        assert!(output.status.success(), "{noun}");
        assert!(!output.stdout.is_empty(), "{noun}");
    }
}

#[test]
fn an_endpoint_with_a_path_is_refused() {
    check(&["--endpoint", "http://127.0.0.1:7420/v1", "org", "list"], 2, &["/v1", "host and port"]);
}

#[test]
fn a_bad_file_of_dev_is_named_with_its_line_and_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("dev.toml");
    std::fs::write(&file, "edge_port = 1\nspeed = 2\n").expect("a file");
    let dir = folder.path().to_str().expect("a path of ours");
    check(&["dev", "--dir", dir], 1, &["dev.toml, line 2", "speed"]);
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1);
}
