//! The real programs as real processes, to be killed with a real `kill -9`.

mod control;
mod edge;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};

use rustix::process::{Pid, Resource, Rlimit, geteuid, prlimit};
use tokio::net::TcpSocket;

use crate::caller::{self, Reply};
use crate::wait::eventually;

pub use self::control::Control;
pub use self::edge::Edge;

/// A port of loopback that nobody else gets for as long as this lives.
///
/// It is bound here and not listened on: whoever is told its address can listen there, as often as it starts, and the system
/// gives it to nobody who asks for any port. While nobody listens, callers are refused.
pub struct Port {
    address: SocketAddr,
    _bound: TcpSocket,
}

impl Port {
    /// Any free one.
    pub fn reserve() -> Self {
        let bound = TcpSocket::new_v4().expect("a socket");
        // Whoever listens says the same, and only then may both be bound.
        bound.set_reuseaddr(true).expect("a socket takes it");
        bound.bind(([127, 0, 0, 1], 0).into()).expect("loopback has a free port");
        Self { address: bound.local_addr().expect("a bound socket has an address"), _bound: bound }
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// A program of this workspace, beside the running one.
pub fn program(name: &str) -> PathBuf {
    let mut path = std::env::current_exe().expect("this program has a path");
    path.pop();
    if path.ends_with("deps") {
        path.pop();
    }
    path.push(name);
    assert!(
        path.exists(),
        "{} is not built; run `cargo build --workspace` with the same profile first",
        path.display()
    );
    path
}

/// A running program. Killed when dropped.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts it with its log in a file, so that it outlives nobody's pipe.
    pub fn start(command: &mut Command, log: &Path) -> Self {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(log).expect("a log file");
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a second handle"))
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("start {command:?}: {error}"));
        Self { child, log: log.to_owned() }
    }

    /// Starts it with a pipe for its log that nobody reads before [`Self::take_pipe`].
    pub fn start_unread(command: &mut Command) -> Self {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("start {command:?}: {error}"));
        Self { child, log: PathBuf::new() }
    }

    /// The other end of its log, once. Dropped, it is closed.
    pub fn take_pipe(&mut self) -> ChildStderr {
        self.child.stderr.take().expect("started with a pipe, and not taken yet")
    }

    /// Stops its clock: its sockets stay, connections to it are taken by the system, and nothing answers.
    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.id().to_string()]).status().expect("kill runs");
        assert!(sent.success(), "kill {signal} {}", self.id());
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a child can be waited for");
    }

    /// SIGTERM, then waits for the end without holding up what else runs on this thread: its clients
    /// have to hear that it closes.
    pub async fn terminate(&mut self) -> std::process::ExitStatus {
        self.signal("-TERM");
        eventually("it ends after SIGTERM", || {
            let ended = self.ended();
            async move { ended }
        })
        .await
    }

    /// Lets it open no file with this number or a higher one.
    pub fn opens_below(&self, file: u64) {
        let most = Rlimit { current: Some(file), maximum: Some(file) };
        let id = Pid::from_child(&self.child);
        prlimit(Some(id), Resource::Nofile, most).expect("limits of a child can be lowered");
    }

    /// The number that the next file gets which it opens.
    pub fn next_file(&self) -> u64 {
        let is_open =
            |file: &u64| Path::new(&format!("/proc/{}/fd/{file}", self.id())).symlink_metadata().is_ok();
        (0..).find(|file| !is_open(file)).expect("no process has as many files")
    }

    /// Its exit status, once it ended by itself.
    pub fn ended(&mut self) -> Option<std::process::ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Resident memory in bytes.
    pub fn resident(&self) -> io::Result<u64> {
        self.status("VmRSS:")
    }

    /// Processor time that it took so far, in seconds.
    pub fn processor_time(&self) -> io::Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id()))?;
        // Behind the name, which may hold anything: fields 14 and 15, in hundredths of a second.
        let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
        let ticks: Vec<u64> = fields.skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
        if ticks.len() < 2 {
            return Err(io::Error::other("no times"));
        }
        Ok(ticks.iter().sum::<u64>() as f64 / 100.0)
    }

    /// The most that its resident memory ever was.
    pub fn peak(&self) -> io::Result<u64> {
        self.status("VmHWM:")
    }

    fn status(&self, field: &str) -> io::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(field))
            .ok_or_else(|| io::Error::other("no such field"))?;
        let kib: u64 =
            line.trim().trim_end_matches("kB").trim().parse().map_err(|_| io::Error::other("no number"))?;
        Ok(kib * 1024)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Ended already is what most tests want.
        if matches!(self.child.try_wait(), Ok(None)) {
            self.kill();
        }
    }
}

fn launch(command: &mut Command, folder: &Path, unread: bool) -> Process {
    // Nobody but root sees the files and the memory of a process that is not dumpable.
    if !geteuid().is_root() {
        command.env("RR_EDGE_DEBUGGABLE", "true").env("RR_CONTROL_DEBUGGABLE", "true");
    }
    if unread { Process::start_unread(command) } else { Process::start(command, &folder.join("log")) }
}

/// GET of a path on an admin port.
pub async fn admin(address: SocketAddr, path: &str) -> anyhow::Result<Reply> {
    let request =
        http::Request::get(path).header("host", address.to_string()).body(http_body_util::Full::default())?;
    caller::send(address, request).await
}

async fn ready(address: SocketAddr, what: &str) {
    eventually(&format!("{what} is ready"), || async move {
        let reply = admin(address, "/readyz").await.ok()?;
        (reply.status == 200).then_some(())
    })
    .await;
}

/// A database's file with what belongs to it; what the copy had beside it goes.
pub fn copy_database(from: &Path, to: &Path) {
    for end in ["", "-wal", "-shm"] {
        let named = |path: &Path| PathBuf::from(format!("{}{end}", path.display()));
        std::fs::remove_file(named(to)).ok();
        if named(from).exists() {
            std::fs::copy(named(from), named(to)).expect("is copied");
        }
    }
}
