//! A node without a control plane as a process, with the targets that a test names.
//!
//! Each target has one proxy of its own name, which takes one key and sends no secret, if the test names none. The invariant: the node has one
//! worker, so what comes later on another connection does not overtake what came before.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::process::{Port, Process, admin, program};
use crate::wait::eventually;

/// A running node.
pub struct Standalone {
    folder: TempDir,
    ports: [Port; 2],
    key: String,
    /// The process.
    pub process: Process,
}

/// A target, and the proxy of its name.
pub struct Behind {
    name: String,
    target: String,
    proxy: String,
    upstream: String,
}

impl Behind {
    /// A target at an `http` or `https` URL.
    pub fn new(name: &str, url: &str) -> Self {
        let plain = if url.starts_with("http:") { "danger_plaintext: true\n" } else { "" };
        let target = format!("kind: target\nname: {name}\nbase_url: {url}\n{plain}");
        Self { name: name.to_owned(), target, proxy: String::new(), upstream: "open".to_owned() }
    }

    /// With a field of the target, as a line of the file.
    #[must_use]
    pub fn target(mut self, line: &str) -> Self {
        self.target.push_str(line);
        self.target.push('\n');
        self
    }

    /// With a field of the proxy, as a line of the file.
    #[must_use]
    pub fn proxy(mut self, line: &str) -> Self {
        self.proxy.push_str(line);
        self.proxy.push('\n');
        self
    }

    /// With the secret of another credential of the file.
    #[must_use]
    pub fn upstream(mut self, credential: &str) -> Self {
        credential.clone_into(&mut self.upstream);
        self
    }

    fn documents(&self) -> String {
        let Self { name, target, proxy, upstream } = self;
        format!(
            "{target}---\nkind: proxy\nname: {name}\ntarget: {name}\ncaller_credentials: [app]\n\
             upstream_credential: {upstream}\n{proxy}---\n"
        )
    }
}

impl Standalone {
    /// Starts it in front of these targets, and waits until it is ready. Upstreams on loopback are allowed.
    pub async fn start(behind: &[Behind], flags: &[&str]) -> Self {
        Self::start_with(behind, "", flags).await
    }

    /// The same with more documents in its file.
    pub async fn start_with(behind: &[Behind], more: &str, flags: &[&str]) -> Self {
        Self::start_as(Command::new(program("rr-edge")), behind, more, flags).await
    }

    /// The same for a process that may have no more files open.
    pub async fn start_with_files(files: usize, behind: &[Behind]) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("ulimit -n {files} && exec \"$0\" \"$@\"")]).arg(program("rr-edge"));
        Self::start_as(command, behind, "", &[]).await
    }

    async fn start_as(mut command: Command, behind: &[Behind], more: &str, flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("gateway.yaml");
        let key = folder.path().join("app.key");
        let made =
            Command::new(program("rr-edge")).arg("--make-key").arg(&key).output().expect("rr-edge runs");
        assert!(made.status.success(), "{made:?}");
        let mut text: String = behind.iter().map(Behind::documents).collect();
        text.push_str("kind: credential\nname: open\nupstream: {kind: none}\n---\n");
        text.push_str("kind: credential\nname: app\ncaller: {kind: api-key}\nvalue_from: {file: app.key}\n");
        text.push_str(more);
        std::fs::write(&file, text).expect("a file");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("it is ours");
        let ports = [Port::reserve(), Port::reserve()];
        let [listen, operators] = ports.each_ref().map(|port| port.address().to_string());
        command.current_dir(folder.path()).args(["--standalone", "gateway.yaml", "--records", "records"]);
        command.args(["--listen", &listen, "--admin", &operators, "--workers", "1"]);
        command.args(["--allow-upstream", "127.0.0.0/8,::1/128"]).args(flags);
        let process = Process::start(&mut command, &folder.path().join("log"));
        let key = std::fs::read_to_string(&key).expect("a key").trim().to_owned();
        let node = Self { folder, ports, key, process };
        eventually("the node is ready", || async {
            assert!(node.is_up(), "the node did not start: {}", node.process.log());
            (admin(node.admin(), "/readyz").await.ok()?.status == 200).then_some(())
        })
        .await;
        node
    }

    fn is_up(&self) -> bool {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()));
        status.is_ok_and(|status| !status.contains("(zombie)"))
    }

    /// Its process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Where callers call.
    pub fn listen(&self) -> SocketAddr {
        self.ports[0].address()
    }

    /// Its admin port.
    pub fn admin(&self) -> SocketAddr {
        self.ports[1].address()
    }

    /// The key that its proxies take.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// A connection of a caller.
    pub async fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.listen()).await.expect("it listens");
        stream.set_nodelay(true).expect("a socket takes it");
        stream
    }

    /// Its first records, once there are that many.
    pub async fn records(&self, count: usize) -> Vec<Value> {
        eventually(&format!("there are {count} records"), || async {
            assert!(self.is_up(), "the node ended: {}", self.process.log());
            let text = std::fs::read_to_string(self.folder.path().join("records")).ok()?;
            // The last line may not be whole yet.
            let (lines, _) = text.rsplit_once('\n')?;
            let records: Vec<Value> =
                lines.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
            (records.len() >= count).then_some(records)
        })
        .await
    }
}
