//! Backups that are not whole, and histories that do not hold: none of them is copied or brought back unseen.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use std::io;
use std::sync::Arc;

use rr_contract::runtime::observe::Observability;
use rr_contract::seam::{Disk, DiskFile, RealDisk, Seams};

use super::postgres;
use super::world::{World, config};
use crate::store::unfinished;
use crate::{
    BackupError, BackupOrder, BringBackError, ChainError, NotWhole, RestoreError, RestoreOrder, backup,
    restore, start,
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

/// What is in the folder of the state, but for locks.
fn state(elsewhere: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(config(elsewhere).state_dir) else { return Vec::new() };
    let names = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter(|name| !name.ends_with(".lock")).collect();
    names.sort();
    names
}

/// Writes another history into the database of a backup, and a manifest that takes it for the right one.
async fn bend(folder: &Path, statement: &str) {
    use sha2::Digest as _;
    let file = folder.join("control.db");
    let database = sea_orm::Database::connect(format!("sqlite://{}", file.display())).await.expect("opens");
    sea_orm::ConnectionTrait::execute_unprepared(&database, statement).await.expect("runs");
    database.close().await.expect("closes");
    let bytes = std::fs::read(&file).expect("reads");
    let path = folder.join("backup.json");
    let text = std::fs::read(&path).expect("reads");
    let mut manifest: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
    manifest["files"][0]["bytes"] = bytes.len().into();
    manifest["files"][0]["sha256"] = data_encoding::HEXLOWER.encode(&sha2::Sha256::digest(&bytes)).into();
    std::fs::write(&path, manifest.to_string()).expect("writes");
}

#[tokio::test]
async fn a_restore_that_is_refused_leaves_nothing_that_starts() {
    let world = world().await;
    let (folder, revision) = kept(&world).await;
    world.running.stop().await;
    let good = world.folder.path().join("good");
    std::fs::create_dir(&good).expect("a folder");
    for name in ["authority.crt", "authority.key", "backup.json", "control.db"] {
        std::fs::copy(folder.join(name), good.join(name)).expect("copies");
    }
    bend(&folder, "UPDATE revision SET actor = 'somebody else' WHERE rev = 2").await;
    let elsewhere = tempfile::tempdir().expect("a folder");
    let refused = brought(&folder, elsewhere.path()).await;
    assert!(matches!(refused, Err(RestoreError::Audit { .. })), "{refused:?}");
    assert_eq!(state(elsewhere.path()), [""; 0]);
    // The manifest of another state.
    let manifest = good.join("backup.json");
    let text = std::fs::read_to_string(&manifest).expect("reads");
    std::fs::write(&manifest, text.replace("\"revision\": ", "\"revision\": 1")).expect("writes");
    brought(&good, elsewhere.path()).await.expect_err("ends elsewhere");
    assert_eq!(state(elsewhere.path()), [""; 0]);
    std::fs::write(&manifest, text).expect("writes");
    // What a killed run left goes with the next one.
    let left = config(elsewhere.path()).state_dir.join("control.db.partial-0123abcd-wal");
    std::fs::write(&left, "left").expect("writes");
    assert_eq!(brought(&good, elsewhere.path()).await.expect("is whole"), revision);
    assert_eq!(state(elsewhere.path()), ["authority.crt", "authority.key", "control.db"]);
    assert_eq!(mode(&config(elsewhere.path()).state_dir.join("control.db")), 0o600);
}

/// Ends where the database would come to its place, as a kill would.
struct Ending;

impl Disk for Ending {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        RealDisk.create_dir_all(path)
    }
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        RealDisk.read(path)
    }
    fn append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        RealDisk.append(path)
    }
    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        RealDisk.replace(path, bytes)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        RealDisk.list(path)
    }
    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        Err(io::Error::other("ended"))
    }
    fn remove(&self, _: &Path) -> io::Result<()> {
        Err(io::Error::other("ended"))
    }
    fn truncate(&self, path: &Path, length: u64) -> io::Result<()> {
        RealDisk.truncate(path, length)
    }
}

