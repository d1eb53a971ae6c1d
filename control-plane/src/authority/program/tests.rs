//! Programs that sign as they should, and those that fail, lie, hang or talk without end.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

use rcgen::{KeyPair, SigningKey as _};

use super::*;

/// A folder with a program and the files that it answers with.
struct Scripted {
    folder: tempfile::TempDir,
    key: KeyPair,
}

impl Scripted {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder"), key: KeyPair::generate().expect("keys") }
    }

    fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).expect("writes");
        path
    }

    /// A program that answers with the public key, and otherwise does this.
    fn program(&self, sign: &str) -> PathBuf {
        let public = self.file("public.pem", self.key.public_key_pem().as_bytes());
        self.script(&format!("if [ \"$1\" = public-key ]; then exec cat {}; fi\n{sign}", public.display()))
    }

    fn script(&self, text: &str) -> PathBuf {
        let path = self.folder.path().join("signer");
        let new = self.file("signer.new", format!("#!/bin/sh\n{text}\n").as_bytes());
        std::fs::set_permissions(&new, Permissions::from_mode(0o700)).expect("sets");
        std::fs::rename(new, &path).expect("renames");
        path
    }
}

fn signed(program: &Path, limit: Duration) -> Result<Vec<u8>, String> {
    let program = Program::open(program, limit).expect("opens");
    program.sign(b"what is to be signed").map_err(|error| {
        let text = error.to_string();
        assert!(!text.contains('\n') && text.contains("--authority-key"), "{text}");
        text
    })
}

#[test]
fn a_signature_of_its_own_key_over_what_it_was_given_is_taken() {
    let scripted = Scripted::new();
    let signature = scripted.key.sign(b"what is to be signed").expect("signs");
    let signature = scripted.file("signature", &signature);
    // It reads its input, as programs that sign do.
    let program = scripted.program(&format!("cat > $0.input\ncat {}", signature.display()));
    signed(&program, LIMIT).expect("is signed");
    let input = std::fs::read(scripted.folder.path().join("signer.input")).expect("was read");
    assert_eq!(input, b"what is to be signed");
}

#[test]
fn what_a_security_module_would_be_asked_with_openssl_signs() {
    let scripted = Scripted::new();
    let key = scripted.file("key.pem", scripted.key.serialize_pem().as_bytes());
    let program = scripted.program(&format!("exec openssl dgst -sha256 -sign {}", key.display()));
    if Command::new("openssl").arg("version").output().is_err() {
        return;
    }
    signed(&program, LIMIT).expect("is signed");
}

#[test]
fn a_signature_of_another_key_or_over_something_else_is_refused() {
    let scripted = Scripted::new();
    let other = KeyPair::generate().expect("keys").sign(b"what is to be signed").expect("signs");
    let elsewhere = scripted.key.sign(b"something else").expect("signs");
    for wrong in [other, elsewhere, Vec::new(), b"-----BEGIN".to_vec()] {
        let wrong = scripted.file("signature", &wrong);
        let text = signed(&scripted.program(&format!("cat {}", wrong.display())), LIMIT);
        assert!(text.expect_err("refused").contains("no signature of its own key"));
    }
}

#[test]
fn a_program_that_fails_is_named_with_how_it_ended_and_the_first_line_that_it_said() {
    let scripted = Scripted::new();
    let failing = "echo >&2; echo \"the token is locked\" >&2; echo more >&2; exit 3";
    let text = signed(&scripted.program(failing), LIMIT).expect_err("refused");
    assert!(text.contains("/signer sign") && text.contains("exit status: 3"), "{text}");
    assert!(text.contains(": the token is locked:") && !text.contains("more:"), "{text}");
    // What it answered before does not count.
    let signature = scripted.key.sign(b"what is to be signed").expect("signs");
    let signature = scripted.file("signature", &signature);
    let late = format!("cat {}; exit 1", signature.display());
    assert!(signed(&scripted.program(&late), LIMIT).is_err());
}

#[test]
fn a_program_that_does_not_answer_is_ended_with_all_that_it_started() {
    let scripted = Scripted::new();
    let pids = scripted.folder.path().join("pids");
    // The second holds the pipes, too.
    let hanging = format!("sleep 600 & echo $! > {}; wait", pids.display());
    let text = signed(&scripted.program(&hanging), Duration::from_secs(1)).expect_err("refused");
    assert!(text.contains("has not answered within 1 s"), "{text}");
    let child = std::fs::read_to_string(&pids).expect("it was started");
    let stat = format!("/proc/{}/stat", child.trim());
    let ended = || match std::fs::read_to_string(&stat) {
        Err(_) => true,
        Ok(stat) => stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z')),
    };
    let until = Instant::now() + LIMIT;
    while !ended() {
        assert!(Instant::now() < until, "what the program started runs on");
        thread::park_timeout(LOOK);
    }
}

#[test]
fn a_program_that_talks_without_end_is_not_read_without_end() {
    let scripted = Scripted::new();
    let text = signed(&scripted.program("exec cat /dev/zero"), Duration::from_secs(2));
    text.expect_err("refused");
}

#[test]
fn a_program_that_is_not_there_or_has_no_such_key_is_refused_when_it_is_opened() {
    let scripted = Scripted::new();
    let refused = |path: &Path| {
        let Err(fault) = Program::open(path, LIMIT) else { panic!("it opened") };
        fault.to_string()
    };
    let text = refused(&scripted.folder.path().join("nowhere"));
    assert!(text.contains("nowhere") && text.contains("--authority-key"), "{text}");
    let other = KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("keys");
    for answer in [other.public_key_pem(), "junk".to_owned(), scripted.key.serialize_pem()] {
        let file = scripted.file("answer", answer.as_bytes());
        let text = refused(&scripted.script(&format!("cat {}", file.display())));
        assert!(text.contains("no public key of the curve P-256"), "{text}");
        assert!(!text.contains("PRIVATE"), "{text}");
    }
}
