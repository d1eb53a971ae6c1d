//! Exit codes and streams of every verb: what fails says so on standard error alone, and with one code.
//!
//! What a verb prints when it succeeds is tested against a real control plane, by the system test `examples`.

use super::flags::Desk;
use super::rrctl;
use super::tree::{Verb, verbs};

/// Verbs that call nobody, or go on without an answer, and why.
const CALLS_NOBODY: &[&str] = &[
    // The user's own files.
    "context list",
    "context show",
    "context use",
    "context update",
    "context delete",
    "completion",
    "validate",
    "schema",
    // Whatever is wrong is what it shows; the version of this program is known.
    "doctor",
    "version",
    // Runs what it calls.
    "dev",
    // Reads a file first that is not there.
    "node token create",
    "region rotate-key",
    "region renew-key",
    "region attest",
    "region export-key",
    "region import-key",
    // Asks for a region, or reads such a file.
    "region fingerprint",
];

/// Verbs whose code 1 means something else.
const FAILS_WITH_2: &[&str] = &["diff"];

/// What the usage does not say that a verb needs.
const NEEDED: &[(&str, &[&str])] = &[
    ("notification read", &["no_1"]),
    ("region create", &["--no-recovery-copy"]),
    ("token create", &["--role", "operator"]),
];

/// A whole call of a verb, with a token.
fn called(desk: &Desk, verb: &Verb, more: &[&str]) -> std::process::Output {
    let mut args = desk.args(verb);
    if verb.takes("--yes") {
        args.push("--yes".to_owned());
    }
    args.extend(["--token-file".to_owned(), desk.file("value")]);
    // Of an organization itself, its name is the argument.
    let usage = verb.help.lines().find(|line| line.starts_with("Usage: ")).unwrap_or_default();
    if !usage.contains("<ORG>") {
        args.extend(["--org".to_owned(), "acme".to_owned()]);
    }
    let name = verb.name();
    let needed = NEEDED.iter().find(|(verb, _)| *verb == name).map_or(&[] as &[&str], |(_, needed)| needed);
    args.extend(needed.iter().chain(more).map(|it| (*it).to_owned()));
    rrctl(&args.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn a_verb_that_reaches_nobody_ends_with_1_and_says_so_in_one_line() {
    let desk = Desk::new();
    let mut wrong = Vec::new();
    for verb in verbs().iter().filter(|verb| !CALLS_NOBODY.contains(&&*verb.name())) {
        for format in ["table", "json"] {
            let more = ["--endpoint", "http://127.0.0.1:1", "-o", format];
            let output = called(&desk, verb, &more);
            let text = String::from_utf8_lossy(&output.stderr);
            let code = if FAILS_WITH_2.contains(&&*verb.name()) { 2 } else { 1 };
            let is_good = output.status.code() == Some(code)
                && output.stdout.is_empty()
                && text.lines().count() == 1
                && text.starts_with("error: ")
                && text.contains("127.0.0.1:1");
            if !is_good {
                wrong.push(format!("{} -o {format}: {:?} {text}", verb.name(), output.status.code()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_verb_that_is_used_wrongly_ends_with_2_and_prints_nothing_on_standard_output() {
    for verb in verbs() {
        let mut args: Vec<&str> = verb.path.iter().map(String::as_str).collect();
        args.push("--no-such-flag");
        let output = rrctl(&args);
        assert_eq!(output.status.code(), Some(2), "{}", verb.name());
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{}", verb.name());
    }
}
