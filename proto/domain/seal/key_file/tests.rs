//! Key files: who opens them, what is refused, and that a file written again is opened by all who could open it before.

use super::recipient::ARGON2;
use super::*;
use rr_seam::SystemEntropy;

fn keys() -> RegionKeys {
    RegionKeys::generate(RegionId::from_random([3; 16]), &SystemEntropy)
}

#[test]
fn a_file_opens_with_its_passphrase_and_with_no_other() {
    let keys = keys();
    let text = write(&keys, &Secret::from("correct horse".to_owned()), &SystemEntropy);
    let opened = read(&text, Some(&Secret::from("correct horse".to_owned()))).expect("opens");
    assert_eq!(opened.fingerprint(), keys.fingerprint());
    assert!(matches!(read(&text, Some(&Secret::from("wrong".to_owned()))), Err(KeyFileError::Passphrase)));
    assert!(matches!(read(&text, None), Err(KeyFileError::NeedsPassphrase(_))));
}

#[test]
fn a_dev_file_opens_for_dev_and_is_refused_elsewhere() {
    let keys = keys();
    let text = write_dev(&keys, &SystemEntropy);
    assert_eq!(read_dev(&text).expect("opens").fingerprint(), keys.fingerprint());
    assert!(matches!(read(&text, None), Err(KeyFileError::Dev(_))));
}

/// As a build of before wrote it: one epoch, one passphrase.
fn first_format(keys: &RegionKeys, passphrase: &Secret) -> Secret {
    let (kib, passes, lanes) = ARGON2;
    let header = Argon2Header { salt: BASE64.encode(draw::<16>(&SystemEntropy)), kib, passes, lanes };
    let key = stretch(passphrase, &header).expect("stretches");
    let mut plain = keys.opening().to_secret().expose().to_vec();
    plain.extend_from_slice(keys.signing.as_bytes());
    let aad = Transcript::new(FIRST_FORMAT).bytes(keys.region().as_bytes()).number(1).finish();
    let (nonce, sealed) = seal(&key, &plain, &aad, &SystemEntropy);
    let file = File {
        format: FIRST_FORMAT.to_owned(),
        protection: Protection::Passphrase,
        region: keys.region().to_string(),
        epoch: 1,
        fingerprint: keys.fingerprint().to_string(),
        argon2: Some(header),
        recipients: Vec::new(),
        nonce,
        keys: sealed,
    };
    Secret::new(serde_json::to_vec(&file).expect("serializes"))
}

fn phrase(text: &str) -> Secret {
    Secret::from(text.to_owned())
}

#[test]
fn every_recipient_opens_a_file_that_one_of_them_wrote_again() {
    let text = write(&keys(), &phrase("first"), &SystemEntropy);
    let mut file = KeyFile::open(&text, Some(&phrase("first"))).expect("opens");
    file.add("second", &phrase("another"), &SystemEntropy).expect("is added");
    let shared = file.text(&SystemEntropy);

    let mut file = KeyFile::open(&shared, Some(&phrase("another"))).expect("opens for the second");
    assert_eq!(file.recipients().collect::<Vec<_>>(), ["owner", "second"]);
    file.keys.rotate();
    let rotated = file.text(&SystemEntropy);
    for name in ["first", "another"] {
        let opened = read(&rotated, Some(&phrase(name))).expect("opens");
        assert_eq!((opened.epoch(), opened.opening_keys().len()), (2, 2));
    }
    assert!(matches!(read(&rotated, Some(&phrase("third"))), Err(KeyFileError::Passphrase)));
    assert!(matches!(
        file.add("second", &phrase("x"), &SystemEntropy),
        Err(KeyFileError::Recipient(name)) if name == "second"
    ));
}

#[test]
fn an_exported_file_opens_for_those_alone_for_whom_it_was_made() {
    let text = write(&keys(), &phrase("mine"), &SystemEntropy);
    let file = KeyFile::open(&text, Some(&phrase("mine"))).expect("opens");
    let fingerprint = file.keys.fingerprint();
    let exported =
        file.export("you", &phrase("yours"), &SystemEntropy).expect("exports").text(&SystemEntropy);
    assert_eq!(read(&exported, Some(&phrase("yours"))).expect("opens").fingerprint(), fingerprint);
    assert!(matches!(read(&exported, Some(&phrase("mine"))), Err(KeyFileError::Passphrase)));
}

