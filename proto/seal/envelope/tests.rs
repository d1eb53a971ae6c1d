//! Who opens an envelope, who does not, and what is never sealed.

use std::time::Duration;

use super::*;
use crate::seal::region_key::RegionKeys;
use crate::seam::SystemEntropy;

fn context() -> SealContext {
    SealContext {
        installation: InstallationId::from_random([1; 16]),
        org: OrgId::from_random([2; 16]),
        credential: CredentialId::from_random([3; 16]),
        version: 1,
    }
}

fn keys(n: u8) -> RegionKeys {
    RegionKeys::generate(RegionId::from_random([n; 16]), &SystemEntropy)
}

fn statement(keys: &RegionKeys) -> RegionStatement {
    let now = std::time::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    keys.statement(now, now + Duration::from_secs(86_400))
}

fn spec() -> SecretSpec {
    SecretSpec {
        value: Secret::from("s3cr3t".to_owned()),
        origins: vec!["https://api.example.com".parse().expect("an origin")],
        slot: Slot::bearer(),
        not_after: None,
    }
}

fn seal(keys: &[&RegionKeys]) -> SealedSecret {
    let statements: Vec<RegionStatement> = keys.iter().map(|keys| statement(keys)).collect();
    let statements: Vec<&RegionStatement> = statements.iter().collect();
    SealedSecret::seal(&context(), &spec(), &statements, &SystemEntropy).expect("seals")
}

#[test]
fn each_region_that_it_is_sealed_to_opens_it_and_no_other() {
    let (eu, us, ap) = (keys(1), keys(2), keys(3));
    let sealed = seal(&[&eu, &us]);
    for region in [&eu, &us] {
        let opened = sealed.open(&context(), &[region.opening_key()]).expect("opens");
        assert_eq!(opened.value().expose(), b"s3cr3t");
        assert_eq!(opened.slot(), &Slot::bearer());
        assert_eq!(opened.origins()[0].to_string(), "https://api.example.com");
    }
    assert_eq!(sealed.open(&context(), &[ap.opening_key()]).err(), Some(OpenError::NoWrap));
    let impostor = RegionKeys::generate(eu.region(), &SystemEntropy);
    assert_eq!(sealed.open(&context(), &[impostor.opening_key()]).err(), Some(OpenError::Wrap));
}

#[test]
fn a_ciphertext_moved_to_another_credential_org_version_or_installation_does_not_open() {
    let eu = keys(1);
    let sealed = seal(&[&eu]);
    let moved = [
        SealContext { credential: CredentialId::from_random([9; 16]), ..context() },
        SealContext { org: OrgId::from_random([9; 16]), ..context() },
        SealContext { version: 2, ..context() },
        SealContext { installation: InstallationId::from_random([9; 16]), ..context() },
    ];
    for context in moved {
        assert_eq!(sealed.open(&context, &[eu.opening_key()]).err(), Some(OpenError::Wrap));
    }
}

#[test]
fn any_flipped_bit_is_seen() {
    let eu = keys(1);
    let wire = seal(&[&eu]).to_wire();
    let fields: [fn(&mut fleet::SealedSecret) -> &mut Vec<u8>; 5] = [
        |wire| &mut wire.nonce,
        |wire| &mut wire.ciphertext,
        |wire| &mut wire.key_commitment,
        |wire| &mut wire.wraps[0].encapsulated,
        |wire| &mut wire.wraps[0].sealed_key,
    ];
    for field in fields {
        let mut bent = wire.clone();
        let bytes = field(&mut bent);
        let at = bytes.len() / 2;
        bytes[at] ^= 0x10;
        let bent: SealedSecret = bent.try_into().expect("its form is still right");
        assert!(bent.open(&context(), &[eu.opening_key()]).is_err());
    }
}

#[test]
fn a_secret_without_origins_regions_or_a_value_a_header_can_carry_is_not_sealed() {
    let eu = keys(1);
    let eu = statement(&eu);
    let none = SecretSpec { origins: Vec::new(), ..spec() };
    let newline = SecretSpec { value: Secret::from("abc\n".to_owned()), ..spec() };
    for spec in [none, newline] {
        assert!(SealedSecret::seal(&context(), &spec, &[&eu], &SystemEntropy).is_err());
    }
    assert!(SealedSecret::seal(&context(), &spec(), &[], &SystemEntropy).is_err());
}

#[test]
fn a_slot_that_would_frame_the_request_is_refused() {
    for name in ["host", "Content-Length", "transfer-encoding", "connection", "bad name"] {
        assert!(Slot::header(name, "").is_err(), "{name}");
    }
    assert!(Slot::header("x-api-key", "Token ").is_ok());
}
