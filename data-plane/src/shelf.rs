//! What was fetched, on disk, so that a node that starts while its source is away has it.
//!
//! One file a name, sealed with the node's key, so that what was changed or moved is nothing. Nothing depends on the disk: a
//! write that fails is logged, and what was fetched stays in memory; a disk that does not answer has one thread waiting for it,
//! and nobody who fetches.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use data_encoding::HEXLOWER;
use rr_contract::seal::storage::StorageKey;
use rr_contract::seam::Seams;
use rr_contract::secret::Secret;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tracing::debug;
use zeroize::Zeroizing;

/// How long a disk is waited for.
const WAIT: Duration = Duration::from_secs(1);

/// Something that was fetched, and a time that counts for it.
pub(crate) struct Kept {
    pub(crate) content: Zeroizing<Vec<u8>>,
    pub(crate) at: SystemTime,
}

/// What a folder is for.
pub(crate) struct Purpose {
    pub(crate) folder: &'static str,
    /// As the key is derived for, and as the log has it. Another one makes what is there unreadable.
    pub(crate) what: &'static str,
}

/// The folder.
pub(crate) struct Shelf {
    folder: PathBuf,
    what: &'static str,
    key: StorageKey,
    seams: Seams,
    /// Held by the one who asks the disk, until it answers.
    turn: Arc<Mutex<()>>,
}

impl Shelf {
    pub(crate) fn new(state_dir: &Path, node_key: &Secret, purpose: &Purpose, seams: Seams) -> Self {
        let Purpose { folder, what } = *purpose;
        let key = StorageKey::derive(node_key, what);
        Self { folder: state_dir.join(folder), what, key, seams, turn: Arc::default() }
    }

    pub(crate) async fn read(&self, name: &[u8]) -> Option<Kept> {
        let (disk, path) = (Arc::clone(&self.seams.disk), self.path(name));
        let sealed = timeout(WAIT, self.ask(move || disk.read(&path))).await.ok()??.ok()?;
        let plain = self.key.open(name, &sealed).ok()?;
        let (seconds, content) = plain.split_first_chunk::<8>()?;
        let at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(u64::from_be_bytes(*seconds)))?;
        Some(Kept { content: Zeroizing::new(content.to_vec()), at })
    }

    pub(crate) async fn write(&self, name: &[u8], kept: Kept) {
        let since = kept.at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let plain = Zeroizing::new([&since.as_secs().to_be_bytes()[..], &kept.content].concat());
        let sealed = self.key.seal(name, &plain, &*self.seams.entropy);
        let (disk, folder, path) = (Arc::clone(&self.seams.disk), self.folder.clone(), self.path(name));
        let write = move || {
            disk.create_dir_all(&folder)?;
            disk.replace(&path, &sealed)
        };
        // What finds no turn comes again with the next fetch.
        let written = timeout(WAIT, self.ask(write)).await;
        self.log(written.ok().flatten(), "keep");
    }

    /// Removes what is kept by a name.
    pub(crate) async fn forget(&self, name: &[u8]) {
        self.remove(vec![self.path(name)]).await;
    }

    /// Removes what is kept by all other names.
    pub(crate) async fn tidy(&self, names: impl IntoIterator<Item = impl AsRef<[u8]>>) {
        let stay: Vec<PathBuf> = names.into_iter().map(|name| self.path(name.as_ref())).collect();
        let (disk, folder) = (Arc::clone(&self.seams.disk), self.folder.clone());
        let Some(Ok(all)) = self.ask(move || disk.list(&folder)).await else { return };
        self.remove(all.into_iter().filter(|path| !stay.contains(path)).collect()).await;
    }

    async fn remove(&self, paths: Vec<PathBuf>) {
        let disk = Arc::clone(&self.seams.disk);
        // Each is tried, and one of the errors told.
        let remove = move || paths.iter().fold(None, |error, path| disk.remove(path).err().or(error));
        let removed = self.ask(remove).await.map(|error| match error {
            Some(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        });
        self.log(removed, "remove");
    }

    /// Asks the disk on another thread, one after the other. `None`: that thread broke.
    async fn ask<T: Send + 'static>(&self, what: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let ask = move || {
            // Whoever waits for it or not.
            let _turn = turn;
            what()
        };
        spawn_blocking(ask).await.ok()
    }

    fn path(&self, name: &[u8]) -> PathBuf {
        self.folder.join(HEXLOWER.encode(&blake3::hash(name).as_bytes()[..16]))
    }

    fn log(&self, done: Option<io::Result<()>>, verb: &'static str) {
        if let Some(Err(error)) = done {
            debug!(%error, verb, what = self.what, "disk refuses");
        }
    }
}
