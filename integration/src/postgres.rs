//! A private PostgreSQL: its own cluster in a folder of its own, over a socket in that folder, to be killed at will.
//!
//! Commits are durable, unlike those of the unit tests' server. Where no server program is found, there is none.

use std::fs::File;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const START_LIMIT: Duration = Duration::from_secs(60);
/// Between two questions whether it is up: `pg_isready` ends at once where there is no socket yet.
const PAUSE: Duration = Duration::from_millis(20);
/// One database is enough for one test.
const DATABASE: &str = "rr";
/// What the server writes to its standard error, all starts in one file.
const LOG: &str = "log";

/// A running server. Killed when dropped.
pub struct Postgres {
    programs: PathBuf,
    server: Child,
    folder: tempfile::TempDir,
}

impl Postgres {
    /// Makes a cluster and starts it; none where there is no server program.
    pub fn start() -> Option<Self> {
        let programs = programs()?;
        let folder = tempfile::Builder::new().prefix("rr-pg-").tempdir().expect("a folder");
        if let Some((uid, gid)) = other_user() {
            chown(folder.path(), Some(uid), Some(gid)).expect("root may");
        }
        let made = as_other_user(Command::new(programs.join("initdb")))
            .arg("-D")
            .arg(folder.path().join("data"))
            .args(["-U", "rr", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .current_dir(folder.path())
            .output()
            .expect("initdb runs");
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let server = serve(&programs, folder.path());
        let started = Self { programs, server, folder };
        started.wait();
        started.run("postgres", &format!("CREATE DATABASE {DATABASE}"));
        Some(started)
    }

    /// For `--database`.
    pub fn address(&self) -> String {
        self.address_of(DATABASE)
    }

    /// The same of another database of it.
    pub fn address_of(&self, name: &str) -> String {
        format!("postgres://rr@localhost/{name}?host={}", self.folder.path().display())
    }

    /// Makes another database, which is empty.
    pub fn make(&self, name: &str) {
        self.run("postgres", &format!("CREATE DATABASE {name}"));
    }

    /// A program that came with the server.
    pub fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }

    /// `kill -9` of the server; then it starts again, and recovers.
    pub fn crash(&mut self) {
        self.server.kill().expect("a child can be killed");
        self.server.wait().expect("a child can be waited for");
        self.server = serve(&self.programs, self.folder.path());
        let until = Instant::now() + START_LIMIT;
        while !self.answers() {
            // It ends by itself when it comes too early: the processes of the first still hold its memory.
            if matches!(self.server.try_wait(), Ok(Some(_))) {
                self.server = serve(&self.programs, self.folder.path());
            }
            assert!(Instant::now() < until, "PostgreSQL did not come up again: {}", self.said());
            pause();
        }
    }

    /// `kill -9` of one process that serves a connection: the server then ends them all, and recovers.
    pub fn crash_backend(&self) {
        let found = self.run(
            DATABASE,
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'rr-control' ORDER BY backend_start LIMIT 1",
        );
        if let Some(id) = found.split_whitespace().next() {
            Command::new("kill").args(["-9", id]).stderr(Stdio::null()).status().ok();
        }
    }

    /// Copies the database, to which nobody is connected, under another name.
    pub fn keep(&self, name: &str) {
        self.run("postgres", &format!("CREATE DATABASE {name} TEMPLATE {DATABASE}"));
    }

    /// Puts a copy in the place of the database, to which nobody is connected. The copy stays.
    pub fn bring_back(&self, name: &str) {
        self.run("postgres", &format!("DROP DATABASE {DATABASE} WITH (FORCE)"));
        self.run("postgres", &format!("CREATE DATABASE {DATABASE} TEMPLATE {name}"));
    }

    /// Runs a statement; what it answers, bare.
    pub fn execute(&self, statement: &str) -> String {
        self.run(DATABASE, statement)
    }

    fn run(&self, database: &str, statement: &str) -> String {
        let ran = Command::new(self.programs.join("psql"))
            .arg("-h")
            .arg(self.folder.path())
            .args(["-U", "rr", "-d", database, "-q", "-t", "-A", "-v", "ON_ERROR_STOP=1", "-c", statement])
            .output()
            .expect("psql runs");
        assert!(ran.status.success(), "{statement}: {}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8_lossy(&ran.stdout).into_owned()
    }

    fn wait(&self) {
        let until = Instant::now() + START_LIMIT;
        while !self.answers() {
            assert!(Instant::now() < until, "PostgreSQL did not come up: {}", self.said());
            pause();
        }
    }

    /// The last lines of its log.
    fn said(&self) -> String {
        let log = std::fs::read_to_string(self.folder.path().join(LOG)).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    fn answers(&self) -> bool {
        Command::new(self.programs.join("pg_isready"))
            .arg("-q")
            .arg("-h")
            .arg(self.folder.path())
            .args(["-U", "rr", "-t", "1"])
            .status()
            .is_ok_and(|status| status.success())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.server.kill().ok();
        self.server.wait().ok();
    }
}

#[expect(clippy::disallowed_methods, reason = "nothing else tells that a server of another program is up")]
fn pause() {
    thread::sleep(PAUSE);
}

fn serve(programs: &Path, folder: &Path) -> Child {
    let log = File::options().create(true).append(true).open(folder.join(LOG)).expect("its folder is ours");
    as_other_user(Command::new(programs.join("postgres")))
        .arg("-D")
        .arg(folder.join("data"))
        .arg("-k")
        .arg(folder)
        .args(["-c", "listen_addresses=", "-c", "max_connections=100"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .current_dir(folder)
        .spawn()
        .expect("postgres runs")
}

/// The folder of the server programs.
fn programs() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    if let Ok(versions) = std::fs::read_dir("/usr/lib/postgresql") {
        folders.extend(versions.flatten().map(|version| version.path().join("bin")));
    }
    let all = ["postgres", "initdb", "psql", "pg_isready"];
    folders.into_iter().find(|folder| all.iter().all(|program| folder.join(program).is_file()))
}

/// PostgreSQL refuses to run as root; then it runs as somebody else.
fn other_user() -> Option<(u32, u32)> {
    if std::fs::metadata("/proc/self").ok()?.uid() != 0 {
        return None;
    }
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    ["postgres:", "nobody:"].iter().find_map(|name| {
        let line = users.lines().find(|line| line.starts_with(name))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    })
}

fn as_other_user(mut command: Command) -> Command {
    if let Some((uid, gid)) = other_user() {
        command.uid(uid).gid(gid);
    }
    command
}
