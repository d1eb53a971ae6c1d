//! A secret for further regions and epochs: the same content, and nothing for those who cannot open it.

use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::model::id::{CredentialId, InstallationId, OrgId, RegionId};
use crate::seal::region_key::RegionKeys;
use crate::seal::{Means, SecretSpec, Slot};
use crate::secret::Secret;
use rr_seam::SystemEntropy;

fn region(n: u8) -> RegionKeys {
    RegionKeys::generate(RegionId::from_random([n; 16]), &SystemEntropy)
}

fn statement(keys: &RegionKeys) -> RegionStatement {
    keys.statement(UNIX_EPOCH, UNIX_EPOCH + Duration::from_secs(1 << 33))
}

fn context() -> SealContext {
    SealContext {
        installation: InstallationId::from_random([1; 16]),
        org: OrgId::from_random([2; 16]),
        credential: CredentialId::from_random([3; 16]),
        version: 4,
    }
}

fn sealed(to: &RegionKeys) -> SealedSecret {
    let slot = Slot::Header { name: http::header::AUTHORIZATION, prefix: "Bearer ".to_owned() };
    let spec = SecretSpec {
        value: Secret::from("s3cr3t".to_owned()),
        means: Means::sent(slot),
        origins: vec!["https://api.example.com".parse().expect("an origin")],
        not_after: None,
        ca: None,
    };
    SealedSecret::seal(&context(), &spec, &[&statement(to)], &SystemEntropy).expect("seals")
}

fn with(secret: &SealedSecret, wraps: Vec<fleet::Wrap>) -> SealedSecret {
    let wire = fleet::SealedSecret { wraps, ..secret.to_wire() };
    wire.try_into().expect("well formed")
}

#[test]
fn a_secret_gets_another_epoch_and_another_region_without_its_value() {
    let (mut eu, us) = (region(1), region(2));
    let secret = sealed(&eu);
    let first = eu.opening_key();
    eu.rotate();
    let wraps = secret
        .rewrap(&context(), std::slice::from_ref(&first), &[&statement(&eu), &statement(&us)])
        .expect("opens");
    let again = with(&secret, wraps);
    assert_eq!(again.content_id(), secret.content_id());
    for key in [eu.opening_key(), us.opening_key()] {
        assert_eq!(again.open(&context(), &[key]).expect("opens").value().expose(), b"s3cr3t");
    }
    // Whoever has only the key of before opens nothing of it.
    assert_eq!(again.open(&context(), &[first]).err(), Some(OpenError::NoWrap));
}

#[test]
fn where_a_secret_is_sealed_to_two_epochs_the_newer_counts() {
    let mut eu = region(1);
    let secret = sealed(&eu);
    let first = eu.opening_key();
    eu.rotate();
    let mut wraps = secret.to_wire().wraps;
    wraps.extend(secret.rewrap(&context(), &[first], &[&statement(&eu)]).expect("opens"));
    // The older one is broken, and nobody looks at it who has the newer.
    wraps[0].sealed_key[0] ^= 1;
    assert!(with(&secret, wraps).open(&context(), &eu.opening_keys()).is_ok());
}

#[test]
fn another_context_and_another_key_open_no_content_key() {
    let (eu, us) = (region(1), region(2));
    let secret = sealed(&eu);
    let other = SealContext { version: 5, ..context() };
    let opened = secret.rewrap(&other, &eu.opening_keys(), &[&statement(&us)]);
    assert!(matches!(opened, Err(RewrapError::Open(OpenError::Wrap))));
    let opened = secret.rewrap(&context(), &us.opening_keys(), &[&statement(&us)]);
    assert!(matches!(opened, Err(RewrapError::Open(OpenError::NoWrap))));
}
