//! Which keys `rrctl` seals to, and every way in which others could be put in their place.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use rr_contract::model::id::RegionId;
use rr_contract::seal::region_key::RegionKeys;
use rr_contract::seam::SystemEntropy;

use super::*;

fn region(keys: &RegionKeys) -> mg::Region {
    let now = SystemTime::now();
    mg::Region {
        id: keys.region().to_string(),
        name: "eu".to_owned(),
        key: Some(keys.statement(now, now + Duration::from_secs(3600)).to_wire()),
        ..mg::Region::default()
    }
}

fn keys() -> RegionKeys {
    RegionKeys::generate(RegionId::from_random([1; 16]), &SystemEntropy)
}

fn args(fingerprints: Vec<(String, Fingerprint)>) -> TrustArgs {
    TrustArgs {
        regions: vec!["eu".to_owned()],
        fingerprints,
        regions_file: Some(PathBuf::from("/nonexistent/regions.toml")),
    }
}

#[test]
fn nothing_is_sealed_to_keys_that_only_the_control_plane_vouches_for() {
    let keys = keys();
    assert!(args(Vec::new()).choose(&[region(&keys)]).is_err());
    let given = vec![("eu".to_owned(), keys.fingerprint())];
    assert_eq!(args(given).choose(&[region(&keys)]).expect("vouched for").len(), 1);
}

#[test]
fn without_any_fingerprint_the_error_says_where_one_is_found() {
    let none = TrustArgs { regions: Vec::new(), ..args(Vec::new()) };
    let error = none.choose(&[region(&keys())]).expect_err("no region").to_string();
    for part in ["--fingerprint", "--regions-file", "rrctl region list", "/nonexistent/regions.toml"] {
        assert!(error.contains(part), "no {part:?} in {error}");
    }
}

#[test]
fn keys_that_a_control_plane_put_in_the_place_of_the_regions_own_are_refused() {
    let (real, planted) = (keys(), keys());
    let given = vec![("eu".to_owned(), real.fingerprint())];
    let error = args(given).choose(&[region(&planted)]).expect_err("another fingerprint");
    assert!(error.to_string().contains("nothing was sealed"), "{error}");
}

/// A trust file that has seen an epoch of the region's keys.
fn seen(keys: &RegionKeys, epoch: u32) -> (tempfile::TempDir, TrustArgs) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("regions.toml");
    let text = format!("[eu]\nfingerprint = \"{}\"\nepoch = {epoch}\n", keys.fingerprint());
    std::fs::write(&path, text).expect("a file");
    let args = TrustArgs { regions: Vec::new(), fingerprints: Vec::new(), regions_file: Some(path) };
    (folder, args)
}

#[test]
fn a_key_of_an_older_epoch_than_one_that_was_seen_is_refused() {
    let keys = keys();
    let offered = region(&keys);
    let epoch = vouched(&offered, keys.fingerprint()).expect("vouched for").epoch();
    let (_folder, args) = seen(&keys, epoch + 1);
    let error = args.choose(std::slice::from_ref(&offered)).expect_err("an older epoch").to_string();
    assert!(error.contains("was seen before"), "{error}");
    // What was refused is not noted as seen.
    let text = std::fs::read_to_string(args.regions_file.as_deref().expect("a file")).expect("reads");
    assert!(text.contains(&format!("epoch = {}", epoch + 1)), "{text}");

    let (_folder, args) = seen(&keys, 0);
    assert_eq!(args.choose(&[offered]).expect("a newer one").len(), 1);
    let text = std::fs::read_to_string(args.regions_file.as_deref().expect("a file")).expect("reads");
    assert!(text.contains(&format!("epoch = {epoch}")), "{text}");
}

#[test]
fn a_key_that_is_signed_for_another_region_is_refused() {
    let keys = keys();
    let given = vec![("eu".to_owned(), keys.fingerprint())];
    let other = RegionId::from_random([2; 16]).to_string();
    let error = args(given).choose(&[mg::Region { id: other, ..region(&keys) }]).expect_err("another region");
    assert!(error.to_string().contains("another region"), "{error}");
}

#[test]
fn a_key_statement_that_ran_out_is_refused() {
    let keys = keys();
    let now = SystemTime::now();
    let made = now - Duration::from_secs(7200);
    let statement = keys.statement(made, made + Duration::from_secs(3600)).to_wire();
    let given = vec![("eu".to_owned(), keys.fingerprint())];
    let old = mg::Region { key: Some(statement), ..region(&keys) };
    let error = args(given).choose(&[old]).expect_err("it ran out");
    assert!(error.to_string().contains("ran out"), "{error}");
}

