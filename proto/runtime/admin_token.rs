//! The token of an admin port: in a file, and read again when that changes.
//!
//! Answers no request. The invariants: a token is compared in constant time; one that cannot be read leaves the one
//! before in force, so that no slip of an operator opens the port.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rr_seam::{Disk, Exposure};
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};
use zeroize::Zeroizing;

use crate::{Stop, chain};

/// A token that can be guessed is none.
const LENGTH_MIN: usize = 32;
const LENGTH_MAX: usize = 1024;
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A file that holds no token.
#[derive(Debug, thiserror::Error)]
pub enum AdminTokenError {
    /// It cannot be read.
    #[error("read --admin-token-file {path}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Others can get at it.
    #[error("--admin-token-file {0}")]
    Open(Exposure),
    /// It does not hold what it should.
    #[error(
        "--admin-token-file {path} holds no token: write one line of {LENGTH_MIN} to {LENGTH_MAX} letters and digits, such as `openssl rand -hex 32` makes",
        path = path.display()
    )]
    NoToken {
        /// The file.
        path: PathBuf,
    },
}

/// The token of one port. Clones share it.
#[derive(Clone)]
pub struct AdminToken(Arc<Inner>);

struct Inner {
    path: PathBuf,
    disk: Arc<dyn Disk>,
    /// Compared in constant time.
    hash: Mutex<blake3::Hash>,
}

impl AdminToken {
    /// Reads the token. Blocks on the disk.
    pub fn open(path: &Path, disk: Arc<dyn Disk>) -> Result<Self, AdminTokenError> {
        let hash = Mutex::new(read(path, &*disk)?);
        Ok(Self(Arc::new(Inner { path: path.to_owned(), disk, hash })))
    }

    /// Whether a request with this `Authorization` header has shown it. `None`: it has none, or several.
    pub fn admits(&self, authorization: Option<&[u8]>) -> bool {
        const SCHEME: &[u8] = b"bearer ";
        let shown = authorization.and_then(|value| value.split_at_checked(SCHEME.len()));
        let Some((scheme, token)) = shown else { return false };
        let hash = *self.0.hash.lock().unwrap_or_else(PoisonError::into_inner);
        scheme.eq_ignore_ascii_case(SCHEME) && blake3::hash(token.trim_ascii()) == hash
    }

    /// Follows the file until `stop`.
    pub async fn follow(self, stop: Stop) {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_refused = false;
        while stop.cut(looks.tick()).await.is_some() {
            // A disk may hang, and a stop does not wait for it.
            match stop.cut(self.look()).await {
                Some(Ok(is_new)) => {
                    if is_new {
                        info!(path = %self.0.path.display(), "admin token was replaced");
                    }
                    is_refused = false;
                }
                Some(Err(error)) if !is_refused => {
                    is_refused = true;
                    warn!(error = %chain(&error), "admin token cannot be read again; the one before stays in force");
                }
                Some(Err(_)) => {}
                None => return,
            }
        }
    }

    /// Reads the file again. Returns whether the token is another one.
    async fn look(&self) -> Result<bool, AdminTokenError> {
        let inner = Arc::clone(&self.0);
        let read = tokio::task::spawn_blocking(move || read(&inner.path, &*inner.disk)).await;
        let failed =
            |error| AdminTokenError::Read { path: self.0.path.clone(), source: io::Error::other(error) };
        let found = read.map_err(failed)??;
        let mut hash = self.0.hash.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(std::mem::replace(&mut *hash, found) != found)
    }
}

fn read(path: &Path, disk: &dyn Disk) -> Result<blake3::Hash, AdminTokenError> {
    let failed = |source| AdminTokenError::Read { path: path.to_owned(), source };
    let read = disk.read_private(path).map_err(failed)?;
    let text = Zeroizing::new(read.map_err(AdminTokenError::Open)?);
    let token = text.trim_ascii();
    let fits = (LENGTH_MIN..=LENGTH_MAX).contains(&token.len()) && token.iter().all(u8::is_ascii_graphic);
    if fits { Ok(blake3::hash(token)) } else { Err(AdminTokenError::NoToken { path: path.to_owned() }) }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use rr_seam::RealDisk;

    use super::*;

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    fn file(folder: &tempfile::TempDir, text: &str, mode: u32) -> PathBuf {
        let path = folder.path().join("token");
        fs::write(&path, text).expect("it is ours");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("it is ours");
        path
    }

    fn open(path: &Path) -> Result<AdminToken, AdminTokenError> {
        AdminToken::open(path, Arc::new(RealDisk))
    }

    #[test]
    fn whoever_shows_the_token_is_let_in_and_nobody_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let token = open(&file(&folder, &format!("{TOKEN}\n"), 0o600)).expect("it is good");
        for shown in [format!("Bearer {TOKEN}"), format!("bearer  {TOKEN} ")] {
            assert!(token.admits(Some(shown.as_bytes())), "{shown}");
        }
        let cut = &TOKEN[1..];
        for shown in ["", "Bearer", "Bearer ", TOKEN, &format!("Basic {TOKEN}"), &format!("Bearer {cut}")] {
            assert!(!token.admits(Some(shown.as_bytes())), "{shown}");
        }
        assert!(!token.admits(None));
    }

    #[test]
    fn a_file_that_others_read_or_that_holds_no_token_is_refused_with_the_remedy() {
        let folder = tempfile::tempdir().expect("a folder");
        let refusal = |text: &str, mode| open(&file(&folder, text, mode)).err().expect("refused").to_string();
        assert!(refusal(TOKEN, 0o644).contains("chmod 600"));
        let spaced = TOKEN.replace('8', " ");
        for text in ["", "short", &TOKEN[1..], &spaced, &"x".repeat(LENGTH_MAX + 1)] {
            assert!(refusal(text, 0o600).contains("openssl"), "{text}");
        }
        let missing = open(Path::new("/nowhere/token")).err().expect("refused").to_string();
        assert_eq!(missing, "read --admin-token-file /nowhere/token");
    }

    #[tokio::test]
    async fn a_new_token_takes_the_place_of_the_old_one_and_a_broken_file_opens_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let token = open(&file(&folder, TOKEN, 0o600)).expect("it is good");
        let admits = |text: &str| token.admits(Some(format!("Bearer {text}").as_bytes()));
        assert!(!token.look().await.expect("it is good"));
        file(&folder, "", 0o600);
        assert!(token.look().await.is_err());
        assert!(admits(TOKEN) && !admits(""));
        let next = TOKEN.replace('0', "z");
        file(&folder, &next, 0o600);
        assert!(token.look().await.expect("it is good"));
        assert!(admits(&next) && !admits(TOKEN));
    }
}
