//! Why nothing was signed: each text names what was to sign, and what to do about it.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::key_source::FLAG;

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// It is not what can be signed, or the key in memory does not sign.
    #[error("cannot make a certificate")]
    Certificate(#[source] rcgen::Error),
    /// The program does not.
    #[error(transparent)]
    Program(#[from] ProgramFault),
    /// This replica was not given the key of the root that issues.
    #[error(
        "this control plane was not given the key of the root of the authority that issues (--authority-key)"
    )]
    NoKey,
    /// The thread that was to sign has ended.
    #[error("the thread that signs has ended")]
    Ended,
}

/// Why such a program signed nothing.
#[derive(Debug, thiserror::Error)]
pub enum ProgramFault {
    /// It cannot be run.
    #[error(
        "cannot run {program}, the signer of {FLAG}: {cause}; is the path right, and may this user run it?",
        program = program.display()
    )]
    Start {
        /// Its path.
        program: PathBuf,
        /// The system's error; part of the text, so no source.
        cause: io::Error,
    },
    /// It took too long.
    #[error(
        "{program} {verb}, the signer of {FLAG}, has not answered within {seconds} s and was ended: run it by hand to see what it waits for",
        program = program.display(),
        seconds = limit.as_secs_f32()
    )]
    Slow {
        /// Its path.
        program: PathBuf,
        /// What it was to do.
        verb: &'static str,
        /// How long it had.
        limit: Duration,
    },
    /// It ended with an error.
    #[error(
        "{program} {verb}, the signer of {FLAG}, failed ({status}){said}: run it by hand to see more",
        program = program.display()
    )]
    Failed {
        /// Its path.
        program: PathBuf,
        /// What it was to do.
        verb: &'static str,
        /// How it ended.
        status: String,
        /// The first line of what it complained of, with what stands before it.
        said: String,
    },
    /// It answered with something else.
    #[error(
        "{program} {verb}, the signer of {FLAG}, answered with {what}",
        program = program.display()
    )]
    Answer {
        /// Its path.
        program: PathBuf,
        /// What it was to do.
        verb: &'static str,
        /// What it was, and what is wanted.
        what: &'static str,
    },
}
