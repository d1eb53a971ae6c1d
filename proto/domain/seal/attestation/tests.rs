//! Attestations: what is taken, and what is not.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rr_seam::SystemEntropy;

use super::*;

fn id(n: u8) -> CredentialId {
    CredentialId::from_random([n; 16])
}

fn keys() -> RegionKeys {
    RegionKeys::generate(RegionId::from_random([7; 16]), &SystemEntropy)
}

fn statement(keys: &RegionKeys) -> RegionStatement {
    let now = SystemTime::now();
    keys.statement(now, now + Duration::from_secs(3600))
}

/// With the same content whatever the version.
fn newest(version: u64) -> Newest {
    Newest { version, content: [5; 32] }
}

fn versions() -> Versions {
    Versions::new([(id(3), newest(9)), (id(1), newest(4)), (id(3), newest(2))])
}

fn offered(
    keys: &RegionKeys,
    wire: Option<fleet::RegionAttestation>,
    versions: &Versions,
    known: u64,
) -> Result<Versions, AttestationError> {
    given(wire, &versions.to_bytes(), known, keys.region(), statement(keys).signing_key())
}

#[test]
fn versions_are_found_by_credential_and_survive_their_bytes() {
    let versions = versions();
    let [three, one, two] = [3, 1, 2].map(|n| versions.version(&id(n)));
    assert_eq!((versions.len(), three, one, two), (2, 9, 4, 0));
    assert_eq!((versions.get(&id(3)), versions.get(&id(2))), (Some(newest(9)), None));
    assert_eq!(Versions::parse(&versions.to_bytes()), Some(versions.clone()));
    assert_eq!(Versions::parse(&versions.to_bytes()[1..]), None);
    let turned = [&versions.to_bytes()[ENTRY..], &versions.to_bytes()[..ENTRY]].concat();
    assert_eq!(Versions::parse(&turned), None);
    assert_eq!(Versions::parse(&[&versions.to_bytes()[..], &versions.to_bytes()[..]].concat()), None);
    assert_eq!(Versions::parse(&[]), Some(Versions::default()));
}

#[test]
fn the_newest_attestation_and_a_newer_one_are_taken_and_an_older_one_is_not() {
    let mut keys = keys();
    let first = keys.attest(&versions(), UNIX_EPOCH).to_wire();
    let second = keys.attest(&versions(), UNIX_EPOCH);
    assert_eq!((second.counter(), keys.attested()), (2, 2));
    let second = second.to_wire();
    for known in 0..=2 {
        assert_eq!(offered(&keys, Some(second.clone()), &versions(), known), Ok(versions()), "{known}");
    }
    let old = AttestationError::Old { found: 1, known: 2 };
    assert_eq!(offered(&keys, Some(first), &versions(), 2), Err(old));
    assert_eq!(
        offered(&keys, Some(second), &versions(), 3),
        Err(AttestationError::Old { found: 2, known: 3 })
    );
}

#[test]
fn where_one_was_made_none_is_refused() {
    let keys = keys();
    assert_eq!(offered(&keys, None, &versions(), 0), Ok(Versions::default()));
    assert_eq!(offered(&keys, None, &versions(), 1), Err(AttestationError::Missing(1)));
}

#[test]
fn versions_that_were_not_signed_are_refused() {
    let mut keys = keys();
    let wire = keys.attest(&versions(), UNIX_EPOCH).to_wire();
    let other_secret = Newest { content: [6; 32], ..newest(9) };
    for other in [
        Versions::new([(id(1), newest(4)), (id(3), newest(8))]),
        Versions::new([(id(1), newest(4)), (id(3), other_secret)]),
        Versions::new([(id(3), newest(9))]),
        Versions::default(),
    ] {
        assert_eq!(offered(&keys, Some(wire.clone()), &other, 0), Err(AttestationError::Versions));
    }
}

#[test]
fn each_field_of_an_attestation_is_signed_and_another_region_signs_for_itself() {
    let mut keys = keys();
    let wire = keys.attest(&versions(), UNIX_EPOCH).to_wire();
    let changed: [fn(&mut fleet::RegionAttestation); 4] = [
        |wire| wire.counter += 1,
        |wire| wire.made_at.as_mut().expect("is set").seconds += 1,
        |wire| wire.root[0] ^= 1,
        |wire| wire.region = RegionId::from_random([8; 16]).to_string(),
    ];
    for change in changed {
        let mut wire = wire.clone();
        change(&mut wire);
        assert_eq!(offered(&keys, Some(wire), &versions(), 0), Err(AttestationError::Signature));
    }
    let mut other = RegionKeys::generate(keys.region(), &SystemEntropy);
    let forged = other.attest(&versions(), UNIX_EPOCH).to_wire();
    assert_eq!(offered(&keys, Some(forged), &versions(), 0), Err(AttestationError::Signature));
    // Of the same key, and about another region.
    let mut stray = keys;
    stray.region = RegionId::from_random([8; 16]);
    let about = stray.attest(&versions(), UNIX_EPOCH).to_wire();
    stray.region = RegionId::from_random([7; 16]);
    assert_eq!(offered(&stray, Some(about), &versions(), 0), Err(AttestationError::Content));
}

proptest::proptest! {
    #[test]
    fn no_bytes_panic_and_what_is_read_is_written_the_same(
        bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..240),
    ) {
        if let Some(versions) = Versions::parse(&bytes) {
            proptest::prop_assert_eq!(versions.to_bytes(), bytes);
        }
    }
}
