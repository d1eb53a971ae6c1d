//! The real programs as real processes, to be killed with a real `kill -9`.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};

use rustix::process::{Pid, Resource, Rlimit, geteuid, prlimit};
use tokio::net::TcpSocket;

use crate::api::Api;
use crate::caller::{self, Reply};
use crate::wait::eventually;

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

/// `rr-control` on a folder.
pub struct Control {
    folder: PathBuf,
    variables: Vec<(String, String)>,
    ports: [Port; 3],
    /// Management API.
    pub management: SocketAddr,
    /// Where nodes connect.
    pub fleet: SocketAddr,
    /// Admin port.
    pub admin: SocketAddr,
    /// The process.
    pub process: Process,
}

impl Control {
    /// Starts on free ports, and waits until it is ready.
    pub async fn start(folder: &Path) -> Self {
        Self::start_with(folder, &[]).await
    }

    /// The same with variables of the environment.
    pub async fn start_with(folder: &Path, variables: &[(&str, String)]) -> Self {
        let control = Self::launch(folder, reserve(), variables, false);
        ready(control.admin, "rr-control").await;
        control
    }

    /// The same with a pipe for its log that nobody reads.
    pub async fn start_unread(folder: &Path, variables: &[(&str, String)]) -> Self {
        let control = Self::launch(folder, reserve(), variables, true);
        ready(control.admin, "rr-control").await;
        control
    }

    fn launch(folder: &Path, ports: [Port; 3], variables: &[(&str, String)], unread: bool) -> Self {
        std::fs::create_dir_all(folder).expect("a folder");
        let [management, fleet, admin] = ports.each_ref().map(Port::address);
        let mut command = Command::new(program("rr-control"));
        command.arg("--state-dir").arg(folder.join("state"));
        command.args(["--management", &management.to_string(), "--fleet", &fleet.to_string()]);
        command.args(["--admin", &admin.to_string()]).envs(variables.iter().cloned());
        let process = launch(&mut command, folder, unread);
        let folder = folder.to_owned();
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        Self { folder, variables, ports, management, fleet, admin, process }
    }

    fn relaunch(self) -> Self {
        let variables: Vec<(&str, String)> =
            self.variables.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
        Self::launch(&self.folder, self.ports, &variables, false)
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again on the same folder and ports, and with the same variables.
    pub async fn restart(mut self) -> Self {
        if matches!(self.process.child.try_wait(), Ok(None)) {
            self.process.kill();
        }
        let control = self.relaunch();
        ready(control.admin, "rr-control").await;
        control
    }

    /// SIGTERM, and the start after it, with a variable that is another then.
    pub async fn restart_with(mut self, name: &str, value: String) -> Self {
        assert!(self.process.terminate().await.success(), "it ends in order");
        self.variables.retain(|(had, _)| had != name);
        self.variables.push((name.to_owned(), value));
        let control = self.relaunch();
        ready(control.admin, "rr-control").await;
        control
    }

    /// The database, where it is a file.
    pub fn database(&self) -> PathBuf {
        self.folder.join("state/control.db")
    }

    /// Its state folder.
    pub fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// Another replica over the same database, with the same authority, and with variables that name the database.
    pub async fn replica(&self, folder: &Path) -> Self {
        let state = folder.join("state");
        std::fs::create_dir_all(&state).expect("a folder");
        for file in ["authority.key", "authority.crt"] {
            std::fs::copy(self.state().join(file), state.join(file)).expect("the authority is copied");
        }
        let variables: Vec<(&str, String)> =
            self.variables.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
        Self::start_with(folder, &variables).await
    }

    /// Kills it, waits, and starts it again on the same folder and ports; it is not waited for.
    pub async fn away(mut self, how_long: std::time::Duration) -> Self {
        self.process.kill();
        tokio::time::sleep(how_long).await;
        self.relaunch()
    }

    /// An operator's API, by way of the bootstrap token.
    pub async fn bootstrap(&self) -> Api {
        let path = self.folder.join("state/bootstrap-token");
        let token = std::fs::read_to_string(&path).expect("the first start writes a bootstrap token");
        Api::bootstrap(self.management, token.trim()).await.expect("the bootstrap token works once")
    }
}

/// `rr-edge` on a folder.
pub struct Edge {
    program: String,
    variables: Vec<(String, String)>,
    folder: PathBuf,
    fleet: SocketAddr,
    ports: [Port; 2],
    /// Where callers call.
    pub listen: SocketAddr,
    /// Admin port.
    pub admin: SocketAddr,
    /// The process.
    pub process: Process,
}

impl Edge {
    /// Starts on free ports with a node token. Upstreams on loopback are allowed.
    pub fn start(folder: &Path, fleet: SocketAddr, token: &[u8]) -> Self {
        Self::start_with(folder, fleet, token, &[])
    }

