//! Backups that are not whole, and histories that do not hold: none of them is copied or brought back unseen.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rr_contract::seam::Seams;

use super::world::{World, config};
use crate::{
    BackupError, BackupOrder, BringBackError, ChainError, NotWhole, RestoreError, RestoreOrder, backup,
    restore,
};

async fn world() -> World {
    let folder = tempfile::tempdir().expect("a folder");
    let config = config(folder.path());
    let world = World::over(folder, config).await;
    world.org("acme").await;
    world
}

fn order(folder: PathBuf) -> BackupOrder {
    BackupOrder { folder, with_authority: true, pg_dump: "pg_dump".into() }
}

async fn kept(world: &World) -> (PathBuf, u64) {
    let folder = world.folder.path().join("backup");
    let made = backup(&config(world.folder.path()), &Seams::real(), &order(folder.clone())).await;
    (folder, made.expect("is made").revision)
}

/// Into a folder of its own.
async fn brought(backup: &Path, elsewhere: &Path) -> Result<u64, RestoreError> {
    let order = RestoreOrder { folder: Some(backup.to_owned()), ..RestoreOrder::default() };
    restore(&config(elsewhere), &Seams::real(), &order).await.map(|done| done.newest)
}

fn mode(path: &Path) -> u32 {
    path.metadata().expect("is there").permissions().mode() & 0o777
}

#[tokio::test]
async fn a_backup_is_for_its_owner_alone_and_takes_the_place_of_nothing() {
    let world = world().await;
    let (folder, revision) = kept(&world).await;
    assert_eq!(revision, world.installation().await.revision);
    assert_eq!(mode(&folder), 0o700);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        names.push(path.file_name().expect("a name").to_string_lossy().into_owned());
    }
    names.sort();
    assert_eq!(names, ["authority.crt", "authority.key", "backup.json", "control.db"]);
    let again = backup(&config(world.folder.path()), &Seams::real(), &order(folder.clone())).await;
    assert!(matches!(again, Err(BackupError::Exists { .. })), "{again:?}");
    let nowhere = tempfile::tempdir().expect("a folder");
    let nothing = backup(&config(nowhere.path()), &Seams::real(), &order(nowhere.path().join("b"))).await;
    assert!(matches!(nothing, Err(BackupError::Empty { .. })), "{nothing:?}");
    assert!(!nowhere.path().join("b").exists());
    // Nor does a restore, whose history is another one afterwards.
    let elsewhere = tempfile::tempdir().expect("a folder");
    assert_eq!(brought(&folder, elsewhere.path()).await.expect("is whole"), revision);
    let twice = brought(&folder, elsewhere.path()).await;
    assert!(matches!(twice, Err(RestoreError::Backup(BringBackError::Occupied { .. }))), "{twice:?}");
    world.running.stop().await;
}

#[tokio::test]
async fn a_backup_with_a_byte_changed_is_refused_and_leaves_nothing_behind() {
    let world = world().await;
    let (folder, _) = kept(&world).await;
    let elsewhere = tempfile::tempdir().expect("a folder");
    for name in ["control.db", "authority.key"] {
        let path = folder.join(name);
        let whole = std::fs::read(&path).expect("reads");
        for at in [0, whole.len() / 2, whole.len() - 1] {
            let mut bent = whole.clone();
            bent[at] ^= 1;
            std::fs::write(&path, &bent).expect("writes");
            let refused = brought(&folder, elsewhere.path()).await;
            let is_it = |file: &PathBuf| file.ends_with(name);
            assert!(
                matches!(&refused, Err(RestoreError::Backup(BringBackError::NotWhole(NotWhole::File { file, .. }))) if is_it(file)),
                "{refused:?}"
            );
        }
        std::fs::write(&path, &whole[1..]).expect("writes");
        brought(&folder, elsewhere.path()).await.expect_err("is shorter");
        std::fs::write(&path, &whole).expect("writes");
        assert!(!config(elsewhere.path()).state_dir.join(name).exists());
    }
    // A file that leads elsewhere, and no manifest at all.
    let manifest = folder.join("backup.json");
    let text = std::fs::read_to_string(&manifest).expect("reads");
    std::fs::write(&manifest, text.replace("authority.crt", "../authority.crt")).expect("writes");
    brought(&folder, elsewhere.path()).await.expect_err("is no name of ours");
    std::fs::write(&manifest, text.replace("\"revision\": ", "\"revision\": 1")).expect("writes");
    let other = brought(&folder, elsewhere.path()).await;
    assert!(matches!(other, Err(RestoreError::Backup(BringBackError::Elsewhere { .. }))), "{other:?}");
    std::fs::remove_file(&manifest).expect("is there");
    brought(&folder, elsewhere.path()).await.expect_err("is no backup");
    world.running.stop().await;
}

#[tokio::test]
async fn a_history_that_was_changed_is_neither_copied_nor_goes_on_unless_a_person_says_so() {
    let world = world().await;
    world.tamper("UPDATE revision SET actor = 'somebody else' WHERE rev = 2").await;
    let config = config(world.folder.path());
    let folder = world.folder.path().join("backup");
    let refused = backup(&config, &Seams::real(), &order(folder.clone())).await;
    assert!(
        matches!(refused, Err(BackupError::Chain(ChainError::Broken { revision: 2, .. }))),
        "{refused:?}"
    );
    let left = std::fs::read_dir(world.folder.path()).expect("a folder").filter_map(Result::ok);
    assert!(left.into_iter().all(|it| !it.file_name().to_string_lossy().starts_with("backup")));
    world.running.stop().await;
    let restored = async |accept_audit| {
        let order = RestoreOrder { accept_audit, ..RestoreOrder::default() };
        restore(&config, &Seams::real(), &order).await
    };
    let refused = restored(false).await;
    assert!(matches!(refused, Err(RestoreError::Audit { .. })), "{refused:?}");
    assert!(refused.expect_err("is refused").to_string().contains("--accept-audit"));
    restored(true).await.expect("a person says so");
}
