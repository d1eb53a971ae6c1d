//! Damaged files of the spool, set aside under their own names for an operator; only the newest few are kept.

use std::io;
use std::path::{Path, PathBuf};

use rr_contract::seam::Disk;
use tracing::warn;

/// Of at most a segment each.
const KEPT: usize = 8;
const PREFIX: &str = "set-aside-";

/// Copies the content of a file to another name. A file that cannot be read is moved there.
pub(super) fn set_aside(disk: &dyn Disk, path: &Path, bytes: Option<&[u8]>) -> io::Result<()> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
    let mut kept: Vec<(u64, PathBuf)> =
        disk.list(folder)?.into_iter().filter_map(|path| Some((number(&path)?, path))).collect();
    kept.sort_unstable();
    let next = kept.last().map_or(1, |(number, _)| number + 1);
    let aside = folder.join(format!("{PREFIX}{next:06}-{}", name.to_string_lossy()));
    match bytes {
        Some(bytes) => disk.replace(&aside, bytes)?,
        None => disk.rename(path, &aside)?,
    }
    warn!(file = %path.display(), kept = %aside.display(), "damaged file of the record spool is set aside; the records lost with it are counted");
    let beyond = (kept.len() + 1).saturating_sub(KEPT);
    kept.iter().take(beyond).try_for_each(|(_, path)| disk.remove(path))
}

fn number(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_prefix(PREFIX)?.split_once('-')?.0.parse().ok()
}
