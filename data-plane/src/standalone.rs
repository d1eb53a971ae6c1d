//! A node without a control plane: its configuration is a file, in the form of `rrctl apply`.
//!
//! The file becomes the resources that a control plane would send, and goes the same way: one transaction, checked,
//! written down as last-known-good, and swapped in. It is taken whole or not at all; a file that cannot be served
//! changes nothing, and a start with such a file goes on with the last one that was served. Opens no port and sees no
//! request. The invariant: a value leaves this module sealed, bound to the origins that the file gives it.

mod alike;
mod compile;
mod fault;
mod follow;
mod load;
mod message;
mod name;
mod own;
mod secret;
#[cfg(test)]
mod tests;
mod written;

use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rr_contract::api_key::{self, KeyKind};
use rr_contract::file::{document, node, spelling};
use rr_contract::model::id::InstallationId;
use rr_contract::model::name::Name;
use rr_contract::seam::{Seams, draw};
use zeroize::Zeroizing;

pub use self::compile::{Address, Counts};
pub use self::fault::{Content, FileFault};
pub use self::load::RegionKeyError;
pub use self::own::OwnKeyError;

pub(crate) use self::follow::Follower;
pub(crate) use self::load::{Held, Loader};
pub(crate) use self::own::Own;

/// The settings of a node without a control plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standalone {
    /// The configuration, in YAML.
    pub file: PathBuf,
    /// The organization that all of it belongs to.
    pub org: Name,
    /// The installation that secrets were sealed in, where the file has sealed secrets.
    pub installation: Option<InstallationId>,
    /// The key file of the region that they were sealed to.
    pub region_key: Option<PathBuf>,
    /// The file with its passphrase.
    pub region_passphrase: Option<PathBuf>,
}

/// Why a standalone node does not start.
#[derive(Debug, thiserror::Error)]
pub enum StandaloneError {
    /// The file.
    #[error(transparent)]
    File(#[from] FileFault),
    /// The key of a region.
    #[error(transparent)]
    RegionKey(#[from] RegionKeyError),
    /// The key of this node's own.
    #[error(transparent)]
    Own(#[from] OwnKeyError),
}

/// What a standalone node serves, for a person who has just started it.
#[derive(Debug, Clone)]
pub struct Overview {
    /// The file.
    pub file: PathBuf,
    /// What is wrong with the file, where the content before it is served instead.
    pub fault: Option<String>,
    /// Proxies that are served, in the order of the file. Empty where there is a fault.
    pub addresses: Vec<Address>,
}

impl Standalone {
    /// The file and the organization, as last-known-good remembers them.
    pub(crate) fn subject(&self) -> String {
        let file = std::path::absolute(&self.file).unwrap_or_else(|_| self.file.clone());
        format!("{} of {}", self.org, file.display())
    }
}

/// Loads the file as a start would, and touches nothing.
pub fn check(settings: &Standalone, seams: &Seams) -> Result<Counts, StandaloneError> {
    let own = Own::generate(settings.subject(), seams);
    let loader = Loader::new(settings.clone(), own, seams.clone())?;
    Ok(loader.load(&Held::new())?.counts)
}

/// Whether every document of a text has only fields that a file may have.
#[doc(hidden)]
pub fn fields(text: &str) -> Result<(), FileFault> {
    let mut faults = fault::Faults::default();
    match node::documents(text) {
        Ok(nodes) => nodes.iter().for_each(|node| _ = compile::is_taken(node, &mut faults)),
        Err(mistake) => faults.mistake(1, &mistake),
    }
    faults.finish(Path::new("text"))
}

/// Makes a caller's key and writes it into a new file, which only its owner may read. The key is shown nowhere.
pub fn make_key(path: &Path, seams: &Seams) -> io::Result<()> {
    use std::io::Write as _;

    let random = Zeroizing::new(draw::<32>(&*seams.entropy));
    let (key, _) = api_key::make(KeyKind::Caller, &random);
    // Never over a file that is there: it may be the only copy of another key.
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(key.expose())?;
    file.write_all(b"\n")?;
    file.sync_all()
}