    /// The same with variables of the environment.
    pub fn start_with(folder: &Path, fleet: SocketAddr, token: &[u8], variables: &[(&str, String)]) -> Self {
        Self::start_program("rr-edge", folder, fleet, token, variables)
    }

    /// Another program with the same command line: beside the running one, or an absolute path.
    pub fn start_program(
        program: &str,
        folder: &Path,
        fleet: SocketAddr,
        token: &[u8],
        variables: &[(&str, String)],
    ) -> Self {
        Self::start_on(program, folder, fleet, token, variables, false)
    }

    /// `rr-edge` with a pipe for its log that nobody reads.
    pub fn start_unread(
        folder: &Path,
        fleet: SocketAddr,
        token: &[u8],
        variables: &[(&str, String)],
    ) -> Self {
        Self::start_on("rr-edge", folder, fleet, token, variables, true)
    }

    fn start_on(
        program: &str,
        folder: &Path,
        fleet: SocketAddr,
        token: &[u8],
        variables: &[(&str, String)],
        unread: bool,
    ) -> Self {
        std::fs::create_dir_all(folder).expect("a folder");
        std::fs::write(folder.join("token"), token).expect("a token file");
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let ports = [Port::reserve(), Port::reserve()];
        Self::launch(program, folder, fleet, ports, variables, unread)
    }

    fn launch(
        name: &str,
        folder: &Path,
        fleet: SocketAddr,
        ports: [Port; 2],
        variables: Vec<(String, String)>,
        unread: bool,
    ) -> Self {
        let [listen, admin] = ports.each_ref().map(Port::address);
        let mut command = Command::new(program(name));
        command.arg("--state-dir").arg(folder.join("state"));
        command.arg("--node-token-file").arg(folder.join("token"));
        command.args(["--control-plane", &format!("https://{fleet}")]);
        command.args(["--listen", &listen.to_string(), "--admin", &admin.to_string()]);
        command.args(["--allow-upstream", "127.0.0.0/8"]).envs(variables.iter().cloned());
        let process = launch(&mut command, folder, unread);
        Self {
            program: name.to_owned(),
            variables,
            folder: folder.to_owned(),
            fleet,
            ports,
            listen,
            admin,
            process,
        }
    }

    /// Waits until it can decide requests.
    pub async fn ready(&self) {
        ready(self.admin, "rr-edge").await;
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// The same at another replica of the control plane.
    pub fn restart_at(mut self, fleet: SocketAddr) -> Self {
        self.fleet = fleet;
        self.restart()
    }

    /// Starts it again on the same folder and ports.
    pub fn restart(mut self) -> Self {
        if matches!(self.process.child.try_wait(), Ok(None)) {
            self.process.kill();
        }
        let variables = std::mem::take(&mut self.variables);
        Self::launch(&self.program, &self.folder, self.fleet, self.ports, variables, false)
    }
}

fn reserve() -> [Port; 3] {
    [Port::reserve(), Port::reserve(), Port::reserve()]
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
