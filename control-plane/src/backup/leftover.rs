//! What a killed backup or restore left beside the path that it was to make.
//!
//! Removes what has such a name and nobody holds locked, and nothing else.

use std::path::Path;
use std::{fs, io};

use rr_contract::runtime::FolderLock;

use super::LOCK;

/// Behind the name of what is made, and before eight hex digits.
pub(super) const MARK: &str = ".partial-";

/// Removes what earlier runs for this path left.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return Ok(()) };
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let entries = match fs::read_dir(parent.unwrap_or_else(|| Path::new("."))) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        if !entry.file_name().to_str().is_some_and(|of| is_of(of, name)) {
            continue;
        }
        if !entry.file_type()?.is_dir() {
            fs::remove_file(entry.path())?;
        } else if let Ok(lock) = FolderLock::take(&entry.path(), LOCK, "backup") {
            fs::remove_dir_all(entry.path())?;
            drop(lock);
        }
    }
    Ok(())
}

/// Whether a file is what a run for another left.
fn is_of(file: &str, name: &str) -> bool {
    let Some(rest) = file.strip_prefix(name).and_then(|rest| rest.strip_prefix(MARK)) else { return false };
    let (digits, end) = rest.split_once('-').map_or((rest, None), |(digits, end)| (digits, Some(end)));
    digits.len() == 8
        && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        && end.is_none_or(|end| ["wal", "shm", "journal"].contains(&end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_earlier_run_left_is_told_by_its_whole_name() {
        for file in ["b.partial-0123abcd", "b.partial-0123abcd-wal", "b.partial-0123abcd-journal"] {
            assert!(is_of(file, "b"), "{file}");
        }
        for file in [
            "b",
            "b.partial-",
            "b.partial-mine",
            "b.partial-0123ABCD",
            "b.partial-0123abcd0",
            "b.partial-0123abcd-x",
            "ab.partial-0123abcd",
        ] {
            assert!(!is_of(file, "b"), "{file}");
        }
    }

    #[test]
    fn what_somebody_is_making_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let [held, left] = ["b.partial-00000000", "b.partial-11111111"].map(|name| folder.path().join(name));
        for path in [&held, &left] {
            fs::create_dir(path).expect("a folder");
        }
        let lock = FolderLock::take(&held, LOCK, "backup").expect("is free");
        remove(&folder.path().join("b")).expect("is tidied");
        assert!(held.exists() && !left.exists());
        drop(lock);
        remove(&folder.path().join("b")).expect("is tidied");
        assert!(!held.exists());
    }
}
