//! A program that has the authority's key, in a security module or a key service, and signs with it.
//!
//! It is run for each signature, without a shell: `PROGRAM public-key` writes the public key as PEM, `PROGRAM sign` reads
//! what is to be signed to its end and writes the signature. Nothing of what it answers is used before it was checked.

use std::io::{self, Read, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rcgen::{PKCS_ECDSA_P256_SHA256, PublicKeyData as _, SubjectPublicKeyInfo};
use rustix::process::{Pid, Signal, kill_process_group};
use rustls_pki_types::{SignatureVerificationAlgorithm, alg_id};

use super::sign_error::{ProgramFault, SignError};
use super::signer::Signer;

/// How long it may take: a call over a network, and a program that starts.
pub(super) const LIMIT: Duration = Duration::from_secs(10);
/// The most that it may answer.
const ANSWER_MOST: u64 = 64 * 1024;
/// How much is kept of what it complains of.
const COMPLAINT_MOST: usize = 200;
/// How often it is looked at whether it has ended, once it has answered.
const LOOK: Duration = Duration::from_millis(5);

/// Such a program, and the key that it has.
pub(super) struct Program {
    path: PathBuf,
    limit: Duration,
    public_key: SubjectPublicKeyInfo,
}

impl Program {
    /// Asks a program for its public key.
    pub(super) fn open(path: &Path, limit: Duration) -> Result<Self, ProgramFault> {
        const VERB: &str = "public-key";
        let pem = run(path, VERB, &[], limit)?;
        let public_key = SubjectPublicKeyInfo::from_pem(&String::from_utf8_lossy(&pem)).ok();
        let public_key = public_key.filter(|key| key.algorithm() == &PKCS_ECDSA_P256_SHA256);
        let what = "no public key of the curve P-256 in PEM (`openssl pkey -pubout` writes one)";
        let fault = || ProgramFault::Answer { program: path.to_owned(), verb: VERB, what };
        Ok(Self { path: path.to_owned(), limit, public_key: public_key.ok_or_else(fault)? })
    }
}

impl Signer for Program {
    fn public_key(&self) -> &SubjectPublicKeyInfo {
        &self.public_key
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        const VERB: &str = "sign";
        let signature = run(&self.path, VERB, message, self.limit)?;
        let is_good = verifier().is_some_and(|verifier| {
            verifier.verify_signature(self.public_key.der_bytes(), message, &signature).is_ok()
        });
        if is_good {
            return Ok(signature);
        }
        let what = "no signature of its own key over its input: ECDSA with SHA-256 in DER, and nothing else, is wanted \
                    (`openssl dgst -sha256 -sign KEY` writes that)";
        Err(ProgramFault::Answer { program: self.path.clone(), verb: VERB, what }.into())
    }

    fn is_elsewhere(&self) -> bool {
        true
    }
}

/// Of ECDSA on P-256 with SHA-256.
fn verifier() -> Option<&'static dyn SignatureVerificationAlgorithm> {
    let all = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.all;
    all.iter().copied().find(|one| {
        one.public_key_alg_id() == alg_id::ECDSA_P256 && one.signature_alg_id() == alg_id::ECDSA_SHA256
    })
}

/// Runs it, and returns what it wrote. It is ended, with what it started, when its time is over.
fn run(path: &Path, verb: &'static str, input: &[u8], limit: Duration) -> Result<Vec<u8>, ProgramFault> {
    let program = || path.to_owned();
    let start = |cause| ProgramFault::Start { program: program(), cause };
    let until = Instant::now() + limit;
    let mut command = Command::new(path);
    command.arg(verb).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut running = Running(command.spawn().map_err(start)?);
    let child = &mut running.0;
    let (Some(stdin), Some(stdout), Some(stderr)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(start(io::Error::other("it has no pipes")));
    };
    let (heard, answers) = mpsc::sync_channel(2);
    let (input, told) = (input.to_vec(), heard.clone());
    on_thread("signer input", move || {
        let mut stdin = stdin;
        // Who reads nothing may still answer, and then the answer is judged.
        drop(stdin.write_all(&input));
    })
    .map_err(start)?;
    on_thread("signer answer", move || told.send((true, all_of(stdout)))).map_err(start)?;
    on_thread("signer complaint", move || heard.send((false, all_of(stderr)))).map_err(start)?;
    let slow = || ProgramFault::Slow { program: program(), verb, limit };
    let (mut answer, mut complaint) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        let left = until.saturating_duration_since(Instant::now());
        match answers.recv_timeout(left).map_err(|_| slow())? {
            (true, bytes) => answer = bytes,
            (false, bytes) => complaint = bytes,
        }
    }
    let status = loop {
        match running.0.try_wait().map_err(start)? {
            Some(status) => break status,
            None if Instant::now() < until => thread::park_timeout(LOOK),
            None => return Err(slow()),
        }
    };
    if !status.success() {
        return Err(ProgramFault::Failed {
            program: program(),
            verb,
            status: status.to_string(),
            said: first_line(&complaint),
        });
    }
    if answer.len() as u64 > ANSWER_MOST {
        let what = "more than 64 KiB";
        return Err(ProgramFault::Answer { program: program(), verb, what });
    }
    Ok(answer)
}

/// A program that runs, and no longer than somebody waits for it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            // With what it started, which may hold its pipes.
            if let Some(group) = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw) {
                kill_process_group(group, Signal::KILL).ok();
            }
            self.0.wait().ok();
        }
    }
}

fn on_thread<T: Send + 'static>(name: &str, work: impl FnOnce() -> T + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.to_owned()).spawn(work).map(drop)
}

fn all_of(from: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    // What came until it broke is judged.
    from.take(ANSWER_MOST + 1).read_to_end(&mut bytes).ok();
    bytes
}

/// `: ` and the first line that is not empty; of its letters only what a log can bear.
fn first_line(complaint: &[u8]) -> String {
    let text = String::from_utf8_lossy(complaint);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let line: String = line.chars().filter(|c| !c.is_control()).take(COMPLAINT_MOST).collect();
    if line.is_empty() { line } else { format!(": {line}") }
}

#[cfg(test)]
mod tests;
