//! The folder of `rrctl dev`: its files, and the ports of the last start.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use rr_contract::seam::{Disk as _, RealDisk};
use rr_contract::secret::Secret;
use serde::{Deserialize, Serialize};

use crate::fault;

/// The ports, all on loopback.
#[derive(Args, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PortArgs {
    /// Port of the management API (gRPC and REST) [default: 7420]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    management_port: Option<u16>,
    /// Port that nodes connect to [default: 7421]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    fleet_port: Option<u16>,
    /// Admin port of the control plane [default: 7422]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    control_admin_port: Option<u16>,
    /// Port that callers call [default: 7430]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    edge_port: Option<u16>,
    /// Admin port of the edge node [default: 7431]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    edge_admin_port: Option<u16>,
    /// Port of the sample upstream [default: 7440]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    upstream_port: Option<u16>,
}

/// The address of each part.
#[derive(Clone, Copy)]
pub(super) struct Ports {
    pub(super) management: SocketAddr,
    pub(super) fleet: SocketAddr,
    pub(super) control_admin: SocketAddr,
    pub(super) edge: SocketAddr,
    pub(super) edge_admin: SocketAddr,
    pub(super) upstream: SocketAddr,
}

impl PortArgs {
    /// The given ports, or else those of the last start.
    fn or(self, before: Self) -> Self {
        Self {
            management_port: self.management_port.or(before.management_port),
            fleet_port: self.fleet_port.or(before.fleet_port),
            control_admin_port: self.control_admin_port.or(before.control_admin_port),
            edge_port: self.edge_port.or(before.edge_port),
            edge_admin_port: self.edge_admin_port.or(before.edge_admin_port),
            upstream_port: self.upstream_port.or(before.upstream_port),
        }
    }

    fn filled(self) -> Self {
        self.or(Self {
            management_port: Some(7420),
            fleet_port: Some(7421),
            control_admin_port: Some(7422),
            edge_port: Some(7430),
            edge_admin_port: Some(7431),
            upstream_port: Some(7440),
        })
    }

    fn addresses(&self) -> Ports {
        let at = |port: Option<u16>| SocketAddr::from((Ipv4Addr::LOCALHOST, port.unwrap_or(0)));
        Ports {
            management: at(self.management_port),
            fleet: at(self.fleet_port),
            control_admin: at(self.control_admin_port),
            edge: at(self.edge_port),
            edge_admin: at(self.edge_admin_port),
            upstream: at(self.upstream_port),
        }
    }
}

impl Ports {
    /// Fails if a port is taken, before any file is written; the error names the flag that changes the port.
    fn check(&self) -> Result<()> {
        for (address, what, flag) in [
            (self.management, "management API", "--management-port"),
            (self.fleet, "fleet", "--fleet-port"),
            (self.control_admin, "control plane's admin", "--control-admin-port"),
            (self.edge, "edge", "--edge-port"),
            (self.edge_admin, "edge's admin", "--edge-admin-port"),
            (self.upstream, "sample upstream", "--upstream-port"),
        ] {
            if let Err(error) = TcpListener::bind(address) {
                bail!(
                    "port {} of the {what} cannot be used ({error}); choose another with {flag} PORT",
                    address.port()
                );
            }
        }
        Ok(())
    }
}

/// The folder, locked by this process.
pub(super) struct StateFolder {
    root: PathBuf,
    pub(super) ports: Ports,
    _lock: File,
    // Removed when dropped.
    _ephemeral: Option<tempfile::TempDir>,
}

impl StateFolder {
    pub(super) fn open(folder: &Path, ephemeral: bool, asked: PortArgs) -> Result<Self> {
        let (folder, temporary) = if ephemeral {
            let temporary = tempfile::Builder::new().prefix("requestrocket-dev-").tempdir()?;
            (temporary.path().to_owned(), Some(temporary))
        } else {
            (std::path::absolute(folder)?, None)
        };
        let saved = folder.join("dev.toml");
        let before: PortArgs = match fs::read_to_string(&saved) {
            Ok(text) => toml::from_str(&text).map_err(|error| fault::toml(&saved, &text, &error))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => PortArgs::default(),
            Err(error) => return Err(error).with_context(|| format!("read {}", saved.display())),
        };
        let ports = asked.or(before).filled();
        ports.addresses().check()?;

        RealDisk.create_dir_all(&folder).with_context(|| format!("make folder {}", folder.display()))?;
        let lock = File::create(folder.join("lock")).context("make the folder's lock")?;
        if lock.try_lock().is_err() {
            return Err(fault::usage(
                &format!("another `rrctl dev` runs in {}", folder.display()),
                "stop it, or name another folder with --dir",
            ));
        }
        RealDisk.replace(&saved, toml::to_string(&ports)?.as_bytes())?;
        Ok(Self { root: folder, ports: ports.addresses(), _lock: lock, _ephemeral: temporary })
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// A secret that was kept in the folder, if there is one.
    pub(super) fn secret(&self, name: &str) -> Result<Option<Secret>> {
        match fs::read(self.path(name)) {
            Ok(text) => Ok(Some(Secret::new(text.trim_ascii_end().to_vec()))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("read {}", self.path(name).display())),
        }
    }

    /// Keeps a secret in a file that only its owner can read.
    pub(super) fn keep(&self, name: &str, secret: &Secret) -> Result<()> {
        let mut text = secret.expose().to_vec();
        text.push(b'\n');
        RealDisk
            .replace(&self.path(name), &text)
            .with_context(|| format!("write {}", self.path(name).display()))
    }
}
