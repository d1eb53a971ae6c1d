//! Bad input: one clear line that names the thing and the remedy, and exit code 1 or 2.

mod callers;
mod completion;
mod flags;
mod output;
mod policy;
mod recorder;
mod secrets;
mod streams;
mod tree;
mod verdicts;

use std::process::{Command, Output, Stdio};

use tree::verbs;

/// What the environment may say in the place of options.
const VARIABLES: [&str; 9] = [
    "RRCTL_CONTEXT",
    "RRCTL_TOKEN",
    "RRCTL_TOKEN_FILE",
    "RRCTL_ENDPOINT",
    "RRCTL_ORG",
    "RRCTL_CA_FILE",
    "RRCTL_REGIONS_FILE",
    "RRCTL_REGION_KEY",
    "RRCTL_PASSPHRASE",
];

/// Takes what the environment of the tests may say from a command.
fn forget(command: &mut Command) {
    for name in VARIABLES {
        command.env_remove(name);
    }
    // No contexts of whoever runs the tests.
    command.env("RRCTL_CONFIG_DIR", "/nonexistent/config");
}

fn rrctl(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rrctl"));
    forget(&mut command);
    command.args(args).stdin(Stdio::null()).output().expect("rrctl runs")
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

/// What is spelled alike can be the opposite: `--region` suggested `--any-region`.
#[test]
fn a_region_where_none_is_taken_suggests_nothing_else() {
    for args in [
        &["region", "create", "us", "--region", "eu"] as &[&str],
        &["filter", "update", "f", "--region", "eu"],
    ] {
        let output = rrctl(args);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains("--region") && !text.contains("similar"), "{text}");
    }
}

#[test]
fn help_of_every_noun_names_its_verbs_and_every_verb_says_what_it_does() {
    for verb in verbs() {
        let first = verb.help.lines().next().unwrap_or_default();
        assert!(!first.is_empty() && !first.starts_with("Usage"), "{}: {first:?}", verb.name());
        undocumented(&verb.name(), &verb.help);
    }
}

#[test]
fn the_help_says_what_the_exit_codes_mean() {
    let output = rrctl(&["--help"]);
    let text = String::from_utf8_lossy(&output.stdout);
    for part in ["Exit codes:", "0  done", "1  refused or failed", "2  used wrongly"] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
}

/// Finds options and arguments without a text.
fn undocumented(what: &str, help: &str) {
    let lines: Vec<&str> = help.lines().collect();
    for (n, line) in lines.iter().enumerate() {
        let is_option = line.starts_with("  -") || line.starts_with("      --") || line.starts_with("  <");
        if !is_option {
            continue;
        }
        let same_line = line.trim_start().contains("  ");
        let next_line = lines.get(n + 1).is_some_and(|next| next.starts_with("          "));
        assert!(same_line || next_line, "{what}: nothing is said of {line:?}");
    }
}

#[cfg(feature = "dev")]
#[test]
fn dev_has_a_help_of_its_own() {
    assert!(rrctl(&["dev", "--help"]).status.success());
}

#[test]
fn nouns_of_an_organization_ask_for_it() {
    for noun in
        ["target", "credential", "proxy", "rule", "filter", "meter", "member", "notification", "audit"]
    {
        check(&[noun, "list"], 2, &["--org", "RRCTL_ORG"]);
    }
    check(&["org", "diff", "1"], 2, &["--org"]);
    check(&["org", "rollback", "1"], 2, &["--org"]);
    check(&["export"], 2, &["--org"]);
    check(&["token", "create", "ci", "--role", "editor"], 2, &["--org"]);
}

