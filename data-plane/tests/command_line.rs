//! Bad input to `rr-edge`: one clear line that names the thing and the remedy, and nothing written.

use std::path::Path;
use std::process::{Command, Output};

fn rr_edge(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rr-edge"));
    command.current_dir(folder).args(args);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("RR_")) {
        command.env_remove(name);
    }
    command.output().expect("rr-edge runs")
}

/// Ports that are free, so that nothing but what is meant is at fault.
const PORTS: [&str; 4] = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];

fn one_line(args: &[&str], code: i32, parts: &[&str]) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = "control-plane = \"https://127.0.0.1:1\"\nspeed = 1\n";
    std::fs::write(folder.path().join("edge.toml"), file).expect("a file");
    std::fs::write(folder.path().join("token"), "rrn1.nonsense").expect("a file");
    let output = rr_edge(folder.path(), args);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {text}");
    assert_eq!(text.lines().count(), 1, "{args:?}: {text}");
    assert!(text.starts_with("error: "), "{args:?}: {text}");
    for part in parts {
        assert!(text.contains(part), "{args:?}: no {part:?} in {text}");
    }
    let left: Vec<_> = std::fs::read_dir(folder.path()).expect("a folder").collect();
    assert_eq!(left.len(), 2, "{args:?} wrote something: {left:?}");
}

#[test]
fn a_control_plane_is_needed_and_only_over_tls() {
    one_line(&[], 2, &["--control-plane"]);
    one_line(&["--control-plane", "http://127.0.0.1:7421"], 2, &["http://127.0.0.1:7421", "https"]);
    one_line(&["--control-plane", "http://192.0.2.1:7421"], 2, &["http://192.0.2.1:7421", "https"]);
    one_line(&["--control-plane", "https://"], 2, &["https://"]);
    one_line(&["--control-plane", "control"], 2, &["control"]);
}

#[test]
fn a_node_that_never_joined_needs_a_token_that_is_one() {
    let at = ["--control-plane", "https://127.0.0.1:1"];
    one_line(&[&at[..], &PORTS].concat(), 1, &["--node-token-file", "rrctl node token"]);
    one_line(
        &[&at[..], &PORTS, &["--node-token-file", "missing"]].concat(),
        2,
        &["--node-token-file missing: "],
    );
    let args = [&at[..], &PORTS, &["--node-token-file", "token"]].concat();
    one_line(&args, 2, &["token", "rrctl node token"]);
}

#[test]
fn a_bad_file_is_named_with_its_line_and_key() {
    one_line(&["--config", "edge.toml"], 2, &["edge.toml", "2", "speed"]);
}

#[test]
fn a_file_that_cannot_be_read_is_named_with_its_flag() {
    let at = ["--control-plane", "https://127.0.0.1:1"];
    one_line(&["--config", "missing"], 2, &["--config missing: "]);
    one_line(&[&at[..], &["--upstream-ca", "missing"]].concat(), 2, &["--upstream-ca", "missing"]);
}

#[test]
fn settings_that_are_good_are_said_to_be_in_one_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = rr_edge(folder.path(), &["--check", "--control-plane", "https://127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "settings are valid; callers would be served on 127.0.0.1:7430\n"
    );
    assert!(output.stderr.is_empty());
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0);
}

#[test]
fn a_port_in_use_is_named_with_its_flag() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound").to_string();
    for (flag, other) in [("--listen", "--admin"), ("--admin", "--listen")] {
        let args = ["--control-plane", "https://127.0.0.1:1", flag, &address, other, "127.0.0.1:0"];
        one_line(&args, 1, &[&address, flag]);
    }
}

#[test]
fn an_unknown_flag_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = rr_edge(folder.path(), &["--colour"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--colour"));
}
