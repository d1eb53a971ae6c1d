//! `rr-control` as a process.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::api::Api;

use super::{Port, Process, launch, program, ready};

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

fn reserve() -> [Port; 3] {
    [Port::reserve(), Port::reserve(), Port::reserve()]
}
