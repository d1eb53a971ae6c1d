//! The state folders that `rrctl dev` of this user made, each with a mark that lies in it and in the configuration folder.
//!
//! Whoever wrote a repository can put a state folder into it, with ports, keys and links of their own. Its mark is not in
//! the user's list, so nothing in it is followed. Reads nothing of a state folder but its mark.

use std::ffi::OsStr;
use std::fs::Metadata;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rr_contract::seam::{Disk as _, RealDisk, SystemEntropy, draw};
use rustix::process::geteuid;

use super::Folder;
use crate::{fault, owned};

/// The file of the mark, in a state folder.
const MARK: &str = "mark";
/// What a start that was killed leaves of it.
const MARK_BEGUN: &str = "mark.new";
/// The folder of all marks, in the configuration folder.
const MARKS: &str = "dev";
/// The file that names the state folder, beside what is kept for it.
const PLACE: &str = "folder";

/// What is kept in the configuration folder for one state folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kept(PathBuf);

impl Kept {
    /// The place of a file that no working folder may choose.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The state folder that it is kept for.
    fn state(&self) -> Result<Option<PathBuf>> {
        let bytes = owned::read(&self.path(PLACE))?;
        Ok(bytes.map(|bytes| PathBuf::from(OsStr::from_bytes(&bytes))))
    }
}

/// What is found at the place of a state folder.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nothing, or an empty folder.
    Nothing,
    /// One that `rrctl dev` of this user made.
    Ours(Kept),
    /// One that somebody else brought there, or that was moved.
    Strange,
}

/// The whole path of a state folder. A link is refused: a repository can bring one.
pub(crate) fn place(folder: &Path) -> Result<PathBuf> {
    let whole = std::path::absolute(folder).with_context(|| format!("find {}", folder.display()))?;
    // Without a `/` at the end, which would follow a link.
    let whole: PathBuf = whole.components().collect();
    match std::fs::symlink_metadata(&whole) {
        Ok(found) if found.is_symlink() => return Err(link(&whole)),
        Ok(_) => return whole.canonicalize().with_context(|| format!("find {}", whole.display())),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("look at {}", whole.display())),
    }
    let above = whole.ancestors().find_map(|above| Some((above, above.canonicalize().ok()?)));
    let Some((above, found)) = above else { return Ok(whole) };
    Ok(whole.strip_prefix(above).map_or_else(|_| whole.clone(), |rest| found.join(rest)))
}

fn link(path: &Path) -> anyhow::Error {
    fault::usage(
        &format!("{} is a symbolic link, through which files elsewhere would be written", path.display()),
        "remove it, or name another folder with --dir",
    )
}

impl Folder {
    /// What is at the place of a state folder. Fails where it, or anything in it, is a link or not the user's own.
    pub(crate) fn look(&self, state: &Path) -> Result<Found> {
        if !is_sound(state)? {
            return Ok(Found::Nothing);
        }
        match self.marked(state)? {
            Some(kept) if kept.state()?.as_deref() == Some(state) => Ok(Found::Ours(kept)),
            _ => Ok(Found::Strange),
        }
    }

    /// Makes a state folder that is not there, with a mark. A strange one is taken over if that was asked for. A start that
    /// was killed in between has left nothing that the next one would not take.
    pub(crate) fn take(&self, state: &Path, adopt: bool) -> Result<Kept> {
        let _lock = self.lock()?;
        match self.look(state)? {
            Found::Ours(kept) => return Ok(kept),
            Found::Strange if !adopt => return Err(strange(state)),
            Found::Strange | Found::Nothing => {}
        }
        self.forget(state)?;
        if let Some(kept) = self.marked(state)?.filter(is_left) {
            // It was moved: its token and its fingerprints go with it.
            self.note(&kept, state)?;
            return Ok(kept);
        }
        let mark = format!("{:032x}", u128::from_be_bytes(draw(&SystemEntropy)));
        let kept = Kept(self.path().join(MARKS).join(&mark));
        self.note(&kept, state)?;
        let make = || format!("make folder {}", state.display());
        RealDisk.create_dir_all(state).with_context(make)?;
        RealDisk.replace(&state.join(MARK), format!("{mark}\n").as_bytes()).with_context(make)?;
        Ok(kept)
    }