#[test]
fn a_deleted_region_is_taken_out_of_the_file_where_the_entry_is_its_own() {
    let (gone, other) = (keys(), keys());
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("regions.toml");
    TrustFile::add(&path, "eu", &statement(&other)).expect("is written").keep();
    assert!(!TrustFile::remove(&path, "eu", gone.fingerprint()).expect("is read"), "another region's keys");
    assert!(!TrustFile::remove(&path, "us", gone.fingerprint()).expect("is read"), "no such entry");
    TrustFile::add(&path, "us", &statement(&gone)).expect("is written").keep();
    assert!(TrustFile::remove(&path, "us", gone.fingerprint()).expect("is written"));
    let left = TrustFile::read(&path).expect("is read").fingerprints().expect("are good");
    assert_eq!(left.into_keys().collect::<Vec<_>>(), ["eu"]);
    let nowhere = folder.path().join("none.toml");
    assert!(!TrustFile::remove(&nowhere, "eu", gone.fingerprint()).expect("is no fault"));
    assert!(!nowhere.exists());
}

fn statement(keys: &RegionKeys) -> RegionStatement {
    let now = SystemTime::now();
    RegionStatement::try_from(keys.statement(now, now + Duration::from_secs(3600)).to_wire())
        .expect("verifies")
}

#[test]
fn fingerprints_that_others_could_have_written_are_not_used() {
    let keys = keys();
    let (folder, args) = seen(&keys, 0);
    let path = args.regions_file.clone().expect("a file");
    let offered = [region(&keys)];
    for (place, mode) in [(path.as_path(), 0o666), (path.as_path(), 0o660), (folder.path(), 0o777)] {
        let was = std::fs::metadata(place).expect("is there").permissions();
        std::fs::set_permissions(place, std::fs::Permissions::from_mode(mode)).expect("a mode");
        let error = format!("{:#}", args.choose(&offered).expect_err("others could have written it"));
        assert!(error.contains("chmod go-w"), "{error}");
        let other = TrustFile::add(&path, "us", &statement(&keys));
        assert!(other.is_err(), "nothing is added");
        std::fs::set_permissions(place, was).expect("a mode");
    }
    assert_eq!(args.choose(&offered).expect("the user's own").len(), 1);
}

#[test]
fn a_file_of_fingerprints_is_replaced_whole_and_only_its_owner_writes_it() {
    let keys = keys();
    let (_folder, args) = seen(&keys, 0);
    let path = args.regions_file.clone().expect("a file");
    // Whoever reads while it is written sees the old one or the new one.
    let mut reader = std::fs::File::open(&path).expect("opens");
    let before = std::fs::read_to_string(&path).expect("reads");
    args.choose(&[region(&keys)]).expect("a newer epoch");
    let mut text = String::new();
    std::io::Read::read_to_string(&mut reader, &mut text).expect("reads");
    assert_eq!(text, before);
    assert_ne!(std::fs::read_to_string(&path).expect("reads"), before);
    let mode = std::fs::metadata(&path).expect("is there").permissions().mode() & 0o777;
    assert_eq!(mode, 0o600, "{mode:o}");
    // What did not change is not written: a file of a checkout may be one that nobody can write.
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o444)).expect("a mode");
    args.choose(&[region(&keys)]).expect("nothing is new");
    let mode = std::fs::metadata(&path).expect("is there").permissions().mode() & 0o777;
    assert_eq!(mode, 0o444, "{mode:o}");
}

#[test]
fn an_addition_that_is_taken_back_takes_back_nothing_of_others() {
    let keys = keys();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("regions.toml");
    let names = || TrustFile::read(&path).expect("is read").0.into_keys().collect::<Vec<_>>();
    let eu = TrustFile::add(&path, "eu", &statement(&keys)).expect("is written");
    TrustFile::add(&path, "us", &statement(&keys)).expect("is written").keep();
    assert_eq!(names(), ["eu", "us"]);
    drop(eu);
    assert_eq!(names(), ["us"]);
    // Somebody else has put other keys in the place of those that are taken back.
    let ours = TrustFile::add(&path, "eu", &statement(&keys)).expect("is written");
    let theirs = self::keys();
    TrustFile::add(&path, "eu", &statement(&theirs)).expect("is written").keep();
    drop(ours);
    let left = TrustFile::read(&path).expect("is read").fingerprints().expect("are good");
    assert_eq!(left.get("eu"), Some(&theirs.fingerprint()));
    for (name, keys) in [("eu", &theirs), ("us", &keys)] {
        assert!(TrustFile::remove(&path, name, keys.fingerprint()).expect("is written"));
    }
    assert!(!path.exists(), "an empty one says nothing");
    drop(TrustFile::add(&path, "eu", &statement(&keys)).expect("is written"));
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0);
}

#[test]
fn additions_at_once_are_all_kept() {
    let keys = keys();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("regions.toml");
    std::thread::scope(|scope| {
        for n in 0..8 {
            let (path, keys) = (&path, &keys);
            scope.spawn(move || {
                TrustFile::add(path, &format!("r{n}"), &statement(keys)).expect("is written").keep();
            });
        }
    });
    assert_eq!(TrustFile::read(&path).expect("is read").0.len(), 8);
}
