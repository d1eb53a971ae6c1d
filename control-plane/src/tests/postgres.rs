//! A private PostgreSQL for tests: its own cluster in a folder of its own, over a socket in that folder.
//!
//! Shared by the tests that run at one time, ended with the last of them. Where no server program is
//! found, says so and gives none.

use std::io::Write as _;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::store::DatabaseAddress;

static SHARED: Mutex<Weak<Cluster>> = Mutex::new(Weak::new());
static NEXT: AtomicU64 = AtomicU64::new(0);
const START_LIMIT: Duration = Duration::from_secs(60);

struct Cluster {
    server: Child,
    folder: tempfile::TempDir,
}

/// A database of a test's own, empty.
pub(crate) struct Database {
    cluster: Arc<Cluster>,
    name: String,
}

impl Database {
    pub(crate) fn address(&self) -> DatabaseAddress {
        let folder = self.cluster.folder.path().display();
        DatabaseAddress::Postgres(format!("postgres://rr@localhost/{}?host={folder}", self.name))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.server.kill().ok();
        self.server.wait().ok();
    }
}

/// An empty database; none, with a line that says why, where there is no server program. Where `CI` is set, one has to
/// be there.
pub(crate) fn database(test: &str) -> Option<Database> {
    let ci = std::env::var_os("CI").is_some_and(|said| !said.is_empty());
    let programs = wanted(test, programs(), ci)?;
    let cluster = {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        match shared.upgrade() {
            Some(cluster) => cluster,
            None => {
                let cluster = Arc::new(Cluster::start(&programs));
                *shared = Arc::downgrade(&cluster);
                cluster
            }
        }
    };
    let name = format!("t{}", NEXT.fetch_add(1, Ordering::Relaxed));
    cluster.psql(&programs, &format!("CREATE DATABASE {name}"));
    Some(Database { cluster, name })
}

/// The programs, or whether a test can do without.
fn wanted(test: &str, programs: Option<PathBuf>, ci: bool) -> Option<PathBuf> {
    if programs.is_none() {
        let text = "not run on PostgreSQL: no `postgres` and `initdb` in PATH or /usr/lib/postgresql";
        assert!(!ci, "{test}: {text}; CI is set, so half of the suite may not be left out: install them");
        // Straight to the terminal: what a passing test prints is not shown.
        writeln!(std::io::stderr(), "{test}: {text}").ok();
    }
    programs
}

#[test]
#[should_panic(expected = "CI is set, so half of the suite may not be left out")]
fn a_missing_server_fails_the_tests_where_ci_is_set() {
    wanted("a test", None, true);
}

#[test]
fn a_missing_server_leaves_a_test_out_where_ci_is_not_set() {
    assert_eq!(wanted("a test that leaves PostgreSQL out on purpose", None, false), None);
    let there = Some(PathBuf::from("/there"));
    assert_eq!(wanted("a test", there.clone(), true), there);
}

impl Cluster {
    fn start(programs: &Path) -> Self {
        let folder = tempfile::Builder::new().prefix("rr-pg-").tempdir().expect("a folder");
        let user = other_user();
        if let Some((uid, gid)) = user {
            chown(folder.path(), Some(uid), Some(gid)).expect("root may");
        }
        let data = folder.path().join("data");
        let made = as_user(Command::new(programs.join("initdb")), user)
            .arg("-D")
            .arg(&data)
            .args(["-U", "rr", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"])
            .stdout(Stdio::null())
            .stdin(Stdio::null())
            .current_dir(folder.path())
            .output()
            .expect("initdb runs");
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let server = as_user(Command::new(programs.join("postgres")), user)
            .arg("-D")
            .arg(&data)
            .arg("-k")
            .arg(folder.path())
            .args(["-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=200"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir(folder.path())
            .spawn()
            .expect("postgres runs");
        let cluster = Self { server, folder };
        let deadline = Instant::now() + START_LIMIT;
        while !cluster.answers(programs) {
            assert!(Instant::now() < deadline, "PostgreSQL did not come up");
        }
        cluster
    }

    fn answers(&self, programs: &Path) -> bool {
        // Waits by itself, so that this loop does not spin.
        Command::new(programs.join("pg_isready"))
            .arg("-q")
            .arg("-h")
            .arg(self.folder.path())
            .args(["-U", "rr", "-t", "1"])
            .status()
            .is_ok_and(|status| status.success())
    }

    fn psql(&self, programs: &Path, statement: &str) {
        let ran = Command::new(programs.join("psql"))
            .arg("-h")
            .arg(self.folder.path())
            .args(["-U", "rr", "-d", "postgres", "-q", "-c", statement])
            .output()
            .expect("psql runs");
        assert!(ran.status.success(), "{statement}: {}", String::from_utf8_lossy(&ran.stderr));
    }
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
    let me = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").ok()?);
    if me != 0 {
        return None;
    }
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    ["postgres:", "nobody:"].iter().find_map(|name| {
        let line = users.lines().find(|line| line.starts_with(name))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    })
}

fn as_user(mut command: Command, user: Option<(u32, u32)>) -> Command {
    if let Some((uid, gid)) = user {
        command.uid(uid).gid(gid);
    }
    command
}
