//! A private ClickHouse: its engine behind its HTTP interface (`integration/clickhouse/server.py`), to be killed at will.
//!
//! There is one where `RR_CHDB` names a Python that has chDB, as `.ci/clickhouse` has.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

const SERVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/clickhouse/server.py");
const USER: &str = "rr";
const PASSWORD: &str = "canary-of-clickhouse";
/// One database is enough for one test.
const DATABASE: &str = "records";

/// A running server. Killed when dropped.
pub struct ClickHouse {
    python: PathBuf,
    folder: tempfile::TempDir,
    process: Child,
    address: String,
}

impl ClickHouse {
    /// Starts one with an empty database; none where there is no engine.
    pub fn start() -> Option<Self> {
        let python = PathBuf::from(std::env::var_os("RR_CHDB")?);
        let folder = tempfile::Builder::new().prefix("rr-clickhouse-").tempdir().expect("a folder");
        let (process, address) = serve(&python, &folder, "0");
        let started = Self { python, folder, process, address };
        started.told("", &format!("CREATE DATABASE {DATABASE}"), b"");
        Some(started)
    }

    /// For `--record-store`, without its name.
    pub fn url(&self) -> String {
        format!("clickhouse+http://{USER}:{PASSWORD}@{}/{DATABASE}", self.address)
    }

    /// What is in the URL and nobody else's.
    pub fn password(&self) -> &'static str {
        PASSWORD
    }

    /// What a statement answers, as lines of columns with tabs between.
    pub fn run(&self, statement: &str) -> String {
        self.told(DATABASE, statement, b"")
    }

    /// Inserts rows in a format of its own.
    pub fn insert(&self, statement: &str, rows: &[u8]) {
        self.told(DATABASE, statement, rows);
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.process.kill().expect("a child can be killed");
        self.process.wait().expect("a child can be waited for");
    }

    /// Starts it again after a kill, where it was.
    pub fn restart(&mut self) {
        let (_, port) = self.address.rsplit_once(':').expect("has a port");
        (self.process, self.address) = serve(&self.python, &self.folder, port);
    }

    fn told(&self, database: &str, statement: &str, rows: &[u8]) -> String {
        let mut stream = TcpStream::connect(&self.address).expect("connects");
        let query: String = url_encoded(statement);
        let head = format!(
            "POST /?database={database}&query={query} HTTP/1.1\r\nHost: {}\r\nX-ClickHouse-User: {USER}\r\nX-ClickHouse-Key: {PASSWORD}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            self.address,
            rows.len()
        );
        stream.write_all(head.as_bytes()).expect("sends");
        stream.write_all(rows).expect("sends");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("answers");
        let answer = String::from_utf8(answer).expect("text");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        assert!(head.starts_with("HTTP/1.1 200"), "{statement}: {body}");
        body.to_owned()
    }
}

impl Drop for ClickHouse {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

fn url_encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

fn serve(python: &PathBuf, folder: &tempfile::TempDir, port: &str) -> (Child, String) {
    let mut process = Command::new(python)
        .arg(SERVER)
        .arg(folder.path().join("data"))
        .args([USER, PASSWORD, port])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Python runs");
    let mut address = String::new();
    let said = process.stdout.take().expect("is piped");
    BufReader::new(said).read_line(&mut address).expect("is text");
    assert!(address.ends_with('\n'), "it did not start");
    (process, address.trim().to_owned())
}
