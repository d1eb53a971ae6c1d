//! `pg_dump` and `pg_restore`: what a database on a server is copied and brought back with.
//!
//! A password goes to them in their environment, never as an argument. The invariant: a program that is older than the
//! server is not run.

use std::path::Path;
use std::process::{Command, Stdio};

use url::Url;

/// Parameters of an address that only our driver knows.
const OURS: [&str; 1] = ["statement-cache-capacity"];

/// Why such a program did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// It is not there.
    #[error(
        "cannot run {program}: {cause}; install the client programs of PostgreSQL {server} or newer, or name the program with --{flag}"
    )]
    Missing {
        /// As it was given.
        program: String,
        /// The system's error; part of the text, so no source.
        cause: std::io::Error,
        /// The flag that names it.
        flag: &'static str,
        /// Major version of the server.
        server: u32,
    },
    /// It is older than the server.
    #[error(
        "{program} is of version {version}, and the server of {server}: install the client programs of PostgreSQL {server} or newer, or name a newer program with --{flag}"
    )]
    Old {
        /// As it was given.
        program: String,
        /// What it says that it is.
        version: String,
        /// The flag that names it.
        flag: &'static str,
        /// Major version of the server.
        server: u32,
    },
    /// The address of the database is none that such programs take.
    #[error("the address of the database is not a URL")]
    Address,
    /// It ended with an error.
    #[error("{program} failed: {said}")]
    Failed {
        /// As it was given.
        program: String,
        /// The end of what it said.
        said: String,
    },
}

/// A program of PostgreSQL's, and the flag that names it.
pub(super) struct Program<'a> {
    pub(super) path: &'a Path,
    pub(super) flag: &'static str,
}

impl Program<'_> {
    /// Checks that it is there and as new as the server.
    pub(super) fn check(&self, server: u32) -> Result<(), ProgramError> {
        let (program, flag) = (self.path.display().to_string(), self.flag);
        let ran = Command::new(self.path).arg("--version").stdin(Stdio::null()).output();
        let ran =
            ran.map_err(|cause| ProgramError::Missing { program: program.clone(), cause, flag, server })?;
        let said = String::from_utf8_lossy(&ran.stdout).trim().to_owned();
        let major = major(&said);
        if major.is_some_and(|major| major >= server) {
            return Ok(());
        }
        Err(ProgramError::Old { program, version: version(&said).to_owned(), flag, server })
    }

    /// Copies a database into a file.
    pub(super) fn dump(&self, url: &str, args: &[&str], file: &Path) -> Result<(), ProgramError> {
        let file = format!("--file={}", file.display());
        self.run(url, &[args, &[&file]].concat())
    }

    /// Fills an empty database from such a file: all of it, or nothing.
    pub(super) fn restore(&self, url: &str, file: &Path) -> Result<(), ProgramError> {
        let file = file.display().to_string();
        let args =
            ["--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges", file.as_str()];
        self.run(url, &args)
    }

    fn run(&self, url: &str, args: &[&str]) -> Result<(), ProgramError> {
        let (address, password) = without_password(url)?;
        let program = self.path.display().to_string();
        let mut command = Command::new(self.path);
        command.args(["--no-password", "--dbname"]).arg(address).args(args).stdin(Stdio::null());
        if let Some(password) = password {
            command.env("PGPASSWORD", password);
        }
        let said = match command.output() {
            Ok(ran) if ran.status.success() => return Ok(()),
            Ok(ran) => String::from_utf8_lossy(&ran.stderr).trim().to_owned(),
            Err(error) => error.to_string(),
        };
        // The last lines say what went wrong.
        let lines: Vec<&str> = said.lines().collect();
        let said = lines[lines.len().saturating_sub(3)..].join("; ");
        Err(ProgramError::Failed { program, said })
    }
}

/// `15.4` of `pg_dump (PostgreSQL) 15.4 (Debian 15.4-1)`.
fn version(said: &str) -> &str {
    said.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit())).unwrap_or("unknown")
}

fn major(said: &str) -> Option<u32> {
    version(said).split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// The address as an argument, and the password that was in it.
fn without_password(url: &str) -> Result<(String, Option<String>), ProgramError> {
    let mut url = Url::parse(url).map_err(|_| ProgramError::Address)?;
    let decoded = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
    let mut password = url.password().map(decoded);
    if password.is_some() {
        url.set_password(None).map_err(|()| ProgramError::Address)?;
    }
    let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    url.set_query(None);
    for (name, value) in pairs {
        if name == "password" {
            password = Some(value);
        } else if !OURS.contains(&name.as_str()) {
            // Only what is left behind has to be written again, and libpq reads a plus sign as one.
            let pair = format!("{name}={}", encoded(&value));
            let query = url.query().map_or_else(|| pair.clone(), |query| format!("{query}&{pair}"));
            url.set_query(Some(&query));
        }
    }
    Ok((url.to_string(), password))
}

fn encoded(value: &str) -> String {
    percent_encoding::utf8_percent_encode(value, percent_encoding::NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_no_argument_and_the_rest_of_the_address_stays() {
        for (url, address, password) in [
            ("postgres://rr@localhost/rr", "postgres://rr@localhost/rr", None),
            ("postgres://rr:s%20e@db:5433/rr", "postgres://rr@db:5433/rr", Some("s e")),
            (
                "postgres://rr@db/rr?password=x&host=/tmp/a&statement-cache-capacity=3",
                "postgres://rr@db/rr?host=%2Ftmp%2Fa",
                Some("x"),
            ),
        ] {
            let (said, secret) = without_password(url).expect("is a URL");
            assert_eq!((said.as_str(), secret.as_deref()), (address, password), "{url}");
        }
        assert!(without_password("nonsense").is_err());
    }

    #[test]
    fn the_version_of_a_program_is_what_it_says() {
        assert_eq!(major("pg_dump (PostgreSQL) 15.4 (Debian 15.4-1)"), Some(15));
        assert_eq!(major("pg_dump (PostgreSQL) 18beta1"), Some(18));
        assert_eq!(major("something else"), None);
    }

    #[test]
    fn a_program_that_is_not_there_or_too_old_is_said_with_the_remedy() {
        let missing = Program { path: Path::new("/nonexistent/pg_dump"), flag: "pg-dump" };
        let error = missing.check(15).expect_err("is not there").to_string();
        assert!(error.contains("--pg-dump") && error.contains("PostgreSQL 15"), "{error}");
        // Says a version of its own, which is below that of any server.
        let other = Program { path: Path::new("true"), flag: "pg-dump" };
        let error = other.check(4_000).expect_err("is too old").to_string();
        assert!(error.contains("the server of 4000") && error.contains("--pg-dump"), "{error}");
    }
}
