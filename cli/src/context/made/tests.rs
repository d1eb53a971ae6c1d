//! Which state folders are the user's own, and every way in which one could be put in their place.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

use super::*;

struct Desk {
    root: tempfile::TempDir,
    user: Folder,
    state: PathBuf,
}

impl Desk {
    fn new() -> Self {
        let root = tempfile::tempdir().expect("a folder");
        let user = Folder::at(root.path().join("config"));
        let state = place(&root.path().join("work/state")).expect("a place");
        Self { root, user, state }
    }

    /// A state folder that was made, with something in it.
    fn made() -> (Self, Kept) {
        let desk = Self::new();
        let kept = desk.user.take(&desk.state, false).expect("is made");
        fs::write(desk.state.join("lock"), "").expect("a file");
        (desk, kept)
    }

    fn is_strange(&self) -> bool {
        let is_refused = self.user.take(&self.state, false).is_err();
        self.user.look(&self.state).expect("is sound") == Found::Strange && is_refused
    }
}

#[test]
fn a_folder_that_was_made_here_is_known_again() {
    let (desk, kept) = Desk::made();
    assert_eq!(desk.user.look(&desk.state).expect("is sound"), Found::Ours(kept.clone()));
    assert_eq!(desk.user.take(&desk.state, false).expect("is known"), kept);
    let mode = |path: &Path| fs::metadata(path).expect("is there").permissions().mode() & 0o777;
    assert_eq!((mode(&desk.state), mode(&desk.state.join(MARK))), (0o700, 0o600));
    assert_eq!((mode(&kept.0), mode(&kept.path(PLACE))), (0o700, 0o600));
    let of = |file: &Path| desk.user.state_of(file).expect("reads");
    assert_eq!(of(&kept.path("token")), Some(desk.state.clone()));
    assert_eq!(of(&desk.state.join("token")), None);
}

#[test]
fn a_folder_that_a_repository_brought_is_strange_whatever_mark_is_in_it() {
    let (desk, kept) = Desk::made();
    let own = fs::read(desk.state.join(MARK)).expect("reads");
    let brought: [(&str, Option<&[u8]>); 6] = [
        ("none", None),
        ("another", Some(b"0123456789abcdef0123456789abcdef\n")),
        ("a path", Some(b"../../cloned/a path")),
        ("a path as long", Some(b"../../cloned/a path as long/./..")),
        ("an empty one", Some(b"")),
        // The user has checked the whole folder in, so that its mark is known.
        ("that of another folder", Some(&own)),
    ];
    for (what, mark) in brought {
        let state = desk.root.path().join("cloned").join(what);
        fs::create_dir_all(&state).expect("a folder");
        fs::write(state.join("region-local.key"), "known to its author").expect("a file");
        if let Some(mark) = mark {
            fs::write(state.join(MARK), mark).expect("a file");
        }
        let state = place(&state).expect("a place");
        // What the user's own folder holds beside a mark, where a mark that is a path would lead to.
        for folder in [state.as_path(), &desk.root.path().join("cloned")] {
            fs::write(folder.join(PLACE), state.as_os_str().as_bytes()).expect("a file");
        }
        assert_eq!(desk.user.look(&state).expect("is sound"), Found::Strange, "{what}");
        let error = desk.user.take(&state, false).expect_err(what).to_string();
        for part in [state.display().to_string().as_str(), "rm -r", "--dir", "--adopt"] {
            assert!(error.contains(part), "no {part:?} in {error}");
        }
    }
    assert_eq!(desk.user.look(&desk.state).expect("is sound"), Found::Ours(kept));
    // In the place of the user's own, as a checkout puts it there.
    fs::write(desk.state.join(MARK), "0123456789abcdef0123456789abcdef\n").expect("a file");
    assert!(desk.is_strange());
    fs::remove_file(desk.state.join(MARK)).expect("is there");
    assert!(desk.is_strange());
}

