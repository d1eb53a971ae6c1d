//! The first token of an installation, in a file that only its owner reads.
//!
//! It makes one token and nothing else, within a day. An installation that has a token of its own needs
//! none, and gets none, unless the person who starts it asks: that person holds the database and the folder in any case.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rr_contract::api_key::{self, KeyKind};
use rr_contract::model::id::TokenId;
use rr_contract::seam::{Seams, draw};
use tracing::info;

use crate::store::{self, Store, StoreError, token_row};

const FILE: &str = "bootstrap-token";
const VALIDITY: Duration = Duration::from_secs(86_400);

/// Why the first token could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// The database failed.
    #[error("cannot store the bootstrap token")]
    Store(#[from] StoreError),
    /// The file of a used token could not be removed.
    #[error("cannot remove the file of a used bootstrap token, {}", path.display())]
    Remove {
        /// Its path.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The file could not be written.
    #[error("cannot write the bootstrap token to {}", path.display())]
    File {
        /// Its path.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

/// The path of a bootstrap token that can still be used; none when the installation has tokens.
pub(crate) async fn provide(
    store: &Store,
    folder: &Path,
    seams: &Seams,
) -> Result<Option<PathBuf>, BootstrapError> {
    let path = folder.join(FILE);
    if store::token::any_in_use(store).await? {
        discard(&path, seams)?;
        return Ok(None);
    }
    if lives(store, &path, seams).await? {
        return Ok(Some(path));
    }
    make(store, path, seams).await.map(Some)
}

/// A new bootstrap token, whatever tokens there are: for who lost them all.
pub(crate) async fn renew(store: &Store, folder: &Path, seams: &Seams) -> Result<PathBuf, BootstrapError> {
    make(store, folder.join(FILE), seams).await
}

async fn make(store: &Store, path: PathBuf, seams: &Seams) -> Result<PathBuf, BootstrapError> {
    let (secret, hash) = api_key::make(KeyKind::Bootstrap, &draw(&*seams.entropy));
    let mut text = secret.expose().to_vec();
    text.push(b'\n');
    // Before the row: a file without a row is replaced at the next start, a row without a file is lost.
    let written = seams.disk.replace(&path, &text);
    text.fill(0);
    written.map_err(|source| BootstrapError::File { path: path.clone(), source })?;
    let now = store.now();
    let token = token_row::Model {
        id: TokenId::from_random(draw(&*seams.entropy)).to_string(),
        hash: hash.as_bytes().to_vec(),
        bootstrap: true,
        expires_at: Some(now.saturating_add(i64::try_from(VALIDITY.as_micros()).unwrap_or(i64::MAX))),
        created_at: now,
        used_at: None,
        revoked_at: None,
    };
    store
        .note(move |txn| Box::pin(async move { store::token::replace_bootstrap(txn, token).await }))
        .await
        .map_err(|error: StoreError| error)?;
    info!(path = %path.display(), "bootstrap token written; it makes one token, within 24 hours");
    Ok(path)
}

/// Removes the file of a token that was used: it opens nothing any more, and looks as if it did.
fn discard(path: &Path, seams: &Seams) -> Result<(), BootstrapError> {
    match seams.disk.remove(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(BootstrapError::Remove { path: path.to_owned(), source }),
    }
}

/// Whether the file of an earlier start still holds a good token.
async fn lives(store: &Store, path: &Path, seams: &Seams) -> Result<bool, StoreError> {
    let Ok(text) = seams.disk.read(path) else { return Ok(false) };
    let Some(hash) = api_key::hash(KeyKind::Bootstrap, text.trim_ascii()) else { return Ok(false) };
    let entry = store::token::by_hash(store, &hash).await?;
    let now = store.now();
    Ok(entry.is_some_and(|row| row.used_at.is_none() && row.expires_at.is_some_and(|end| now < end)))
}
