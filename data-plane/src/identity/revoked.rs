//! The end of a node that was revoked: its keys, its configuration and its records go from the disk.
//!
//! A mark is written first and stays, so that a wipe which was cut off goes on at the next start, and so that the machine
//! does not join again by itself with the token that it joined with. Removes nothing outside the state folder: a node key
//! that was given as a file is whose who gave it.

use std::io;
use std::path::{Path, PathBuf};

use prost::Message as _;
use rr_contract::model::id::NodeTokenId;
use rr_contract::seam::Seams;
use tracing::{error, info};

const MARK: &str = "revoked";
const LOCK: &str = "edge.lock";
/// What everything else is sealed with where no other was given: it goes first.
const NODE_KEY: &str = "node.key";

/// That this node was revoked.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Revoked {
    /// For people.
    #[prost(string, tag = "1")]
    pub(crate) reason: String,
    /// Id of the node token that the node joined with.
    #[prost(string, tag = "2")]
    pub(crate) node_token: String,
}

impl Revoked {
    fn path(state_dir: &Path) -> PathBuf {
        state_dir.join(MARK)
    }

    /// The mark of a state folder; `None`: its node was not revoked.
    pub(crate) fn read(state_dir: &Path, seams: &Seams) -> Option<Self> {
        match seams.disk.read(&Self::path(state_dir)) {
            // What cannot be read says all the same that it was.
            Ok(bytes) => Some(Self::decode(bytes.as_slice()).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(_) => Some(Self::default()),
        }
    }

    /// Writes the mark. From then on the node is not started again.
    pub(crate) fn mark(&self, state_dir: &Path, seams: &Seams) {
        if let Err(error) = seams.disk.replace(&Self::path(state_dir), &self.encode_to_vec()) {
            error!(%error, "cannot mark the state folder of a node that was revoked; the control plane says it again at the next start");
        }
    }

    /// Whether the machine may join again with a token: with any but the one that it had.
    pub(crate) fn lets_join(&self, token: NodeTokenId) -> bool {
        self.node_token != token.to_string()
    }

    /// Takes the mark away, once a new token was given and nothing is left.
    pub(crate) fn lift(state_dir: &Path, seams: &Seams) -> io::Result<()> {
        seams.disk.remove(&Self::path(state_dir))
    }
}

/// Removes everything from the state folder of a node that was revoked, but for the mark and the lock. Goes on over what
/// cannot be removed, and returns whether nothing is left.
pub(crate) fn wipe(state_dir: &Path, seams: &Seams) -> bool {
    let mut failed = 0;
    remove(&state_dir.join(NODE_KEY), seams, &mut failed);
    for path in seams.disk.list(state_dir).unwrap_or_default() {
        if path.file_name().is_some_and(|name| name != MARK && name != LOCK) {
            empty(&path, seams, &mut failed);
        }
    }
    if failed == 0 {
        info!(folder = %state_dir.display(), "keys, configuration and records of this node are removed");
    }
    failed == 0
}

/// A file goes; of a folder, what is in it.
fn empty(path: &Path, seams: &Seams, failed: &mut u32) {
    match seams.disk.list(path) {
        Ok(within) => within.iter().for_each(|path| empty(path, seams, failed)),
        Err(_) => remove(path, seams, failed),
    }
}

fn remove(path: &Path, seams: &Seams, failed: &mut u32) {
    match seams.disk.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            *failed += 1;
            error!(%error, path = %path.display(), "cannot remove a file of a node that was revoked: remove it yourself");
        }
        _ => {}
    }
}