#[test]
fn links_and_files_of_others_are_refused_even_if_the_folder_is_adopted() {
    let desk = Desk::new();
    fs::create_dir_all(desk.state.join("control")).expect("a folder");
    let key = desk.root.path().join("key");
    fs::write(&key, "private").expect("a file");
    for name in ["lock", "mark", "control/control.db", ".gitignore"] {
        let link = desk.state.join(name);
        symlink(&key, &link).expect("links");
        let error = desk.user.take(&desk.state, true).expect_err("a link").to_string();
        assert!(error.contains("symbolic link") && error.contains(name), "{error}");
        fs::remove_file(&link).expect("is there");
    }
    let link = desk.root.path().join("link");
    symlink(&desk.state, &link).expect("links");
    for name in [link.clone(), link.join("")] {
        assert!(
            place(&name).expect_err("a link").to_string().contains("symbolic link"),
            "{}",
            name.display()
        );
    }
    let file = desk.state.join("dev.toml");
    fs::write(&file, "").expect("a file");
    for (place, mode) in [(&file, 0o666), (&desk.state, 0o777)] {
        let was = fs::metadata(place).expect("is there").permissions();
        fs::set_permissions(place, Permissions::from_mode(mode)).expect("a mode");
        let error = desk.user.take(&desk.state, true).expect_err("others can write").to_string();
        assert!(error.contains("chmod go-w"), "{error}");
        fs::set_permissions(place, was).expect("a mode");
    }
    if geteuid().is_root() {
        chown(&file, Some(12_345), None).expect("root may");
        let error = desk.user.take(&desk.state, true).expect_err("another's").to_string();
        assert!(error.contains("user 12345") && error.contains("--dir"), "{error}");
        chown(&file, Some(0), None).expect("root may");
    }
    assert_eq!(fs::read(&key).expect("reads"), b"private");
    assert!(desk.user.take(&desk.state, true).is_ok());
}

#[test]
fn a_start_that_was_killed_before_its_mark_is_continued() {
    let desk = Desk::new();
    // Noted, and not made.
    let first = Kept(desk.user.path().join(MARKS).join("0".repeat(32)));
    desk.user.note(&first, &desk.state).expect("is noted");
    assert_eq!(desk.user.look(&desk.state).expect("is sound"), Found::Nothing);
    // Made, and the mark begun.
    fs::create_dir_all(&desk.state).expect("a folder");
    fs::write(desk.state.join(MARK_BEGUN), "0").expect("a file");
    assert_eq!(desk.user.look(&desk.state).expect("is sound"), Found::Nothing);
    let kept = desk.user.take(&desk.state, false).expect("is made");
    assert!(!first.0.exists(), "what was noted first is forgotten");
    assert_eq!(desk.user.look(&desk.state).expect("is sound"), Found::Ours(kept));
}

#[test]
fn a_folder_that_was_moved_keeps_its_token_once_it_is_adopted_and_a_copy_has_none() {
    let (desk, kept) = Desk::made();
    fs::write(kept.path("token"), "rr_token_1").expect("a file");
    let copy = place(&desk.root.path().join("copy")).expect("a place");
    fs::create_dir(&copy).expect("a folder");
    fs::copy(desk.state.join(MARK), copy.join(MARK)).expect("copies");
    assert!(desk.user.take(&copy, false).is_err());
    let other = desk.user.take(&copy, true).expect("is adopted");
    assert_ne!(other, kept);
    assert!(!other.path("token").exists());
    let moved = place(&desk.root.path().join("moved")).expect("a place");
    fs::rename(&desk.state, &moved).expect("moves");
    assert!(desk.user.take(&moved, false).is_err());
    assert_eq!(desk.user.take(&moved, true).expect("is adopted"), kept);
    assert!(kept.path("token").exists());
    assert_eq!(desk.user.look(&moved).expect("is sound"), Found::Ours(kept));
}

#[test]
fn a_folder_that_was_removed_is_made_anew_without_the_token_of_before() {
    let (desk, kept) = Desk::made();
    fs::remove_dir_all(&desk.state).expect("is there");
    let anew = desk.user.take(&desk.state, false).expect("is made");
    assert_ne!(anew, kept);
    assert!(!kept.0.exists());
}

#[test]
fn marks_that_others_could_have_written_count_for_nothing() {
    let (desk, kept) = Desk::made();
    for folder in [desk.user.path().to_owned(), desk.user.path().join(MARKS), kept.0.clone()] {
        let mode = |mode| fs::set_permissions(&folder, Permissions::from_mode(mode)).expect("a mode");
        mode(0o777);
        assert!(desk.user.look(&desk.state).is_err(), "{}", folder.display());
        mode(0o700);
    }
    assert_eq!(desk.user.look(&desk.state).expect("is sound"), Found::Ours(kept));
}