#[test]
fn a_file_of_the_first_format_is_written_again_in_the_second_and_opens_with_the_same_passphrase() {
    let keys = keys();
    let mut file = KeyFile::open(&first_format(&keys, &phrase("old")), Some(&phrase("old"))).expect("opens");
    file.keys.rotate();
    let text = file.text(&SystemEntropy);
    assert!(std::str::from_utf8(text.expose()).expect("text").contains(FORMAT));
    let opened = read(&text, Some(&phrase("old"))).expect("opens");
    assert_eq!((opened.fingerprint(), opened.epoch()), (keys.fingerprint(), 2));
    assert!(matches!(read(&text, Some(&phrase("new"))), Err(KeyFileError::Passphrase)));
}

#[test]
fn whoever_is_left_out_stays_so_in_the_file() {
    use super::super::region_key::Excluded;
    let mut keys = keys();
    keys.excluded = Excluded {
        nodes: [[7; 32]].into(),
        tokens: ["nt_00000000000000000000000000".parse().expect("an id")].into(),
    };
    keys.attested = 9;
    let opened = read_dev(&write_dev(&keys, &SystemEntropy)).expect("opens");
    assert_eq!((opened.excluded, opened.attested), (keys.excluded, 9));
}

#[test]
fn what_a_later_version_adds_is_not_passed_over() {
    let keys = keys();
    let mut plain = content::encode(&keys).to_vec();
    // Field 15, a number.
    plain.extend([15 << 3, 1]);
    let aad = aad(keys.region(), 1, &keys.fingerprint().to_string());
    let text = write_dev(&keys, &SystemEntropy);
    let mut file: File = serde_json::from_slice(text.expose()).expect("a file");
    (file.nonce, file.keys) = seal(&dev_key(), &plain, &aad, &SystemEntropy);
    let text = Secret::new(serde_json::to_vec(&file).expect("serializes"));
    assert!(matches!(read_dev(&text), Err(KeyFileError::Damaged("bad keys"))));
}

#[test]
fn a_header_that_was_changed_is_seen() {
    let text = write_dev(&keys(), &SystemEntropy);
    let text = std::str::from_utf8(text.expose()).expect("JSON");
    let fingerprint = keys().fingerprint().to_string();
    let other = RegionId::from_random([4; 16]).to_string();
    let file: File = serde_json::from_str(text).expect("a file");
    for (from, to) in [
        (file.fingerprint.as_str(), fingerprint.as_str()),
        (file.region.as_str(), other.as_str()),
        ("\"epoch\": 1", "\"epoch\": 2"),
    ] {
        let changed = text.replace(from, to);
        assert_ne!(changed, text);
        assert!(read_dev(&Secret::from(changed)).is_err(), "{to}");
    }
}

#[test]
fn a_file_that_is_none_is_not_repeated_in_the_error() {
    use std::error::Error as _;
    for text in
        ["\"s3cr3t\"", "{\"s3cr3t\": 1}", "[\"s3cr3t\"]", "{\"format\": \"x\", \"protection\": \"s3cr3t\"}"]
    {
        let error = read(&Secret::from(text.to_owned()), None).map(drop).expect_err("no key file");
        let source = error.source().map(ToString::to_string).unwrap_or_default();
        assert!(!format!("{error} {error:?} {source}").contains("s3cr3t"), "{text}");
        assert!(source.contains("line 1"), "{source}");
    }
}

proptest::proptest! {
    #[test]
    fn no_file_panics(text in "\\PC{0,80}", salt in "[A-Za-z0-9+/=]{0,40}", kib: u32, passes: u32, lanes: u32) {
        proptest::prop_assert!(read_dev(&Secret::from(text)).is_err());
        // Sizes that would really be computed are left out: they are slow, not dangerous.
        let header = Argon2Header { salt, kib: kib | 1 << 21, passes, lanes };
        proptest::prop_assert!(stretch(&Secret::from("x".to_owned()), &header).is_err());
    }
}