#[test]
fn what_makes_no_sense_is_refused_before_anybody_is_called() {
    for (args, parts) in [
        (&["org", "update", "acme", "--share", "targets=maybe"] as &[&str], ["--share", "targets=off"]),
        (&["org", "update", "acme", "--share", "users=on"], ["--share", "proxies"]),
        (&["token", "create", "ci", "--role", "operator@acme"], ["--role", "everywhere"]),
        (&["token", "create", "ci", "--role", "king"], ["--role", "viewer"]),
        (&["token", "create", "ci"], ["--role", "required"]),
        (&["token", "create", "ci", "--user", "ada", "--role", "operator"], ["--user", "--role"]),
        (&["token", "create", "ci", "--role", "operator", "--expires", "soon"], ["--expires", "30d"]),
        (&["rule", "create", "--deny"], ["--on", "required"]),
        (&["rule", "create", "--on", "proxy/echo"], ["--allow", "--deny"]),
        (&["rule", "create", "--on", "proxy/echo", "--allow", "--deny"], ["--allow", "--deny"]),
        (&["rule", "create", "--on", "rule/echo", "--deny"], ["--on", "proxy/NAME"]),
        (&["meter", "create", "--on", "target/echo", "--requests"], ["--on", "proxy/NAME"]),
        (&["rule", "create", "--on", "echo", "--deny", "--effect", "allow"], ["--deny", "--effect"]),
        (&["rule", "create", "--on", "proxy/echo", "--deny", "--path-absent"], ["--path", "required"]),
        (&["rule", "create", "--on", "proxy/echo", "--deny", "--priority", "1001"], ["--priority", "1000"]),
        (&["filter", "create", "--on", "proxy/echo"], ["--retain", "--mask"]),
        (&["meter", "create", "--on", "echo"], ["--requests", "--value-path"]),
        (&["proxy", "update", "echo", "--deny-status", "404"], ["--deny-status", "403"]),
        (&["target", "update", "echo", "--connect-timeout", "-1"], ["-1", "--connect-timeout"]),
        (&["target", "update", "echo", "--idle-timeout", "5 minutes"], ["--idle-timeout", "10s, 2m"]),
        (
            &["proxy", "update", "echo", "--max-concurrent-requests", "-1"],
            ["--max-concurrent-requests", "0..=4294967295"],
        ),
        (
            &["proxy", "update", "echo", "--per-minute", "-1"],
            ["--per-minute", "from 0 to 18446744073709551615"],
        ),
        (&["proxy", "update", "echo", "--per-day-per-caller", "-1"], ["--per-day-per-caller", "from 0 to"]),
        (&["meter", "update", "m", "--on-missing", "-1.5"], ["--on-missing", "from 0 to"]),
        (&["rule", "update", "r", "--priority", "-1"], ["--priority", "0..=1000"]),
        (&["filter", "update", "f", "--order", "-1"], ["--order", "0..=1000"]),
        (&["request", "list", "--limit", "-1"], ["--limit", "not in 1.."]),
        (&["org", "update", "acme", "--ceiling-per-day", "-1"], ["--ceiling-per-day", "from 0 to"]),
        (&["credential", "update", "c", "--leeway", "-1"], ["--leeway", "0..=300"]),
        (&["credential", "update", "c", "--value-from", "f"], ["--value-from", "`rrctl credential roll`"]),
        (&["credential", "update", "c", "--password-from", "f"], ["--value-from", "`rrctl credential roll`"]),
        (&["credential", "update", "c", "--not-after", "2020-01-01"], ["--not-after", "is over already"]),
        (&["credential", "create-caller", "c", "--not-after", "2020-01-01"], ["--not-after", "30d"]),
        (&["credential", "create-upstream", "c", "--not-after", "0s"], ["--not-after", "is over already"]),
        (&["rule", "show", "r", "--at", "-1"], ["--at", "from 0 to"]),
        (&["proxy", "create", "p1"], ["  --caller <CREDENTIAL>\n", "  --target <TARGET>\n"]),
        (&["proxy", "create", "p1"], ["  --upstream <CREDENTIAL>\n", "  --region <REGION>\n"]),
        (&["request", "list", "--path", "*"], ["--path", "starts with `/`"]),
        (&["rule", "list", "--on", "rule/x"], ["--on", "proxy/NAME"]),
        (&["meter", "list", "--on", "target/t"], ["--on", "proxy/NAME"]),
        (&["explain", "proxy"], ["rrctl explain proxy/NAME", "one kind and one name"]),
        (&["get", "proxy"], ["nouns come first", "rrctl proxy get"]),
        (&["target", "update", "t1", "--name", "t2"], ["--name", "a name cannot be changed"]),
        (&["apply"], ["--file", "required"]),
        (&["apply", "-f", "x.yaml", "--prune"], ["--owner", "required"]),
        (&["audit", "list", "--since", "yesterday"], ["--since", "2026-01-31"]),
        (&["notification", "read"], ["NOTIFICATION", "required"]),
        (&["notification", "read", "no_a", "--all"], ["--all", "cannot be used"]),
        (&["notification", "read", "no_a", "--through", "1h"], ["--through", "cannot be used"]),
        (&["notification", "read", "--through", "1h"], ["--all", "required"]),
        (&["notification", "list", "--mine", "--installation"], ["--mine", "--installation"]),
    ] {
        check(args, 2, &parts);
    }
}

#[test]
fn a_file_to_apply_is_judged_before_anybody_is_called() {
    let folder = tempfile::tempdir().expect("a folder");
    let apply = |name: &str, text: &str, code: i32, parts: &[&str]| {
        let file = folder.path().join(name);
        std::fs::write(&file, text).expect("a file");
        check(&["--org", "acme", "apply", "-f", file.to_str().expect("a path of ours")], code, parts);
    };
    apply("a.yaml", "kind: target\nname: a\n---\nkind: tarject\n", 1, &["a.yaml:4: kind", "tarject"]);
    apply("b.json", "[{\"kind\": \"target\", \"nome\": 1}]", 1, &["b.json:1: ", "nome"]);
    apply("c.toml", "", 2, &["c.toml", ".yaml"]);
    apply("d.yaml", "# nothing\n", 2, &["no document", "kind"]);
    check(&["--org", "acme", "apply", "-f", "/nonexistent/x"], 1, &["no file or folder /nonexistent/x"]);
    // As after a checkout that failed: it would delete the whole set.
    let nothing = folder.path().join("d.yaml");
    let nothing = nothing.to_str().expect("a path of ours");
    for verb in ["apply", "diff"] {
        let args = ["--org", "acme", verb, "-f", nothing, "--owner", "git", "--prune"];
        check(&args, 2, &["no document", "--allow-empty"]);
    }
    let args =
        ["--endpoint", "http://127.0.0.1:1", "--org", "acme", "apply", "-f", nothing, "--owner", "git"];
    check(&[&args[..], &["--prune", "--allow-empty"]].concat(), 1, &["cannot reach"]);
}

