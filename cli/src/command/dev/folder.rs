//! The folder of `rrctl dev`: its files, and the ports of the last start.
//!
//! A folder that somebody else brought is refused, and so is what others can read or write in it. What decides where
//! commands go and to whose key they seal lies outside of it, in the user's configuration folder.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use rr_contract::seam::{Disk as _, RealDisk};
use rr_contract::secret::Secret;
use serde::{Deserialize, Serialize};

use crate::context::{self, Found, Kept};
use crate::{fault, owned};

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
                let whose = of_endpoint(address).map_or_else(String::new, |folder| {
                    format!(", because `rrctl dev` of {} uses it", folder.display())
                });
                bail!(
                    "port {} of the {what} cannot be used ({error}){whose}; choose another with {flag} PORT",
                    address.port()
                );
            }
        }
        Ok(())
    }
}

/// The folder of the `rrctl dev` whose management API listens at an address.
fn of_endpoint(address: SocketAddr) -> Option<PathBuf> {
    let contexts = context::Folder::of_user().ok()??.read().ok()?.contexts;
    let endpoint = format!("http://{address}");
    contexts.into_values().find(|it| it.endpoint == endpoint)?.folders.into_iter().next()
}

/// The lock of a folder, or the process that has it.
fn locked(path: &Path) -> Result<Result<File, String>> {
    let file = owned::open_to_lock(path);
    let mut file = file.with_context(|| format!("open the folder's lock {}", path.display()))?;
    if file.try_lock().is_ok() {
        return Ok(Ok(file));
    }
    let mut process = String::new();
    file.read_to_string(&mut process).ok();
    Ok(Err(process))
}

/// Names the `rrctl dev` that runs in a folder, and where it listens.
fn running_already(folder: &Path, process: &str) -> anyhow::Error {
    let saved = fs::read_to_string(folder.join("dev.toml")).unwrap_or_default();
    let ports = toml::from_str::<PortArgs>(&saved).unwrap_or_default().filled().addresses();
    fault::usage(
        &format!(
            "`rrctl dev` runs in {} already (process {process}): management http://{}, edge http://{}",
            folder.display(),
            ports.management,
            ports.edge
        ),
        "use it, stop it with Ctrl-C, or name another folder with --dir",
    )
}

/// The folder, locked by this process.
pub(super) struct StateFolder {
    root: PathBuf,
    /// What is kept for it where no working folder chooses. `None` where nothing is kept at all.
    kept: Option<Kept>,
    pub(super) ports: Ports,
    _lock: File,
    // Removed when dropped.
    _ephemeral: Option<tempfile::TempDir>,
}

impl StateFolder {
    /// A folder that is kept. With `adopt` it may be one that somebody else made.
    pub(super) fn open(folder: &Path, adopt: bool, asked: PortArgs) -> Result<Self> {
        let user = context::Folder::needed()
            .context("the state folder is noted in the configuration folder; --ephemeral does without")?;
        let root = context::place(folder)?;
        let held = root.join("lock");
        match user.look(&root)? {
            Found::Strange if !adopt => return Err(context::strange(&root)),
            Found::Ours(_) if held.exists() => {
                if let Err(running) = locked(&held)? {
                    return Err(running_already(&root, &running));
                }
            }
            Found::Ours(_) | Found::Strange | Found::Nothing => {}
        }
        let saved = root.join("dev.toml");
        let before: PortArgs = match fs::read_to_string(&saved) {
            Ok(text) => toml::from_str(&text).map_err(|error| fault::toml(&saved, &text, &error))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => PortArgs::default(),
            Err(error) => return Err(error).with_context(|| format!("read {}", saved.display())),
        };
        let ports = asked.or(before).filled();
        ports.addresses().check()?;
        let kept = user.take(&root, adopt)?;
        let ignored = root.join(".gitignore");
        if !ignored.exists() {
            RealDisk.replace(&ignored, b"*\n").with_context(|| format!("write {}", ignored.display()))?;
        }
        Self::lock(root, Some(kept), &ports, None)
    }

    /// A folder that goes at the end.
    pub(super) fn ephemeral(asked: PortArgs) -> Result<Self> {
        let ports = asked.filled();
        ports.addresses().check()?;
        let temporary = tempfile::Builder::new().prefix("requestrocket-dev-").tempdir()?;
        Self::lock(temporary.path().to_owned(), None, &ports, Some(temporary))
    }

    fn lock(
        root: PathBuf,
        kept: Option<Kept>,
        ports: &PortArgs,
        ephemeral: Option<tempfile::TempDir>,
    ) -> Result<Self> {
        let mut lock = match locked(&root.join("lock"))? {
            Ok(lock) => lock,
            Err(running) => return Err(running_already(&root, &running)),
        };
        lock.set_len(0)
            .and_then(|()| write!(lock, "{}", std::process::id()))
            .context("write the folder's lock")?;
        RealDisk.replace(&root.join("dev.toml"), toml::to_string(ports)?.as_bytes())?;
        Ok(Self { root, kept, ports: ports.addresses(), _lock: lock, _ephemeral: ephemeral })
    }

    /// Whether the folder goes at the end.
    pub(super) const fn is_ephemeral(&self) -> bool {
        self._ephemeral.is_some()
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The place of a file that a working folder must not choose: with the mark in the configuration folder, or in the
    /// folder itself where that is gone at the end.
    pub(super) fn kept(&self, name: &str) -> PathBuf {
        self.kept.as_ref().map_or_else(|| self.path(name), |kept| kept.path(name))
    }
}

/// A secret that was kept in a file, if there is one. One that others can read is refused.
pub(super) fn secret(path: &Path) -> Result<Option<Secret>> {
    if !path.exists() {
        return Ok(None);
    }
    let bytes = owned::read_secret(path)?;
    Ok(Some(Secret::new(bytes.trim_ascii_end().to_vec())))
}

/// Keeps a secret in a file that only its owner can read.
pub(super) fn keep(path: &Path, secret: &Secret) -> Result<()> {
    let mut text = secret.expose().to_vec();
    text.push(b'\n');
    RealDisk.replace(path, &text).with_context(|| format!("write {}", path.display()))
}
