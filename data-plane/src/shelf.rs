//! Keys of issuers on disk, so that a node that starts while an issuer is away knows them.
//!
//! One file an issuer and organization, sealed with the node's key, so that what was changed or moved is nothing. Nothing
//! depends on the disk: a write that fails is logged, and the keys stay in memory; one that does not answer has one thread
//! waiting for it, and nobody who fetches keys.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use data_encoding::HEXLOWER;
use rr_contract::model::id::OrgId;
use rr_contract::seal::storage::StorageKey;
use rr_contract::seam::Seams;
use rr_contract::secret::Secret;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tracing::debug;

use super::issuer::Name;

/// How long a disk is waited for.
const WAIT: Duration = Duration::from_secs(1);

/// A document of keys as it was fetched.
pub(super) struct Kept {
    pub(super) document: Vec<u8>,
    pub(super) fetched_at: SystemTime,
}

/// The folder.
pub(crate) struct Shelf {
    folder: PathBuf,
    key: StorageKey,
    seams: Seams,
    /// Held by the one who asks the disk, until it answers.
    turn: Arc<Mutex<()>>,
}

impl Shelf {
    pub(crate) fn new(state_dir: &std::path::Path, node_key: &Secret, seams: Seams) -> Self {
        let key = StorageKey::derive(node_key, "keys of issuers");
        Self { folder: state_dir.join("issuers"), key, seams, turn: Arc::default() }
    }

    pub(super) async fn read(&self, org: OrgId, url: &str) -> Option<Kept> {
        let (disk, path) = (Arc::clone(&self.seams.disk), self.path(org, url));
        let sealed = timeout(WAIT, self.ask(move || disk.read(&path))).await.ok()??.ok()?;
        let plain = self.key.open(&context(org, url), &sealed).ok()?;
        let (seconds, document) = plain.split_first_chunk::<8>()?;
        let fetched_at =
            SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(u64::from_be_bytes(*seconds)))?;
        Some(Kept { document: document.to_vec(), fetched_at })
    }

    pub(super) async fn write(&self, org: OrgId, url: &str, kept: Kept) {
        let since = kept.fetched_at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let plain = [&since.as_secs().to_be_bytes()[..], &kept.document].concat();
        let sealed = self.key.seal(&context(org, url), &plain, &*self.seams.entropy);
        let (disk, folder, path) = (Arc::clone(&self.seams.disk), self.folder.clone(), self.path(org, url));
        let write = move || {
            disk.create_dir_all(&folder)?;
            disk.replace(&path, &sealed)
        };
        // What finds no turn comes again with the next fetch.
        let written = timeout(WAIT, self.ask(write)).await;
        log(written.ok().flatten(), "keep the keys of an issuer");
    }

    /// Removes what is kept of an issuer.
    pub(super) async fn forget(&self, org: OrgId, url: &str) {
        self.remove(vec![self.path(org, url)]).await;
    }

    /// Removes what is kept of all others.
    pub(super) async fn tidy(&self, issuers: Vec<Name>) {
        let stay: Vec<PathBuf> = issuers.iter().map(|(org, url)| self.path(*org, url)).collect();
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
        log(removed, "remove the keys of an issuer");
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

    fn path(&self, org: OrgId, url: &str) -> PathBuf {
        self.folder.join(HEXLOWER.encode(&blake3::hash(&context(org, url)).as_bytes()[..16]))
    }
}

fn context(org: OrgId, url: &str) -> Vec<u8> {
    [org.as_bytes(), url.as_bytes()].concat()
}

fn log(done: Option<io::Result<()>>, what: &'static str) {
    if let Some(Err(error)) = done {
        debug!(%error, what, "disk refuses");
    }
}