#[tokio::test]
async fn the_database_comes_to_its_place_last_under_its_new_name() {
    let world = world().await;
    let (folder, revision) = kept(&world).await;
    world.running.stop().await;
    let elsewhere = tempfile::tempdir().expect("a folder");
    let seams = Seams { disk: Arc::new(Ending), ..Seams::real() };
    let order = RestoreOrder { folder: Some(folder.clone()), ..RestoreOrder::default() };
    restore(&config(elsewhere.path()), &seams, &order).await.expect_err("ends before");
    let there = state(elsewhere.path());
    assert_eq!(there[..2], ["authority.crt", "authority.key"]);
    assert!(there[2..].iter().all(|name| name.starts_with("control.db.partial-")), "{there:?}");
    assert_eq!(there.len(), 3, "its log is folded in: {there:?}");
    assert_eq!(brought(&folder, elsewhere.path()).await.expect("goes on"), revision);
    assert_eq!(state(elsewhere.path()), ["authority.crt", "authority.key", "control.db"]);
}

#[tokio::test]
async fn no_control_plane_starts_on_a_server_that_a_restore_did_not_end_on() {
    let Some(database) = postgres::database("unfinished") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let config = crate::Config { database: database.address(), ..config(folder.path()) };
    let starts = async || start(config.clone(), Seams::real(), Observability::quiet("rr-control")).await;
    starts().await.expect("is free").stop().await;
    unfinished::set(&config.database).await.expect("is marked");
    let Err(error) = starts().await else { panic!("it is marked") };
    let error = rr_contract::runtime::chain(&error).to_string();
    assert!(error.contains("rr-control restore"), "{error}");
    let kept = backup(&config, &Seams::real(), &order(folder.path().join("b"))).await;
    assert!(kept.is_err_and(|error| rr_contract::runtime::chain(&error).to_string().contains("did not end")));
    unfinished::clear(&config.database).await.expect("is let in");
    starts().await.expect("is free").stop().await;
}

#[tokio::test]
async fn a_file_of_a_backup_that_is_a_link_is_not_followed() {
    let world = world().await;
    let (folder, _) = kept(&world).await;
    let elsewhere = tempfile::tempdir().expect("a folder");
    for name in ["authority.key", "backup.json"] {
        let (path, aside) = (folder.join(name), folder.join("aside"));
        std::fs::rename(&path, &aside).expect("moves");
        for to in [Path::new("/dev/zero"), &aside] {
            std::os::unix::fs::symlink(to, &path).expect("links");
            let refused = brought(&folder, elsewhere.path()).await.expect_err("is a link").to_string();
            assert!(refused.contains(name) && refused.contains("is no regular file"), "{refused}");
            std::fs::remove_file(&path).expect("is there");
        }
        std::fs::rename(&aside, &path).expect("moves");
    }
    brought(&folder, elsewhere.path()).await.expect("is whole");
    world.running.stop().await;
}

#[tokio::test]
async fn a_folder_with_a_slash_at_its_end_is_that_folder_and_leftovers_beside_it_go() {
    let world = world().await;
    let parent = world.folder.path().join("bk");
    let left = parent.join("b2.partial-0123abcd");
    let mine = parent.join("b2.partial-mine");
    for folder in [&left, &mine] {
        std::fs::create_dir_all(folder).expect("a folder");
    }
    let slashed = PathBuf::from(format!("{}/b2/", parent.display()));
    let made = backup(&config(world.folder.path()), &Seams::real(), &order(slashed)).await;
    made.expect("is made");
    assert!(parent.join("b2").join("backup.json").exists());
    assert!(!left.exists() && mine.exists());
    world.running.stop().await;
}

#[tokio::test]
async fn a_backup_whose_manifest_fits_a_changed_row_is_told_by_its_digest_alone() {
    let world = world().await;
    let folder = world.folder.path().join("backup");
    let made = backup(&config(world.folder.path()), &Seams::real(), &order(folder.clone())).await;
    let digest = made.expect("is made").digest;
    world.running.stop().await;
    let expecting = async |folder: &Path| {
        let elsewhere = tempfile::tempdir().expect("a folder");
        let expect_digest = Some(digest.clone());
        let order =
            RestoreOrder { folder: Some(folder.to_owned()), expect_digest, ..RestoreOrder::default() };
        restore(&config(elsewhere.path()), &Seams::real(), &order).await
    };
    expecting(&folder).await.expect("is the one");
    bend(&folder, "UPDATE token SET hash = zeroblob(32) WHERE id = (SELECT min(id) FROM token)").await;
    let refused = expecting(&folder).await;
    assert!(matches!(refused, Err(RestoreError::Backup(BringBackError::Digest { .. }))), "{refused:?}");
    // What no audit covers: without the digest nothing is found.
    let elsewhere = tempfile::tempdir().expect("a folder");
    brought(&folder, elsewhere.path()).await.expect("looks whole");
}