    /// The state folder that a file is kept for.
    pub(crate) fn state_of(&self, file: &Path) -> Result<Option<PathBuf>> {
        let folder = file.parent().filter(|folder| folder.parent() == Some(&self.path().join(MARKS)));
        folder.map_or(Ok(None), |folder| Kept(folder.to_owned()).state())
    }

    fn note(&self, kept: &Kept, state: &Path) -> Result<()> {
        for folder in [self.path().join(MARKS), kept.0.clone()] {
            self.make(&folder)?;
        }
        let path = kept.path(PLACE);
        RealDisk
            .replace(&path, state.as_os_str().as_bytes())
            .with_context(|| format!("write {}", path.display()))
    }

    /// What is kept under the mark of a state folder, wherever that folder was.
    fn marked(&self, state: &Path) -> Result<Option<Kept>> {
        let Some(bytes) = owned::read(&state.join(MARK))? else { return Ok(None) };
        let mark = bytes.trim_ascii_end();
        if mark.len() != 32 || !mark.iter().all(u8::is_ascii_hexdigit) {
            return Ok(None);
        }
        let marks = self.path().join(MARKS);
        let kept = Kept(marks.join(OsStr::from_bytes(mark)));
        if !kept.path(PLACE).exists() {
            return Ok(None);
        }
        for folder in [self.path(), &marks] {
            owned::judge_folder(folder)?;
        }
        Ok(Some(kept))
    }

    /// Forgets what was kept for a folder at this place that is no more.
    fn forget(&self, state: &Path) -> Result<()> {
        let Ok(all) = RealDisk.list(&self.path().join(MARKS)) else { return Ok(()) };
        for kept in all.into_iter().map(Kept) {
            if kept.state()?.as_deref() == Some(state) {
                std::fs::remove_dir_all(&kept.0)
                    .with_context(|| format!("remove folder {}", kept.0.display()))?;
            }
        }
        Ok(())
    }
}

/// Whether nothing with this mark is any more where it was.
fn is_left(kept: &Kept) -> bool {
    let mark = |state: PathBuf| std::fs::read(state.join(MARK)).ok();
    let own = kept.0.file_name().map(OsStr::as_bytes);
    match kept.state() {
        Ok(Some(state)) => mark(state).as_deref().map(<[u8]>::trim_ascii_end) != own,
        _ => false,
    }
}

/// The error about a folder that is not in the list.
pub(crate) fn strange(state: &Path) -> anyhow::Error {
    let state = state.display();
    fault::usage(
        &format!(
            "{state} was not made by `rrctl dev` of this user: whoever brought it, in a clone or an archive, knows its keys"
        ),
        &format!(
            "run `rm -r {state}`, name another folder with --dir, or give --adopt if all of it is yours, for example after \
             you moved it"
        ),
    )
}

/// Whether a state folder is there with something in it; fails where it is no place for keys and databases.
fn is_sound(state: &Path) -> Result<bool> {
    let mut is_used = false;
    let mut left = vec![state.to_owned()];
    while let Some(path) = left.pop() {
        let found = match std::fs::symlink_metadata(&path) {
            Ok(found) => found,
            // A start that runs replaces files meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error).with_context(|| format!("look at {}", path.display())),
        };
        judge(&path, &found)?;
        if found.is_dir() {
            left.extend(RealDisk.list(&path).with_context(|| format!("look into {}", path.display()))?);
        }
        is_used |= path != state && path != state.join(MARK_BEGUN);
    }
    Ok(is_used)
}

fn judge(path: &Path, found: &Metadata) -> Result<()> {
    let (shown, owner, own) = (path.display(), found.uid(), geteuid().as_raw());
    if found.is_symlink() {
        return Err(link(path));
    }
    if !found.is_dir() && !found.is_file() {
        return Err(fault::usage(&format!("{shown} is neither a file nor a folder"), "remove it"));
    }
    if owner != own {
        return Err(fault::usage(
            &format!("{shown} belongs to user {owner}, and `rrctl dev` runs as user {own}"),
            "name another folder with --dir",
        ));
    }
    owned::judge(path, found)
}

#[cfg(test)]
mod tests;
