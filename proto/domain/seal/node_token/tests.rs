//! What a node token proves, and what it never gives away.

use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;

use super::*;
use crate::model::id::CredentialId;
use crate::seal::attestation::Newest;
use rr_seam::SystemEntropy;

struct Made {
    region: RegionKeys,
    statement: RegionStatement,
    wire: fleet::NodeTokenStatement,
    token: NodeToken,
}

fn made() -> Made {
    let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let region = RegionKeys::generate(RegionId::from_random([1; 16]), &SystemEntropy);
    let statement = region.statement(now, now + Duration::from_secs(86_400));
    let draft = NodeTokenDraft::draw(&SystemEntropy);
    let wire =
        draft.statement(&region, InstallationId::from_random([5; 16]), 1, now + Duration::from_secs(3600));
    Made { region, statement, wire, token: draft.finish([7; 32]) }
}

#[test]
fn the_holder_of_a_token_learns_the_region_key_from_the_seal() {
    let made = made();
    let text = made.token.to_secret();
    let text = std::str::from_utf8(text.expose()).expect("ASCII");
    let token: NodeToken = text.parse().expect("a token");
    let grant = token.keys().open(&made.wire).expect("opens");
    assert_eq!(grant.key.region(), made.region.region());
    assert_eq!(grant.installation, InstallationId::from_random([5; 16]));
    assert_eq!(token.authority_pin(), &[7; 32]);
}

#[test]
fn the_control_plane_can_check_a_joining_node_without_the_secret() {
    let made = made();
    let kept = NodeTokenStatement::parse(made.wire, &made.statement).expect("parses");
    let keys = made.token.keys();
    assert!(kept.admits(keys.auth()));
    assert!(!kept.admits(&[0; 32]));
    let node_key = OpeningKey::generate().sealing_key();
    let vouch = keys.vouch(&node_key, b"csr");
    assert!(kept.vouches(&node_key.to_bytes(), b"csr", &vouch));
    assert!(!kept.vouches(&node_key.to_bytes(), b"another csr", &vouch));
}

#[test]
fn a_statement_that_the_region_did_not_sign_is_refused_by_both_sides() {
    let made = made();
    let mut forged = made.wire.clone();
    forged.uses = 100;
    assert!(NodeTokenStatement::parse(forged.clone(), &made.statement).is_err());
    assert_eq!(made.token.keys().open(&forged).err(), Some(GrantError::Signature));
}

#[test]
fn nothing_that_is_uploaded_holds_the_secret_or_what_opens_the_region_key() {
    let made = made();
    let uploaded = made.wire.encode_to_vec();
    let text = made.token.to_secret();
    let secret = std::str::from_utf8(text.expose()).expect("ASCII").split('.').nth(2).expect("three dots");
    let secret = unhex(secret).expect("hex");
    let keys = made.token.keys();
    for hidden in [&secret[..], keys.auth(), &keys.grant[..], keys.open.to_secret().expose()] {
        assert!(!uploaded.windows(hidden.len()).any(|window| window == hidden));
    }
}

#[test]
fn who_knows_only_what_was_uploaded_cannot_slip_in_a_region_of_his_own() {
    let made = made();
    // The same region id, keys of the forger, sealed to the public half that the control plane has.
    let forger = RegionKeys::generate(made.region.region(), &SystemEntropy);
    let plaintext = fleet::RegionKeyPlaintext {
        region: made.wire.region.clone(),
        epoch: made.wire.epoch,
        sealing_private: forger.opening().to_secret().expose().to_vec(),
        signing_key: forger.signing.verifying_key().to_bytes().to_vec(),
        installation: InstallationId::from_random([5; 16]).to_string(),
        attested: 0,
    };
    let open_key = SealingKey::try_from(made.wire.open_key.as_slice()).expect("a key");
    let info = grant_info(made.region.region(), made.wire.epoch, made.token.id());
    let id = made.token.id();
    let guess = Shared { key: &[0; 32], name: id.as_bytes() };
    for shared in [None, Some(&guess)] {
        let sealed = hpke_seal(&open_key, shared, &info, &[], &plaintext.encode_to_vec()).expect("seals");
        let mut forged = fleet::NodeTokenStatement {
            encapsulated: sealed.encapsulated,
            sealed_region_key: sealed.ciphertext,
            ..made.wire.clone()
        };
        forged.signature = forger.signing.sign(&statement_bytes(&forged)).to_bytes().to_vec();
        assert_eq!(made.token.keys().open(&forged).err(), Some(GrantError::Unseal));
    }
}

#[test]
fn a_token_carries_the_number_of_the_newest_attestation_in_its_sealed_part() {
    let mut region = RegionKeys::generate(RegionId::from_random([7; 16]), &SystemEntropy);
    let versions =
        Versions::new([(CredentialId::from_random([1; 16]), Newest { version: 4, content: [9; 32] })]);
    let first = region.attest(&versions, UNIX_EPOCH).to_wire();
    let second = region.attest(&versions, UNIX_EPOCH).to_wire();
    let draft = NodeTokenDraft::draw(&SystemEntropy);
    let expires = UNIX_EPOCH + Duration::from_secs(1 << 33);
    let wire = draft.statement(&region, InstallationId::from_random([5; 16]), 1, expires);
    let grant = draft.finish([0; 32]).keys().open(&wire).expect("opens");
    let bytes = versions.to_bytes();
    assert_eq!(grant.attested(Some(second), &bytes), Ok(versions));
    assert_eq!(grant.attested(Some(first), &bytes), Err(AttestationError::Old { found: 1, known: 2 }));
    assert_eq!(grant.attested(None, &[]), Err(AttestationError::Missing(2)));
}

#[test]
fn a_token_has_one_text() {
    let text = made().token.to_secret();
    let text = std::str::from_utf8(text.expose()).expect("ASCII");
    assert_eq!(text.parse::<NodeToken>().expect("a token").to_secret().expose(), text.as_bytes());
    assert_eq!(text.len(), TEXT.len() + 29 + 2 * 64 + 3, "the size that is set aside for it");
    let signed = format!("{}+f", text.get(..text.len() - 2).expect("ASCII"));
    assert!(signed.parse::<NodeToken>().is_err());
    let (head, pin) = text.rsplit_once('.').expect("dots");
    assert!(format!("{head}.{}", pin.replace('0', "A")).parse::<NodeToken>().is_err());
}

proptest! {
    #[test]
    fn no_text_and_no_statement_panics(
        text in "\\PC{0,80}|rrn1\\.nt_[0-9a-z]{26}\\.[0-9a-f+é]{0,64}\\.[0-9a-f]{64}",
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        if let Ok(token) = text.parse::<NodeToken>() {
            let again = token.to_secret();
            prop_assert_eq!(again.expose(), text.trim().as_bytes());
        }
        if let Ok(wire) = fleet::NodeTokenStatement::decode(bytes.as_slice()) {
            let made = made();
            prop_assert!(made.token.keys().open(&wire).is_err());
            prop_assert!(NodeTokenStatement::parse(wire, &made.statement).is_err());
        }
    }
}