/// Logs of pipelines are kept.
#[test]
fn a_fault_names_a_variable_and_not_what_it_holds() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("x.yaml");
    std::fs::write(&file, "kind: target\nname: ${TEST_SECRET}\nbase_url: https://a.example\n")
        .expect("a file");
    let mut command = Command::new(env!("CARGO_BIN_EXE_rrctl"));
    forget(&mut command);
    command.args(["validate", "--env", "-f"]).arg(&file).env("TEST_SECRET", "no name: s3cr3t");
    let output = command.stdin(Stdio::null()).output().expect("rrctl runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("${TEST_SECRET}") && !said.contains("s3cr3t"), "{said}");
}

/// The token of a context goes to its endpoint. The test names a token file that is not there: whoever reads it fails.
#[test]
fn an_endpoint_that_is_named_uses_no_token_of_a_context() {
    let folder = tempfile::tempdir().expect("a folder");
    let contexts = "used = 'prod'\n[contexts.prod]\nendpoint = 'http://127.0.0.1:1'\ntoken_file = '/nonexistent/of-prod'\n";
    std::fs::write(folder.path().join("contexts.toml"), contexts).expect("a file");
    let said = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rrctl"));
        forget(&mut command);
        command.env("RRCTL_CONFIG_DIR", folder.path()).args(args).stdin(Stdio::null());
        let output = command.output().expect("rrctl runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (_, used) = said(&["org", "list"]);
    assert!(used.contains("/nonexistent/of-prod"), "the context counts: {used}");
    let (code, other) = said(&["--endpoint", "http://127.0.0.1:2", "org", "list"]);
    assert_eq!(code, Some(1));
    assert!(!other.contains("of-prod") && other.contains("http://127.0.0.1:2"), "{other}");
    let (code, both) = said(&["--endpoint", "http://127.0.0.1:2", "--context", "prod", "org", "list"]);
    assert_eq!(code, Some(2));
    assert!(both.contains("leave out --context"), "{both}");
}

#[test]
fn an_endpoint_with_a_path_is_refused() {
    check(&["--endpoint", "http://127.0.0.1:7420/v1", "org", "list"], 2, &["/v1", "host and port"]);
}

#[test]
fn a_configuration_folder_that_is_no_whole_path_is_named() {
    for args in [&["context", "list"][..], &["org", "list"]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rrctl"));
        forget(&mut command);
        command.env("RRCTL_CONFIG_DIR", "cfg").args(args).stdin(Stdio::null());
        let output = command.output().expect("rrctl runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("RRCTL_CONFIG_DIR is cfg") && said.contains("whole path"), "{said}");
    }
}

/// A token that others can read is used where somebody named it, and not where `rrctl` keeps it.
#[test]
fn a_token_that_others_can_read_is_told_of_or_refused() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = tempfile::tempdir().expect("a folder");
    let token = folder.path().join("prod");
    std::fs::write(&token, "rr_token_1").expect("a file");
    let contexts = format!(
        "used = 'prod'\n[contexts.prod]\nendpoint = 'http://127.0.0.1:1'\ntoken_file = '{}'\n",
        token.display()
    );
    std::fs::create_dir(folder.path().join("config")).expect("a folder");
    std::fs::write(folder.path().join("config/contexts.toml"), contexts).expect("a file");
    let said = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rrctl"));
        forget(&mut command);
        command.env("RRCTL_CONFIG_DIR", folder.path().join("config")).args(args).stdin(Stdio::null());
        let output = command.output().expect("rrctl runs");
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let path = token.display().to_string();
    let named = ["--endpoint", "http://127.0.0.1:1", "--token-file", path.as_str(), "org", "list"];
    for (mode, is_open) in [(0o600, false), (0o640, true)] {
        std::fs::set_permissions(&token, std::fs::Permissions::from_mode(mode)).expect("a mode");
        let (kept, named) = (said(&["org", "list"]), said(&named));
        assert_eq!(kept.contains("chmod 600") && !kept.contains("cannot reach"), is_open, "{kept}");
        assert_eq!(named.contains("chmod 600"), is_open, "{named}");
        assert!(named.contains("cannot reach"), "{named}");
    }
}

#[cfg(feature = "dev")]
#[test]
fn a_bad_file_of_dev_is_named_with_its_line_and_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("dev.toml");
    std::fs::write(&file, "edge_port = 1\nspeed = 2\n").expect("a file");
    let dir = folder.path().to_str().expect("a path of ours");
    check(&["dev", "--dir", dir], 2, &["was not made by `rrctl dev`", "--adopt"]);
    check(&["dev", "--dir", dir, "--adopt"], 1, &["dev.toml, line 2", "speed"]);
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1);
}
