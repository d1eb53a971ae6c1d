//! Bad input to `rr-control`: one clear line that names the thing and the remedy, and nothing written.

use std::path::Path;
use std::process::{Command, Output};

fn rr_control(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rr-control"));
    command.current_dir(folder).args(args);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("RR_")) {
        command.env_remove(name);
    }
    command.output().expect("rr-control runs")
}

fn refused(args: &[&str], file: &str, code: i32, parts: &[&str]) {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("control.toml"), file).expect("a file");
    let output = rr_control(folder.path(), args);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {text}");
    for part in parts {
        assert!(text.contains(part), "{args:?}: no {part:?} in {text}");
    }
    let left: Vec<_> = std::fs::read_dir(folder.path()).expect("a folder").collect();
    assert_eq!(left.len(), 1, "{args:?} wrote something: {left:?}");
}

fn one_line(args: &[&str], file: &str, code: i32, parts: &[&str]) {
    refused(args, file, code, parts);
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("control.toml"), file).expect("a file");
    let output = rr_control(folder.path(), args);
    assert_eq!(String::from_utf8_lossy(&output.stderr).lines().count(), 1, "{args:?}");
}

#[test]
fn an_unknown_flag_is_named() {
    refused(&["--colour"], "", 2, &["--colour"]);
}

#[test]
fn a_bad_file_is_named_with_its_line_and_key() {
    let args = ["--config", "control.toml"];
    one_line(&args, "management = \"127.0.0.1:0\"\nspeed = 1\n", 2, &["control.toml", "line 2", "speed"]);
    one_line(&args, "management = 7\n", 2, &["control.toml", "line 1", "management"]);
    one_line(&args, "management = \"127.0.0.1:0\n", 2, &["control.toml", "line 1"]);
    one_line(&["--config", "missing.toml"], "", 2, &["missing.toml"]);
}

#[test]
fn a_port_in_use_is_named_with_its_flag_and_nothing_is_written() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound").to_string();
    for flag in ["--management", "--fleet", "--admin"] {
        let mut args = vec![flag, address.as_str()];
        for other in ["--management", "--fleet", "--admin"] {
            if other != flag {
                args.extend([other, "127.0.0.1:0"]);
            }
        }
        one_line(&args, "", 1, &[&address, flag]);
    }
}

#[test]
fn check_says_whether_settings_are_good_and_does_nothing_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = rr_control(folder.path(), &["--check", "--management", "127.0.0.1:7420"]);
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 1);
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0);
}
