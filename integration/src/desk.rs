//! An operator's desk: a folder with the key file of the sample's region, and `rrctl`.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};

use rr_contract::seal::key_file;
use rr_contract::seal::region_key::RegionKeys;
use rr_contract::seam::SystemEntropy;
use rr_contract::secret::Secret;

use crate::process::program;
use crate::world::{REGION, World};

/// What opens its key files.
pub const PASSPHRASE: &str = "correct horse";

/// A folder with the key file of the sample's region.
pub struct Desk {
    folder: tempfile::TempDir,
}

impl Desk {
    /// With the keys of the sample's region in `eu.key`, and a copy of it.
    pub fn of(world: &World) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let desk = Self { folder };
        for name in ["eu.key", "copy.key"] {
            write_keys(&world.keys, &desk.folder.path().join(name));
        }
        desk
    }

    /// Runs `rrctl` in the folder, as an operator.
    pub async fn rrctl(&self, world: &World, args: &[&str]) -> Output {
        let mut command = rrctl_in(self.folder.path(), world.control_plane.management, world.api.token());
        command.args(args);
        // The control plane shares this runtime and has to answer meanwhile.
        tokio::task::spawn_blocking(move || command.output().expect("rrctl runs")).await.expect("joins")
    }

    /// The same, which has to succeed; what it said.
    pub async fn done(&self, world: &World, args: &[&str]) -> String {
        let output = self.rrctl(world, args).await;
        let said = [&output.stdout[..], &output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(output.status.success(), "{args:?}: {said}");
        said
    }

    /// Rotates the key of the region.
    pub async fn rotate(&self, world: &World, more: &[&str]) -> String {
        let args = ["region", "rotate-key", REGION, "--region-key", "eu.key", "--yes"];
        self.done(world, &[&args, more].concat()).await
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What a key file has.
    pub fn keys(&self, name: &str) -> RegionKeys {
        read_keys(&self.folder.path().join(name))
    }
}

/// Writes a new file that only its owner can read.
pub fn private_file(path: &Path, bytes: &[u8]) {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(path).expect("a new file");
    file.write_all(bytes).expect("writes");
}

/// `rrctl` in a folder, as an operator whose key files open with [`PASSPHRASE`].
pub fn rrctl_in(folder: &Path, management: SocketAddr, token: &str) -> Command {
    let mut command = Command::new(program("rrctl"));
    command
        .current_dir(folder)
        .args(["--endpoint", &format!("http://{management}")])
        .env("RRCTL_TOKEN", token)
        .env("RRCTL_CONFIG_DIR", folder.join("config"))
        .env("RRCTL_PASSPHRASE", PASSPHRASE);
    command
}

/// Keys as a file of theirs, for [`PASSPHRASE`].
pub fn write_keys(keys: &RegionKeys, path: &Path) {
    let text = key_file::write(keys, &Secret::from(PASSPHRASE.to_owned()), &SystemEntropy);
    private_file(path, text.expose());
}

/// What a key file has.
pub fn read_keys(path: &Path) -> RegionKeys {
    let text = std::fs::read(path).expect("a file");
    key_file::read(&Secret::new(text), Some(&Secret::from(PASSPHRASE.to_owned()))).expect("opens")
}
