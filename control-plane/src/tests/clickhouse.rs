//! A private ClickHouse for tests: its engine behind its HTTP interface, as `integration/clickhouse/server.py` has it.
//!
//! Shared by the tests that run at one time, ended with the last of them. Runs where `RR_CHDB` names a Python that has chDB
//! (`.ci/clickhouse` does), and says so where it does not.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use clickhouse::Client;

use crate::store::RecordAddress;

static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());
static NEXT: AtomicU64 = AtomicU64::new(0);

const SERVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../integration/clickhouse/server.py");
/// Not the user that an address without one is of.
const USER: &str = "rr";
const PASSWORD: &str = "se/cret";

struct Server {
    /// Ends when its standard input does.
    process: Child,
    address: String,
    _folder: tempfile::TempDir,
}

/// A database of a test's own, empty.
pub(crate) struct Database {
    server: Arc<Server>,
    name: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

impl Database {
    pub(crate) fn address(&self) -> RecordAddress {
        let (server, name) = (&self.server.address, &self.name);
        format!("clickhouse+http://{USER}:se%2Fcret@{server}/{name}").parse().expect("an address")
    }

    /// To look into it.
    pub(crate) fn client(&self) -> Client {
        self.server.client().with_database(&self.name)
    }

    /// From now on has inserts into a table of this database done and their answers lost; into none where it has no name.
    pub(crate) async fn lose(&self, table: &str) {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

        let mut stream = tokio::net::TcpStream::connect(&self.server.address).await.expect("connects");
        let request = format!(
            "POST /fault?database={}&lose={table} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            self.name
        );
        stream.write_all(request.as_bytes()).await.expect("sends");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("answers");
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    }
}

impl Server {
    fn start(python: PathBuf) -> Self {
        let folder = tempfile::Builder::new().prefix("rr-clickhouse-").tempdir().expect("a folder");
        let mut process = Command::new(python)
            .arg(SERVER)
            .arg(folder.path().join("data"))
            .args([USER, PASSWORD])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python runs");
        let mut address = String::new();
        let said = process.stdout.take().expect("is piped");
        BufReader::new(said).read_line(&mut address).expect("is text");
        assert!(address.ends_with('\n'), "it did not start");
        Self { process, address: address.trim().to_owned(), _folder: folder }
    }

    fn client(&self) -> Client {
        let url = format!("http://{}", self.address);
        Client::default().with_url(url).with_user(USER).with_password(PASSWORD)
    }
}

/// An empty database; none, with a line that says why, where there is no engine.
pub(crate) async fn database(test: &str) -> Option<Database> {
    let Some(python) = std::env::var_os("RR_CHDB") else {
        // Straight to the terminal: what a passing test prints is not shown.
        writeln!(std::io::stderr(), "{test}: not run on ClickHouse: RR_CHDB is not set, see .ci/clickhouse")
            .ok();
        return None;
    };
    let server = {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        match shared.upgrade() {
            Some(server) => server,
            None => {
                let server = Arc::new(Server::start(python.into()));
                *shared = Arc::downgrade(&server);
                server
            }
        }
    };
    let name = format!("t{}", NEXT.fetch_add(1, Ordering::Relaxed));
    server.client().query(&format!("CREATE DATABASE {name}")).execute().await.expect("makes a database");
    Some(Database { server, name })
}
