//! `rr-edge` as a process.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Port, Process, launch, program, ready};

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
